//! Drover as a user of Python's paho-mqtt meets it: the scripts in `python/` do what such a user would write.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;

use drover_testkit::{Drover, eventually};
use drover_tests::ordinary_clients::{python, run};
use serde_json::json;
use tokio::process::Command;

/// Messages that the script sends.
const MESSAGES: u64 = 200;

async fn round_trip(version: &str, listener: &str) {
    let Some(python) = python() else { return };
    let server = Drover::start().await;
    let token = server.device("robot").await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/round_trip.py");
    let mut command = Command::new(python);
    command.arg(script).args(["--version", version, "--listener", listener, "--username", "robot"]);
    command.args(["--port", &server.port(listener).to_string(), "--messages", &MESSAGES.to_string()]);
    command.arg("--ca").arg(server.certificate_authority()).env("DEVICE_TOKEN", &token);
    let output = run(&mut command).await;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");

    let ledger = eventually("everything is stored", async || {
        let ledger = server.get("/v1/ledger").await;
        (ledger["pending"] == json!(0)).then_some(ledger)
    })
    .await;
    assert_eq!(
        (&ledger["accepted"], &ledger["stored"]),
        (&json!(MESSAGES), &json!(MESSAGES)),
        "{ledger}\n{said}"
    );
    let range = server.get("/v1/devices/robot/telemetry?keys=n&limit=1000").await;
    let values: Vec<_> =
        range["series"]["n"].as_array().unwrap().iter().map(|sample| sample["value"].as_u64()).collect();
    assert_eq!(values, (0..MESSAGES).map(Some).collect::<Vec<_>>());
    server.stop().await;
}

async fn sessions(version: &str) {
    let Some(python) = python() else { return };
    let server = Drover::start().await;
    let token = server.device("robot").await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/sessions.py");
    let mut command = Command::new(python);
    command.arg(script).args(["--version", version, "--username", "robot"]);
    command.args(["--port", &server.port("mqtt").to_string()]).env("DEVICE_TOKEN", &token);
    let output = run(&mut command).await;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn sessions_wills_and_retained_messages_of_mqtt_3_1_1_are_kept() {
    sessions("3.1.1").await;
}

#[tokio::test]
async fn sessions_wills_and_retained_messages_of_mqtt_5_are_kept() {
    sessions("5").await;
}

#[tokio::test]
async fn messages_of_mqtt_3_1_1_arrive_in_order() {
    round_trip("3.1.1", "mqtt").await;
}

#[tokio::test]
async fn messages_of_mqtt_5_arrive_in_order() {
    round_trip("5", "mqtt").await;
}

#[tokio::test]
async fn messages_over_tls_arrive_in_order() {
    round_trip("5", "mqtts").await;
}

#[tokio::test]
async fn messages_over_websocket_arrive_in_order() {
    round_trip("3.1.1", "ws").await;
}
