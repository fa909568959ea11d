//! What can go wrong in the store, and what sort of failure that is.

use drover_db::DbError;
use drover_model::Kind;

/// A failure of the store. A file that can't be read is none: it is named in the answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The manifest or the latest values could not be read or written.
    #[error(transparent)]
    Db(#[from] DbError),
    /// The folder of the files, or a new file, could not be read or written.
    #[error("point file {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A new file could not be encoded.
    #[error("point file {path}: {source}")]
    Encode {
        /// Which.
        path: String,
        /// Why.
        source: parquet::errors::ParquetError,
    },
    /// A row of the database is not what this program writes.
    #[error("{table} has a row that is damaged: {detail}")]
    Damaged {
        /// Where.
        table: &'static str,
        /// What.
        detail: String,
    },
    /// The interval of an aggregation is shorter than a microsecond or longer than a thousand years.
    #[error("interval must be at least 1 microsecond and at most 1000 years")]
    Interval,
    /// The process is stopping, or a worker thread failed.
    #[error("the store is stopping")]
    Stopped,
}

impl StoreError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Db(error) => error.kind(),
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => Kind::Exhausted,
            Self::File { .. } | Self::Stopped => Kind::Unavailable,
            Self::Encode { .. } | Self::Damaged { .. } => Kind::Internal,
            Self::Interval => Kind::Invalid,
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}
