//! SQLite: a pool of one connection that writes, and a small pool of connections that read.

use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::time::Duration;

use sqlx::SqliteConnection;
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};

use crate::DbError;

/// Readers at a time. Each is a thread and a page cache.
const READERS: u32 = 4;
/// Page cache of a reader.
const READER_CACHE_KIB: u32 = 512;
/// Page cache of the writer.
const WRITER_CACHE_KIB: u32 = 2_048;
/// Longest wait for a connection of either pool.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest wait for a lock that another process (a backup) holds.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// A reader that has nothing to do for so long is closed.
const READER_IDLE: Duration = Duration::from_secs(60);
/// Compiled statements that a connection keeps.
const STATEMENTS: usize = 64;
/// Rows that a connection's thread runs ahead of its query; few rows mean a change of threads for each few.
const ROWS_AHEAD: usize = 512;
/// The write-ahead log shrinks back to this size after a checkpoint.
const WAL_BYTES: u32 = 16 << 20;

/// Begins a transaction with the write lock taken.
const BEGIN: &str = "BEGIN IMMEDIATE";

/// The two pools.
#[derive(Clone, Debug)]
pub(crate) struct Pools {
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Pools {
    pub(crate) async fn open(path: &Path) -> Result<Self, DbError> {
        let common = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .statement_cache_capacity(STATEMENTS)
            .row_buffer_size(ROWS_AHEAD)
            .pragma("temp_store", "memory");
        let writing = common
            .clone()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("journal_size_limit", WAL_BYTES.to_string())
            .pragma("cache_size", format!("-{WRITER_CACHE_KIB}"));
        let writer = SqlitePoolOptions::new()
            .max_connections(1)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(writing)
            .await
            .map_err(DbError::of_opening)?;
        let reading = common.read_only(true).pragma("cache_size", format!("-{READER_CACHE_KIB}"));
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .idle_timeout(READER_IDLE)
            .max_lifetime(None)
            .test_before_acquire(false)
            .connect_lazy_with(reading);
        Ok(Self { writer, readers })
    }

    pub(crate) async fn migrate(&self, service: &'static str, set: &Migrator) -> Result<(), DbError> {
        let mut own = Migrator::with_migrations(set.iter().cloned().collect());
        own.dangerous_set_table_name(format!("_migrations_{service}"));
        let mut connection = self.writer.acquire().await?;
        own.run_direct(None, &mut *connection, false)
            .await
            .map_err(|source| DbError::Migrate { service, source })
    }

    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    pub(crate) async fn begin(&self) -> Result<Transaction, DbError> {
        match self.writer.begin_with(BEGIN).await {
            Ok(transaction) => Ok(Transaction(transaction)),
            // A full disk makes SQLite roll back by itself (sqlite.org/lang_transaction.html, section 3), which the
            // connection's own count of transactions does not follow: such a connection begins none again.
            Err(sqlx::Error::InvalidSavePointStatement) => {
                self.writer.acquire().await?.close().await?;
                Ok(Transaction(self.writer.begin_with(BEGIN).await?))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) async fn copy_to(&self, path: &Path) -> Result<(), DbError> {
        let mut reader = self.readers.acquire().await?;
        sqlx::query("VACUUM INTO $1").bind(path.to_string_lossy()).execute(&mut *reader).await?;
        Ok(())
    }

    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }
}

/// A write transaction; use it as a connection. Dropped without [`Transaction::commit`] it is rolled back.
#[derive(Debug)]
pub struct Transaction(sqlx::Transaction<'static, sqlx::Sqlite>);

impl Transaction {
    /// Makes the changes durable and visible.
    ///
    /// # Errors
    /// When the disk refuses; then nothing is changed.
    pub async fn commit(self) -> Result<(), DbError> {
        Ok(self.0.commit().await?)
    }

    /// Undoes everything, and waits for it.
    ///
    /// # Errors
    /// When the connection is gone; the changes are undone then too.
    pub async fn rollback(self) -> Result<(), DbError> {
        Ok(self.0.rollback().await?)
    }
}

impl Deref for Transaction {
    type Target = SqliteConnection;
    fn deref(&self) -> &SqliteConnection {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut SqliteConnection {
        &mut self.0
    }
}
