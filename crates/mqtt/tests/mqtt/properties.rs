//! What clients of MQTT 5 ask for with CONNECT and what they get: sizes, reason strings, aliases.

use std::num::{NonZeroU16, NonZeroU32};

use drover_mqtt_codec::{
    ConnectProperties, Packet, Publish, PublishProperties, QoS, ReasonCode, Subscribe, Version, Will,
};
use tokio::net::TcpStream;

use crate::clients::{persistent, qos2, retained, will, with, with_will};
use crate::server::{
    Device, Server, allow_anonymous, anonymous, connect, id, publish, subscription, with_properties,
};

fn at_most(bytes: u32) -> ConnectProperties {
    ConnectProperties { maximum_packet_bytes: NonZeroU32::new(bytes), ..ConnectProperties::default() }
}

async fn connected(server: &Server, client_id: &str, properties: ConnectProperties) -> Device<TcpStream> {
    let mut client = server.tcp().await;
    let answer = client.connect(with(anonymous(Version::V5, client_id), properties)).await;
    assert_eq!(answer.reason, ReasonCode::Success);
    client
}

#[tokio::test]
async fn a_message_of_exactly_the_size_that_a_client_takes_is_sent_and_longer_ones_count_as_delivered() {
    let server = Server::start(allow_anonymous).await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        // First byte, length, topic, packet id, no properties, payload.
        let overhead = 2 + 3 + if qos == QoS::AtMostOnce { 0 } else { 2 } + 1;
        let asked = ConnectProperties {
            receive_maximum: NonZeroU16::new(1),
            session_expiry_s: Some(1_000),
            ..at_most(100)
        };
        let mut client = server.tcp().await;
        client.connect(with(persistent(Version::V5, "c"), asked)).await;
        client.subscribe("a", qos).await;
        let longest = vec![b'x'; 100 - overhead];
        let longer = vec![b'x'; 101 - overhead];
        for _ in 0..2 {
            server.publishes([qos2("a", 1, &longer), qos2("a", 2, &longest), qos2("a", 3, &longer)]).await;
            client.receive(&longest).await;
        }
        client.expect_nothing().await;
        client.leave().await;
        // What was left out does not wait for a connection that would take it.
        let (mut client, is_present) = server.persistent(Version::V5, "c").await;
        assert!(is_present);
        client.expect_nothing().await;
        client.leave().await;
        server.anonymous(Version::V5, "c").await.leave().await;
    }
}

#[tokio::test]
async fn reason_strings_are_left_out_where_they_do_not_fit_or_are_not_wanted() {
    let server = Server::start(|_| {}).await;
    let silent =
        ConnectProperties { request_problem_information: Some(false), ..ConnectProperties::default() };
    // 39 bytes hold this CONNACK, but no sentence.
    for (properties, says_why) in
        [(ConnectProperties::default(), true), (at_most(39), false), (silent, false)]
    {
        let mut device = server.tcp().await;
        let answer = device.connect(with(connect(Version::V5, "pump"), properties)).await;
        assert_eq!(answer.reason, ReasonCode::Success);
        device.publish(publish("dev/fan/a", Some(1), b"")).await;
        let Some(Packet::PubAck(ack)) = device.next().await else { panic!("no PUBACK") };
        assert_eq!((ack.reason, ack.properties.is_some()), (ReasonCode::NotAuthorized, says_why));
        device.publish(qos2("dev/fan/a", 2, b"")).await;
        let Some(Packet::PubRec(ack)) = device.next().await else { panic!("no PUBREC") };
        assert_eq!((ack.reason, ack.properties.is_some()), (ReasonCode::NotAuthorized, says_why));
        device.send_bytes(b"\x00\0").await;
        let Some(Packet::Disconnect(goodbye)) = device.next().await else { panic!("no DISCONNECT") };
        assert_eq!((goodbye.reason, goodbye.properties.is_some()), (ReasonCode::MalformedPacket, says_why));
        // Nothing follows DISCONNECT, and the server closes.
        assert_eq!(device.next().await, None);
    }
}

#[tokio::test]
async fn a_refusal_that_is_too_long_for_its_client_is_told_without_its_text() {
    let server = Server::start(|_| {}).await;
    for (properties, says_why) in [(ConnectProperties::default(), true), (at_most(10), false)] {
        let mut device = server.tcp().await;
        let answer = device.connect(with(connect(Version::V5, "nobody"), properties)).await;
        assert_eq!(answer.reason, ReasonCode::BadUserNameOrPassword);
        let text = answer.properties.and_then(|properties| properties.reason_string);
        assert_eq!(text.is_some(), says_why);
        assert_eq!(device.next().await, None);
    }
}

#[tokio::test]
async fn an_answer_that_is_too_long_for_its_client_ends_the_connection() {
    let server = Server::start(allow_anonymous).await;
    let mut client = connected(&server, "c", at_most(60)).await;
    let subscriptions =
        (0..100).map(|number| subscription(&format!("a/{number}"), QoS::AtMostOnce)).collect();
    client.send(&Packet::Subscribe(Subscribe { packet_id: id(1), subscriptions, properties: None })).await;
    client.expect_end(ReasonCode::PacketTooLarge).await;
}

#[tokio::test]
async fn response_information_is_not_sent() {
    let server = Server::start(allow_anonymous).await;
    for wanted in [None, Some(false), Some(true)] {
        let asked =
            ConnectProperties { request_response_information: wanted, ..ConnectProperties::default() };
        let mut client = server.tcp().await;
        let answer = client.connect(with(anonymous(Version::V5, "c"), asked)).await;
        assert_eq!(answer.properties.unwrap().response_information, None);
    }
}

fn alias_of(message: &Publish) -> Option<u16> {
    message.properties.as_ref().and_then(|properties| properties.topic_alias).map(NonZeroU16::get)
}

#[tokio::test]
async fn aliases_to_a_client_begin_anew_with_its_connection_and_stay_within_its_maximum() {
    let server = Server::start(allow_anonymous).await;
    for maximum in [None, Some(0), Some(2), Some(u16::MAX)] {
        for _ in 0..2 {
            let asked = ConnectProperties { topic_alias_maximum: maximum, ..ConnectProperties::default() };
            let mut client = connected(&server, "c", asked).await;
            client.subscribe("#", QoS::AtMostOnce).await;
            let topics = ["a", "b", "c", "a", "b", "c"];
            server.publishes(topics.map(|topic| publish(topic, Some(1), b"x"))).await;
            for (turn, topic) in topics.into_iter().enumerate() {
                let message = client.receive(b"x").await;
                let alias = alias_of(&message);
                assert!(alias.unwrap_or(0) <= maximum.unwrap_or(0));
                // A topic that is left out has an alias that was set on this connection.
                let is_left_out = turn >= 3 && alias.is_some();
                assert_eq!(message.topic_str(), if is_left_out { "" } else { topic });
            }
        }
    }
}

#[tokio::test]
async fn aliases_of_a_client_end_with_its_connection() {
    let server = Server::start(allow_anonymous).await;
    let aliased = |topic| {
        let properties =
            PublishProperties { topic_alias: NonZeroU16::new(1), ..PublishProperties::default() };
        with_properties(publish(topic, Some(1), b"x"), properties)
    };
    let (mut client, _) = server.persistent(Version::V5, "c").await;
    for topic in ["a", ""] {
        client.publish(aliased(topic)).await;
        client.expect_puback(1).await;
    }
    client.leave().await;
    let (mut client, is_present) = server.persistent(Version::V5, "c").await;
    assert!(is_present);
    client.publish(aliased("")).await;
    client.expect_end(ReasonCode::ProtocolError).await;
}

#[tokio::test]
async fn every_alias_that_connack_allows_is_taken() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.tcp().await;
    let answer = client.connect(anonymous(Version::V5, "c")).await;
    let maximum = answer.properties.unwrap().topic_alias_maximum.unwrap();
    client.subscribe("#", QoS::AtMostOnce).await;
    for alias in (1..=maximum).rev() {
        let properties =
            PublishProperties { topic_alias: NonZeroU16::new(alias), ..PublishProperties::default() };
        for topic in [format!("t/{alias}"), String::new()] {
            client.publish(with_properties(publish(&topic, None, b"x"), properties.clone())).await;
            // The alias of a publisher is not passed on.
            let message = client.receive(b"x").await;
            assert_eq!((message.topic_str(), alias_of(&message)), (&*format!("t/{alias}"), None));
        }
    }
}

#[tokio::test]
async fn a_server_that_offers_all_takes_wills_of_every_qos_retained_or_not() {
    let server = Server::start(allow_anonymous).await;
    for version in [Version::V4, Version::V5] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for retain in [false, true] {
                let mut client = server.tcp().await;
                let will = Will { qos, retain, ..will("w") };
                let answer = client.connect(with_will(anonymous(version, "c"), will)).await;
                assert_eq!(answer.reason, ReasonCode::Success);
            }
        }
    }
    server.publishes([retained(publish("w", Some(1), b""))]).await;
}

#[tokio::test]
async fn a_message_that_a_new_alias_would_make_too_long_is_sent_without_one() {
    let server = Server::start(allow_anonymous).await;
    let asked = ConnectProperties { topic_alias_maximum: Some(10), ..at_most(60) };
    let mut client = connected(&server, "c", asked).await;
    client.subscribe("mp/topic", QoS::AtMostOnce).await;
    let mut publisher = server.anonymous(Version::V5, "p").await;
    for (length, alias) in [(47, None), (45, None), (44, Some(1)), (47, Some(1))] {
        publisher.publish(publish("mp/topic", None, &vec![b'x'; length])).await;
        let message = client.expect_publish().await;
        assert_eq!((message.payload.len(), alias_of(&message)), (length, alias));
    }
}
