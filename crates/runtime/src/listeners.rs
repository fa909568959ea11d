//! Listening sockets: all of them are bound before anything starts, so that a port in use is an error before there is work to undo.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;

use serde::Deserialize;
use tokio::net::{TcpListener, TcpSocket};

use crate::Section;
use crate::config::Range;

/// Connections that wait to be accepted; the system's `somaxconn` may lower it.
const BACKLOG: u32 = 4_096;
/// What an address looks like.
const EXAMPLE: &str = "127.0.0.1:1883";

/// Section `[listen]`: addresses by name; an empty text is no listener.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListenSettings {
    /// MQTT over TCP.
    pub mqtt: String,
    /// MQTT over TLS.
    pub mqtts: String,
    /// MQTT over WebSocket.
    pub ws: String,
    /// REST.
    pub api: String,
    /// gRPC.
    pub grpc: String,
}

impl ListenSettings {
    /// Names and addresses of the listeners that are on.
    pub fn on(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let all = [
            ("mqtt", &self.mqtt),
            ("mqtts", &self.mqtts),
            ("ws", &self.ws),
            ("api", &self.api),
            ("grpc", &self.grpc),
        ];
        all.into_iter()
            .map(|(name, address)| (name, address.as_str()))
            .filter(|(_, address)| !address.is_empty())
    }
}

impl Section for ListenSettings {
    const RANGES: &'static [Range] = &[];

    fn problems(&self) -> Vec<(&'static str, String)> {
        let none = self.on().filter(|(_, address)| !is_address(address));
        let problem = |name, text| {
            let detail =
                format!("{text:?} is no address and port; give one like {EXAMPLE}, or \"\" for no listener");
            (name, detail)
        };
        none.map(|(name, text)| problem(name, text)).collect()
    }
}

/// An address and port, or the name of a host and a port. Whether the host is known, only the network can tell.
fn is_address(text: &str) -> bool {
    let is_name = |host: &str| !host.is_empty() && !host.contains([':', '/', ' ']);
    text.parse::<SocketAddr>().is_ok()
        || text.rsplit_once(':').is_some_and(|(host, port)| is_name(host) && port.parse::<u16>().is_ok())
}

/// A listener that could not be bound, and what to try.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else has the port.
    #[error("{name}: {address} is in use (try --listen-{name} {host}:0 for any free port)", host = host(.address))]
    InUse {
        /// The listener.
        name: &'static str,
        /// Where it should have been.
        address: SocketAddr,
    },
    /// The operating system refused.
    #[error("{name}: {address}: {error} (set another address with --listen-{name})")]
    Refused {
        /// The listener.
        name: &'static str,
        /// Where it should have been.
        address: String,
        /// What it said.
        error: io::Error,
    },
}

/// Binds every listener that is on.
///
/// # Errors
/// The first that cannot be bound.
pub async fn bind(settings: &ListenSettings) -> Result<BTreeMap<&'static str, TcpListener>, ListenError> {
    let mut bound = BTreeMap::new();
    for (name, text) in settings.on() {
        let address = resolve(name, text).await?;
        let listener = listen(address).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse { name, address },
            _ => ListenError::Refused { name, address: address.to_string(), error },
        })?;
        bound.insert(name, listener);
    }
    Ok(bound)
}

/// The first address of a text like `127.0.0.1:1883` or `localhost:1883`.
async fn resolve(name: &'static str, text: &str) -> Result<SocketAddr, ListenError> {
    let refused = |error| ListenError::Refused { name, address: text.to_owned(), error };
    let mut addresses = tokio::net::lookup_host(text).await.map_err(refused)?;
    addresses.next().ok_or_else(|| refused(io::Error::other("the name has no address")))
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn host(address: &SocketAddr) -> String {
    let text = address.to_string();
    text.rsplit_once(':').map_or(text.clone(), |(host, _)| host.to_owned())
}
