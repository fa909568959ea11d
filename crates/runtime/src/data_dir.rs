//! The directory of a process: one user at a time, one format version, secrets readable by their owner only.
//! What the log, the database and the store keep below it is theirs.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use drover_trust::{TokenHash, token_from};
use fs4::FileExt;

use crate::Rng;

/// The format that this program reads and writes.
pub const FORMAT_VERSION: u32 = 1;
/// The database in it.
pub const DATABASE: &str = "drover.db";
/// The folder of the log in it.
pub const LOG: &str = "log";
/// The other files in it that an installation needs to go on elsewhere, and whether they hold secrets.
pub const OWN_FILES: [(&str, bool); 8] = [
    ("VERSION", false),
    ("epoch", false),
    ("admin.token", true),
    ("ca.crt", false),
    ("ca.key", true),
    ("server.crt", false),
    ("server.key", true),
    ("drover.toml", true),
];
/// In a directory that a restore has not finished.
pub const RESTORING: &str = "restore.unfinished";
/// Mode of files that hold secrets.
const SECRET: u32 = 0o600;
/// Mode of all other files.
const PUBLIC: u32 = 0o644;
/// What may be in a directory without a format version: what a first start that was cut off leaves, what an administrator
/// puts there for it, and what file systems have at their root.
const BEFORE_FIRST_START: [&str; 7] =
    ["lock", "VERSION.tmp", "drover.toml", "admin.token", "ca.crt", "ca.key", "lost+found"];
/// Largest file that is read here.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Why a directory cannot be used. Each text ends with what to do.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another process has it.
    #[error("{} is used by process {process}; stop that one or choose another --data-dir", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
        /// Process id as the other wrote it, or "?".
        process: String,
    },
    /// It holds something that no Drover put there.
    #[error(
        "{} holds other things than Drover's data ({}); choose an empty or absent directory with --data-dir, or move them \
         away", path.display(), found.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// The first of them.
        found: PathBuf,
    },
    /// A restore into it did not come to its end.
    #[error(
        "{} holds a restore that did not come to its end; run `drover restore` again, or choose another --data-dir",
        path.display()
    )]
    Restoring {
        /// The directory.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error(
        "{} has format version {found}, this program reads up to version {FORMAT_VERSION}; use the newer drover that \
         wrote it, or another --data-dir", path.display()
    )]
    Newer {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// A file in it is damaged.
    #[error("{}: {detail}; restore the file from a backup or choose another --data-dir", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// There is a file where the directory should be.
    #[error("{}: this is a file, or lies in one; choose another --data-dir", path.display())]
    NoDirectory {
        /// Where.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{}: {error}; make it writable for the user who runs drover, or choose another --data-dir", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
}

/// A directory that this process has to itself until this value is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    /// Held open: the lock goes with it.
    _lock: File,
}

impl DataDir {
    /// Creates the directory when there is none (mode 0700), locks it and checks its version. One with foreign files stays as it is.
    ///
    /// # Errors
    /// [`DataDirError`] says why it cannot be used and what to do.
    pub fn open(path: &Path) -> Result<Self, DataDirError> {
        let directory = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        directory.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory => {
                DataDirError::NoDirectory { path: path.to_owned() }
            }
            _ => DataDirError::Io { path: path.to_owned(), error },
        })?;
        let path = path.canonicalize().map_err(|error| DataDirError::Io { path: path.to_owned(), error })?;
        refuse_foreign(&path)?;
        let lock = lock(&path)?;
        let this = Self { path, _lock: lock };
        this.check_version()?;
        // A process that was killed could not remove it, and its addresses are stale.
        this.remove_addresses()?;
        Ok(this)
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The hash of the administrator's token in `admin.token`, which the first start makes.
    ///
    /// # Errors
    /// [`DataDirError::Damaged`] when the file is empty, else as the operating system says.
    pub fn administrator(&self, rng: &Rng) -> Result<TokenHash, DataDirError> {
        let token = match self.read("admin.token")? {
            Some(text) => text,
            None => {
                let token = token_from(rng.bytes());
                self.write_secret("admin.token", &format!("{token}\n"))?;
                token
            }
        };
        match token.trim() {
            "" => Err(self.damaged("admin.token", "the file is empty")),
            token => Ok(TokenHash::of(token.as_bytes())),
        }
    }

    /// Counts this start: 1 at the first.
    ///
    /// # Errors
    /// [`DataDirError::Damaged`] when the file is not what an earlier start wrote.
    pub fn next_epoch(&self) -> Result<u64, DataDirError> {
        let last: u64 = match self.read("epoch")? {
            None => 0,
            Some(text) => text.trim().parse().map_err(|_| self.damaged("epoch", "it holds no number"))?,
        };
        let next = last.saturating_add(1);
        self.write("epoch", &format!("{next}\n"), PUBLIC)?;
        Ok(next)
    }

    /// Tells where the listeners are: `addresses.json`, whole or not at all.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn write_addresses(
        &self,
        addresses: &BTreeMap<&'static str, SocketAddr>,
    ) -> Result<(), DataDirError> {
        let text = serde_json::to_string_pretty(addresses).expect("names and addresses serialise");
        self.write("addresses.json", &format!("{text}\n"), PUBLIC)
    }

    /// Takes `addresses.json` away.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn remove_addresses(&self) -> Result<(), DataDirError> {
        match fs::remove_file(self.file("addresses.json")) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io("addresses.json", error)),
            _ => Ok(()),
        }
    }

    /// The text of a file; none when there is no such file.
    pub(crate) fn read(&self, name: &str) -> Result<Option<String>, DataDirError> {
        let file = match File::open(self.file(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.io(name, error)),
        };
        let mut text = String::new();
        file.take(MAX_FILE_BYTES).read_to_string(&mut text).map_err(|error| self.io(name, error))?;
        Ok(Some(text))
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn write_secret(&self, name: &str, text: &str) -> Result<(), DataDirError> {
        self.write(name, text, SECRET)
    }

    /// Writes a file that everyone may read.
    pub(crate) fn write_public(&self, name: &str, text: &str) -> Result<(), DataDirError> {
        self.write(name, text, PUBLIC)
    }

    pub(crate) fn damaged(&self, name: &str, detail: &str) -> DataDirError {
        DataDirError::Damaged { path: self.file(name), detail: detail.to_owned() }
    }

    fn io(&self, name: &str, error: io::Error) -> DataDirError {
        DataDirError::Io { path: self.file(name), error }
    }

    fn check_version(&self) -> Result<(), DataDirError> {
        let Some(text) = self.read("VERSION")? else {
            return self.write("VERSION", &format!("{FORMAT_VERSION}\n"), PUBLIC);
        };
        match text.trim().parse::<u32>() {
            Ok(FORMAT_VERSION) => Ok(()),
            Ok(found) if found > FORMAT_VERSION => {
                Err(DataDirError::Newer { path: self.path.clone(), found })
            }
            _ => Err(self.damaged("VERSION", &format!("{:?} is not a format version", text.trim()))),
        }
    }

    /// Old or new content, never half of it, also after a crash.
    fn write(&self, name: &str, text: &str, mode: u32) -> Result<(), DataDirError> {
        let temporary = self.file(&format!("{name}.tmp"));
        let written = || -> io::Result<()> {
            // A leftover keeps the mode that it was made with.
            let _ = fs::remove_file(&temporary);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, self.file(name))?;
            File::open(&self.path)?.sync_all()
        };
        written().map_err(|error| self.io(name, error))
    }
}

/// A directory without a format version is new: nothing but what may precede the first start is in it.
fn refuse_foreign(path: &Path) -> Result<(), DataDirError> {
    let io = |error| DataDirError::Io { path: path.to_owned(), error };
    if path.join(RESTORING).try_exists().map_err(io)? {
        return Err(DataDirError::Restoring { path: path.to_owned() });
    }
    if path.join("VERSION").try_exists().map_err(io)? {
        return Ok(());
    }
    for entry in fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if !BEFORE_FIRST_START.iter().any(|known| name == *known) {
            return Err(DataDirError::Foreign { path: path.to_owned(), found: name.into() });
        }
    }
    Ok(())
}

/// Takes the lock and writes this process's id into it.
fn lock(path: &Path) -> Result<File, DataDirError> {
    let name = path.join("lock");
    let io = |error| DataDirError::Io { path: name.clone(), error };
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).mode(PUBLIC).open(&name).map_err(io)?;
    match FileExt::try_lock(&file) {
        Ok(()) => {}
        Err(fs4::TryLockError::WouldBlock) => {
            let mut process = String::new();
            let _ = (&mut file).take(20).read_to_string(&mut process);
            let process = match process.trim() {
                "" => "?".to_owned(),
                id => id.to_owned(),
            };
            return Err(DataDirError::InUse { path: path.to_owned(), process });
        }
        Err(fs4::TryLockError::Error(error)) => return Err(io(error)),
    }
    file.set_len(0).map_err(io)?;
    writeln!(file, "{}", std::process::id()).map_err(io)?;
    Ok(file)
}
