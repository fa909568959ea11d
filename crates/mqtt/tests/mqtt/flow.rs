//! Flow control in both directions, and what happens when somebody does not keep up.

use std::num::{NonZeroU16, NonZeroU32};

use drover_mqtt_codec::{Ack, ConnectProperties, Packet, QoS, ReasonCode, Version};
use drover_runtime::LogSettings;

use crate::server::{Server, allow_anonymous, anonymous, id, never_durable, publish};

#[tokio::test]
async fn the_receive_maximum_of_a_client_is_its_window() {
    let server = Server::start(allow_anonymous).await;
    let mut subscriber = server.tcp().await;
    let mut packet = anonymous(Version::V5, "s");
    let properties =
        ConnectProperties { receive_maximum: NonZeroU16::new(2), ..ConnectProperties::default() };
    packet.properties = Some(Box::new(properties));
    subscriber.connect(packet).await;
    subscriber.subscribe("a", QoS::AtLeastOnce).await;
    let mut publisher = server.anonymous(Version::V5, "p").await;
    for number in 1..=3 {
        publisher.publish(publish("a", Some(number), &[number.to_be_bytes()[1]])).await;
        publisher.expect_puback(number).await;
    }
    let first = subscriber.expect_publish().await;
    let second = subscriber.expect_publish().await;
    subscriber.expect_nothing().await;
    assert_ne!(first.packet_id, second.packet_id);
    subscriber.send(&Packet::PubAck(Ack::success(first.packet_id.unwrap()))).await;
    assert_eq!(&subscriber.expect_publish().await.payload[..], [3]);
}

#[tokio::test]
async fn a_subscriber_that_never_acknowledges_ends_and_frees_its_queue() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_inflight = NonZeroU16::new(1).unwrap();
        config.max_queued_bytes = 30;
    })
    .await;
    for version in [Version::V4, Version::V5] {
        let mut subscriber = server.anonymous(version, "s").await;
        subscriber.subscribe("a", QoS::AtLeastOnce).await;
        let mut publisher = server.anonymous(Version::V5, "p").await;
        for number in 1..=5 {
            publisher.publish(publish("a", Some(number), b"123456789")).await;
            publisher.expect_puback(number).await;
        }
        subscriber.expect_publish().await;
        subscriber.expect_end(ReasonCode::QuotaExceeded).await;
    }
}

#[tokio::test]
async fn a_subscriber_that_never_reads_is_closed() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.write_timeout_s = 1;
    })
    .await;
    let mut subscriber = server.anonymous(Version::V4, "s").await;
    subscriber.subscribe("a", QoS::AtMostOnce).await;
    let mut watcher = server.anonymous(Version::V4, "w").await;
    watcher.subscribe("will", QoS::AtMostOnce).await;
    let mut publisher = server.anonymous(Version::V5, "p").await;
    let payload = vec![0; 500_000];
    let mut number = 0;
    // Until the server has closed it, its subscription is there.
    loop {
        number = number % 1_000 + 1;
        publisher.publish(publish("a", Some(number), &payload)).await;
        if publisher.expect_puback(number).await == ReasonCode::NoMatchingSubscribers {
            break;
        }
    }
}

#[tokio::test]
async fn more_unacknowledged_messages_than_allowed_end_an_mqtt_5_client() {
    let server = Server::start_with(never_durable, |config| {
        config.receive_maximum = NonZeroU16::new(2).unwrap();
    })
    .await;
    let mut device = server.device(Version::V5, "pump").await;
    for number in 1..=3 {
        device.publish(publish("v1/telemetry", Some(number), b"{}")).await;
    }
    device.expect_end(ReasonCode::ReceiveMaximumExceeded).await;
}

#[tokio::test]
async fn an_mqtt_3_1_1_client_is_paused_at_the_window_and_loses_nothing() {
    let server = Server::start_with(never_durable, |config| {
        config.receive_maximum = NonZeroU16::new(2).unwrap();
    })
    .await;
    let mut device = server.device(Version::V4, "pump").await;
    for number in 1..=4 {
        device.publish(publish("v1/telemetry", Some(number), b"{}")).await;
    }
    for number in 1..=4 {
        assert_eq!(server.flushing(device.expect_puback(number)).await, ReasonCode::Success);
    }
    device.expect_nothing().await;
}

#[tokio::test]
async fn a_log_that_takes_nothing_ends_a_client_after_the_stall_timeout() {
    // Whether its reading has paused or not.
    for (version, bytes) in [(Version::V4, 1_000), (Version::V5, 1_000), (Version::V5, 2)] {
        let log = |log: &mut LogSettings| {
            never_durable(log);
            log.frame_bytes = 1 << 20;
        };
        let server = Server::start_with(log, |config| {
            config.stall_timeout_s = 0;
            config.max_unacknowledged_bytes = 1_000;
        })
        .await;
        let mut device = server.device(version, "pump").await;
        device.publish(publish("v1/telemetry", Some(1), &vec![b' '; bytes])).await;
        device.expect_end(ReasonCode::QuotaExceeded).await;
    }
}

#[tokio::test]
async fn a_busy_log_holds_a_message_until_there_is_room() {
    let log = |log: &mut LogSettings| {
        never_durable(log);
        log.max_pending_bytes = 4_000;
    };
    let server = Server::start_with(log, |_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    for number in 1..=8 {
        device.publish(publish("v1/telemetry", Some(number), &[b' '; 900])).await;
    }
    for number in 1..=8 {
        assert_eq!(server.flushing(device.expect_puback(number)).await, ReasonCode::Success);
    }
    device.expect_nothing().await;
}

#[tokio::test]
async fn messages_longer_than_a_client_takes_are_left_out() {
    let server = Server::start(allow_anonymous).await;
    let mut subscriber = server.tcp().await;
    let mut packet = anonymous(Version::V5, "s");
    let properties =
        ConnectProperties { maximum_packet_bytes: NonZeroU32::new(100), ..ConnectProperties::default() };
    packet.properties = Some(Box::new(properties));
    subscriber.connect(packet).await;
    subscriber.subscribe("a", QoS::AtLeastOnce).await;
    let mut publisher = server.anonymous(Version::V5, "p").await;
    for (number, length) in [(1, 200), (2, 10)] {
        publisher.publish(publish("a", Some(number), &vec![0; length])).await;
        publisher.expect_puback(number).await;
    }
    let received = subscriber.expect_publish().await;
    assert_eq!(received.payload.len(), 10);
    subscriber.send(&Packet::PubAck(Ack::success(id(received.packet_id.unwrap().get())))).await;
    subscriber.expect_nothing().await;
}

#[tokio::test]
async fn a_client_that_reads_late_gets_everything_without_asking_for_it() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_queued_messages = 10_000;
    })
    .await;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let mut subscriber = server.anonymous(Version::V5, "s").await;
        subscriber.subscribe("a", qos).await;
        // More than the sockets between the two hold.
        let mut publisher = server.anonymous(Version::V5, "p").await;
        for number in 1..=900 {
            publisher.publish(publish("a", Some(number), &[0; 10_000])).await;
            publisher.expect_puback(number).await;
        }
        for _ in 0..900 {
            subscriber.expect_publish().await;
        }
    }
}
