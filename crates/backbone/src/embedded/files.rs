//! The files of one shard as its writer sees them: the one being written, the next one made ready beforehand, and the old ones
//! that go away.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use super::disk::{Disk, Space, sync_directory};
use super::recovery::{SPARE, UNFINISHED};
use super::segment::{Identity, Segment};
use super::shard::ShardLog;
use super::writer::WriteError;

/// Where there is no room for a file of the usual length, files are shorter, down to this.
const LEAST_BYTES: u64 = 1 << 20;

pub(crate) struct Files {
    log: Arc<ShardLog>,
    /// The segment to write into; none after an error and in a new log.
    active: Option<Arc<Segment>>,
    /// The thread that makes the spare file, while it does.
    preparing: Option<JoinHandle<io::Result<()>>>,
    has_spare: bool,
    /// The spare file could not be made; it is not tried again before the next segment.
    gave_up: bool,
    /// Uses of files so far.
    generation: u64,
}

impl Files {
    pub(crate) fn new(log: Arc<ShardLog>) -> Self {
        let (active, generation) = {
            let segments = log.segments.lock();
            let newest = segments.iter().map(|segment| segment.identity.generation >> 32).max();
            (segments.last().cloned(), newest.map_or(0, |newest| newest + 1))
        };
        let has_spare = log.directory.join(SPARE).exists();
        Self { log, active, preparing: None, has_spare, gave_up: false, generation }
    }

    /// The segment that has room for so many bytes, and where in it.
    pub(crate) fn place_for(&mut self, bytes: u64) -> Result<(Arc<Segment>, u64), WriteError> {
        if let Some(active) = &self.active
            && active.written() + bytes <= active.bytes
        {
            return Ok((active.clone(), active.written()));
        }
        let next = self.roll(bytes)?;
        self.active = Some(next.clone());
        Ok((next, 0))
    }

    /// Never writes into the active segment again. What stands behind its durable end is overruled by the next segment's offset.
    pub(crate) fn abandon(&mut self) {
        self.active = None;
    }

    fn roll(&mut self, bytes: u64) -> Result<Arc<Segment>, WriteError> {
        let directory = self.log.directory.clone();
        if self.log.segments.lock().is_empty() {
            make_directory(&directory).map_err(WriteError::at(&directory))?;
        }
        self.collect_spare(true);
        self.gave_up = false;
        let random = getrandom::u32().map_err(io::Error::other).map_err(WriteError::at(&directory))?;
        let base = self.log.end();
        let identity = Identity { base, generation: self.generation << 32 | u64::from(random) };
        self.generation += 1;

        let path = directory.join(identity.file_name());
        let file = self.new_file(&path, bytes).map_err(WriteError::at(&path))?;
        sync_directory(&directory).map_err(WriteError::at(&directory))?;
        let segment = Segment::new(identity, path.clone(), file, Some(0)).map_err(WriteError::at(&path))?;
        let segment = Arc::new(segment);
        self.put(segment.clone());
        Ok(segment)
    }

    /// The spare file if there is one and it is long enough, else a new one.
    fn new_file(&mut self, path: &Path, bytes: u64) -> io::Result<File> {
        let spare = self.log.directory.join(SPARE);
        if std::mem::take(&mut self.has_spare) {
            let file = File::options().read(true).write(true).open(&spare)?;
            if file.metadata()?.len() >= bytes {
                fs::rename(&spare, path)?;
                return Ok(file);
            }
        }
        let common = &self.log.common;
        let mut length = common.options.segment_bytes.max(bytes);
        loop {
            match common.disk.create(path, length, Space::Reserved) {
                // A short file is better than none: what it takes is truncated sooner or later, and makes room.
                Err(error)
                    if error.kind() == ErrorKind::StorageFull && length / 2 >= LEAST_BYTES.max(bytes) =>
                {
                    length /= 2;
                }
                other => return other,
            }
        }
    }

    /// Makes a segment the last one. One before it that has no durable frame goes away.
    fn put(&self, segment: Arc<Segment>) {
        let mut segments = self.log.segments.lock();
        let empty = segments.pop_if(|last| last.identity.base == segment.identity.base);
        segments.push(segment);
        drop(segments);
        match empty {
            Some(empty) => remove(&empty.path),
            None => {
                self.log.common.counters.segments.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Begins to make the next file when the active one is half full.
    pub(crate) fn prepare(&mut self) {
        self.collect_spare(false);
        let half_full = self.active.as_ref().is_some_and(|active| active.written() > active.bytes / 2);
        if !half_full || self.has_spare || self.gave_up || self.preparing.is_some() {
            return;
        }
        let (disk, directory) = (self.log.common.disk.clone(), self.log.directory.clone());
        let bytes = self.log.common.options.segment_bytes;
        let job = move || make_spare(&*disk, &directory, bytes);
        // Without a thread the file is made when it is needed.
        self.preparing = std::thread::Builder::new().name("log-prepare".into()).spawn(job).ok();
    }

    fn collect_spare(&mut self, wait: bool) {
        let Some(job) = self.preparing.take_if(|job| wait || job.is_finished()) else { return };
        let outcome = job.join();
        self.has_spare = matches!(outcome, Ok(Ok(())));
        self.gave_up = !self.has_spare;
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(
                "{}: no file for the time after this one: {error}",
                self.log.directory.display()
            ),
            Err(_) => tracing::error!(
                "{}: the thread that prepares files ended early",
                self.log.directory.display()
            ),
        }
    }

    /// Takes away the files that lie wholly below the truncation; the first becomes the spare, if none is there and nobody reads it.
    pub(crate) fn truncate(&mut self) {
        self.collect_spare(false);
        let below = self.log.truncate_below.load(Ordering::Acquire);
        let below = below.min(self.log.held_from.load(Ordering::Acquire));
        self.log.forget_below(below);
        if self.log.common.kept.load(Ordering::Acquire) > 0 {
            return;
        }
        let mut gone = Vec::new();
        {
            let mut segments = self.log.segments.lock();
            let keep_from = segments.partition_point(|segment| segment.identity.base <= below);
            gone.extend(segments.drain(..keep_from.saturating_sub(1)));
        }
        if gone.is_empty() {
            return;
        }
        let common = self.log.common.clone();
        for segment in gone {
            let counters = &common.counters;
            counters.size_bytes.fetch_sub(segment.written(), Ordering::Relaxed);
            counters.segments.fetch_sub(1, Ordering::Relaxed);
            self.recycle(&segment);
        }
        if let Err(error) = sync_directory(&self.log.directory) {
            tracing::warn!("{}: {error}", self.log.directory.display());
        }
        self.log.common.check_size();
    }

    fn recycle(&mut self, segment: &Arc<Segment>) {
        let fits = segment.bytes == self.log.common.options.segment_bytes;
        let unread = Arc::strong_count(segment) == 1;
        if fits && unread && !self.has_spare && self.preparing.is_none() {
            self.has_spare = fs::rename(&segment.path, self.log.directory.join(SPARE)).is_ok();
            if self.has_spare {
                return;
            }
        }
        remove(&segment.path);
    }

    /// Waits for the thread that makes a file.
    pub(crate) fn finish(&mut self) {
        self.collect_spare(true);
    }
}

fn make_spare(disk: &dyn Disk, directory: &Path, bytes: u64) -> io::Result<()> {
    let unfinished = directory.join(UNFINISHED);
    disk.create(&unfinished, bytes, Space::Written)?;
    fs::rename(&unfinished, directory.join(SPARE))
}

/// A directory that survives a loss of power, parent included.
fn make_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    path.parent().map_or(Ok(()), sync_directory)
}

fn remove(path: &Path) {
    // A file that stays is found and removed, or overruled, at the next start.
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!("{}: can't be removed: {error}", path.display());
    }
}
