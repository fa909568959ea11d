//! What subscriptions do: the QoS of deliveries, replacement, the end, and which topics a filter means.

use drover_mqtt_codec::{Packet, QoS, ReasonCode, Subscribe, Subscription, Unsubscribe, Version};

use crate::clients::qos2;
use crate::server::{Server, allow_anonymous, id, publish, subscription};

const BOTH: [Version; 2] = [Version::V4, Version::V5];
const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[tokio::test]
async fn a_message_is_delivered_at_the_lower_qos_of_publisher_and_subscription() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        for granted in QOS {
            let mut subscriber = server.anonymous(version, "s").await;
            subscriber.subscribe("a", granted).await;
            server
                .publishes([publish("a", None, b"0"), publish("a", Some(1), b"1"), qos2("a", 2, b"2")])
                .await;
            let mut received = Vec::new();
            for _ in QOS {
                received.push(subscriber.expect_publish().await);
            }
            for (published, message) in QOS.into_iter().zip(received) {
                assert_eq!(message.payload, [b'0' + published.as_u8()][..]);
                assert_eq!(message.qos, published.min(granted));
                assert_eq!(message.packet_id.is_some(), message.qos != QoS::AtMostOnce);
                assert!(!message.dup);
            }
        }
    }
}

#[tokio::test]
async fn a_subscription_to_the_same_filter_takes_the_place_of_the_one_before_with_all_its_options() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.anonymous(Version::V5, "c").await;
    let no_local = Subscription { no_local: true, ..subscription("a", QoS::AtLeastOnce) };
    for (asked, identifier, expected) in [
        (subscription("a", QoS::ExactlyOnce), Some(1), Some(QoS::AtLeastOnce)),
        (subscription("a", QoS::AtMostOnce), Some(2), Some(QoS::AtMostOnce)),
        (no_local, Some(2), None),
        (subscription("a", QoS::AtLeastOnce), None, Some(QoS::AtLeastOnce)),
    ] {
        client.subscribe_all(vec![asked], identifier).await;
        client.publish(publish("a", Some(1), b"x")).await;
        client.expect_puback(1).await;
        if let Some(expected) = expected {
            let message = client.receive(b"x").await;
            assert_eq!(message.qos, expected);
            let identifiers =
                message.properties.map(|properties| properties.subscription_ids).unwrap_or_default();
            assert_eq!(identifiers.first().map(|identifier| identifier.get()), identifier);
        }
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn nothing_is_lost_while_a_subscription_is_replaced() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut subscriber = server.anonymous(version, "s").await;
        subscriber.subscribe("a", QoS::ExactlyOnce).await;
        let mut publisher = server.anonymous(Version::V5, "p").await;
        for number in 1..=200_u16 {
            publisher.publish(publish("a", Some(number), &number.to_be_bytes())).await;
            let subscriptions = vec![subscription("a", QOS[usize::from(number % 2) + 1])];
            subscriber
                .send(&Packet::Subscribe(Subscribe { packet_id: id(1), subscriptions, properties: None }))
                .await;
        }
        let (mut next, mut answers) = (1..=200_u16, 0);
        while !next.is_empty() || answers < 200 {
            match subscriber.next().await {
                Some(Packet::SubAck(_)) => answers += 1,
                Some(Packet::Publish(message)) => {
                    assert_eq!(message.payload, next.next().unwrap().to_be_bytes()[..]);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn several_filters_in_one_packet_count_one_after_the_other_and_are_answered_together() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut client = server.anonymous(version, "c").await;
        // The second of a stands, a/# matches the topic too, and a+ is no filter.
        let filters = b"\0\x01a\x02\0\x03a/#\x01\0\x02a+\x00\0\x01a\x00";
        let properties: &[u8] = if version == Version::V5 { b"\0" } else { b"" };
        let body = [b"\x12\x34", properties, filters].concat();
        client.send_bytes(&[&[0x82, u8::try_from(body.len()).unwrap()][..], &body].concat()).await;
        let Some(Packet::SubAck(answer)) = client.next().await else { panic!("no SUBACK") };
        assert_eq!(answer.packet_id, id(0x1234));
        let wrong = if version == Version::V5 {
            ReasonCode::TopicFilterInvalid
        } else {
            ReasonCode::UnspecifiedError
        };
        let expected = [ReasonCode::GrantedQos2, ReasonCode::GrantedQos1, wrong, ReasonCode::Success];
        assert_eq!(answer.reasons, expected);
        server.publishes([qos2("a", 1, b"x")]).await;
        assert_eq!(client.receive(b"x").await.qos, QoS::AtLeastOnce);
        client.expect_nothing().await;
        let filters = b"\0\x01a\0\x01a\0\x03a/#";
        let body = [b"\x56\x78", properties, filters].concat();
        client.send_bytes(&[&[0xA2, u8::try_from(body.len()).unwrap()][..], &body].concat()).await;
        let Some(Packet::UnsubAck(answer)) = client.next().await else { panic!("no UNSUBACK") };
        assert_eq!(answer.packet_id, id(0x5678));
        if version == Version::V5 {
            let expected = [ReasonCode::Success, ReasonCode::NoSubscriptionExisted, ReasonCode::Success];
            assert_eq!(answer.reasons, expected);
        }
        server.publishes([publish("a", Some(1), b"x"), publish("a/b", Some(2), b"x")]).await;
        client.expect_nothing().await;
    }
}

#[tokio::test]
async fn unsubscribing_compares_byte_by_byte_and_finishes_what_was_begun() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut client = server.anonymous(version, "c").await;
        client.subscribe("a/#", QoS::ExactlyOnce).await;
        server.publishes([qos2("a/b", 1, b"1")]).await;
        let begun = client.expect_publish().await;
        for (filter, ends) in [("a/b", false), ("a/+", false), ("A/#", false), ("a/#", true)] {
            let filters = vec![filter.into()];
            client
                .send(&Packet::Unsubscribe(Unsubscribe { packet_id: id(4), filters, properties: None }))
                .await;
            let Some(Packet::UnsubAck(answer)) = client.next().await else { panic!("no UNSUBACK") };
            assert_eq!(answer.packet_id, id(4));
            server.publishes([publish("a/b", Some(2), b"2")]).await;
            if !ends {
                client.receive(b"2").await;
            }
            client.expect_nothing().await;
        }
        client.acknowledge(&begun).await;
        let released = drover_mqtt_codec::Ack::success(begun.packet_id.unwrap());
        assert_eq!(client.next().await, Some(Packet::PubRel(released)));
    }
}

#[tokio::test]
async fn topics_are_compared_as_they_are_written() {
    let server = Server::start(allow_anonymous).await;
    let topics = [
        "a",
        "A",
        "/a",
        "a/",
        "a//b",
        "a/b",
        "a b",
        "é",
        "e\u{301}",
        "\u{FEFF}a",
        "a\u{FEFF}",
        "\u{FFFF}",
        "\u{FDD0}",
        "\u{1FFFF}",
        "\u{E000}",
        "\u{1}",
        "日本",
        "\u{10FFFF}",
        "$a",
        "$SYS/x",
        "𝔸/𝔹",
    ];
    let mut client = server.anonymous(Version::V5, "c").await;
    for (number, topic) in (1..).zip(topics) {
        client.subscribe_all(vec![subscription(topic, QoS::AtMostOnce)], Some(number)).await;
    }
    for (number, topic) in (1..).zip(topics) {
        server.publishes([publish(topic, Some(1), topic.as_bytes())]).await;
        let message = client.receive(topic).await;
        assert_eq!(message.topic_str(), topic);
        let identifiers: Vec<_> =
            message.properties.unwrap().subscription_ids.iter().map(|id| id.get()).collect();
        assert_eq!(identifiers, [number], "{topic}");
    }
    client.expect_nothing().await;
}

#[tokio::test]
async fn a_leading_wildcard_leaves_dollar_topics_alone() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut client = server.anonymous(version, "c").await;
        for filter in ["#", "+/x", "+/#"] {
            client.subscribe(filter, QoS::AtMostOnce).await;
        }
        server.publishes([publish("$a/x", Some(1), b"no"), publish("é/x", Some(2), b"yes")]).await;
        client.receive(b"yes").await;
        client.expect_nothing().await;
        client.subscribe("$a/#", QoS::AtMostOnce).await;
        server.publishes([publish("$a/x", Some(1), b"now")]).await;
        client.receive(b"now").await;
    }
}
