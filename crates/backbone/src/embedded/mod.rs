//! The log in files of this machine: one directory and one writer thread per stream and shard, and a group commit by fdatasync.

mod disk;
mod files;
mod reader;
mod recovery;
mod segment;
mod shard;
mod writer;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use tokio::sync::watch;

use self::disk::{Disk, RealDisk, sync_directory};
use self::reader::EmbeddedReader;
pub(crate) use self::segment::Segment;
use self::shard::{Common, ShardLog};
use self::writer::Writer;
use crate::health::{Health, LogHealth};
use crate::log::{LogBackend, LogError, LogOptions};
use crate::partition::{Offset, PARTITIONS, Shard, Stream};
use crate::queue::{Queue, Tenants};
use crate::reader::ReadLog;
use crate::snapshot::{Kept, LogFile};
use crate::stats::{Counters, LogStats};

/// File that tells how many shards the log was installed with.
const SHARDS_FILE: &str = "shards";
/// Smallest segment: room for some frames.
const MIN_SEGMENT_BYTES: u64 = 4 << 10;

/// The log in a directory.
pub(crate) struct EmbeddedLog {
    common: Arc<Common>,
    /// By stream, then shard.
    shards: Vec<Vec<Arc<ShardLog>>>,
    writers: Mutex<Vec<JoinHandle<()>>>,
}

impl EmbeddedLog {
    pub(crate) fn open(path: &Path, options: LogOptions) -> Result<Self, LogError> {
        Self::open_on(path, options, Arc::new(RealDisk))
    }

    pub(crate) fn open_on(path: &Path, options: LogOptions, disk: Arc<dyn Disk>) -> Result<Self, LogError> {
        check(&options)?;
        fs::create_dir_all(path).map_err(LogError::io(path))?;
        check_shards(path, options.shards)?;
        let count = options.shards;
        let common = Arc::new(Common {
            options,
            disk,
            health: Health::default(),
            counters: Counters::default(),
            tenants: Arc::new(Tenants::default()),
            kept: Arc::default(),
        });
        let open = |stream: Stream| {
            (0..count).map(Shard).map(|shard| open_shard(path, (stream, shard), &common)).collect()
        };
        let shards = Stream::ALL.into_iter().map(open).collect::<Result<_, _>>()?;
        common.check_size();
        Ok(Self { common, shards, writers: Mutex::default() })
    }

    fn shard(&self, stream: Stream, shard: Shard) -> Option<&Arc<ShardLog>> {
        self.shards.get(stream.index())?.get(usize::from(shard.0))
    }
}

fn check(options: &LogOptions) -> Result<(), LogError> {
    let range =
        |good, option, expected| if good { Ok(()) } else { Err(LogError::Option { option, expected }) };
    range((1..=PARTITIONS).contains(&options.shards), "shards", "1 to 256")?;
    range(options.segment_bytes >= MIN_SEGMENT_BYTES, "segment_bytes", "at least 4096")?;
    range(options.max_bytes >= options.segment_bytes, "max_bytes", "at least segment_bytes")
}

/// Compares the number of shards with that of the installation, or keeps it when this is the installation.
fn check_shards(directory: &Path, shards: u16) -> Result<(), LogError> {
    let path = directory.join(SHARDS_FILE);
    let installed = match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<u16>().ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(LogError::io(&path)(error)),
    };
    match installed {
        Some(installed) if installed == shards => Ok(()),
        Some(installed) => Err(LogError::Shards { path, installed, shards }),
        None => keep_shards(directory, &path, shards).map_err(LogError::io(&path)),
    }
}

fn keep_shards(directory: &Path, path: &PathBuf, shards: u16) -> io::Result<()> {
    let unfinished = path.with_extension("unfinished");
    let mut file = fs::File::create(&unfinished)?;
    writeln!(file, "{shards}")?;
    file.sync_all()?;
    fs::rename(&unfinished, path)?;
    sync_directory(directory)
}

fn open_shard(path: &Path, at: (Stream, Shard), common: &Arc<Common>) -> Result<Arc<ShardLog>, LogError> {
    let directory = path.join(format!("{}-{}", at.0, at.1));
    let recovered = recovery::recover(&directory, &common.counters)?;
    let bytes = recovered.segments.iter().map(|segment| segment.written()).sum();
    common.counters.size_bytes.fetch_add(bytes, Ordering::Relaxed);
    common.counters.segments.fetch_add(recovered.segments.len() as u64, Ordering::Relaxed);
    Ok(Arc::new(ShardLog::new(at, directory, common.clone(), recovered.segments, recovered.end)))
}

impl LogBackend for EmbeddedLog {
    fn shards(&self) -> u16 {
        self.common.options.shards
    }

    fn queues(&self, stream: Stream) -> Vec<Arc<Queue>> {
        self.shards.get(stream.index()).into_iter().flatten().map(|log| log.queue.clone()).collect()
    }

    fn start_writer(&self, stream: Stream, shard: Shard) -> Result<(), LogError> {
        let log =
            self.shard(stream, shard).ok_or(LogError::NoShard { shard, shards: self.shards() })?.clone();
        let (queue, directory) = (log.queue.clone(), log.directory.clone());
        let thread = std::thread::Builder::new().name(format!("log-{stream}-{shard}"));
        match thread.spawn(move || Writer::new(log).run()) {
            Ok(writer) => {
                self.writers.lock().push(writer);
                Ok(())
            }
            Err(error) => {
                queue.disclaim_writer();
                Err(LogError::io(&directory)(error))
            }
        }
    }

    fn reader(&self, stream: Stream, shard: Shard, from: Offset) -> Result<Box<dyn ReadLog>, LogError> {
        let log = self.shard(stream, shard).ok_or(LogError::NoShard { shard, shards: self.shards() })?;
        let end = Offset(log.end());
        if from > end {
            return Err(LogError::Beyond { path: log.directory.clone(), from, end });
        }
        Ok(Box::new(EmbeddedReader::new(log.clone(), from)))
    }

    fn end(&self, stream: Stream, shard: Shard) -> Offset {
        Offset(self.shard(stream, shard).map_or(0, |log| log.end()))
    }

    fn truncate(&self, stream: Stream, shard: Shard, below: Offset) {
        let Some(log) = self.shard(stream, shard) else { return };
        log.truncate_below.fetch_max(below.0, Ordering::AcqRel);
        log.queue.errand();
        if log.queue.claim_writer()
            && let Err(error) = self.start_writer(stream, shard)
        {
            tracing::warn!("the log is not truncated: {error}");
        }
    }

    fn hold(&self, stream: Stream, shard: Shard, from: Offset) {
        if let Some(log) = self.shard(stream, shard) {
            log.held_from.store(from.0, Ordering::Release);
        }
    }

    fn keep(&self) -> Kept {
        Kept::one_more(&self.common.kept)
    }

    fn files(&self) -> Vec<LogFile> {
        let mut files = vec![LogFile::text(SHARDS_FILE, format!("{}\n", self.common.options.shards))];
        for log in self.shards.iter().flatten() {
            let directory = format!("{}-{}", log.stream, log.shard);
            let segments = log.segments.lock().clone();
            files.extend(segments.into_iter().map(|segment| LogFile::segment(&directory, segment)));
        }
        files
    }

    fn appended(&self, tenant: &str) -> u64 {
        self.common.tenants.appended(tenant)
    }

    fn is_full(&self) -> bool {
        self.common.health.is_full()
    }

    fn health(&self) -> LogHealth {
        self.common.health.get()
    }

    fn watch_health(&self) -> watch::Receiver<LogHealth> {
        self.common.health.subscribe()
    }

    fn stats(&self) -> LogStats {
        LogStats { max_bytes: self.common.options.max_bytes, ..self.common.counters.read() }
    }

    fn close(&self) {
        let logs = || self.shards.iter().flatten();
        logs().for_each(|log| log.queue.stop());
        let writers = std::mem::take(&mut *self.writers.lock());
        for writer in writers {
            if writer.join().is_err() {
                tracing::error!("a writer of the log ended early");
            }
        }
        logs().for_each(|log| {
            log.queue.abandon();
            log.close_readers();
        });
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.close();
    }
}

#[cfg(test)]
mod tests;
