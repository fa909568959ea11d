//! Settings of the section `devices`.

use drover_runtime::Section;
use drover_runtime::config::Range;
use serde::{Deserialize, Serialize};

/// Defaults, as written in `default.toml`.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// Settings; there are none yet.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Config {}

impl Section for Config {
    const RANGES: &'static [Range] = &[];
}
