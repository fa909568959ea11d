//! What others see of a connected client: its queue, its own v1 subscriptions, and the wish that it should end.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use drover_gateway::Identity;
use drover_model::{DeviceId, Tenant};
use drover_mqtt_codec::{QoS, topic};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;

use crate::message::{Delivery, Message};

/// Who the client is.
#[derive(Debug, Clone)]
pub(crate) enum Client {
    /// A device, and how it proved that.
    Device(Box<Identity>),
    /// A client without credentials.
    Anonymous(Tenant),
}

impl Client {
    pub(crate) fn tenant(&self) -> &Tenant {
        match self {
            Self::Device(identity) => &identity.tenant,
            Self::Anonymous(tenant) => tenant,
        }
    }

    pub(crate) fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::Device(identity) => Some(&identity.device),
            Self::Anonymous(_) => None,
        }
    }
}

/// Why somebody else ends a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Ending {
    TakenOver = 1,
    CredentialGone = 2,
    QueueFull = 3,
}

/// How much may wait for a client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QueueBounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivered {
    Queued,
    /// QoS 0 and the queue is full.
    Dropped,
    /// QoS 1 and the queue is full: the session ends.
    Ended,
}

/// A connected client.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) client_id: Box<str>,
    /// Names the session in the topic tree; never used twice.
    pub(crate) number: u64,
    queue: Mutex<Queue>,
    bounds: QueueBounds,
    /// Subscriptions to the device's own topics, which no other client's messages reach.
    own: Mutex<Vec<OwnSubscription>>,
    pub(crate) waker: AtomicWaker,
    /// The tick at which the connection must be woken to look at its timeouts.
    pub(crate) deadline: AtomicU32,
    ending: AtomicU8,
}

#[derive(Debug)]
struct OwnSubscription {
    filter: Box<str>,
    qos: QoS,
    id: Option<NonZeroU32>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Delivery>,
    bytes: usize,
}

/// Capacity of a queue that is kept when it runs empty.
const KEPT_QUEUE: usize = 4;

static NEXT_NUMBER: AtomicU64 = AtomicU64::new(1);

impl Session {
    pub(crate) fn new(client: Client, client_id: Box<str>, bounds: QueueBounds) -> Self {
        Self {
            client,
            client_id,
            number: NEXT_NUMBER.fetch_add(1, Ordering::Relaxed),
            queue: Mutex::default(),
            bounds,
            own: Mutex::default(),
            waker: AtomicWaker::new(),
            deadline: AtomicU32::new(u32::MAX),
            ending: AtomicU8::new(0),
        }
    }

    /// Puts a message into the queue and wakes the connection.
    pub(crate) fn deliver(&self, delivery: Delivery) -> Delivered {
        {
            let mut queue = self.queue.lock();
            let bytes = queue.bytes + delivery.message.size();
            if queue.waiting.len() < self.bounds.messages
                && (bytes <= self.bounds.bytes || queue.waiting.is_empty())
            {
                queue.bytes = bytes;
                queue.waiting.push_back(delivery);
            } else if delivery.qos == QoS::AtMostOnce {
                return Delivered::Dropped;
            } else {
                drop(queue);
                self.end(Ending::QueueFull);
                return Delivered::Ended;
            }
        }
        self.waker.wake();
        Delivered::Queued
    }

    /// The next message, unless `wanted` says that it has to wait.
    pub(crate) fn next(&self, wanted: impl FnOnce(&Delivery) -> bool) -> Option<Delivery> {
        let mut queue = self.queue.lock();
        let front = queue.waiting.front()?;
        if !wanted(front) {
            return None;
        }
        let delivery = queue.waiting.pop_front()?;
        queue.bytes -= delivery.message.size();
        if queue.waiting.is_empty() && queue.waiting.capacity() > KEPT_QUEUE {
            queue.waiting = VecDeque::new();
        }
        Some(delivery)
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
            _ => None,
        }
    }

    /// Subscribes to topics of the device itself.
    pub(crate) fn subscribe_own(&self, filter: &str, qos: QoS, id: Option<NonZeroU32>) {
        let mut own = self.own.lock();
        own.retain(|subscription| *subscription.filter != *filter);
        own.push(OwnSubscription { filter: filter.into(), qos, id });
    }

    pub(crate) fn unsubscribe_own(&self, filter: &str) {
        self.own.lock().retain(|subscription| *subscription.filter != *filter);
    }

    /// Delivers a message of the platform when a subscription asks for it.
    pub(crate) fn deliver_own(&self, message: &Arc<Message>) -> Option<Delivered> {
        let delivery = {
            let own = self.own.lock();
            let mut matching = own
                .iter()
                .filter(|subscription| topic::matches(&subscription.filter, &message.topic))
                .peekable();
            matching.peek()?;
            let mut granted = QoS::AtMostOnce;
            let mut ids = Vec::new();
            for subscription in matching {
                granted = granted.max(subscription.qos);
                ids.extend(subscription.id);
            }
            let subscription_ids = if ids.is_empty() { None } else { Some(ids.into()) };
            Delivery { message: message.clone(), qos: granted.min(message.qos), subscription_ids }
        };
        Some(self.deliver(delivery))
    }
}

#[cfg(test)]
mod tests;
