//! REST under `/v1` with its OpenAPI document and pages, health and metrics; and the front door of gRPC. `router` lists every path; one
//! file per noun holds its endpoints and their JSON; `extract` reads requests, `error` writes problems, `admission` bounds the work;
//! `grpc` passes calls on; `server` serves both listeners. All data is other services', reached by their gRPC clients.

#![expect(unused_qualifications, reason = "the documentation macro writes them")]

mod admission;
mod api_keys;
pub mod archive;
mod auth;
mod backups;
mod config;
mod credentials;
mod dead_letters;
mod devices;
mod docs;
mod error;
mod events;
mod extract;
mod grpc;
mod health;
mod latest;
mod ledger;
mod live;
mod metrics;
mod openapi;
mod page;
mod query;
mod retention;
mod router;
mod server;
mod sessions;
mod sse;
mod telemetry;
mod tenants;
mod topics;
mod trace;

use std::sync::Arc;

use drover_backbone::Live;
use drover_gateway::Places;
use drover_model::{Clock, TenantId};
use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::mqtt::v1::sessions_client::SessionsClient;
use drover_proto::provisioning::v1::api_keys_client::ApiKeysClient;
use drover_proto::provisioning::v1::credentials_client::CredentialsClient;
use drover_proto::provisioning::v1::tenants_client::TenantsClient;
use drover_proto::stream::v1::backups_client::BackupsClient;
use drover_proto::stream::v1::erasures_client::ErasuresClient;
use drover_proto::stream::v1::feed_client::FeedClient;
use drover_proto::stream::v1::publisher_client::PublisherClient;
use drover_proto::stream::v1::retention_client::RetentionClient;
use drover_proto::stream::v1::telemetry_client::TelemetryClient;
use drover_rpc::Link;
use drover_runtime::traces::Traces;
use drover_runtime::{Env, Health, Metrics, Part, Stop, Tasks};
use drover_trust::TokenHash;
use tokio::sync::Semaphore;

pub use config::{Config, DEFAULTS};
pub use grpc::FrontDoor;

/// Largest answer that a service may give. Answers end at some MB, but one item may be as long as the longest MQTT packet.
const MAX_ANSWER_BYTES: usize = 288 << 20;

/// What the endpoints work with.
pub(crate) struct Api {
    tenants: TenantsClient<Link>,
    credentials: CredentialsClient<Link>,
    api_keys: ApiKeysClient<Link>,
    devices: DevicesClient<Link>,
    telemetry: TelemetryClient<Link>,
    publisher: PublisherClient<Link>,
    feed: FeedClient<Link>,
    erasures: ErasuresClient<Link>,
    retention: RetentionClient<Link>,
    backups: BackupsClient<Link>,
    sessions: SessionsClient<Link>,
    live: Live,
    clock: Clock,
    health: Health,
    metrics: Metrics,
    traces: Traces,
    tasks: Tasks,
    stop: Stop,
    administrator: TokenHash,
    requests: Arc<Semaphore>,
    tenants_in_work: Arc<Places<TenantId>>,
    live_streams: Arc<Semaphore>,
    tenants_watching: Arc<Places<TenantId>>,
    websocket_origins: Vec<String>,
}

/// What axum hands to every endpoint.
pub(crate) type Shared = axum::extract::State<Arc<Api>>;

/// Wires the service. Starts nothing, binds nothing: the runtime does both.
///
/// # Errors
/// When what was compiled in is broken.
#[expect(clippy::unused_async, reason = "every service is built in the same way")]
pub async fn build(config: Config, env: &Env) -> anyhow::Result<Part> {
    let api = Api::new(&config, env);
    let (front_door, reporter) = grpc::FrontDoor::new(api.clone(), env.peers.clone(), &config)?;
    let report = grpc::report(env.health.clone(), reporter, env.stop.clone());
    let router = router::router(api);
    let server = Arc::new(server::Server::new(&config, env));
    let rest = server.clone();
    Ok(Part::new("api")
        .listen("api", move |listener| rest.serve(listener, server::REST, router))
        .listen("grpc", move |listener| server.serve(listener, server::GRPC, front_door))
        .task("grpc health", report))
}

/// Every path with its bounds, as the listener serves it; for tests that speak HTTP without a socket.
pub fn router(config: &Config, env: &Env) -> axum::Router {
    router::router(Api::new(config, env))
}

/// Every call with its bounds, as the listener serves it; for tests that speak gRPC without a socket.
///
/// # Errors
/// When what was compiled in is broken.
pub fn front_door(config: &Config, env: &Env) -> anyhow::Result<FrontDoor> {
    Ok(FrontDoor::new(Api::new(config, env), env.peers.clone(), config)?.0)
}

impl Api {
    fn new(config: &Config, env: &Env) -> Arc<Self> {
        let peers = &env.peers;
        Arc::new(Self {
            tenants: TenantsClient::new(peers.link("provisioning")),
            credentials: CredentialsClient::new(peers.link("provisioning")),
            api_keys: ApiKeysClient::new(peers.link("provisioning")),
            devices: DevicesClient::new(peers.link("devices")),
            erasures: ErasuresClient::new(peers.link("stream")),
            retention: RetentionClient::new(peers.link("stream")),
            telemetry: TelemetryClient::new(peers.link("stream")).max_decoding_message_size(MAX_ANSWER_BYTES),
            publisher: PublisherClient::new(peers.link("stream")),
            feed: FeedClient::new(peers.link("stream")).max_decoding_message_size(MAX_ANSWER_BYTES),
            backups: BackupsClient::new(peers.link("stream")),
            sessions: SessionsClient::new(peers.link("mqtt")),
            live: env.live.clone(),
            clock: env.clock.clone(),
            health: env.health.clone(),
            metrics: env.metrics.clone(),
            traces: env.traces.clone(),
            tasks: env.tasks.clone(),
            stop: env.stop.clone(),
            administrator: TokenHash::from_bytes(env.administrator_sha256),
            requests: Arc::new(Semaphore::new(config.max_requests)),
            tenants_in_work: admission::shares(config.max_requests),
            live_streams: Arc::new(Semaphore::new(config.max_live_streams)),
            tenants_watching: admission::shares(config.max_live_streams),
            websocket_origins: config.websocket_origins.clone(),
        })
    }
}
