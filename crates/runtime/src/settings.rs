//! The runtime's own sections of the configuration, all read before anything is touched.

use serde::Deserialize;

use crate::certificates::TlsSettings;
use crate::config::Range;
use crate::listeners::ListenSettings;
use crate::logs::LogsSettings;
use crate::traces::TraceSettings;
use crate::{ConfigError, Layers, LogSettings, Section, StopSettings};

/// Section `[process]`.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessSettings {
    /// Threads that do the work, and as many again that serve MQTT clients; 0 means one per core.
    pub worker_threads: usize,
}

impl Section for ProcessSettings {
    const RANGES: &'static [Range] = &[("worker_threads", 0, 1_024)];
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
    /// `[runtime]`
    pub runtime: TraceSettings,
}

impl Settings {
    /// Reads and checks all sections.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn read(layers: &Layers) -> Result<Self, ConfigError> {
        let mut problems = Vec::new();
        let listen = layers.section_or("listen", &mut problems);
        let log = layers.section_or("log", &mut problems);
        let logging = layers.section_or("logging", &mut problems);
        let tls = layers.section_or("tls", &mut problems);
        let stop = layers.section_or("stop", &mut problems);
        let process = layers.section_or("process", &mut problems);
        let runtime = layers.section_or("runtime", &mut problems);
        match (listen, log, logging, tls, stop, process, runtime) {
            (Some(listen), Some(log), Some(logging), Some(tls), Some(stop), Some(process), Some(runtime)) => {
                Ok(Self { listen, log, logging, tls, stop, process, runtime })
            }
            _ => Err(ConfigError { problems }),
        }
    }
}
