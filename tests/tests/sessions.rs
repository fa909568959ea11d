//! MQTT sessions as those see them who run the server: whose they are, and what becomes of one that nobody empties.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;

use drover_testkit::{DataDirectory, Drover, eventually};
use drover_tests::ordinary_clients::run;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::Packet;
use rumqttc::v5::{AsyncClient, Event, EventLoop, MqttOptions};
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long one packet may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Goes on until a packet of the server is the one that is waited for.
async fn until(events: &mut EventLoop, is_wanted: fn(&Packet) -> bool) {
    loop {
        let event = timeout(PATIENCE, events.poll()).await.unwrap().unwrap();
        if matches!(event, Event::Incoming(packet) if is_wanted(&packet)) {
            return;
        }
    }
}

/// A client with a session that outlives its connection and a subscription.
async fn subscriber(server: &Drover, name: &str, username: &str, secret: &str) -> (AsyncClient, EventLoop) {
    let mut options = MqttOptions::new(name, "127.0.0.1", server.port("mqtt"));
    options.set_credentials(username, secret).set_clean_start(false).set_session_expiry_interval(Some(600));
    let (client, mut events) = AsyncClient::new(options, 10);
    client.subscribe("dev/robot/x", QoS::AtLeastOnce).await.unwrap();
    until(&mut events, |packet| matches!(packet, Packet::SubAck(_))).await;
    (client, events)
}

async fn listed(server: &Drover, filter: &[&str]) -> Vec<String> {
    let arguments = [&["session", "list", "-o", "json"], filter].concat();
    let output = run(&mut server.command_line(&arguments)).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let sessions: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    sessions.iter().map(|session| session["client_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn sessions_are_listed_by_whose_they_are() {
    let server = Drover::start().await;
    let token = server.device("robot").await;
    let made = server.call(reqwest::Method::POST, "/v1/api-keys", Some(json!({ "id": "board" }))).await;
    let secret = made.1["secret"].as_str().unwrap();
    let _device = subscriber(&server, "arm", "robot", &token).await;
    let _application = subscriber(&server, "screen", "app:board", secret).await;
    assert_eq!(listed(&server, &[]).await, ["arm", "screen"]);
    assert_eq!(listed(&server, &["--device", "robot"]).await, ["arm"]);
    assert_eq!(listed(&server, &["--api-key", "board"]).await, ["screen"]);
    assert!(listed(&server, &["--api-key", "robot"]).await.is_empty());
    server.stop().await;
}

#[tokio::test]
async fn a_session_over_its_bound_is_an_event_among_its_devices() {
    let directory = DataDirectory::new();
    let settings = directory.path().with_extension("toml");
    std::fs::write(&settings, "[mqtt]\nmax_queued_bytes = 1024\n").unwrap();
    let server = Drover::start_in(directory, &["--config", settings.to_str().unwrap()]).await;
    let token = server.device("robot").await;
    drop(subscriber(&server, "arm", "robot", &token).await);
    let mut options = MqttOptions::new("hand", "127.0.0.1", server.port("mqtt"));
    options.set_credentials("robot", &token);
    let (client, mut events) = AsyncClient::new(options, 10);
    for _ in 0..3 {
        client.publish("dev/robot/x", QoS::AtLeastOnce, false, vec![0; 501]).await.unwrap();
        until(&mut events, |packet| matches!(packet, Packet::PubAck(_))).await;
    }
    let items = eventually("the event is there", async || {
        let list = server.get("/v1/devices/robot/events").await;
        list["items"].as_array().filter(|items| !items.is_empty()).cloned()
    })
    .await;
    let event = json!({
        "event": "session_ended", "reason": "queue over its bound", "client_id": "arm", "messages": 2, "bytes": 1024,
    });
    assert_eq!(items.len(), 1);
    assert_eq!(items[0]["event"], event);
    assert_eq!(listed(&server, &[]).await, ["hand"]);
    server.stop().await;
}
