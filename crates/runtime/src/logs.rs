//! Messages of the process on stderr.

use std::io::IsTerminal;

use anyhow::anyhow;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use crate::Section;
use crate::config::Range;

/// Section `[logging]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogsSettings {
    /// Which messages, in tracing's filter language.
    pub filter: String,
    /// How they are written.
    pub format: Format,
}

impl Section for LogsSettings {
    const RANGES: &'static [Range] = &[];

    fn problems(&self) -> Vec<(&'static str, String)> {
        filter(&self.filter).err().map(|problem| ("filter", problem)).into_iter().collect()
    }
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// Starts writing messages. The subscriber is the one thing that is global to the process; the first call counts.
///
/// # Errors
/// A filter that is none.
pub fn start(settings: &LogsSettings) -> anyhow::Result<()> {
    let filter = filter(&settings.filter).map_err(|problem| anyhow!("logging.filter: {problem}"))?;
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let _ = match settings.format {
        Format::Text => builder.with_ansi(terminal).with_target(false).try_init(),
        Format::Json => builder.json().flatten_event(true).try_init(),
    };
    Ok(())
}

fn filter(text: &str) -> Result<EnvFilter, String> {
    let filter = EnvFilter::builder().parse(text);
    filter.map_err(|error| format!("{text:?} is not a filter like \"info,drover_mqtt=debug\": {error}"))
}
