//! Serving the listeners: bounded connections, in all and of one source; HTTP/1.1 and HTTP/2; an end to silence, and to everything
//! within a deadline once the server stops.

mod idle;
mod work;

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use drover_gateway::{Place, Places, network_of};
use drover_runtime::{Env, Metrics, Stop, Tasks};
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower::Service;

use crate::Config;
use idle::Idle;
use work::{Counted, Silence, Work};

/// How REST is served.
pub const REST: Manner = Manner {
    name: "api",
    only_http2: false,
    head_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
};
/// How gRPC is served: its clients connect before they have anything to ask.
pub const GRPC: Manner = Manner {
    name: "grpc",
    only_http2: true,
    head_timeout: Duration::from_secs(60),
    idle_timeout: Duration::from_secs(300),
};
/// HTTP/2: how often a peer is asked whether it is there, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// HTTP/2: requests of one connection at a time.
const MAX_STREAMS: u32 = 128;
/// HTTP/2: longest head of a request, in bytes.
const MAX_HEADER_LIST_BYTES: u32 = 16 << 10;
/// Longest time for which the peer takes none of an answer's bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Longest time for open requests to end once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// While there is no place, an idle connection is ended so often.
const END_INTERVAL: Duration = Duration::from_millis(50);
/// Wait after a failed accept, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How the connections of a listener are served.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// The listener.
    pub name: &'static str,
    only_http2: bool,
    /// Longest time from the accept of a connection until the head of its first request is there.
    head_timeout: Duration,
    /// Longest time from the end of an answer until the head of the next request is there.
    idle_timeout: Duration,
}

/// Serves connections; the bounds are those of all listeners together.
pub struct Server {
    max_connections: usize,
    connections: Arc<Semaphore>,
    sources: Arc<Places<IpAddr>>,
    idle: Idle,
    counters: Counters,
    tasks: Tasks,
    stop: Stop,
}

/// What is counted of connections.
#[derive(Clone, Default)]
struct Counters {
    open: Gauge,
    refused: Counter,
    silent: Counter,
    displaced: Counter,
}

impl Counters {
    fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register("api", |registry| {
            registry.register("connections", "Connections of REST and gRPC that are open", own.open.clone());
            let help = "Connections closed at once because their source has too many";
            registry.register("connections_refused", help, own.refused.clone());
            let help = "Connections closed because no request came in time";
            registry.register("connections_silent", help, own.silent.clone());
            let help = "Connections without a request closed because another needed the place";
            registry.register("connections_displaced", help, own.displaced.clone());
        });
        own
    }
}

/// The source of a connection has too many.
#[derive(Debug)]
struct Refused;

/// A connection's share of every bound.
struct Permit {
    _connection: OwnedSemaphorePermit,
    _place: Option<Place<IpAddr>>,
    counters: Counters,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.counters.open.dec();
    }
}

impl Server {
    pub fn new(config: &Config, env: &Env) -> Self {
        Self {
            max_connections: config.max_connections,
            connections: Arc::new(Semaphore::new(config.max_connections)),
            sources: Places::new(config.max_connections_per_source),
            idle: Idle::default(),
            counters: Counters::register(&env.metrics),
            tasks: env.tasks.clone(),
            stop: env.stop.clone(),
        }
    }

    /// Accepts until the drain begins, and returns when every connection is closed.
    pub async fn serve<S, B>(
        self: Arc<Self>,
        listener: TcpListener,
        manner: Manner,
        service: S,
    ) -> anyhow::Result<()>
    where
        S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
        S::Future: Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        loop {
            // Cancel-safe: what was accepted and waits for a place is closed, as everything is then.
            let (stream, permit) = tokio::select! {
                () = self.stop.drain() => break,
                accepted = self.accept(&listener, manner) => accepted?,
            };
            let place = (self.stop.clone(), self.idle.clone(), permit);
            self.tasks.track(serve_connection(stream, manner, service.clone(), place));
        }
        drop(listener);
        let all = u32::try_from(self.max_connections)?;
        let _ended = self.connections.acquire_many(all).await?;
        Ok(())
    }

    /// The next connection, once it has a place.
    async fn accept(&self, listener: &TcpListener, manner: Manner) -> anyhow::Result<(TcpStream, Permit)> {
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let Ok(place) = self.place(peer.ip()) else { continue };
                    let connection = self.connection().await?;
                    self.counters.open.inc();
                    let counters = self.counters.clone();
                    return Ok((stream, Permit { _connection: connection, _place: place, counters }));
                }
                Err(error) => {
                    tracing::warn!("the listener {} could not accept: {error}", manner.name);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// A place among all; when there is none, that of a connection without a request.
    async fn connection(&self) -> anyhow::Result<OwnedSemaphorePermit> {
        if let Ok(permit) = self.connections.clone().try_acquire_owned() {
            return Ok(permit);
        }
        loop {
            self.idle.end_longest();
            let permit = self.connections.clone().acquire_owned();
            if let Ok(permit) = tokio::time::timeout(END_INTERVAL, permit).await {
                return Ok(permit?);
            }
        }
    }

    /// A place among those of its source. A connection from this machine needs none: a reverse proxy makes all of them from there.
    fn place(&self, address: IpAddr) -> Result<Option<Place<IpAddr>>, Refused> {
        if address.to_canonical().is_loopback() {
            return Ok(None);
        }
        let place = self.sources.take(&network_of(address));
        if place.is_none() {
            self.counters.refused.inc();
        }
        place.map(Some).ok_or(Refused)
    }
}

async fn serve_connection<S, B>(
    stream: TcpStream,
    manner: Manner,
    service: S,
    (stop, idle, permit): (Stop, Idle, Permit),
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    prepare(&stream);
    let (work, _open) = Work::open(idle);
    let builder = builder(manner);
    let service = TowerToHyperService::new(Counted::new(service, work.clone()));
    let connection = builder.serve_connection_with_upgrades(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // Cancel-safe: only the connection has a state, and it is polled on below.
    let stopped = tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!("a connection ended: {error}");
            }
            return;
        }
        silence = work.silence(manner.head_timeout, manner.idle_timeout) => match silence {
            Silence::FromTheStart => {
                permit.counters.silent.inc();
                return;
            }
            Silence::PlaceWanted => {
                permit.counters.displaced.inc();
                return;
            }
            Silence::AfterRequests => false,
        },
        () = stop.drain() => true,
    };
    connection.as_mut().graceful_shutdown();
    if tokio::time::timeout(DRAIN_TIMEOUT, connection).await.is_err() && stopped {
        tracing::warn!(
            "a request was still open {} s after the stop; it is cut off",
            DRAIN_TIMEOUT.as_secs()
        );
    }
}

fn builder(manner: Manner) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(MAX_HEAD_BYTES);
    if !manner.only_http2 {
        return builder;
    }
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST_BYTES);
    builder.http2_only()
}

/// Neither setting is vital.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // The kernel ends a connection whose peer takes nothing (RFC 5482); it works the same for a peer that is gone.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(WRITE_TIMEOUT));
}

#[cfg(test)]
mod tests;
