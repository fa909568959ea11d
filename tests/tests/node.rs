//! Drover as a user of npm's mqtt meets it, under node: the scripts in `node/` do what such a user would write.

use std::path::Path;

use drover_testkit::Drover;
use drover_tests::ordinary_clients::{node, run};
use tokio::process::Command;

async fn scenario(scheme: &str, path: &str, version: &str) {
    let Some(node) = node() else { return };
    let server = Drover::start().await;
    let token = server.device("robot").await;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("node/scenario.js");
    let listener = if scheme == "ws" { "ws" } else { "mqtt" };
    let url = format!("{scheme}://127.0.0.1:{}{path}", server.port(listener));
    let mut command = Command::new(node);
    command.arg(script).args([&url, version, "robot"]).env("DEVICE_TOKEN", &token);
    let output = run(&mut command).await;
    let said =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    server.stop().await;
}

#[tokio::test]
async fn everything_works_over_tcp_with_mqtt_3_1_1() {
    scenario("mqtt", "", "4").await;
}

#[tokio::test]
async fn everything_works_over_tcp_with_mqtt_5() {
    scenario("mqtt", "", "5").await;
}

#[tokio::test]
async fn everything_works_over_websocket_with_mqtt_3_1_1() {
    scenario("ws", "/", "4").await;
}

#[tokio::test]
async fn everything_works_over_websocket_with_mqtt_5() {
    scenario("ws", "/mqtt", "5").await;
}
