//! The broker between clients: what a delivery, a session that outlives its connection, and a retained message cost.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::BytesMut;
use drover_mqtt_codec::{
    Ack, Connect, Disconnect, Packet, QoS, ReasonCode, RetainHandling, Subscribe, Subscription, Version,
    decode, encode,
};
use drover_tests::load::fleet::{self, Job, Login};
use drover_tests::load::peer::{MOSQUITTO, Mosquitto};
use drover_tests::load::process;
use drover_tests::load::server::{Plan, Server};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::Bench;
use crate::load::as_f64;
use crate::table::Report;

const SUBSCRIBERS: usize = 200;
const FAN_IN_PUBLISHERS: usize = 500;
const FAN_IN_RATE: f64 = 2_000.0;
/// Sessions in one measurement of what a connected one costs; further ones are offline from the start.
const CONNECTED_SESSIONS: usize = 10_000;
const FILTERS_PER_SESSION: usize = 5;
const RETAINED: u64 = 100_000;
/// Connects under way at a time.
const AT_ONCE: usize = 256;

pub(crate) async fn run(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    if bench.wants("broker-fan-out") {
        for (qos, what, bound) in
            [(0, "fan-out 1 to 200 at QoS 0, CPU", 1.0), (1, "fan-out 1 to 200 at QoS 1, CPU", 4.0)]
        {
            let server = start(bench, &format!("fan-out-{qos}")).await?;
            let cost = fan_out(server.pid(), &server.address("mqtt")?, qos, bench.duration).await?;
            report.at_most(what, "us/delivery", cost, bound);
            server.stop()?;
            if let Some(peer) = Mosquitto::start(&bench.folder).await? {
                report.beside(
                    what,
                    MOSQUITTO,
                    fan_out(peer.pid(), &peer.address, qos, bench.duration).await?,
                );
            }
        }
    }
    if bench.wants("broker-fan-in") {
        let what = "fan-in at 2,000 msg/s to a durable session, CPU";
        let peer = match Mosquitto::start(&bench.folder).await? {
            Some(peer) => Some(fan_in(peer.pid(), &peer.address, bench.duration).await?),
            None => None,
        };
        let server = start(bench, "fan-in").await?;
        let cost = fan_in(server.pid(), &server.address("mqtt")?, bench.duration).await?;
        report.at_most(what, "us/msg", cost, peer.map_or(f64::MAX, |peer| peer + 5.0));
        peer.into_iter().for_each(|peer| report.beside(what, MOSQUITTO, peer));
        server.stop()?;
    }
    if bench.wants("broker-sessions") {
        sessions(bench, report).await?;
    }
    if bench.wants("broker-retained") {
        retained(bench, report).await?;
    }
    Ok(())
}

async fn start(bench: &Bench, name: &str) -> anyhow::Result<Server> {
    Plan::new(&bench.program, &bench.folder.join(name)).start().await
}

/// A client of 3.1.1.
struct Client {
    stream: TcpStream,
    input: BytesMut,
    output: BytesMut,
}

impl Client {
    async fn connect(address: &str, client_id: String, clean_start: bool) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut client = Self { stream, input: BytesMut::new(), output: BytesMut::new() };
        let connect = Connect {
            version: Version::V4,
            clean_start,
            keep_alive_s: 0,
            client_id,
            will: None,
            username: None,
            password: None,
            properties: None,
        };
        client.put(&Packet::Connect(Box::new(connect)))?;
        match client.next().await? {
            Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => Ok(client),
            other => anyhow::bail!("not let in: {other:?}"),
        }
    }

    fn put(&mut self, packet: &Packet) -> anyhow::Result<()> {
        Ok(encode(packet, Version::V4, &mut self.output)?)
    }

    async fn subscribe(&mut self, filters: impl Iterator<Item = String>, qos: QoS) -> anyhow::Result<()> {
        let subscription = |filter| Subscription {
            filter,
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let subscriptions = filters.map(subscription).collect();
        let packet_id = std::num::NonZeroU16::MIN;
        self.put(&Packet::Subscribe(Subscribe { packet_id, subscriptions, properties: None }))?;
        let answer = self.next().await?;
        ensure!(matches!(answer, Packet::SubAck(_)), "not subscribed: {answer:?}");
        Ok(())
    }

    /// Sends what was put, then waits for a packet.
    async fn next(&mut self) -> anyhow::Result<Packet> {
        loop {
            if let Some(packet) = decode(&mut self.input, Some(Version::V4), u32::MAX)? {
                return Ok(packet);
            }
            if !self.output.is_empty() {
                self.stream.write_all(&self.output).await?;
                self.output.clear();
            }
            ensure!(self.stream.read_buf(&mut self.input).await? > 0, "the server closed the connection");
        }
    }

    /// Counts what comes, and acknowledges it.
    async fn receive(mut self, received: Arc<AtomicU64>) -> anyhow::Result<()> {
        loop {
            if let Packet::Publish(publish) = self.next().await? {
                received.fetch_add(1, Ordering::Relaxed);
                if let Some(id) = publish.packet_id {
                    self.put(&Packet::PubAck(Ack::success(id)))?;
                }
            }
        }
    }

    async fn leave(mut self) -> anyhow::Result<()> {
        self.put(&Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: None }))?;
        let _ = self.next().await;
        Ok(())
    }
}

fn job(address: &str, topic: &str, publishers: usize, rate: Option<f64>, duration: Duration) -> Job {
    let login = |index| Login { device: format!("publisher-{index}"), token: None };
    Job {
        address: address.to_owned(),
        logins: (0..publishers).map(login).collect(),
        topic: topic.to_owned(),
        qos: 1,
        window: 16,
        rate,
        duration,
        payload: Arc::new(|_, number, out| {
            out.extend_from_slice(format!("{number:>100}").as_bytes());
        }),
        forgive: false,
        messages: None,
    }
}

/// Microseconds of CPU a message that arrives, while a job runs.
async fn cost(pid: u32, job: Job, received: &AtomicU64) -> anyhow::Result<f64> {
    let before = process::cpu(pid)?;
    fleet::run(job).await?;
    let mut count = 0;
    // Until nothing more comes.
    while count != received.load(Ordering::Relaxed) {
        count = received.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let used = process::cpu(pid)?.saturating_sub(before);
    Ok(used.as_secs_f64() * 1e6 / as_f64(count.max(1)))
}

async fn fan_out(pid: u32, address: &str, qos: u8, duration: Duration) -> anyhow::Result<f64> {
    let received = Arc::new(AtomicU64::new(0));
    let mut subscribers = JoinSet::new();
    let qos = QoS::from_u8(qos).context("a QoS")?;
    for index in 0..SUBSCRIBERS {
        let mut client = Client::connect(address, format!("subscriber-{index}"), true).await?;
        client.subscribe(std::iter::once("bench/out".to_owned()), qos).await?;
        subscribers.spawn(client.receive(received.clone()));
    }
    cost(pid, job(address, "bench/out", 1, None, duration), &received).await
}

async fn fan_in(pid: u32, address: &str, duration: Duration) -> anyhow::Result<f64> {
    let received = Arc::new(AtomicU64::new(0));
    let mut client = Client::connect(address, "collector".to_owned(), false).await?;
    client.subscribe(std::iter::once("bench/in".to_owned()), QoS::AtLeastOnce).await?;
    let mut subscribers = JoinSet::new();
    subscribers.spawn(client.receive(received.clone()));
    cost(pid, job(address, "bench/in", FAN_IN_PUBLISHERS, Some(FAN_IN_RATE), duration), &received).await
}

async fn session(address: &str, index: usize) -> anyhow::Result<Client> {
    let mut client = Client::connect(address, format!("session-{index}"), false).await?;
    let filters = (0..FILTERS_PER_SESSION).map(|filter| format!("site/{index}/line/{filter}/+"));
    client.subscribe(filters, QoS::AtLeastOnce).await?;
    Ok(client)
}

async fn sessions(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let count = bench.sessions;
    let plan = Plan::new(&bench.program, &bench.folder.join("sessions"));
    let server = plan.start().await?;
    let address = server.address("mqtt")?;
    let before = process::resident(server.pid())?;
    let mut connected = Vec::new();
    for index in (0..CONNECTED_SESSIONS).step_by(AT_ONCE) {
        let batch = (index..(index + AT_ONCE).min(CONNECTED_SESSIONS)).map(|index| session(&address, index));
        for client in futures_util::future::join_all(batch).await {
            connected.push(client?);
        }
    }
    tokio::time::sleep(Duration::from_secs(7)).await;
    let each = grown(&server, before, CONNECTED_SESSIONS)? / 1_000.0;
    report.at_most("connected durable session with five subscriptions", "KB", each, 5.0);
    for client in connected {
        client.leave().await?;
    }
    for index in (CONNECTED_SESSIONS..count).step_by(AT_ONCE) {
        let batch = (index..(index + AT_ONCE).min(count)).map(|index| {
            let address = &address;
            async move { session(address, index).await?.leave().await }
        });
        futures_util::future::join_all(batch).await.into_iter().collect::<anyhow::Result<()>>()?;
    }
    tokio::time::sleep(Duration::from_secs(12)).await;
    let each = grown(&server, before, count)?;
    report.at_most("offline session with five subscriptions", "B resident", each, 1_500.0);
    server.stop()?;
    let server = plan.start().await?;
    // Of 100,000 sessions; more of them may take longer.
    let bound = 3.0 * (as_f64(count as u64) / 100_000.0).max(1.0);
    report.at_most("ready with these sessions", "s", server.ready_after.as_secs_f64(), bound);
    tokio::time::sleep(Duration::from_secs(12)).await;
    report.at_most("each of them after that start", "B resident", grown(&server, before, count)?, 1_500.0);
    server.stop()?;
    let each = as_f64(database_bytes(plan.data_dir.as_path())?) / as_f64(count as u64);
    report.at_most("the same on disk, each", "B", each, 1_024.0);
    Ok(())
}

/// What a server has grown by, for each of so many sessions, in bytes.
fn grown(server: &Server, before: u64, sessions: usize) -> anyhow::Result<f64> {
    let grown = process::resident(server.pid())?.saturating_sub(before);
    Ok(as_f64(grown) / as_f64(sessions as u64))
}

/// Length of the database with its journal.
fn database_bytes(data_dir: &Path) -> anyhow::Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(data_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().contains(".db") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

async fn retained(bench: &Bench, report: &mut Report) -> anyhow::Result<()> {
    let server = start(bench, "retained").await?;
    let before = process::resident(server.pid())?;
    let mut client = Client::connect(&server.address("mqtt")?, "keeper".to_owned(), true).await?;
    let mut pending = 0;
    for number in 0..RETAINED {
        let publish = drover_mqtt_codec::Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: true,
            topic: format!("site/{}/line/{}", number / 100, number % 100).into(),
            packet_id: std::num::NonZeroU16::new(u16::try_from(number % 60_000 + 1)?),
            properties: None,
            payload: vec![b'x'; 100].into(),
        };
        client.put(&Packet::Publish(publish))?;
        pending += 1;
        while pending >= 200 {
            ensure!(matches!(client.next().await?, Packet::PubAck(_)), "not acknowledged");
            pending -= 1;
        }
    }
    while pending > 0 {
        client.next().await?;
        pending -= 1;
    }
    tokio::time::sleep(Duration::from_secs(7)).await;
    let grown = process::resident(server.pid())?.saturating_sub(before);
    report.at_most("100,000 retained messages of 100 B", "MB resident", as_f64(grown) / 1e6, 100.0);
    server.stop()
}
