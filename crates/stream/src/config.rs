//! Settings of the stream service; their defaults stand in default.toml.

use drover_runtime::Section;
use drover_runtime::config::Range;
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

impl Section for Config {
    const RANGES: &'static [Range] = &[
        ("flush_points", 1, 20_000_000),
        ("flush_interval_s", 1, 86_400),
        ("max_future_s", 0, 31_536_000),
        ("max_points_per_message", 1, 1_000_000),
        ("dead_letters_per_tenant", 1, 100_000_000),
        ("events_per_tenant", 1, 100_000_000),
    ];
}
