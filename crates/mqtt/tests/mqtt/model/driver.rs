//! Does to the real broker what is done to the naive one, and compares what comes.

use std::collections::BTreeMap;
use std::num::{NonZeroU16, NonZeroU32};

use drover_mqtt_codec::{
    Ack, Connect, ConnectProperties, Disconnect, Packet, Publish, QoS, ReasonCode, Subscribe,
    SubscribeProperties, Unsubscribe, Version, Will,
};
use drover_testkit::eventually;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use super::broker::{Broker, Message, Open, Received, Subscription, Wish};
use super::operation::{CLIENTS, NAMES, Op, Publication};
use crate::server::{Device, Server, allow_anonymous, anonymous, id, publish};

/// Messages of a flood that are written before their acknowledgements are read; the server's receive maximum is higher.
const BURST: usize = 250;
/// Long enough that there is a checkpoint only when a test asks for one.
const CHECKPOINT_INTERVAL_S: u32 = 3_600;

/// The server's own bound of what is on its way to a client, as by default.
pub const MAX_INFLIGHT: usize = 1_024;

struct Client {
    device: Device<TcpStream>,
    wish: Wish,
}

/// Both brokers, and the clients of the real one.
pub struct Driver {
    /// `None` only while one follows another.
    server: Option<Server>,
    broker: Broker,
    clients: BTreeMap<usize, Client>,
    payloads: u32,
    packet_ids: u16,
}

impl Driver {
    pub async fn start() -> Self {
        let server = Server::start_with(
            |log| log.linger_us = 0,
            |config| {
                allow_anonymous(config);
                config.checkpoint_interval_s = NonZeroU32::new(CHECKPOINT_INTERVAL_S).unwrap();
            },
        )
        .await;
        let broker = Broker::default();
        Self { server: Some(server), broker, clients: BTreeMap::new(), payloads: 0, packet_ids: 0 }
    }

    pub async fn run(&mut self, op: &Op) {
        match op {
            Op::Connect { client, wish, will } => self.connect(*client, wish, will.as_ref()).await,
            Op::Leave { client, goodbye } => {
                if let Some(client) = self.pick(*client) {
                    self.leave(client, *goodbye).await;
                }
            }
            Op::Subscribe { client, subscription } => {
                if let Some(client) = self.pick(*client) {
                    self.subscribe(client, subscription.clone()).await;
                }
            }
            Op::Unsubscribe { client, filter } => {
                if let Some(client) = self.pick(*client) {
                    self.unsubscribe(client, filter).await;
                }
            }
            Op::Publish { client, publication } => {
                if let Some(client) = self.pick(*client) {
                    self.publish(client, publication).await;
                }
            }
            Op::Flood { client, count, publication } => {
                if let Some(client) = self.pick(*client) {
                    self.flood(client, *count, publication).await;
                }
            }
            Op::Acknowledge { client, which } => {
                if let Some(client) = self.pick(*client) {
                    self.acknowledge(client, *which).await;
                }
            }
            Op::Drain { client } => {
                if let Some(client) = self.pick(*client) {
                    self.drain(client).await;
                }
            }
            Op::Release { client, which } => {
                if let Some(client) = self.pick(*client) {
                    self.release(client, *which).await;
                }
            }
            Op::Repeat { client, which } => {
                if let Some(client) = self.pick(*client) {
                    self.repeat(client, *which).await;
                }
            }
            Op::Checkpoint => self.checkpoint().await,
            Op::Kill { flush, unanswered } => self.kill(*flush, unanswered.as_ref()).await,
        }
        self.settle_all().await;
    }

    /// Nobody holds anything back any more: all sessions get all that is left, and a new subscriber gets what is retained.
    pub async fn finish(mut self) {
        for client in self.broker.clients() {
            if !self.broker.is_connected(client) {
                self.connect(client, &persistent(MAX_INFLIGHT), None).await;
            }
            self.drain(client).await;
            assert_eq!(self.broker.waiting(client), 0, "client {client}");
        }
        let newcomer = CLIENTS;
        self.connect(newcomer, &persistent(MAX_INFLIGHT), None).await;
        self.subscribe(newcomer, Subscription::all("#")).await;
        self.drain(newcomer).await;
        self.settle_all().await;
    }

    fn server(&self) -> &Server {
        self.server.as_ref().unwrap()
    }

    /// One of the connected clients.
    fn pick(&self, which: usize) -> Option<usize> {
        let connected: Vec<_> = self.clients.keys().copied().collect();
        (!connected.is_empty()).then(|| connected[which % connected.len()])
    }

    fn message(&mut self, publication: &Publication) -> Message {
        self.payloads += 1;
        let payload = if publication.empty { String::new() } else { self.payloads.to_string() };
        Message { topic: publication.topic, payload, qos: publication.qos, retain: publication.retain }
    }

    /// A packet id that the client does not use.
    fn packet_id(&mut self, client: usize) -> u16 {
        loop {
            self.packet_ids = self.packet_ids % u16::MAX + 1;
            if self.broker.unreleased(client).iter().all(|(used, _)| *used != self.packet_ids) {
                return self.packet_ids;
            }
        }
    }

    async fn connect(&mut self, client: usize, wish: &Wish, will: Option<&Publication>) {
        let wish = Wish { will: will.map(|will| self.message(will)), ..wish.clone() };
        let former = self.clients.remove(&client);
        let present = self.broker.connect(client, &wish);
        let mut device = self.server().tcp().await;
        let answer = device.connect(packet(client, &wish)).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        assert_eq!(answer.session_present, present, "Session Present for client {client}, {wish:?}");
        self.clients.insert(client, Client { device, wish });
        if let Some(mut former) = former {
            former.device.expect_end(ReasonCode::SessionTakenOver).await;
            // Nobody is told when the will of a former connection is on disk.
            self.flush().await;
        }
        self.ping(client).await;
        self.broker.settled_in(client);
    }

    async fn leave(&mut self, client: usize, goodbye: bool) {
        let Some(mut left) = self.clients.remove(&client) else { return };
        self.broker.leave(client, goodbye);
        if goodbye {
            let packet = Disconnect { reason: ReasonCode::Success, properties: None };
            left.device.send(&Packet::Disconnect(packet)).await;
        } else {
            left.device.stream.shutdown().await.unwrap();
        }
        assert_eq!(left.device.next().await, None, "client {client} left");
        // Nobody is told when its leaving is on disk.
        self.flush().await;
    }

    async fn subscribe(&mut self, client: usize, mut subscription: Subscription) {
        let version = self.clients[&client].wish.version;
        if subscription.filter.starts_with("$share/") {
            // One member only, so that there is nothing to choose; No Local is forbidden there.
            subscription.no_local = false;
            if client != 0 {
                return;
            }
        }
        if version == Version::V4 {
            subscription = Subscription {
                no_local: false,
                retain_as_published: false,
                retain_handling: drover_mqtt_codec::RetainHandling::Send,
                id: None,
                ..subscription
            };
        }
        self.broker.subscribe(client, &subscription);
        let packet_id = id(self.packet_id(client));
        let properties = subscription.id.map(|id| {
            Box::new(SubscribeProperties {
                subscription_id: NonZeroU32::new(id),
                ..SubscribeProperties::default()
            })
        });
        let asked = drover_mqtt_codec::Subscription {
            filter: subscription.filter.into(),
            qos: subscription.qos,
            no_local: subscription.no_local,
            retain_as_published: subscription.retain_as_published,
            retain_handling: subscription.retain_handling,
        };
        let packet = Subscribe { packet_id, subscriptions: vec![asked], properties };
        self.send(client, Packet::Subscribe(packet)).await;
        match self.answer(client).await {
            Packet::SubAck(answer) => {
                assert_eq!(answer.packet_id, packet_id);
                assert_eq!(answer.reasons, [granted(subscription.qos)]);
            }
            other => panic!("{other:?} instead of SUBACK"),
        }
    }

    async fn unsubscribe(&mut self, client: usize, filter: &'static str) {
        let existed = self.broker.unsubscribe(client, filter);
        let packet_id = id(self.packet_id(client));
        let packet = Unsubscribe { packet_id, filters: vec![filter.into()], properties: None };
        self.send(client, Packet::Unsubscribe(packet)).await;
        let version = self.clients[&client].wish.version;
        match self.answer(client).await {
            Packet::UnsubAck(answer) if version == Version::V5 => {
                let reason = if existed { ReasonCode::Success } else { ReasonCode::NoSubscriptionExisted };
                assert_eq!(answer.reasons, [reason]);
            }
            Packet::UnsubAck(_) => {}
            other => panic!("{other:?} instead of UNSUBACK"),
        }
    }

    async fn publish(&mut self, client: usize, publication: &Publication) {
        let message = self.message(publication);
        if message.qos == QoS::AtMostOnce {
            self.broker.publish(client, &message, 0);
            self.send(client, publication_packet(&message, None, false)).await;
            return self.ping(client).await;
        }
        let packet_id = self.packet_id(client);
        let is_wanted = self.broker.publish(client, &message, packet_id);
        self.send(client, publication_packet(&message, Some(packet_id), false)).await;
        self.expect_answer(client, &message, (packet_id, is_wanted)).await;
        if message.qos == QoS::ExactlyOnce && !publication.held {
            self.release_one(client, packet_id).await;
        }
    }

    /// PUBACK or PUBREC.
    async fn expect_answer(&mut self, client: usize, message: &Message, (packet_id, wanted): (u16, bool)) {
        let ack = match (self.answer(client).await, message.qos) {
            (Packet::PubAck(ack), QoS::AtLeastOnce) | (Packet::PubRec(ack), QoS::ExactlyOnce) => ack,
            (other, _) => panic!("{other:?} answers {message:?}"),
        };
        assert_eq!(ack.packet_id.get(), packet_id);
        if self.clients[&client].wish.version == Version::V5 {
            let reason = if wanted { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
            assert_eq!(ack.reason, reason, "{message:?}");
        }
    }

    async fn flood(&mut self, client: usize, count: usize, publication: &Publication) {
        let mut left = count;
        while left > 0 {
            let burst: Vec<_> = (0..left.min(BURST))
                .map(|_| {
                    let (message, packet_id) = (self.message(publication), self.packet_id(client));
                    let is_wanted = self.broker.publish(client, &message, packet_id);
                    (message, packet_id, is_wanted)
                })
                .collect();
            left -= burst.len();
            for (message, packet_id, _) in &burst {
                let packet_id = (message.qos != QoS::AtMostOnce).then_some(*packet_id);
                self.send(client, publication_packet(message, packet_id, false)).await;
            }
            if publication.qos == QoS::AtMostOnce {
                self.ping(client).await;
                continue;
            }
            for (message, packet_id, is_wanted) in &burst {
                self.expect_answer(client, message, (*packet_id, *is_wanted)).await;
            }
            if publication.qos == QoS::ExactlyOnce {
                for (_, packet_id, _) in &burst {
                    self.release_one(client, *packet_id).await;
                }
            }
        }
    }

    /// One acknowledgement of those that the client could send, whatever their order.
    async fn acknowledge(&mut self, client: usize, which: usize) {
        let open = self.broker.open(client);
        if open.is_empty() {
            return;
        }
        let open = open[which % open.len()];
        self.broker.acknowledge(client, open);
        self.send(client, acknowledgement(open)).await;
    }

    /// Acknowledges until nothing is left.
    async fn drain(&mut self, client: usize) {
        loop {
            self.settle(client).await;
            let open = self.broker.open(client);
            if open.is_empty() {
                return;
            }
            for open in open {
                self.broker.acknowledge(client, open);
                self.send(client, acknowledgement(open)).await;
            }
        }
    }

    async fn release(&mut self, client: usize, which: usize) {
        let unreleased = self.broker.unreleased(client);
        if unreleased.is_empty() {
            return;
        }
        let (packet_id, _) = unreleased[which % unreleased.len()];
        self.release_one(client, packet_id).await;
    }

    async fn release_one(&mut self, client: usize, packet_id: u16) {
        self.broker.release(client, packet_id);
        self.send(client, Packet::PubRel(Ack::success(id(packet_id)))).await;
        match self.answer(client).await {
            Packet::PubComp(ack) => assert_eq!(ack, Ack::success(id(packet_id))),
            other => panic!("{other:?} instead of PUBCOMP"),
        }
    }

    /// Sends a QoS 2 message again: it is acknowledged, and nobody gets it twice.
    async fn repeat(&mut self, client: usize, which: usize) {
        let unreleased = self.broker.unreleased(client);
        if unreleased.is_empty() {
            return;
        }
        let (packet_id, message) = unreleased[which % unreleased.len()].clone();
        self.send(client, publication_packet(&message, Some(packet_id), true)).await;
        match self.answer(client).await {
            Packet::PubRec(ack) => assert_eq!(ack, Ack::success(id(packet_id))),
            other => panic!("{other:?} instead of PUBREC"),
        }
    }

    async fn flush(&mut self) {
        self.server().flush().await;
        self.broker.flushed();
    }

    /// Lets the time of the next checkpoint come, and waits until it is written.
    async fn checkpoint(&mut self) {
        self.server().flush().await;
        // Something has to have changed.
        let wish = persistent(10);
        self.server().tcp().await.connect(packet(CLIENTS + 1, &wish)).await;
        let before = self.server().metric("checkpoints_total").unwrap_or(0);
        tokio::time::pause();
        tokio::time::advance(std::time::Duration::from_secs(CHECKPOINT_INTERVAL_S.into())).await;
        tokio::time::resume();
        let server = self.server();
        let is_written = async || (server.metric("checkpoints_total").unwrap_or(0) > before).then_some(());
        eventually("a checkpoint is written", is_written).await;
        self.broker.flushed();
    }

    /// Goes on with a server on a copy of the data. A client may have written a message that nobody acknowledged; it sends it again.
    async fn kill(&mut self, flush: bool, unanswered: Option<&(usize, Publication)>) {
        let publisher = unanswered.and_then(|(client, publication)| {
            let client = self.pick(*client).filter(|client| self.broker.is_persistent(*client))?;
            Some((client, self.message(publication), self.packet_id(client)))
        });
        if let Some((client, message, packet_id)) = &publisher {
            self.send(*client, publication_packet(message, Some(*packet_id), false)).await;
        }
        if flush {
            self.flush().await;
        }
        let wills = self.broker.kill();
        let server = self.server.take().unwrap();
        let data = server.copied().await;
        let wishes: BTreeMap<_, _> =
            std::mem::take(&mut self.clients).into_iter().map(|(client, left)| (client, left.wish)).collect();
        self.server = Some(server.restarted_on(data).await);
        let wills = u64::try_from(wills).unwrap();
        let server = self.server();
        let are_published = async || (server.metric("wills_total").unwrap_or(0) == wills).then_some(());
        eventually("the wills are published", are_published).await;
        self.server().flush().await;
        if let Some((client, message, packet_id)) = publisher {
            let wish = Wish { clean_start: false, ..wishes[&client].clone() };
            self.broker.publish_again(client, &message, packet_id);
            self.connect(client, &wish, None).await;
            self.send(client, publication_packet(&message, Some(packet_id), true)).await;
            match self.answer(client).await {
                Packet::PubAck(_) if message.qos == QoS::AtLeastOnce => {}
                Packet::PubRec(_) if message.qos == QoS::ExactlyOnce => {}
                other => panic!("{other:?} answers {message:?}"),
            }
        }
    }

    async fn send(&mut self, client: usize, packet: Packet) {
        self.clients.get_mut(&client).unwrap().device.send(&packet).await;
    }

    /// The next packet that is no delivery.
    async fn answer(&mut self, client: usize) -> Packet {
        loop {
            if let Some(packet) = self.next(client).await {
                return packet;
            }
        }
    }

    /// Takes one packet. Deliveries must be what the naive broker would send; others are handed out.
    async fn next(&mut self, client: usize) -> Option<Packet> {
        let connected = self.clients.get_mut(&client).unwrap();
        let packet = connected.device.next().await;
        let checked = match packet.unwrap_or_else(|| panic!("the server closed client {client}")) {
            Packet::Publish(publish) => {
                let received = received(&publish, connected.wish.version);
                self.broker.received(client, &received).map_err(|error| format!("{received:?}: {error}"))
            }
            Packet::PubRel(ack) => {
                let released = self.broker.released(client, ack.packet_id.get());
                released.map_err(|error| format!("{ack:?}: {error}"))
            }
            other => return Some(other),
        };
        checked.unwrap_or_else(|error| panic!("client {client} received {error}"));
        None
    }

    /// Reads what the naive broker owes the client.
    async fn settle(&mut self, client: usize) {
        while self.broker.owes(client) {
            if let Some(other) = self.next(client).await {
                panic!("client {client} received {other:?}");
            }
        }
    }

    /// All clients have what they are owed, and nothing else.
    async fn settle_all(&mut self) {
        for client in self.clients.keys().copied().collect::<Vec<_>>() {
            self.settle(client).await;
            self.ping(client).await;
        }
    }

    /// What the server has to say to the client has come after the second answer: the first may overtake deliveries of its turn.
    async fn ping(&mut self, client: usize) {
        for _ in 0..2 {
            self.send(client, Packet::PingReq).await;
            assert_eq!(self.answer(client).await, Packet::PingResp);
        }
    }
}

fn persistent(window: usize) -> Wish {
    Wish { version: Version::V5, clean_start: false, persistent: true, window, will: None }
}

fn packet(client: usize, wish: &Wish) -> Connect {
    let will = wish.will.as_ref().map(|will| {
        Box::new(Will {
            qos: will.qos,
            retain: will.retain,
            topic: will.topic.into(),
            payload: will.payload.clone().into(),
            properties: None,
        })
    });
    let properties = ConnectProperties {
        session_expiry_s: wish.persistent.then_some(100_000),
        receive_maximum: NonZeroU16::new(u16::try_from(wish.window).unwrap()),
        ..ConnectProperties::default()
    };
    Connect {
        clean_start: wish.clean_start,
        will,
        properties: (wish.version == Version::V5).then(|| Box::new(properties)),
        ..anonymous(wish.version, NAMES[client])
    }
}

fn publication_packet(message: &Message, packet_id: Option<u16>, dup: bool) -> Packet {
    let mut packet = publish(message.topic, packet_id, message.payload.as_bytes());
    (packet.qos, packet.retain, packet.dup) = (message.qos, message.retain, dup);
    Packet::Publish(packet)
}

fn acknowledgement(open: Open) -> Packet {
    match open {
        Open::Once(packet_id) => Packet::PubAck(Ack::success(id(packet_id))),
        Open::Exactly(packet_id) => Packet::PubRec(Ack::success(id(packet_id))),
        Open::Released(packet_id) => Packet::PubComp(Ack::success(id(packet_id))),
    }
}

fn received(publish: &Publish, version: Version) -> Received {
    let properties = publish.properties.as_deref();
    let mut ids: Vec<_> =
        properties.iter().flat_map(|properties| &properties.subscription_ids).map(|id| id.get()).collect();
    ids.sort_unstable();
    Received {
        topic: publish.topic_str().to_owned(),
        payload: String::from_utf8(publish.payload.to_vec()).unwrap(),
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        ids: (version == Version::V5).then_some(ids),
        packet_id: publish.packet_id.map(NonZeroU16::get),
    }
}

const fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}
