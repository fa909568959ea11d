//! The PROXY protocol: a trusted proxy says first whose connection it is. The header is read to its end and not further, because what
//! follows belongs to TLS, WebSocket or MQTT.

use std::io;
use std::net::IpAddr;

use bytes::BytesMut;
use ipnet::IpNet;
use proxy_protocol_rs::parse::{V2_SIGNATURE, parse};
use proxy_protocol_rs::{Command, ParseError, ProxyInfo};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::config::{Listener, Proxy};

/// Longest header. Addresses take 52 bytes; a proxy may add what it knows of TLS, a certificate at most.
const MAX_HEADER_BYTES: usize = 8 << 10;
/// The signature, what follows in four bytes, and how much: the fixed part of version 2.
const FIXED_BYTES: usize = V2_SIGNATURE.len() + 4;

/// Whoever connected.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Peer {
    Client(IpAddr),
    /// It says who the client is.
    Proxy(IpAddr),
}

/// The trusted proxies.
pub(crate) struct Proxies {
    networks: Vec<IpNet>,
    listeners: Vec<Listener>,
}

impl Proxies {
    pub(crate) fn new(config: &Proxy) -> Self {
        Self { networks: config.networks(), listeners: config.listeners.clone() }
    }

    pub(crate) fn peer(&self, listener: Listener, address: IpAddr) -> Peer {
        // As an IPv4 address when it came through a socket of IPv6.
        let address = address.to_canonical();
        let is_proxy = self.listeners.contains(&listener)
            && self.networks.iter().any(|network| network.contains(&address));
        if is_proxy { Peer::Proxy(address) } else { Peer::Client(address) }
    }
}

/// Reads the header; the client's address, or the proxy's own when the connection is its own.
///
/// # Errors
/// There is no header, it is malformed or too long, it names no address, or the connection failed.
pub(crate) async fn read_source(stream: &mut (impl AsyncRead + Unpin), proxy: IpAddr) -> io::Result<IpAddr> {
    let mut header = BytesMut::new();
    loop {
        let missing = match parse(&header) {
            Ok((info, _)) => return source_of(&info, proxy),
            Err(ParseError::Incomplete) => missing(&header),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        };
        if header.len() + missing > MAX_HEADER_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the PROXY header is too long"));
        }
        header.reserve(missing);
        if stream.take(u64::try_from(missing).unwrap_or(u64::MAX)).read_buf(&mut header).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// How much may be read without reading behind the header.
fn missing(header: &[u8]) -> usize {
    let length = header.get(FIXED_BYTES - 2..FIXED_BYTES).and_then(|length| length.try_into().ok());
    let whole = match length.map(u16::from_be_bytes) {
        _ if header.len() < V2_SIGNATURE.len() => V2_SIGNATURE.len(),
        // Version 1 is a line of at most 107 bytes: byte by byte to its end.
        _ if !header.starts_with(V2_SIGNATURE) => header.len() + 1,
        None => FIXED_BYTES,
        Some(length) => FIXED_BYTES + usize::from(length),
    };
    whole - header.len()
}

fn source_of(info: &ProxyInfo, proxy: IpAddr) -> io::Result<IpAddr> {
    match (info.command, info.source_ip()) {
        // For instance a health check.
        (Command::Local, _) => Ok(proxy),
        (_, Some(source)) => Ok(source.to_canonical()),
        // The proxy's address in its place would be bounded, or on loopback trusted, as if it were the client's.
        (_, None) => Err(io::Error::new(io::ErrorKind::InvalidData, "the PROXY header names no IP address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROXY: &str = "10.0.0.1";
    /// From 192.0.2.7 port 1024 to 192.0.2.1 port 1883.
    const VERSION_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x04\0\x07\x5b";

    /// What the header says, and what is left to read; the bytes come in pieces of `step`.
    async fn read(header: &[u8], step: usize) -> io::Result<(IpAddr, Vec<u8>)> {
        let (mut far, mut near) = tokio::io::duplex(step);
        let sent = [header, b"MQTT"].concat();
        let send = async move {
            let _ = tokio::io::AsyncWriteExt::write_all(&mut far, &sent).await;
        };
        let receive = async move {
            let source = read_source(&mut near, PROXY.parse().unwrap()).await?;
            let mut rest = Vec::new();
            near.read_to_end(&mut rest).await?;
            Ok((source, rest))
        };
        tokio::join!(send, receive).1
    }

    #[tokio::test]
    async fn headers_of_both_versions_are_read_to_their_end_and_not_further() {
        let version_6: Vec<u8> = [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x28"[..],
            &"2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap().octets(),
            &[0; 20],
            // A field that is ignored.
            &[0x04, 0, 1, 0],
        ]
        .concat();
        let headers: [(&[u8], &str); 6] = [
            (VERSION_2, "192.0.2.7"),
            (&version_6, "2001:db8::7"),
            (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", PROXY),
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 1024 1883\r\n", "192.0.2.7"),
            (b"PROXY TCP6 2001:db8::7 ::1 1024 1883\r\n", "2001:db8::7"),
            (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 1024 1883\r\n", "192.0.2.7"),
        ];
        for (header, source) in headers {
            for step in [1, 7, 4096] {
                let read = read(header, step).await.unwrap();
                assert_eq!(read, (source.parse().unwrap(), b"MQTT".to_vec()), "{header:?}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let mut long = VERSION_2.to_vec();
        long[14] = 0xff;
        long.resize(20_000, 0);
        let mut truncated = VERSION_2.to_vec();
        truncated[15] = 8;
        let headers: [&[u8]; 8] = [
            b"",
            b"\x10\x0d\0\x04MQTT\x05\x02\0\0\0\0\0",
            b"PROXY UNKNOWN\r\n",
            b"PROXY TCP4 nobody 192.0.2.1 1024 1883\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1024 1883 and much more that no proxy ever sends, because it is too long\r\n",
            b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\x0c\xc0\0\x02\x07\xc0\0\x02\x01\x04\0\x07\x5b",
            &long,
            &truncated,
        ];
        for header in headers {
            assert!(read(header, 64).await.is_err(), "{header:?}");
        }
    }

    #[test]
    fn proxies_are_known_by_address_or_network_and_only_on_their_listeners() {
        let from = vec!["10.1.0.0/16".to_owned(), "192.0.2.1".to_owned(), "::ffff:192.0.2.2".to_owned()];
        let proxies = Proxies::new(&Proxy { from, listeners: vec![Listener::Mqtts] });
        let is_proxy = |listener, address: &str| {
            matches!(proxies.peer(listener, address.parse().unwrap()), Peer::Proxy(_))
        };
        for address in ["10.1.2.3", "192.0.2.1", "192.0.2.2", "::ffff:10.1.2.3"] {
            assert!(is_proxy(Listener::Mqtts, address) && !is_proxy(Listener::Ws, address), "{address}");
        }
        assert!(!is_proxy(Listener::Mqtts, "10.2.0.1") && !is_proxy(Listener::Mqtts, "::1"));
    }
}
