//! A server's certificate with its key: what it says, and the form in which rustls uses it.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use drover_model::Timestamp;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

use crate::TrustError;

/// A name that a server answers to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SubjectName {
    /// A host name, in lower case.
    Dns(String),
    /// An address.
    Ip(IpAddr),
}

impl FromStr for SubjectName {
    type Err = TrustError;

    fn from_str(text: &str) -> Result<Self, TrustError> {
        if let Ok(address) = text.parse() {
            return Ok(Self::Ip(address));
        }
        // A wildcard's first label is `*`, which is not a host name by itself.
        let host = text.strip_prefix("*.").unwrap_or(text);
        match ServerName::try_from(host) {
            Ok(ServerName::DnsName(_)) => Ok(Self::Dns(text.to_ascii_lowercase())),
            _ => Err(TrustError::InvalidName(text.chars().take(100).collect())),
        }
    }
}

impl fmt::Display for SubjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => f.write_str(name),
            Self::Ip(address) => address.fmt(f),
        }
    }
}

/// A certificate chain, its private key, and what the first certificate says.
#[derive(Clone)]
pub struct ServerCertificate {
    /// The server's certificate, then those of its issuers, as PEM.
    pub chain_pem: String,
    /// PKCS #8 as PEM.
    pub key_pem: String,
    /// Start of validity.
    pub not_before: Timestamp,
    /// End of validity.
    pub not_after: Timestamp,
    /// Subject alternative names, sorted.
    pub names: Vec<SubjectName>,
}

impl ServerCertificate {
    /// Reads a chain and its key.
    ///
    /// # Errors
    /// [`TrustError::Unreadable`] names the part that is not PEM; [`TrustError::Mismatch`] when key and certificate are strangers.
    pub fn from_pem(chain_pem: String, key_pem: String) -> Result<Self, TrustError> {
        let first = CertificateDer::from_pem_slice(chain_pem.as_bytes())
            .map_err(|error| unreadable("certificate", error))?;
        let (_, parsed) =
            X509Certificate::from_der(&first).map_err(|error| unreadable("certificate", error))?;
        let validity = parsed.validity();
        let not_before = seconds(validity.not_before.timestamp());
        let not_after = seconds(validity.not_after.timestamp());
        let names = names_of(&parsed);
        let certificate = Self { chain_pem, key_pem, not_before, not_after, names };
        certificate.certified_key()?;
        Ok(certificate)
    }

    /// The form that [`crate::Renewable::set`] takes.
    ///
    /// # Errors
    /// As [`ServerCertificate::from_pem`].
    pub fn certified_key(&self) -> Result<CertifiedKey, TrustError> {
        let chain = CertificateDer::pem_slice_iter(self.chain_pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| unreadable("certificate", error))?;
        let key = PrivateKeyDer::from_pem_slice(self.key_pem.as_bytes())
            .map_err(|error| unreadable("private key", error))?;
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        CertifiedKey::from_der(chain, key, &provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TrustError::Mismatch,
            other => TrustError::Tls(other),
        })
    }

    /// Whether less than a third of its life is left.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.not_after.since(now) < self.not_after.since(self.not_before) / 3
    }
}

impl fmt::Debug for ServerCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerCertificate({:?}, until {})", self.names, self.not_after)
    }
}

fn names_of(certificate: &X509Certificate<'_>) -> Vec<SubjectName> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else {
        return Vec::new();
    };
    let mut names: Vec<_> = extension.value.general_names.iter().filter_map(name_of).collect();
    names.sort();
    names
}

fn name_of(name: &GeneralName<'_>) -> Option<SubjectName> {
    match name {
        GeneralName::DNSName(name) => Some(SubjectName::Dns(name.to_ascii_lowercase())),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|octets| SubjectName::Ip(IpAddr::from(octets))),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|octets| SubjectName::Ip(IpAddr::from(octets))),
            _ => None,
        },
        _ => None,
    }
}

fn seconds(since_epoch: i64) -> Timestamp {
    Timestamp::from_millis(since_epoch.saturating_mul(1_000))
}

pub(crate) fn unreadable(what: &'static str, error: impl fmt::Display) -> TrustError {
    TrustError::Unreadable { what, detail: error.to_string() }
}
