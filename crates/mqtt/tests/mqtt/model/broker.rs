//! The naive broker: what the standards want each client to receive, said with lists and loops. It does one thing after the other, knows
//! no time, no bytes and no disk, and forgets nothing; a kill is only that all clients leave at once.

use std::collections::{BTreeMap, VecDeque};

use drover_mqtt_codec::{QoS, RetainHandling, Version};

/// A message as its publisher sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub topic: &'static str,
    pub payload: String,
    pub qos: QoS,
    pub retain: bool,
}

#[derive(Clone, Debug)]
pub struct Subscription {
    pub filter: &'static str,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
    pub id: Option<u32>,
}

impl Subscription {
    /// To everything that a filter matches, at the highest QoS.
    pub const fn all(filter: &'static str) -> Self {
        Self {
            filter,
            qos: QoS::ExactlyOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
            id: None,
        }
    }
}

/// What a client asks for in CONNECT.
#[derive(Clone, Debug)]
pub struct Wish {
    pub version: Version,
    pub clean_start: bool,
    /// The session outlives the connection.
    pub persistent: bool,
    /// Receive Maximum.
    pub window: usize,
    pub will: Option<Message>,
}

/// What PUBLISH has to say about repetition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dup {
    Never,
    /// A server that was killed may have sent it.
    Allowed,
    /// The client has seen it.
    Required,
}

/// A message for one client.
#[derive(Clone, Debug)]
struct Item {
    topic: &'static str,
    payload: String,
    qos: QoS,
    retain: bool,
    ids: Vec<u32>,
    /// Messages of one batch may come in any order.
    batch: u64,
    dup: Dup,
    /// Of what the client has seen: its packet id, and when it saw it first.
    seen: Option<(u16, u64)>,
    /// It may come, or be gone: a kill came between its acknowledgement and the disk.
    optional: bool,
}

/// A PUBLISH that a client received.
#[derive(Clone, Debug)]
pub struct Received {
    pub topic: String,
    pub payload: String,
    pub qos: QoS,
    pub retain: bool,
    pub dup: bool,
    /// `None` in 3.1.1, which knows no subscription identifiers.
    pub ids: Option<Vec<u32>>,
    pub packet_id: Option<u16>,
}

/// A QoS 2 message that the client has answered with PUBREC.
#[derive(Clone, Debug)]
struct Taken {
    packet_id: u16,
    /// PUBREL came on this connection.
    released: bool,
    optional: bool,
}

struct Session {
    /// When it began: wills that are due together are published in this order.
    begun: u64,
    persistent: bool,
    /// The client's Receive Maximum while it is connected.
    window: Option<usize>,
    will: Option<Message>,
    subscriptions: Vec<Subscription>,
    queue: VecDeque<Item>,
    /// What the client has seen and not acknowledged.
    inflight: Vec<Item>,
    taken: Vec<Taken>,
    /// Acknowledged since the last moment at which everything was known to be on disk.
    unsure: Vec<Item>,
    unsure_taken: Vec<Taken>,
    /// QoS 2 messages of the client that it has not released.
    unreleased: Vec<(u16, Message)>,
}

/// What a client may acknowledge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// By PUBACK.
    Once(u16),
    /// By PUBREC.
    Exactly(u16),
    /// By PUBCOMP.
    Released(u16),
}

#[derive(Default)]
pub struct Broker {
    sessions: BTreeMap<usize, Session>,
    retained: BTreeMap<&'static str, Message>,
    batch: u64,
    /// The batch of the last kill.
    killed: u64,
    /// Messages that clients have seen.
    seen: u64,
}

impl Broker {
    pub fn is_connected(&self, client: usize) -> bool {
        self.sessions.get(&client).is_some_and(|session| session.window.is_some())
    }

    pub fn is_persistent(&self, client: usize) -> bool {
        self.sessions.get(&client).is_some_and(|session| session.persistent)
    }

    /// The clients whose sessions there are.
    pub fn clients(&self) -> Vec<usize> {
        self.sessions.keys().copied().collect()
    }

    /// Answers Session Present.
    pub fn connect(&mut self, client: usize, wish: &Wish) -> bool {
        self.batch += 1;
        // A client that connects again drives its former connection out.
        let will = self.close(client, false);
        if wish.clean_start {
            self.sessions.remove(&client);
        }
        let present = self.sessions.contains_key(&client);
        let begun = self.batch;
        let session = self.sessions.entry(client).or_insert_with(|| Session::new(begun));
        session.persistent = wish.persistent;
        session.window = Some(wish.window);
        session.will.clone_from(&wish.will);
        self.publish_wills(will.into_iter().map(|will| (client, will)).collect());
        present
    }

    /// The connection ends; with goodbye there is no will.
    pub fn leave(&mut self, client: usize, goodbye: bool) {
        self.batch += 1;
        let will = self.close(client, goodbye);
        self.publish_wills(will.into_iter().map(|will| (client, will)).collect());
    }

    /// The server is killed; answers how many wills its successor has to publish.
    pub fn kill(&mut self) -> usize {
        self.batch += 1;
        self.killed = self.batch;
        let mut wills = Vec::new();
        for client in self.clients() {
            let Some(session) = self.sessions.get_mut(&client) else { continue };
            // What was acknowledged a moment ago may have been forgotten.
            let unsure = std::mem::take(&mut session.unsure);
            session.inflight.extend(unsure.into_iter().map(|item| Item { optional: true, ..item }));
            let unsure = std::mem::take(&mut session.unsure_taken);
            session.taken.extend(unsure.into_iter().map(|taken| Taken { optional: true, ..taken }));
            if session.window.is_some() {
                for item in session.queue.iter_mut().filter(|item| item.dup == Dup::Never) {
                    item.dup = Dup::Allowed;
                }
            }
            let (was_connected, begun) = (session.window.is_some(), session.begun);
            session.rewind();
            if was_connected {
                wills.extend(self.close(client, false).map(|will| (begun, (client, will))));
            }
        }
        wills.sort_by_key(|(begun, _)| *begun);
        let count = wills.len();
        self.publish_wills(wills.into_iter().map(|(_, will)| will).collect());
        count
    }

    /// Everything so far is known to be on disk.
    pub fn flushed(&mut self) {
        for session in self.sessions.values_mut() {
            session.unsure.clear();
            session.unsure_taken.clear();
        }
    }

    /// Takes the client off its session, which ends if it does not outlive its connection; answers the will that is due.
    fn close(&mut self, client: usize, goodbye: bool) -> Option<Message> {
        let session = self.sessions.get_mut(&client)?;
        session.window.take()?;
        session.rewind();
        let will = session.will.take().filter(|_| !goodbye);
        if !session.persistent {
            self.sessions.remove(&client);
        }
        will
    }

    fn publish_wills(&mut self, wills: Vec<(usize, Message)>) {
        for (client, will) in wills {
            self.distribute(client, &will, false);
        }
    }

    pub fn subscribe(&mut self, client: usize, subscription: &Subscription) {
        self.batch += 1;
        let Some(session) = self.sessions.get_mut(&client) else { return };
        let before = session.subscriptions.len();
        session.subscriptions.retain(|known| known.filter != subscription.filter);
        let is_new = session.subscriptions.len() == before;
        session.subscriptions.push(subscription.clone());
        let sends = match subscription.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DontSend => false,
        };
        if !sends || group(subscription.filter).is_some() {
            return;
        }
        for message in self.retained.values().filter(|message| matches(subscription.filter, message.topic)) {
            session.push(Item {
                qos: message.qos.min(subscription.qos),
                retain: true,
                ids: subscription.id.into_iter().collect(),
                ..Item::of(message, self.batch)
            });
        }
    }

    /// Answers whether there was such a subscription.
    pub fn unsubscribe(&mut self, client: usize, filter: &str) -> bool {
        let Some(session) = self.sessions.get_mut(&client) else { return false };
        let before = session.subscriptions.len();
        session.subscriptions.retain(|known| known.filter != filter);
        session.subscriptions.len() < before
    }

    /// A message of a client; at QoS 2 with its packet id. Answers whether anybody has subscribed to it.
    pub fn publish(&mut self, client: usize, message: &Message, packet_id: u16) -> bool {
        self.batch += 1;
        self.note_unreleased(client, message, packet_id);
        self.distribute(client, message, false)
    }

    /// A message that was sent before a kill and will be sent again when its publisher is back, the first of all: it may have been
    /// taken the first time. In the order it belongs to the wills of that kill.
    pub fn publish_again(&mut self, client: usize, message: &Message, packet_id: u16) {
        self.batch = self.killed;
        self.note_unreleased(client, message, packet_id);
        self.distribute(client, message, true);
    }

    fn note_unreleased(&mut self, client: usize, message: &Message, packet_id: u16) {
        if message.qos == QoS::ExactlyOnce
            && let Some(session) = self.sessions.get_mut(&client)
        {
            session.unreleased.push((packet_id, message.clone()));
        }
    }

    /// What of the client's own QoS 2 messages is not released.
    pub fn unreleased(&self, client: usize) -> &[(u16, Message)] {
        self.sessions.get(&client).map(|session| &session.unreleased[..]).unwrap_or_default()
    }

    pub fn release(&mut self, client: usize, packet_id: u16) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        session.unreleased.retain(|(known, _)| *known != packet_id);
    }

    /// `again`: it may have been taken before.
    fn distribute(&mut self, publisher: usize, message: &Message, again: bool) -> bool {
        let mut is_wanted = false;
        for (client, session) in &mut self.sessions {
            let wanted = session.subscriptions.iter().filter(|subscription| {
                matches(bare(subscription.filter), message.topic)
                    && !(subscription.no_local && *client == publisher)
            });
            let (shared, ordinary): (Vec<_>, Vec<_>) =
                wanted.cloned().partition(|subscription| group(subscription.filter).is_some());
            // All ordinary subscriptions together give one message, each shared one its own.
            let together = (!ordinary.is_empty()).then_some(ordinary);
            for subscriptions in together.into_iter().chain(shared.into_iter().map(|one| vec![one])) {
                is_wanted = true;
                let highest = subscriptions.iter().map(|subscription| subscription.qos).max();
                let mut item = Item::of(message, self.batch);
                item.qos = message.qos.min(highest.unwrap_or_default());
                item.retain = message.retain
                    && subscriptions.iter().any(|subscription| subscription.retain_as_published);
                item.ids = subscriptions.iter().filter_map(|subscription| subscription.id).collect();
                item.ids.sort_unstable();
                item.dup = if again { Dup::Allowed } else { Dup::Never };
                if again && *client == publisher && item.qos == QoS::AtMostOnce {
                    // If it was the first time that counts, nobody was there to hear it.
                    session.queue.push_back(Item { optional: true, ..item.clone() });
                }
                session.push(item.clone());
                if again && message.qos == QoS::AtLeastOnce {
                    session.push(Item { optional: true, ..item });
                }
            }
        }
        if message.retain && message.payload.is_empty() {
            self.retained.remove(message.topic);
        } else if message.retain {
            self.retained.insert(message.topic, message.clone());
        }
        is_wanted
    }

    /// Whether the server owes the client a packet that cannot wait for anything.
    pub fn owes(&self, client: usize) -> bool {
        let Some(session) = self.sessions.get(&client) else { return false };
        let Some(window) = session.window else { return false };
        if session.taken.iter().any(|taken| !taken.released && !taken.optional) {
            return true;
        }
        let Some(first) = session.queue.iter().position(|item| !item.optional) else { return false };
        if session.inflight.len() + session.taken.len() < window {
            return true;
        }
        // A message at QoS 0 needs no place in the window; one at QoS 1 or 2 before it does.
        let batch = session.queue[first].batch;
        let before = session.queue.iter().take(first);
        let same = session.queue.iter().skip(first).take_while(|item| item.batch == batch);
        before.chain(same).all(|item| item.qos == QoS::AtMostOnce)
    }

    /// The client received a message: the next one that it has to get.
    pub fn received(&mut self, client: usize, received: &Received) -> Result<(), String> {
        let seen = self.seen;
        let session = self.sessions.get_mut(&client).ok_or("there is no session")?;
        let Some(window) = session.window else { return Err("the client is away".into()) };
        let Some(index) = session.find(received) else {
            let next: Vec<_> = session.queue.iter().take(4).collect();
            return Err(format!("what may come next is {next:?}"));
        };
        let Some(mut item) = session.queue.remove(index) else { return Err("it is there".into()) };
        // Optional ones before it did not come.
        let mut left = index;
        session.queue.retain(|other| {
            let is_before = left > 0;
            left = left.saturating_sub(1);
            !is_before || other.batch == item.batch
        });
        if item.qos == QoS::AtMostOnce {
            return Ok(());
        }
        let packet_id = received.packet_id.ok_or("it has no packet id")?;
        let mut used = session.inflight.iter().filter_map(|item| item.seen).map(|(id, _)| id);
        if used.any(|id| id == packet_id) || session.taken.iter().any(|taken| taken.packet_id == packet_id) {
            return Err("its packet id is in use".into());
        }
        // What the server may have completed needs no place.
        let taken = session.taken.iter().filter(|taken| !taken.optional).count();
        if session.inflight.len() + taken >= window {
            return Err(format!("the window of {window} is full"));
        }
        self.seen += 1;
        item.seen = item.seen.or(Some((packet_id, seen)));
        item.optional = false;
        session.inflight.push(item);
        Ok(())
    }

    /// PUBREL came.
    pub fn released(&mut self, client: usize, packet_id: u16) -> Result<(), String> {
        let session = self.sessions.get_mut(&client).ok_or("there is no session")?;
        let taken = session.taken.iter_mut().find(|taken| taken.packet_id == packet_id && !taken.released);
        let taken = taken.ok_or("no PUBREL was due")?;
        (taken.released, taken.optional) = (true, false);
        Ok(())
    }

    /// Repetitions of PUBREL that may come with a new connection have come.
    pub fn settled_in(&mut self, client: usize) {
        if let Some(session) = self.sessions.get_mut(&client) {
            session.taken.retain(|taken| !taken.optional);
        }
    }

    /// What the client may acknowledge, in the order in which it came.
    pub fn open(&self, client: usize) -> Vec<Open> {
        let Some(session) = self.sessions.get(&client) else { return Vec::new() };
        let released = session.taken.iter().filter(|taken| taken.released);
        let inflight = session.inflight.iter().filter_map(|item| {
            let (packet_id, _) = item.seen?;
            Some(if item.qos == QoS::ExactlyOnce { Open::Exactly(packet_id) } else { Open::Once(packet_id) })
        });
        released.map(|taken| Open::Released(taken.packet_id)).chain(inflight).collect()
    }

    /// The client acknowledges.
    pub fn acknowledge(&mut self, client: usize, open: Open) {
        let Some(session) = self.sessions.get_mut(&client) else { return };
        match open {
            Open::Once(packet_id) => {
                let settled = session.settle(packet_id);
                session.unsure.extend(settled);
            }
            Open::Exactly(packet_id) => {
                session.settle(packet_id);
                session.taken.push(Taken { packet_id, released: false, optional: false });
            }
            Open::Released(packet_id) => {
                let position = session.taken.iter().position(|taken| taken.packet_id == packet_id);
                let completed = position.map(|position| session.taken.remove(position));
                session.unsure_taken.extend(completed);
            }
        }
    }

    /// The messages of a client that wait or are on their way.
    pub fn waiting(&self, client: usize) -> usize {
        let session = self.sessions.get(&client);
        session.map_or(0, |session| {
            session.queue.iter().filter(|item| !item.optional).count()
                + session.inflight.len()
                + session.taken.len()
        })
    }
}

impl Session {
    fn new(begun: u64) -> Self {
        Self {
            begun,
            persistent: false,
            window: None,
            will: None,
            subscriptions: Vec::new(),
            queue: VecDeque::new(),
            inflight: Vec::new(),
            taken: Vec::new(),
            unsure: Vec::new(),
            unsure_taken: Vec::new(),
            unreleased: Vec::new(),
        }
    }

    fn push(&mut self, item: Item) {
        if item.qos != QoS::AtMostOnce || self.window.is_some() {
            self.queue.push_back(item);
        }
    }

    /// What was not acknowledged waits again, as the client knows it and before everything else; nobody waits for QoS 0.
    fn rewind(&mut self) {
        let known = std::mem::take(&mut self.inflight).into_iter().chain(self.queue.drain(..));
        let (mut seen, unseen): (Vec<_>, Vec<_>) = known.partition(|item| item.seen.is_some());
        seen.sort_by_key(|item| item.seen.map(|(_, at)| at));
        seen.iter_mut().for_each(|item| item.dup = Dup::Required);
        self.queue = seen.into_iter().chain(unseen).filter(|item| item.qos != QoS::AtMostOnce).collect();
        self.taken.iter_mut().for_each(|taken| taken.released = false);
    }

    fn settle(&mut self, packet_id: u16) -> Option<Item> {
        let position =
            self.inflight.iter().position(|item| item.seen.is_some_and(|(id, _)| id == packet_id))?;
        Some(self.inflight.remove(position))
    }

    /// The first place in the queue where a message may stand that comes now: before it are only optional ones, or those of its batch.
    /// What has to come goes before its equal of the same batch that need not.
    fn find(&self, received: &Received) -> Option<usize> {
        let mut due = None;
        let mut found: Option<(usize, u64)> = None;
        for (index, item) in self.queue.iter().enumerate() {
            let is_beyond = |batch| batch != item.batch;
            if due.is_some_and(is_beyond) || found.is_some_and(|(_, batch)| is_beyond(batch)) {
                break;
            }
            if item.is(received) {
                if !item.optional {
                    return Some(index);
                }
                found = found.or(Some((index, item.batch)));
            }
            // One that was seen has its place in the order, whatever its batch.
            if !item.optional && item.seen.is_some() {
                break;
            }
            if !item.optional {
                due = Some(item.batch);
            }
        }
        found.map(|(index, _)| index)
    }
}

impl Item {
    fn of(message: &Message, batch: u64) -> Self {
        Self {
            topic: message.topic,
            payload: message.payload.clone(),
            qos: message.qos,
            retain: message.retain,
            ids: Vec::new(),
            batch,
            dup: Dup::Never,
            seen: None,
            optional: false,
        }
    }

    fn is(&self, received: &Received) -> bool {
        let dup = match self.dup {
            Dup::Never => !received.dup,
            Dup::Allowed => true,
            Dup::Required => received.dup,
        };
        let packet_id = self.seen.is_none_or(|(id, _)| received.packet_id == Some(id));
        let ids = received.ids.as_ref().is_none_or(|ids| *ids == self.ids);
        self.topic == received.topic
            && self.payload == received.payload
            && self.qos == received.qos
            && self.retain == received.retain
            && dup
            && packet_id
            && ids
    }
}

/// The group of a shared subscription (MQTT 5, 4.8.2).
fn group(filter: &str) -> Option<&str> {
    filter.strip_prefix("$share/")?.split('/').next()
}

fn bare(filter: &'static str) -> &'static str {
    let shared = group(filter).and_then(|_| filter.splitn(3, '/').nth(2));
    shared.unwrap_or(filter)
}

/// MQTT 5, 4.7.
fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(name)) if level == name => {}
            _ => return false,
        }
    }
    topic.next().is_none()
}
