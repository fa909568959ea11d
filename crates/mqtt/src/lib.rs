//! The MQTT gateway: MQTT 3.1.1 and 5 over TCP, TLS and WebSocket.
//!
//! A client's way: `listener` accepts it, one of the threads of `loops` serves it. `transport` and `websocket` make bytes of what it
//! sends, `connect` answers its CONNECT, `connection` turns bytes into packets and packets into bytes. `publish` decides where a message
//! goes: into the log, or through the `router` of the tenant's `space` to other clients' `session`s, which `outbound` sends. `subscribe`
//! decides who may ask for what.

mod acknowledge;
mod config;
mod connect;
mod connection;
mod error;
mod gateway;
mod goodbye;
mod listener;
mod loops;
mod message;
mod metrics;
mod outbound;
mod publish;
mod router;
mod session;
mod space;
mod subscribe;
mod transport;
mod waits;
mod websocket;

use std::sync::Arc;

use drover_runtime::{Env, Part};
use tokio_rustls::TlsAcceptor;

pub use config::{Anonymous, Config};

use crate::gateway::Gateway;
use crate::transport::Layer;

/// Every setting with its default.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// Wires the gateway and starts the threads of its connections, which have nothing to do until the runtime binds the listeners.
///
/// # Errors
/// The log can't be read, or a thread can't be started.
pub async fn build(config: Config, env: &Env) -> anyhow::Result<Part> {
    let max_message_bytes = usize::try_from(config.max_packet_bytes.get())?;
    let gateway = Arc::new(Gateway::new(config, env)?);
    let report = gateway.clone();
    let serve = |layer: Layer| {
        let gateway = gateway.clone();
        move |listener| listener::serve(gateway, layer, listener)
    };
    Ok(Part::new("mqtt")
        .listen("mqtt", serve(Layer::Tcp))
        .listen("mqtts", serve(Layer::Tls(tls(env))))
        .listen("ws", serve(Layer::WebSocket(max_message_bytes)))
        .task("mqtt time", gateway.clone().keep_time())
        .task("mqtt downlink", gateway.clone().pass_downlink())
        .task("mqtt credentials", gateway.clone().follow_credentials())
        .task("mqtt refusals", async move {
            report.ingress.report(async { report.stop.finish().await }).await;
            Ok(())
        }))
}

/// The server's TLS with the protocol name of MQTT.
fn tls(env: &Env) -> TlsAcceptor {
    let mut config = (*env.tls).clone();
    config.alpn_protocols = vec![b"mqtt".to_vec()];
    TlsAcceptor::from(Arc::new(config))
}
