//! The journal of sessions and retained messages: every change of what outlives a connection is a record of the log's stream
//! `sessions`, and what acknowledges the change waits for the record's ticket.

mod convert;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use drover_backbone::{LogError, Producer, Refused, Stream, Ticket};
use drover_gateway::Ingress;
use drover_model::Tenant;
use drover_proto::RecordRef;
use drover_proto::backbone::v1::Channel;
use drover_proto::sessions::v1::{self, change::Change};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use prost::Message as _;

pub(crate) use convert::{
    delivery_from, message_from, message_to, subscription_from, subscription_to, suspect_from, suspect_to,
    target_to, will_from, will_to,
};

use crate::session::Session;
use crate::space::Space;
use crate::store::Numbers;

/// Appends changes, and knows what a checkpoint has to write.
pub(crate) struct Journal {
    producer: Producer,
    /// Gives every record its place in one order, whatever its shard.
    ingress: Arc<Ingress>,
    /// Held for reading from a change in memory until its record is appended, so that a checkpoint finds no record whose change is
    /// still to come.
    fence: RwLock<()>,
    next_session: AtomicU64,
    next_message: AtomicU64,
    changed: Mutex<Changed>,
}

/// What changed since the last checkpoint.
#[derive(Default)]
pub(crate) struct Changed {
    pub(crate) sessions: Vec<(Arc<Space>, Arc<Session>)>,
    pub(crate) ended: Vec<u64>,
}

impl Changed {
    pub(crate) fn is_empty(&self) -> bool {
        self.sessions.is_empty() && self.ended.is_empty()
    }
}

impl Journal {
    /// The numbers are the first that were never used.
    pub(crate) fn new(producer: Producer, ingress: Arc<Ingress>, numbers: Numbers) -> Self {
        Self {
            producer,
            ingress,
            fence: RwLock::new(()),
            next_session: AtomicU64::new(numbers.next_session.max(1)),
            next_message: AtomicU64::new(numbers.next_message.max(1)),
            changed: Mutex::default(),
        }
    }

    /// To be held while something is changed and appended.
    pub(crate) fn fence(&self) -> RwLockReadGuard<'_, ()> {
        // Recursive: a change may bring about another, a takeover for instance a will.
        self.fence.read_recursive()
    }

    /// Waits until no change is between memory and log, and reads something at that moment.
    pub(crate) fn at_rest<T>(&self, read: impl FnOnce() -> T) -> T {
        let _nobody = self.fence.write();
        read()
    }

    pub(crate) fn session_number(&self) -> u64 {
        self.next_session.fetch_add(1, Ordering::Relaxed)
    }

    /// The numbers that come next.
    pub(crate) fn numbers(&self) -> Numbers {
        Numbers {
            next_session: self.next_session.load(Ordering::Relaxed),
            next_message: self.next_message.load(Ordering::Relaxed),
        }
    }

    pub(crate) fn message_number(&self) -> u64 {
        self.next_message.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends a change. All of a tenant's are in one partition: a tail that is lost in a crash is one of all of them.
    pub(crate) fn append(&self, tenant: &Tenant, change: Change) -> Result<Ticket, Refused> {
        let payload = v1::Change { change: Some(change) }.encode_to_vec();
        let record = RecordRef {
            tenant: tenant.as_str(),
            device: "",
            channel: Channel::Session,
            content_type: "",
            payload: &payload,
            received_us: self.ingress.next_us(),
            topic: "",
            traceparent: "",
            session: 0,
            packet_id: 0,
        };
        self.producer.append(Stream::Sessions, &record)
    }

    /// Resolves when the log may take changes again.
    pub(crate) async fn ready(&self) {
        self.producer.ready(Stream::Sessions, "", "").await;
    }

    /// The next checkpoint writes the session.
    pub(crate) fn touch(&self, space: &Arc<Space>, session: &Arc<Session>) {
        if !session.is_dirty.swap(true, Ordering::AcqRel) {
            self.changed.lock().sessions.push((space.clone(), session.clone()));
        }
    }

    /// The session is over. When the log does not take that, the next checkpoint does.
    pub(crate) fn end(&self, tenant: &Tenant, session: &Session) -> Option<Ticket> {
        let _fence = self.fence();
        session.state.lock().is_forgotten = true;
        let ticket = self.append(tenant, Change::Ended(v1::Ended { session: session.number })).ok();
        self.forget(session.number);
        ticket
    }

    /// The next checkpoint removes the session.
    pub(crate) fn forget(&self, session: u64) {
        self.changed.lock().ended.push(session);
    }

    /// Waits until everything that was appended is durable.
    pub(crate) async fn flush(&self) -> Result<(), LogError> {
        self.producer.flush().await
    }

    pub(crate) fn take_changed(&self) -> Changed {
        std::mem::take(&mut *self.changed.lock())
    }
}
