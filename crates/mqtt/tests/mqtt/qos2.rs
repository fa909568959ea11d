//! QoS 2 in both directions, step by step, and what of QoS 1 belongs beside it: repetitions, refusals, windows, unknown packet ids.

use std::num::NonZeroU16;
use std::time::Duration;

use drover_mqtt_codec::{
    Ack, ConnectProperties, Packet, Publish, PublishProperties, QoS, ReasonCode, Version,
};

use crate::clients::{persistent, qos2, with};
use crate::server::{Server, allow_anonymous, id, publish, with_properties};

const BOTH: [Version; 2] = [Version::V4, Version::V5];

#[tokio::test]
async fn a_message_passes_through_all_steps_on_both_sides() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut subscriber = server.anonymous(version, "s").await;
        assert_eq!(subscriber.subscribe("a", QoS::ExactlyOnce).await, ReasonCode::GrantedQos2);
        let mut publisher = server.anonymous(version, "p").await;
        publisher.publish(qos2("a", 0x1234, b"x")).await;
        assert_eq!(publisher.expect_pubrec(0x1234).await, ReasonCode::Success);
        // Nobody waits for the PUBREL with the delivery, nor is the PUBCOMP sent before it.
        publisher.expect_nothing().await;
        let message = subscriber.expect_publish().await;
        assert_eq!((message.qos, message.dup, &message.payload[..]), (QoS::ExactlyOnce, false, &b"x"[..]));
        let packet_id = message.packet_id.unwrap();
        subscriber.send(&Packet::PubRec(Ack::success(packet_id))).await;
        assert_eq!(subscriber.next().await, Some(Packet::PubRel(Ack::success(packet_id))));
        subscriber.send(&Packet::PubComp(Ack::success(packet_id))).await;
        subscriber.expect_nothing().await;
        publisher.release(0x1234).await;
        publisher.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_repetition_is_acknowledged_but_not_delivered_and_after_pubcomp_its_id_means_another_message() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut subscriber = server.anonymous(version, "s").await;
        subscriber.subscribe("a", QoS::AtMostOnce).await;
        let mut publisher = server.anonymous(version, "p").await;
        for payload in [b"1", b"2"] {
            for dup in [false, true, false] {
                publisher.publish(Publish { dup, ..qos2("a", 7, payload) }).await;
                assert_eq!(publisher.expect_pubrec(7).await, ReasonCode::Success);
            }
            publisher.release(7).await;
        }
        subscriber.receive(b"1").await;
        subscriber.receive(b"2").await;
        subscriber.expect_nothing().await;
    }
}

#[tokio::test]
async fn an_id_whose_message_was_acknowledged_at_qos_1_means_another_message_whatever_dup_says() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut subscriber = server.anonymous(version, "s").await;
        subscriber.subscribe("a", QoS::AtLeastOnce).await;
        let mut publisher = server.anonymous(version, "p").await;
        for payload in [b"1", b"2"] {
            publisher.publish_safely(Publish { dup: true, ..publish("a", Some(7), payload) }).await;
        }
        for payload in [b"1", b"2"] {
            assert!(!subscriber.receive(payload).await.dup, "DUP is not passed on");
        }
        subscriber.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_pubrec_that_refuses_leaves_the_packet_id_free() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    device.subscribe("dev/pump/#", QoS::AtMostOnce).await;
    device.publish(qos2("dev/fan/x", 7, b"refused")).await;
    assert_eq!(device.expect_pubrec(7).await, ReasonCode::NotAuthorized);
    device.publish(qos2("dev/pump/x", 7, b"taken")).await;
    assert_eq!(device.expect_pubrec(7).await, ReasonCode::Success);
    device.receive(b"taken").await;
    device.release(7).await;
}

#[tokio::test]
async fn a_message_that_the_subscriber_refuses_is_done_with_and_makes_room_in_its_window() {
    let server = Server::start(allow_anonymous).await;
    let window = |client_id: &str| {
        let asked = ConnectProperties {
            receive_maximum: NonZeroU16::new(1),
            session_expiry_s: Some(1_000),
            ..ConnectProperties::default()
        };
        with(persistent(Version::V5, client_id), asked)
    };
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let name = format!("s{qos:?}");
        let mut subscriber = server.tcp().await;
        subscriber.connect(window(&name)).await;
        subscriber.subscribe("a", qos).await;
        server.publishes([qos2("a", 1, b"1"), qos2("a", 2, b"2")]).await;
        let first = subscriber.expect_publish().await;
        subscriber.refuse(&first).await;
        let second = subscriber.expect_publish().await;
        assert_eq!(&second.payload[..], b"2");
        subscriber.leave().await;
        let mut subscriber = server.tcp().await;
        assert!(subscriber.connect(window(&name)).await.session_present);
        assert!(subscriber.receive(b"2").await.dup);
        subscriber.expect_nothing().await;
    }
}

#[tokio::test]
async fn at_qos_2_the_window_opens_with_pubcomp_and_other_packets_pass_meanwhile() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_inflight = NonZeroU16::new(1).unwrap();
    })
    .await;
    for version in BOTH {
        let mut subscriber = server.anonymous(version, "s").await;
        subscriber.subscribe("a", QoS::ExactlyOnce).await;
        server.publishes([qos2("a", 1, b"1"), qos2("a", 2, b"2"), publish("a", None, b"0")]).await;
        let first = subscriber.expect_publish().await;
        let packet_id = first.packet_id.unwrap();
        subscriber.expect_nothing().await;
        subscriber.acknowledge(&first).await;
        assert_eq!(subscriber.next().await, Some(Packet::PubRel(Ack::success(packet_id))));
        subscriber.expect_nothing().await;
        assert_eq!(subscriber.subscribe("b", QoS::AtMostOnce).await, ReasonCode::Success);
        subscriber.publish_safely(publish("c", Some(9), b"")).await;
        subscriber.send(&Packet::PubComp(Ack::success(packet_id))).await;
        assert_eq!(&subscriber.expect_publish().await.payload[..], b"2");
        subscriber.receive(b"0").await;
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_comes_again_with_its_id_at_the_next_connection_and_at_no_other_time() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_inflight = NonZeroU16::new(3).unwrap();
    })
    .await;
    for version in BOTH {
        let (mut subscriber, _) = server.persistent(version, "s").await;
        subscriber.subscribe("a", QoS::ExactlyOnce).await;
        let messages = [publish("a", Some(1), b"1"), qos2("a", 2, b"2"), qos2("a", 3, b"3")];
        server.publishes(messages.into_iter().chain([publish("a", Some(4), b"4")])).await;
        let mut sent = Vec::new();
        for _ in 0..3 {
            sent.push(subscriber.expect_publish().await);
        }
        let released = sent[1].packet_id.unwrap();
        subscriber.acknowledge(&sent[1]).await;
        assert_eq!(subscriber.next().await, Some(Packet::PubRel(Ack::success(released))));
        subscriber.expect_nothing().await;
        subscriber.leave().await;
        let (mut subscriber, is_present) = server.persistent(version, "s").await;
        assert!(is_present);
        assert_eq!(subscriber.next().await, Some(Packet::PubRel(Ack::success(released))));
        for before in [&sent[0], &sent[2]] {
            assert_eq!(subscriber.expect_publish().await, Publish { dup: true, ..before.clone() });
        }
        subscriber.expect_nothing().await;
        subscriber.send(&Packet::PubComp(Ack::success(released))).await;
        assert!(!subscriber.receive(b"4").await.dup);
        // The other version begins anew.
        subscriber.leave().await;
        server.anonymous(version, "s").await;
    }
}

#[tokio::test]
async fn acknowledgements_of_what_was_never_sent_are_answered_with_0x92_or_not_at_all() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut client = server.anonymous(version, "c").await;
        let reason =
            if version == Version::V5 { ReasonCode::PacketIdentifierNotFound } else { ReasonCode::Success };
        let unknown = Ack { packet_id: id(5), reason, properties: None };
        client.send(&Packet::PubRec(Ack::success(id(5)))).await;
        assert_eq!(client.next().await, Some(Packet::PubRel(unknown.clone())));
        client.send(&Packet::PubRel(Ack::success(id(5)))).await;
        assert_eq!(client.next().await, Some(Packet::PubComp(unknown)));
        client.send(&Packet::PubAck(Ack::success(id(5)))).await;
        client.send(&Packet::PubComp(Ack::success(id(5)))).await;
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn all_messages_of_a_full_window_may_come_again_after_a_reconnect() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.receive_maximum = NonZeroU16::new(2).unwrap();
    })
    .await;
    let (mut publisher, _) = server.persistent(Version::V5, "p").await;
    for number in 1..=2 {
        publisher.publish(qos2("a", number, b"")).await;
        publisher.expect_pubrec(number).await;
    }
    drop(publisher);
    let (mut publisher, is_present) = server.persistent(Version::V5, "p").await;
    assert!(is_present);
    for number in 1..=2 {
        publisher.publish(Publish { dup: true, ..qos2("a", number, b"") }).await;
        publisher.expect_pubrec(number).await;
    }
    publisher.publish(qos2("a", 3, b"")).await;
    publisher.expect_end(ReasonCode::ReceiveMaximumExceeded).await;
}

#[tokio::test]
async fn what_a_former_connection_left_unreleased_takes_no_room_in_the_window() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.receive_maximum = NonZeroU16::new(2).unwrap();
    })
    .await;
    let (mut publisher, _) = server.persistent(Version::V5, "p").await;
    for number in 1..=2 {
        publisher.publish(qos2("a", number, b"")).await;
        publisher.expect_pubrec(number).await;
    }
    publisher.leave().await;
    let (mut publisher, _) = server.persistent(Version::V5, "p").await;
    for number in 3..=4 {
        publisher.publish(qos2("a", number, b"")).await;
        publisher.expect_pubrec(number).await;
    }
    for number in 1..=4 {
        publisher.release(number).await;
    }
}

fn expiring(publish: Publish, expiry_s: u32) -> Publish {
    let properties = PublishProperties { message_expiry_s: Some(expiry_s), ..PublishProperties::default() };
    with_properties(publish, properties)
}

#[tokio::test]
async fn a_message_that_was_sent_does_not_expire_before_it_is_acknowledged() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_inflight = NonZeroU16::new(2).unwrap();
    })
    .await;
    let (mut subscriber, _) = server.persistent(Version::V5, "s").await;
    subscriber.subscribe("a", QoS::ExactlyOnce).await;
    let messages = [publish("a", Some(1), b"1"), qos2("a", 2, b"2"), qos2("a", 3, b"never sent")];
    server.publishes(messages.map(|message| expiring(message, 100))).await;
    let sent = [subscriber.expect_publish().await, subscriber.expect_publish().await];
    subscriber.leave().await;
    server.advance(Duration::from_secs(101));
    let (mut subscriber, _) = server.persistent(Version::V5, "s").await;
    for before in sent {
        let again = subscriber.receive(&before.payload).await;
        assert_eq!((again.packet_id, again.dup), (before.packet_id, true));
        assert_eq!(again.properties.unwrap().message_expiry_s, Some(0));
    }
    subscriber.expect_nothing().await;
}

#[tokio::test]
async fn a_message_that_expires_on_its_way_is_still_acknowledged_to_the_end() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    device.publish(expiring(qos2("dev/pump/x", 1, b""), 1)).await;
    device.expect_pubrec(1).await;
    server.advance(Duration::from_secs(100));
    device.release(1).await;
}
