//! The relational database of an installation: one handle, [`Db`], with one writer and a few readers.
//! SQLite today; the queries keep to what PostgreSQL understands too. No SQL of any service lives here.

mod error;
mod migrations;
mod sqlite;

use std::path::Path;

pub use error::DbError;
pub use migrations::migrations;
pub use sqlite::Transaction;

/// A handle to the database; cheap to clone.
#[derive(Clone, Debug)]
pub struct Db(Backend);

/// Which database stands behind a handle.
#[derive(Clone, Debug)]
enum Backend {
    Sqlite(sqlite::Pools),
}

impl Db {
    /// Opens the SQLite file at `path`, and creates it if there is none. Its directory must exist.
    ///
    /// # Errors
    /// When the file can't be opened or is not a database.
    pub async fn open(path: &Path) -> Result<Self, DbError> {
        Ok(Self(Backend::Sqlite(sqlite::Pools::open(path).await?)))
    }

    /// Brings the tables of the service `name` up to date. Each service has a set of its own, with its own record of
    /// what ran (`_migrations_<name>`); `name` is a lower-case word.
    ///
    /// # Errors
    /// When a migration fails, or one that ran differs from the one given.
    pub async fn migrate(&self, name: &'static str, set: &sqlx::migrate::Migrator) -> Result<(), DbError> {
        let Backend::Sqlite(pools) = &self.0;
        pools.migrate(name, set).await
    }

    /// The readers. They see what was committed before their query began, and can't write.
    pub fn read(&self) -> &sqlx::SqlitePool {
        let Backend::Sqlite(pools) = &self.0;
        pools.readers()
    }

    /// Begins the one write transaction; others wait in line, [`DbError`] of kind `Unavailable` after ten seconds.
    /// What is committed survives loss of power. Dropped without commit it is rolled back.
    ///
    /// # Errors
    /// When the line is too long or the database can't be locked.
    pub async fn begin(&self) -> Result<Transaction, DbError> {
        let Backend::Sqlite(pools) = &self.0;
        pools.begin().await
    }

    /// Writes a copy of the whole database, as of the moment at which this begins, to a new file. Writers go on meanwhile.
    ///
    /// # Errors
    /// When the file is there already, the disk is full, or a page of the database can't be read.
    pub async fn copy_to(&self, path: &Path) -> Result<(), DbError> {
        let Backend::Sqlite(pools) = &self.0;
        pools.copy_to(path).await
    }

    /// Waits for what is under way and closes the file. Later calls fail with kind `Unavailable`.
    pub async fn close(&self) {
        let Backend::Sqlite(pools) = &self.0;
        pools.close().await;
    }
}

#[cfg(test)]
mod tests;
