//! Serving the listener: bounded connections, HTTP/1.1 and HTTP/2, and an end within a deadline.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use drover_runtime::{Env, Stop, Tasks};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Longest time for a request's head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for open requests to end once the server stops.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Wait after a failed accept, most often for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves connections.
pub struct Server {
    max_connections: usize,
    connections: Arc<Semaphore>,
    tasks: Tasks,
    stop: Stop,
}

impl Server {
    pub fn new(max_connections: usize, env: &Env) -> Self {
        let connections = Arc::new(Semaphore::new(max_connections));
        Self { max_connections, connections, tasks: env.tasks.clone(), stop: env.stop.clone() }
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

    async fn accept(&self, listener: &TcpListener) -> anyhow::Result<(TcpStream, OwnedSemaphorePermit)> {
        let permit = self.connections.clone().acquire_owned().await?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Ok((stream, permit)),
                Err(error) => {
                    tracing::warn!("the api listener could not accept: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }
}

async fn serve_connection(stream: TcpStream, router: Router, stop: Stop, _permit: OwnedSemaphorePermit) {
    let _ = stream.set_nodelay(true);
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder.http2().timer(TokioTimer::new());
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => {
            if let Err(error) = ended {
                tracing::debug!("a connection ended: {error}");
            }
            return;
        }
        () = stop.drain() => connection.as_mut().graceful_shutdown(),
    }
    if tokio::time::timeout(DRAIN_TIMEOUT, connection).await.is_err() {
        tracing::warn!(
            "a request was still open {} s after the stop; it is cut off",
            DRAIN_TIMEOUT.as_secs()
        );
    }
}
