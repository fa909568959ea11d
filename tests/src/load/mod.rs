//! What the benchmarks and the chaos runs share: a server as a child process, a fleet of MQTT clients, and readings of a process.

pub mod fleet;
pub mod peer;
pub mod process;
pub mod rest;
pub mod server;
pub mod tls;
pub mod wire;
