//! Retained messages: what is kept, who gets it when, with which flag, and for how long.

use std::time::Duration;

use drover_mqtt_codec::{
    Packet, Publish, PublishProperties, QoS, ReasonCode, RetainHandling, Subscribe, Subscription, Version,
};

use crate::clients::{qos2, retained};
use crate::server::{Server, allow_anonymous, id, publish, subscription, with_properties};

const BOTH: [Version; 2] = [Version::V4, Version::V5];

#[tokio::test]
async fn the_last_retained_message_reaches_later_subscribers_with_the_flag_when_its_publisher_is_gone() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        // The last one is of QoS 0, and takes the place of the others.
        for (number, last_qos) in [(2, QoS::AtLeastOnce), (3, QoS::ExactlyOnce), (1, QoS::AtMostOnce)] {
            let message =
                Publish { qos: last_qos, ..publish("a/b", Some(number), &[number.to_be_bytes()[1]]) };
            let packet_id = message.packet_id.filter(|_| last_qos != QoS::AtMostOnce);
            let mut publisher = server.anonymous(version, "p").await;
            publisher.publish_safely(retained(Publish { packet_id, ..message })).await;
            publisher.leave().await;
        }
        server.publishes([retained(qos2("a/c", 4, b"\x04"))]).await;
        let mut subscriber = server.anonymous(version, "s").await;
        for (filter, qos, payload, expected_qos) in [
            ("a/b", QoS::ExactlyOnce, 1, QoS::AtMostOnce),
            ("a/c", QoS::AtLeastOnce, 4, QoS::AtLeastOnce),
            ("+/c", QoS::ExactlyOnce, 4, QoS::ExactlyOnce),
        ] {
            subscriber.subscribe(filter, qos).await;
            let message = subscriber.receive([payload]).await;
            assert_eq!((message.retain, message.qos), (true, expected_qos));
            subscriber.expect_nothing().await;
        }
    }
}

#[tokio::test]
async fn a_message_without_the_flag_leaves_the_retained_one_alone_and_an_empty_one_removes_it() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut live = server.anonymous(version, "live").await;
        live.subscribe("a", QoS::AtMostOnce).await;
        server.publishes([retained(publish("a", Some(1), b"kept")), publish("a", Some(2), b"")]).await;
        live.receive(b"kept").await;
        live.receive(b"").await;
        let mut later = server.anonymous(version, "later").await;
        later.subscribe("a", QoS::AtMostOnce).await;
        later.receive(b"kept").await;
        server.publishes([retained(publish("a", Some(3), b""))]).await;
        // It is a message like any other to those who are there.
        assert!(!live.receive(b"").await.retain);
        let mut latest = server.anonymous(version, "latest").await;
        latest.subscribe("a", QoS::AtMostOnce).await;
        latest.expect_nothing().await;
    }
}

fn asking(handling: RetainHandling) -> Vec<Subscription> {
    vec![Subscription { retain_handling: handling, ..subscription("a", QoS::AtMostOnce) }]
}

#[tokio::test]
async fn retain_handling_says_which_subscriptions_get_retained_messages_on_resumed_sessions_too() {
    let server = Server::start(allow_anonymous).await;
    server.publishes([retained(publish("a", Some(1), b"kept"))]).await;
    let (mut client, _) = server.persistent(Version::V5, "c").await;
    client.subscribe_all(asking(RetainHandling::DontSend), None).await;
    client.expect_nothing().await;
    client.subscribe_all(asking(RetainHandling::SendIfNew), None).await;
    client.expect_nothing().await;
    client.leave().await;
    let (mut client, is_present) = server.persistent(Version::V5, "c").await;
    assert!(is_present);
    client.subscribe_all(asking(RetainHandling::SendIfNew), None).await;
    client.expect_nothing().await;
    for _ in 0..2 {
        let subscriptions = asking(RetainHandling::Send);
        client
            .send(&Packet::Subscribe(Subscribe { packet_id: id(9), subscriptions, properties: None }))
            .await;
        // The message may come before the SUBACK, which waits until the subscription is durable.
        let packets = [client.next().await, client.next().await];
        assert!(packets.iter().any(|packet| matches!(packet, Some(Packet::SubAck(_)))), "{packets:?}");
        let is_kept = |packet: &Option<Packet>| matches!(packet, Some(Packet::Publish(kept)) if kept.retain);
        assert!(packets.iter().any(is_kept), "{packets:?}");
    }
    client.leave().await;
    let mut client = server.anonymous(Version::V5, "c").await;
    client.subscribe_all(asking(RetainHandling::SendIfNew), None).await;
    client.receive(b"kept").await;
    client.subscribe_all(asking(RetainHandling::SendIfNew), None).await;
    client.expect_nothing().await;
}

#[tokio::test]
async fn in_3_1_1_every_subscription_gets_the_retained_message_again() {
    let server = Server::start(allow_anonymous).await;
    server.publishes([retained(publish("a", Some(1), b"kept"))]).await;
    let mut client = server.anonymous(Version::V4, "c").await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        client.subscribe("a", qos).await;
        let message = client.receive(b"kept").await;
        assert_eq!((message.retain, message.qos), (true, qos));
    }
}

#[tokio::test]
async fn the_flag_of_a_message_on_its_way_is_passed_on_only_to_those_who_asked_for_it_also_when_it_waits() {
    let server = Server::start(allow_anonymous).await;
    let as_published =
        |filter| Subscription { retain_as_published: true, ..subscription(filter, QoS::AtLeastOnce) };
    for (name, asked) in [("with", as_published("a")), ("without", subscription("a", QoS::AtLeastOnce))] {
        let (mut client, _) = server.persistent(Version::V5, name).await;
        client.subscribe_all(vec![asked], None).await;
        client.leave().await;
    }
    let mut live = server.anonymous(Version::V5, "live").await;
    live.subscribe_all(vec![as_published("a")], None).await;
    let mut old = server.anonymous(Version::V4, "old").await;
    old.subscribe("a", QoS::AtMostOnce).await;
    server.publishes([retained(publish("a", Some(1), b"1")), publish("a", Some(2), b"2")]).await;
    for (client, flag) in [(&mut live, true), (&mut old, false)] {
        assert_eq!(client.receive(b"1").await.retain, flag);
        assert!(!client.receive(b"2").await.retain);
    }
    let server = server.restarted().await;
    for (name, flag) in [("with", true), ("without", false)] {
        let (mut client, is_present) = server.persistent(Version::V5, name).await;
        assert!(is_present);
        assert_eq!(client.receive(b"1").await.retain, flag);
        assert!(!client.receive(b"2").await.retain);
    }
}

#[tokio::test]
async fn a_retained_message_says_how_long_it_lasts_and_is_gone_then_also_after_a_restart() {
    let mut server = Server::start(allow_anonymous).await;
    let properties = PublishProperties { message_expiry_s: Some(1_000), ..PublishProperties::default() };
    let message = with_properties(publish("a", Some(1), b"kept"), properties);
    server.publishes([retained(message), retained(publish("b", Some(2), b"for ever"))]).await;
    for left in [1_000, 600, 200] {
        let mut client = server.anonymous(Version::V5, "c").await;
        client.subscribe("a", QoS::AtMostOnce).await;
        let said = client.receive(b"kept").await.properties.unwrap().message_expiry_s.unwrap();
        // The test itself takes some time.
        assert!((left - 100..=left).contains(&said), "{said} of {left}");
        server.advance(Duration::from_secs(400));
        server = server.restarted().await;
    }
    let mut client = server.anonymous(Version::V5, "c").await;
    client.subscribe("+", QoS::AtMostOnce).await;
    let lasting = client.receive(b"for ever").await;
    assert_eq!(lasting.properties, None);
    client.expect_nothing().await;
}

#[tokio::test]
async fn a_shared_subscription_gets_no_retained_messages() {
    let server = Server::start(allow_anonymous).await;
    server.publishes([retained(publish("a", Some(1), b"kept"))]).await;
    let mut client = server.anonymous(Version::V5, "c").await;
    assert_eq!(client.subscribe("$share/g/a", QoS::AtMostOnce).await, ReasonCode::Success);
    client.expect_nothing().await;
}

#[tokio::test]
async fn what_has_expired_makes_room_for_new_messages_at_once() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_retained_bytes = 1_500;
    })
    .await;
    let mut publisher = server.anonymous(Version::V5, "publisher").await;
    let message = |number: u16, expiry_s| {
        let properties = PublishProperties { message_expiry_s: expiry_s, ..PublishProperties::default() };
        with_properties(retained(publish(&format!("a/{number}"), Some(number), &[b'x'; 450])), properties)
    };
    for number in 1..=3 {
        publisher.publish(message(number, Some(1))).await;
        publisher.expect_puback(number).await;
    }
    publisher.publish(message(4, None)).await;
    assert_eq!(publisher.expect_puback(4).await, ReasonCode::QuotaExceeded);
    server.advance(Duration::from_secs(2));
    publisher.publish(message(5, None)).await;
    assert_eq!(publisher.expect_puback(5).await, ReasonCode::NoMatchingSubscribers);
}

#[tokio::test]
async fn what_may_not_be_retained_still_reaches_who_is_there_where_its_sender_cannot_be_told() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_retained_bytes = 1_000;
    })
    .await;
    let mut subscriber = server.anonymous(Version::V5, "subscriber").await;
    subscriber.subscribe("a", QoS::AtMostOnce).await;
    let mut publisher = server.anonymous(Version::V5, "publisher").await;
    publisher.publish(retained(publish("a", None, &[b'x'; 2_000]))).await;
    assert_eq!(subscriber.expect_publish().await.payload.len(), 2_000);
    publisher.publish(retained(publish("a", Some(1), &[b'x'; 2_000]))).await;
    assert_eq!(publisher.expect_puback(1).await, ReasonCode::QuotaExceeded);
    subscriber.expect_nothing().await;
    let mut late = server.anonymous(Version::V5, "late").await;
    late.subscribe("a", QoS::AtMostOnce).await;
    late.expect_nothing().await;
}
