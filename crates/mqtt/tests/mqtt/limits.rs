//! How many may come: at a time, from one source, of one tenant.

use std::net::SocketAddr;

use bytes::BytesMut;
use drover_mqtt_codec::{Connect, Packet, QoS, ReasonCode, Version, encode};
use drover_testkit::eventually;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::server::{Device, Server, allow_anonymous, anonymous, connect, publish};

/// Sockets that have not said anything.
async fn silent(server: &Server, count: usize) -> Vec<Device<TcpStream>> {
    let mut silent = Vec::new();
    for _ in 0..count {
        silent.push(server.tcp().await);
    }
    silent
}

fn bytes_of(connect: Connect) -> BytesMut {
    let (version, mut bytes) = (connect.version, BytesMut::new());
    encode(&Packet::Connect(Box::new(connect)), version, &mut bytes).unwrap();
    bytes
}

/// The client, when it is let in.
async fn accepted(server: &Server, connect: Connect) -> Option<Device<TcpStream>> {
    let mut device = server.tcp().await;
    device.version = connect.version;
    device.stream.write_all(&bytes_of(connect)).await.ok()?;
    match device.next().await? {
        Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => Some(device),
        _ => None,
    }
}

#[tokio::test]
async fn silent_connections_of_one_source_leave_handshakes_to_others() {
    let server = Server::start(|config| {
        config.max_handshakes = 4.try_into().unwrap();
        config.max_handshakes_per_source = 3;
    })
    .await;
    let mut waiting = silent(&server, 3).await;
    for _ in 0..10 {
        assert_eq!(server.tcp().await.next().await, None, "one more of the source is closed");
    }
    assert_eq!(server.metric("closed_total{reason=\"handshakes of the source\"}"), Some(10));
    let mut other = Device::over(server.from("127.0.0.2", "mqtt").await);
    assert_eq!(other.connect(connect(Version::V5, "fan")).await.reason, ReasonCode::Success);
    // A handshake that ends makes room for another of the source.
    let mut first = waiting.remove(0);
    assert_eq!(first.connect(connect(Version::V5, "pump")).await.reason, ReasonCode::Success);
    eventually("there is room again", async || accepted(&server, connect(Version::V5, "pump@acme")).await)
        .await;
}

#[tokio::test]
async fn connections_of_one_source_are_bounded_and_their_places_given_back() {
    let server = Server::start(|config| config.max_connections_per_source = 2).await;
    let _pump = server.device(Version::V5, "pump").await;
    let fan = server.device(Version::V5, "fan").await;
    assert_eq!(server.tcp().await.next().await, None);
    assert_eq!(server.metric("closed_total{reason=\"connections of the source\"}"), Some(1));
    let mut other = Device::over(server.from("127.0.0.2", "mqtt").await);
    assert_eq!(other.connect(connect(Version::V5, "pump@acme")).await.reason, ReasonCode::Success);
    drop(fan);
    eventually("there is room again", async || accepted(&server, connect(Version::V5, "fan")).await).await;
}

#[tokio::test]
async fn handshakes_beyond_the_bound_wait_until_others_are_over() {
    let server = Server::start(|config| config.max_handshakes = 2.try_into().unwrap()).await;
    let mut waiting = silent(&server, 2).await;
    eventually("both are accepted", async || {
        (server.metric("connections{transport=\"tcp\"}")? == 2).then_some(())
    })
    .await;
    let mut third = server.tcp().await;
    third.send_bytes(&bytes_of(connect(Version::V5, "pump"))).await;
    assert_eq!(server.metric("connects_total{outcome=\"accepted\"}"), None);
    waiting.pop();
    let Some(Packet::ConnAck(answer)) = third.next().await else { panic!("no CONNACK") };
    assert_eq!(answer.reason, ReasonCode::Success);
    // The place of `third` is free again, so that another one of the two is.
    server.device(Version::V5, "fan").await;
}

#[tokio::test]
async fn a_tenant_at_its_bound_is_told_so_and_others_are_not_touched() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_connections_per_tenant = 2;
    })
    .await;
    let pump = server.device(Version::V5, "pump").await;
    let _anonymous = server.anonymous(Version::V4, "a").await;
    let refused = server.tcp().await.connect(connect(Version::V5, "fan")).await;
    assert_eq!(refused.reason, ReasonCode::QuotaExceeded);
    let refused = server.tcp().await.connect(connect(Version::V4, "fan")).await;
    assert_eq!(refused.reason.connack_v4(), Some(3));
    eventually("both refusals are counted", async || {
        (server.metric("connects_total{outcome=\"quota exceeded\"}")? == 2).then_some(())
    })
    .await;
    server.device(Version::V5, "pump@acme").await;
    drop(pump);
    eventually("there is room again", async || accepted(&server, connect(Version::V5, "fan")).await).await;
}

#[tokio::test]
async fn a_client_that_lost_its_connection_gets_its_place_in_a_full_tenant_back() {
    let server = Server::start(|config| config.max_connections_per_tenant = 1).await;
    // Stays open: the server has not noticed that nobody is there.
    let _lost = server.device(Version::V5, "pump").await;
    let again = async || accepted(&server, connect(Version::V5, "pump")).await;
    let mut device = eventually("it takes its session over", again).await;
    device.expect_nothing().await;
}

const FLOOD: usize = 10_000;
const FLOODING_TASKS: usize = 20;
const HANDSHAKES: u32 = 64;

/// Comes and goes, in one of the ways in which that can be done.
async fn come_and_go(address: SocketAddr, way: usize) {
    let Ok(mut stream) = TcpStream::connect(address).await else { return };
    let packet = bytes_of(anonymous(Version::V5, ""));
    match way % 4 {
        0 => {}
        1 => _ = stream.write_all(&packet[..packet.len() / 2]).await,
        2 => _ = stream.write_all(&packet).await,
        // A reset.
        _ => _ = stream.set_zero_linger(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_that_come_and_go_disturb_nobody_and_leave_nothing_behind() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_handshakes = HANDSHAKES.try_into().unwrap();
    })
    .await;
    let mut pump = server.device(Version::V5, "pump").await;
    let address = server.addresses["mqtt"];
    let mut flood = tokio::task::JoinSet::new();
    for task in 0..FLOODING_TASKS {
        flood.spawn(async move {
            for turn in 0..FLOOD / FLOODING_TASKS {
                come_and_go(address, task + turn).await;
            }
        });
    }
    let mut packet_id = 0;
    while !flood.is_empty() {
        while let Some(ended) = flood.try_join_next() {
            ended.unwrap();
        }
        packet_id = packet_id % 1_000 + 1;
        pump.publish(publish("v1/telemetry", Some(packet_id), b"{\"a\":1}")).await;
        assert_eq!(pump.expect_puback(packet_id).await, ReasonCode::Success);
        assert_eq!(server.tcp().await.connect(connect(Version::V5, "fan")).await.reason, ReasonCode::Success);
    }
    // All places but one are taken by silent ones, and the last is there.
    let waiting = silent(&server, usize::try_from(HANDSHAKES).unwrap() - 1).await;
    let mut fan = server.device(Version::V5, "fan").await;
    assert_eq!(fan.subscribe("dev/fan/#", QoS::AtMostOnce).await, ReasonCode::Success);
    drop(waiting);
    eventually("all others are gone", async || {
        (server.metric("connections{transport=\"tcp\"}")? == 2).then_some(())
    })
    .await;
    // Stops only when every place among the connections was given back.
    server.begin_stop();
    pump.expect_end(ReasonCode::ServerShuttingDown).await;
    fan.expect_end(ReasonCode::ServerShuttingDown).await;
    drop((pump, fan));
    server.stopped().await;
}
