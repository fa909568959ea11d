//! What no client should send.

use drover_mqtt_codec::{Packet, ReasonCode, Version};
use tokio::io::AsyncWriteExt;

use crate::server::{Server, publish};

#[tokio::test]
async fn a_first_packet_that_is_no_connect_closes() {
    let server = Server::start(|_| {}).await;
    for bytes in [&[0xC0, 0][..], b"GET / HTTP/1.1\r\n\r\n", &[0x10, 0xFF, 0xFF, 0xFF, 0xFF], &[0x00, 0x00]] {
        let mut device = server.tcp().await;
        device.send_bytes(bytes).await;
        assert_eq!(device.next().await, None, "{bytes:?}");
    }
}

#[tokio::test]
async fn unknown_versions_are_told_so() {
    let server = Server::start(|_| {}).await;
    let mut device = server.tcp().await;
    device.version = Version::V4;
    device.send_bytes(b"\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x00\x00\x00").await;
    let Some(Packet::ConnAck(answer)) = device.next().await else { panic!("no CONNACK") };
    assert_eq!(answer.reason, ReasonCode::UnsupportedProtocolVersion);
    let mut device = server.tcp().await;
    device.send_bytes(b"\x10\x0c\x00\x04MQTT\x06\x02\x00\x00\x00\x00").await;
    let Some(Packet::ConnAck(answer)) = device.next().await else { panic!("no CONNACK") };
    assert_eq!(answer.reason, ReasonCode::UnsupportedProtocolVersion);
}

#[tokio::test]
async fn a_malformed_connect_of_mqtt_5_is_told_why() {
    let server = Server::start(|_| {}).await;
    let mut device = server.tcp().await;
    // The reserved flag is set.
    device.send_bytes(b"\x10\x0d\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x00").await;
    let Some(Packet::ConnAck(answer)) = device.next().await else { panic!("no CONNACK") };
    assert_eq!(answer.reason, ReasonCode::MalformedPacket);
}

#[tokio::test]
async fn malformed_packets_end_the_connection_with_their_reason() {
    let server = Server::start(|_| {}).await;
    let cases: [(&[u8], ReasonCode); 7] = [
        // A length of 100 MB.
        (&[0x30, 0x80, 0xC2, 0xD7, 0x2F], ReasonCode::PacketTooLarge),
        // A wildcard in a topic name.
        (b"\x30\x06\x00\x03a/#\x00", ReasonCode::TopicNameInvalid),
        // A topic that is no UTF-8.
        (b"\x30\x05\x00\x02\xFF\xFE\x00", ReasonCode::MalformedPacket),
        // QoS 3.
        (b"\x36\x06\x00\x01a\x00\x01\x00", ReasonCode::MalformedPacket),
        // A topic that ends early.
        (b"\x30\x02\x00\x09", ReasonCode::MalformedPacket),
        // SUBSCRIBE with packet id 0.
        (b"\x82\x07\x00\x00\x00\x00\x01a\x00", ReasonCode::ProtocolError),
        // CONNECT again.
        (b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x00", ReasonCode::ProtocolError),
    ];
    for version in [Version::V4, Version::V5] {
        for (bytes, reason) in cases {
            let mut device = server.device(version, "pump").await;
            device.send_bytes(bytes).await;
            device.expect_end(reason).await;
        }
    }
}

#[tokio::test]
async fn packets_may_come_byte_by_byte_and_many_at_once() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    let one = b"\x32\x13\x00\x0cv1/telemetry\x00\x05\x00{}";
    for byte in one {
        device.send_bytes(&[*byte]).await;
    }
    assert_eq!(device.expect_puback(5).await, ReasonCode::Success);
    device.send_bytes(&one.repeat(300)).await;
    for _ in 0..300 {
        device.expect_puback(5).await;
    }
}

#[tokio::test]
async fn long_messages_pass_and_longer_ones_end_the_connection() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    device.subscribe("dev/pump/x", drover_mqtt_codec::QoS::AtMostOnce).await;
    let payload = vec![7; 1_000_000];
    device.publish(publish("dev/pump/x", None, &payload)).await;
    assert_eq!(device.expect_publish().await.payload, payload);
    let _ = device.stream.write_all(&[0x30, 0x81, 0x80, 0x40, 0]).await;
    device.expect_end(ReasonCode::PacketTooLarge).await;
}

#[tokio::test]
async fn a_topic_with_too_many_levels_is_refused() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    let topic = format!("dev/pump{}", "/a".repeat(127));
    device.publish(publish(&topic, Some(1), b"")).await;
    assert_eq!(device.expect_puback(1).await, ReasonCode::TopicNameInvalid);
}

#[tokio::test]
async fn whoever_sends_no_connect_in_time_is_closed() {
    let server = Server::start(|config| config.connect_timeout_s = 0).await;
    for name in ["mqtt", "mqtts", "ws"] {
        let stream = tokio::net::TcpStream::connect(server.addresses[name]).await.unwrap();
        let mut device = crate::server::Device::over(stream);
        assert_eq!(device.next().await, None, "{name}");
    }
}

#[tokio::test]
async fn a_flood_of_failures_meets_back_off_and_a_code() {
    let server = Server::start(|_| {}).await;
    let mut reasons = Vec::new();
    for _ in 0..12 {
        let mut device = server.tcp().await;
        let mut packet = crate::server::connect(Version::V5, "pump");
        packet.password = Some(drover_mqtt_codec::Secret(bytes::Bytes::from_static(b"wrong")));
        reasons.push(device.connect(packet).await.reason);
    }
    assert_eq!(reasons[0], ReasonCode::BadUserNameOrPassword);
    assert_eq!(reasons[11], ReasonCode::ConnectionRateExceeded);
}
