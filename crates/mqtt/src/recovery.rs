//! What sessions and retained messages were when the server ended: folds the changes of the journal over the last checkpoint.
//! A checkpoint is taken while changes go on, so it may hold some of the changes that follow its position: folding them again
//! changes nothing. No I/O here.

mod known;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::hash::BuildHasher;
use std::sync::Arc;

use drover_gateway::SessionPublish;
use drover_proto::sessions::v1::change::Change as Kind;
use drover_proto::sessions::v1::{
    Change, Closed, Message, Opened, Published, Released, SessionState, Subscribed, Suspect, Target,
    Unsubscribed,
};
use hashbrown::{DefaultHashBuilder, HashTable};
use prost::Message as _;

use crate::session::NEVER;
use crate::store::Numbers;

use self::known::{Known, RecoveredSessions};

/// A fold under way: first what was saved, then changes in the order of the journal, then telemetry.
#[derive(Default)]
pub(crate) struct Recovery {
    sessions: HashMap<u64, Known>,
    /// The live session of each tenant, owner and client id: their hash, and its number.
    clients: HashTable<(u64, u64)>,
    hasher: DefaultHashBuilder,
    retained: HashMap<Arc<str>, HashMap<String, Message>>,
    retained_changed: HashSet<(Arc<str>, String)>,
    tenants: HashSet<Arc<str>>,
    ended: BTreeSet<u64>,
    numbers: Numbers,
}

struct Session {
    tenant: Arc<str>,
    state: SessionState,
    /// The database holds the session; its queue there has the sequences below `saved_sequence` that aren't settled.
    saved: bool,
    saved_sequence: u64,
    fresh: BTreeMap<u64, (Target, Arc<Message>)>,
    settled: BTreeSet<u64>,
    changed: bool,
    /// When the client connected, and last released packet ids, if the journal tells.
    opened_us: i64,
    released_us: HashMap<u32, i64>,
}

/// What a fold results in.
pub(crate) struct Recovered {
    pub(crate) sessions: RecoveredSessions,
    /// By tenant and topic.
    pub(crate) retained: Vec<(String, Message)>,
    /// Tenant and topic of retained messages that the database has otherwise, for the next checkpoint.
    pub(crate) retained_changed: Vec<(String, String)>,
    /// Saved sessions that are over, for the next checkpoint.
    pub(crate) ended: Vec<u64>,
    pub(crate) numbers: Numbers,
}

#[derive(Debug)]
pub(crate) struct RecoveredSession {
    pub(crate) number: u64,
    pub(crate) tenant: String,
    /// `queued` and `queued_bytes` are as they were saved.
    pub(crate) state: SessionState,
    /// Messages that are not in the database's queue, in the order of their sequences.
    pub(crate) fresh: Vec<(Target, Arc<Message>)>,
    /// Sequences that may be in the database's queue and have left it.
    pub(crate) settled: Vec<u64>,
    /// The client was connected when the server ended.
    pub(crate) was_connected: bool,
    /// The database has it otherwise, or not at all.
    pub(crate) changed: bool,
}

impl Recovery {
    /// What the last checkpoint would have called the next session and message.
    pub(crate) fn saved_numbers(&mut self, numbers: Numbers) {
        self.saw_session(numbers.next_session.saturating_sub(1));
        self.saw_message(numbers.next_message.saturating_sub(1));
    }

    pub(crate) fn saved(&mut self, number: u64, tenant: &str, state: SessionState) {
        self.saw_session(number);
        if let Some(message) = state.will.as_ref().and_then(|will| will.message.as_ref()) {
            self.saw_message(message.number);
        }
        let session = Session::saved(self.tenant(tenant), state);
        self.take_in(number, session);
    }

    pub(crate) fn saved_retained(&mut self, tenant: &str, message: Message) {
        self.saw_message(message.number);
        let tenant = self.tenant(tenant);
        self.retained.entry(tenant).or_default().insert(message.topic.clone(), message);
    }

    /// Folds a change, which was put into the journal at `received_us`. Changes of sessions that are over change nothing.
    pub(crate) fn apply(&mut self, tenant: &str, change: Change, received_us: i64) {
        match change.change {
            Some(Kind::Opened(opened)) => self.open(tenant, opened, received_us),
            Some(Kind::Closed(closed)) => {
                if let Some(session) = self.session(closed.session) {
                    session.close(&closed);
                }
            }
            Some(Kind::Ended(ended)) => {
                self.saw_session(ended.session);
                self.end(ended.session);
            }
            Some(Kind::Subscribed(subscribed)) => {
                if let Some(session) = self.session(subscribed.session) {
                    session.subscribe(subscribed);
                }
            }
            Some(Kind::Unsubscribed(unsubscribed)) => {
                if let Some(session) = self.session(unsubscribed.session) {
                    session.unsubscribe(&unsubscribed);
                }
            }
            Some(Kind::Published(published)) => self.publish(tenant, published),
            Some(Kind::Settled(settled)) => {
                if let Some(session) = self.session(settled.session) {
                    session.settle(&settled.sequences);
                }
            }
            Some(Kind::Received(received)) => {
                if let Some(session) = self.session(received.session) {
                    session.receive(&received.sequences);
                }
            }
            Some(Kind::Released(released)) => {
                if let Some(session) = self.session(released.session) {
                    session.release(&released);
                }
            }
            // Of a later version: nothing here knows it.
            None => {}
        }
    }

    /// Folds a record of the log that a session sent at QoS 2, or as its will; after all changes.
    pub(crate) fn telemetry(&mut self, session: u64, packet_id: u32, received_us: i64) {
        if let Some(session) = self.session(session) {
            session.sent_telemetry(packet_id, received_us);
        }
    }

    /// Clients that were connected have left at `now_ms`.
    pub(crate) fn finish(self, now_ms: i64) -> Recovered {
        let mut numbers: Vec<_> = self.sessions.keys().copied().collect();
        numbers.sort_unstable();
        let sessions = RecoveredSessions { numbers: numbers.into_iter(), known: self.sessions, now_ms };
        let mut retained: Vec<_> = (self.retained.into_iter())
            .flat_map(|(tenant, topics)| {
                topics.into_values().map(move |message| (tenant.to_string(), message))
            })
            .collect();
        retained.sort_unstable_by(|(tenant, message), (other, another)| {
            (tenant, &message.topic).cmp(&(other, &another.topic))
        });
        let mut retained_changed: Vec<_> =
            self.retained_changed.into_iter().map(|(tenant, topic)| (tenant.to_string(), topic)).collect();
        retained_changed.sort_unstable();
        let numbers = Numbers {
            next_session: self.numbers.next_session.max(1),
            next_message: self.numbers.next_message.max(1),
        };
        Recovered { sessions, retained, retained_changed, ended: self.ended.into_iter().collect(), numbers }
    }

    fn open(&mut self, tenant: &str, opened: Opened, received_us: i64) {
        self.saw_session(opened.session);
        if let Some(message) = opened.will.as_ref().and_then(|will| will.message.as_ref()) {
            self.saw_message(message.number);
        }
        if !self.sessions.contains_key(&opened.session) {
            let state = SessionState {
                owner: opened.owner.clone(),
                client_id: opened.client_id.clone(),
                next_sequence: 1,
                ..SessionState::default()
            };
            let tenant = self.tenant(tenant);
            self.take_in(opened.session, Session::new(tenant, state));
        }
        if let Some(session) = self.session(opened.session) {
            session.open(opened, received_us);
        }
    }

    /// Adds a session, which ends an older one of the same client. A checkpoint may already hold a newer one: that stays.
    fn take_in(&mut self, number: u64, session: Session) {
        let hash = self.hash(&session);
        let other = self.clients.find(hash, |(same_hash, other)| {
            *same_hash == hash
                && self.sessions.get(other).is_some_and(|other| other.is_of_client_of(&session))
        });
        match other.map(|(_, other)| *other) {
            Some(newer) if newer > number => {
                if session.saved {
                    self.ended.insert(number);
                }
                return;
            }
            Some(older) => self.end(older),
            None => {}
        }
        self.sessions.insert(number, Known::of(session));
        self.clients.insert_unique(hash, (hash, number), |(hash, _)| *hash);
    }

    fn end(&mut self, number: u64) {
        let Some(session) = self.sessions.remove(&number).map(Known::into_session) else { return };
        if let Ok(entry) = self.clients.find_entry(self.hash(&session), |(_, other)| *other == number) {
            entry.remove();
        }
        if session.saved {
            self.ended.insert(number);
        }
    }

    fn publish(&mut self, tenant: &str, published: Published) {
        if let Some(message) = published.message {
            self.saw_message(message.number);
            if published.retained {
                self.retain(tenant, &message);
            }
            let message = Arc::new(message);
            for target in published.targets {
                if let Some(session) = self.session(target.session) {
                    session.queue(target, &message);
                }
            }
        }
        if let Some(publisher) = self.session(published.publisher) {
            publisher.sent(published.packet_id);
        }
        if let Some(session) = self.session(published.will_of) {
            session.forget_will();
        }
    }

    fn retain(&mut self, tenant: &str, message: &Message) {
        let tenant = self.tenant(tenant);
        let topics = self.retained.entry(tenant.clone()).or_default();
        if message.payload.is_empty() {
            topics.remove(&message.topic);
        } else {
            topics.insert(message.topic.clone(), message.clone());
        }
        self.retained_changed.insert((tenant, message.topic.clone()));
    }

    /// A live session that something changes. 0 is none.
    fn session(&mut self, number: u64) -> Option<&mut Session> {
        self.saw_session(number);
        let session = self.sessions.get_mut(&number)?.open();
        session.changed = true;
        Some(session)
    }

    fn saw_session(&mut self, number: u64) {
        self.numbers.next_session = self.numbers.next_session.max(number.saturating_add(1));
    }

    fn saw_message(&mut self, number: u64) {
        self.numbers.next_message = self.numbers.next_message.max(number.saturating_add(1));
    }

    fn hash(&self, session: &Session) -> u64 {
        self.hasher.hash_one(session.client())
    }

    /// One copy of each tenant's name.
    fn tenant(&mut self, name: &str) -> Arc<str> {
        if let Some(tenant) = self.tenants.get(name) {
            return tenant.clone();
        }
        let tenant: Arc<str> = name.into();
        self.tenants.insert(tenant.clone());
        tenant
    }
}

impl Session {
    fn saved(tenant: Arc<str>, state: SessionState) -> Self {
        Self { saved: true, saved_sequence: state.next_sequence, ..Self::new(tenant, state) }
    }

    /// One that nothing has happened to since it was saved.
    fn of(tenant: Arc<str>, state: &[u8]) -> Self {
        Self::saved(tenant, SessionState::decode(state).expect("it was encoded here"))
    }

    fn new(tenant: Arc<str>, state: SessionState) -> Self {
        Self {
            tenant,
            state,
            saved: false,
            saved_sequence: 0,
            fresh: BTreeMap::new(),
            settled: BTreeSet::new(),
            changed: false,
            opened_us: 0,
            released_us: HashMap::new(),
        }
    }

    /// Whose session it is.
    fn client(&self) -> (&str, &str, &str) {
        (&self.tenant, &self.state.owner, &self.state.client_id)
    }

    fn open(&mut self, opened: Opened, received_us: i64) {
        // Whatever ended the connection before, it may have been a kill.
        if self.opened_us != 0 || self.saved {
            self.suspect();
        }
        self.state.expiry_s = opened.expiry_s;
        self.state.will = opened.will;
        self.state.at_risk = opened.at_risk;
        self.state.offline_since_ms = 0;
        self.state.will_due_ms = 0;
        self.opened_us = received_us;
    }

    fn close(&mut self, closed: &Closed) {
        self.state.offline_since_ms = closed.at_ms;
        self.state.sent_through = closed.sent_through;
        self.state.suspect = closed.suspect;
        self.state.expiry_s = closed.expiry_s;
        self.state.will_due_ms = closed.will_due_ms;
        if closed.will_due_ms == 0 {
            self.state.will = None;
        }
    }

    fn subscribe(&mut self, subscribed: Subscribed) {
        for new in subscribed.subscriptions {
            match self.state.subscriptions.iter_mut().find(|old| old.filter == new.filter) {
                Some(old) => *old = new,
                None => self.state.subscriptions.push(new),
            }
        }
    }

    fn unsubscribe(&mut self, unsubscribed: &Unsubscribed) {
        let gone: HashSet<&str> = unsubscribed.filters.iter().map(String::as_str).collect();
        self.state.subscriptions.retain(|subscription| !gone.contains(subscription.filter.as_str()));
    }

    fn queue(&mut self, target: Target, message: &Arc<Message>) {
        let sequence = target.sequence;
        if sequence < self.saved_sequence {
            return;
        }
        self.state.next_sequence = self.state.next_sequence.max(sequence.saturating_add(1));
        self.fresh.insert(sequence, (target, message.clone()));
    }

    fn settle(&mut self, sequences: &[u64]) {
        for &sequence in sequences {
            if let Some(at) = self.state.received.iter().position(|received| *received == sequence) {
                self.state.received.remove(at);
            }
            self.leave_queue(sequence);
        }
    }

    fn receive(&mut self, sequences: &[u64]) {
        for &sequence in sequences {
            if !self.state.received.contains(&sequence) {
                self.state.received.push(sequence);
            }
            self.leave_queue(sequence);
        }
    }

    fn leave_queue(&mut self, sequence: u64) {
        if sequence < self.saved_sequence {
            self.settled.insert(sequence);
        } else {
            self.fresh.remove(&sequence);
        }
    }

    fn release(&mut self, released: &Released) {
        self.state.unreleased.retain(|packet_id| !released.packet_ids.contains(packet_id));
        for &packet_id in &released.packet_ids {
            let at_us = self.released_us.entry(packet_id).or_insert(released.at_us);
            *at_us = released.at_us.max(*at_us);
        }
    }

    /// A QoS 2 message came with this packet id.
    fn sent(&mut self, packet_id: u32) {
        if packet_id != 0 && !self.state.unreleased.contains(&packet_id) {
            self.state.unreleased.push(packet_id);
        }
    }

    fn sent_telemetry(&mut self, packet_id: u32, received_us: i64) {
        if packet_id == SessionPublish::WILL {
            // Else it was an earlier connection's.
            if received_us > self.opened_us {
                self.forget_will();
            }
        } else if self.released_us.get(&packet_id).is_none_or(|at_us| received_us > *at_us) {
            self.sent(packet_id);
        }
    }

    /// A client that was connected may have been sent as much as was at risk.
    fn suspect(&mut self) {
        if self.state.offline_since_ms == 0 {
            let earlier = self.state.suspect.unwrap_or_default();
            self.state.suspect = Some(Suspect {
                window: earlier.window.max(self.state.at_risk),
                through: self.state.next_sequence.saturating_sub(1),
                after: earlier.after,
            });
        }
    }

    fn forget_will(&mut self) {
        self.state.will = None;
        self.state.will_due_ms = 0;
    }

    fn finish(mut self, number: u64, now_ms: i64) -> RecoveredSession {
        let was_connected = self.state.offline_since_ms == 0;
        if was_connected {
            self.suspect();
            self.state.offline_since_ms = now_ms;
            // The will is due at the end of the session at the latest (MQTT 5, 3.1.3.2.2).
            let wait_s = self.state.will.as_ref().map_or(0, |will| match self.state.expiry_s {
                NEVER => will.delay_s,
                expiry_s => will.delay_s.min(expiry_s),
            });
            self.state.will_due_ms = now_ms.saturating_add(i64::from(wait_s) * 1_000);
        }
        if self.state.will.is_none() {
            self.state.will_due_ms = 0;
        }
        RecoveredSession {
            number,
            tenant: self.tenant.to_string(),
            state: self.state,
            fresh: self.fresh.into_values().collect(),
            settled: self.settled.into_iter().collect(),
            was_connected,
            changed: self.changed || was_connected,
        }
    }
}

#[cfg(test)]
mod tests;
