//! The log: append, learn when it is durable, read in order, truncate. A handle over whatever backbone the URL names.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::watch;

use crate::embedded::EmbeddedLog;
use crate::health::LogHealth;
use crate::partition::{Offset, Shard, Stream};
use crate::queue::Queue;
use crate::reader::{ReadLog, Reader};
use crate::snapshot::{Kept, LogFile};
use crate::stats::LogStats;

/// How a log is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogOptions {
    /// Shards of each stream, chosen once at installation; 1 to 256.
    pub shards: u16,
    /// Length of a segment file, in bytes.
    pub segment_bytes: u64,
    /// Bound of all records kept, in bytes; at 90 % of it records are refused.
    pub max_bytes: u64,
    /// Bound of the newest frames kept in memory for readers, per stream and shard, in bytes.
    pub recent_bytes: usize,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { shards: 1, segment_bytes: 64 << 20, max_bytes: 8 << 30, recent_bytes: 32 << 20 }
    }
}

/// What goes wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The URL names no backbone that this version has.
    #[error("unknown backbone {url:?}: this version has embedded:")]
    UnknownBackbone {
        /// The URL, as it was given.
        url: String,
    },
    /// An option is out of its range.
    #[error("{option} must be {expected}")]
    Option {
        /// Its name.
        option: &'static str,
        /// Its range.
        expected: &'static str,
    },
    /// No such shard.
    #[error("no shard {shard}: the log has {shards}")]
    NoShard {
        /// The one asked for.
        shard: Shard,
        /// How many there are.
        shards: u16,
    },
    /// A reader was to begin behind the end: frames that were durable once are missing.
    #[error(
        "{path} ends at {end}, before the offset {from} that was read already; was it replaced or restored?"
    )]
    Beyond {
        /// Directory of the shard.
        path: PathBuf,
        /// Where the reader was to begin.
        from: Offset,
        /// Where the log ends.
        end: Offset,
    },
    /// The log was installed with another number of shards.
    #[error("{path} says {installed} shards, but {shards} are configured; their number is chosen once")]
    Shards {
        /// File that tells the number.
        path: PathBuf,
        /// The number at installation.
        installed: u16,
        /// The number configured.
        shards: u16,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// File or directory.
        path: PathBuf,
        /// Its answer.
        source: io::Error,
    },
    /// The log was closed.
    #[error("the log is stopped")]
    Stopped,
}

impl LogError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { path: path.to_owned(), source }
    }
}

/// What a backbone offers beneath [`Log`].
pub(crate) trait LogBackend: Send + Sync {
    fn shards(&self) -> u16;
    /// Where frames of a stream are put, by shard.
    fn queues(&self, stream: Stream) -> Vec<Arc<Queue>>;
    /// Starts whatever empties the queue; called once, by who found it absent.
    fn start_writer(&self, stream: Stream, shard: Shard) -> Result<(), LogError>;
    fn reader(&self, stream: Stream, shard: Shard, from: Offset) -> Result<Box<dyn ReadLog>, LogError>;
    fn end(&self, stream: Stream, shard: Shard) -> Offset;
    fn truncate(&self, stream: Stream, shard: Shard, below: Offset);
    fn hold(&self, stream: Stream, shard: Shard, from: Offset);
    fn keep(&self) -> Kept;
    fn files(&self) -> Vec<LogFile>;
    fn appended(&self, tenant: &str) -> u64;
    fn is_full(&self) -> bool;
    fn health(&self) -> LogHealth;
    fn watch_health(&self) -> watch::Receiver<LogHealth>;
    fn stats(&self) -> LogStats;
    fn close(&self);
}

/// A handle to the log. The log closes, after writing what was appended, when the last handle and producer is dropped.
#[derive(Clone)]
pub struct Log(Arc<dyn LogBackend>);

impl Log {
    /// Opens the log that a URL names: `embedded:/path/of/directory`. Reads the end of each shard, so it may take some time.
    ///
    /// # Errors
    /// [`LogError`] when the URL, an option or the directory is not usable.
    pub fn open(url: &str, options: LogOptions) -> Result<Self, LogError> {
        match url.strip_prefix("embedded:") {
            Some(path) if !path.is_empty() => {
                Ok(Self(Arc::new(EmbeddedLog::open(Path::new(path), options)?)))
            }
            _ => Err(LogError::UnknownBackbone { url: url.to_owned() }),
        }
    }

    #[cfg(test)]
    pub(crate) fn of(backend: Arc<dyn LogBackend>) -> Self {
        Self(backend)
    }

    pub(crate) fn backend(&self) -> &dyn LogBackend {
        &*self.0
    }

    /// Shards of each stream.
    pub fn shards(&self) -> u16 {
        self.0.shards()
    }

    /// Reads from the first frame that is there at or after `from`. Frames below a truncation may still come, or not.
    ///
    /// # Errors
    /// [`LogError`] when there is no such shard, or when `from` is beyond the end.
    pub fn reader(&self, stream: Stream, shard: Shard, from: Offset) -> Result<Reader, LogError> {
        self.0.reader(stream, shard, from).map(Reader::new)
    }

    /// One past the last durable frame; 0 for a shard that is not there.
    pub fn end(&self, stream: Stream, shard: Shard) -> Offset {
        self.0.end(stream, shard)
    }

    /// Allows everything below an offset to go away. It does so later, and in whole files.
    pub fn truncate(&self, stream: Stream, shard: Shard, below: Offset) {
        self.0.truncate(stream, shard, below);
    }

    /// Keeps everything from an offset on, whatever [`Self::truncate`] allows, until another offset is held; for the one reader beside
    /// the owner of a stream.
    pub fn hold(&self, stream: Stream, shard: Shard, from: Offset) {
        self.0.hold(stream, shard, from);
    }

    /// Keeps everything until the answer is dropped, whatever [`Self::truncate`] allows meanwhile.
    pub fn keep(&self) -> Kept {
        self.0.keep()
    }

    /// The files as they are now: everything that is durable, of every stream and shard. A log opened on copies of them is this one.
    pub fn files(&self) -> Vec<LogFile> {
        self.0.files()
    }

    /// Telemetry and event records of a tenant that became durable since the log was opened. Counted before any ticket resolves and
    /// before readers see the records.
    pub fn appended(&self, tenant: &str) -> u64 {
        self.0.appended(tenant)
    }

    /// Whether the log takes records.
    pub fn health(&self) -> LogHealth {
        self.0.health()
    }

    /// As [`Self::health`], with notice of every change.
    pub fn watch_health(&self) -> watch::Receiver<LogHealth> {
        self.0.watch_health()
    }

    /// Figures since the log was opened.
    pub fn stats(&self) -> LogStats {
        self.0.stats()
    }

    /// Writes what was appended and stops; later appends are refused, tickets that can't be served resolve with an error. Blocks.
    pub fn close(&self) {
        self.0.close();
    }
}
