//! MQTT over TLS, as a client that trusts one CA file.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use bytes::BytesMut;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::wire::{self, Answer};

/// Connects with one trusted CA.
pub struct Connector {
    connector: tokio_rustls::TlsConnector,
}

impl Connector {
    /// Trusts the certificates of a PEM file.
    ///
    /// # Errors
    /// When the file is no PEM.
    pub fn trusting(file: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(file)? {
            roots.add(certificate?)?;
        }
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Ok(Self { connector: Arc::new(config).into() })
    }

    /// Opens a connection and logs in.
    ///
    /// # Errors
    /// When the handshake fails or the server refuses.
    pub async fn log_in(
        &self,
        address: &str,
        client: &str,
        device: &str,
        token: &str,
    ) -> anyhow::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut stream = self
            .connector
            .connect(ServerName::try_from("localhost")?, stream)
            .await
            .context("TLS handshake")?;
        let mut output = BytesMut::new();
        wire::connect(&mut output, client, Some((device, token)), 3_600);
        stream.write_all(&output).await?;
        stream.flush().await?;
        let mut input = BytesMut::new();
        loop {
            match wire::take(&mut input) {
                Some(Answer::Connected(0)) => return Ok(stream),
                Some(answer) => bail!("{client} was not let in: {answer:?}"),
                None if stream.read_buf(&mut input).await? == 0 => {
                    bail!("the server closed before its CONNACK")
                }
                None => {}
            }
        }
    }
}
