//! MQTT 5 clients that outlive their connections: a publisher that repeats what was not acknowledged, and a subscriber that answers
//! everything. Both remember what a client has to remember (MQTT 5, 4.1 and 4.3).

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::num::NonZeroU16;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use bytes::{Bytes, BytesMut};
use drover_mqtt_codec::{
    Ack, Connect, ConnectProperties, Disconnect, Packet, Publish, QoS, ReasonCode, RetainHandling, Secret,
    Subscribe, Subscription, Version, Will, decode, encode,
};
use drover_tests::load::fleet::Login;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Longest silence of a server.
const SILENCE: Duration = Duration::from_secs(20);
/// A subscriber looks whether it has everything when nothing came for this long.
const PAUSE: Duration = Duration::from_millis(50);
/// Messages of a publisher that may be unacknowledged.
const WINDOW: usize = 16;
/// Every so many messages one goes to the publisher's retained topic.
const RETAINED_EVERY: u64 = 10;
/// Sessions outlive the run.
const EXPIRY_S: u32 = 100_000;

/// One connection.
pub struct Link {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Link {
    /// Connects; answers Session Present, too.
    pub async fn open(address: &str, connect: Connect) -> anyhow::Result<(Self, bool)> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut link = Self { stream, input: BytesMut::new(), output: BytesMut::new() };
        let client = connect.client_id.clone();
        link.put(&Packet::Connect(Box::new(connect)))?;
        link.flush().await?;
        match link.next().await? {
            Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => {
                Ok((link, answer.session_present))
            }
            other => bail!("{client} was not let in: {other:?}"),
        }
    }

    fn put(&mut self, packet: &Packet) -> anyhow::Result<()> {
        Ok(encode(packet, Version::V5, &mut self.output)?)
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await?;
            self.output.clear();
        }
        Ok(())
    }

    /// Cancel-safe: what was read stays.
    pub async fn next(&mut self) -> anyhow::Result<Packet> {
        loop {
            if let Some(packet) = decode(&mut self.input, Some(Version::V5), u32::MAX)? {
                return Ok(packet);
            }
            let read = tokio::time::timeout(SILENCE, self.stream.read_buf(&mut self.input)).await;
            ensure!(read.context("the server says nothing")?? > 0, "the server closed the connection");
        }
    }

    /// Says goodbye and waits until the server has heard it.
    async fn leave(mut self) -> anyhow::Result<()> {
        self.put(&Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: None }))?;
        self.flush().await?;
        while self.next().await.is_ok() {}
        Ok(())
    }

    pub async fn subscribe(&mut self, filters: &[&str], qos: QoS) -> anyhow::Result<()> {
        self.put(&subscription(filters, qos))?;
        self.flush().await?;
        match self.next().await? {
            Packet::SubAck(answer) if !answer.reasons.iter().any(|reason| reason.is_error()) => Ok(()),
            other => bail!("{other:?} instead of SUBACK"),
        }
    }

    /// Subscribes to a filter that so many retained messages match; answers whether they are marked so, and their payloads.
    pub async fn retained(&mut self, filter: &str, count: usize) -> anyhow::Result<Vec<(bool, String)>> {
        self.put(&subscription(&[filter], QoS::AtMostOnce))?;
        self.flush().await?;
        let mut found = Vec::new();
        let mut is_answered = false;
        while !is_answered || found.len() < count {
            match self
                .next()
                .await
                .with_context(|| format!("{} of {count} retained messages", found.len()))?
            {
                Packet::SubAck(_) => is_answered = true,
                Packet::Publish(publish) => {
                    found.push((publish.retain, String::from_utf8_lossy(&publish.payload).into_owned()));
                }
                other => bail!("{other:?} instead of a retained message"),
            }
        }
        Ok(found)
    }
}

fn subscription(filters: &[&str], qos: QoS) -> Packet {
    let subscription = |filter: &&str| Subscription {
        filter: (*filter).to_owned(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let subscriptions = filters.iter().map(subscription).collect();
    Packet::Subscribe(Subscribe { packet_id: NonZeroU16::MIN, subscriptions, properties: None })
}

pub fn connect(login: &Login, expiry_s: u32, will: Option<Will>) -> Connect {
    let secret = |token: &String| Secret(Bytes::copy_from_slice(token.as_bytes()));
    let properties = ConnectProperties { session_expiry_s: Some(expiry_s), ..ConnectProperties::default() };
    Connect {
        version: Version::V5,
        clean_start: false,
        keep_alive_s: 0,
        client_id: login.device.clone(),
        will: will.map(Box::new),
        username: login.token.as_ref().map(|_| login.device.clone()),
        password: login.token.as_ref().map(secret),
        properties: Some(Box::new(properties)),
    }
}

/// A session as its client knows it.
struct Session {
    login: Login,
    /// CONNACK came once: from then on the server has to know the session.
    is_known: bool,
    faults: Vec<String>,
}

impl Session {
    fn new(login: Login) -> Self {
        Self { login, is_known: false, faults: Vec::new() }
    }

    async fn open(&mut self, address: &str) -> anyhow::Result<Link> {
        let (link, is_present) = Link::open(address, connect(&self.login, EXPIRY_S, None)).await?;
        if self.is_known && !is_present {
            self.faults.push(format!("the session of {} is gone", self.login.device));
        }
        self.is_known = true;
        Ok(link)
    }
}

/// A message on its way to the server.
struct Flight {
    number: u64,
    /// PUBREC came; PUBCOMP is waited for.
    is_received: bool,
}

/// Publishes numbers.
pub struct Publisher {
    session: Session,
    qos: QoS,
    /// Time between two messages.
    period: Duration,
    next_id: u16,
    flights: BTreeMap<u16, Flight>,
    /// Packet ids in the order of their messages.
    order: VecDeque<u16>,
    pub sent: u64,
    /// Those that the server has taken over, by PUBACK or PUBREC.
    pub acknowledged: Vec<u64>,
}

impl Publisher {
    /// With a token it is a device, and publishes telemetry.
    pub fn new(login: Login, qos: QoS, period: Duration) -> Self {
        Self {
            session: Session::new(login),
            qos,
            period,
            next_id: 1,
            flights: BTreeMap::new(),
            order: VecDeque::new(),
            sent: 0,
            acknowledged: Vec::new(),
        }
    }

    pub fn name(&self) -> &str {
        &self.session.login.device
    }

    pub fn faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.session.faults)
    }

    /// The last number on the retained topic, if any was sent.
    pub fn last_retained(&self) -> Option<u64> {
        let last = self.sent.checked_sub(1)?;
        Some(last - last % RETAINED_EVERY)
    }

    /// Publishes until the connection ends; or, without `more`, until all is acknowledged that was sent before.
    pub async fn run(&mut self, address: &str, more: bool) -> anyhow::Result<()> {
        let mut link = self.session.open(address).await?;
        for id in self.order.clone() {
            let Some(flight) = self.flights.get(&id) else { continue };
            let packet =
                if flight.is_received { release(id) } else { self.publication(id, flight.number, true) };
            link.put(&packet)?;
        }
        let mut pace = tokio::time::interval(self.period);
        loop {
            link.flush().await?;
            if !more && self.flights.is_empty() {
                return link.leave().await;
            }
            tokio::select! {
                _ = pace.tick(), if more && self.flights.len() < WINDOW => {
                    let (id, number) = (self.next_id, self.sent);
                    self.next_id = if id == u16::MAX { 1 } else { id + 1 };
                    self.sent += 1;
                    self.flights.insert(id, Flight { number, is_received: false });
                    self.order.push_back(id);
                    link.put(&self.publication(id, number, false))?;
                }
                packet = link.next() => self.answer(&packet?, &mut link)?,
            }
        }
    }

    fn answer(&mut self, packet: &Packet, link: &mut Link) -> anyhow::Result<()> {
        let (ack, is_last) = match packet {
            Packet::PubAck(ack) if self.qos == QoS::AtLeastOnce => (ack, true),
            Packet::PubRec(ack) if self.qos == QoS::ExactlyOnce => (ack, false),
            Packet::PubComp(ack) if self.qos == QoS::ExactlyOnce => (ack, true),
            // Devices are told of errors.
            Packet::Publish(_) => return Ok(()),
            other => bail!("{} received {other:?}", self.name()),
        };
        let id = ack.packet_id.get();
        let Some(flight) = self.flights.get_mut(&id) else {
            let text = format!("{} received {packet:?} for nothing", self.name());
            self.session.faults.push(text);
            return Ok(());
        };
        // A PUBREL that comes again may be for what the server has forgotten already: no error (MQTT 5, 3.7.2.1).
        if ack.reason.is_error() && !matches!(packet, Packet::PubComp(_)) {
            self.session.faults.push(format!("{packet:?} for number {}", flight.number));
        }
        if !flight.is_received {
            self.acknowledged.push(flight.number);
            flight.is_received = true;
        }
        if is_last {
            self.flights.remove(&id);
            self.order.retain(|other| *other != id);
        } else {
            link.put(&release(id))?;
        }
        Ok(())
    }

    fn publication(&self, id: u16, number: u64, dup: bool) -> Packet {
        let name = self.name();
        let is_device = self.session.login.token.is_some();
        let retain = !is_device && number.is_multiple_of(RETAINED_EVERY);
        let (topic, payload) = match (is_device, retain) {
            (true, _) => ("v1/telemetry".to_owned(), format!("{{\"n\":{number}}}")),
            (false, true) => (format!("state/{name}"), format!("{name} {number}")),
            (false, false) => (format!("chaos/{name}"), format!("{name} {number}")),
        };
        Packet::Publish(Publish {
            dup,
            qos: self.qos,
            retain,
            topic: topic.into(),
            packet_id: NonZeroU16::new(id),
            properties: None,
            payload: payload.into(),
        })
    }
}

fn release(id: u16) -> Packet {
    Packet::PubRel(Ack::success(NonZeroU16::new(id).expect("packet ids begin at 1")))
}

/// What was published: by publisher, which numbers were acknowledged.
pub type Account = HashMap<String, Vec<u64>>;

/// Receives numbers.
pub struct Subscriber {
    session: Session,
    qos: QoS,
    /// QoS 2 messages that were received and not released, by packet id.
    unreleased: HashMap<NonZeroU16, Bytes>,
    seen: HashMap<String, HashSet<u64>>,
    /// The highest number of each publisher.
    last: HashMap<String, u64>,
    /// Messages at QoS 2 that came again.
    pub doubled: u64,
}

impl Subscriber {
    pub fn new(name: &str, qos: QoS) -> Self {
        Self {
            session: Session::new(Login { device: name.to_owned(), token: None }),
            qos,
            unreleased: HashMap::new(),
            seen: HashMap::new(),
            last: HashMap::new(),
            doubled: 0,
        }
    }

    pub fn faults(&mut self) -> Vec<String> {
        std::mem::take(&mut self.session.faults)
    }

    /// Different messages that it has received.
    pub fn received(&self) -> u64 {
        self.seen.values().map(|numbers| numbers.len() as u64).sum()
    }

    /// Acknowledged messages that it has not received.
    pub fn missing(&self, account: &Account) -> u64 {
        let missing = |(name, numbers): (&String, &Vec<u64>)| match self.seen.get(name) {
            Some(seen) => numbers.iter().filter(|number| !seen.contains(number)).count() as u64,
            None => numbers.len() as u64,
        };
        account.iter().map(missing).sum()
    }

    /// The same, in words.
    pub fn misses(&self, account: &Account) -> Option<String> {
        let missing: Vec<_> = account
            .iter()
            .flat_map(|(name, numbers)| numbers.iter().map(move |number| (name, number)))
            .filter(|(name, number)| !self.seen.get(*name).is_some_and(|seen| seen.contains(number)))
            .take(8)
            .map(|(name, number)| format!("{name} {number}"))
            .collect();
        let client = &self.session.login.device;
        (!missing.is_empty()).then(|| format!("{client} misses {}", missing.join(", ")))
    }

    /// Begins the session.
    pub async fn begin(&mut self, address: &str, filters: &[&str]) -> anyhow::Result<()> {
        let mut link = self.session.open(address).await?;
        link.subscribe(filters, self.qos).await?;
        link.leave().await
    }

    /// Receives until the connection ends.
    pub async fn receive(&mut self, address: &str) -> anyhow::Result<()> {
        let mut link = self.session.open(address).await?;
        loop {
            let packet = link.next().await?;
            self.take(packet, &mut link)?;
            link.flush().await?;
        }
    }

    /// Receives until it has everything that was acknowledged to publishers, or for `longest`; and what comes beyond that.
    pub async fn drain(&mut self, address: &str, account: &Account, longest: Duration) -> anyhow::Result<()> {
        let mut link = self.session.open(address).await?;
        let began = Instant::now();
        loop {
            // Cancel-safe.
            match tokio::time::timeout(PAUSE, link.next()).await {
                Ok(packet) => self.take(packet?, &mut link)?,
                Err(_) if self.missing(account) == 0 || began.elapsed() > longest => break,
                Err(_) => {}
            }
            link.flush().await?;
        }
        link.leave().await
    }

    fn take(&mut self, packet: Packet, link: &mut Link) -> anyhow::Result<()> {
        match packet {
            Packet::Publish(publish) => {
                let id = publish.packet_id.context("a message at QoS 0")?;
                if publish.qos == QoS::AtLeastOnce {
                    self.note(&publish);
                    return link.put(&Packet::PubAck(Ack::success(id)));
                }
                match self.unreleased.get(&id) {
                    None => {
                        self.note(&publish);
                        self.unreleased.insert(id, publish.payload.clone());
                    }
                    Some(known) if *known == publish.payload && publish.dup => {}
                    Some(known) => {
                        let text = format!("packet id {id} of {known:?} was used again for {publish:?}");
                        self.session.faults.push(text);
                    }
                }
                link.put(&Packet::PubRec(Ack::success(id)))
            }
            Packet::PubRel(ack) => {
                self.unreleased.remove(&ack.packet_id);
                link.put(&Packet::PubComp(Ack::success(ack.packet_id)))
            }
            other => bail!("a subscriber received {other:?}"),
        }
    }

    fn note(&mut self, publish: &Publish) {
        let text = String::from_utf8_lossy(&publish.payload).into_owned();
        let parsed =
            text.split_once(' ').and_then(|(name, number)| Some((name, number.parse::<u64>().ok()?)));
        let Some((name, number)) = parsed else {
            return self.session.faults.push(format!("an unknown message {text:?}"));
        };
        if !self.seen.entry(name.to_owned()).or_default().insert(number) {
            self.doubled += u64::from(publish.qos == QoS::ExactlyOnce);
            return;
        }
        let last = self.last.insert(name.to_owned(), number);
        if last.is_some_and(|last| last > number) {
            let client = &self.session.login.device;
            self.session.faults.push(format!("{client} received number {number} of {name} after {last:?}"));
        }
    }
}
