//! The gateway as clients see it, over raw bytes.

mod bad_input;
mod connect;
mod flow;
mod publish;
mod server;
mod subscribe;
mod transports;
