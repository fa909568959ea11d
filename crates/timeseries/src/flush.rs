//! Moves the head of a shard into a file, in three steps, so that the caller's offset goes into the same transaction:
//! write the file, record it in a transaction, publish it after the commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use sqlx::SqliteConnection;
use tokio::sync::OwnedMutexGuard;

use crate::census::LargeRow;
use crate::file::Parts;
use crate::head::Head;
use crate::store::Inner;
use crate::write::write_file;
use crate::{StoreError, latest, manifest};

/// Ending of a point file.
pub(crate) const ENDING: &str = "parquet";

/// The number in the name of a file.
pub(crate) fn number_of(file: &str) -> Option<u64> {
    file.split_once('.')?.0.rsplit('-').next()?.parse().ok()
}

/// What a flush moves.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    pub(crate) parts: Parts,
    /// Rows of latest values that are not small.
    pub(crate) large: Vec<LargeRow>,
}

/// A flush under way. [`Flush::record`] it in a transaction, commit that, then [`Flush::publish`]. Dropped before, the
/// points stay in memory for the next flush.
pub struct Flush {
    inner: Arc<Inner>,
    shard: u16,
    head: Arc<Head>,
    moved: Mutex<Moved>,
    recorded: AtomicBool,
    published: bool,
    /// Keeps other flushes of the shard out.
    doubt: OwnedMutexGuard<Option<Moved>>,
}

impl Flush {
    pub(crate) async fn begin(inner: &Arc<Inner>, shard: u16) -> Result<Option<Self>, StoreError> {
        let mut doubt = Arc::clone(&inner.shard(shard).flushing).lock_owned().await;
        settle_doubt(inner, shard, &mut doubt).await?;
        let Some((head, clean_to)) = freeze(inner, shard) else { return Ok(None) };
        let number = inner.next_file.fetch_add(1, Ordering::Relaxed);
        let name = format!("{shard:05}-{number:012}.{ENDING}");
        let (dir, source) = (inner.dir.clone(), Arc::clone(&head));
        let written = tokio::task::spawn_blocking(move || write_file(&dir, &name, &source)).await;
        let mut parts = written.map_err(|_| StoreError::Stopped)??;
        parts.iter_mut().for_each(|(_, part)| part.clean_to = clean_to);
        let moved = Mutex::new(Moved { parts, large: Vec::new() });
        let (inner, recorded) = (Arc::clone(inner), AtomicBool::new(false));
        Ok(Some(Self { inner, shard, head, moved, recorded, published: false, doubt }))
    }

    /// How many points it moves.
    pub fn points(&self) -> usize {
        self.head.points()
    }

    /// Writes manifest and latest values. The caller commits.
    ///
    /// # Errors
    /// When the database refuses; then roll back and drop this.
    pub async fn record(&self, db: &mut SqliteConnection) -> Result<(), StoreError> {
        self.recorded.store(true, Ordering::Relaxed);
        let parts = self.moved.lock().parts.clone();
        for (tenant, part) in &parts {
            manifest::add(db, tenant, self.shard.into(), part).await?;
        }
        let state = &self.inner.shard(self.shard).state;
        let gone = |tenant: &str| self.inner.gone(&state.read(), tenant);
        let large = latest::update(db, &self.head, &gone, self.inner.device_bounds).await?;
        self.moved.lock().large = large;
        Ok(())
    }

    /// Lets queries read the file in the place of memory. Only after the commit.
    pub fn publish(mut self) {
        let moved = std::mem::take(self.moved.get_mut());
        let emptied = self.inner.shard(self.shard).state.write().publish(moved);
        drop(emptied);
        self.published = true;
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        let moved = std::mem::take(self.moved.get_mut());
        if *self.recorded.get_mut() {
            // Whether the transaction was committed is not known here; the next flush asks the manifest.
            *self.doubt = Some(moved);
        } else {
            remove(&self.inner.dir, &moved.parts);
        }
    }
}

impl std::fmt::Debug for Flush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Flush")
            .field("shard", &self.shard)
            .field("points", &self.points())
            .finish_non_exhaustive()
    }
}

/// Takes the live head, together with one that an earlier flush could not move, and without what is erased: with the position of the
/// log up to which that holds.
fn freeze(inner: &Inner, shard: u16) -> Option<(Arc<Head>, u64)> {
    let mut state = inner.shard(shard).state.write();
    let live = std::mem::take(&mut state.live);
    let head = match state.frozen.take() {
        None if live.points() == 0 => return None,
        None => Arc::new(live),
        Some(frozen) => {
            let mut both = Arc::unwrap_or_clone(frozen);
            // The live head let go of it already.
            state.erasures.clean(&mut both);
            both.absorb(&live);
            if both.points() == 0 {
                return None;
            }
            Arc::new(both)
        }
    };
    state.frozen = Some(Arc::clone(&head));
    state.frozen_clean_to = state.erasures.applied();
    Some((head, state.frozen_clean_to))
}

/// Finds out whether the transaction of a dropped flush was committed after all. The write transaction waits for it to end.
async fn settle_doubt(inner: &Inner, shard: u16, doubt: &mut Option<Moved>) -> Result<(), StoreError> {
    let Some((_, part)) = doubt.as_ref().and_then(|moved| moved.parts.first()) else { return Ok(()) };
    let mut tx = inner.db.begin().await?;
    let committed = manifest::knows(&mut tx, &part.file).await?;
    drop(tx);
    let moved = doubt.take().unwrap_or_default();
    if committed {
        let emptied = inner.shard(shard).state.write().publish(moved);
        drop(emptied);
    } else {
        remove(&inner.dir, &moved.parts);
    }
    Ok(())
}

fn remove(dir: &Path, parts: &Parts) {
    let Some((_, part)) = parts.first() else { return };
    if let Err(error) = std::fs::remove_file(dir.join(&*part.file)) {
        tracing::warn!(file = &*part.file, %error, "could not remove a file that is not needed; the next start will");
    }
}
