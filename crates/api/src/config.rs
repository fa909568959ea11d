//! Settings of the section `api`.

use anyhow::ensure;
use serde::{Deserialize, Serialize};

/// Defaults, as written in `default.toml`.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// Largest value of a bound.
const MAX_BOUND: usize = 1_000_000;

/// Bounds of the REST server; `default.toml` explains each.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub max_connections: usize,
    pub max_connections_per_source: u32,
    pub max_requests: usize,
    pub max_live_streams: usize,
}

impl Config {
    /// Refuses bounds that can't work.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        let bounds = [
            ("max_connections", self.max_connections),
            ("max_requests", self.max_requests),
            ("max_live_streams", self.max_live_streams),
        ];
        for (name, value) in bounds {
            ensure!((1..=MAX_BOUND).contains(&value), "api.{name} is {value}; use 1 to {MAX_BOUND}");
        }
        Ok(())
    }
}
