//! How much a client and a tenant may send: token buckets of messages and bytes.
//!
//! A message is never refused. It is taken on credit, and whoever sent it is not read again until what was taken is paid for. So a
//! message may be longer than a bucket holds, and those who share a bucket take turns without knowing of each other: each waits for what
//! was drawn up to its own turn, nobody's time is put off by who comes later, and each needs one timer. Whoever has to wait
//! draws a share for afterwards at once, lest it wait for each message.
//!
//! A bucket is one number that is moved without a lock, the time at which all that was drawn is paid for (GCRA). Crates such as
//! `governor` decide about one message and keep no credit: clients that share a bucket would race for each token when it comes.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use drover_model::DeviceId;
use hashbrown::HashMap;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use smallvec::SmallVec;
use tokio::time::{Instant, Sleep};

use crate::config;
use crate::metrics::Metrics;
use crate::session::Owner;

const NS_PER_S: u64 = 1_000_000_000;
/// A share is what a bucket gets in the hundredth part of a second: much longer than timers are inexact.
const SHARES_PER_S: u64 = 100;

/// What a bucket holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Messages,
    Bytes,
}

/// Tokens that come at a rate and are kept up to a bound.
#[derive(Debug)]
pub(crate) struct Bucket {
    /// Label of metrics.
    name: &'static str,
    unit: Unit,
    per_s: u64,
    /// What it holds when full, as the time in which it fills.
    depth_ns: u64,
    /// When all that was drawn is paid for: the bucket is full then.
    paid_ns: AtomicU64,
}

impl Bucket {
    /// None without a rate.
    fn new((name, unit): (&'static str, Unit), per_s: u32, burst_s: u32) -> Option<Arc<Self>> {
        (per_s > 0).then(|| {
            let depth_ns = u64::from(burst_s) * NS_PER_S;
            Arc::new(Self { name, unit, per_s: per_s.into(), depth_ns, paid_ns: AtomicU64::new(0) })
        })
    }

    fn cost_ns(&self, tokens: u64) -> u64 {
        tokens.saturating_mul(NS_PER_S) / self.per_s
    }

    /// Takes tokens, whether they are there or not; the time at which they are.
    fn draw(&self, tokens: u64, now_ns: u64) -> u64 {
        let cost_ns = self.cost_ns(tokens);
        let after = |paid_ns: u64| paid_ns.max(now_ns).saturating_add(cost_ns);
        let before =
            self.paid_ns.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| Some(after(paid)));
        after(before.unwrap_or_else(|paid_ns| paid_ns)).saturating_sub(self.depth_ns)
    }

    /// Takes a token that is there.
    fn try_draw(&self, now_ns: u64) -> bool {
        let after = |paid_ns: u64| paid_ns.max(now_ns).saturating_add(self.cost_ns(1));
        let within = |paid_ns: &u64| paid_ns.saturating_sub(self.depth_ns) <= now_ns;
        self.paid_ns
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |paid| Some(after(paid)).filter(within))
            .is_ok()
    }

    /// When what was drawn so far is there.
    fn ready_ns(&self) -> u64 {
        self.paid_ns.load(Ordering::Relaxed).saturating_sub(self.depth_ns)
    }

    fn is_full(&self, now_ns: u64) -> bool {
        self.paid_ns.load(Ordering::Relaxed) <= now_ns
    }

    fn share(&self) -> u64 {
        (self.per_s / SHARES_PER_S).max(1)
    }
}

/// Those of a client or a tenant.
type Pair = SmallVec<[Arc<Bucket>; 2]>;

fn pair(names: [&'static str; 2], [messages, bytes]: [u32; 2], burst_s: u32) -> Pair {
    let buckets = [
        Bucket::new((names[0], Unit::Messages), messages, burst_s),
        Bucket::new((names[1], Unit::Bytes), bytes, burst_s),
    ];
    buckets.into_iter().flatten().collect()
}

/// The buckets of a tenant and of its clients.
pub(crate) struct Buckets {
    config: config::Budget,
    started: Instant,
    tenant: Pair,
    connects: Option<Arc<Bucket>>,
    /// A device's connections share theirs, and a new connection makes no new ones. Forgotten when nobody draws and all is paid for.
    devices: Mutex<HashMap<DeviceId, Pair>>,
}

impl Buckets {
    pub(crate) fn new(config: config::Budget, started: Instant) -> Self {
        let rates = [config.tenant_messages_per_s, config.tenant_bytes_per_s];
        Self {
            started,
            tenant: pair(["tenant messages", "tenant bytes"], rates, config.burst_s.get()),
            connects: Bucket::new(
                ("tenant connects", Unit::Messages),
                config.tenant_connects_per_s,
                config.burst_s.get(),
            ),
            devices: Mutex::default(),
            config,
        }
    }

    /// Whether the tenant may have one more connection now.
    pub(crate) fn may_connect(&self) -> bool {
        self.connects.as_ref().is_none_or(|connects| connects.try_draw(nanos(self.started.elapsed())))
    }

    /// What a connection may send; `None` when there is no bound.
    pub(crate) fn account(&self, owner: &Owner, metrics: &Metrics) -> Option<Box<Account>> {
        let draws: SmallVec<_> =
            self.client(owner).into_iter().chain(self.tenant.iter().cloned()).map(Draw::new).collect();
        if draws.is_empty() {
            return None;
        }
        let mut account = Account {
            draws,
            started: self.started,
            timer: None,
            is_waiting: false,
            waiting: metrics.budget_waiting.clone(),
        };
        // Whoever comes back owes what it owed, and comes after those who were there.
        let ready_ns = account.draws.iter().map(|draw| draw.bucket.ready_ns()).max().unwrap_or(0);
        if ready_ns > nanos(self.started.elapsed()) {
            account.wait_until(ready_ns);
        }
        Some(Box::new(account))
    }

    fn client(&self, owner: &Owner) -> Pair {
        let rates = [self.config.client_messages_per_s, self.config.client_bytes_per_s];
        if rates == [0, 0] {
            return Pair::new();
        }
        let new = || pair(["client messages", "client bytes"], rates, self.config.burst_s.get());
        match owner.device() {
            Some(device) => self.devices.lock().entry(device.clone()).or_insert_with(new).clone(),
            None => new(),
        }
    }

    /// Forgets the buckets of devices that nobody draws from and that are full.
    pub(crate) fn sweep(&self) {
        let now_ns = nanos(self.started.elapsed());
        let stays = |bucket: &Arc<Bucket>| Arc::strong_count(bucket) > 1 || !bucket.is_full(now_ns);
        self.devices.lock().retain(|_, buckets| buckets.iter().any(stays));
    }
}

/// A connection's part in one bucket.
struct Draw {
    bucket: Arc<Bucket>,
    /// Tokens that were drawn and not used, or used and not drawn.
    balance: i64,
}

impl Draw {
    fn new(bucket: Arc<Bucket>) -> Self {
        Self { bucket, balance: 0 }
    }

    /// Uses tokens; whether more than a share of them has to be drawn.
    fn charge(&mut self, tokens: u64) -> bool {
        self.balance = self.balance.saturating_sub_unsigned(tokens);
        self.balance.saturating_add_unsigned(self.bucket.share()) < 0
    }

    /// Draws what was used; when that is not there, the time until which to wait.
    fn settle(&mut self, now_ns: u64) -> Option<u64> {
        if self.balance >= 0 {
            return None;
        }
        let used = self.balance.unsigned_abs();
        self.balance = 0;
        let ready_ns = self.bucket.draw(used, now_ns);
        if ready_ns <= now_ns {
            return None;
        }
        let share = self.bucket.share();
        self.balance = self.balance.saturating_add_unsigned(share);
        Some(self.bucket.draw(share, now_ns))
    }
}

/// What a connection may send.
pub(crate) struct Account {
    draws: SmallVec<[Draw; 4]>,
    started: Instant,
    /// Kept for the next time.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
    waiting: Gauge,
}

impl Account {
    /// Pays for a packet, on credit if need be. Much is settled at once, the rest by [`Account::settle`].
    pub(crate) fn charge(&mut self, is_message: bool, bytes: usize, metrics: &Metrics) {
        let mut is_much = false;
        for draw in &mut self.draws {
            let tokens = match draw.bucket.unit {
                Unit::Messages => u64::from(is_message),
                Unit::Bytes => u64::try_from(bytes).unwrap_or(u64::MAX),
            };
            is_much |= draw.charge(tokens);
        }
        if is_much {
            self.settle(metrics);
        }
    }

    /// Draws what the packets that were read together have used, and waits when it is not there.
    pub(crate) fn settle(&mut self, metrics: &Metrics) {
        let now_ns = nanos(self.started.elapsed());
        let mut ready_ns = 0;
        for draw in &mut self.draws {
            if let Some(later_ns) = draw.settle(now_ns) {
                metrics.over_budget(draw.bucket.name);
                ready_ns = ready_ns.max(later_ns);
            }
        }
        if ready_ns > now_ns {
            self.wait_until(ready_ns);
        }
    }

    /// Whether reading waits.
    pub(crate) fn is_waiting(&self) -> bool {
        self.is_waiting
    }

    fn wait_until(&mut self, ready_ns: u64) {
        let at = self.started + Duration::from_nanos(ready_ns);
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(at),
            None => self.timer = Some(Box::pin(tokio::time::sleep_until(at))),
        }
        if !std::mem::replace(&mut self.is_waiting, true) {
            self.waiting.inc();
        }
    }

    /// Ready when reading has waited and goes on.
    pub(crate) fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.timer {
            Some(timer) if self.is_waiting => {
                std::task::ready!(timer.as_mut().poll(cx));
                self.is_waiting = false;
                self.waiting.dec();
                Poll::Ready(())
            }
            _ => Poll::Pending,
        }
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        // Whoever ends the connection in the middle owes it, too.
        let now_ns = nanos(self.started.elapsed());
        for draw in &mut self.draws {
            draw.settle(now_ns);
        }
        if self.is_waiting {
            self.waiting.dec();
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
