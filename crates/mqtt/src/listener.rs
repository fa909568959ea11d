//! Accepts clients: the connection, a place among those of its source, a permit, and then a task of its own.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use drover_gateway::{Place, network_of};
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;

use crate::gateway::Gateway;
use crate::loops::Accepted;
use crate::proxy::Peer;
use crate::transport::Layer;

/// Pause after a failed accept, for instance when the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After this silence the kernel asks whether the peer is still there.
const TCP_KEEPALIVE: Duration = Duration::from_secs(300);

/// What a client holds: its place among all and among those of its source, and for its start the same among those that start. Whoever
/// comes through a proxy gets the places of its source when the proxy has said who it is.
pub(crate) struct Permits {
    pub(crate) connection: (OwnedSemaphorePermit, Option<Place<IpAddr>>),
    pub(crate) handshake: (OwnedSemaphorePermit, Option<Place<IpAddr>>),
}

/// Serves a listener until the drain, and returns when all connections of the gateway have ended.
pub(crate) async fn serve(gateway: Arc<Gateway>, layer: Layer, listener: TcpListener) -> anyhow::Result<()> {
    loop {
        // Cancel-safe: a connection that is not returned is not taken.
        let accepted = tokio::select! {
            () = gateway.stop.drain() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok((stream, peer)) => (stream, gateway.proxies.peer(layer.listener(), peer.ip())),
            Err(error) => {
                gateway.accept_failed(&error);
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let places = match peer {
            Peer::Client(source) => places(&gateway, source).map(|places| places.map(Some)),
            Peer::Proxy(_) => Ok([None, None]),
        };
        let places = match places {
            Ok(places) => places,
            Err(reason) => {
                // Dropping the stream closes it.
                gateway.metrics.closed(reason);
                continue;
            }
        };
        // After accepting, lest a listener without clients keeps a permit; so one client of each waits here. Cancel-safe: a client that
        // waits at the drain was not let in yet.
        let permits = tokio::select! {
            () = gateway.stop.drain() => break,
            permits = permits(&gateway, places) => permits?,
        };
        pass_on(&gateway, layer.clone(), (stream, peer), permits).await;
    }
    drop(listener);
    let _all = gateway.connections.acquire_many(gateway.config.max_connections.get()).await?;
    Ok(())
}

/// The source's places for a connection and for its handshake, or which of them are all taken.
pub(crate) fn places(gateway: &Gateway, source: IpAddr) -> Result<[Place<IpAddr>; 2], &'static str> {
    let source = network_of(source);
    let connection = gateway.connections_by_source.take(&source).ok_or("connections of the source")?;
    let handshake = gateway.handshakes_by_source.take(&source).ok_or("handshakes of the source")?;
    Ok([connection, handshake])
}

/// Waits until there is room for one more.
async fn permits(
    gateway: &Gateway,
    [connection, handshake]: [Option<Place<IpAddr>>; 2],
) -> anyhow::Result<Permits> {
    Ok(Permits {
        connection: (gateway.connections.clone().acquire_owned().await?, connection),
        handshake: (gateway.handshakes.clone().acquire_owned().await?, handshake),
    })
}

async fn pass_on(gateway: &Arc<Gateway>, layer: Layer, (stream, peer): (TcpStream, Peer), permits: Permits) {
    prepare(&stream);
    match stream.into_std() {
        Ok(stream) => {
            let accepted = Accepted { gateway: gateway.clone(), layer, socket: (stream, peer), permits };
            gateway.loops.serve(accepted).await;
        }
        Err(error) => gateway.accept_failed(&error),
    }
}

/// Neither setting is vital.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let _ = SockRef::from(stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(TCP_KEEPALIVE));
}
