//! The calls to the file system that can fail while the log is open; tests put one that fails in their place.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// Bytes written at a time when a file is filled.
const FILL_BYTES: usize = 1 << 20;

/// How the space of a new file is got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// Reserved only: quick now, but every sync of a first write also writes the file system's journal.
    Reserved,
    /// Written with zeros: takes a while, and later syncs are cheaper.
    Written,
}

pub(crate) trait Disk: Send + Sync {
    /// A new file of a length, synced; on error there is no file.
    fn create(&self, path: &Path, bytes: u64, space: Space) -> io::Result<File>;
    /// Writes at a position, perhaps less than all.
    fn write(&self, file: &File, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize>;
    fn sync(&self, file: &File) -> io::Result<()>;
}

/// The disk there is.
#[derive(Debug)]
pub(crate) struct RealDisk;

impl Disk for RealDisk {
    fn create(&self, path: &Path, bytes: u64, space: Space) -> io::Result<File> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        let filled = match space {
            Space::Reserved => reserve(&file, bytes),
            Space::Written => fill(&file, bytes),
        };
        match filled.and_then(|()| file.sync_all()) {
            Ok(()) => Ok(file),
            Err(error) => {
                // The first error is the one to report; a file that stays is overwritten at the next try.
                let _ = fs::remove_file(path);
                Err(error)
            }
        }
    }

    fn write(&self, file: &File, parts: &[IoSlice<'_>], at: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(file, parts, at)?)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        Ok(rustix::fs::fdatasync(file)?)
    }
}

fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => fill(file, bytes),
        other => Ok(other?),
    }
}

fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; FILL_BYTES];
    let mut at = 0;
    while at < bytes {
        let length = usize::try_from(bytes - at).unwrap_or(FILL_BYTES).min(FILL_BYTES);
        file.write_all_at(zeros.get(..length).unwrap_or(&zeros), at)?;
        at += length as u64;
    }
    Ok(())
}

/// Makes creations, renames and removals in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}
