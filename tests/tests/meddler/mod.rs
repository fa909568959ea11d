//! A proxy between MQTT 5 clients and a server that does wrong with every tenth message of QoS 1.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::BytesMut;
use drover_mqtt_codec::{Ack, Packet, Publish, QoS, Version, decode, encode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

const EVERY: u64 = 10;
const MAX_PACKET: u32 = 1 << 20;

/// What it does wrong.
#[derive(Clone, Copy, PartialEq)]
pub enum Wrong {
    AcknowledgesAndDrops,
    PassesOnTwice,
}

/// A running proxy.
pub struct Meddler {
    pub address: String,
    counts: Arc<Counts>,
    _listening: JoinSet<()>,
}

#[derive(Default)]
struct Counts {
    messages: AtomicU64,
    wronged: AtomicU64,
}

impl Meddler {
    pub async fn start(server: &str, wrong: Wrong) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (counts, server) = (Arc::new(Counts::default()), server.to_owned());
        let mut listening = JoinSet::new();
        listening.spawn(listen(listener, server, wrong, counts.clone()));
        Self { address, counts, _listening: listening }
    }

    /// Messages with which it did wrong.
    pub fn count(&self) -> u64 {
        self.counts.wronged.load(Ordering::SeqCst)
    }
}

async fn listen(listener: TcpListener, server: String, wrong: Wrong, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let Ok(server) = TcpStream::connect(&server).await else { continue };
        connections.spawn(pass(client, server, wrong, counts.clone()));
    }
}

async fn pass(client: TcpStream, server: TcpStream, wrong: Wrong, counts: Arc<Counts>) {
    let (from_client, to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    let to_client = Arc::new(Mutex::new(to_client));
    let back = Arc::clone(&to_client);
    let answers = async move {
        let mut packets = Packets::new(from_server, Some(Version::V5));
        while let Some(packet) = packets.next().await {
            if send(&mut *back.lock().await, &packet).await.is_none() {
                break;
            }
        }
    };
    let requests = async move {
        let mut packets = Packets::new(from_client, None);
        while let Some(packet) = packets.next().await {
            let times = match &packet {
                Packet::Publish(message) if is_wronged(message, &counts) => match wrong {
                    Wrong::PassesOnTwice => 2,
                    Wrong::AcknowledgesAndDrops => {
                        let answer = Packet::PubAck(Ack::success(message.packet_id.unwrap()));
                        send(&mut *to_client.lock().await, &answer).await;
                        0
                    }
                },
                _ => 1,
            };
            for _ in 0..times {
                if send(&mut to_server, &packet).await.is_none() {
                    return;
                }
            }
        }
    };
    tokio::select! {
        () = answers => {}
        () = requests => {}
    }
}

fn is_wronged(message: &Publish, counts: &Counts) -> bool {
    let is_tenth = message.qos == QoS::AtLeastOnce
        && counts.messages.fetch_add(1, Ordering::SeqCst) % EVERY == EVERY - 1;
    counts.wronged.fetch_add(u64::from(is_tenth), Ordering::SeqCst);
    is_tenth
}

async fn send(stream: &mut OwnedWriteHalf, packet: &Packet) -> Option<()> {
    let mut bytes = BytesMut::new();
    encode(packet, Version::V5, &mut bytes).ok()?;
    stream.write_all(&bytes).await.ok()
}

struct Packets {
    stream: OwnedReadHalf,
    bytes: BytesMut,
    version: Option<Version>,
}

impl Packets {
    fn new(stream: OwnedReadHalf, version: Option<Version>) -> Self {
        Self { stream, bytes: BytesMut::new(), version }
    }

    async fn next(&mut self) -> Option<Packet> {
        loop {
            if let Some(packet) = decode(&mut self.bytes, self.version, MAX_PACKET).ok()? {
                self.version = Some(Version::V5);
                return Some(packet);
            }
            if self.stream.read_buf(&mut self.bytes).await.ok()? == 0 {
                return None;
            }
        }
    }
}
