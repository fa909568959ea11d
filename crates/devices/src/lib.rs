//! The registry of devices: `registry` holds the rules, `labels` what a label may be, `store` the SQL, `service` the gRPC of
//! `drover.devices.v1`. What devices prove their identity with is provisioning's; what they measure is stream's, which is told when one is deleted.

mod config;
mod error;
mod labels;
mod registry;
mod service;
mod store;

use std::sync::Arc;

use drover_proto::devices::v1::devices_server::DevicesServer;
use drover_proto::provisioning::v1::credentials_client::CredentialsClient;
use drover_proto::stream::v1::erasures_client::ErasuresClient;
use drover_runtime::{Env, Part};

pub use config::{Config, DEFAULTS};
use registry::Registry;
use store::Store;

/// Wires the service. Starts nothing, binds nothing: the runtime does both.
///
/// # Errors
/// When the database refuses.
pub async fn build(config: Config, env: &Env) -> anyhow::Result<Part> {
    let Config {} = config;
    let store = Store::open(env.db.clone()).await?;
    let credentials = CredentialsClient::new(env.peers.link("provisioning"));
    let erasures = ErasuresClient::new(env.peers.link("stream"));
    let registry =
        Registry { store, credentials, erasures, erasing: Arc::default(), clock: env.clock.clone() };
    let deletions = registry.clone().take_up(env.stop.clone());
    Ok(Part::new("devices").grpc(DevicesServer::new(service::Service(registry))).task("deletions", deletions))
}
