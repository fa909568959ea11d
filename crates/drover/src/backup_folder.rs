//! A backup as a folder: its manifest, which is written last, and how files get into a folder durably and are checked.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use drover_runtime::FORMAT_VERSION;
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Outcome};

/// The newest format of backups that this program reads.
const NEWEST_FORMAT: u64 = 1;
/// The file without which a folder is no backup.
pub const MANIFEST: &str = "manifest.json";
/// In a folder that `drover backup` has not finished.
pub const UNFINISHED: &str = "backup.unfinished";
/// What file systems have at their root.
const LOST: &str = "lost+found";
/// Largest manifest that is read: some hundred thousand files.
const MAX_MANIFEST_BYTES: u64 = 256 << 20;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;

/// What a backup holds.
#[derive(Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the program that made it.
    pub drover: String,
    pub created: String,
    pub size_bytes: u64,
    pub files: Vec<Listed>,
    /// Point files that the server lacked already.
    pub missing: Vec<String>,
}

/// A file of it.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    pub path: String,
    pub size_bytes: u64,
    pub sha256: String,
    pub secret: bool,
}

impl Manifest {
    /// Reads that of a folder, and refuses what this program can't restore.
    pub fn read(folder: &Path) -> Outcome<Self> {
        let path = folder.join(MANIFEST);
        let shown = folder.display();
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if folder.join(UNFINISHED).exists() => {
                Failure::failed(format!("{shown} holds a backup that did not come to its end: run it again"))
            }
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
                Failure::failed(format!("{shown} holds no backup: there is no {MANIFEST} in it"))
            }
            _ => Failure::failed(format!("{}: {error}", path.display())),
        })?;
        let mut text = String::new();
        let read = file.take(MAX_MANIFEST_BYTES).read_to_string(&mut text);
        read.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        Self::parse(&text).map_err(|detail| Failure::failed(format!("{shown}: {detail}")))
    }

    pub fn parse(text: &str) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|error| format!("{MANIFEST} is damaged: {error}"))?;
        let damaged = || format!("{MANIFEST} is damaged");
        let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64);
        let words = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).map(str::to_owned);
        let drover = words(&value, "drover").ok_or_else(damaged)?;
        let formats =
            [("backup", "format", NEWEST_FORMAT), ("data", "data_format", u64::from(FORMAT_VERSION))];
        for (what, key, newest) in formats {
            let found = number(&value, key).ok_or_else(damaged)?;
            if found > newest {
                return Err(format!(
                    "its {what} format is {found}, made by drover {drover}; this is drover {}, which reads up to format \
                     {newest}: use drover {drover} or a newer one",
                    env!("CARGO_PKG_VERSION")
                ));
            }
        }
        let listed = |file: &Value| {
            let path = words(file, "path").filter(|path| below(path).is_some())?;
            let (size_bytes, sha256) = (number(file, "size_bytes")?, words(file, "sha256")?);
            Some(Listed { path, size_bytes, sha256, secret: file.get("secret")?.as_bool()? })
        };
        let files = value.get("files").and_then(Value::as_array).ok_or_else(damaged)?;
        let files: Option<Vec<Listed>> = files.iter().map(listed).collect();
        let missing = value.get("missing").and_then(Value::as_array).into_iter().flatten();
        Ok(Self {
            drover,
            created: words(&value, "created").ok_or_else(damaged)?,
            size_bytes: number(&value, "size_bytes").ok_or_else(damaged)?,
            files: files.ok_or_else(damaged)?,
            missing: missing.filter_map(Value::as_str).map(str::to_owned).collect(),
        })
    }
}

/// A path of plain names, so that nothing outside of a folder is reached with it.
pub fn below(path: &str) -> Option<PathBuf> {
    let parsed = Path::new(path);
    let plain = parsed.components().all(|part| matches!(part, Component::Normal(_)));
    (plain && !path.is_empty() && !path.ends_with('/')).then(|| parsed.to_owned())
}

/// A folder that is being filled. A marker in it says so, and keeps others out.
pub struct Filling {
    folder: PathBuf,
    marker: &'static str,
    _lock: File,
}

impl Filling {
    /// Makes the folder, or takes one that is empty or that an earlier try of the same kind left, which is emptied.
    pub fn begin(folder: &Path, marker: &'static str) -> Outcome<Self> {
        let shown = folder.display();
        let failed = |error: io::Error| Failure::failed(format!("{shown}: {error}"));
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        let entries = entries(folder).map_err(failed)?;
        let again = entries.iter().any(|name| name == marker);
        if !entries.is_empty() && !again {
            return Err(Failure::failed(format!("{shown} is not empty: name an empty or absent folder")));
        }
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(folder.join(marker)).map_err(failed)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| Failure::failed(format!("{shown} is being filled by another process")))?;
        lock.sync_all().map_err(failed)?;
        sync_folder(folder).map_err(failed)?;
        for name in entries.iter().filter(|name| *name != marker) {
            let path = folder.join(name);
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(|error| Failure::failed(format!("{}: {error}", path.display())))?;
        }
        Ok(Self { folder: folder.to_owned(), marker, _lock: lock })
    }

    /// A new file in it, and the folders above.
    pub fn create(&self, path: &str, mode: u32) -> io::Result<File> {
        let path = below(path).ok_or(io::ErrorKind::InvalidFilename)?;
        let path = self.folder.join(path);
        if let Some(parent) = path.parent() {
            DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
        }
        OpenOptions::new().write(true).create_new(true).mode(mode).open(path)
    }

    /// Makes all names durable, and with the last step the whole valid: `last` is written under another name until it is there.
    pub fn finish(self, last: Option<(&str, &[u8])>) -> io::Result<()> {
        sync_folders(&self.folder)?;
        if let Some((name, bytes)) = last {
            let temporary = format!("{name}.tmp");
            let mut file = self.create(&temporary, 0o600)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(self.folder.join(temporary), self.folder.join(name))?;
            sync_folder(&self.folder)?;
        }
        fs::remove_file(self.folder.join(self.marker))?;
        sync_folder(&self.folder)
    }
}

fn entries(folder: &Path) -> io::Result<Vec<std::ffi::OsString>> {
    let names = fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name()));
    names.filter(|name| name.as_ref().map_or(true, |name| name != LOST)).collect()
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A folder and those below it.
fn sync_folders(folder: &Path) -> io::Result<()> {
    for name in entries(folder)? {
        let path = folder.join(name);
        if path.is_dir() {
            sync_folders(&path)?;
        }
    }
    sync_folder(folder)
}

/// Reads a file of a backup through, and says how it differs from what the manifest says. `sink` gets what is read.
pub fn check(folder: &Path, listed: &Listed, sink: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> Outcome {
    let path = folder.join(&listed.path);
    let shown = path.display();
    let damaged =
        |detail: &str| Failure::failed(format!("{shown} is damaged: {detail}; restore another backup"));
    let mut file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => damaged("it is not there"),
        _ => Failure::failed(format!("{shown}: {error}")),
    })?;
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut size_bytes = 0_u64;
    loop {
        let read = file.read(&mut chunk).map_err(|error| Failure::failed(format!("{shown}: {error}")))?;
        let Some(bytes) = chunk.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
        size_bytes += bytes.len() as u64;
        hash.update(bytes);
        sink(bytes)?;
    }
    if size_bytes != listed.size_bytes {
        return Err(damaged(&format!("it has {size_bytes} bytes instead of {}", listed.size_bytes)));
    }
    if hex(&hash.finalize()) != listed.sha256 {
        return Err(damaged("its SHA-256 is another"));
    }
    Ok(())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
