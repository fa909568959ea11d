//! Wills: when they are published, when not, and as what.

use std::num::NonZeroU32;
use std::time::Duration;

use drover_backbone::{LogHealth, Shard, Stream};
use drover_mqtt_codec::{
    Connect, ConnectProperties, Packet, Publish, QoS, ReasonCode, Version, Will, WillProperties,
};
use drover_testkit::eventually;
use tokio::net::TcpStream;

use crate::clients::{delayed, disconnect, persistent, with, with_will};
use crate::server::{Device, Server, allow_anonymous, anonymous, publish};

const BOTH: [Version; 2] = [Version::V4, Version::V5];

async fn watcher(server: &Server, version: Version) -> Device<TcpStream> {
    let mut watcher = server.anonymous(version, "watcher").await;
    watcher.subscribe("will/#", QoS::ExactlyOnce).await;
    watcher
}

/// Puts the time forward; when this returns, the server has done everything that was due by then, and the watcher got nothing of it.
async fn nothing_comes_in(seconds: u64, server: &Server, watcher: &mut Device<TcpStream>) {
    let delay_s = u32::try_from(seconds).unwrap();
    let mut marker = server.tcp().await;
    let will = delayed(crate::clients::will("will/marker"), delay_s);
    marker.connect(with_will(lasting(anonymous(watcher.version, "marker"), 10_000), will)).await;
    marker.leave_with_will().await;
    server.advance(Duration::from_secs(seconds));
    assert_eq!(watcher.receive(b"gone").await.topic_str(), "will/marker");
    watcher.expect_nothing().await;
}

fn will() -> Will {
    crate::clients::will("will/w")
}

/// With a session that lives so many seconds.
fn lasting(connect: Connect, session_expiry_s: u32) -> Connect {
    with(
        connect,
        ConnectProperties { session_expiry_s: Some(session_expiry_s), ..ConnectProperties::default() },
    )
}

#[tokio::test]
async fn a_will_is_published_with_its_qos_its_flag_and_its_properties_in_their_order() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut watcher = watcher(&server, version).await;
        let user_properties: Vec<_> =
            [("b", "1"), ("a", "2"), ("b", "0")].map(|(name, value)| (name.into(), value.into())).to_vec();
        let properties = WillProperties {
            content_type: Some("text/plain".into()),
            response_topic: Some("answers".into()),
            correlation_data: Some("42".into()),
            payload_is_utf8: Some(true),
            message_expiry_s: Some(1_000),
            user_properties: user_properties.clone(),
            ..WillProperties::default()
        };
        for (qos, retain) in [(QoS::AtMostOnce, false), (QoS::AtLeastOnce, false), (QoS::ExactlyOnce, true)] {
            let will = Will { qos, retain, properties: Some(Box::new(properties.clone())), ..will() };
            let mut client = server.tcp().await;
            client.connect(with_will(anonymous(version, "c"), will)).await;
            drop(client);
            let published = watcher.receive(b"gone").await;
            assert_eq!((published.qos, published.retain, published.topic_str()), (qos, false, "will/w"));
            if version == Version::V5 {
                let got = *published.properties.unwrap();
                assert!(got.message_expiry_s.unwrap() > 900);
                assert_eq!(got.user_properties, user_properties);
                assert_eq!(got.content_type.as_deref(), Some("text/plain"));
                assert_eq!(got.response_topic.as_deref(), Some("answers"));
                assert_eq!(got.correlation_data.as_deref(), Some(&b"42"[..]));
                assert_eq!(got.payload_is_utf8, Some(true));
            }
            let mut later = server.anonymous(version, "later").await;
            later.subscribe("will/w", QoS::AtMostOnce).await;
            if retain {
                assert!(later.receive(b"gone").await.retain);
            } else {
                later.expect_nothing().await;
            }
        }
        server.publishes([Publish { retain: true, ..publish("will/w", Some(1), b"") }]).await;
    }
}

#[tokio::test]
async fn a_retained_will_for_which_there_is_no_room_is_published_but_not_kept() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.max_retained_bytes = 5;
    })
    .await;
    let mut watcher = watcher(&server, Version::V5).await;
    let mut client = server.tcp().await;
    client.connect(with_will(anonymous(Version::V5, "c"), Will { retain: true, ..will() })).await;
    drop(client);
    watcher.receive(b"gone").await;
    let mut later = server.anonymous(Version::V5, "later").await;
    later.subscribe("will/#", QoS::AtMostOnce).await;
    later.expect_nothing().await;
}

#[tokio::test]
async fn a_connection_that_the_server_ends_leaves_its_will() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut watcher = watcher(&server, version).await;
        let connect = with_will(anonymous(version, "c"), will());
        let mut client = server.tcp().await;
        client.connect(connect.clone()).await;
        client.send_bytes(b"\x00\x00").await;
        client.expect_end(ReasonCode::MalformedPacket).await;
        watcher.receive(b"gone").await;
        let mut client = server.tcp().await;
        client.connect(Connect { keep_alive_s: 10, ..connect }).await;
        // After this the connection's thread keeps its time.
        client.expect_nothing().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(16)).await;
        tokio::time::resume();
        client.expect_end(ReasonCode::KeepAliveTimeout).await;
        watcher.receive(b"gone").await;
        watcher.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_client_that_was_not_let_in_leaves_no_will() {
    let server = Server::start(allow_anonymous).await;
    let mut watcher = watcher(&server, Version::V5).await;
    // The CONNACK that would let it in is longer than it takes.
    let properties =
        ConnectProperties { maximum_packet_bytes: NonZeroU32::new(5), ..ConnectProperties::default() };
    let mut client = server.tcp().await;
    let connect = with_will(with(anonymous(Version::V5, "c"), properties), will());
    client.send(&Packet::Connect(Box::new(connect))).await;
    assert_eq!(client.next().await, None);
    nothing_comes_in(1, &server, &mut watcher).await;
}

#[tokio::test]
async fn a_client_without_will_leaves_none_and_a_goodbye_takes_it_back() {
    let server = Server::start(allow_anonymous).await;
    for version in BOTH {
        let mut watcher = watcher(&server, version).await;
        let mut client = server.tcp().await;
        client.connect(with_will(persistent(version, "c"), will())).await;
        client.leave().await;
        // The will went with the goodbye, not with the session.
        let (client, is_present) = server.persistent(version, "c").await;
        assert!(is_present);
        drop(client);
        server.anonymous(version, "c").await.leave().await;
        watcher.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_will_waits_its_delay_but_no_longer_than_its_session() {
    let server = Server::start(allow_anonymous).await;
    let mut watcher = watcher(&server, Version::V5).await;
    for (delay_s, session_s, waits_s) in
        [(1_000, 5_000, 1_000), (5_000, 1_000, 1_000), (1_000, 0, 0), (0, 1_000, 0)]
    {
        let mut client = server.tcp().await;
        client
            .connect(with_will(lasting(anonymous(Version::V5, "c"), session_s), delayed(will(), delay_s)))
            .await;
        client.leave_with_will().await;
        if waits_s > 0 {
            nothing_comes_in(waits_s - 500, &server, &mut watcher).await;
            server.advance(Duration::from_secs(501));
        }
        watcher.receive(b"gone").await;
        watcher.expect_nothing().await;
    }
}

#[tokio::test]
async fn a_goodbye_may_shorten_the_session_and_with_it_the_delay() {
    let server = Server::start(allow_anonymous).await;
    let mut watcher = watcher(&server, Version::V5).await;
    let mut client = server.tcp().await;
    client.connect(with_will(persistent(Version::V5, "c"), delayed(will(), 1_000))).await;
    client.leave_with(&disconnect(ReasonCode::DisconnectWithWill, Some(0))).await;
    watcher.receive(b"gone").await;
}

#[tokio::test]
async fn a_takeover_publishes_the_will_when_it_has_no_delay_or_the_session_ends() {
    let server = Server::start(allow_anonymous).await;
    let mut watcher = watcher(&server, Version::V5).await;
    for (delay_s, clean_start, is_published) in
        [(0, false, true), (0, true, true), (1_000, false, false), (1_000, true, true)]
    {
        let mut first = server.tcp().await;
        first.connect(with_will(persistent(Version::V5, "c"), delayed(will(), delay_s))).await;
        let mut second = server.tcp().await;
        let answer = second.connect(Connect { clean_start, ..persistent(Version::V5, "c") }).await;
        assert_eq!(answer.session_present, !clean_start);
        first.expect_end(ReasonCode::SessionTakenOver).await;
        if is_published {
            watcher.receive(b"gone").await;
        }
        // The new connection has no will.
        second.leave_with_will().await;
        nothing_comes_in(1_001, &server, &mut watcher).await;
    }
}

#[tokio::test]
async fn a_client_that_comes_back_after_the_delay_finds_its_will_published_once() {
    let server = Server::start(allow_anonymous).await;
    let mut watcher = watcher(&server, Version::V5).await;
    let mut client = server.tcp().await;
    client.connect(with_will(persistent(Version::V5, "c"), delayed(will(), 100))).await;
    client.leave_with_will().await;
    server.advance(Duration::from_secs(101));
    watcher.receive(b"gone").await;
    let (mut client, is_present) = server.persistent(Version::V5, "c").await;
    assert!(is_present);
    client.leave_with_will().await;
    nothing_comes_in(101, &server, &mut watcher).await;
}

#[tokio::test]
async fn a_delay_goes_on_over_a_restart_of_the_server() {
    let server = Server::start(allow_anonymous).await;
    let mut client = server.tcp().await;
    client.connect(with_will(persistent(Version::V5, "c"), delayed(will(), 100))).await;
    client.leave_with_will().await;
    server.flush().await;
    let server = server.restarted().await;
    let mut watcher = watcher(&server, Version::V5).await;
    nothing_comes_in(60, &server, &mut watcher).await;
    server.advance(Duration::from_secs(41));
    watcher.receive(b"gone").await;
    watcher.expect_nothing().await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_gone_after_its_keep_alive_whatever_it_may_be_sent() {
    let server = Server::start(|config| {
        allow_anonymous(config);
        config.write_timeout_s = 3_600;
    })
    .await;
    let mut witness = server.anonymous(Version::V5, "witness").await;
    witness.subscribe("gone", QoS::AtLeastOnce).await;
    let mut stuffed = server.tcp().await;
    let connect = Connect { keep_alive_s: 1, ..anonymous(Version::V5, "stuffed") };
    stuffed.connect(with_will(connect, crate::clients::will("gone"))).await;
    stuffed.subscribe("much", QoS::AtMostOnce).await;
    // More than the buffers of a connection hold.
    let mut publisher = server.anonymous(Version::V5, "publisher").await;
    for _ in 0..200 {
        publisher.publish(publish("much", None, &[b'x'; 60_000])).await;
    }
    witness.receive(b"gone").await;
}

#[tokio::test]
async fn wills_that_the_full_log_does_not_take_are_published_when_it_does() {
    let server =
        Server::start_with(|log| (log.segment_bytes, log.max_bytes) = (65_536, 1_048_576), allow_anonymous)
            .await;
    let mut watcher = watcher(&server, Version::V5).await;
    let will = || crate::clients::will("will/x");
    let mut ends = server.tcp().await;
    ends.connect(with_will(anonymous(Version::V5, "ends"), will())).await;
    let mut stays = server.tcp().await;
    stays.connect(with_will(lasting(anonymous(Version::V5, "stays"), 1_000), will())).await;
    let mut replaced = server.tcp().await;
    replaced.connect(with_will(anonymous(Version::V5, "replaced"), will())).await;
    let mut pump = server.device(Version::V5, "pump").await;
    for number in 1..=60 {
        pump.publish(publish("v1/telemetry", Some(number), &[b' '; 20_000])).await;
    }
    let is_full = async || matches!(server.env.log.health(), LogHealth::Full { .. }).then_some(());
    eventually("the log is full", is_full).await;
    drop(ends);
    drop(stays);
    let mut taker = server.tcp().await;
    taker.connect(anonymous(Version::V5, "replaced")).await;
    replaced.expect_end(ReasonCode::SessionTakenOver).await;
    watcher.expect_nothing().await;
    // What the gateway may have to read again after a crash goes only with its next checkpoint.
    eventually("the log has room again", async || {
        for shard in (0..server.env.log.shards()).map(Shard) {
            let end = server.env.log.end(Stream::Telemetry, shard);
            server.env.log.truncate(Stream::Telemetry, shard, end);
        }
        (server.env.log.health() == LogHealth::Ready).then_some(())
    })
    .await;
    for _ in 0..3 {
        watcher.receive(b"gone").await;
    }
    watcher.expect_nothing().await;
}
