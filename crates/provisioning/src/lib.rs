//! Tenants, and the credentials by which devices prove who they are. `tenants` and `credentials` hold the rules, `store` the
//! SQL, `service` the gRPC of `drover.provisioning.v1`. Checking a secret is the gateways' work: here only its hash is kept.

mod config;
mod credentials;
mod error;
mod service;
mod store;
mod tenants;

use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::provisioning::v1::credentials_server::CredentialsServer;
use drover_proto::provisioning::v1::tenants_server::TenantsServer;
use drover_runtime::{Env, Part};

pub use config::{Config, DEFAULTS};
use credentials::Credentials;
use store::Store;
use tenants::Tenants;

/// Wires the service. Starts nothing, binds nothing: the runtime does both.
///
/// # Errors
/// When the database refuses.
pub async fn build(config: Config, env: &Env) -> anyhow::Result<Part> {
    let Config {} = config;
    let store = Store::open(env.db.clone()).await?;
    let tenants = Tenants::open(store.clone(), env.clock.clone()).await?;
    let credentials = Credentials {
        store,
        devices: DevicesClient::new(env.peers.link("devices")),
        live: env.live.clone(),
        clock: env.clock.clone(),
        rng: env.rng.clone(),
        tasks: env.tasks.clone(),
    };
    Ok(Part::new("provisioning")
        .grpc(TenantsServer::new(service::TenantsService(tenants)))
        .grpc(CredentialsServer::new(service::CredentialsService(credentials))))
}
