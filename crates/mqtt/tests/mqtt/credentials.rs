//! Credentials that are made and revoked: the gateway knows as soon as the answer is there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use drover_mqtt_codec::{Connect, ConnectProperties, QoS, ReasonCode, Version};
use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::devices::v1::{CreateDeviceRequest, DeleteDeviceRequest};
use drover_proto::provisioning::v1::credentials_client::CredentialsClient;
use drover_proto::provisioning::v1::{
    CreateCredentialRequest, CredentialType, DeleteCredentialRequest, DeleteCredentialsOfRequest,
};
use drover_rpc::{Link, request};
use drover_testkit::tenant;

use crate::clients::with;
use crate::server::{Server, TOKEN, connect_with};

const ROUNDS: usize = 200;

fn credentials(server: &Server) -> CredentialsClient<Link> {
    CredentialsClient::new(server.env.peers.link("provisioning"))
}

async fn register(server: &Server, device: &str) {
    let message = CreateDeviceRequest { id: device.into(), ..CreateDeviceRequest::default() };
    let mut devices = DevicesClient::new(server.env.peers.link("devices"));
    devices.create_device(request(&tenant("default"), message)).await.unwrap();
}

/// A new credential of a device: its id and its secret.
async fn issue(server: &Server, device: &str) -> (String, String) {
    let message = CreateCredentialRequest { device: device.into(), r#type: CredentialType::Token.into() };
    let made = credentials(server).create_credential(request(&tenant("default"), message)).await.unwrap();
    let made = made.into_inner();
    (made.credential.unwrap().id, made.secret)
}

async fn revoke(server: &Server, device: &str, credential: String) {
    let message = DeleteCredentialRequest { device: device.into(), credential };
    credentials(server).delete_credential(request(&tenant("default"), message)).await.unwrap();
}

/// What a device with this secret is answered.
async fn attempt(server: &Server, device: &str, secret: &str) -> ReasonCode {
    server.tcp().await.connect(connect_with(Version::V5, device, secret)).await.reason
}

/// Keeps every thread of the runtime from being free, as on a loaded machine, until the flag is set.
#[expect(clippy::disallowed_methods, reason = "the test's own tasks")]
fn load(is_over: &Arc<AtomicBool>) {
    for _ in 0..8 {
        let is_over = is_over.clone();
        tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                std::hint::black_box((0..2_000_u64).fold(0, u64::wrapping_add));
                tokio::task::yield_now().await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_secret_works_and_a_revoked_one_is_refused_as_soon_as_the_answer_is_there() {
    let server = Server::with_control_plane().await;
    let is_over = Arc::new(AtomicBool::new(false));
    load(&is_over);
    let mut wrong = Vec::new();
    for round in 0..ROUNDS {
        // Far more failures of one device and one source than back-off lets pass.
        let device = format!("d{}", round / 100);
        if round % 100 == 0 {
            register(&server, &device).await;
        }
        let (id, secret) = issue(&server, &device).await;
        let mut session = server.tcp().await;
        let mut packet = connect_with(Version::V5, &device, &secret);
        packet.client_id = format!("c{round}");
        let is_let_in = session.connect(packet).await.reason == ReasonCode::Success;
        if !is_let_in {
            wrong.push((round, "a new secret was refused"));
        }
        revoke(&server, &device, id).await;
        // Waiting for the end could hide that the secret still works, so every second time that is tried first.
        if is_let_in && round % 2 == 0 {
            session.expect_end(ReasonCode::NotAuthorized).await;
        }
        if attempt(&server, &device, &secret).await == ReasonCode::Success {
            wrong.push((round, "a revoked secret was accepted"));
        }
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(wrong.is_empty(), "{} of {ROUNDS}: {wrong:?}", wrong.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_credentials_of_a_deleted_device_are_refused_and_its_sessions_end() {
    let server = Server::with_control_plane().await;
    register(&server, "pump").await;
    let (_, first) = issue(&server, "pump").await;
    let (_, second) = issue(&server, "pump").await;
    let mut session = server.tcp().await;
    session.connect(connect_with(Version::V5, "pump", &first)).await;
    let message = DeleteCredentialsOfRequest { device: "pump".into() };
    credentials(&server).delete_credentials_of(request(&tenant("default"), message)).await.unwrap();
    for secret in [first, second] {
        assert_eq!(attempt(&server, "pump", &secret).await, ReasonCode::BadUserNameOrPassword);
    }
    session.expect_end(ReasonCode::NotAuthorized).await;
}

/// A CONNECT for a session that outlives its connection.
fn lasting(device: &str, client_id: &str, secret: &str) -> Connect {
    let properties = ConnectProperties { session_expiry_s: Some(600), ..ConnectProperties::default() };
    Connect {
        client_id: client_id.into(),
        clean_start: false,
        ..with(connect_with(Version::V5, device, secret), properties)
    }
}

async fn delete(server: &Server, device: &str) {
    let mut devices = DevicesClient::new(server.env.peers.link("devices"));
    let message = DeleteDeviceRequest { id: device.into() };
    devices.delete_device(request(&tenant("default"), message)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_device_takes_its_sessions_along_also_those_whose_client_is_away() {
    let server = Server::with_control_plane().await;
    let mut secrets = Vec::new();
    for device in ["pump", "fan"] {
        register(&server, device).await;
        let (credential, secret) = issue(&server, device).await;
        for client_id in ["one", "two"] {
            let mut client = server.tcp().await;
            assert_eq!(client.connect(lasting(device, client_id, &secret)).await.reason, ReasonCode::Success);
            client.subscribe(&format!("dev/{device}/x"), QoS::AtLeastOnce).await;
            client.leave().await;
        }
        secrets.push((credential, secret));
    }
    // A device that has no credential at the moment keeps what waits for it.
    revoke(&server, "pump", secrets[0].0.clone()).await;
    let (_, secret) = issue(&server, "pump").await;
    let mut client = server.tcp().await;
    assert!(client.connect(lasting("pump", "one", &secret)).await.session_present);
    client.leave().await;

    delete(&server, "pump").await;
    register(&server, "pump").await;
    let (_, secret) = issue(&server, "pump").await;
    for client_id in ["one", "two"] {
        let answer = server.tcp().await.connect(lasting("pump", client_id, &secret)).await;
        assert_eq!((answer.reason, answer.session_present), (ReasonCode::Success, false));
    }
    assert!(server.tcp().await.connect(lasting("fan", "one", &secrets[1].1)).await.session_present);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_sessions_of_a_deleted_device_do_not_come_back_after_a_crash() {
    let server = Server::with_control_plane().await;
    register(&server, "pump").await;
    let (_, secret) = issue(&server, "pump").await;
    let mut client = server.tcp().await;
    client.connect(lasting("pump", "one", &secret)).await;
    client.leave().await;
    delete(&server, "pump").await;
    let server = server.restarted().await;
    let answer = server.tcp().await.connect(lasting("pump", "one", TOKEN)).await;
    assert_eq!((answer.reason, answer.session_present), (ReasonCode::Success, false));
}

#[tokio::test]
async fn a_secret_that_the_cache_does_not_know_is_asked_for_before_it_is_refused() {
    let server = Server::start(|_| {}).await;
    server.device(Version::V5, "pump").await;
    assert_eq!(attempt(&server, "new", "later").await, ReasonCode::BadUserNameOrPassword);
    server.secrets.insert("pump@default", "second");
    server.secrets.insert("new@default", "later");
    assert_eq!(attempt(&server, "pump", "second").await, ReasonCode::Success);
    assert_eq!(attempt(&server, "new", "later").await, ReasonCode::Success);
    server.secrets.remove("pump@default");
    assert_eq!(attempt(&server, "pump", "wrong").await, ReasonCode::BadUserNameOrPassword);
    // What was learned by that is kept.
    assert_eq!(attempt(&server, "pump", "second").await, ReasonCode::BadUserNameOrPassword);
}
