//! What can go wrong while answering.

use drover_model::{FeedGroupId, InvalidId, Kind};
use drover_timeseries::{QueryError, StoreError};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Id(#[from] InvalidId),
    #[error("{field} {reason}")]
    Field { field: &'static str, reason: &'static str },
    #[error("cursor is not one that this server gave out; leave it out to begin now")]
    Cursor,
    #[error("cursor is one of an installation with another number of shards; leave it out to begin now")]
    ForeignCursor,
    #[error("there is no group {0}; a call of Subscribe makes it")]
    NoGroup(FeedGroupId),
    #[error("the tenant has {0} groups; delete one, or raise stream.feed_groups_per_tenant")]
    TooManyGroups(u32),
    #[error("too many subscriptions are open; close one, or raise {setting}")]
    TooManySubscriptions { setting: &'static str },
    #[error(transparent)]
    Page(#[from] drover_rpc::PageError),
    #[error("the log of the time before this start is still being read; ask again in a moment")]
    Starting,
    #[error("the erasure is not applied yet; it may be in the log, and is applied then; ask again later")]
    EraseLate,
    #[error("the server is stopping")]
    Stopping,
    #[error(transparent)]
    Db(#[from] drover_db::DbError),
    #[error(transparent)]
    Points(#[from] StoreError),
    #[error(transparent)]
    Query(#[from] QueryError),
}

impl Error {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Id(_) | Self::Field { .. } | Self::Page(_) | Self::Cursor | Self::ForeignCursor => {
                Kind::Invalid
            }
            Self::NoGroup(_) => Kind::NotFound,
            Self::TooManyGroups(_) | Self::TooManySubscriptions { .. } => Kind::Exhausted,
            Self::Starting | Self::EraseLate | Self::Stopping => Kind::Unavailable,
            Self::Db(error) => error.kind(),
            Self::Points(error) => error.kind(),
            Self::Query(error) => error.kind(),
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
        match error {
            Error::Db(_)
            | Error::Points(StoreError::Db(_) | StoreError::File { .. })
            | Error::Query(QueryError::Store(StoreError::Db(_) | StoreError::File { .. })) => {
                drover_rpc::storage_status(error.kind(), error)
            }
            _ => drover_rpc::status(error.kind(), error),
        }
    }
}
