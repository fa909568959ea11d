//! The gateway as clients see it, over raw bytes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by them")]

mod applications;
mod bad_input;
mod bounds;
mod budget;
mod clients;
mod connect;
mod credentials;
mod flow;
mod limits;
mod model;
mod properties;
mod proxy;
mod publish;
mod qos2;
mod retained;
mod server;
mod session_ends;
mod sessions;
mod shared;
mod strict;
mod subscribe;
mod subscriptions;
mod transports;
mod wills;
