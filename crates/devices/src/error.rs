//! What can go wrong, and what sort of failure it is.

use drover_db::DbError;
use drover_model::{DeviceId, InvalidId, Kind, Party};
use tonic::Status;

use crate::labels::{InvalidLabel, MAX_LABELS};
use drover_rpc::PageError;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    #[error(transparent)]
    InvalidLabel(#[from] InvalidLabel),
    #[error(transparent)]
    Page(#[from] PageError),
    #[error("id begins with {}, which is how applications log in; use another", Party::APPLICATION_PREFIX)]
    ApplicationName,
    #[error("device {0} exists already")]
    Exists(DeviceId),
    #[error("there is no device {0}")]
    NotFound(DeviceId),
    #[error("device {device} has version {found}, not {expected}; read it again, then repeat the change")]
    Changed { device: DeviceId, expected: u64, found: u64 },
    #[error("device {0} would have more than {MAX_LABELS} labels; remove some first")]
    TooManyLabels(DeviceId),
    #[error("ids: are more than 1000; ask for fewer at a time")]
    TooManyIds,
    #[error("the device's credentials could not be removed: {}", .0.message())]
    Provisioning(Status),
    #[error("the device is deleted, but what it measured is not erased yet: {}; delete it again, or it is done later", .0.message())]
    Erasing(Status),
    #[error("device {device} has the impossible version {version}")]
    ImpossibleVersion { device: DeviceId, version: i64 },
    #[error(transparent)]
    Db(#[from] DbError),
}

impl Error {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::InvalidId(_)
            | Self::InvalidLabel(_)
            | Self::Page(_)
            | Self::ApplicationName
            | Self::TooManyIds => Kind::Invalid,
            Self::Exists(_) => Kind::Exists,
            Self::NotFound(_) => Kind::NotFound,
            Self::Changed { .. } => Kind::Conflict,
            Self::TooManyLabels(_) => Kind::Exhausted,
            Self::Provisioning(status) | Self::Erasing(status) => drover_rpc::kind_of(status),
            Self::ImpossibleVersion { .. } => Kind::Internal,
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
