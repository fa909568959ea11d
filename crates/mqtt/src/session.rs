//! A session: what the server knows of a client, whether it is connected or not. An [`Attachment`] is one connection's hold on it.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::task::{Wake, Waker};

use drover_backbone::Ticket;
use drover_gateway::{Identity, Place};
use drover_model::{ApiKeyId, DeviceId, Party, Scope, Tenant, TenantId};
use drover_mqtt_codec::topic;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::backlog::Backlog;
use crate::loops;
use crate::message::{Delivery, Message};
use crate::outbox::{Bounds, Entry, Full, Outbox};
use crate::router::Options;
use crate::will::Will;

/// Session Expiry Interval of a session that never ends by itself (MQTT 5, 3.1.2.11.2).
pub(crate) const NEVER: u32 = u32::MAX;

/// Who the client is.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    /// A device or an application, and how it proved that.
    Identified(Box<Identity>),
    /// A client without credentials.
    Anonymous(Tenant),
}

impl Client {
    pub(crate) fn tenant(&self) -> &Tenant {
        match self {
            Self::Identified(identity) => &identity.tenant,
            Self::Anonymous(tenant) => tenant,
        }
    }

    pub(crate) fn owner(&self) -> Owner {
        match self {
            Self::Identified(identity) => match &identity.party {
                Party::Device(device) => Owner::Device(device.clone()),
                Party::Application(key) => Owner::Application(key.clone()),
            },
            Self::Anonymous(_) => Owner::Anonymous,
        }
    }

    /// What an application may do; `None` for others, whose topics say it.
    pub(crate) fn scopes(&self) -> Option<&[Scope]> {
        match self {
            Self::Identified(identity) if matches!(identity.party, Party::Application(_)) => {
                Some(&identity.scopes)
            }
            Self::Identified(_) | Self::Anonymous(_) => None,
        }
    }

    /// Whether a scope allows the application to subscribe; others are looked at elsewhere.
    pub(crate) fn scopes_cover(&self, filter: &str) -> bool {
        let covers = |scope: &Scope| match scope {
            Scope::Subscribe(allowed) => topic::is_within(filter, allowed),
            Scope::Publish(_) | Scope::Read | Scope::Write => false,
        };
        self.scopes().is_none_or(|scopes| scopes.iter().any(covers))
    }

    /// Whether a scope allows the application to publish; others are looked at elsewhere.
    pub(crate) fn scopes_match(&self, name: &str) -> bool {
        let matches = |scope: &Scope| match scope {
            Scope::Publish(allowed) => topic::matches(allowed, name),
            Scope::Subscribe(_) | Scope::Read | Scope::Write => false,
        };
        self.scopes().is_none_or(|scopes| scopes.iter().any(matches))
    }
}

/// Whose client ids they are: nobody takes over the session of another owner.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    Device(DeviceId),
    Application(ApiKeyId),
    Anonymous,
}

impl Owner {
    pub(crate) fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Device(device) => Some(device),
            Self::Application(_) | Self::Anonymous => None,
        }
    }

    /// Reads what [`fmt::Display`] wrote.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text.is_empty() => Some(Self::Anonymous),
            Some(("device", id)) => Some(Self::Device(DeviceId::parse(id).ok()?)),
            Some(("app", id)) => Some(Self::Application(ApiKeyId::parse(id).ok()?)),
            _ => None,
        }
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(device) => write!(f, "device:{device}"),
            Self::Application(key) => write!(f, "app:{key}"),
            Self::Anonymous => Ok(()),
        }
    }
}

/// What names a session within its tenant, to clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct SessionKey {
    pub(crate) owner: Owner,
    pub(crate) client_id: Box<str>,
}

/// Why somebody else ends a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ending {
    TakenOver = 1,
    CredentialGone = 2,
    QueueFull = 3,
    ByOperator = 4,
    TenantFull = 5,
}

/// One connection, as others see it.
pub(crate) struct Attachment {
    pub(crate) client: Client,
    pub(crate) waker: AtomicWaker,
    /// The tick at which the connection must be woken to look at its timeouts.
    pub(crate) deadline: AtomicU32,
    ending: AtomicU8,
}

impl Attachment {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            waker: AtomicWaker::new(),
            deadline: AtomicU32::new(u32::MAX),
            ending: AtomicU8::new(0),
        }
    }

    /// Asks the connection to end. The first reason counts.
    pub(crate) fn end(&self, ending: Ending) {
        let _ = self.ending.compare_exchange(0, ending as u8, Ordering::AcqRel, Ordering::Relaxed);
        self.waker.wake();
    }

    pub(crate) fn ending(&self) -> Option<Ending> {
        match self.ending.load(Ordering::Acquire) {
            1 => Some(Ending::TakenOver),
            2 => Some(Ending::CredentialGone),
            3 => Some(Ending::QueueFull),
            4 => Some(Ending::ByOperator),
            5 => Some(Ending::TenantFull),
            _ => None,
        }
    }
}

impl Wake for Attachment {
    fn wake(self: Arc<Self>) {
        self.waker.wake();
    }
}

/// What a client asked for with one filter.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    /// As the client wrote it.
    pub(crate) filter: Box<str>,
    pub(crate) options: Options,
    /// To the device's own topics, which no other client's messages reach.
    pub(crate) is_own: bool,
}

/// A QoS 2 message that came from the client and was not released yet.
#[derive(Debug)]
pub(crate) struct Unreleased {
    pub(crate) packet_id: NonZeroU16,
    /// PUBREC may be sent when it has resolved.
    pub(crate) ticket: Option<Ticket>,
    /// It came on this connection, and has a place in its window.
    pub(crate) is_counted: bool,
}

/// What of a session changes; whoever needs two sessions' states takes one after the other.
pub(crate) struct State {
    /// The connection; `None` while the client is away.
    pub(crate) attachment: Option<Arc<Attachment>>,
    /// Never again attached, nothing more is queued.
    pub(crate) has_ended: bool,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) outbox: Outbox,
    pub(crate) unreleased: Vec<Unreleased>,
    pub(crate) expiry_s: u32,
    pub(crate) will: Option<Box<Will>>,
    /// When the client left; of no meaning while it is connected.
    pub(crate) offline_since_ms: i64,
    /// When the will of a client that left is published; of no meaning without will.
    pub(crate) will_due_ms: i64,
    /// The timer of a session whose client left.
    pub(crate) armed_ms: Option<i64>,
    /// Messages that may have been sent to the client when the server is killed.
    pub(crate) at_risk: u16,
    /// A page of the queue is on its way from the database.
    pub(crate) is_loading: bool,
    /// The next message waits until its record is durable, and what waits for that will wake the connection.
    pub(crate) awaits_record: bool,
    /// Of the connection, among those of the tenant.
    pub(crate) place: Option<Place<TenantId>>,
    /// An `Opened` of it stands in the journal.
    pub(crate) has_record: bool,
    /// So does an `Ended`: no checkpoint may write it again.
    pub(crate) is_forgotten: bool,
}

impl State {
    /// Whether the connection has the session still.
    pub(crate) fn is_held_by(&self, attachment: &Arc<Attachment>) -> bool {
        self.attachment.as_ref().is_some_and(|current| Arc::ptr_eq(current, attachment))
    }

    /// The filters of its shared subscriptions.
    pub(crate) fn shared_filters(&self) -> Vec<Box<str>> {
        let filters = self.subscriptions.iter().map(|subscription| &subscription.filter);
        filters.filter(|filter| filter.starts_with("$share/")).cloned().collect()
    }

    /// When a session whose client left ends; `None` when never.
    pub(crate) fn ends_at_ms(&self) -> Option<i64> {
        (self.expiry_s != NEVER).then(|| self.offline_since_ms + i64::from(self.expiry_s) * 1_000)
    }

    /// When to look at a session whose client left: its will is due, or it ends.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        let will_due_ms = self.will.as_ref().map(|_| self.will_due_ms);
        will_due_ms.into_iter().chain(self.ends_at_ms()).min()
    }
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    Queued,
    /// QoS 0, and the queue is full.
    Dropped,
    /// QoS 0, and the client is away.
    Away,
    /// QoS 1 or 2, and a bound is reached: the session has to end.
    Over(Full),
    /// The session has ended meanwhile.
    Ended,
}

/// One client's session.
pub(crate) struct Session {
    pub(crate) key: SessionKey,
    /// Names the session in the topic tree and the journal; never used twice.
    pub(crate) number: u64,
    /// It outlives its connection: what happens to it stands in the journal.
    is_durable: AtomicBool,
    /// It waits for the next checkpoint.
    pub(crate) is_dirty: AtomicBool,
    pub(crate) state: Mutex<State>,
}

impl Session {
    pub(crate) fn new(
        key: SessionKey,
        number: u64,
        attachment: Arc<Attachment>,
        backlog: &Arc<Backlog>,
    ) -> Self {
        let state = State {
            attachment: Some(attachment),
            has_ended: false,
            subscriptions: Vec::new(),
            outbox: Outbox::of(backlog),
            unreleased: Vec::new(),
            expiry_s: 0,
            will: None,
            offline_since_ms: 0,
            will_due_ms: 0,
            armed_ms: None,
            at_risk: 0,
            is_loading: false,
            awaits_record: false,
            place: None,
            has_record: false,
            is_forgotten: false,
        };
        Self::of(key, number, state)
    }

    pub(crate) fn of(key: SessionKey, number: u64, state: State) -> Self {
        Self {
            key,
            number,
            is_durable: AtomicBool::new(state.expiry_s > 0),
            is_dirty: AtomicBool::new(false),
            state: Mutex::new(state),
        }
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.is_durable.load(Ordering::Acquire)
    }

    pub(crate) fn set_durable(&self) {
        self.is_durable.store(true, Ordering::Release);
    }

    pub(crate) fn is_attached(&self) -> bool {
        self.state.lock().attachment.is_some()
    }

    /// Whether its queue takes a QoS 1 or 2 message of so many bytes; soon it may not any more.
    pub(crate) fn has_room(&self, bytes: usize, bounds: Bounds) -> bool {
        let state = self.state.lock();
        !state.has_ended && state.outbox.has_room(bytes, bounds)
    }

    /// The place for a QoS 1 or 2 message of so many bytes.
    pub(crate) fn reserve(&self, bytes: usize, bounds: Bounds) -> Result<u64, Delivered> {
        let mut state = self.state.lock();
        if state.has_ended {
            return Err(Delivered::Ended);
        }
        state.outbox.reserve(bytes, bounds).map_err(Delivered::Over)
    }

    /// Gives a place back that stays empty.
    pub(crate) fn cancel(&self, bytes: usize) {
        self.state.lock().outbox.cancel(bytes);
    }

    /// Puts a QoS 1 or 2 message at its place. The connection is woken when it can be sent: when its record is durable.
    pub(crate) fn put(&self, sequence: u64, delivery: Delivery, ticket: &Ticket) {
        let mut state = self.state.lock();
        if state.has_ended {
            return;
        }
        let entry =
            Entry { sequence, delivery, ticket: Some(ticket.clone()), is_sent: false, is_stored: false };
        state.outbox.push(entry);
        // One that waits for a record is woken by that one: this message stands behind its.
        if let Some(attachment) = state.attachment.as_ref().filter(|_| !state.awaits_record) {
            let waker = Waker::from(attachment.clone());
            if loops::wait_for(ticket, &waker) {
                state.awaits_record = true;
            } else {
                waker.wake();
            }
        }
    }

    /// Delivers a message that is not for the journal.
    pub(crate) fn deliver(&self, delivery: Delivery, bounds: Bounds) -> Delivered {
        let mut state = self.state.lock();
        if state.has_ended {
            return Delivered::Ended;
        }
        if delivery.qos == drover_mqtt_codec::QoS::AtMostOnce {
            if state.attachment.is_none() {
                return Delivered::Away;
            }
            if !state.outbox.push_volatile(delivery, bounds) {
                return Delivered::Dropped;
            }
        } else {
            let sequence = match state.outbox.reserve(delivery.message.size(), bounds) {
                Ok(sequence) => sequence,
                Err(full) => return Delivered::Over(full),
            };
            state.outbox.push(Entry { sequence, delivery, ticket: None, is_sent: false, is_stored: false });
        }
        wake(&state);
        Delivered::Queued
    }

    /// Delivers a message of the platform when a subscription of a connected client asks for it.
    pub(crate) fn deliver_own(&self, message: &Arc<Message>, bounds: Bounds) -> Option<Delivered> {
        let delivery = {
            let state = self.state.lock();
            let matching = state
                .subscriptions
                .iter()
                .filter(|subscription| subscription.is_own)
                .filter(|subscription| topic::matches(&subscription.filter, &message.topic));
            let mut granted = None;
            let mut ids = Vec::new();
            for subscription in matching {
                granted = granted.max(Some(subscription.options.qos));
                ids.extend(subscription.options.id);
            }
            Delivery {
                message: message.clone(),
                qos: granted?.min(message.qos),
                retain: false,
                subscription_ids: (!ids.is_empty()).then(|| ids.into()),
            }
        };
        Some(self.deliver(delivery, bounds))
    }

    /// Wakes the connection, if there is one.
    pub(crate) fn wake(&self) {
        wake(&self.state.lock());
    }
}

fn wake(state: &State) {
    if let Some(attachment) = &state.attachment {
        attachment.waker.wake();
    }
}
