//! PUBLISH: into the log, to other clients, and back.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{Bytes, BytesMut};
use drover_backbone::{Offset, Shard, Stream};
use drover_mqtt_codec::{Ack, Packet, PublishProperties, QoS, ReasonCode, Version, encode};
use drover_proto::backbone::v1::Channel;

use crate::clients::disconnect;
use crate::server::{Server, allow_anonymous, id, never_durable, publish, with_properties};

#[tokio::test]
async fn telemetry_and_events_reach_the_log_as_they_came() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump@acme").await;
    let cbor =
        PublishProperties { content_type: Some("application/cbor".into()), ..PublishProperties::default() };
    device.publish(with_properties(publish("v1/telemetry", None, b"\x01"), cbor)).await;
    device.publish(publish("v1/telemetry", Some(7), b"{\"a\":1}")).await;
    device.publish(publish("v1/events", Some(8), b"{\"b\":2}")).await;
    assert_eq!(device.expect_puback(7).await, ReasonCode::Success);
    assert_eq!(device.expect_puback(8).await, ReasonCode::Success);
    let mut seen = Vec::new();
    for stream in [Stream::Telemetry, Stream::Events] {
        let mut reader = server.env.log.reader(stream, Shard(0), Offset(0)).unwrap();
        while let Some((_, frame)) = reader.try_next().unwrap() {
            for record in frame.records() {
                let record = record.unwrap();
                assert_eq!((record.tenant, record.device), ("acme", "pump"));
                seen.push((record.channel, record.content_type.to_owned(), record.payload.to_vec()));
            }
        }
    }
    assert_eq!(
        seen,
        [
            (Channel::Telemetry, "application/cbor".into(), b"\x01".to_vec()),
            (Channel::Telemetry, String::new(), b"{\"a\":1}".to_vec()),
            (Channel::Event, String::new(), b"{\"b\":2}".to_vec()),
        ]
    );
}

#[tokio::test]
async fn nothing_is_acknowledged_before_it_is_durable() {
    let server = Server::start_with(never_durable, |_| {}).await;
    for version in [Version::V4, Version::V5] {
        let mut device = server.device(version, "pump").await;
        device.publish(publish("v1/telemetry", Some(1), b"{}")).await;
        device.publish(publish("dev/pump/x", Some(2), b"")).await;
        device.expect_nothing().await;
        server.flush().await;
        assert_eq!(device.expect_puback(1).await, ReasonCode::Success);
        device.expect_puback(2).await;
    }
}

#[tokio::test]
async fn what_came_before_a_goodbye_is_answered_when_it_is_durable() {
    let server = Server::start_with(never_durable, |_| {}).await;
    for version in [Version::V4, Version::V5] {
        let mut device = server.device(version, "pump").await;
        let mut bytes = BytesMut::new();
        encode(&Packet::Publish(publish("v1/telemetry", Some(1), b"{}")), version, &mut bytes).unwrap();
        encode(&disconnect(ReasonCode::Success, None), version, &mut bytes).unwrap();
        device.send_bytes(&bytes).await;
        assert_eq!(server.flushing(device.expect_puback(1)).await, ReasonCode::Success);
        assert_eq!(device.next().await, None);
    }
}

#[tokio::test]
async fn what_came_before_the_end_of_the_stream_is_answered_when_it_is_durable() {
    let server = Server::start_with(never_durable, |_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    device.publish(publish("v1/telemetry", Some(1), b"{}")).await;
    device.shut_down().await;
    assert_eq!(server.flushing(device.expect_puback(1)).await, ReasonCode::Success);
    assert_eq!(device.next().await, None);
}

#[tokio::test]
async fn the_time_of_day_is_answered_to_who_asks() {
    let server = Server::start(|_| {}).await;
    let mut fan = server.device(Version::V4, "fan").await;
    fan.subscribe("v1/#", QoS::AtMostOnce).await;
    let mut pump = server.device(Version::V4, "pump").await;
    pump.subscribe("v1/time", QoS::AtLeastOnce).await;
    pump.publish(publish("v1/time", None, b"")).await;
    let answer = pump.expect_publish().await;
    assert_eq!((answer.topic_str(), answer.qos), ("v1/time", QoS::AtLeastOnce));
    assert!(answer.payload.starts_with(b"{\"ms\":"));
    fan.expect_nothing().await;
}

#[tokio::test]
async fn mqtt_5_refuses_foreign_topics_by_reason_code() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    for topic in ["dev/fan/x", "dev/pumpx", "dev", "v1/twin", "v1/errors", "other"] {
        device.publish(publish(topic, Some(3), b"")).await;
        let Some(Packet::PubAck(ack)) = device.next().await else { panic!("no PUBACK") };
        assert_eq!(ack.reason, ReasonCode::NotAuthorized, "{topic}");
        assert!(ack.properties.unwrap().reason_string.is_some());
    }
}

#[tokio::test]
async fn refused_messages_are_counted_by_the_names_of_the_ledger() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    device.publish(publish("dev/fan/x", Some(1), b"")).await;
    assert_eq!(device.expect_puback(1).await, ReasonCode::NotAuthorized);
    assert_eq!(device.subscribe("dev/fan/#", QoS::AtMostOnce).await, ReasonCode::NotAuthorized);
    let metrics = server.env.metrics.encode();
    let refused: Vec<_> = metrics.lines().filter(|line| line.contains("refused_total{")).collect();
    for expected in [
        "drover_mqtt_refused_total{reason=\"not_allowed\"} 1",
        "drover_mqtt_subscriptions_refused_total{reason=\"not authorized\"} 1",
    ] {
        assert!(refused.contains(&expected), "{refused:#?}");
    }
    assert_eq!(refused.len(), 2, "{refused:#?}");
}

#[tokio::test]
async fn mqtt_3_1_1_is_told_of_refusals_on_its_errors_topic() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V4, "pump").await;
    device.subscribe("v1/errors", QoS::AtMostOnce).await;
    device.publish(publish("dev/fan/x", Some(3), b"")).await;
    device.expect_puback(3).await;
    let told = device.expect_publish().await;
    assert_eq!(told.topic_str(), "v1/errors");
    assert!(
        told.payload.starts_with(b"{\"reason\":") || told.payload.starts_with(b"{\"topic\":\"dev/fan/x\"")
    );
    device.publish(publish("dev/fan/x", None, b"")).await;
    device.expect_publish().await;
}

#[tokio::test]
async fn telemetry_at_qos_2_is_taken_once_however_often_it_is_sent() {
    let server = Server::start(|_| {}).await;
    for version in [Version::V4, Version::V5] {
        let before = server.env.log.appended("default");
        let mut device = server.device(version, "pump").await;
        let mut message = publish("v1/telemetry", Some(1), b"{}");
        message.qos = QoS::ExactlyOnce;
        for dup in [false, true] {
            message.dup = dup;
            device.publish(message.clone()).await;
            assert_eq!(device.next().await, Some(Packet::PubRec(Ack::success(id(1)))));
        }
        for reason in [ReasonCode::Success, ReasonCode::PacketIdentifierNotFound] {
            device.send(&Packet::PubRel(Ack::success(id(1)))).await;
            let Some(Packet::PubComp(ack)) = device.next().await else { panic!("PUBCOMP") };
            assert_eq!(ack.reason, if version == Version::V4 { ReasonCode::Success } else { reason });
        }
        assert_eq!(server.env.log.appended("default"), before + 1);
    }
}

#[tokio::test]
async fn properties_reach_subscribers_of_mqtt_5() {
    let server = Server::start(allow_anonymous).await;
    let mut subscriber = server.anonymous(Version::V5, "s").await;
    let mut old = server.anonymous(Version::V4, "o").await;
    subscriber.subscribe_all(vec![crate::server::subscription("a/+", QoS::AtLeastOnce)], Some(5)).await;
    old.subscribe("a/+", QoS::AtMostOnce).await;
    let mut publisher = server.anonymous(Version::V5, "p").await;
    let properties = PublishProperties {
        payload_is_utf8: Some(true),
        message_expiry_s: Some(1_000),
        response_topic: Some("answers".into()),
        correlation_data: Some(Bytes::from_static(b"42")),
        user_properties: vec![("k".into(), "1".into()), ("k".into(), "2".into())],
        content_type: Some("text/plain".into()),
        ..PublishProperties::default()
    };
    publisher.publish(with_properties(publish("a/b", Some(1), b"hello"), properties.clone())).await;
    assert_eq!(publisher.expect_puback(1).await, ReasonCode::Success);
    let received = subscriber.expect_publish().await;
    assert_eq!((received.qos, &received.payload[..]), (QoS::AtLeastOnce, &b"hello"[..]));
    let mut got = *received.properties.unwrap();
    assert!(got.message_expiry_s.unwrap() > 900);
    got.message_expiry_s = Some(1_000);
    assert_eq!(got, PublishProperties { subscription_ids: vec![NonZeroU32::new(5).unwrap()], ..properties });
    assert_eq!(old.expect_publish().await.qos, QoS::AtMostOnce);
}

#[tokio::test]
async fn a_message_that_nobody_wants_says_so() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    device.publish(publish("dev/pump/x", Some(1), b"")).await;
    assert_eq!(device.expect_puback(1).await, ReasonCode::NoMatchingSubscribers);
}

fn aliased(topic: &str, alias: u16) -> drover_mqtt_codec::Publish {
    let properties =
        PublishProperties { topic_alias: NonZeroU16::new(alias), ..PublishProperties::default() };
    with_properties(publish(topic, Some(1), b"x"), properties)
}

#[tokio::test]
async fn topic_aliases_stand_for_topics_in_both_directions() {
    let server = Server::start(allow_anonymous).await;
    let mut subscriber = server.tcp().await;
    let mut packet = crate::server::anonymous(Version::V5, "s");
    let properties =
        drover_mqtt_codec::ConnectProperties { topic_alias_maximum: Some(1), ..Default::default() };
    packet.properties = Some(Box::new(properties));
    subscriber.connect(packet).await;
    subscriber.subscribe("#", QoS::AtMostOnce).await;
    let mut publisher = server.anonymous(Version::V5, "p").await;
    publisher.publish(aliased("a/b", 16)).await;
    publisher.publish(aliased("", 16)).await;
    publisher.publish(aliased("c", 16)).await;
    publisher.publish(aliased("", 16)).await;
    let mut received = Vec::new();
    for _ in 0..4 {
        let message = subscriber.expect_publish().await;
        let alias =
            message.properties.as_ref().and_then(|properties| properties.topic_alias).map(NonZeroU16::get);
        received.push((message.topic_str().to_owned(), alias));
    }
    let expected = [("a/b", Some(1)), ("", Some(1)), ("c", None), ("c", None)];
    assert_eq!(received, expected.map(|(topic, alias)| (topic.to_owned(), alias)));
}

#[tokio::test]
async fn topic_aliases_out_of_range_or_unset_end_the_connection() {
    let server = Server::start(|_| {}).await;
    for (topic, alias, reason) in
        [("dev/pump/x", 17, ReasonCode::TopicAliasInvalid), ("", 3, ReasonCode::ProtocolError)]
    {
        let mut device = server.device(Version::V5, "pump").await;
        device.publish(aliased(topic, alias)).await;
        device.expect_end(reason).await;
    }
}

#[tokio::test]
async fn a_subscription_identifier_from_a_client_is_a_protocol_error() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    let properties = PublishProperties {
        subscription_ids: vec![NonZeroU32::new(1).unwrap()],
        ..PublishProperties::default()
    };
    device.publish(with_properties(publish("dev/pump/x", None, b""), properties)).await;
    device.expect_end(ReasonCode::ProtocolError).await;
}

#[tokio::test]
async fn messages_of_the_platform_reach_their_device_alone() {
    let server = Server::start(|_| {}).await;
    let mut devices = Vec::new();
    for name in ["pump", "fan", "pump@acme"] {
        let mut device = server.device(Version::V5, name).await;
        device.subscribe("v1/errors", QoS::AtLeastOnce).await;
        devices.push(device);
    }
    server.env.live.publish("downlink.acme.pump", Bytes::from_static(b"v1/errors\0{}"));
    let received = devices[2].expect_publish().await;
    assert_eq!((received.topic_str(), &received.payload[..]), ("v1/errors", &b"{}"[..]));
    devices[0].expect_nothing().await;
    devices[1].expect_nothing().await;
}

#[tokio::test]
async fn refusals_are_counted_for_the_ledger() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    device.publish(publish("other", Some(1), b"")).await;
    device.expect_puback(1).await;
    let mut reader = server.env.log.reader(Stream::Telemetry, Shard(0), Offset(0)).unwrap();
    let (_, frame) = reader.next().await.unwrap();
    let record = frame.records().next().unwrap().unwrap();
    assert_eq!((record.channel, record.tenant, record.device), (Channel::Refused, "default", ""));
}
