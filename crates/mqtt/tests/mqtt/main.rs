//! The gateway as clients see it, over raw bytes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

mod applications;
mod bad_input;
mod connect;
mod credentials;
mod flow;
mod limits;
mod publish;
mod server;
mod sessions;
mod subscribe;
mod transports;
