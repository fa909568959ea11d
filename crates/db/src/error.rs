//! What can go wrong with the database, and what sort of failure that is.

use drover_model::Kind;

/// A failure of the database.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A statement or connection failed.
    #[error("database: {0}")]
    Query(#[from] sqlx::Error),
    /// The file can't be read as a database.
    #[error(
        "no database, or a damaged one ({detail}): restore a backup with `drover restore`, or move the whole data directory away to \
         begin anew"
    )]
    Damaged {
        /// What the engine says.
        detail: String,
    },
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
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_CANTOPEN: u32 = 14;
const SQLITE_NOTADB: u32 = 26;

impl DbError {
    /// What sort of failure this is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Query(error) => kind_of(error),
            Self::Migrate { source: sqlx::migrate::MigrateError::Execute(error), .. } => kind_of(error),
            Self::Damaged { .. } | Self::Migrate { .. } => Kind::Internal,
        }
    }

    /// Why a file could not be opened.
    pub(crate) fn of_opening(error: sqlx::Error) -> Self {
        let damage = error
            .as_database_error()
            .filter(|error| matches!(code_of(*error) & 0xff, SQLITE_CORRUPT | SQLITE_NOTADB));
        match damage.map(|error| error.message().to_owned()) {
            Some(detail) => Self::Damaged { detail },
            None => error.into(),
        }
    }
}

fn code_of(error: &dyn sqlx::error::DatabaseError) -> u32 {
    error.code().and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn kind_of(error: &sqlx::Error) -> Kind {
    match error {
        sqlx::Error::Database(error) if error.is_unique_violation() => Kind::Exists,
        sqlx::Error::Database(error) if error.is_foreign_key_violation() => Kind::Conflict,
        sqlx::Error::Database(error) => match code_of(&**error) & 0xff {
            SQLITE_BUSY | SQLITE_LOCKED | SQLITE_READONLY | SQLITE_IOERR | SQLITE_CANTOPEN => {
                Kind::Unavailable
            }
            SQLITE_FULL => Kind::Exhausted,
            _ => Kind::Internal,
        },
        sqlx::Error::RowNotFound => Kind::NotFound,
        sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::Io(_) => Kind::Unavailable,
        _ => Kind::Internal,
    }
}
