//! A gateway, with a provisioning service that knows three devices or with the real control plane, and a client that speaks bytes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use drover_model::{Clock, Now, Timestamp};
use drover_mqtt::Config;
use drover_mqtt_codec::{
    ConnAck, Connect, Packet, Publish, PublishProperties, QoS, ReasonCode, Secret, Subscribe, Subscription,
    Version, decode, encode,
};
use drover_runtime::{Env, Layers, LogSettings, Part, Program, Settings, Sources, Stop};
use drover_testkit::{Erased, Secrets};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A hanging test fails after this.
const PATIENCE: Duration = Duration::from_secs(60);

/// The secret of every device.
pub const TOKEN: &str = "drv_secret";

pub struct Server {
    pub env: Env,
    pub addresses: BTreeMap<&'static str, SocketAddr>,
    pub secrets: Secrets,
    stop: Stop,
    config: Config,
    ahead: Ahead,
    running: JoinHandle<anyhow::Result<()>>,
    log: fn(&mut LogSettings),
    folder: tempfile::TempDir,
}

/// How far the server's time of day is ahead, in milliseconds.
type Ahead = Arc<AtomicI64>;

/// The system's time of day, and a test may put it forward.
struct ClockAhead(Clock, Ahead);

impl Now for ClockAhead {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.now().as_millis() + self.1.load(Ordering::Relaxed))
    }
}

/// The log keeps records open for this long, so that they become durable only when a test flushes them.
pub fn never_durable(log: &mut LogSettings) {
    log.linger_us = 1_000_000_000;
}

impl Server {
    pub async fn start(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(|_| {}, change).await
    }

    pub async fn start_with(log: fn(&mut LogSettings), change: impl FnOnce(&mut Config)) -> Self {
        Self::start_one(log, change, false).await
    }

    /// With the services that keep devices and credentials; nobody is registered.
    pub async fn with_control_plane() -> Self {
        Self::start_one(|_| {}, |_| {}, true).await
    }

    async fn start_one(
        log: fn(&mut LogSettings),
        change: impl FnOnce(&mut Config),
        has_control_plane: bool,
    ) -> Self {
        let mut config: Config = toml::from_str(drover_mqtt::DEFAULTS).unwrap();
        change(&mut config);
        let data = (tempfile::tempdir().unwrap(), Ahead::default());
        Self::open(data, log, config, has_control_plane).await
    }

    /// Puts the server's time of day forward. It looks at it twice a second.
    pub fn advance(&self, by: Duration) {
        self.ahead.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }

    /// A server on a copy of this one's data as it is now: to this one's clients, what happens in a crash. The old one stops.
    pub async fn restarted(self) -> Self {
        let data = self.copied().await;
        self.restarted_on(data).await
    }

    /// The data as a crash at this moment would leave them. The database does not change meanwhile: it is several files.
    pub async fn copied(&self) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let nobody_writes = self.env.db.begin().await.unwrap();
        copy(&self.folder.path().join("data"), &folder.path().join("data"));
        nobody_writes.rollback().await.unwrap();
        folder
    }

    /// A server with other data in place of this one, which stops.
    pub async fn restarted_on(self, data: tempfile::TempDir) -> Self {
        let (config, ahead, log) = (self.config.clone(), self.ahead.clone(), self.log);
        self.begin_stop();
        self.stopped().await;
        Self::open((data, ahead), log, config, false).await
    }

    #[expect(clippy::disallowed_methods, reason = "the test's own task")]
    async fn open(
        (folder, ahead): (tempfile::TempDir, Ahead),
        log: fn(&mut LogSettings),
        config: Config,
        has_control_plane: bool,
    ) -> Self {
        let any = "127.0.0.1:0";
        let listeners = [("MQTT", any), ("MQTTS", any), ("WS", any), ("API", ""), ("GRPC", "")];
        let mut variables: Vec<(String, String)> =
            listeners.iter().map(|(name, at)| (format!("DROVER_LISTEN__{name}"), (*at).to_owned())).collect();
        variables.push(("DROVER_LOG__SEGMENT_BYTES".into(), "4_194_304".into()));
        let layers = Layers::load(Sources { variables, ..Sources::default() }).unwrap();
        let mut runtime = Settings::read(&layers).unwrap();
        log(&mut runtime.log);
        let mut program = Program::new(runtime, folder.path().join("data"));
        program.clock = Clock::new(ClockAhead(program.clock, ahead.clone()));
        let secrets = Secrets::default();
        for device in ["pump@default", "fan@default", "pump@acme"] {
            secrets.insert(device, TOKEN);
        }
        let stop = Stop::default();
        let (env_sender, env) = oneshot::channel();
        let (addresses_sender, addresses) = oneshot::channel();
        let (credentials, api_keys) = (secrets.service(), secrets.api_keys());
        let settings = config.clone();
        let build = move |env: Env| async move {
            let mut parts = vec![drover_mqtt::build(settings, &env).await?];
            if has_control_plane {
                parts.push(drover_provisioning::build(drover_provisioning::Config {}, &env).await?);
                parts.push(drover_devices::build(drover_devices::Config {}, &env).await?);
                parts.push(Part::new("stream").grpc(Erased::default().service()));
            } else {
                parts.push(Part::new("provisioning").grpc(credentials).grpc(api_keys));
            }
            let _ = env_sender.send(env);
            Ok(parts)
        };
        let running = tokio::spawn(drover_runtime::run(program, stop.clone(), build, move |announcement| {
            let _ = addresses_sender.send(announcement.addresses.clone());
        }));
        let (Ok(env), Ok(addresses)) = (env.await, addresses.await) else {
            panic!("the server did not start: {:?}", running.await);
        };
        Self { env, addresses, secrets, config, stop, ahead, running, log, folder }
    }

    pub fn begin_stop(&self) {
        self.stop.begin_drain();
    }

    pub async fn stopped(self) {
        tokio::time::timeout(PATIENCE, self.running).await.unwrap().unwrap().unwrap();
    }

    /// Makes everything durable that was appended.
    pub async fn flush(&self) {
        self.env.producer.flush().await.unwrap();
    }

    /// Makes everything durable as it comes while something else is awaited.
    pub async fn flushing<T>(&self, work: impl Future<Output = T>) -> T {
        let flush = async {
            loop {
                self.flush().await;
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            outcome = work => outcome,
            () = flush => unreachable!("it goes on for ever"),
        }
    }

    pub async fn tcp(&self) -> Device<TcpStream> {
        Device::over(TcpStream::connect(self.addresses["mqtt"]).await.unwrap())
    }

    /// A socket that comes from another address of this machine.
    pub async fn from(&self, source: &str, listener: &str) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source.parse().unwrap(), 0)).unwrap();
        socket.connect(self.addresses[listener]).await.unwrap()
    }

    /// A counter or gauge of the gateway with its labels, as written in `/metrics`.
    pub fn metric(&self, name: &str) -> Option<u64> {
        let text = self.env.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("drover_mqtt_{name} ")));
        line.map(|value| value.parse().unwrap())
    }

    /// A connected device.
    pub async fn device(&self, version: Version, username: &str) -> Device<TcpStream> {
        let mut device = self.tcp().await;
        let answer = device.connect(connect(version, username)).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        device
    }

    /// A connected client without credentials.
    pub async fn anonymous(&self, version: Version, client_id: &str) -> Device<TcpStream> {
        let mut device = self.tcp().await;
        let answer = device.connect(anonymous(version, client_id)).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        device
    }
}

/// Copies a folder as a crash would leave it.
fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            match std::fs::copy(entry.path(), target) {
                // The log has forgotten it, now that the database has what it told.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => {
                    copied.unwrap();
                }
            }
        }
    }
}

pub fn allow_anonymous(config: &mut Config) {
    config.anonymous.allow = true;
}

pub fn anonymous(version: Version, client_id: &str) -> Connect {
    Connect {
        version,
        clean_start: true,
        keep_alive_s: 0,
        client_id: client_id.into(),
        will: None,
        username: None,
        password: None,
        properties: None,
    }
}

pub fn connect(version: Version, username: &str) -> Connect {
    connect_with(version, username, TOKEN)
}

pub fn connect_with(version: Version, username: &str, secret: &str) -> Connect {
    let password = Some(Secret(Bytes::copy_from_slice(secret.as_bytes())));
    Connect { username: Some(username.into()), password, ..anonymous(version, "") }
}

pub fn id(number: u16) -> NonZeroU16 {
    NonZeroU16::new(number).unwrap()
}

/// QoS 1 when there is a packet id.
pub fn publish(topic: &str, packet_id: Option<u16>, payload: &[u8]) -> Publish {
    Publish {
        dup: false,
        qos: if packet_id.is_some() { QoS::AtLeastOnce } else { QoS::AtMostOnce },
        retain: false,
        topic: Bytes::copy_from_slice(topic.as_bytes()),
        packet_id: packet_id.map(id),
        properties: None,
        payload: Bytes::copy_from_slice(payload),
    }
}

pub fn with_properties(publish: Publish, properties: PublishProperties) -> Publish {
    Publish { properties: Some(Box::new(properties)), ..publish }
}

pub fn subscription(filter: &str, qos: QoS) -> Subscription {
    Subscription {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: drover_mqtt_codec::RetainHandling::Send,
    }
}

/// A client over any stream.
pub struct Device<S> {
    pub stream: S,
    pub version: Version,
    unread: BytesMut,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Device<S> {
    pub fn over(stream: S) -> Self {
        Self { stream, version: Version::V5, unread: BytesMut::new() }
    }

    pub async fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, self.version, &mut bytes).unwrap();
        self.send_bytes(&bytes).await;
    }

    pub async fn send_bytes(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    /// Ends the sending side; the server may go on.
    pub async fn shut_down(&mut self) {
        self.stream.shutdown().await.unwrap();
    }

    /// The next packet; `None` when the server has closed.
    pub async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = decode(&mut self.unread, Some(self.version), u32::MAX).unwrap() {
                return Some(packet);
            }
            let read = tokio::time::timeout(PATIENCE, self.stream.read_buf(&mut self.unread));
            match read.await.expect("the server answers") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    pub async fn connect(&mut self, connect: Connect) -> ConnAck {
        self.version = connect.version;
        self.send(&Packet::Connect(Box::new(connect))).await;
        match self.next().await {
            Some(Packet::ConnAck(answer)) => answer,
            other => panic!("{other:?}"),
        }
    }

    pub async fn publish(&mut self, publish: Publish) {
        self.send(&Packet::Publish(publish)).await;
    }

    /// Subscribes to one filter and answers the reason code.
    pub async fn subscribe(&mut self, filter: &str, qos: QoS) -> ReasonCode {
        self.subscribe_all(vec![subscription(filter, qos)], None).await[0]
    }

    pub async fn subscribe_all(
        &mut self,
        subscriptions: Vec<Subscription>,
        id_: Option<u32>,
    ) -> Vec<ReasonCode> {
        let properties = id_.and_then(std::num::NonZeroU32::new).map(|id| {
            Box::new(drover_mqtt_codec::SubscribeProperties {
                subscription_id: Some(id),
                ..drover_mqtt_codec::SubscribeProperties::default()
            })
        });
        self.send(&Packet::Subscribe(Subscribe { packet_id: id(9), subscriptions, properties })).await;
        match self.next().await {
            Some(Packet::SubAck(answer)) => answer.reasons,
            other => panic!("{other:?}"),
        }
    }

    pub async fn expect_publish(&mut self) -> Publish {
        match self.next().await {
            Some(Packet::Publish(publish)) => publish,
            other => panic!("{other:?}"),
        }
    }

    /// The next packet is a PUBACK with this id; its reason.
    pub async fn expect_puback(&mut self, packet_id: u16) -> ReasonCode {
        match self.next().await {
            Some(Packet::PubAck(ack)) => {
                assert_eq!(ack.packet_id.get(), packet_id);
                ack.reason
            }
            other => panic!("{other:?}"),
        }
    }

    /// Nothing but PINGRESP comes before the answer to a ping.
    pub async fn expect_nothing(&mut self) {
        // An answer goes out before messages that were queued in the same turn: the second one is behind them.
        for _ in 0..2 {
            self.send(&Packet::PingReq).await;
            assert_eq!(self.next().await, Some(Packet::PingResp));
        }
    }

    /// The server says goodbye with this reason (3.1.1: not at all) and closes.
    pub async fn expect_end(&mut self, reason: ReasonCode) {
        if self.version == Version::V5 {
            match self.next().await {
                Some(Packet::Disconnect(goodbye)) => {
                    assert_eq!(goodbye.reason, reason, "{:?}", goodbye.properties);
                }
                other => panic!("{other:?} instead of DISCONNECT {reason}"),
            }
        }
        assert_eq!(self.next().await, None);
    }
}
