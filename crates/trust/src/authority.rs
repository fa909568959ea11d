//! A certificate authority: it makes itself once and then issues certificates (P-256, X.509 v3).

use std::fmt;
use std::time::Duration;

use drover_model::Timestamp;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use time::OffsetDateTime;

use crate::certificate::unreadable;
use crate::{ServerCertificate, SubjectName, TrustError};

/// How long an authority's own certificate is valid.
const AUTHORITY_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// How far certificates reach into the past, for devices whose clock is slow.
const BACKDATE: Duration = Duration::from_secs(3_600);

/// Issues certificates with its key.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate_pem: String,
}

impl Authority {
    /// Makes a new authority with a self-signed certificate of 10 years.
    ///
    /// # Errors
    /// [`TrustError::Issue`] when the cryptographic library fails.
    pub fn generate(name: &str, now: Timestamp) -> Result<Self, TrustError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.not_before = calendar(now.minus(BACKDATE));
        params.not_after = calendar(now.plus(AUTHORITY_LIFETIME));
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(params, key), certificate_pem })
    }

    /// Reads an authority that was kept.
    ///
    /// # Errors
    /// [`TrustError::Unreadable`] names the part that is not PEM; [`TrustError::Mismatch`] when key and certificate are strangers.
    pub fn from_pem(certificate_pem: String, key_pem: &str) -> Result<Self, TrustError> {
        ServerCertificate::from_pem(certificate_pem.clone(), key_pem.to_owned())?;
        let key = KeyPair::from_pem(key_pem).map_err(|error| unreadable("private key", error))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, key)
            .map_err(|error| unreadable("certificate", error))?;
        Ok(Self { issuer, certificate_pem })
    }

    /// The authority's certificate, for everyone.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The authority's private key, for nobody else.
    pub fn key_pem(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// Issues a server's certificate with a fresh key. The chain ends with the authority's own certificate.
    ///
    /// # Errors
    /// [`TrustError::InvalidName`], or [`TrustError::Issue`] when the cryptographic library fails.
    pub fn issue_server(
        &self,
        names: &[SubjectName],
        now: Timestamp,
        lifetime: Duration,
    ) -> Result<ServerCertificate, TrustError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = common_name("Drover server");
        params.subject_alt_names = names.iter().map(alternative_name).collect::<Result<_, _>>()?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        params.not_before = calendar(now.minus(BACKDATE));
        params.not_after = calendar(now.plus(lifetime));
        let leaf = params.signed_by(&key, &self.issuer)?.pem();
        ServerCertificate::from_pem(format!("{leaf}{}", self.certificate_pem), key.serialize_pem())
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

fn alternative_name(name: &SubjectName) -> Result<SanType, TrustError> {
    Ok(match name {
        SubjectName::Dns(name) => SanType::DnsName(
            Ia5String::try_from(name.as_str()).map_err(|_| TrustError::InvalidName(name.clone()))?,
        ),
        SubjectName::Ip(address) => SanType::IpAddress(*address),
    })
}

fn common_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

/// A time outside the calendar becomes 1970: such a certificate is not valid, which is the truth about such a clock.
fn calendar(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.as_millis().div_euclid(1_000))
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests;
