//! A small MQTT 5 client over TLS for the demonstration's devices: connect, publish at QoS 1 with a bounded window, ping, disconnect.
//! It subscribes to nothing and resumes no session.

use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use drover_mqtt_codec::{
    Ack, Connect, Disconnect, Packet, PublishRef, QoS, ReasonCode, Secret, Version, decode, encode,
    encode_publish,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The most messages without acknowledgement, whatever the server allows.
const MAX_WINDOW: u16 = 64;
/// Bytes that are collected before they are sent.
const WRITE_AT: usize = 16 * 1024;
/// The largest packet that the server may send.
const MAX_PACKET: u32 = 64 * 1024;
const KEEP_ALIVE_S: u16 = 60;
/// How long the server may take for an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a session ended.
#[derive(Debug, PartialEq, Eq)]
pub struct MqttError(pub String);

impl std::fmt::Display for MqttError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<MqttError> for crate::failure::Failure {
    fn from(error: MqttError) -> Self {
        Self::failed(error.0)
    }
}

type Result<T> = std::result::Result<T, MqttError>;

fn failed(what: &str, error: impl std::fmt::Display) -> MqttError {
    MqttError(format!("{what}: {error}"))
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Where the server is, and whom its certificate must be signed by.
#[derive(Clone)]
pub struct Server {
    address: String,
    tls: Option<Arc<ClientConfig>>,
}

impl Server {
    /// A server at `address` (`host:port`) with a certificate for `localhost` by the authority in the PEM file.
    pub fn tls(address: String, authority: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(authority)
            .map_err(|error| failed(&format!("can't read {}", authority.display()), error))?;
        roots.add_parsable_certificates(certificates.filter_map(std::result::Result::ok));
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { address, tls: Some(Arc::new(config)) })
    }

    /// A server without TLS.
    #[cfg(test)]
    pub fn plain(address: String) -> Self {
        Self { address, tls: None }
    }

    async fn open(&self) -> Result<Box<dyn Transport>> {
        let open = |error| failed(&format!("can't connect to {}", self.address), error);
        let socket = TcpStream::connect(&self.address).await.map_err(open)?;
        socket.set_nodelay(true).map_err(open)?;
        let Some(config) = &self.tls else { return Ok(Box::new(socket)) };
        let name = ServerName::try_from("localhost").expect("`localhost` is a host name");
        Ok(Box::new(TlsConnector::from(config.clone()).connect(name, socket).await.map_err(open)?))
    }
}

/// A connected client.
pub struct MqttClient {
    stream: Box<dyn Transport>,
    input: BytesMut,
    output: BytesMut,
    last_id: u16,
    unacknowledged: u16,
    window: u16,
}

impl MqttClient {
    /// Connects and waits for the server's consent.
    pub async fn connect(server: &Server, username: &str, password: &str) -> Result<Self> {
        let stream = timeout(ANSWER_TIMEOUT, server.open())
            .await
            .map_err(|error| failed(&server.address, error))??;
        let (input, output) = (BytesMut::new(), BytesMut::new());
        let mut client = Self { stream, input, output, last_id: 0, unacknowledged: 0, window: MAX_WINDOW };
        client.put(&Packet::Connect(Box::new(Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: KEEP_ALIVE_S,
            client_id: username.to_owned(),
            will: None,
            username: Some(username.to_owned()),
            password: Some(Secret(Bytes::copy_from_slice(password.as_bytes()))),
            properties: None,
        })))?;
        client.flush().await?;
        match client.next().await? {
            Packet::ConnAck(answer) if answer.reason == ReasonCode::Success => {
                let allowed = answer.properties.and_then(|properties| properties.receive_maximum);
                client.window = allowed.map_or(MAX_WINDOW, |allowed| u16::from(allowed).min(MAX_WINDOW));
                Ok(client)
            }
            Packet::ConnAck(answer) => Err(failed(&format!("{username} is refused"), answer.reason)),
            other => Err(failed("expected CONNACK, got", other.packet_type())),
        }
    }

    /// Sends a message at QoS 1. Waits while the window is full, so it also learns of earlier refusals.
    pub async fn publish(&mut self, topic: &str, payload: &[u8]) -> Result<()> {
        while self.unacknowledged >= self.window {
            self.flush().await?;
            self.acknowledgement().await?;
        }
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        let publish = PublishRef {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic,
            packet_id: NonZeroU16::new(self.last_id),
            payload,
            properties: None,
            message_expiry_s: None,
            topic_alias: None,
            subscription_ids: &[],
        };
        encode_publish(&publish, Version::V5, &mut self.output)
            .map_err(|error| failed("can't encode", error))?;
        self.unacknowledged += 1;
        if self.output.len() >= WRITE_AT { self.flush().await } else { Ok(()) }
    }

    /// Returns when every message is acknowledged.
    pub async fn settle(&mut self) -> Result<()> {
        self.flush().await?;
        while self.unacknowledged > 0 {
            self.acknowledgement().await?;
        }
        Ok(())
    }

    /// Keeps an idle session alive. Call it more often than once in 60 s when nothing is published.
    pub async fn ping(&mut self) -> Result<()> {
        self.put(&Packet::PingReq)?;
        self.flush().await?;
        loop {
            match self.next().await? {
                Packet::PingResp => return Ok(()),
                packet => self.take(packet)?,
            }
        }
    }

    /// Ends the session.
    pub async fn disconnect(mut self) -> Result<()> {
        self.settle().await?;
        self.put(&Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: None }))?;
        self.flush().await?;
        self.stream.shutdown().await.map_err(|error| failed("can't close", error))
    }

    fn put(&mut self, packet: &Packet) -> Result<()> {
        encode(packet, Version::V5, &mut self.output).map_err(|error| failed("can't encode", error))
    }

    async fn flush(&mut self) -> Result<()> {
        let lost = |error: std::io::Error| failed("connection lost", error);
        self.stream.write_all_buf(&mut self.output).await.map_err(lost)?;
        self.stream.flush().await.map_err(lost)
    }

    async fn acknowledgement(&mut self) -> Result<()> {
        let packet = self.next().await?;
        self.take(packet)
    }

    fn take(&mut self, packet: Packet) -> Result<()> {
        match packet {
            Packet::PubAck(Ack { reason, .. }) if reason.is_error() => {
                Err(failed("a message is refused", reason))
            }
            Packet::PubAck(_) => {
                self.unacknowledged = self.unacknowledged.saturating_sub(1);
                Ok(())
            }
            Packet::PingResp => Ok(()),
            Packet::Disconnect(end) => Err(failed("the server ended the session", end.reason)),
            other => Err(failed("unexpected packet", other.packet_type())),
        }
    }

    async fn next(&mut self) -> Result<Packet> {
        loop {
            let packet = decode(&mut self.input, Some(Version::V5), MAX_PACKET);
            if let Some(packet) = packet.map_err(|error| failed("the server's bytes are not MQTT", error))? {
                return Ok(packet);
            }
            let read = timeout(ANSWER_TIMEOUT, self.stream.read_buf(&mut self.input)).await;
            match read.map_err(|_| MqttError("no answer from the server in 30 s".to_owned()))? {
                Ok(0) => return Err(MqttError("the server closed the connection".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(failed("connection lost", error)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
