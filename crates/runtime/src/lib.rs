//! What every program of Drover has in common: configuration, data directory, logs, metrics, health, tasks, start and stop.
//! A service crate describes itself as a [`Part`]; whether one or many parts share a process is decided by who calls `build`.

mod env;
mod health;
mod metrics;
mod part;
mod rng;
mod stop;
mod tasks;

pub use env::Env;
pub use health::{Health, PartHealth, Status};
pub use metrics::Metrics;
pub use part::Part;
pub use rng::Rng;
pub use stop::Stop;
pub use tasks::Tasks;
