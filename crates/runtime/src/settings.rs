//! The runtime's own sections of the configuration, all read before anything is touched.

use serde::Deserialize;

use crate::certificates::TlsSettings;
use crate::listeners::ListenSettings;
use crate::logs::LogsSettings;
use crate::{ConfigError, Layers, LogSettings, StopSettings};

/// Section `[process]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSettings {
    /// Threads that do the work, and as many again that serve MQTT clients; 0 means one per core.
    pub worker_threads: usize,
}

/// Everything that the runtime itself can be told.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `[listen]`
    pub listen: ListenSettings,
    /// `[log]`
    pub log: LogSettings,
    /// `[logging]`
    pub logging: LogsSettings,
    /// `[tls]`
    pub tls: TlsSettings,
    /// `[stop]`
    pub stop: StopSettings,
    /// `[process]`
    pub process: ProcessSettings,
}

impl Settings {
    /// Reads all sections.
    ///
    /// # Errors
    /// The first section with a value that does not fit.
    pub fn read(layers: &Layers) -> Result<Self, ConfigError> {
        Ok(Self {
            listen: layers.section("listen")?,
            log: layers.section("log")?,
            logging: layers.section("logging")?,
            tls: layers.section("tls")?,
            stop: layers.section("stop")?,
            process: layers.section("process")?,
        })
    }
}
