//! With a provisioning service that knows one device.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use drover_model::ManualClock;
use drover_proto::provisioning::v1 as proto;
use drover_proto::provisioning::v1::credentials_server::{Credentials, CredentialsServer};
use drover_rpc::Peers;
use parking_lot::Mutex;
use tonic::{Request, Response, Status};

use super::*;

/// `device@tenant` and secret.
type Secrets = Vec<(&'static str, &'static str)>;

#[derive(Clone, Default)]
struct Provisioning {
    secrets: Arc<Mutex<Secrets>>,
    asked: Arc<AtomicUsize>,
}

#[tonic::async_trait]
impl Credentials for Provisioning {
    async fn get_verifiers(
        &self,
        request: Request<GetVerifiersRequest>,
    ) -> Result<Response<proto::GetVerifiersResponse>, Status> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let request = request.into_inner();
        let known = self.secrets.lock().clone();
        let of_device =
            known.iter().filter(|(name, _)| *name == format!("{}@{}", request.device, request.tenant));
        let verifiers = of_device
            .map(|(_, secret)| proto::Verifier {
                credential: (*secret).to_owned(),
                token_sha256: TokenHash::of(secret.as_bytes()).as_bytes().to_vec(),
            })
            .collect();
        Ok(Response::new(proto::GetVerifiersResponse { verifiers }))
    }
    async fn create_credential(
        &self,
        _: Request<proto::CreateCredentialRequest>,
    ) -> Result<Response<proto::CreateCredentialResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn list_credentials(
        &self,
        _: Request<proto::ListCredentialsRequest>,
    ) -> Result<Response<proto::ListCredentialsResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn delete_credential(
        &self,
        _: Request<proto::DeleteCredentialRequest>,
    ) -> Result<Response<proto::DeleteCredentialResponse>, Status> {
        Err(Status::unimplemented(""))
    }
    async fn delete_credentials_of(
        &self,
        _: Request<proto::DeleteCredentialsOfRequest>,
    ) -> Result<Response<proto::DeleteCredentialsOfResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

struct Setting {
    provisioning: Provisioning,
    clock: ManualClock,
    authenticator: Authenticator,
}

const HOME: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
const ELSEWHERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

fn setting() -> Setting {
    let provisioning = Provisioning::default();
    provisioning.secrets.lock().push(("pump@default", "right"));
    provisioning.secrets.lock().push(("pump@acme", "other"));
    let peers = Peers::default();
    let mut routes = tonic::service::Routes::builder();
    routes.add_service(CredentialsServer::new(provisioning.clone()));
    peers.serve("provisioning", routes.routes());
    let clock = ManualClock::default();
    let options = AuthenticatorOptions { max_cached_devices: 100, ttl: Duration::from_secs(900) };
    let authenticator = Authenticator::new(peers.link("provisioning"), Clock::new(clock.clone()), options);
    Setting { provisioning, clock, authenticator }
}

#[tokio::test]
async fn a_device_is_known_by_name_tenant_and_token() {
    let s = setting();
    let identity = s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    assert_eq!((identity.tenant.as_str(), identity.device.as_str()), ("default", "pump"));
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
async fn answers_are_cached_absence_only_shortly() {
    let s = setting();
    for _ in 0..3 {
        s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
        let _ = s.authenticator.authenticate(HOME, "fan", b"right").await;
    }
    assert_eq!(s.provisioning.asked.load(Ordering::SeqCst), 2);
    s.clock.advance(ABSENT_TTL);
    s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    let _ = s.authenticator.authenticate(HOME, "fan", b"right").await;
    assert_eq!(s.provisioning.asked.load(Ordering::SeqCst), 3);
    s.clock.advance(Duration::from_secs(900));
    s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    assert_eq!(s.provisioning.asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_guessed_account_is_closed_to_strangers_and_open_to_its_device() {
    let s = setting();
    s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    for _ in 0..ACCOUNT_BURST {
        let refused = s.authenticator.authenticate(ELSEWHERE, "pump", b"wrong").await;
        assert_eq!(refused, Err(AuthenticationError::BadCredentials));
    }
    let refused = s.authenticator.authenticate(ELSEWHERE, "pump", b"right").await;
    assert_eq!(refused, Err(AuthenticationError::BackedOff));
    s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    s.clock.advance(ACCOUNT_PERIOD);
    s.authenticator.authenticate(ELSEWHERE, "pump", b"right").await.unwrap();
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
async fn a_change_is_seen_at_once() {
    let s = setting();
    let live = Live::embedded();
    let mut changes = s.authenticator.changes(&live);
    let identity = s.authenticator.authenticate(HOME, "pump", b"right").await.unwrap();
    assert!(s.authenticator.is_fresh(&identity) && s.authenticator.is_valid(&identity).await.unwrap());
    s.provisioning.secrets.lock().clear();
    live.publish("credentials.changed.default.pump", Bytes::new());
    let Some(Change::Device(tenant, device)) = changes.next().await else {
        panic!("no change of one device")
    };
    assert_eq!((tenant.as_str(), device.as_str()), ("default", "pump"));
    assert!(!s.authenticator.is_fresh(&identity) && !s.authenticator.is_valid(&identity).await.unwrap());
    let refused = s.authenticator.authenticate(HOME, "pump", b"right").await;
    assert_eq!(refused, Err(AuthenticationError::BadCredentials));
}

#[test]
fn the_addresses_of_one_ipv6_subscriber_count_as_one_source() {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    assert_eq!(network_of(address("2001:db8:1:2:3::4")), network_of(address("2001:db8:1:2:9::9")));
    assert_ne!(network_of(address("2001:db8:1:2:3::4")), network_of(address("2001:db8:1:3:3::4")));
    assert_eq!(network_of(address("::ffff:10.0.0.1")), HOME);
}
