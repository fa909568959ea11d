//! Tenants, and the credentials and API keys by which devices and applications prove who they are. `tenants`, `credentials` and
//! `api_keys` hold the rules, `store` the SQL, `service` the gRPC of `drover.provisioning.v1`, `gateways` who hears of changes.
//! Checking a secret is the gateways' work: here only its hash is kept.

mod api_keys;
mod config;
mod credentials;
mod error;
mod gateways;
mod service;
mod store;
mod tenants;

use drover_proto::devices::v1::devices_client::DevicesClient;
use drover_proto::provisioning::v1::api_keys_server::ApiKeysServer;
use drover_proto::provisioning::v1::credentials_server::CredentialsServer;
use drover_proto::provisioning::v1::tenants_server::TenantsServer;
use drover_runtime::{Env, Part};

use api_keys::ApiKeys;
pub use config::{Config, DEFAULTS};
use credentials::Credentials;
use gateways::Gateways;
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
    let gateways = Gateways { live: env.live.clone(), tasks: env.tasks.clone() };
    let credentials = Credentials {
        store: store.clone(),
        devices: DevicesClient::new(env.peers.link("devices")),
        gateways: gateways.clone(),
        clock: env.clock.clone(),
        rng: env.rng.clone(),
    };
    let api_keys = ApiKeys { store, gateways, clock: env.clock.clone(), rng: env.rng.clone() };
    Ok(Part::new("provisioning")
        .grpc(TenantsServer::new(service::TenantsService(tenants)))
        .grpc(CredentialsServer::new(service::CredentialsService(credentials)))
        .grpc(ApiKeysServer::new(service::ApiKeysService(api_keys))))
}
