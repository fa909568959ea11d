//! Secrets, certificates and TLS settings: bytes in, bytes out. No files, no sockets, no wall clock.
//! How a device's X.509 certificate is verified will live beside [`server_config`], its one caller.

mod authority;
mod certificate;
mod error;
mod tls;
mod token;

pub use authority::Authority;
pub use certificate::{ServerCertificate, SubjectName};
pub use error::TrustError;
pub use tls::{Renewable, client_config, server_config};
pub use token::{TokenHash, token_from};
