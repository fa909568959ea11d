//! The MQTT gateway: MQTT 3.1.1 and 5 over TCP, TLS and WebSocket.
//!
//! A client's way: `listener` accepts it, one of the threads of `loops` serves it. `proxy` reads who it is, `transport` and `websocket` make bytes of what it
//! sends, `connect` answers its CONNECT, `seat` gives it its session, `connection` turns bytes into packets and packets into bytes.
//! `publish` decides where a message goes: into the log, or by `route` into the `outbox` of other clients' `session`s, from where
//! `deliveries` sends it. `subscribe` decides who may ask for what, `budget` how much
//! may come. What clients of a tenant share is its `space`; the `router` and the
//! `retained` messages in it are made of the `trie`, a tree of topics and filters.
//!
//! What outlives a connection stands in the `journal` before it is acknowledged. `checkpoint` writes it to the database (`store`),
//! `restart` makes sessions of both (`recovery`) again.

mod answers;
mod backlog;
mod budget;
mod checkpoint;
mod config;
mod connect;
mod connection;
mod deliveries;
mod error;
mod gateway;
mod goodbye;
mod handover;
mod journal;
mod listener;
mod loops;
mod message;
mod metrics;
mod outbound;
mod outbox;
mod proxy;
mod publish;
mod recovery;
mod restart;
mod retained;
mod route;
mod router;
mod seat;
mod service;
mod session;
mod shown;
mod space;
mod store;
mod subscribe;
mod traced;
mod transport;
mod trie;
mod waits;
mod websocket;
mod will;

use std::sync::Arc;

use drover_proto::mqtt::v1::sessions_server::SessionsServer;
use drover_runtime::{Env, Part};
use tokio_rustls::TlsAcceptor;

pub use config::{Anonymous, Budget, Config, Listener, Proxy};

use crate::transport::Layer;

/// Every setting with its default.
pub const DEFAULTS: &str = include_str!("../default.toml");

/// Wires the gateway and starts the threads of its connections, which have nothing to do until the runtime binds the listeners.
///
/// # Errors
/// The log can't be read, or a thread can't be started.
pub async fn build(config: Config, env: &Env) -> anyhow::Result<Part> {
    let gateway = restart::open(config, env).await?;
    let report = gateway.clone();
    let changes = gateway.authenticator.changes(&env.live);
    let serve = |layer: Layer| {
        let gateway = gateway.clone();
        move |listener| listener::serve(gateway, layer, listener)
    };
    Ok(Part::new("mqtt")
        .grpc(SessionsServer::new(service::Sessions(gateway.clone())))
        .listen("mqtt", serve(Layer::Tcp))
        .listen("mqtts", serve(Layer::Tls(tls(env))))
        .listen("ws", serve(Layer::WebSocket))
        .task("mqtt checkpoints", checkpoint::run(gateway.clone()))
        .task("mqtt time", gateway.clone().keep_time())
        .task("mqtt downlink", gateway.clone().pass_downlink())
        .task("mqtt credentials", gateway.clone().follow_credentials(changes))
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
