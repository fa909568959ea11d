//! What the clients of one tenant share: topics, retained messages, the register of sessions and their timers. A client has the space
//! of its own tenant and no way to another's.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use drover_backbone::token;
use drover_model::{Tenant, TenantId};
use drover_mqtt_codec::QoS;
use drover_mqtt_codec::topic::TopicFilter;
use hashbrown::{DefaultHashBuilder, HashMap, HashSet, HashTable};
use parking_lot::{Mutex, RwLock};
use tokio::time::Instant;

use crate::backlog::Backlog;
use crate::budget::Buckets;
use crate::config::{Budget, Config};
use crate::message::Message;
use crate::outbox::Bounds;
use crate::retained::Retained;
use crate::router::{Hit, Member, Members, Tree};
use crate::session::{Attachment, Owner, Session, SessionKey, Subscription};

/// One tenant's topics and sessions.
pub(crate) struct Space {
    pub(crate) tenant: Tenant,
    /// Somebody watches topics as they come; looked at from time to time.
    pub(crate) is_watched: AtomicBool,
    /// Where they are shown.
    pub(crate) watch_subject: Box<str>,
    tree: RwLock<Tree<Arc<Session>>>,
    pub(crate) retained: Mutex<RetainedMessages>,
    /// Taken before the state of a session, never while one is held.
    pub(crate) sessions: Mutex<Sessions>,
    /// Sessions by the time at which something is due for them: a will, or their end.
    timers: Mutex<Timers>,
    pub(crate) buckets: Buckets,
    /// What waits in all queues.
    pub(crate) backlog: Arc<Backlog>,
    /// What clients have begun to send.
    pub(crate) incomplete: Arc<Backlog>,
}

/// Least time between two looks at all retained messages for want of room, in milliseconds.
const CLEAR_MS: i64 = 1_000;

/// Sessions by time in milliseconds since 1970, then number.
type Timers = BTreeMap<(i64, u64), Arc<Session>>;

/// A topic and its retained message, if it has one.
pub(crate) type Changed = (Box<str>, Option<Arc<Message>>);

/// The retained messages of a tenant.
#[derive(Default)]
pub(crate) struct RetainedMessages {
    pub(crate) messages: Retained<Arc<Message>>,
    bytes: usize,
    /// When what has expired was last looked for because there was no room.
    cleared_ms: i64,
    /// Topics whose messages the next checkpoint writes, or that there is none.
    changed: HashSet<Box<str>>,
}

impl RetainedMessages {
    /// Whether a new message is within the bound. What has expired makes room for it.
    pub(crate) fn takes(&mut self, message: &Message, max_bytes: usize) -> bool {
        if self.has_room(message, max_bytes) {
            return true;
        }
        let now_ms = message.received_ms;
        if now_ms - self.cleared_ms < CLEAR_MS {
            return false;
        }
        self.cleared_ms = now_ms;
        self.expire(now_ms);
        self.has_room(message, max_bytes)
    }

    fn has_room(&self, message: &Message, max_bytes: usize) -> bool {
        let old = self.messages.get(&message.topic).map_or(0, |old| old.size());
        message.payload.is_empty() || self.bytes - old + message.size() <= max_bytes
    }

    /// Keeps a message for its topic; one without payload removes what is there (MQTT 5, 3.3.1.3).
    pub(crate) fn keep(&mut self, message: &Arc<Message>) {
        self.touch(&message.topic);
        let old = if message.payload.is_empty() {
            self.messages.remove(&message.topic)
        } else {
            self.bytes += message.size();
            self.messages.set(&message.topic, message.clone())
        };
        self.bytes -= old.map_or(0, |old| old.size());
    }

    pub(crate) fn touch(&mut self, topic: &str) {
        if !self.changed.contains(topic) {
            self.changed.insert(topic.into());
        }
    }

    /// Puts back what the last checkpoint left, without another one having to write it.
    pub(crate) fn restore(&mut self, message: &Arc<Message>) {
        self.bytes += message.size();
        self.messages.set(&message.topic, message.clone());
    }

    /// What changed since this was last called: topics with their messages, if they have one.
    pub(crate) fn take_changed(&mut self) -> Vec<Changed> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        changed
            .map(|topic| (self.messages.get(&topic).cloned(), topic))
            .map(|(message, topic)| (topic, message))
            .collect()
    }

    /// Drops what has expired (MQTT 5, 3.3.2.3.3).
    pub(crate) fn expire(&mut self, now_ms: i64) {
        let (bytes, changed) = (&mut self.bytes, &mut self.changed);
        self.messages.retain(|topic, message| {
            let stays = message.expiry_left(|| now_ms).is_ok();
            if !stays {
                *bytes -= message.size();
                changed.insert(topic.into());
            }
            stays
        });
    }
}

/// The register of a tenant's sessions.
#[derive(Default)]
pub(crate) struct Sessions {
    /// By the hash of their keys, which is here so that the table grows without a look at the sessions.
    by_key: HashTable<(u64, Arc<Session>)>,
    hasher: DefaultHashBuilder,
    /// The same ones, by number.
    by_number: BTreeMap<u64, Arc<Session>>,
    /// The connected ones, by number.
    attached: HashMap<u64, (Arc<Session>, Arc<Attachment>)>,
    /// The same ones as in `by_number`, by a hash of their owner, which several may share.
    by_owner: BTreeSet<(u64, u64)>,
}

impl Sessions {
    pub(crate) fn len(&self) -> usize {
        self.by_key.len()
    }

    pub(crate) fn get(&self, key: &SessionKey) -> Option<&Arc<Session>> {
        let hash = self.hasher.hash_one(key);
        self.by_key.find(hash, |(_, session)| session.key == *key).map(|(_, session)| session)
    }

    pub(crate) fn attach(&mut self, session: &Arc<Session>, attachment: &Arc<Attachment>) {
        self.attached.insert(session.number, (session.clone(), attachment.clone()));
    }

    pub(crate) fn detach(&mut self, session: &Session, attachment: &Arc<Attachment>) {
        let is_current =
            self.attached.get(&session.number).is_some_and(|(_, current)| Arc::ptr_eq(current, attachment));
        if is_current {
            self.attached.remove(&session.number);
        }
    }

    /// Puts a session into the register, in the place of another with its key.
    pub(crate) fn insert(&mut self, session: &Arc<Session>) {
        let hash = self.hasher.hash_one(&session.key);
        let is_it = |(_, other): &(u64, Arc<Session>)| other.key == session.key;
        let place = self.by_key.entry(hash, is_it, |(hash, _)| *hash);
        place.insert((hash, session.clone()));
        self.by_number.insert(session.number, session.clone());
        self.by_owner.insert((self.hasher.hash_one(&session.key.owner), session.number));
    }

    /// Takes a session out of the register, unless another has its place.
    pub(crate) fn remove(&mut self, session: &Arc<Session>) {
        self.by_number.remove(&session.number);
        self.by_owner.remove(&(self.hasher.hash_one(&session.key.owner), session.number));
        let hash = self.hasher.hash_one(&session.key);
        if let Ok(place) = self.by_key.find_entry(hash, |(_, current)| Arc::ptr_eq(current, session)) {
            place.remove();
        }
    }

    /// All sessions of one owner.
    fn of_owner(&self, owner: &Owner) -> impl Iterator<Item = &Arc<Session>> {
        let hash = self.hasher.hash_one(owner);
        let numbers = self.by_owner.range((hash, 0)..=(hash, u64::MAX));
        let sessions = numbers.filter_map(|(_, number)| self.by_number.get(number));
        sessions.filter(move |session| session.key.owner == *owner)
    }
}

impl Space {
    fn new(tenant: Tenant, buckets: Buckets, (backlog, incomplete): (Backlog, Backlog)) -> Self {
        Self {
            is_watched: AtomicBool::new(false),
            watch_subject: format!("message.{}", token(tenant.as_str())).into(),
            tenant,
            tree: RwLock::default(),
            retained: Mutex::default(),
            sessions: Mutex::default(),
            timers: Mutex::default(),
            buckets,
            backlog: Arc::new(backlog),
            incomplete: Arc::new(incomplete),
        }
    }

    /// Puts a session's subscription into the topic tree.
    pub(crate) fn subscribe(&self, session: &Arc<Session>, subscription: &Subscription) {
        if subscription.is_own {
            return;
        }
        let Ok(filter) = TopicFilter::parse(&subscription.filter) else { return };
        let member =
            Member { number: session.number, session: session.clone(), options: subscription.options };
        let mut tree = self.tree.write();
        // Looked at under the lock: what changes afterwards is noted afterwards.
        let (is_present, has_ended) = {
            let state = session.state.lock();
            (state.attachment.is_some(), state.has_ended)
        };
        if has_ended {
            return;
        }
        match filter.group() {
            Some(group) => tree.subscribe_shared(group, filter.filter(), member, is_present),
            None => tree.subscribe(filter.filter(), member),
        };
    }

    /// Notes in the groups of a session whether its client is connected, after that has changed.
    pub(crate) fn note_presence(&self, session: &Session, shared: &[Box<str>]) {
        let filters: Vec<_> = shared.iter().filter_map(|filter| TopicFilter::parse(filter).ok()).collect();
        if filters.is_empty() {
            return;
        }
        let mut tree = self.tree.write();
        let is_present = session.is_attached();
        for filter in &filters {
            if let Some(group) = filter.group() {
                tree.note_presence(group, filter.filter(), session.number, is_present);
            }
        }
    }

    /// Takes filters of a session out of the topic tree.
    pub(crate) fn unsubscribe<'a>(&self, number: u64, filters: impl Iterator<Item = &'a str>) {
        let mut tree = None;
        for filter in filters {
            let Ok(filter) = TopicFilter::parse(filter) else { continue };
            let tree = tree.get_or_insert_with(|| self.tree.write());
            match filter.group() {
                Some(group) => tree.unsubscribe_shared(group, filter.filter(), number),
                None => tree.unsubscribe(filter.filter(), number),
            };
        }
    }

    /// The sessions that a message reaches. Of a shared subscription it is one: a connected one if there is any with room in its queue.
    pub(crate) fn matching(
        &self,
        message: &Message,
        publisher: u64,
        bounds: Bounds,
        hits: &mut Vec<Hit<Arc<Session>>>,
    ) {
        let tree = self.tree.read();
        tree.matching(&message.topic, publisher, hits);
        let has_room = |member: &Member<Arc<Session>>| has_room(member, message, bounds);
        tree.matching_shared(&message.topic, |members| hits.extend(members.pick(has_room).map(Member::hit)));
    }

    /// The member of a shared subscription that gets a message now, if one has room for it.
    pub(crate) fn member_with_room(
        &self,
        shared: &TopicFilter,
        message: &Message,
        bounds: Bounds,
    ) -> Option<Hit<Arc<Session>>> {
        let pick = |members: &Members<Arc<Session>>| {
            members.pick_with_room(|member| has_room(member, message, bounds)).map(Member::hit)
        };
        self.tree.write().group(shared.group()?, shared.filter(), pick).flatten()
    }

    /// How many sessions, subscriptions, retained messages, bytes of these, bytes in queues and bytes of incomplete packets there are.
    pub(crate) fn counts(&self) -> [usize; 6] {
        let (retained, retained_bytes) = {
            let retained = self.retained.lock();
            (retained.messages.len(), retained.bytes)
        };
        [
            self.sessions.lock().len(),
            self.tree.read().len(),
            retained,
            retained_bytes,
            self.backlog.bytes(),
            self.incomplete.bytes(),
        ]
    }

    pub(crate) fn session(&self, number: u64) -> Option<Arc<Session>> {
        self.sessions.lock().by_number.get(&number).cloned()
    }

    /// At most `limit` sessions with a higher number, in order.
    pub(crate) fn list(
        &self,
        after: u64,
        limit: usize,
        is_wanted: impl Fn(&Session) -> bool,
    ) -> Vec<Arc<Session>> {
        let sessions = self.sessions.lock();
        let behind = sessions.by_number.range(after.saturating_add(1)..).map(|(_, session)| session);
        behind.filter(|session| is_wanted(session)).take(limit).cloned().collect()
    }

    /// All sessions of one owner, connected or not.
    pub(crate) fn of_owner(&self, owner: &Owner) -> Vec<Arc<Session>> {
        self.sessions.lock().of_owner(owner).cloned().collect()
    }

    /// The connected ones of them.
    pub(crate) fn attached_of(&self, owner: &Owner) -> Vec<(Arc<Session>, Arc<Attachment>)> {
        let sessions = self.sessions.lock();
        let attached = |session: &Arc<Session>| sessions.attached.get(&session.number).cloned();
        sessions.of_owner(owner).filter_map(attached).collect()
    }

    /// All connected sessions.
    pub(crate) fn attached(&self) -> Vec<(Arc<Session>, Arc<Attachment>)> {
        self.sessions.lock().attached.values().cloned().collect()
    }

    /// Wakes the connections whose deadline has come.
    pub(crate) fn wake_overdue(&self, now: u32) {
        for (_, attachment) in self.sessions.lock().attached.values() {
            if attachment.deadline.load(Ordering::Relaxed) <= now {
                attachment.waker.wake();
            }
        }
    }

    /// Looks at a session whose client is away again at that time.
    pub(crate) fn arm(&self, session: &Arc<Session>, at_ms: i64) {
        let mut state = session.state.lock();
        if state.attachment.is_none() {
            state.armed_ms = Some(at_ms);
            self.timers.lock().insert((at_ms, session.number), session.clone());
        }
    }

    pub(crate) fn disarm(&self, number: u64, at_ms: i64) {
        self.timers.lock().remove(&(at_ms, number));
    }

    /// The sessions whose time has come.
    pub(crate) fn take_due(&self, now_ms: i64) -> Vec<Arc<Session>> {
        let mut timers = self.timers.lock();
        if timers.first_key_value().is_none_or(|(&(at_ms, _), _)| at_ms > now_ms) {
            return Vec::new();
        }
        let later = timers.split_off(&(now_ms.saturating_add(1), 0));
        std::mem::replace(&mut *timers, later).into_values().collect()
    }
}

/// Whether a member's queue takes a message, or the message needs no place there.
fn has_room(member: &Member<Arc<Session>>, message: &Message, bounds: Bounds) -> bool {
    message.qos.min(member.options.qos) == QoS::AtMostOnce || member.session.has_room(message.size(), bounds)
}

/// The spaces of all tenants that have had a client; bounded by the number of tenants.
pub(crate) struct Spaces {
    by_tenant: RwLock<HashMap<TenantId, Arc<Space>>>,
    budget: Budget,
    max_queued_bytes: usize,
    max_incomplete_bytes: usize,
    started: Instant,
}

impl Spaces {
    /// With what each tenant may have.
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            by_tenant: RwLock::default(),
            budget: config.budget,
            max_queued_bytes: config.max_queued_bytes_per_tenant,
            max_incomplete_bytes: config.max_incomplete_bytes_per_tenant,
            started: Instant::now(),
        }
    }

    /// The space of a tenant.
    pub(crate) fn of(&self, tenant: &Tenant) -> Arc<Space> {
        if let Some(space) = self.find(tenant.id()) {
            return space;
        }
        let new = || {
            let buckets = Buckets::new(self.budget, self.started);
            let bounded = (Backlog::new(self.max_queued_bytes), Backlog::new(self.max_incomplete_bytes));
            Arc::new(Space::new(tenant.clone(), buckets, bounded))
        };
        self.by_tenant.write().entry(tenant.id().clone()).or_insert_with(new).clone()
    }

    /// The space of a tenant that has had a client; for messages of the platform.
    pub(crate) fn find(&self, tenant: &TenantId) -> Option<Arc<Space>> {
        self.by_tenant.read().get(tenant).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Space>> {
        self.by_tenant.read().values().cloned().collect()
    }
}
