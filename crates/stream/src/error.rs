//! What can go wrong while answering.

use drover_model::{InvalidId, Kind};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Id(#[from] InvalidId),
    #[error("{field}: {reason}")]
    Field { field: &'static str, reason: String },
    #[error(transparent)]
    Db(#[from] drover_db::DbError),
    #[error(transparent)]
    Points(#[from] drover_timeseries::StoreError),
}

impl Error {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Id(_) | Self::Field { .. } => Kind::Invalid,
            Self::Db(error) => error.kind(),
            Self::Points(error) => error.kind(),
        }
    }
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        drover_rpc::status(error.kind(), error)
    }
}
