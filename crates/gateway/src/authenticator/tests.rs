//! With a provisioning service that knows one device.

use bytes::Bytes;
use drover_model::ManualClock;
use drover_rpc::Peers;
use drover_testkit::Secrets;

use super::*;

struct Setting {
    secrets: Secrets,
    clock: ManualClock,
    authenticator: Arc<Authenticator>,
}

/// A test that hangs fails after this.
const PATIENCE: Duration = Duration::from_secs(60);
const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

fn setting() -> Setting {
    let secrets = Secrets::default();
    secrets.insert("pump@default", "right");
    secrets.insert("pump@acme", "other");
    let peers = Peers::default();
    let mut routes = tonic::service::Routes::builder();
    routes.add_service(secrets.service()).add_service(secrets.api_keys());
    peers.serve("provisioning", routes.routes());
    let clock = ManualClock::default();
    let options = AuthenticatorOptions { max_cached_devices: 100, ttl: Duration::from_secs(900) };
    let authenticator =
        Arc::new(Authenticator::new(peers.link("provisioning"), Clock::new(clock.clone()), options));
    Setting { secrets, clock, authenticator }
}

#[tokio::test]
async fn a_device_is_known_by_name_tenant_and_token() {
    let s = setting();
    let identity = s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    assert_eq!((identity.tenant.as_str(), identity.party.to_string().as_str()), ("default", "pump"));
    let identity = s.authenticator.authenticate(HOME, "pump@acme", b"other").await.unwrap();
    assert_eq!(identity.tenant.as_str(), "acme");
    for (username, password) in
        [("pump", "other"), ("pump@acme", "right"), ("fan", "right"), ("app:key", "right")]
    {
        let refused = s.authenticator.authenticate(HOME, username, password.as_bytes()).await;
        assert_eq!(refused, Err(AuthenticationError::BadCredentials), "{username}");
    }
}

#[tokio::test]
async fn what_is_there_is_cached_and_nobody_is_refused_unasked() {
    let s = setting();
    for _ in 0..3 {
        s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    }
    assert_eq!(s.secrets.asked(), 1);
    for (username, asked) in [("pump", 2), ("fan", 3), ("fan", 4)] {
        let refused = s.authenticator.authenticate(HOME, username, b"new").await;
        assert_eq!((refused, s.secrets.asked()), (Err(AuthenticationError::BadCredentials), asked));
    }
    s.secrets.insert("pump@default", "new");
    s.secrets.insert("fan@default", "new");
    s.authenticator.authenticate(HOME, "pump", b"new").await.unwrap();
    s.authenticator.authenticate(HOME, "fan", b"new").await.unwrap();
    s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    assert_eq!(s.secrets.asked(), 6);
    s.clock.advance(Duration::from_secs(900));
    s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    assert_eq!(s.secrets.asked(), 7);
}

#[tokio::test]
async fn a_guessed_account_is_closed_to_strangers_and_open_to_its_device() {
    let s = setting();
    s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    for _ in 0..ACCOUNT_BURST {
        let refused = s.authenticator.authenticate(ELSEWHERE, "pump", b"wrong").await;
        assert_eq!(refused, Err(AuthenticationError::BadCredentials));
    }
    let asked = s.secrets.asked();
    let refused = s.authenticator.authenticate(ELSEWHERE, "pump", b"wrong").await;
    assert_eq!((refused, s.secrets.asked()), (Err(AuthenticationError::BackedOff), asked));
    // Whoever has the secret does not guess.
    s.authenticator.authenticate(ELSEWHERE, "pump", b"right").await.unwrap();
    s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    // A secret that is not cached is asked for only where the device came from last.
    s.secrets.insert("pump@default", "new");
    let refused = s.authenticator.authenticate(ELSEWHERE, "pump", b"new").await;
    assert_eq!(refused, Err(AuthenticationError::BackedOff));
    s.clock.advance(ACCOUNT_PERIOD);
    s.authenticator.authenticate(ELSEWHERE, "pump", b"new").await.unwrap();
}

#[tokio::test]
async fn a_new_secret_works_also_when_account_and_source_are_backed_off() {
    let s = setting();
    for _ in 0..SOURCE_BURST {
        let _ = s.authenticator.authenticate(HOME, "fan", b"early").await;
        let _ = s.authenticator.authenticate(HOME, "x", b"early").await;
        let _ = s.authenticator.authenticate(HOME, "/", b"early").await;
    }
    s.secrets.insert("fan@default", "early");
    let refused = s.authenticator.authenticate(HOME, "fan", b"early").await;
    assert_eq!(refused, Err(AuthenticationError::BackedOff));
    let fan = (TenantId::parse("default").unwrap(), Party::parse("fan").unwrap());
    s.authenticator.learn(&fan.0, &fan.1).await.unwrap();
    s.authenticator.authenticate(HOME, "fan", b"early").await.unwrap();
}

#[tokio::test]
async fn a_source_that_fails_too_often_waits() {
    let s = setting();
    for n in 0..SOURCE_BURST {
        let _ = s.authenticator.authenticate(ELSEWHERE, &format!("d{n}"), b"x").await;
    }
    let refused = s.authenticator.authenticate(ELSEWHERE, "pump", b"right").await;
    assert_eq!(refused, Err(AuthenticationError::BackedOff));
    s.clock.advance(SOURCE_PERIOD);
    s.authenticator.authenticate(ELSEWHERE, "pump", b"right").await.unwrap();
}

#[tokio::test]
async fn whoever_revokes_waits_until_the_gateway_has_checked_its_sessions() {
    let s = setting();
    let live = Live::embedded();
    let mut changes = s.authenticator.changes(&live);
    let identity = s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    assert!(s.authenticator.is_fresh(&identity) && s.authenticator.is_valid(&identity).await.unwrap());
    s.secrets.remove("pump@default");
    let revoked = live.publish_and_wait("credentials.changed.default.pump", Bytes::from("gone"), PATIENCE);
    let mut revoked = std::pin::pin!(revoked);
    let change = tokio::select! {
        biased;
        _ = &mut revoked => panic!("nobody has looked yet"),
        change = changes.next() => change.unwrap(),
    };
    let (tenant, party) = change.of.clone().unwrap();
    assert_eq!((tenant.as_str(), party.to_string().as_str()), ("default", "pump"));
    assert!(change.is_gone);
    assert!(!s.authenticator.is_fresh(&identity) && !s.authenticator.is_valid(&identity).await.unwrap());
    let refused = s.authenticator.authenticate(HOME, "pump", b"right").await;
    assert_eq!(refused, Err(AuthenticationError::BadCredentials));
    tokio::select! {
        biased;
        _ = &mut revoked => panic!("the change is still looked at"),
        () = tokio::task::yield_now() => {}
    }
    drop(change);
    assert_eq!(revoked.await, Ok(()));
}

#[tokio::test]
async fn lost_notices_are_taken_for_a_change_of_anybody() {
    let s = setting();
    let live = Live::embedded();
    let mut changes = s.authenticator.changes(&live);
    s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    // More than wait for a subscriber.
    for _ in 0..2_000 {
        live.publish("credentials.changed.default.fan", Bytes::new());
    }
    assert_eq!(changes.next().await.unwrap().of, None);
    assert!(changes.next().await.unwrap().of.is_some());
    s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    assert_eq!(s.secrets.asked(), 2);
}

#[tokio::test]
async fn an_application_is_known_by_its_key_with_what_it_may_do() {
    let s = setting();
    s.secrets.insert_key("app:board@default", "ours", &["mqtt:publish:a/#", "of:the:future"]);
    s.secrets.insert_key("app:board@acme", "theirs", &["api:read"]);
    let identity = s.authenticator.authenticate(HOME, "app:board", b"ours").await.unwrap();
    assert_eq!((identity.tenant.as_str(), identity.party), ("default", Party::parse("app:board").unwrap()));
    assert_eq!(identity.scopes[..], [Scope::Publish("a/#".into())]);
    let identity = s.authenticator.authenticate(HOME, "app:board@acme", b"theirs").await.unwrap();
    assert_eq!((identity.tenant.as_str(), &identity.scopes[..]), ("acme", &[Scope::Read][..]));
    for (username, password) in [("app:board", "theirs"), ("app:board@acme", "ours"), ("board", "ours")] {
        let refused = s.authenticator.authenticate(HOME, username, password.as_bytes()).await;
        assert_eq!(refused, Err(AuthenticationError::BadCredentials), "{username}");
    }
}

#[tokio::test]
async fn a_key_that_was_deleted_and_made_again_is_another() {
    let s = setting();
    let live = Live::embedded();
    let mut changes = s.authenticator.changes(&live);
    s.secrets.insert_key("app:board@default", "first", &["mqtt:publish:#"]);
    let identity = s.authenticator.authenticate(HOME, "app:board", b"first").await.unwrap();
    s.secrets.remove("app:board@default");
    s.secrets.insert_key("app:board@default", "second", &["api:read"]);
    live.publish("credentials.changed.default.app:board", Bytes::new());
    let change = changes.next().await.unwrap();
    assert_eq!(change.of.clone().unwrap().1, Party::parse("app:board").unwrap());
    assert!(!s.authenticator.is_fresh(&identity) && !s.authenticator.is_valid(&identity).await.unwrap());
}
