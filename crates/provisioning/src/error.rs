//! What can go wrong, and what sort of failure it is.

use drover_db::DbError;
use drover_model::{ApiKeyId, CredentialId, DeviceId, InvalidId, Kind, TenantId};
use tonic::Status;

use crate::api_keys::{MAX_API_KEYS, MAX_DESCRIPTION_BYTES, ScopeError};
use crate::credentials::MAX_CREDENTIALS;
use crate::tenants::MAX_NAME_BYTES;
use drover_rpc::PageError;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("name has {0} bytes; at most {MAX_NAME_BYTES} are allowed")]
    NameTooLong(usize),
    #[error("type is missing or not known; use CREDENTIAL_TYPE_TOKEN")]
    UnknownType,
    #[error("tenant {0} exists already")]
    TenantExists(TenantId),
    #[error("there is no tenant {0}")]
    NoTenant(TenantId),
    #[error("there is no device {0}")]
    NoDevice(DeviceId),
    #[error("device {device} has no credential {credential}")]
    NoCredential { device: DeviceId, credential: CredentialId },
    #[error("device {0} has {MAX_CREDENTIALS} credentials already; delete one first")]
    TooManyCredentials(DeviceId),
    #[error("description has {0} bytes; at most {MAX_DESCRIPTION_BYTES} are allowed")]
    DescriptionTooLong(usize),
    #[error("scopes: {0}")]
    Scopes(#[from] ScopeError),
    #[error("API key {0} exists already")]
    ApiKeyExists(ApiKeyId),
    #[error("there is no API key {0}")]
    NoApiKey(ApiKeyId),
    #[error("there is no API key with this secret")]
    UnknownSecret,
    #[error("tenant {0} has {MAX_API_KEYS} API keys already; delete one first")]
    TooManyApiKeys(TenantId),
    #[error("the registry refused: {}", .0.message())]
    Registry(Status),
    #[error("the removal was interrupted")]
    Interrupted,
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Error {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::InvalidId(_)
            | Self::Page(_)
            | Self::NameTooLong(_)
            | Self::UnknownType
            | Self::DescriptionTooLong(_)
            | Self::Scopes(_) => Kind::Invalid,
            Self::TenantExists(_) | Self::ApiKeyExists(_) => Kind::Exists,
            Self::NoTenant(_)
            | Self::NoDevice(_)
            | Self::NoCredential { .. }
            | Self::NoApiKey(_)
            | Self::UnknownSecret => Kind::NotFound,
            Self::TooManyCredentials(_) | Self::TooManyApiKeys(_) => Kind::Exhausted,
            Self::Registry(status) => drover_rpc::kind_of(status),
            Self::Interrupted => Kind::Internal,
            Self::Db(error) => error.kind(),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        match error {
            Error::Db(cause) => drover_rpc::storage_status(cause.kind(), cause),
            _ => drover_rpc::status(error.kind(), error),
        }
    }
}
