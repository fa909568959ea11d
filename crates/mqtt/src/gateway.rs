//! What all connections of the gateway share, and its work in the background.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use drover_backbone::{Live, Log};
use drover_db::DbError;
use drover_gateway::{
    Authenticator, AuthenticatorOptions, Changes, Downlink, Ingress, Places, RefusedReason,
};
use drover_model::{Clock, DeviceId, Party, Tenant, TenantId};
use drover_mqtt_codec::{QoS, ReasonCode};
use drover_runtime::traces::Traces;
use drover_runtime::{Env, PartHealth, Rng, Status, Stop, Tasks};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior};

use crate::config::Config;
use crate::handover::Estate;
use crate::journal::Journal;
use crate::loops::Loops;
use crate::message::{Message, TICKS_PER_SECOND};
use crate::metrics::Metrics;
use crate::outbox::Bounds;
use crate::proxy::Proxies;
use crate::route::settle;
use crate::session::{Attachment, Client, Ending, Owner, Session};
use crate::shown;
use crate::space::{Space, Spaces};
use crate::store::{Numbers, Store};

/// Time between two sweeps of retained messages that have expired, in ticks.
const SWEEP_TICKS: u32 = 60 * TICKS_PER_SECOND;

/// Handles and state of the gateway.
pub(crate) struct Gateway {
    pub(crate) config: Config,
    pub(crate) deny_code: ReasonCode,
    pub(crate) proxies: Proxies,
    pub(crate) ingress: Arc<Ingress>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) authenticator: Arc<Authenticator>,
    pub(crate) spaces: Spaces,
    pub(crate) metrics: Metrics,
    pub(crate) clock: Clock,
    pub(crate) rng: Rng,
    pub(crate) tasks: Tasks,
    pub(crate) loops: Loops,
    pub(crate) traces: Traces,
    pub(crate) stop: Stop,
    /// One permit for each client.
    pub(crate) connections: Arc<Semaphore>,
    /// One permit for each client that has not had its CONNACK yet.
    pub(crate) handshakes: Arc<Semaphore>,
    pub(crate) connections_by_source: Arc<Places<IpAddr>>,
    pub(crate) handshakes_by_source: Arc<Places<IpAddr>>,
    pub(crate) connections_by_tenant: Arc<Places<TenantId>>,
    /// Of sessions that have ended since the last tick; no more than there were sessions.
    pub(crate) estates: Mutex<Vec<Estate>>,
    live: Live,
    health: PartHealth,
    ticks: AtomicU32,
    /// Sum of the positions that the last checkpoint covers.
    pub(crate) covered: AtomicU64,
    draining: AtomicBool,
}

impl Gateway {
    pub(crate) fn new(config: Config, env: &Env, store: Store, numbers: Numbers) -> anyhow::Result<Self> {
        let options = AuthenticatorOptions {
            max_cached_devices: config.max_cached_devices,
            ttl: Duration::from_secs(config.credentials_ttl_s.into()),
        };
        let ingress = Arc::new(Ingress::open(env.producer.clone(), env.clock.clone())?);
        Ok(Self {
            journal: Arc::new(Journal::new(env.producer.clone(), ingress.clone(), numbers)),
            ingress,
            store,
            log: env.log.clone(),
            deny_code: config.anonymous.code().context("mqtt.anonymous.deny_code")?,
            proxies: Proxies::new(&config.proxy),
            authenticator: Arc::new(Authenticator::new(
                env.peers.link("provisioning"),
                env.clock.clone(),
                options,
            )),
            spaces: Spaces::new(&config),
            metrics: env.metrics.register("mqtt", Metrics::register),
            clock: env.clock.clone(),
            rng: env.rng.clone(),
            tasks: env.tasks.clone(),
            loops: Loops::start()?,
            traces: env.traces.clone(),
            stop: env.stop.clone(),
            connections: Arc::new(Semaphore::new(usize::try_from(config.max_connections.get())?)),
            handshakes: Arc::new(Semaphore::new(usize::try_from(config.max_handshakes.get())?)),
            connections_by_source: Places::new(config.max_connections_per_source),
            handshakes_by_source: Places::new(config.max_handshakes_per_source),
            connections_by_tenant: Places::new(config.max_connections_per_tenant),
            estates: Mutex::default(),
            live: env.live.clone(),
            health: env.health.part("mqtt"),
            ticks: AtomicU32::new(0),
            covered: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            config,
        })
    }

    pub(crate) fn checkpoint_failed(&self, error: &DbError) {
        tracing::error!("sessions can't be written and are tried again: {error}");
        self.health.set(Status::Degraded(format!("sessions can't be written: {error}")));
    }

    pub(crate) fn checkpoint_succeeded(&self) {
        self.health.set(Status::Ok);
    }

    /// Counts a refused message, for the tenant's ledger and in the metrics, by the same name.
    pub(crate) fn refused(&self, tenant: &Tenant, reason: RefusedReason) {
        self.ingress.refused(tenant, reason);
        self.metrics.refused(reason);
    }

    pub(crate) fn accept_failed(&self, error: &io::Error) {
        self.metrics.accept_errors.inc();
        tracing::warn!("a connection could not be accepted: {error}");
    }

    /// The gateway's coarse clock.
    pub(crate) fn now(&self) -> u32 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// How much may wait for a client.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds { volatile: self.config.max_queued_messages, bytes: self.config.max_queued_bytes }
    }

    /// Whether connections are to end.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// Sends a message of the platform to a device, on one of its own topics.
    pub(crate) fn tell_device(&self, space: &Arc<Space>, device: &DeviceId, topic: &str, payload: &[u8]) {
        let number = self.journal.message_number();
        let message = Arc::new(Message { number, ..Message::new(topic, payload, QoS::AtLeastOnce) });
        for (session, _) in space.attached_of(&Owner::Device(device.clone())) {
            if let Some(delivered) = session.deliver_own(&message, self.bounds()) {
                settle(self, space, &session, delivered);
            }
        }
    }

    /// Moves the coarse clock and wakes the sessions whose time has come; at the drain, all of them.
    pub(crate) async fn keep_time(self: Arc<Self>) -> anyhow::Result<()> {
        // Listeners are bound before any task starts.
        self.health.set(Status::Ok);
        let start = Instant::now();
        let mut next_sweep = SWEEP_TICKS;
        let mut interval = tokio::time::interval(Duration::from_secs(1) / TICKS_PER_SECOND);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Cancel-safe: none of them holds anything.
            tokio::select! {
                () = self.stop.finish() => return Ok(()),
                () = self.stop.drain(), if !self.is_draining() => {
                    self.draining.store(true, Ordering::Release);
                    self.wake_overdue(u32::MAX);
                }
                _ = interval.tick() => {
                    let ticks = start.elapsed().as_millis() * u128::from(TICKS_PER_SECOND) / 1_000;
                    let now = u32::try_from(ticks).unwrap_or(u32::MAX - 1);
                    self.ticks.store(now, Ordering::Relaxed);
                    self.wake_overdue(now);
                    let sweeps = now >= next_sweep;
                    if sweeps {
                        next_sweep = now + SWEEP_TICKS;
                    }
                    self.attend_spaces(sweeps);
                    self.settle_estates();
                }
            }
        }
    }

    fn attend_spaces(&self, sweeps: bool) {
        let now_ms = self.clock.now().as_millis();
        let mut counts = [0; 6];
        for space in self.spaces.all() {
            self.attend(&space, now_ms);
            space.is_watched.store(self.live.has_subscribers(&space.watch_subject), Ordering::Relaxed);
            if sweeps {
                // Whoever asks for one that has expired does not get it before, either.
                space.retained.lock().expire(now_ms);
                space.buckets.sweep();
            }
            counts.iter_mut().zip(space.counts()).for_each(|(sum, count)| *sum += count);
        }
        self.metrics.counted(counts);
    }

    /// Shows a message on a free topic to those who watch: its topic, 0, and all of it as JSON.
    pub(crate) fn show(&self, space: &Space, message: &Message) {
        let shown = shown::show(message);
        let payload = format!("{}\0{shown}", message.topic);
        self.live.publish(&space.watch_subject, payload.into());
    }

    fn wake_overdue(&self, now: u32) {
        for space in self.spaces.all() {
            space.wake_overdue(now);
        }
    }

    /// Passes messages of other parts on to the devices that are connected here.
    pub(crate) async fn pass_downlink(self: Arc<Self>) -> anyhow::Result<()> {
        let mut downlink = Downlink::new(&self.live);
        loop {
            // Cancel-safe: a message is taken whole or not at all.
            let message = tokio::select! {
                () = self.stop.finish() => return Ok(()),
                message = downlink.next() => message,
            };
            let Some(message) = message else { return Ok(()) };
            if let Some(space) = self.spaces.find(&message.tenant) {
                self.tell_device(&space, &message.device, &message.topic, &message.payload);
            }
        }
    }

    /// Learns of new credentials, and ends the sessions whose credential is gone.
    pub(crate) async fn follow_credentials(self: Arc<Self>, mut changes: Changes) -> anyhow::Result<()> {
        loop {
            // Cancel-safe: a change is taken whole or not at all.
            let change = tokio::select! {
                () = self.stop.finish() => return Ok(()),
                change = changes.next() => change,
            };
            let Some(change) = change else { return Ok(()) };
            let attached = match &change.of {
                Some((tenant, party)) => {
                    // When that fails, it is asked again as the party comes.
                    let _ = self.authenticator.learn(tenant, party).await;
                    let space = self.spaces.find(tenant);
                    space.map(|space| self.concerned(&space, party, change.is_gone)).unwrap_or_default()
                }
                None => self.spaces.all().iter().flat_map(|space| space.attached()).collect(),
            };
            for (_, attachment) in attached {
                self.check_credential(&attachment).await;
            }
            if change.is_gone {
                // Whoever waits for the end of the sessions waits until it is durable; nobody else does.
                let journal = self.journal.clone();
                self.tasks.track(async move {
                    let _ = journal.flush().await;
                    drop(change);
                });
            }
        }
    }

    /// The connected sessions of a device or an application. One that is gone takes its sessions along, also those whose client is away:
    /// the next one of its name is another.
    fn concerned(
        &self,
        space: &Arc<Space>,
        party: &Party,
        is_gone: bool,
    ) -> Vec<(Arc<Session>, Arc<Attachment>)> {
        let owner = match party {
            Party::Device(device) => Owner::Device(device.clone()),
            Party::Application(key) => Owner::Application(key.clone()),
        };
        if !is_gone {
            return space.attached_of(&owner);
        }
        for session in space.of_owner(&owner) {
            self.end_session(space, &session, Ending::CredentialGone);
        }
        Vec::new()
    }

    /// A session whose credential can't be checked ends too: it may connect again when that works.
    async fn check_credential(&self, attachment: &Attachment) {
        if let Client::Identified(identity) = &attachment.client
            && !self.authenticator.is_valid(identity).await.unwrap_or(false)
        {
            attachment.end(Ending::CredentialGone);
        }
    }
}
