//! Settings of the section `api`.

use drover_runtime::Section;
use drover_runtime::config::Range;
use serde::{Deserialize, Serialize};

/// Defaults, as written in `default.toml`.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// Bounds of the REST server and of gRPC; `default.toml` explains each.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub max_connections: usize,
    pub max_connections_per_source: u32,
    pub max_requests: usize,
    pub max_live_streams: usize,
    pub max_grpc_calls: usize,
    pub websocket_origins: Vec<String>,
}

impl Section for Config {
    const RANGES: &'static [Range] = &[
        ("max_connections", 1, 1_000_000),
        ("max_connections_per_source", 0, 1_000_000),
        ("max_requests", 1, 1_000_000),
        ("max_live_streams", 1, 1_000_000),
        ("max_grpc_calls", 1, 1_000_000),
    ];

    fn problems(&self) -> Vec<(&'static str, String)> {
        let problems = drover_gateway::origin_problems(&self.websocket_origins);
        problems.map(|problem| ("websocket_origins", problem)).collect()
    }
}
