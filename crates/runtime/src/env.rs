//! The handles that a service is built from. There is no other way to reach the world: no globals.

use std::path::PathBuf;

use drover_backbone::{Live, Log, Producer};
use drover_db::Db;
use drover_model::Clock;
use drover_rpc::Peers;

use crate::traces::Traces;
use crate::{Health, Metrics, Rng, Stop, Tasks};

/// Handles to everything that a service may use; cheap to clone.
#[derive(Clone)]
pub struct Env {
    /// Durable records: reading, truncation, health.
    pub log: Log,
    /// Durable records: appending.
    pub producer: Producer,
    /// Publish and subscribe without durability.
    pub live: Live,
    /// Relational state.
    pub db: Db,
    /// The other services.
    pub peers: Peers,
    /// Time of day.
    pub clock: Clock,
    /// Randomness for secrets and ids.
    pub rng: Rng,
    /// Where metrics are registered.
    pub metrics: Metrics,
    /// Where spans of traces are begun.
    pub traces: Traces,
    /// Where tasks are spawned.
    pub tasks: Tasks,
    /// When to stop.
    pub stop: Stop,
    /// What is ready and what is sick.
    pub health: Health,
    /// Where files go.
    pub data_dir: PathBuf,
    /// TLS of the server's listeners; the certificate behind it may be renewed while it is used.
    pub tls: std::sync::Arc<rustls::ServerConfig>,
    /// SHA-256 of the administrator's token.
    pub administrator_sha256: [u8; 32],
}
