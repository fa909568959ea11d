//! What the system does to the process: signals while it drains, and few file descriptors.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use drover_testkit::{DataDirectory, Drover, eventually};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// File descriptors of a server that could soon have none left.
const FEW_FILES: usize = 160;
/// A hanging test fails after this.
const PATIENCE: Duration = Duration::from_secs(60);
/// CONNACK without complaint. MQTT 3.1.1, 3.2
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// PUBACK of packet 1. MQTT 3.1.1, 3.4
const PUBACK: [u8; 4] = [0x40, 2, 0, 1];

async fn connect(server: &Drover, name: &str) -> TcpStream {
    TcpStream::connect(server.address(name)).await.unwrap()
}

#[tokio::test]
async fn a_second_signal_during_the_drain_aborts_with_code_130() {
    // The API waits for a request that is still coming; this one never ends.
    let server = Drover::start().await;
    let mut request = connect(&server, "api").await;
    let head = format!(
        "POST /v1/devices HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 100\r\nexpect: 100-continue\r\n\r\n",
        server.token()
    );
    request.write_all(head.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    request.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 100", "the request is being read");
    server.signal("TERM");
    let addresses = server.directory().path().join("addresses.json");
    eventually("the drain has begun", async || (!addresses.exists()).then_some(())).await;
    server.signal("INT");
    assert_eq!(server.ended().await.code(), Some(130));
}

/// A device that is connected with MQTT 3.1.1.
async fn device(server: &Drover, id: &str, token: &str) -> TcpStream {
    let field = |text: &str| {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        [&length, text.as_bytes()].concat()
    };
    let body = [&field("MQTT"), &[4, 0xc2, 0, 0][..], &field(id), &field(id), &field(token)].concat();
    let mut stream = connect(server, "mqtt").await;
    stream.write_all(&[&[0x10, u8::try_from(body.len()).unwrap()], &body[..]].concat()).await.unwrap();
    assert_eq!(answer(&mut stream).await, CONNACK);
    stream
}

async fn publish(stream: &mut TcpStream, payload: &str) {
    let body = [&[0, 12], &b"v1/telemetry"[..], &[0, 1], payload.as_bytes()].concat();
    stream.write_all(&[&[0x32, u8::try_from(body.len()).unwrap()], &body[..]].concat()).await.unwrap();
    assert_eq!(answer(stream).await, PUBACK);
}

async fn answer(stream: &mut TcpStream) -> [u8; 4] {
    let mut packet = [0; 4];
    tokio::time::timeout(PATIENCE, stream.read_exact(&mut packet)).await.unwrap().unwrap();
    packet
}

#[tokio::test]
async fn more_clients_than_file_descriptors_keep_nobody_from_being_served() {
    let limit = format!("ulimit -n {FEW_FILES} && exec \"$0\" \"$@\"");
    // Silent clients are kept, so that they hold what they have; heads are written while it is so.
    let settings = ["DROVER_MQTT__CONNECT_TIMEOUT_S=3600", "DROVER_STREAM__FLUSH_INTERVAL_S=1"];
    let starter = [&["env"], &settings[..], &["sh", "-c", &limit]].concat();
    let server = Drover::start_by(&starter, DataDirectory::new(), &[]).await;
    let warning = format!("this process may open only {FEW_FILES} files, so mqtt.max_connections is ");
    assert!(server.log().contains(&warning), "{}", server.log());
    let token = server.device("pump-1").await;
    let mut pump = device(&server, "pump-1", &token).await;
    let mut crowd = Vec::new();
    for _ in 0..2 * FEW_FILES {
        crowd.push(connect(&server, "mqtt").await);
    }
    publish(&mut pump, "{\"n\": 1}").await;
    // The head's file is written in spite of the crowd, and the API answers.
    let path = server.directory().path().join("points");
    eventually("a file of points", async || holds_parquet(&path).then_some(())).await;
    publish(&mut pump, "{\"n\": 2}").await;
    assert_eq!(server.get("/v1/health").await["status"], json!("ok"));
    drop(crowd);
    let mut again = device(&server, "pump-1", &token).await;
    publish(&mut again, "{\"n\": 3}").await;
    let ledger = eventually("everything is stored", async || {
        let ledger = server.get("/v1/ledger").await;
        (ledger["pending"] == json!(0)).then_some(ledger)
    })
    .await;
    assert_eq!((&ledger["accepted"], &ledger["stored"]), (&json!(3), &json!(3)), "{ledger}");
    server.stop().await;
}

fn holds_parquet(folder: &Path) -> bool {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .any(|path| path.extension().is_some_and(|extension| extension == "parquet") || holds_parquet(&path))
}
