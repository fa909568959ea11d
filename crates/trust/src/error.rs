//! Why a certificate or key was not made or not understood.

/// A failure of this crate. The texts name what was wrong, never key material.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The text is not PEM of the expected kind.
    #[error("{what}: {detail}")]
    Unreadable {
        /// What was read: "certificate" or "private key".
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// The private key belongs to another certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// Not a DNS name and not an IP address.
    #[error("{0:?} is neither a host name nor an IP address")]
    InvalidName(String),
    /// Making a certificate failed.
    #[error("issuing a certificate failed: {0}")]
    Issue(#[from] rcgen::Error),
    /// rustls refused a setting or key.
    #[error("tls: {0}")]
    Tls(#[from] rustls::Error),
}
