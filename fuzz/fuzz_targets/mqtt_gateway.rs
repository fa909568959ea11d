//! A running gateway and clients that send anything: whole packets, halves of packets, any bytes, on several connections. Nothing panics,
//! and a witness, who publishes to itself, is served all the while.

#![no_main]

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU16;
use std::sync::{LazyLock, Mutex, mpsc};
use std::time::Duration;

use bytes::BytesMut;
use drover_mqtt_codec::{
    Connect, Packet, Publish, QoS, RetainHandling, Subscribe, Subscription, Version, decode, encode,
};
use drover_runtime::{Layers, Program, Settings, Sources, Stop};
use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

/// The witness waits no longer.
const PATIENCE: Duration = Duration::from_secs(30);
const NAMES: [&str; 4] = ["a", "b", "a/b", "$s/a"];
const FILTERS: [&str; 6] = ["a", "+", "#", "a/+", "$share/g/#", "$share/g/a"];

#[derive(Arbitrary, Debug)]
struct Step {
    /// Which connection; one that is not there is made.
    connection: u8,
    action: Action,
}

#[derive(Arbitrary, Debug)]
enum Action {
    Bytes(Vec<u8>),
    Connect { is_v5: bool, clean_start: bool, client_id: u8 },
    Subscribe { filter: u8, qos: u8 },
    Publish { name: u8, qos: u8, retain: bool, dup: bool, packet_id: u8, payload: Vec<u8> },
    Cut { packet: Box<Action>, at: u8 },
    Close,
}

static ADDRESS: LazyLock<SocketAddr> = LazyLock::new(start);
static WITNESS: LazyLock<Mutex<Witness>> = LazyLock::new(|| Mutex::new(Witness::connect()));

/// Starts the gateway on a thread of its own, which ends with the process.
fn start() -> SocketAddr {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        runtime.block_on(async {
            let off = ["MQTTS", "WS", "API"].map(|name| (format!("DROVER_LISTEN__{name}"), String::new()));
            let mut variables = vec![("DROVER_LISTEN__MQTT".to_owned(), "127.0.0.1:0".to_owned())];
            variables.extend(off);
            let layers = Layers::load(Sources { variables, ..Sources::default() }).expect("settings");
            let settings = Settings::read(&layers).expect("settings");
            let mut config: drover_mqtt::Config = toml::from_str(drover_mqtt::DEFAULTS).expect("defaults");
            config.anonymous.allow = true;
            let program = Program::new(settings, folder.path().join("data"));
            let build = move |env| async move { Ok(vec![drover_mqtt::build(config, &env).await?]) };
            drover_runtime::run(program, Stop::default(), build, move |announcement| {
                sender.send(announcement.addresses["mqtt"]).expect("somebody waits");
            })
            .await
            .expect("the gateway runs");
        });
    });
    receiver.recv().expect("the gateway starts")
}

fn connect(is_v5: bool, clean_start: bool, client_id: &str) -> Packet {
    Packet::Connect(Box::new(Connect {
        version: version(is_v5),
        clean_start,
        keep_alive_s: 0,
        client_id: client_id.into(),
        will: None,
        username: None,
        password: None,
        properties: None,
    }))
}

fn subscribe(filter: &str, qos: QoS) -> Packet {
    let subscription = Subscription {
        filter: filter.into(),
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let packet_id = NonZeroU16::MIN;
    Packet::Subscribe(Subscribe { packet_id, subscriptions: vec![subscription], properties: None })
}

fn publish(name: &str, qos: QoS, packet_id: u16, payload: &[u8]) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: name.to_owned().into(),
        packet_id: NonZeroU16::new(packet_id).filter(|_| qos != QoS::AtMostOnce),
        properties: None,
        payload: payload.to_vec().into(),
    }
}

const fn version(is_v5: bool) -> Version {
    if is_v5 { Version::V5 } else { Version::V4 }
}

fn pick<'a>(from: &[&'a str], which: u8) -> &'a str {
    from[usize::from(which) % from.len()]
}

fn qos(which: u8) -> QoS {
    QoS::from_u8(which % 3).expect("there are three")
}

/// What a step sends, in the version that its connection speaks.
fn bytes(action: &Action, spoken: &mut Version) -> Vec<u8> {
    let packet = match action {
        Action::Bytes(bytes) => return bytes.clone(),
        Action::Cut { packet, at } => {
            let mut bytes = bytes(packet, spoken);
            bytes.truncate(usize::from(*at));
            return bytes;
        }
        Action::Close => return Vec::new(),
        Action::Connect { is_v5, clean_start, client_id } => {
            *spoken = version(*is_v5);
            connect(*is_v5, *clean_start, &format!("fuzz-{}", client_id % 4))
        }
        Action::Subscribe { filter, qos: which } => subscribe(pick(&FILTERS, *filter), qos(*which)),
        Action::Publish { name, qos: which, retain, dup, packet_id, payload } => {
            let packet = publish(pick(&NAMES, *name), qos(*which), u16::from(*packet_id % 8) + 1, payload);
            Packet::Publish(Publish { retain: *retain, dup: *dup && packet.packet_id.is_some(), ..packet })
        }
    };
    let mut bytes = BytesMut::new();
    encode(&packet, *spoken, &mut bytes).expect("it is within the limits");
    bytes.to_vec()
}

/// A client that publishes to itself.
struct Witness {
    stream: TcpStream,
    input: BytesMut,
    number: u16,
}

impl Witness {
    fn connect() -> Self {
        let stream = TcpStream::connect(*ADDRESS).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a bound");
        let mut witness = Self { stream, input: BytesMut::new(), number: 0 };
        witness.send(&connect(false, true, "witness"));
        assert!(matches!(witness.next(), Packet::ConnAck(_)));
        witness.send(&subscribe("witness", QoS::AtLeastOnce));
        assert!(matches!(witness.next(), Packet::SubAck(_)));
        witness
    }

    fn send(&mut self, packet: &Packet) {
        let mut bytes = BytesMut::new();
        encode(packet, Version::V4, &mut bytes).expect("it is within the limits");
        self.stream.write_all(&bytes).expect("the gateway serves the witness");
    }

    fn next(&mut self) -> Packet {
        loop {
            if let Some(packet) = decode(&mut self.input, Some(Version::V4), u32::MAX).expect("MQTT") {
                return packet;
            }
            let mut some = [0; 4_096];
            let read = self.stream.read(&mut some).expect("the gateway serves the witness");
            assert!(read > 0, "the gateway let the witness go");
            self.input.extend_from_slice(&some[..read]);
        }
    }

    /// Sends a message at QoS 1, and gets both its acknowledgement and the message.
    fn look(&mut self) {
        self.number = self.number % 1_000 + 1;
        self.send(&Packet::Publish(publish("witness", QoS::AtLeastOnce, self.number, &self.number.to_be_bytes())));
        let (mut is_acknowledged, mut has_come) = (false, false);
        while !(is_acknowledged && has_come) {
            match self.next() {
                Packet::PubAck(ack) => is_acknowledged |= ack.packet_id.get() == self.number,
                Packet::Publish(publish) => {
                    has_come |= publish.payload[..] == self.number.to_be_bytes();
                    let packet_id = publish.packet_id.expect("QoS 1");
                    self.send(&Packet::PubAck(drover_mqtt_codec::Ack::success(packet_id)));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let mut connections: HashMap<u8, (TcpStream, Version)> = HashMap::new();
    for Step { connection, action } in steps.iter().take(64) {
        let connection = connection % 4;
        if matches!(action, Action::Close) {
            connections.remove(&connection);
            continue;
        }
        let (stream, spoken) = connections.entry(connection).or_insert_with(|| {
            (TcpStream::connect(*ADDRESS).expect("it listens"), Version::V4)
        });
        // The gateway may have ended it: then the next one is made.
        if stream.write_all(&bytes(action, spoken)).is_err() {
            connections.remove(&connection);
        }
    }
    WITNESS.lock().expect("one thread").look();
});
