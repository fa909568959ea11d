//! What waits for clients is bounded: for each session, and for all sessions of a tenant together.

use std::num::{NonZeroU16, NonZeroU32};

use drover_backbone::{Offset, Shard, Stream};
use drover_mqtt_codec::{Connect, ConnectProperties, Packet, Publish, QoS, ReasonCode, Version};
use drover_proto::backbone::v1::Channel;
use drover_testkit::eventually;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::clients::{qos2, will, with, with_will};
use crate::server::{Device, Server, allow_anonymous, anonymous, connect, publish};

const BOTH: [Version; 2] = [Version::V4, Version::V5];
/// With its topic `a` or `b`, ten bytes.
const NINE: &[u8] = b"123456789";

/// A server on which a hundred bytes may wait for a tenant's clients.
async fn with_room_for_a_hundred() -> Server {
    Server::start(|config| {
        allow_anonymous(config);
        config.max_queued_bytes_per_tenant = 100;
    })
    .await
}

/// A session whose client is away, with a subscription to the topic of its name.
async fn away(server: &Server, name: &str) {
    let (mut client, _) = server.persistent(Version::V5, name).await;
    client.subscribe(name, QoS::ExactlyOnce).await;
    client.leave().await;
}

fn to(topic: &'static str, count: u16) -> impl Iterator<Item = Publish> {
    (1..=count).map(move |number| publish(topic, Some(number), NINE))
}

async fn waiting(server: &Server, bytes: u64) {
    eventually("so many bytes wait", async || (server.metric("queued_bytes")? == bytes).then_some(())).await;
}

async fn receive_all(client: &mut Device<TcpStream>, count: usize) {
    for _ in 0..count {
        client.receive(NINE).await;
    }
    client.expect_nothing().await;
}

#[tokio::test]
async fn the_session_that_would_take_its_tenant_over_the_bound_ends_and_nobody_else_is_touched() {
    let server = with_room_for_a_hundred().await;
    for name in ["a", "b"] {
        away(&server, name).await;
    }
    let mut pump = server.tcp().await;
    let properties = ConnectProperties { session_expiry_s: Some(1_000), ..ConnectProperties::default() };
    pump.connect(with(connect(Version::V5, "pump@acme"), properties)).await;
    pump.subscribe("dev/pump/x", QoS::AtLeastOnce).await;
    pump.leave().await;
    server.publishes(to("a", 8).chain(to("b", 2))).await;
    waiting(&server, 100).await;
    // A publisher is not told of it: `publishes` waits for each acknowledgement.
    server.publishes(to("b", 2)).await;
    assert_eq!(server.metric("sessions_over_bound_total{bound=\"tenant\"}"), Some(1));
    assert_eq!(server.metric("sessions_over_bound_total{bound=\"session\"}"), None);
    let (mut b, is_present) = server.persistent(Version::V5, "b").await;
    assert!(!is_present);
    b.expect_nothing().await;
    // It made room again.
    b.subscribe("b", QoS::AtLeastOnce).await;
    b.leave().await;
    server.publishes(to("b", 2)).await;
    let (mut a, is_present) = server.persistent(Version::V5, "a").await;
    assert!(is_present);
    receive_all(&mut a, 8).await;
    let mut pump = server.device(Version::V5, "pump@acme").await;
    pump.publish_safely(publish("dev/pump/x", Some(1), &[0; 80])).await;
    let (mut b, is_present) = server.persistent(Version::V5, "b").await;
    assert!(is_present);
    receive_all(&mut b, 2).await;
}

#[tokio::test]
async fn a_connected_client_is_told_that_its_tenant_is_over_the_bound_and_its_will_is_published() {
    for version in BOTH {
        let server = Server::start(|config| {
            allow_anonymous(config);
            config.max_queued_bytes_per_tenant = 100;
            config.max_inflight = NonZeroU16::MIN;
        })
        .await;
        away(&server, "a").await;
        server.publishes(to("a", 9)).await;
        let mut watcher = server.anonymous(version, "w").await;
        watcher.subscribe("gone", QoS::AtMostOnce).await;
        let mut client = server.tcp().await;
        client.connect(with_will(anonymous(version, "b"), will("gone"))).await;
        client.subscribe("b", QoS::AtLeastOnce).await;
        server.publishes(to("b", 2)).await;
        client.expect_publish().await;
        client.expect_end(ReasonCode::QuotaExceeded).await;
        watcher.receive(b"gone").await;
    }
}

/// The events in the log.
async fn events(server: &Server) -> Vec<(String, String, serde_json::Value)> {
    server.flush().await;
    let mut events = Vec::new();
    for shard in (0..server.env.log.shards()).map(Shard) {
        let mut reader = server.env.log.reader(Stream::Telemetry, shard, Offset(0)).unwrap();
        while let Some((_, frame)) = reader.try_next().unwrap() {
            let records =
                frame.records().map(Result::unwrap).filter(|record| record.channel == Channel::Event);
            events.extend(records.map(|record| {
                let event = serde_json::from_slice(record.payload).unwrap();
                (record.tenant.to_owned(), record.device.to_owned(), event)
            }));
        }
    }
    events
}

#[tokio::test]
async fn the_end_of_a_devices_session_over_a_bound_is_an_event_of_the_device() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_queued_bytes = 60;
        config.max_queued_bytes_per_tenant = 100;
    })
    .await;
    let lasting = |username| {
        let properties = ConnectProperties { session_expiry_s: Some(1_000), ..ConnectProperties::default() };
        Connect { client_id: "sensor".into(), ..with(connect(Version::V5, username), properties) }
    };
    for (username, topic) in [("pump@acme", "dev/pump"), ("pump", "dev/pump"), ("fan", "dev/fan")] {
        let mut device = server.tcp().await;
        device.connect(lasting(username)).await;
        device.subscribe(topic, QoS::AtLeastOnce).await;
        device.leave().await;
    }
    let mut pump = server.device(Version::V5, "pump@acme").await;
    for number in 1..=3 {
        pump.publish_safely(publish("dev/pump", Some(number), &[0; 22])).await;
    }
    let messages = [("dev/pump", 52), ("dev/fan", 23), ("dev/fan", 23)];
    server.publishes(messages.map(|(topic, length)| publish(topic, Some(1), &vec![0; length]))).await;
    // A client without credentials is no device.
    away(&server, "a").await;
    server.publishes([publish("a", Some(1), &[0; 59]), publish("a", Some(2), &[0; 59])]).await;
    let event = |reason, messages, bytes| {
        let (event, client_id) = ("session_ended", "sensor");
        serde_json::json!({ "event": event, "reason": reason, "client_id": client_id, "messages": messages, "bytes": bytes })
    };
    let text = |id: &str| id.to_owned();
    assert_eq!(
        events(&server).await,
        [
            (text("acme"), text("pump"), event("queue over its bound", 2, 60)),
            (text("default"), text("fan"), event("queues of the tenant over their bound", 1, 30)),
        ]
    );
    assert_eq!(server.metric("sessions_over_bound_total{bound=\"tenant\"}"), Some(2));
}

#[tokio::test]
async fn what_waits_is_counted_until_it_is_received_whether_it_lies_in_memory_or_in_the_database() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.checkpoint_interval_s = NonZeroU32::MIN;
    })
    .await;
    for name in ["a", "b", "c"] {
        away(&server, name).await;
    }
    server.publishes(to("a", 3).chain(to("b", 3))).await;
    server.publishes((1..=3).map(|number| qos2("c", number, NINE))).await;
    waiting(&server, 90).await;
    let written = server.metric("checkpoints_total").unwrap();
    eventually("it is in the database", async || {
        (server.metric("checkpoints_total")? > written + 1).then_some(())
    })
    .await;
    // Half of it is in the journal only.
    server.publishes(to("a", 1)).await;
    let server = server.restarted().await;
    waiting(&server, 100).await;
    let (mut a, _) = server.persistent(Version::V5, "a").await;
    receive_all(&mut a, 4).await;
    waiting(&server, 60).await;
    // A QoS 2 message leaves the queue when the client has it.
    let (mut c, _) = server.persistent(Version::V5, "c").await;
    for _ in 0..3 {
        let message = c.expect_publish().await;
        c.acknowledge(&message).await;
    }
    waiting(&server, 30).await;
    for _ in 0..3 {
        assert!(matches!(c.next().await, Some(Packet::PubRel(_))));
    }
    a.leave().await;
    c.leave().await;
    // Nobody is told when acknowledgements are on disk.
    server.flush().await;
    let server = server.restarted().await;
    waiting(&server, 30).await;
    server.anonymous(Version::V5, "b").await;
    waiting(&server, 0).await;
}

#[tokio::test]
async fn a_further_session_is_refused_and_those_that_there_are_come_back() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_sessions_per_tenant = 2;
    })
    .await;
    for version in BOTH {
        away(&server, "a").await;
        let mut other = server.anonymous(version, "b").await;
        let refused = server.tcp().await.connect(anonymous(version, "c")).await;
        match version {
            Version::V4 => assert_eq!(refused.reason.connack_v4(), Some(3)),
            Version::V5 => assert_eq!(refused.reason, ReasonCode::QuotaExceeded),
        }
        server.device(Version::V5, "pump@acme").await;
        // Neither who resumes nor who begins anew needs more room.
        let (_, is_present) = server.persistent(version, "a").await;
        assert!(is_present);
        server.anonymous(version, "a").await.leave().await;
        other.leave().await;
        server.anonymous(version, "c").await.leave().await;
    }
    assert_eq!(server.metric("sessions_refused_total"), Some(2));
}

#[tokio::test]
async fn packets_that_nobody_finishes_take_no_more_memory_than_their_tenant_has_for_them() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_incomplete_bytes_per_tenant = 1_048_576;
    })
    .await;
    // The first byte of a PUBLISH, and a length of 900,000 bytes; most of them come.
    let mut begun = vec![0x30, 0xA0, 0xF7, 0x36];
    begun.resize(800_000, 0);
    let mut first = server.anonymous(Version::V5, "first").await;
    first.send_bytes(&begun).await;
    let counted = async || (server.metric("incomplete_bytes")? >= 700_000).then_some(());
    eventually("what was begun is counted", counted).await;
    let mut second = server.anonymous(Version::V5, "second").await;
    // It may be told before it has sent all of it.
    let _ = second.stream.write_all(&begun).await;
    second.expect_end(ReasonCode::QuotaExceeded).await;
    let mut other = server.device(Version::V5, "pump@acme").await;
    other.send_bytes(&begun).await;
    let counted = async || (server.metric("incomplete_bytes")? >= 1_500_000).then_some(());
    eventually("another tenant has room of its own", counted).await;
    drop(first);
    let counted = async || (server.metric("incomplete_bytes")? < 1_500_000).then_some(());
    eventually("what is gone is not counted", counted).await;
    begun.resize(900_004, 0);
    other.send_bytes(&begun[800_000..]).await;
    // Zeros are no topic.
    other.expect_end(ReasonCode::ProtocolError).await;
}
