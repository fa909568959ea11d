//! What every program of Drover has in common: configuration, data directory, logs, metrics, health, tasks, start and stop.
//! A service crate describes itself as a [`Part`]; whether one or many parts share a process is decided by who calls `build`.

pub mod certificates;
mod clock;
pub mod config;
pub mod data_dir;
mod env;
mod foundation;
mod health;
pub mod limits;
pub mod listeners;
pub mod logs;
mod metrics;
mod part;
#[cfg(target_os = "linux")]
mod process_metrics;
mod rng;
mod run;
mod settings;
pub mod signals;
mod stop;
mod tasks;
pub mod traces;

pub use clock::SystemClock;
pub use config::{ConfigError, Layers, Section, Sources};
pub use data_dir::{DataDir, DataDirError, FORMAT_VERSION};
pub use env::Env;
pub use foundation::LogSettings;
pub use health::{Health, PartHealth, Status};
pub use metrics::Metrics;
pub use part::Part;
pub use rng::Rng;
pub use run::{Announcement, Program, StopSettings, run};
pub use settings::{ProcessSettings, Settings};
pub use stop::Stop;
pub use tasks::Tasks;
