//! Variables of the environment: which ones are settings, and of which key.

use super::{Layers, nearest};

/// Variables that the command line reads itself.
const NOT_SETTINGS: [&str; 8] = [
    "DROVER_CONFIG",
    "DROVER_CONFIG_DIR",
    "DROVER_CONTEXT",
    "DROVER_DATA_DIR",
    "DROVER_OUTPUT",
    "DROVER_TENANT",
    "DROVER_TOKEN",
    "DROVER_URL",
];
/// Names after `DROVER_LISTEN_` that are settings of `[listen]`.
const LISTENERS: [&str; 5] = ["API", "GRPC", "MQTT", "MQTTS", "WS"];
/// Names after `DROVER_LISTEN_` of which only the command line speaks, since nothing serves them yet.
const UNSERVED: [&str; 4] = ["COAP", "COAPS", "HTTP", "HTTPS"];

/// The variables whose name begins with `DROVER_`, sorted. Those that are not UTF-8 are left out.
pub fn environment() -> Vec<(String, String)> {
    let mut variables: Vec<_> = std::env::vars_os()
        .filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
        .filter(|(name, _)| name.starts_with("DROVER_"))
        .collect();
    variables.sort();
    variables
}

/// The key that a variable sets; none for variables that are no settings.
pub(super) fn setting(name: &str, layers: &Layers) -> Result<Option<String>, String> {
    if NOT_SETTINGS.contains(&name) {
        return Ok(None);
    }
    if name == "DROVER_LOG" {
        return Ok(Some("logging.filter".to_owned()));
    }
    let key = name.strip_prefix("DROVER_").unwrap_or(name);
    if key.contains("__") {
        return Ok(Some(key.split("__").map(str::to_ascii_lowercase).collect::<Vec<_>>().join(".")));
    }
    if let Some(listener) = key.strip_prefix("LISTEN_") {
        if LISTENERS.contains(&listener) {
            return Ok(Some(format!("listen.{}", listener.to_ascii_lowercase())));
        }
        if UNSERVED.contains(&listener) {
            return Ok(None);
        }
    }
    let mut known: Vec<String> = NOT_SETTINGS.map(str::to_owned).into();
    known.extend(LISTENERS.into_iter().chain(UNSERVED).map(|listener| format!("DROVER_LISTEN_{listener}")));
    known.extend(layers.keys().iter().map(|key| variable(key)));
    Err(format!(
        "unknown variable {name}; settings are DROVER_<SECTION>__<KEY>; nearest: {}",
        nearest(name, &known).join(", ")
    ))
}

/// The variable that sets a key.
fn variable(key: &str) -> String {
    format!("DROVER_{}", key.replace('.', "__").to_ascii_uppercase())
}
