//! Sessions that outlive connections and restarts: Session Present, queues, packet ids, DUP, takeover, expiry, wills, retained messages.

use drover_mqtt_codec::{
    Ack, Connect, ConnectProperties, Disconnect, Packet, QoS, ReasonCode, Version, Will, WillProperties,
};

use drover_testkit::eventually;

use crate::server::{Server, allow_anonymous, anonymous, connect, id, publish};

fn persistent(version: Version, client_id: &str) -> Connect {
    let properties = ConnectProperties { session_expiry_s: Some(1_000), ..ConnectProperties::default() };
    Connect {
        clean_start: false,
        properties: (version == Version::V5).then(|| Box::new(properties)),
        ..anonymous(version, client_id)
    }
}

fn will(topic: &str, delay_s: u32) -> Option<Box<Will>> {
    let properties = WillProperties { will_delay_s: Some(delay_s), ..WillProperties::default() };
    Some(Box::new(Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: topic.into(),
        payload: "gone".into(),
        properties: Some(Box::new(properties)),
    }))
}

fn goodbye() -> Packet {
    Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: None })
}

#[tokio::test]
async fn messages_wait_for_a_client_that_is_away_in_their_order() {
    let server = Server::start(allow_anonymous).await;
    for version in [Version::V4, Version::V5] {
        let mut subscriber = server.tcp().await;
        assert!(!subscriber.connect(persistent(version, "s")).await.session_present);
        subscriber.subscribe("a/#", QoS::ExactlyOnce).await;
        subscriber.send(&goodbye()).await;
        assert_eq!(subscriber.next().await, None);
        let mut publisher = server.anonymous(Version::V5, "p").await;
        for number in 1..=50 {
            publisher.publish(publish("a/b", Some(number), &number.to_be_bytes())).await;
            assert_eq!(publisher.expect_puback(number).await, ReasonCode::Success);
        }
        let mut subscriber = server.tcp().await;
        assert!(subscriber.connect(persistent(version, "s")).await.session_present);
        for number in 1..=50_u16 {
            let got = subscriber.expect_publish().await;
            assert_eq!(
                (&got.payload[..], got.dup, got.qos),
                (&number.to_be_bytes()[..], false, QoS::AtLeastOnce)
            );
            subscriber.send(&Packet::PubAck(Ack::success(got.packet_id.unwrap()))).await;
        }
        subscriber.expect_nothing().await;
        let mut clean = server.tcp().await;
        let clean_start = Connect { clean_start: true, ..persistent(version, "s") };
        assert!(!clean.connect(clean_start).await.session_present);
        subscriber.expect_end(ReasonCode::SessionTakenOver).await;
    }
}

#[tokio::test]
async fn a_restart_keeps_sessions_queues_packet_ids_and_what_was_received() {
    let mut server = Server::start(allow_anonymous).await;
    let mut subscriber = server.tcp().await;
    subscriber.connect(persistent(Version::V5, "s")).await;
    subscriber.subscribe("a", QoS::ExactlyOnce).await;
    let mut publisher = server.tcp().await;
    publisher.connect(persistent(Version::V5, "p")).await;
    for number in 1..=3 {
        let mut message = publish("a", Some(number), &[u8::try_from(number).unwrap()]);
        message.qos = QoS::ExactlyOnce;
        publisher.publish(message).await;
        assert_eq!(publisher.next().await, Some(Packet::PubRec(Ack::success(id(number)))));
    }
    publisher.release(1).await;
    let first = subscriber.expect_publish().await;
    let second = subscriber.expect_publish().await;
    subscriber.expect_publish().await;
    subscriber.send(&Packet::PubRec(Ack::success(first.packet_id.unwrap()))).await;
    assert_eq!(subscriber.next().await, Some(Packet::PubRel(Ack::success(first.packet_id.unwrap()))));
    server = server.restarted().await;

    let mut publisher = server.tcp().await;
    assert!(publisher.connect(persistent(Version::V5, "p")).await.session_present);
    let mut again = publish("a", Some(2), &[2]);
    (again.qos, again.dup) = (QoS::ExactlyOnce, true);
    publisher.publish(again).await;
    assert_eq!(publisher.next().await, Some(Packet::PubRec(Ack::success(id(2)))));

    let mut subscriber = server.tcp().await;
    assert!(subscriber.connect(persistent(Version::V5, "s")).await.session_present);
    assert_eq!(subscriber.next().await, Some(Packet::PubRel(Ack::success(first.packet_id.unwrap()))));
    let got = subscriber.expect_publish().await;
    assert_eq!((&got.payload[..], got.dup, got.packet_id), (&[2][..], true, second.packet_id));
    let got = subscriber.expect_publish().await;
    assert_eq!((&got.payload[..], got.dup), (&[3][..], true));
    subscriber.expect_nothing().await;
}

#[tokio::test]
async fn retained_messages_survive_a_restart_and_an_empty_one_removes_them() {
    let mut server = Server::start(allow_anonymous).await;
    let mut publisher = server.anonymous(Version::V4, "p").await;
    for (topic, payload) in [("r/a", "1"), ("r/b", "2"), ("r/a", "3"), ("r/b", "")] {
        let mut message = publish(topic, Some(1), payload.as_bytes());
        message.retain = true;
        publisher.publish(message).await;
        publisher.expect_puback(1).await;
    }
    for _ in 0..2 {
        let mut subscriber = server.anonymous(Version::V5, "s").await;
        subscriber.subscribe("r/+", QoS::AtMostOnce).await;
        let got = subscriber.expect_publish().await;
        assert_eq!((&got.topic[..], &got.payload[..], got.retain), (&b"r/a"[..], &b"3"[..], true));
        subscriber.expect_nothing().await;
        server = server.restarted().await;
    }
}

#[tokio::test]
async fn a_will_with_delay_waits_and_is_dropped_when_the_client_comes_back() {
    let server = Server::start(allow_anonymous).await;
    let mut watcher = server.anonymous(Version::V5, "w").await;
    watcher.subscribe("will/#", QoS::AtMostOnce).await;
    let connect = |topic, delay_s| Connect { will: will(topic, delay_s), ..persistent(Version::V5, topic) };
    let mut back = server.tcp().await;
    back.connect(connect("will/back", 1)).await;
    drop(back);
    let mut back = server.tcp().await;
    assert!(back.connect(persistent(Version::V5, "will/back")).await.session_present);
    let mut gone = server.tcp().await;
    gone.connect(connect("will/gone", 1)).await;
    drop(gone);
    assert_eq!(&watcher.expect_publish().await.topic[..], b"will/gone");
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn a_will_is_published_when_the_server_was_killed_while_its_client_was_connected() {
    let server = Server::start(allow_anonymous).await;
    let mut watcher = server.tcp().await;
    watcher.connect(persistent(Version::V5, "w")).await;
    watcher.subscribe("will", QoS::AtLeastOnce).await;
    let mut client = server.tcp().await;
    client.connect(Connect { will: will("will", 0), ..anonymous(Version::V5, "c") }).await;
    let server = server.restarted().await;
    let mut watcher = server.tcp().await;
    assert!(watcher.connect(persistent(Version::V5, "w")).await.session_present);
    assert_eq!(&watcher.expect_publish().await.payload[..], b"gone");
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn a_takeover_publishes_the_will_without_delay_of_the_connection_before() {
    let server = Server::start(allow_anonymous).await;
    let mut watcher = server.anonymous(Version::V5, "w").await;
    watcher.subscribe("will", QoS::AtMostOnce).await;
    let mut first = server.tcp().await;
    first.connect(Connect { will: will("will", 0), ..persistent(Version::V5, "c") }).await;
    let mut second = server.tcp().await;
    second.connect(persistent(Version::V5, "c")).await;
    first.expect_end(ReasonCode::SessionTakenOver).await;
    watcher.expect_publish().await;
    watcher.expect_nothing().await;
    second.expect_nothing().await;
}

#[tokio::test]
async fn a_shared_subscription_gives_each_message_to_one_member() {
    let server = Server::start(allow_anonymous).await;
    let mut members = Vec::new();
    for name in ["a", "b"] {
        let mut member = server.anonymous(Version::V5, name).await;
        assert_eq!(member.subscribe("$share/g/t/+", QoS::AtMostOnce).await, ReasonCode::Success);
        members.push(member);
    }
    let mut publisher = server.anonymous(Version::V5, "p").await;
    for number in 1..=4 {
        publisher.publish(publish("t/x", Some(number), b"")).await;
        publisher.expect_puback(number).await;
    }
    for member in &mut members {
        member.expect_publish().await;
        member.expect_publish().await;
        member.expect_nothing().await;
    }
}

/// A checkpoint writes every second.
async fn with_checkpoints() -> Server {
    Server::start(|config| {
        allow_anonymous(config);
        config.checkpoint_interval_s = std::num::NonZeroU32::MIN;
    })
    .await
}

async fn next_checkpoints(server: &Server) {
    // The one that is being written may have been begun before.
    let before = server.metric("checkpoints_total").unwrap();
    let mut marker = 0;
    eventually("two checkpoints are written", async || {
        marker += 1;
        server.persistent(Version::V5, &format!("marker-{marker}")).await;
        (server.metric("checkpoints_total")? >= before + 2).then_some(())
    })
    .await;
}

#[tokio::test]
async fn what_the_platform_says_to_devices_stays_with_each_of_them_through_a_checkpoint() {
    let server = with_checkpoints().await;
    let lasting = |username| Connect {
        clean_start: false,
        properties: persistent(Version::V5, "").properties,
        ..connect(Version::V5, username)
    };
    for username in ["pump", "fan", "pump@acme"] {
        let mut device = server.tcp().await;
        device.connect(lasting(username)).await;
        device.subscribe("v1/errors", QoS::AtLeastOnce).await;
        // Not its own topic.
        device.publish(publish(&format!("dev/secret-of-{username}/x"), None, b"")).await;
        device.expect_publish().await;
    }
    next_checkpoints(&server).await;
    for username in ["pump", "fan", "pump@acme"] {
        let mut device = server.tcp().await;
        assert!(device.connect(lasting(username)).await.session_present);
        let said = device.expect_publish().await;
        let said = String::from_utf8_lossy(&said.payload);
        assert!(said.contains(&format!("secret-of-{username}/x")), "{username} hears {said}");
    }
}

#[tokio::test]
async fn messages_for_a_session_that_ends_with_its_connection_are_its_own_though_it_has_a_will() {
    let server = with_checkpoints().await;
    let mut client = server.tcp().await;
    let properties =
        ConnectProperties { receive_maximum: std::num::NonZeroU16::new(2), ..ConnectProperties::default() };
    let wish =
        Connect { will: will("w", 0), properties: Some(Box::new(properties)), ..anonymous(Version::V5, "c") };
    client.connect(wish).await;
    client.subscribe("a", QoS::AtLeastOnce).await;
    // More than stay in memory.
    let mut publisher = server.anonymous(Version::V5, "p").await;
    for number in 1..=3_000_u16 {
        publisher.publish(publish("a", Some(number), number.to_string().as_bytes())).await;
        publisher.expect_puback(number).await;
    }
    next_checkpoints(&server).await;
    for number in 1..=3_000_u16 {
        let message = client.expect_publish().await;
        assert_eq!(message.payload, number.to_string().as_bytes());
        client.send(&Packet::PubAck(Ack::success(message.packet_id.unwrap()))).await;
    }
}
