//! Applications: what an API key lets them reach, and what becomes of them without it.

use drover_mqtt_codec::{
    ConnAck, Connect, ConnectProperties, Packet, QoS, ReasonCode, Subscribe, Version, Will, WillProperties,
};
use drover_proto::provisioning::v1::api_keys_client::ApiKeysClient;
use drover_proto::provisioning::v1::tenants_client::TenantsClient;
use drover_proto::provisioning::v1::{CreateApiKeyRequest, CreateTenantRequest, DeleteApiKeyRequest};
use drover_rpc::{Link, request};
use drover_testkit::tenant;
use tokio::net::TcpStream;

use crate::server::{Device, Server, TOKEN, connect_with, id, publish, subscription};

const KEY: &str = "drv_key";

/// A server that knows an application `board` with these scopes.
async fn with_scopes(scopes: &[&str]) -> Server {
    let server = Server::start(|_| {}).await;
    server.secrets.insert_key("app:board@default", KEY, scopes);
    server
}

async fn board(server: &Server, version: Version) -> Device<TcpStream> {
    let mut application = server.tcp().await;
    let answer = application.connect(connect_with(version, "app:board", KEY)).await;
    assert_eq!(answer.reason, ReasonCode::Success);
    application
}

/// A CONNECT for a session that outlives its connection.
fn lasting(username: &str, secret: &str) -> Connect {
    let properties = ConnectProperties { session_expiry_s: Some(600), ..ConnectProperties::default() };
    Connect {
        client_id: "same".into(),
        clean_start: false,
        properties: Some(Box::new(properties)),
        ..connect_with(Version::V5, username, secret)
    }
}

async fn come(server: &Server, connect: Connect) -> (Device<TcpStream>, ConnAck) {
    let mut client = server.tcp().await;
    let answer = client.connect(connect).await;
    (client, answer)
}

fn api_keys(server: &Server) -> ApiKeysClient<Link> {
    ApiKeysClient::new(server.env.peers.link("provisioning"))
}

async fn make_key(server: &Server, of: &str, id: &str, scopes: &[&str]) -> String {
    let scopes = scopes.iter().map(|scope| (*scope).to_owned()).collect();
    let message = CreateApiKeyRequest { id: id.into(), description: String::new(), scopes };
    api_keys(server).create_api_key(request(&tenant(of), message)).await.unwrap().into_inner().secret
}

async fn delete_key(server: &Server, of: &str, id: &str) {
    let message = DeleteApiKeyRequest { id: id.into() };
    api_keys(server).delete_api_key(request(&tenant(of), message)).await.unwrap();
}

#[tokio::test]
async fn an_application_and_a_device_talk_in_the_devices_space() {
    let server = with_scopes(&["mqtt:publish:#", "mqtt:subscribe:#"]).await;
    for version in [Version::V4, Version::V5] {
        let mut pump = server.device(version, "pump").await;
        assert_eq!(pump.subscribe("dev/pump/#", QoS::AtLeastOnce).await, ReasonCode::GrantedQos1);
        let mut application = board(&server, version).await;
        assert_eq!(application.subscribe("dev/+/state", QoS::AtMostOnce).await, ReasonCode::Success);
        application.publish(publish("dev/pump/set", Some(1), b"on")).await;
        assert_eq!(application.expect_puback(1).await, ReasonCode::Success);
        let message = pump.expect_publish().await;
        assert_eq!((message.topic_str(), &message.payload[..]), ("dev/pump/set", &b"on"[..]));
        pump.publish(publish("dev/pump/state", None, b"running")).await;
        // Its own message comes back to the device, as it subscribed to all of its space.
        assert_eq!(pump.expect_publish().await.payload, &b"running"[..]);
        let message = application.expect_publish().await;
        assert_eq!((message.topic_str(), &message.payload[..]), ("dev/pump/state", &b"running"[..]));
    }
}

#[tokio::test]
async fn an_application_reaches_what_its_scopes_name_and_nothing_else() {
    let scopes = ["mqtt:publish:a/+/b", "mqtt:subscribe:dev/+/state", "mqtt:subscribe:plant/#"];
    let server = with_scopes(&scopes).await;
    let mut application = board(&server, Version::V5).await;
    for (filter, reason) in [
        ("plant/#", ReasonCode::Success),
        ("plant", ReasonCode::Success),
        ("dev/pump/state", ReasonCode::Success),
        ("$share/group/dev/+/state", ReasonCode::Success),
        ("dev/#", ReasonCode::NotAuthorized),
        ("#", ReasonCode::NotAuthorized),
        ("+/pump/state", ReasonCode::NotAuthorized),
        ("$share/group/dev/+/set", ReasonCode::NotAuthorized),
        ("a/x/b", ReasonCode::NotAuthorized),
    ] {
        assert_eq!(application.subscribe(filter, QoS::AtMostOnce).await, reason, "{filter}");
    }
    for (topic, reason) in [
        ("a/x/b", ReasonCode::NoMatchingSubscribers),
        ("a/x/y/b", ReasonCode::NotAuthorized),
        ("plant/x", ReasonCode::NotAuthorized),
    ] {
        application.publish(publish(topic, Some(1), b"")).await;
        assert_eq!(application.expect_puback(1).await, reason, "{topic}");
    }
    let will = |topic: &str| Will {
        qos: QoS::AtMostOnce,
        retain: false,
        topic: topic.into(),
        payload: Default::default(),
        properties: Some(Box::new(WillProperties::default())),
    };
    for (topic, reason) in [("a/x/b", ReasonCode::Success), ("plant/x", ReasonCode::NotAuthorized)] {
        let connect =
            Connect { will: Some(Box::new(will(topic))), ..connect_with(Version::V5, "app:board", KEY) };
        assert_eq!(come(&server, connect).await.1.reason, reason, "{topic}");
    }
}

#[tokio::test]
async fn the_topics_of_one_device_mean_nothing_for_an_application() {
    let server = with_scopes(&["mqtt:publish:#", "mqtt:subscribe:#"]).await;
    let mut application = board(&server, Version::V5).await;
    assert_eq!(application.subscribe("v1/errors", QoS::AtMostOnce).await, ReasonCode::NotAuthorized);
    for topic in ["v1/telemetry", "v1/time"] {
        application.publish(publish(topic, Some(1), b"{}")).await;
        assert_eq!(application.expect_puback(1).await, ReasonCode::NotAuthorized, "{topic}");
    }
}

#[tokio::test]
async fn a_key_without_a_scope_for_mqtt_is_not_let_in() {
    let server = with_scopes(&["api:read"]).await;
    let (_, answer) = come(&server, connect_with(Version::V5, "app:board", KEY)).await;
    assert_eq!(answer.reason, ReasonCode::NotAuthorized);
    let (_, answer) = come(&server, connect_with(Version::V5, "app:board", TOKEN)).await;
    assert_eq!(answer.reason, ReasonCode::BadUserNameOrPassword);
}

#[tokio::test]
async fn equal_names_of_two_tenants_or_of_a_device_never_meet() {
    let server = with_scopes(&["mqtt:publish:#", "mqtt:subscribe:#"]).await;
    server.secrets.insert_key("app:board@acme", "drv_other", &["mqtt:publish:#", "mqtt:subscribe:#"]);
    server.secrets.insert("board@default", TOKEN);
    let (mut ours, answer) = come(&server, lasting("app:board", KEY)).await;
    assert_eq!(answer.reason, ReasonCode::Success);
    let (mut theirs, answer) = come(&server, lasting("app:board@acme", "drv_other")).await;
    assert_eq!((answer.reason, answer.session_present), (ReasonCode::Success, false));
    let (mut device, answer) = come(&server, lasting("board", TOKEN)).await;
    assert_eq!((answer.reason, answer.session_present), (ReasonCode::Success, false));
    assert_eq!(ours.subscribe("dev/board/#", QoS::AtMostOnce).await, ReasonCode::Success);
    assert_eq!(theirs.subscribe("#", QoS::AtMostOnce).await, ReasonCode::Success);
    let mut retained = publish("dev/board/x", Some(1), b"kept");
    retained.retain = true;
    ours.publish(retained).await;
    assert_eq!(ours.expect_publish().await.payload, &b"kept"[..]);
    assert_eq!(ours.expect_puback(1).await, ReasonCode::Success);
    assert_eq!(theirs.subscribe("dev/board/#", QoS::AtMostOnce).await, ReasonCode::Success);
    theirs.expect_nothing().await;
    // The device is in the tenant, so it has the message, before SUBACK or after it.
    let subscriptions = vec![subscription("dev/board/x", QoS::AtMostOnce)];
    device.send(&Packet::Subscribe(Subscribe { packet_id: id(1), subscriptions, properties: None })).await;
    let (first, second) = (device.next().await.unwrap(), device.next().await.unwrap());
    let is_kept =
        |packet: &Packet| matches!(packet, Packet::Publish(message) if message.payload == b"kept"[..]);
    assert!(is_kept(&first) != is_kept(&second), "{first:?} {second:?}");
    ours.expect_nothing().await;
}

#[tokio::test]
async fn an_applications_session_survives_a_crash() {
    let server = with_scopes(&["mqtt:publish:#", "mqtt:subscribe:#"]).await;
    let (mut application, _) = come(&server, lasting("app:board", KEY)).await;
    assert_eq!(application.subscribe("dev/pump/x", QoS::AtLeastOnce).await, ReasonCode::GrantedQos1);
    drop(application);
    let mut pump = server.device(Version::V5, "pump").await;
    pump.publish(publish("dev/pump/x", Some(1), b"while away")).await;
    assert_eq!(pump.expect_puback(1).await, ReasonCode::Success);
    let server = server.restarted().await;
    server.secrets.insert_key("app:board@default", KEY, &["mqtt:subscribe:dev/#"]);
    let (mut application, answer) = come(&server, lasting("app:board", KEY)).await;
    assert!(answer.session_present);
    assert_eq!(application.expect_publish().await.payload, &b"while away"[..]);
}

#[tokio::test]
async fn a_key_made_anew_does_not_take_over_what_it_may_not_subscribe_to() {
    let server = with_scopes(&["mqtt:subscribe:#"]).await;
    let (mut application, _) = come(&server, lasting("app:board", KEY)).await;
    assert_eq!(application.subscribe("$share/g/secret/#", QoS::AtLeastOnce).await, ReasonCode::GrantedQos1);
    drop(application);
    let server = server.restarted().await;
    server.secrets.insert_key("app:board@default", KEY, &["mqtt:subscribe:public/#"]);
    let (_, answer) = come(&server, lasting("app:board", KEY)).await;
    assert_eq!((answer.reason, answer.session_present), (ReasonCode::Success, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_ends_its_sessions_at_once_and_for_good() {
    let server = Server::with_control_plane().await;
    let mut tenants = TenantsClient::new(server.env.peers.link("provisioning"));
    tenants.create_tenant(CreateTenantRequest { id: "acme".into(), name: String::new() }).await.unwrap();
    let secret = make_key(&server, "default", "board", &[]).await;
    let other = make_key(&server, "acme", "board", &[]).await;
    let (mut present, answer) = come(&server, connect_with(Version::V5, "app:board", &secret)).await;
    assert_eq!(answer.reason, ReasonCode::Success);
    let (mut away, _) = come(&server, lasting("app:board", &secret)).await;
    assert_eq!(away.subscribe("a/#", QoS::AtLeastOnce).await, ReasonCode::GrantedQos1);
    drop(away);
    let (mut theirs, _) = come(&server, connect_with(Version::V5, "app:board@acme", &other)).await;

    delete_key(&server, "default", "board").await;
    let (_, answer) = come(&server, lasting("app:board", &secret)).await;
    assert_eq!(answer.reason, ReasonCode::BadUserNameOrPassword);
    present.expect_end(ReasonCode::NotAuthorized).await;
    theirs.expect_nothing().await;

    let secret = make_key(&server, "default", "board", &[]).await;
    let (mut application, answer) = come(&server, lasting("app:board", &secret)).await;
    assert_eq!((answer.reason, answer.session_present), (ReasonCode::Success, false));
    application.send(&Packet::PingReq).await;
    assert_eq!(application.next().await, Some(Packet::PingResp));
}
