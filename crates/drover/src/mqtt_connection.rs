//! A connection that speaks MQTT 5 by packets, over TCP or TLS: what every MQTT client of this program has in common. It answers nothing
//! by itself and remembers no message.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use drover_mqtt_codec::{ConnAck, Connect, Packet, PublishRef, Version, decode, encode, encode_publish};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// The largest packet that the server may send.
pub const MAX_PACKET: u32 = 64 * 1024;
/// How long the server may take for an answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

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

pub type Result<T> = std::result::Result<T, MqttError>;

pub fn failed(what: &str, error: impl std::fmt::Display) -> MqttError {
    MqttError(format!("{what}: {error}"))
}

trait Transport: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Transport for T {}

/// Where the server is, and whom its certificate must be signed by.
#[derive(Clone)]
pub struct Server {
    address: String,
    tls: Option<(ServerName<'static>, Arc<ClientConfig>)>,
}

impl Server {
    /// A server at `address` (`host:port`) with a certificate for `name` by the authority in the PEM file.
    pub fn tls(address: String, name: &str, authority: &Path) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(authority)
            .map_err(|error| failed(&format!("can't read {}", authority.display()), error))?;
        roots.add_parsable_certificates(certificates.filter_map(std::result::Result::ok));
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from(name.to_owned())
            .map_err(|error| failed(&format!("`{name}` is no host name"), error))?;
        Ok(Self { address, tls: Some((name, Arc::new(config))) })
    }

    /// A server without TLS.
    pub fn plain(address: String) -> Self {
        Self { address, tls: None }
    }

    async fn open(&self) -> Result<Box<dyn Transport>> {
        let open = |error| failed(&format!("can't connect to {}", self.address), error);
        let socket = TcpStream::connect(&self.address).await.map_err(open)?;
        socket.set_nodelay(true).map_err(open)?;
        let Some((name, config)) = &self.tls else { return Ok(Box::new(socket)) };
        let connector = TlsConnector::from(config.clone());
        Ok(Box::new(connector.connect(name.clone(), socket).await.map_err(open)?))
    }
}

/// An open connection.
pub struct Connection {
    stream: Box<dyn Transport>,
    input: BytesMut,
    output: BytesMut,
}

impl Connection {
    /// Connects, and gives the server's answer, which may be a refusal.
    pub async fn open(server: &Server, connect: Connect) -> Result<(Self, ConnAck)> {
        let stream = timeout(ANSWER_TIMEOUT, server.open())
            .await
            .map_err(|error| failed(&server.address, error))??;
        let mut connection = Self { stream, input: BytesMut::new(), output: BytesMut::new() };
        connection.put(&Packet::Connect(Box::new(connect)))?;
        connection.flush().await?;
        match connection.answer().await? {
            Packet::ConnAck(answer) => Ok((connection, answer)),
            other => Err(failed("expected CONNACK, got", other.packet_type())),
        }
    }

    /// Adds a packet to what the next flush sends.
    pub fn put(&mut self, packet: &Packet) -> Result<()> {
        encode(packet, Version::V5, &mut self.output).map_err(|error| failed("can't encode", error))
    }

    /// Adds a message to what the next flush sends.
    pub fn put_publish(&mut self, publish: &PublishRef<'_>) -> Result<()> {
        encode_publish(publish, Version::V5, &mut self.output).map_err(|error| failed("can't encode", error))
    }

    /// Bytes that wait for a flush.
    pub fn unsent(&self) -> usize {
        self.output.len()
    }

    /// Sends what was added. A server that takes nothing for long is an error.
    pub async fn flush(&mut self) -> Result<()> {
        let lost = |error: std::io::Error| failed("connection lost", error);
        let sending = async {
            self.stream.write_all_buf(&mut self.output).await?;
            self.stream.flush().await
        };
        let sent = timeout(ANSWER_TIMEOUT, sending).await;
        sent.map_err(|_| MqttError("the server takes nothing for 30 s".to_owned()))?.map_err(lost)
    }

    /// The next packet, however long it takes. Cancel-safe: bytes that came are kept.
    pub async fn next(&mut self) -> Result<Packet> {
        loop {
            if let Some(packet) = self.received()? {
                return Ok(packet);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Err(MqttError("the server closed the connection".to_owned())),
                Ok(_) => {}
                Err(error) => return Err(failed("connection lost", error)),
            }
        }
    }

    /// The next packet, within the time that an answer may take.
    pub async fn answer(&mut self) -> Result<Packet> {
        let packet = timeout(ANSWER_TIMEOUT, self.next()).await;
        packet.map_err(|_| MqttError("no answer from the server in 30 s".to_owned()))?
    }

    /// A packet that has come already.
    pub fn received(&mut self) -> Result<Option<Packet>> {
        decode(&mut self.input, Some(Version::V5), MAX_PACKET)
            .map_err(|error| failed("the server's bytes are not MQTT", error))
    }

    /// Sends what was added without its last bytes, and closes without a goodbye, as a device does whose network goes away.
    pub async fn break_off(mut self, without: usize) {
        self.output.truncate(self.output.len().saturating_sub(without));
        // It breaks one way or the other.
        _ = self.flush().await;
    }

    /// Sends a last packet and closes.
    pub async fn close(mut self, last: &Packet) -> Result<()> {
        self.put(last)?;
        self.flush().await?;
        timeout(ANSWER_TIMEOUT, self.stream.shutdown())
            .await
            .map_err(|error| failed("can't close", error))?
            .map_err(|error| failed("can't close", error))
    }
}
