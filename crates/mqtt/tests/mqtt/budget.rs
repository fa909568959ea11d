//! Clients that send more than their budget or their tenant's.

use drover_mqtt::Config;
use drover_mqtt_codec::{Packet, QoS, ReasonCode, Version, encode};
use drover_testkit::eventually;
use tokio::net::TcpStream;

use crate::server::{Device, Server, connect, publish};

async fn start(change: impl FnOnce(&mut Config)) -> Server {
    Server::start(|config| {
        config.budget.burst_s = 1.try_into().unwrap();
        change(config);
    })
    .await
}

/// Sends so many messages at once.
async fn flood(device: &mut Device<TcpStream>, topic: &str, count: u16) {
    let mut bytes = bytes::BytesMut::new();
    for id in 1..=count {
        encode(&Packet::Publish(publish(topic, Some(id), b"x")), device.version, &mut bytes).unwrap();
    }
    device.send_bytes(&bytes).await;
}

async fn expect_pubacks(device: &mut Device<TcpStream>, count: u16) {
    for id in 1..=count {
        assert!(!device.expect_puback(id).await.is_error());
    }
}

#[tokio::test]
async fn a_client_over_its_budget_is_read_later_and_loses_nothing() {
    let server = start(|config| config.budget.client_messages_per_s = 4).await;
    for version in [Version::V4, Version::V5] {
        let name = if version == Version::V4 { "pump" } else { "fan" };
        let mut device = server.device(version, name).await;
        let topic = format!("dev/{name}/x");
        device.subscribe(&topic, QoS::AtMostOnce).await;
        flood(&mut device, &topic, 12).await;
        let (mut acknowledged, mut heard) = (1, 0);
        while (acknowledged, heard) != (13, 12) {
            match device.next().await {
                Some(Packet::PubAck(ack)) if ack.packet_id.get() == acknowledged => acknowledged += 1,
                Some(Packet::Publish(_)) => heard += 1,
                other => panic!("{other:?}"),
            }
        }
    }
    assert!(server.metric("over_budget_total{budget=\"client messages\"}").unwrap() >= 2);
}

#[tokio::test]
async fn a_pause_that_is_longer_than_the_keep_alive_ends_no_connection() {
    let server = start(|config| config.budget.client_bytes_per_s = 100).await;
    let mut pump = server.tcp().await;
    let mut hello = connect(Version::V4, "pump");
    hello.keep_alive_s = 1;
    assert_eq!(pump.connect(hello).await.reason, ReasonCode::Success);
    // Longer than the bucket holds: paid for after four seconds.
    pump.publish(publish("dev/pump/x", Some(1), &[b'x'; 480])).await;
    assert!(!pump.expect_puback(1).await.is_error());
    pump.publish(publish("dev/pump/x", Some(2), b"x")).await;
    assert!(!pump.expect_puback(2).await.is_error());
    assert!(server.metric("over_budget_total{budget=\"client bytes\"}").unwrap() >= 1);
}

#[tokio::test]
async fn clients_of_a_tenant_take_turns_and_another_tenant_is_not_touched() {
    let server = start(|config| config.budget.tenant_messages_per_s = 20).await;
    let mut pump = server.device(Version::V5, "pump").await;
    // A minute's worth, and nothing that waits for it.
    flood(&mut pump, "dev/pump/x", 1_000).await;
    expect_pubacks(&mut pump, 21).await;
    let mut fan = server.device(Version::V5, "fan").await;
    for _ in 0..3 {
        fan.publish(publish("dev/fan/x", Some(1), b"x")).await;
        assert!(!fan.expect_puback(1).await.is_error());
    }
    let mut acme = server.device(Version::V5, "pump@acme").await;
    flood(&mut acme, "dev/pump/x", 20).await;
    expect_pubacks(&mut acme, 20).await;
    let waiting = server.metric("over_budget_total{budget=\"tenant messages\"}").unwrap();
    assert!((1..1_000).contains(&waiting), "{waiting}");
}

#[tokio::test]
async fn a_waiting_client_can_be_taken_over() {
    let server = start(|config| config.budget.client_bytes_per_s = 1).await;
    let mut pump = server.device(Version::V5, "pump").await;
    // Paid for after hours.
    pump.publish(publish("dev/pump/x", Some(1), &[b'x'; 10_000])).await;
    assert!(!pump.expect_puback(1).await.is_error());
    let mut again = server.device(Version::V5, "pump").await;
    pump.expect_end(ReasonCode::SessionTakenOver).await;
    // It owes what it owed.
    again.send(&Packet::PingReq).await;
    server.begin_stop();
    again.expect_end(ReasonCode::ServerShuttingDown).await;
    let waiting = async || server.metric("budget_waiting").filter(|waiting| *waiting == 0);
    eventually("nobody waits any more", waiting).await;
}

#[tokio::test]
async fn a_tenant_that_connects_too_often_is_refused_and_others_are_not() {
    let server = start(|config| config.budget.tenant_connects_per_s = 1).await;
    for version in [Version::V5, Version::V4] {
        let refused = async || {
            let answer = server.tcp().await.connect(connect(version, "pump")).await;
            Some(answer.reason).filter(|reason| *reason != ReasonCode::Success)
        };
        let reason = eventually("one is refused", refused).await;
        match version {
            Version::V5 => assert_eq!(reason, ReasonCode::ConnectionRateExceeded),
            Version::V4 => assert_eq!(reason.connack_v4(), Some(3)),
        }
    }
    server.device(Version::V5, "pump@acme").await;
}
