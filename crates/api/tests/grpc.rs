//! The front door of gRPC: who is let in to what, and how a call ends. Without a socket.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail in this way")]

mod stub;
mod world;

use std::time::Duration;

use drover_api::{Config, FrontDoor};
use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::devices::v1::{CreateDeviceRequest, FilterDevicesRequest, ListDevicesRequest};
use drover_proto::provisioning::v1::api_keys_client::ApiKeysClient;
use drover_proto::provisioning::v1::credentials_client::CredentialsClient;
use drover_proto::provisioning::v1::tenants_client::TenantsClient;
use drover_proto::provisioning::v1::*;
use drover_proto::stream::v1::backups_client::BackupsClient;
use drover_proto::stream::v1::telemetry_client::TelemetryClient;
use drover_proto::stream::v1::{CreateBackupRequest, LatestRequest, QueryRequest, QueryResponse};
use drover_testkit::eventually;
use futures_util::{StreamExt, stream};
use http_body_util::BodyExt;
use serde_json::json;
use stub::Rest;
use tonic::{Code, Request, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tower::ServiceExt;
use world::TOKEN;

struct Grpc {
    rest: Rest,
    door: FrontDoor,
}

impl Grpc {
    async fn start() -> Self {
        Self::with_calls(16).await
    }

    async fn with_calls(max_grpc_calls: usize) -> Self {
        let rest = Rest::start().await;
        let config = Config {
            max_connections: 16,
            max_connections_per_source: 16,
            max_requests: 16,
            max_live_streams: 16,
            max_grpc_calls,
            websocket_origins: Vec::new(),
        };
        let door = drover_api::front_door(&config, &rest.world.env).unwrap();
        Self { rest, door }
    }

    fn devices(&self) -> DevicesClient<FrontDoor> {
        DevicesClient::new(self.door.clone())
    }

    fn telemetry(&self) -> TelemetryClient<FrontDoor> {
        TelemetryClient::new(self.door.clone())
    }

    /// A key's secret.
    async fn key(&self, tenant: &str, scope: &str) -> String {
        let body = json!({ "id": scope.replace(':', "-"), "scopes": [scope] }).to_string();
        let made = self.rest.call_as(tenant, "POST /v1/api-keys", &body).await;
        made.json()["secret"].as_str().unwrap().to_owned()
    }

    async fn query(&self, sql: &str) -> Result<Streaming<QueryResponse>, Status> {
        let query = QueryRequest { sql: sql.to_owned(), ..QueryRequest::default() };
        Ok(self.telemetry().query(by(TOKEN, query)).await?.into_inner())
    }

    fn shows(&self, line: &str) -> bool {
        self.rest.world.env.metrics.encode().lines().any(|shown| shown == line)
    }
}

/// A request with a token.
fn by<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

fn list() -> ListDevicesRequest {
    ListDevicesRequest::default()
}

fn code<T>(answer: Result<T, Status>) -> Code {
    answer.err().map_or(Code::Ok, |status| status.code())
}

#[tokio::test]
async fn who_has_no_token_or_a_wrong_one_is_not_let_in() {
    let grpc = Grpc::start().await;
    let none = grpc.devices().list_devices(list()).await.unwrap_err();
    assert_eq!(none.code(), Code::Unauthenticated);
    assert!(none.message().contains("admin.token"), "{none}");
    let wrong = grpc.devices().list_devices(by("drv_wrong", list())).await;
    assert_eq!(code(wrong), Code::Unauthenticated);
    let mut basic = Request::new(list());
    basic.metadata_mut().insert("authorization", "Basic YTpi".parse().unwrap());
    assert_eq!(code(grpc.devices().list_devices(basic).await), Code::Unauthenticated);
    assert!(grpc.devices().list_devices(by(TOKEN, list())).await.is_ok());
}

#[tokio::test]
async fn a_key_may_what_its_scopes_say() {
    let grpc = Grpc::start().await;
    let (reads, writes) = (grpc.key("default", "api:read").await, grpc.key("default", "api:write").await);
    let create = || CreateDeviceRequest { id: "pump".into(), ..CreateDeviceRequest::default() };
    let mut devices = grpc.devices();
    let refused = devices.create_device(by(&reads, create())).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::PermissionDenied, "API key api-read has no scope api:write")
    );
    assert_eq!(code(devices.list_devices(by(&writes, list())).await), Code::PermissionDenied);
    assert_eq!(code(devices.create_device(by(&writes, create())).await), Code::Ok);
    let listed = devices.list_devices(by(&reads, list())).await.unwrap().into_inner();
    assert_eq!(listed.devices[0].id, "pump");
}

#[tokio::test]
async fn a_tenant_sees_its_own_and_only_the_administrator_names_another() {
    let grpc = Grpc::start().await;
    grpc.rest.call("POST /v1/tenants", r#"{"id":"acme"}"#).await;
    grpc.rest.call("POST /v1/devices", r#"{"id":"ours"}"#).await;
    let theirs = grpc.key("acme", "api:read").await;
    let mut devices = grpc.devices();
    assert_eq!(devices.list_devices(by(&theirs, list())).await.unwrap().into_inner().devices, []);
    let mut named = by(&theirs, list());
    named.metadata_mut().insert("x-drover-tenant", "default".parse().unwrap());
    assert_eq!(code(devices.list_devices(named).await), Code::PermissionDenied);

    for (tenant, expected) in [("acme", Code::Ok), ("nobody", Code::NotFound), ("a/b", Code::InvalidArgument)]
    {
        let mut named = by(TOKEN, list());
        named.metadata_mut().insert("x-drover-tenant", tenant.parse().unwrap());
        let listed = devices.list_devices(named).await;
        assert!(listed.as_ref().map_or(true, |listed| listed.get_ref().devices.is_empty()));
        assert_eq!(code(listed), expected, "{tenant}");
    }
}

#[tokio::test]
async fn what_services_say_to_one_another_is_not_there() {
    let grpc = Grpc::start().await;
    let door = || grpc.door.clone();
    let mut credentials = CredentialsClient::new(door());
    let asked = credentials.get_verifiers(by(TOKEN, GetVerifiersRequest::default())).await.unwrap_err();
    assert_eq!(asked.code(), Code::Unimplemented);
    assert!(asked.message().contains("GetVerifiers is not served"), "{asked}");
    let delete = by(TOKEN, DeleteCredentialsOfRequest::default());
    assert_eq!(code(credentials.delete_credentials_of(delete).await), Code::Unimplemented);
    let mut keys = ApiKeysClient::new(door());
    assert_eq!(code(keys.find_api_key(by(TOKEN, FindApiKeyRequest::default())).await), Code::Unimplemented);
    let verifier = by(TOKEN, GetApiKeyVerifierRequest::default());
    assert_eq!(code(keys.get_api_key_verifier(verifier).await), Code::Unimplemented);
    let filter = by(TOKEN, FilterDevicesRequest::default());
    assert_eq!(code(grpc.devices().filter_devices(filter).await), Code::Unimplemented);
    let backup = BackupsClient::new(door()).create_backup(by(TOKEN, CreateBackupRequest {})).await;
    assert_eq!(code(backup), Code::Unimplemented);
}

#[tokio::test]
async fn tenants_and_keys_are_the_administrators() {
    let grpc = Grpc::start().await;
    let writes = grpc.key("default", "api:write").await;
    let mut tenants = TenantsClient::new(grpc.door.clone());
    let refused = tenants.list_tenants(by(&writes, ListTenantsRequest::default())).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
    assert!(refused.message().contains("administrator's token"), "{refused}");
    assert!(tenants.list_tenants(by(TOKEN, ListTenantsRequest::default())).await.is_ok());
    let mut keys = ApiKeysClient::new(grpc.door.clone());
    assert_eq!(
        code(keys.list_api_keys(by(&writes, ListApiKeysRequest::default())).await),
        Code::PermissionDenied
    );
    let listed = keys.list_api_keys(by(TOKEN, ListApiKeysRequest::default())).await.unwrap();
    assert_eq!(listed.into_inner().api_keys.len(), 1);
}

#[tokio::test]
async fn a_call_ends_at_its_deadline_before_its_answer_and_in_the_middle_of_it() {
    let grpc = Grpc::start().await;
    let mut stuck = by(TOKEN, LatestRequest { device: "stuck".into(), ..LatestRequest::default() });
    stuck.set_timeout(Duration::from_millis(20));
    let ended = grpc.telemetry().latest(stuck).await.unwrap_err();
    assert_eq!(ended.code(), Code::DeadlineExceeded);
    let mut waits = by(TOKEN, QueryRequest { sql: "waits".into(), ..QueryRequest::default() });
    waits.set_timeout(Duration::from_millis(20));
    let mut answer = grpc.telemetry().query(waits).await.unwrap().into_inner();
    assert_eq!(code(answer.message().await), Code::DeadlineExceeded);
    let mut odd = by(TOKEN, list());
    odd.metadata_mut().insert("grpc-timeout", "soon".parse().unwrap());
    assert_eq!(code(grpc.devices().list_devices(odd).await), Code::InvalidArgument);
}

#[tokio::test]
async fn a_caller_who_goes_ends_the_call_and_gives_its_place_back() {
    let grpc = Grpc::with_calls(2).await;
    let waiting = grpc.query("waits").await.unwrap();
    assert!(grpc.shows("drover_grpc_calls_open 1"));
    // Half of two is one.
    let second = grpc.query("waits").await.unwrap_err();
    assert_eq!(second.code(), Code::ResourceExhausted);
    drop(waiting);
    let labels = r#"service="drover.stream.v1.Telemetry",method="Query",code="CANCELLED""#;
    assert!(grpc.shows(&format!("drover_grpc_calls_total{{{labels}}} 1")));
    assert!(grpc.shows("drover_grpc_calls_open 0"));
    assert!(grpc.query("waits").await.is_ok());
}

#[tokio::test]
async fn with_too_many_calls_in_work_a_further_one_is_refused_and_health_is_told_all_the_same() {
    let grpc = Grpc::with_calls(1).await;
    let _waiting = grpc.query("waits").await.unwrap();
    let refused = grpc.query("waits").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains("api.max_grpc_calls"), "{refused}");
    let mut health = HealthClient::new(grpc.door.clone());
    let _watching = health.watch(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(code(health.watch(HealthCheckRequest::default()).await), Code::Unavailable);
    assert!(health.check(HealthCheckRequest::default()).await.is_ok());
}

#[tokio::test]
async fn an_answer_in_pieces_comes_as_its_service_gives_it() {
    let grpc = Grpc::start().await;
    let mut pieces = grpc.query("SELECT 1").await.unwrap();
    let mut text = Vec::new();
    while let Some(piece) = pieces.message().await.unwrap() {
        text.extend_from_slice(&piece.piece);
    }
    assert_eq!(text, b"{\"rows\":[]}");
    let mut breaks = grpc.query("breaks").await.unwrap();
    breaks.message().await.unwrap();
    let broken = breaks.message().await.unwrap_err();
    assert_eq!((broken.code(), broken.message()), (Code::Unavailable, "the disk is gone"));
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused() {
    let grpc = Grpc::start().await;
    let long = LatestRequest { device: "a".repeat(5 << 20), ..LatestRequest::default() };
    let refused = grpc.telemetry().latest(by(TOKEN, long)).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("4194304 are allowed"), "{refused}");
}

#[tokio::test]
async fn a_panic_ends_one_call() {
    let grpc = Grpc::start().await;
    let ask = |device: &str| by(TOKEN, LatestRequest { device: device.into(), ..LatestRequest::default() });
    assert_eq!(code(grpc.telemetry().latest(ask("panic")).await), Code::Internal);
    assert!(grpc.telemetry().latest(ask("pump")).await.is_ok());
}

#[tokio::test]
async fn what_is_no_grpc_is_told_so_in_http() {
    let grpc = Grpc::start().await;
    for (method, media_type) in [("GET", "application/grpc"), ("POST", "application/json")] {
        let request = http::Request::builder().method(method).header("content-type", media_type);
        let request = request.uri("/v1/devices").body(tonic::body::Body::empty()).unwrap();
        let response = grpc.door.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), http::StatusCode::UNSUPPORTED_MEDIA_TYPE);
        let text = response.into_body().collect().await.unwrap().to_bytes();
        assert!(String::from_utf8_lossy(&text).contains("this is gRPC"));
    }
}

#[tokio::test]
async fn health_needs_no_token_and_says_when_a_service_is_not_known() {
    let grpc = Grpc::start().await;
    let mut health = HealthClient::new(grpc.door.clone());
    assert!(health.check(HealthCheckRequest::default()).await.is_ok());
    let asked = health.check(HealthCheckRequest { service: "drover.nothing".into() }).await;
    assert_eq!(code(asked), Code::NotFound);
}

#[tokio::test]
async fn reflection_needs_no_token_and_lists_what_is_served_only() {
    let grpc = Grpc::start().await;
    let ask = |message| ServerReflectionRequest { host: String::new(), message_request: Some(message) };
    let requests = stream::iter([
        ask(MessageRequest::ListServices(String::new())),
        ask(MessageRequest::FileContainingSymbol("drover.provisioning.v1.Credentials".into())),
        ask(MessageRequest::FileContainingSymbol("drover.stream.v1.Backups".into())),
    ]);
    let mut client = ServerReflectionClient::new(grpc.door.clone());
    let answers = client.server_reflection_info(requests).await.unwrap().into_inner();
    let mut answers = answers.map(|answer| answer.map(|answer| answer.message_response.unwrap()));
    let Some(Ok(MessageResponse::ListServicesResponse(services))) = answers.next().await else { panic!() };
    let names: Vec<_> = services.service.into_iter().map(|service| service.name).collect();
    for name in ["drover.devices.v1.Devices", "drover.stream.v1.Telemetry", "grpc.health.v1.Health"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    assert!(!names.iter().any(|name| name.contains("Backups")), "{names:?}");
    let Some(Ok(MessageResponse::FileDescriptorResponse(files))) = answers.next().await else { panic!() };
    let text = String::from_utf8_lossy(&files.file_descriptor_proto.concat()).into_owned();
    assert!(text.contains("CreateCredential") && !text.contains("\u{0c}GetVerifiers\u{12}"), "{text}");
    assert_eq!(code(answers.next().await.unwrap()), Code::NotFound);
}

#[tokio::test]
async fn a_deleted_key_is_refused_at_once() {
    let grpc = Grpc::start().await;
    let reads = grpc.key("default", "api:read").await;
    assert!(grpc.devices().list_devices(by(&reads, list())).await.is_ok());
    grpc.rest.call("DELETE /v1/api-keys/api-read", "").await;
    eventually("the key is gone", async || {
        let asked = grpc.devices().list_devices(by(&reads, list())).await;
        (code(asked) == Code::Unauthenticated).then_some(())
    })
    .await;
}
