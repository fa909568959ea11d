//! The gateway as clients see it, over raw bytes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

mod bad_input;
mod budget;
mod connect;
mod credentials;
mod flow;
mod limits;
mod proxy;
mod publish;
mod server;
mod sessions;
mod subscribe;
mod transports;
