//! Settings of the stream service; their defaults stand in default.toml.

use serde::{Deserialize, Serialize};

/// Settings of the stream service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A head of so many points is written to a file.
    pub flush_points: usize,
    /// A head that holds anything is written after so many seconds.
    pub flush_interval_s: u64,
    /// How far a device's time may lie ahead of the server's.
    pub max_future_s: u64,
    /// Points that one message may hold.
    pub max_points_per_message: usize,
    /// Newest dead letters that are kept for each tenant.
    pub dead_letters_per_tenant: u32,
    /// Newest events that are kept for each tenant.
    pub events_per_tenant: u32,
}
