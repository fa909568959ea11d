//! What the clients of one tenant share: the topic tree and the register of sessions. A client has the space of its own tenant and
//! no way to another's.

use std::num::NonZeroU32;
use std::sync::Arc;

use drover_model::{DeviceId, Tenant, TenantId};
use drover_mqtt_codec::QoS;
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};

use crate::message::{Delivery, Message};
use crate::metrics::Metrics;
use crate::router::{Hit, Subscriber, Tree};
use crate::session::{Delivered, Ending, Session};

/// One tenant's topics and sessions.
#[derive(Default)]
pub(crate) struct Space {
    pub(crate) tree: RwLock<Tree>,
    sessions: Mutex<Sessions>,
}

#[derive(Default)]
struct Sessions {
    /// A client id belongs to the device that uses it, so that no device can end another's session.
    by_client: HashMap<ClientKey, Arc<Session>>,
    by_device: HashMap<DeviceId, Vec<Arc<Session>>>,
}

#[derive(PartialEq, Eq, Hash)]
struct ClientKey {
    device: Option<DeviceId>,
    client_id: Box<str>,
}

impl ClientKey {
    fn of(session: &Session) -> Self {
        Self { device: session.client.device().cloned(), client_id: session.client_id.clone() }
    }
}

impl Space {
    /// Adds a session; one with the same client id is asked to end (MQTT 5, 3.1.4).
    pub(crate) fn add(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions.lock();
        if let Some(device) = session.client.device() {
            sessions.by_device.entry(device.clone()).or_default().push(session.clone());
        }
        if let Some(old) = sessions.by_client.insert(ClientKey::of(session), session.clone()) {
            old.end(Ending::TakenOver);
        }
    }

    pub(crate) fn remove(&self, session: &Arc<Session>) {
        let mut sessions = self.sessions.lock();
        let key = ClientKey::of(session);
        if sessions.by_client.get(&key).is_some_and(|current| Arc::ptr_eq(current, session)) {
            sessions.by_client.remove(&key);
        }
        if let Some(device) = session.client.device()
            && let Some(of_device) = sessions.by_device.get_mut(device)
        {
            of_device.retain(|other| !Arc::ptr_eq(other, session));
            if of_device.is_empty() {
                sessions.by_device.remove(device);
            }
        }
    }

    /// The sessions of one device.
    pub(crate) fn of_device(&self, device: &DeviceId) -> Vec<Arc<Session>> {
        self.sessions.lock().by_device.get(device).cloned().unwrap_or_default()
    }

    /// All sessions of devices.
    pub(crate) fn of_devices(&self) -> Vec<Arc<Session>> {
        self.sessions.lock().by_device.values().flatten().cloned().collect()
    }

    /// Wakes the sessions whose deadline has come.
    pub(crate) fn wake_overdue(&self, now: u32) {
        for session in self.sessions.lock().by_client.values() {
            if session.deadline.load(std::sync::atomic::Ordering::Relaxed) <= now {
                session.waker.wake();
            }
        }
    }

    /// Delivers a message to every session that it reaches; answers whether there was one. `hits` is room to work in.
    pub(crate) fn publish(
        &self,
        message: &Arc<Message>,
        publisher: u64,
        hits: &mut Vec<Hit>,
        metrics: &Metrics,
    ) -> bool {
        hits.clear();
        self.tree.read().matching(&message.topic, publisher, hits);
        let reached = !hits.is_empty();
        for hit in hits.drain(..) {
            let subscription_ids = if hit.ids.is_empty() { None } else { Some(hit.ids.into()) };
            let delivery =
                Delivery { message: message.clone(), qos: hit.qos.min(message.qos), subscription_ids };
            count(hit.session.deliver(delivery), metrics);
        }
        reached
    }

    /// Delivers a message of the platform to a device's sessions that subscribed to its topic.
    pub(crate) fn publish_to_device(&self, device: &DeviceId, message: &Arc<Message>, metrics: &Metrics) {
        for session in self.of_device(device) {
            if let Some(delivered) = session.deliver_own(message) {
                count(delivered, metrics);
            }
        }
    }
}

fn count(delivered: Delivered, metrics: &Metrics) {
    match delivered {
        Delivered::Queued => {}
        Delivered::Dropped => metrics.dropped("queue full"),
        Delivered::Ended => metrics.dropped("session ended over a full queue"),
    }
}

/// The spaces of all tenants that have had a client; bounded by the number of tenants.
#[derive(Default)]
pub(crate) struct Spaces(RwLock<HashMap<TenantId, Arc<Space>>>);

impl Spaces {
    /// The space of a tenant.
    pub(crate) fn of(&self, tenant: &Tenant) -> Arc<Space> {
        if let Some(space) = self.find(tenant.id()) {
            return space;
        }
        self.0.write().entry(tenant.id().clone()).or_default().clone()
    }

    /// The space of a tenant that has had a client; for messages of the platform.
    pub(crate) fn find(&self, tenant: &TenantId) -> Option<Arc<Space>> {
        self.0.read().get(tenant).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Space>> {
        self.0.read().values().cloned().collect()
    }
}

/// A session's place in its space, with its subscriptions; given up when dropped.
pub(crate) struct Registration {
    pub(crate) space: Arc<Space>,
    pub(crate) session: Arc<Session>,
    /// Filters in the tree, and those of the device's own topics.
    filters: HashSet<Box<str>>,
}

impl Registration {
    pub(crate) fn new(space: Arc<Space>, session: Arc<Session>) -> Self {
        space.add(&session);
        Self { space, session, filters: HashSet::new() }
    }

    /// How many subscriptions there would be with this one.
    pub(crate) fn count_with(&self, filter: &str) -> usize {
        self.filters.len() + usize::from(!self.filters.contains(filter))
    }

    /// Subscribes in the tree.
    pub(crate) fn subscribe(&mut self, filter: &str, subscriber: Subscriber) {
        self.space.tree.write().subscribe(filter, subscriber);
        self.filters.insert(filter.into());
    }

    /// Subscribes to topics of the device itself.
    pub(crate) fn subscribe_own(&mut self, filter: &str, qos: QoS, id: Option<NonZeroU32>) {
        self.session.subscribe_own(filter, qos, id);
        self.filters.insert(filter.into());
    }

    /// Answers whether there was such a subscription.
    pub(crate) fn unsubscribe(&mut self, filter: &str) -> bool {
        let existed = self.filters.remove(filter);
        if existed {
            self.session.unsubscribe_own(filter);
            self.space.tree.write().unsubscribe(filter, self.session.number);
        }
        existed
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.space.remove(&self.session);
        if !self.filters.is_empty() {
            let mut tree = self.space.tree.write();
            for filter in self.filters.drain() {
                tree.unsubscribe(&filter, self.session.number);
            }
        }
    }
}
