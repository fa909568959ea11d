//! Opens a store: what the manifest names is taken in, what it doesn't know is removed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use drover_backbone::{partition_of, shard_of};
use drover_db::{Db, migrations};
use parking_lot::{Mutex, RwLock};
use tokio::sync::Semaphore;

use super::{Inner, ShardSlot, ShardState, StoreOptions};
use crate::damage::Damage;
use crate::erasures;
use crate::footers::Footers;
use crate::manifest::{self, Listed};
use crate::write::UNFINISHED;
use crate::{StoreError, flush, latest, rollup};

pub(super) async fn open(db: Db, dir: PathBuf, options: StoreOptions) -> Result<Inner, StoreError> {
    let set = migrations(&[
        (1, "points", include_str!("../../migrations/0001_points.sql")),
        (2, "levels", include_str!("../../migrations/0002_levels.sql")),
        (3, "erasures", include_str!("../../migrations/0003_erasures.sql")),
        (4, "trimmed", include_str!("../../migrations/0004_trimmed.sql")),
        (5, "rollups", include_str!("../../migrations/0005_rollups.sql")),
    ]);
    db.migrate("timeseries", &set).await?;
    let listed = manifest::list(db.read()).await?;
    let damage = Arc::new(Damage::default());
    let found = {
        let dir = dir.clone();
        tokio::task::spawn_blocking(move || contents(&dir)).await.map_err(|_| StoreError::Stopped)??
    };
    let next_file = found.keys().map(String::as_str).chain(listed.iter().map(|row| &*row.part.file));
    let next_file = next_file.filter_map(flush::number_of).max().map_or(0, |number| number + 1);
    remove_unknown(&dir, &found, &listed)?;
    for row in &listed {
        if !found.contains_key(&*row.part.file) {
            damage.found(&row.part.file, "it is not in its folder");
        }
    }
    let mut states: Vec<ShardState> = (0..options.shards).map(|_| ShardState::default()).collect();
    for row in listed {
        let Some(state) = states.get_mut(row.shard) else {
            let detail = format!("{} is of shard {}, of {} shards", row.part.file, row.shard, options.shards);
            return Err(StoreError::Damaged { table: "point_file", detail });
        };
        state.files.entry(row.tenant).or_default().push(Arc::new(row.part));
    }
    for row in latest::large(db.read(), options.device_bounds).await? {
        let shard = shard_of(partition_of(&row.tenant, &row.device), options.shards);
        if let Some(state) = states.get_mut(usize::from(shard.0)) {
            state.census.learn(row);
        }
    }
    for erasure in erasures::load(db.read()).await? {
        let shard = shard_of(partition_of(&erasure.tenant, &erasure.device), options.shards);
        if let Some(state) = states.get_mut(usize::from(shard.0)) {
            state.erasures.learn(&erasure);
        }
    }
    let slot = |state| ShardSlot { state: RwLock::new(state), ..ShardSlot::default() };
    Ok(Inner {
        db,
        dir,
        shards: states.into_iter().map(slot).collect(),
        next_file: AtomicU64::new(next_file),
        device_bounds: options.device_bounds,
        points_per_rollup_row: options.points_per_rollup_row,
        footers: Arc::new(Footers::new(options.footer_cache_bytes)),
        damage,
        retention: RwLock::default(),
        leaving: Mutex::default(),
        quarantined: Mutex::default(),
        reads: Arc::new(Semaphore::new(options.concurrent_reads.max(1))),
    })
}

/// The files of the folder that are ours by their name.
fn contents(dir: &Path) -> Result<BTreeMap<String, PathBuf>, StoreError> {
    let failed = |source| StoreError::File { path: dir.display().to_string(), source };
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let endings = [flush::ENDING, rollup::ENDING, UNFINISHED];
        let ours = path.extension().is_some_and(|ending| endings.iter().any(|ours| ending == *ours));
        if let (true, Some(name)) = (ours, path.file_name().and_then(|name| name.to_str())) {
            found.insert(name.to_owned(), path.clone());
        }
    }
    Ok(found)
}

/// Removes what a crash left behind before its transaction.
fn remove_unknown(
    dir: &Path,
    found: &BTreeMap<String, PathBuf>,
    listed: &[Listed],
) -> Result<(), StoreError> {
    let mut known: BTreeSet<String> = BTreeSet::new();
    for Listed { part, .. } in listed {
        known.extend(rollup::files(&part.file, part.rollups));
        known.insert(part.file.to_string());
    }
    for (name, path) in found.iter().filter(|(name, _)| !known.contains(name.as_str())) {
        std::fs::remove_file(path)
            .map_err(|source| StoreError::File { path: dir.join(name).display().to_string(), source })?;
        tracing::info!(
            file = name.as_str(),
            "removed a point file that was never committed; its points are in the log"
        );
    }
    Ok(())
}
