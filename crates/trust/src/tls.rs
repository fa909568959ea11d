//! TLS settings of servers and clients: TLS 1.2 and 1.3 by aws-lc-rs, named here and nowhere taken from a process-wide default.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::TrustError;
use crate::certificate::unreadable;

/// Tickets sent after a TLS 1.3 handshake: a device reconnects once at a time.
const TICKETS: usize = 1;

/// Settings of a server that shows the resolver's certificate and asks none of the client.
///
/// Sessions resume by tickets that the client keeps, so that the server holds nothing for devices that are gone. Once clients
/// show certificates this must be looked at again: a resumed session is not verified again.
///
/// # Errors
/// [`TrustError::Tls`] when no ticket key can be made.
pub fn server_config(
    resolver: Arc<dyn ResolvesServerCert>,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TrustError> {
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new()?;
    config.send_tls13_tickets = TICKETS;
    Ok(Arc::new(config))
}

/// Settings of a client that trusts the given authorities and no others.
///
/// # Errors
/// [`TrustError::Unreadable`] when the text holds no certificate.
pub fn client_config(authorities_pem: &str) -> Result<Arc<ClientConfig>, TrustError> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(authorities_pem.as_bytes()) {
        roots.add(certificate.map_err(|error| unreadable("certificate", error))?)?;
    }
    if roots.is_empty() {
        return Err(unreadable("certificate", "the file holds no PEM certificate"));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// A certificate that can be replaced while listeners use it; new handshakes show the new one.
pub struct Renewable(ArcSwap<CertifiedKey>);

impl Renewable {
    /// Starts with a certificate.
    pub fn new(certificate: CertifiedKey) -> Self {
        Self(ArcSwap::from_pointee(certificate))
    }

    /// Replaces the certificate.
    pub fn set(&self, certificate: CertifiedKey) {
        self.0.store(Arc::new(certificate));
    }

    /// The certificate that the next handshake shows.
    pub fn current(&self) -> Arc<CertifiedKey> {
        self.0.load_full()
    }
}

impl ResolvesServerCert for Renewable {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current())
    }
}

impl fmt::Debug for Renewable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewable")
    }
}
