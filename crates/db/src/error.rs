//! What can go wrong with the database, and what sort of failure that is.

use drover_model::Kind;

/// A failure of the database.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A statement or connection failed.
    #[error("database: {0}")]
    Query(#[from] sqlx::Error),
    /// The tables could not be brought up to date.
    #[error("migration of {service}: {source}")]
    Migrate {
        /// Whose tables.
        service: &'static str,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
}

// Primary result codes of SQLite (sqlite.org/rescode.html); the low byte of an extended code.
const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_READONLY: u32 = 8;
const SQLITE_IOERR: u32 = 10;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;

impl DbError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Query(error) => kind_of(error),
            Self::Migrate { source: sqlx::migrate::MigrateError::Execute(error), .. } => kind_of(error),
            Self::Migrate { .. } => Kind::Internal,
        }
    }
}

fn kind_of(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => Kind::Exists,
        sqlx::Error::Database(error) if error.is_foreign_key_violation() => Kind::Conflict,
        sqlx::Error::Database(error) => {
            let code = error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0);
            match code & 0xff {
                SQLITE_BUSY | SQLITE_LOCKED | SQLITE_READONLY | SQLITE_IOERR | SQLITE_CANTOPEN => {
                    Kind::Unavailable
                }
                SQLITE_FULL => Kind::Exhausted,
                _ => Kind::Internal,
            }
        }
        sqlx::Error::RowNotFound => Kind::NotFound,
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_) => Kind::Unavailable,
        _ => Kind::Internal,
    }
}
