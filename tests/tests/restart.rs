//! What was acknowledged is there after a restart, however the process ended, and the ledger balances.

use drover_testkit::{Drover, eventually};
use drover_tests::ordinary_clients::{Login, mosquitto, mosquitto_command};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const MESSAGES: u64 = 300;

/// Sends numbered messages through one connection; success means that every one was acknowledged.
async fn send_numbered(server: &Drover, login: &Login<'_>) {
    let mut command = mosquitto_command("mosquitto_pub", server, login);
    command.args(["-q", "1", "-t", "v1/telemetry", "-l"]).stdin(std::process::Stdio::piped());
    let mut sender = command.spawn().unwrap();
    let lines: String = (0..MESSAGES).map(|n| format!("{{\"n\": {n}}}\n")).collect();
    let mut input = sender.stdin.take().unwrap();
    input.write_all(lines.as_bytes()).await.unwrap();
    drop(input);
    assert!(sender.wait().await.unwrap().success());
}

async fn balanced_ledger(server: &Drover) -> Value {
    eventually("nothing is pending", async || {
        let ledger = server.get("/v1/ledger").await;
        (ledger["pending"] == json!(0)).then_some(ledger)
    })
    .await
}

async fn check_all_there(server: &Drover) {
    let ledger = balanced_ledger(server).await;
    assert_eq!((&ledger["accepted"], &ledger["stored"]), (&json!(MESSAGES), &json!(MESSAGES)), "{ledger}");
    let range = server.get("/v1/devices/pump-1/telemetry?keys=n&limit=1000").await;
    let values: Vec<_> =
        range["series"]["n"].as_array().unwrap().iter().map(|sample| sample["value"].as_u64()).collect();
    assert_eq!(values, (0..MESSAGES).map(Some).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stopped_server_starts_again_with_everything() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    send_numbered(&server, &Login { username: "pump-1", password: &token, tls: false }).await;
    let directory = server.stop().await;
    let server = Drover::start_in(directory, &[]).await;
    check_all_there(&server).await;
    server.stop().await;
}

#[tokio::test]
async fn a_killed_server_starts_again_with_everything_it_acknowledged() {
    if !mosquitto() {
        return;
    }
    let server = Drover::start().await;
    let token = server.device("pump-1").await;
    send_numbered(&server, &Login { username: "pump-1", password: &token, tls: false }).await;
    let directory = server.kill().await;
    let server = Drover::start_in(directory, &[]).await;
    check_all_there(&server).await;
    // A second crash before anything new comes changes nothing.
    let server = Drover::start_in(server.kill().await, &[]).await;
    check_all_there(&server).await;
    server.stop().await;
}
