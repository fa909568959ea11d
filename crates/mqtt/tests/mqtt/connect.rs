//! CONNECT and CONNACK, identity, the end of sessions.

use std::time::Duration;

use bytes::Bytes;
use drover_mqtt_codec::{ConnectProperties, Disconnect, Packet, QoS, ReasonCode, Secret, Version, Will};

use crate::server::{Server, allow_anonymous, anonymous, connect, publish};

#[tokio::test]
async fn connack_declares_the_limits_and_what_is_not_as_asked() {
    let server = Server::start(|config| {
        config.max_keep_alive_s = 60;
        config.max_session_expiry_s = 50;
    })
    .await;
    let mut device = server.tcp().await;
    let properties = ConnectProperties { session_expiry_s: Some(100), ..ConnectProperties::default() };
    let mut packet = connect(Version::V5, "pump");
    packet.properties = Some(Box::new(properties));
    packet.keep_alive_s = 600;
    let answer = device.connect(packet).await;
    assert_eq!((answer.reason, answer.session_present), (ReasonCode::Success, false));
    let said = answer.properties.unwrap();
    assert_eq!(said.maximum_qos, None, "all are offered");
    assert_eq!(said.retain_available, None);
    assert_eq!(said.shared_subscription_available, None);
    assert_eq!(said.session_expiry_s, Some(50));
    assert_eq!(said.server_keep_alive_s, Some(60));
    assert_eq!(said.assigned_client_id.as_deref(), Some("pump"));
    assert_eq!(said.receive_maximum.unwrap().get(), 1024);
    assert_eq!(said.maximum_packet_bytes.unwrap().get(), 1 << 20);
    assert_eq!(said.topic_alias_maximum, Some(16));
}

#[tokio::test]
async fn wrong_or_missing_credentials_are_refused_in_both_versions() {
    let server = Server::start(|_| {}).await;
    let wrong = Some(Secret(Bytes::from_static(b"wrong")));
    for version in [Version::V4, Version::V5] {
        for (packet, reason) in [
            (
                {
                    let mut p = connect(version, "pump");
                    p.password = wrong.clone();
                    p
                },
                ReasonCode::BadUserNameOrPassword,
            ),
            (connect(version, "nobody"), ReasonCode::BadUserNameOrPassword),
            (connect(version, "pump@nowhere"), ReasonCode::BadUserNameOrPassword),
            (connect(version, "app:key"), ReasonCode::BadUserNameOrPassword),
            (anonymous(version, "x"), ReasonCode::NotAuthorized),
        ] {
            let mut device = server.tcp().await;
            assert_eq!(device.connect(packet).await.reason, reason);
            assert_eq!(device.next().await, None);
        }
    }
}

#[tokio::test]
async fn extended_authentication_is_refused() {
    let server = Server::start(|_| {}).await;
    let mut device = server.tcp().await;
    let mut packet = connect(Version::V5, "pump");
    let properties =
        ConnectProperties { authentication_method: Some("SCRAM".into()), ..ConnectProperties::default() };
    packet.properties = Some(Box::new(properties));
    assert_eq!(device.connect(packet).await.reason, ReasonCode::BadAuthenticationMethod);
}

#[tokio::test]
async fn auth_after_connect_ends_the_connection() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    device.send_bytes(&[0xF0, 0]).await;
    device.expect_end(ReasonCode::ProtocolError).await;
}

#[tokio::test]
async fn a_client_id_is_needed_only_for_3_1_1_without_clean_session() {
    let server = Server::start(allow_anonymous).await;
    let mut device = server.tcp().await;
    let mut packet = anonymous(Version::V4, "");
    packet.clean_start = false;
    assert_eq!(device.connect(packet).await.reason, ReasonCode::ClientIdentifierNotValid);
    let mut device = server.tcp().await;
    let answer = device.connect(anonymous(Version::V5, "")).await;
    assert!(answer.properties.unwrap().assigned_client_id.unwrap().starts_with("auto-"));
}

#[tokio::test]
async fn a_client_id_that_connects_again_takes_over() {
    let server = Server::start(|_| {}).await;
    let mut first = server.device(Version::V5, "pump").await;
    let mut second = server.device(Version::V4, "pump").await;
    first.expect_end(ReasonCode::SessionTakenOver).await;
    second.expect_nothing().await;
}

#[tokio::test]
async fn a_client_id_belongs_to_its_device() {
    let server = Server::start(|_| {}).await;
    let mut devices = Vec::new();
    for name in ["pump", "fan", "pump@acme"] {
        let mut device = server.tcp().await;
        let mut packet = connect(Version::V5, name);
        packet.client_id = "same".into();
        assert_eq!(device.connect(packet).await.reason, ReasonCode::Success);
        devices.push(device);
    }
    for device in &mut devices {
        device.expect_nothing().await;
    }
}

fn will(topic: &str) -> Will {
    Will {
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: topic.into(),
        payload: Bytes::from_static(b"gone"),
        properties: None,
    }
}

#[tokio::test]
async fn a_will_is_sent_unless_the_client_says_goodbye() {
    let server = Server::start(allow_anonymous).await;
    for version in [Version::V4, Version::V5] {
        let mut watcher = server.anonymous(version, "watcher").await;
        watcher.subscribe("wills/#", QoS::AtLeastOnce).await;
        for (name, goodbye) in [("polite", true), ("lost", false)] {
            let mut device = server.tcp().await;
            let mut packet = anonymous(version, name);
            packet.will = Some(Box::new(will(&format!("wills/{name}"))));
            device.connect(packet).await;
            if goodbye {
                device
                    .send(&Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: None }))
                    .await;
                assert_eq!(device.next().await, None);
            }
        }
        let sent = watcher.expect_publish().await;
        assert_eq!((sent.topic_str(), &sent.payload[..]), ("wills/lost", &b"gone"[..]));
        watcher.expect_nothing().await;
    }
}

#[tokio::test]
async fn disconnect_0x04_sends_the_will() {
    let server = Server::start(allow_anonymous).await;
    let mut watcher = server.anonymous(Version::V5, "watcher").await;
    watcher.subscribe("w", QoS::AtMostOnce).await;
    let mut device = server.tcp().await;
    let mut packet = anonymous(Version::V5, "d");
    packet.will = Some(Box::new(will("w")));
    device.connect(packet).await;
    let goodbye = Disconnect { reason: ReasonCode::DisconnectWithWill, properties: None };
    device.send(&Packet::Disconnect(goodbye)).await;
    assert_eq!(&watcher.expect_publish().await.payload[..], b"gone");
}

#[tokio::test]
async fn a_will_that_is_not_allowed_refuses_the_connection() {
    let server = Server::start(|_| {}).await;
    for (change, reason) in [
        (Will { qos: QoS::ExactlyOnce, retain: true, ..will("dev/pump/x") }, ReasonCode::Success),
        (will("dev/fan/x"), ReasonCode::NotAuthorized),
        (will("v1/twin"), ReasonCode::NotAuthorized),
        (will("v1/events"), ReasonCode::Success),
    ] {
        let mut device = server.tcp().await;
        let mut packet = connect(Version::V5, "pump");
        packet.will = Some(Box::new(change));
        assert_eq!(device.connect(packet).await.reason, reason);
    }
}

#[tokio::test]
async fn a_revoked_credential_ends_its_sessions_and_no_other() {
    let server = Server::start(|_| {}).await;
    let mut pump = server.device(Version::V5, "pump").await;
    let mut other = server.device(Version::V5, "pump@acme").await;
    server.secrets.remove("pump@default");
    server.env.live.publish("credentials.changed.default.pump", Bytes::new());
    pump.expect_end(ReasonCode::NotAuthorized).await;
    other.expect_nothing().await;
    let mut pump = server.tcp().await;
    let answer = pump.connect(connect(Version::V5, "pump")).await;
    assert_eq!(answer.reason, ReasonCode::BadUserNameOrPassword);
}

#[tokio::test]
async fn a_change_that_leaves_the_credential_leaves_the_session() {
    let server = Server::start(|_| {}).await;
    let mut pump = server.device(Version::V5, "pump").await;
    server.env.live.publish("credentials.changed.default.pump", Bytes::new());
    pump.publish(publish("v1/telemetry", Some(1), b"{}")).await;
    assert_eq!(pump.expect_puback(1).await, ReasonCode::Success);
}

#[tokio::test]
async fn silence_beyond_one_and_a_half_keep_alives_ends_the_connection() {
    let server = Server::start(|_| {}).await;
    for version in [Version::V4, Version::V5] {
        let mut device = server.tcp().await;
        let mut packet = connect(version, "pump");
        packet.keep_alive_s = 10;
        device.connect(packet).await;
        // After this the connection's thread keeps its time.
        device.expect_nothing().await;
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(16)).await;
        tokio::time::resume();
        device.expect_end(ReasonCode::KeepAliveTimeout).await;
    }
}

#[tokio::test]
async fn a_longer_keep_alive_than_the_longest_is_told_to_mqtt_5_and_enforced_in_both_versions() {
    let server = Server::start(|config| config.max_keep_alive_s = 10).await;
    for (version, told) in [(Version::V4, None), (Version::V5, Some(10))] {
        for asked in [0, 11] {
            let mut device = server.tcp().await;
            let mut packet = connect(version, "pump");
            packet.keep_alive_s = asked;
            let answer = device.connect(packet).await;
            assert_eq!(answer.properties.and_then(|properties| properties.server_keep_alive_s), told);
            // After this the connection's thread keeps its time.
            device.expect_nothing().await;
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(16)).await;
            tokio::time::resume();
            device.expect_end(ReasonCode::KeepAliveTimeout).await;
        }
    }
}

#[tokio::test]
async fn a_stopping_server_acknowledges_first_and_says_goodbye() {
    let server = Server::start(|_| {}).await;
    let mut device = server.device(Version::V5, "pump").await;
    let mut old = server.device(Version::V4, "fan").await;
    let mut silent = server.tcp().await;
    for number in 1..=20 {
        device.publish(publish("v1/telemetry", Some(number), b"{\"a\":1}")).await;
    }
    device.expect_puback(1).await;
    server.begin_stop();
    let mut last = 1;
    loop {
        match device.next().await {
            Some(Packet::PubAck(ack)) => last = ack.packet_id.get(),
            Some(Packet::Disconnect(goodbye)) => {
                break assert_eq!(goodbye.reason, ReasonCode::ServerShuttingDown);
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(last >= 1);
    old.expect_end(ReasonCode::ServerShuttingDown).await;
    assert_eq!(silent.next().await, None);
    drop((device, old));
    server.stopped().await;
}
