//! The store: shards with their heads and files, and the questions that can be asked.

mod erase;
mod open;
mod page;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use drover_db::Db;
use drover_model::{DeviceId, TelemetryKey, Tenant, Timestamp};
use hashbrown::{HashMap, HashSet};
use parking_lot::RwLock;
use tokio::sync::{Mutex, Semaphore};

use crate::aggregate::Plan;
use crate::census::{Census, DeviceBounds, LargeRow};
use crate::damage::{Damage, Health};
use crate::erasures::Erasures;
use crate::file::{Part, Wanted};
use crate::flush::Moved;
use crate::footers::Footers;
use crate::gone::Gone;
use crate::head::{DeviceHead, Head, HeadWriter, Row};
use crate::latest;
use crate::newest::Newest;
use crate::range::{Reading, Series};
use crate::retention::{InForce, Retention};
use crate::sample::{RangeAnswer, RangeQuery, Sample, Stored};
use crate::{Flush, StoreError};

pub use page::{LatestPage, MAX_LATEST_DEVICES, NumberedSamples};

/// Rows of the head up to which a question is answered without a worker thread.
const INLINE_ROWS: usize = 4 * 1024;

/// Bounds of a store.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// How many shards there are, as many as the log has.
    pub shards: u16,
    /// Memory for parsed footers of files.
    pub footer_cache_bytes: usize,
    /// Range queries that read files at a time; others wait.
    pub concurrent_reads: usize,
    /// What one device may have.
    pub device_bounds: DeviceBounds,
    /// A rollup is kept if it has one row for so many points: its rows are much larger than they are.
    pub points_per_rollup_row: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            shards: 1,
            footer_cache_bytes: 16 << 20,
            concurrent_reads: 4,
            device_bounds: DeviceBounds::default(),
            points_per_rollup_row: 32,
        }
    }
}

/// The points of every tenant; cheap to clone.
#[derive(Clone)]
pub struct Store(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) db: Db,
    pub(crate) dir: PathBuf,
    pub(crate) shards: Vec<ShardSlot>,
    pub(crate) next_file: AtomicU64,
    pub(crate) device_bounds: DeviceBounds,
    pub(crate) points_per_rollup_row: u64,
    pub(crate) footers: Arc<Footers>,
    pub(crate) damage: Arc<Damage>,
    pub(crate) retention: RwLock<InForce>,
    /// Parts that the manifest no longer names, with their shards, until nobody reads them.
    pub(crate) leaving: parking_lot::Mutex<Vec<(u16, Arc<Part>)>>,
    /// Files that a merge could not read: never tried again by this process, also if a query can read other pages of them.
    pub(crate) quarantined: parking_lot::Mutex<HashSet<Arc<str>>>,
    reads: Arc<Semaphore>,
}

#[derive(Default)]
pub(crate) struct ShardSlot {
    /// Head and files change together under this lock, so that a query sees each point once.
    pub(crate) state: RwLock<ShardState>,
    /// Held by the flush under way. Holds what one was moving whose transaction ended in doubt.
    pub(crate) flushing: Arc<Mutex<Option<Moved>>>,
}

#[derive(Default)]
pub(crate) struct ShardState {
    pub(crate) live: Head,
    /// What a flush is about to move into a file, or failed to.
    pub(crate) frozen: Option<Arc<Head>>,
    /// What was erased up to this position of the log is not in it.
    pub(crate) frozen_clean_to: u64,
    pub(crate) census: Census,
    pub(crate) erasures: Erasures,
    pub(crate) files: HashMap<Box<str>, Vec<Arc<Part>>>,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Points in memory.
    pub head_points: u64,
    /// Memory they take, about.
    pub head_bytes: u64,
    /// Files of the manifest.
    pub files: u64,
    /// Points in them.
    pub file_points: u64,
    /// Bytes of them, without their footers.
    pub file_bytes: u64,
}

impl Store {
    /// Opens the store whose files are in `dir`, which is made if it is not there, and removes files that were never
    /// committed.
    ///
    /// # Errors
    /// When the database or the folder can't be read. Files that are missing or damaged are no error; see [`Self::health`].
    pub async fn open(db: Db, dir: PathBuf, options: StoreOptions) -> Result<Self, StoreError> {
        open::open(db, dir, options).await.map(|inner| Self(Arc::new(inner)))
    }

    /// Adds points to a shard. `shard` is below [`StoreOptions::shards`]. Queries of the shard wait meanwhile: hand over
    /// batches of some hundred records, not more.
    pub fn apply<R>(&self, shard: u16, add: impl FnOnce(&mut HeadWriter<'_>) -> R) -> R {
        let mut state = self.0.shard(shard).state.write();
        let ShardState { live, frozen, census, erasures, .. } = &mut *state;
        add(&mut HeadWriter::new(live, frozen.as_deref(), census, erasures, self.0.device_bounds))
    }

    /// Points of a shard that no file holds yet, those of a flush under way included.
    pub fn head_points(&self, shard: u16) -> usize {
        self.0.shard(shard).state.read().heads().map(Head::points).sum()
    }

    /// Memory of these points, about.
    pub fn head_bytes(&self, shard: u16) -> usize {
        self.0.shard(shard).state.read().heads().map(Head::bytes).sum()
    }

    /// Begins a flush: freezes the head of a shard and writes it to a file. None when there is nothing to write. Waits for
    /// a flush of the same shard that is under way. The frozen points stay readable, and are part of the next flush when
    /// this one fails.
    ///
    /// # Errors
    /// When the file can't be written; nothing is lost.
    pub async fn freeze_and_write(&self, shard: u16) -> Result<Option<Flush>, StoreError> {
        Flush::begin(&self.0, shard).await
    }

    /// The samples of a device.
    ///
    /// # Errors
    /// [`StoreError::Interval`]; [`StoreError::Stopped`]. What can't be read is named in the answer.
    pub async fn range(
        &self,
        shard: u16,
        tenant: &Tenant,
        device: &DeviceId,
        query: &RangeQuery,
    ) -> Result<RangeAnswer, StoreError> {
        let plan = Plan::of(query)?;
        let range = (query.from.as_micros(), query.to.as_micros());
        let range = query.resume.as_ref().map_or(range, |cursor| (cursor.from, cursor.to));
        if query.limit == 0 || range.0 >= range.1 {
            return Ok(RangeAnswer::default());
        }
        let wanted = wanted(device, query, range);
        if query.resume.is_some() && wanted.keys.is_empty() && !query.keys.is_empty() {
            return Ok(RangeAnswer::default());
        }
        // Before anything is copied: what waits takes no memory. The permit goes with the work: a caller that gives up
        // doesn't make room before the thread is done.
        let permit = Arc::clone(&self.0.reads).acquire_owned().await.map_err(|_| StoreError::Stopped)?;
        let mut newest = Newest::new(query.limit, query.resume.clone());
        let mut head = Series::new();
        let mut rows = 0;
        let reading = self.reading(shard, tenant, (wanted, range), &mut |key, sample| {
            rows += 1;
            match plan {
                None => newest.add(key, sample),
                Some(plan) => head.entry_ref(key).or_default().push(plan.relevant(sample)),
            }
        });
        let small = reading.parts.is_empty() && rows <= INLINE_ROWS;
        let answer = move || match plan {
            None => reading.raw(newest),
            Some(plan) => reading.aggregated(plan, &head, newest),
        };
        if small {
            return Ok(answer());
        }
        let work = move || {
            let answer = answer();
            drop(permit);
            answer
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| StoreError::Stopped)
    }

    /// The latest value of every key of a device.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn latest(
        &self,
        shard: u16,
        tenant: &Tenant,
        device: &DeviceId,
    ) -> Result<BTreeMap<TelemetryKey, Sample>, StoreError> {
        // The heads first: a flush that is published in between is then seen twice, and merged, rather than not at all.
        let (heads, gone) = {
            let state = self.0.shard(shard).state.read();
            let gone = self.0.gone(&state, tenant.as_str());
            (state.newest((tenant.as_str(), device.as_str()), &gone), gone)
        };
        let gone = gone.of(device.as_str());
        let mut newest = latest::get(self.0.db.read(), tenant.as_str(), device.as_str()).await?;
        // Before it hides something that came after the erasure with an earlier time.
        newest.retain(|key, sample| !gone.has(key, sample));
        for (key, sample) in heads {
            latest::merge(&mut newest, &key, sample);
        }
        Ok(samples(newest).collect())
    }

    /// The latest values of a tenant's devices by name, those after `after`, at most `limit`: up to [`MAX_LATEST_DEVICES`], and
    /// one more to learn whether there is one. Fewer than that means that there are no more.
    ///
    /// # Errors
    /// When the database can't be read.
    pub async fn list_latest(
        &self,
        tenant: &Tenant,
        after: Option<&str>,
        limit: usize,
    ) -> Result<LatestPage, StoreError> {
        page::read(&self.0, tenant.as_str(), after.unwrap_or(""), limit.min(MAX_LATEST_DEVICES as usize + 1))
            .await
    }

    /// Puts other rules of retention in force, as of `now`.
    pub fn set_retention(&self, retention: &Retention, now: Timestamp) {
        let mut in_force = self.0.retention.write();
        in_force.set(retention);
        in_force.pass(now);
    }

    /// The folder of the files.
    pub fn folder(&self) -> &Path {
        &self.0.dir
    }

    /// Whether answers are complete, as far as is known.
    pub fn health(&self) -> Health {
        self.0.damage.health()
    }

    /// How much there is.
    pub fn stats(&self) -> StoreStats {
        let mut stats = StoreStats::default();
        for shard in &self.0.shards {
            let state = shard.state.read();
            for head in state.heads() {
                stats.head_points += head.points() as u64;
                stats.head_bytes += head.bytes() as u64;
            }
            let mut files = BTreeSet::new();
            for part in state.files.values().flatten() {
                files.insert(&part.file);
                stats.file_points += part.points;
                stats.file_bytes += part.size_bytes;
            }
            stats.files += files.len() as u64;
        }
        stats
    }

    /// Hands over the rows of the heads, and the files as of the same moment.
    fn reading(
        &self,
        shard: u16,
        tenant: &Tenant,
        (wanted, range): (Wanted, (i64, i64)),
        sink: &mut dyn FnMut(&str, Stored),
    ) -> Reading {
        let state = self.0.shard(shard).state.read();
        let gone = self.0.gone(&state, tenant.as_str());
        let gone_of_device = gone.of(wanted.devices.first().map_or("", |device| device));
        let devices = wanted.devices.iter();
        for (source, device) in devices.flat_map(|device| state.device(tenant.as_str(), device)) {
            let numbers: HashSet<u32> = wanted.keys.iter().filter_map(|key| source.key_number(key)).collect();
            let is_wanted =
                |row: &&Row| wanted.time(row.ts) && (wanted.keys.is_empty() || numbers.contains(&row.key));
            for row in device.rows.iter().filter(is_wanted) {
                if !gone_of_device.has_row(source.key(row), (row.ts, row.seq)) {
                    sink(source.key(row), source.stored(row));
                }
            }
        }
        let parts = state.files.get(tenant.as_str()).into_iter().flatten();
        let parts = parts.filter(|part| wanted.meets(part) && !gone.has_all(part)).cloned().collect();
        Reading {
            dir: self.0.dir.clone(),
            footers: Arc::clone(&self.0.footers),
            damage: Arc::clone(&self.0.damage),
            parts,
            gone,
            wanted,
            range,
            incomplete: BTreeSet::new(),
        }
    }
}

/// The rows that an answer needs.
fn wanted(device: &DeviceId, query: &RangeQuery, (from, to): (i64, i64)) -> Wanted {
    let mut keys: Vec<Box<str>> = query.keys.iter().map(|key| key.as_str().into()).collect();
    keys.sort_unstable();
    keys.dedup();
    let (keys, to) = match &query.resume {
        Some(cursor) => (cursor.keys(keys), cursor.end()),
        None => (keys, to),
    };
    Wanted { devices: vec![device.as_str().into()], keys, from, to }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.0.dir)
            .field("shards", &self.0.shards.len())
            .finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn shard(&self, shard: u16) -> &ShardSlot {
        self.shards
            .get(usize::from(shard))
            .expect("a shard is below the number that the store was opened with")
    }

    /// What of a tenant no longer counts, in the state of a shard.
    pub(crate) fn gone(&self, state: &ShardState, tenant: &str) -> Gone {
        Gone { erased: state.erasures.of(tenant).cloned(), kept: self.retention.read().of(tenant) }
    }
}

impl ShardState {
    /// Makes the parts of a file readable, in the place of the frozen head.
    pub(crate) fn publish(&mut self, moved: Moved) -> Option<Arc<Head>> {
        for (tenant, part) in moved.parts {
            self.files.entry(tenant).or_default().push(Arc::new(part));
        }
        let frozen = self.frozen.take()?;
        let erasures = &self.erasures;
        let is_erased = |row: &LargeRow| {
            let erased = erasures.device(&row.tenant, &row.device);
            erased.is_some_and(|erased| erased.has_all(self.frozen_clean_to))
        };
        let large = moved.large.into_iter().filter(|row| !is_erased(row)).collect();
        self.census.settle(&frozen, large, &self.live);
        Some(frozen)
    }

    /// The frozen head first: what is live arrived later.
    fn heads(&self) -> impl Iterator<Item = &Head> {
        self.frozen.as_deref().into_iter().chain([&self.live])
    }

    fn device<'a>(
        &'a self,
        tenant: &'a str,
        device: &'a str,
    ) -> impl Iterator<Item = (&'a Head, &'a DeviceHead)> {
        self.heads().filter_map(move |head| Some((head, head.find(tenant, device)?)))
    }

    fn newest(&self, (tenant, device): (&str, &str), gone: &Gone) -> latest::Newest {
        let gone = gone.of(device);
        let mut newest = latest::Newest::new();
        for (head, device) in self.device(tenant, device) {
            for row in Head::newest(device).filter(|row| !gone.has_row(head.key(row), (row.ts, row.seq))) {
                latest::merge(&mut newest, head.key(row), head.stored(row));
            }
        }
        newest
    }
}

fn samples(newest: latest::Newest) -> impl Iterator<Item = (TelemetryKey, Sample)> {
    newest.into_iter().filter_map(|(key, sample): (Box<str>, Stored)| {
        Some((TelemetryKey::parse(&key).ok()?, sample.into_sample()))
    })
}
