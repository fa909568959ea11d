//! Opening a shard's directory: which files there are, and where the last one ends. A tail that was torn is cut off; damage with valid
//! frames behind it is reported and passed over.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::disk::sync_directory;
use super::segment::{Chunk, Identity, Segment};
use crate::log::LogError;
use crate::stats::Counters;

/// Name of a file that waits to become a segment.
pub(crate) const SPARE: &str = "next.spare";
/// Its name while it is being made.
pub(crate) const UNFINISHED: &str = "next.unfinished";
/// Most that is overwritten behind the last frame, in bytes: longer than any frame.
const CUT_BYTES: usize = 8 << 20;

/// What was found in a directory.
#[derive(Debug, Default)]
pub(crate) struct Recovered {
    pub(crate) segments: Vec<Arc<Segment>>,
    pub(crate) end: u64,
}

/// Opens all files of a shard. A directory that isn't there is an empty log.
pub(crate) fn recover(directory: &Path, counters: &Counters) -> Result<Recovered, LogError> {
    let identities = list(directory).map_err(LogError::io(directory))?;
    let mut segments = Vec::with_capacity(identities.len());
    for identity in identities {
        let path = directory.join(identity.file_name());
        segments.push(Arc::new(Segment::open(directory, identity).map_err(LogError::io(&path))?));
    }
    let end = match segments.last() {
        Some(last) => scan(last, counters).map_err(LogError::io(&last.path))?,
        None => 0,
    };
    Ok(Recovered { segments, end })
}

/// The segments by offset. Of two that begin at the same offset the older one has no durable frame and goes away.
fn list(directory: &Path) -> io::Result<Vec<Identity>> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        match name.to_str() {
            Some(UNFINISHED) => fs::remove_file(directory.join(UNFINISHED))?,
            Some(name) => found.extend(Identity::of_file_name(name)),
            None => {}
        }
    }
    found.sort_unstable();
    let mut kept: Vec<Identity> = Vec::with_capacity(found.len());
    for identity in found {
        if let Some(older) = kept.pop_if(|last| last.base == identity.base) {
            fs::remove_file(directory.join(older.file_name()))?;
        }
        kept.push(identity);
    }
    sync_directory(directory)?;
    Ok(kept)
}

/// Reads the last file through; its frames are known afterwards. Answers the end of the log.
fn scan(segment: &Segment, counters: &Counters) -> io::Result<u64> {
    let mut chunk = Chunk::default();
    let (mut at, mut next) = (0, segment.identity.base);
    loop {
        let found = match chunk.frame_at(segment, at, segment.bytes)? {
            Some(found) if found.offset >= next => found,
            _ => match chunk.frame_after(segment, at, next, segment.bytes)? {
                Some(found) => found,
                None => break,
            },
        };
        if found.at != at || found.offset != next {
            counters.corrupt(found.offset - next, gap(segment, at, found.at));
        }
        segment.note(found.offset, found.at);
        (at, next) = (found.end, found.offset + 1);
    }
    cut(segment, at)?;
    segment.set_written(at);
    Ok(next)
}

/// Says where bytes are damaged.
pub(crate) fn gap(segment: &Segment, from: u64, to: u64) -> String {
    format!("{}, bytes {from} to {to}", segment.path.display())
}

/// Overwrites the rest of a frame that was being written when the process or machine stopped.
fn cut(segment: &Segment, at: u64) -> io::Result<()> {
    let length = usize::try_from(segment.bytes.saturating_sub(at)).unwrap_or(CUT_BYTES).min(CUT_BYTES);
    let mut front = vec![0; length.min(16)];
    segment.file.read_exact_at(&mut front, at)?;
    if front.iter().all(|byte| *byte == 0) {
        return Ok(());
    }
    segment.file.write_all_at(&vec![0; length], at)?;
    segment.file.sync_data()
}
