//! The files that a database names, as links in another folder: for a backup, which a compaction must not take them from.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use drover_db::Db;

use crate::{StoreError, manifest};

/// What was linked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Linked {
    /// Sizes in bytes by name.
    pub files: BTreeMap<String, u64>,
    /// Names of those that are not in their folder.
    pub missing: Vec<String>,
}

/// Links every file that the manifest in `db` names from the folder `from` into the folder `to`; those that are there already stay. On a
/// file system without links they are copied.
///
/// # Errors
/// When the database or a folder can't be used. A file that is gone is no error.
pub async fn link_files(db: &Db, from: &Path, to: &Path) -> Result<Linked, StoreError> {
    let names = manifest::names(db.read()).await?;
    let (from, to) = (from.to_owned(), to.to_owned());
    tokio::task::spawn_blocking(move || link_all(names, &from, &to)).await.map_err(|_| StoreError::Stopped)?
}

fn link_all(names: Vec<String>, from: &Path, to: &Path) -> Result<Linked, StoreError> {
    let mut linked = Linked::default();
    for name in names {
        let link = to.join(&name);
        let failed = |source| StoreError::File { path: link.display().to_string(), source };
        if let Some(folder) = link.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        match link_or_copy(&from.join(&name), &link) {
            Ok(size) => _ = linked.files.insert(name, size),
            Err(error) if error.kind() == io::ErrorKind::NotFound => linked.missing.push(name),
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(linked)
}

fn link_or_copy(from: &Path, to: &Path) -> io::Result<u64> {
    match std::fs::hard_link(from, to) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(error),
        Err(_) => return std::fs::copy(from, to),
    }
    Ok(std::fs::metadata(to)?.len())
}
