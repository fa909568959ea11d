//! Serving the listener: bounded connections, in all and of one source; HTTP/1.1 and HTTP/2; an end to silence, and to everything
//! within a deadline once the server stops.

mod sources;
mod work;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use drover_runtime::{Env, Metrics, Stop, Tasks};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::Config;
use sources::{Place, Sources};
use work::{Counted, Silence, Work};

/// Longest time from the accept of a connection until the head of its first request is there.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time from the end of an answer until the head of the next request is there.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time for which the peer takes none of an answer's bytes.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// Longest time for open requests to end once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait after a failed accept, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections.
pub struct Server {
    max_connections: usize,
    connections: Arc<Semaphore>,
    sources: Sources,
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
}

impl Counters {
    fn register(metrics: &Metrics) -> Self {
        let own = Self::default();
        metrics.register("api", |registry| {
            registry.register("connections", "Connections that are open", own.open.clone());
            let help = "Connections closed at once because their source has too many";
            registry.register("connections_refused", help, own.refused.clone());
            let help = "Connections closed because no request came in time";
            registry.register("connections_silent", help, own.silent.clone());
        });
        own
    }
}

/// A connection's share of every bound.
struct Permit {
    _connection: OwnedSemaphorePermit,
    _place: Place,
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
            sources: Sources::new(config.max_connections_per_source),
            counters: Counters::register(&env.metrics),
            tasks: env.tasks.clone(),
            stop: env.stop.clone(),
        }
    }

    /// Accepts until the drain begins, and returns when every connection is closed.
    pub async fn serve(self, listener: TcpListener, router: Router) -> anyhow::Result<()> {
        loop {
            // Cancel-safe: an accept that is dropped leaves its connection in the listener's queue.
            let (stream, permit) = tokio::select! {
                () = self.stop.drain() => break,
                accepted = self.accept(&listener) => accepted?,
            };
            self.tasks.track(serve_connection(stream, router.clone(), self.stop.clone(), permit));
        }
        drop(listener);
        let all = u32::try_from(self.max_connections)?;
        let _ended = self.connections.acquire_many(all).await?;
        Ok(())
    }

    /// The next connection that has a place.
    async fn accept(&self, listener: &TcpListener) -> anyhow::Result<(TcpStream, Permit)> {
        let connection = self.connections.clone().acquire_owned().await?;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let Some(place) = self.place(peer.ip()) else { continue };
                    self.counters.open.inc();
                    let counters = self.counters.clone();
                    return Ok((stream, Permit { _connection: connection, _place: place, counters }));
                }
                Err(error) => {
                    tracing::warn!("the api listener could not accept: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn place(&self, address: IpAddr) -> Option<Place> {
        let place = self.sources.enter(address);
        if place.is_none() {
            self.counters.refused.inc();
        }
        place
    }
}

async fn serve_connection(stream: TcpStream, router: Router, stop: Stop, permit: Permit) {
    prepare(&stream);
    let work = Work::default();
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().max_buf_size(MAX_HEAD_BYTES);
    let service = TowerToHyperService::new(Counted::new(router, work.clone()));
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    // Cancel-safe: only the connection has a state, and it is polled on below.
    let stopped = tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!("a connection ended: {error}");
            }
            return;
        }
        silence = work.silence(HEAD_TIMEOUT, IDLE_TIMEOUT) => match silence {
            Silence::FromTheStart => {
                permit.counters.silent.inc();
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

/// Neither setting is vital.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    // The kernel ends a connection whose peer takes nothing (RFC 5482); it works the same for a peer that is gone.
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_user_timeout(Some(WRITE_TIMEOUT));
}

#[cfg(test)]
mod tests;
