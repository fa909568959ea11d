//! Accepts clients: a permit first, then the connection, then a task of its own.

use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

use crate::gateway::Gateway;
use crate::loops::Accepted;
use crate::transport::Layer;

/// Pause after a failed accept, for instance when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After this silence the kernel asks whether the peer is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(300);

/// What a client holds: its place among all, and for its start one among those that start.
pub(crate) struct Permits {
    pub(crate) connection: OwnedSemaphorePermit,
    pub(crate) handshake: OwnedSemaphorePermit,
}

/// Serves a listener until the drain, and returns when all connections of the gateway have ended.
pub(crate) async fn serve(gateway: Arc<Gateway>, layer: Layer, listener: TcpListener) -> anyhow::Result<()> {
    loop {
        // Cancel-safe: a permit or a connection that is not returned is not taken.
        let permits = tokio::select! {
            () = gateway.stop.drain() => break,
            permits = permits(&gateway) => permits?,
        };
        let accepted = tokio::select! {
            () = gateway.stop.drain() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                prepare(&stream);
                match stream.into_std() {
                    Ok(stream) => {
                        let (gateway, layer) = (gateway.clone(), layer.clone());
                        let socket = (stream, peer.ip());
                        gateway.clone().loops.serve(Accepted { gateway, layer, socket, permits }).await;
                    }
                    Err(error) => gateway.accept_failed(&error),
                }
            }
            Err(error) => {
                gateway.accept_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let _all = gateway.connections.acquire_many(gateway.config.max_connections.get()).await?;
    Ok(())
}

async fn permits(gateway: &Gateway) -> anyhow::Result<Permits> {
    Ok(Permits {
        connection: gateway.connections.clone().acquire_owned().await?,
        handshake: gateway.handshakes.clone().acquire_owned().await?,
    })
}

/// Neither setting is vital.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE));
}
