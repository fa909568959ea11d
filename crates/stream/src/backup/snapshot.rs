//! All that an installation is, as of one moment: the database's copy, the point files that the copy names, the log from what the copy
//! covers to its end. What a server would find that was killed at that moment; starting on it is what a restart is.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use drover_backbone::{Log, LogFile};
use drover_db::Db;
use drover_model::{Clock, Timestamp};
use drover_runtime::data_dir::{DATABASE, LOG, OWN_FILES};
use drover_timeseries::{Linked, link_files};

use super::{BackupError, staging_of};

/// Copies of the database that are tried until every file is there which the copy names. A file that was written a moment before the
/// copy began may be gone when it is done, if a compaction took it into another meanwhile.
const TRIES: usize = 4;

/// What a snapshot is taken of.
pub(crate) struct Sources {
    pub(crate) db: Db,
    pub(crate) log: Log,
    pub(crate) points: drover_timeseries::Store,
    pub(crate) data_dir: PathBuf,
    pub(crate) clock: Clock,
}

/// The files; they stay until this is dropped.
pub(crate) struct Snapshot {
    pub(crate) created: Timestamp,
    pub(crate) entries: Vec<Entry>,
    /// Point files that the database names and that are not there, so that the backup lacks them too.
    pub(crate) missing: Vec<String>,
    _staging: Staging,
}

/// A file of the backup.
pub(crate) struct Entry {
    /// Below the data directory.
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    pub(crate) secret: bool,
    pub(crate) source: Source,
}

/// Where its bytes are.
pub(crate) enum Source {
    File(PathBuf),
    Log(LogFile),
    Bytes(Vec<u8>),
}

impl Entry {
    pub(crate) fn new(path: &str, secret: bool, source: Source) -> io::Result<Self> {
        let size_bytes = match &source {
            Source::File(path) => fs::metadata(path)?.len(),
            Source::Log(file) => file.size_bytes,
            Source::Bytes(bytes) => bytes.len() as u64,
        };
        Ok(Self { path: path.to_owned(), size_bytes, secret, source })
    }
}

/// A folder that goes away with this.
struct Staging(PathBuf);

impl Staging {
    fn new(path: PathBuf) -> io::Result<Self> {
        remove(&path)?;
        fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.0) {
            tracing::warn!("{}: can't be removed: {error}; the next start will", self.0.display());
        }
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Sources {
    /// Takes away what a killed backup left behind.
    pub(crate) fn clear(&self) -> io::Result<()> {
        remove(&staging_of(&self.data_dir))
    }

    pub(crate) async fn snapshot(&self) -> Result<Snapshot, BackupError> {
        let path = staging_of(&self.data_dir);
        let staging = Staging::new(path.clone()).map_err(|error| at(&path, error))?;
        // Until the log's files are held: what the copy does not cover must still be there.
        let kept = self.log.keep();
        let created = self.clock.now();
        let linked = self.copy(&staging).await?;
        let log = self.log.files();
        drop(kept);

        let mut entries = Vec::new();
        for (name, secret) in OWN_FILES {
            match fs::read(self.data_dir.join(name)) {
                Ok(bytes) => entries.push(entry(name, secret, Source::Bytes(bytes))?),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(at(&self.data_dir.join(name), error)),
            }
        }
        entries.push(entry(DATABASE, true, Source::File(staging.0.join(DATABASE)))?);
        for name in linked.files.keys() {
            let source = Source::File(staging.0.join(POINTS).join(name));
            entries.push(entry(&format!("{POINTS}/{name}"), false, source)?);
        }
        for file in log {
            entries.push(entry(&format!("{LOG}/{}", file.name), false, Source::Log(file))?);
        }
        Ok(Snapshot { created, entries, missing: linked.missing, _staging: staging })
    }

    /// Copies the database, and links the files that the copy names. Those of before the copy are linked first, so that nothing takes
    /// them away while it is made.
    async fn copy(&self, staging: &Staging) -> Result<Linked, BackupError> {
        let (database, points) = (staging.0.join(DATABASE), staging.0.join(POINTS));
        let mut before = None;
        let mut tries = 0;
        loop {
            tries += 1;
            link_files(&self.db, self.points.folder(), &points).await?;
            for leftover in [database.clone(), staging.0.join(format!("{DATABASE}-wal"))] {
                let _ = fs::remove_file(leftover);
            }
            self.db.copy_to(&database).await?;
            let copy = Db::open(&database).await?;
            let linked = link_files(&copy, self.points.folder(), &points).await;
            copy.close().await;
            let linked = linked?;
            if linked.missing.is_empty() || before.as_ref() == Some(&linked.missing) || tries == TRIES {
                for name in &linked.missing {
                    tracing::warn!(file = name, "a point file is missing, so the backup lacks it too");
                }
                return Ok(linked);
            }
            before = Some(linked.missing);
        }
    }
}

/// The folder of the point files in the data directory.
pub(crate) const POINTS: &str = "points";

fn entry(path: &str, secret: bool, source: Source) -> Result<Entry, BackupError> {
    Entry::new(path, secret, source).map_err(|error| BackupError::File { path: path.to_owned(), error })
}

fn at(path: &Path, error: io::Error) -> BackupError {
    BackupError::File { path: path.display().to_string(), error }
}
