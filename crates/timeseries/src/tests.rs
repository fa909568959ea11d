//! Behaviour of the store as its callers see it.

mod compact;
mod erase;
mod faults;
mod model;
mod pages;
mod queries;
mod retention;
mod rollups;

use std::collections::BTreeMap;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use drover_db::Db;
use drover_model::{DeviceId, Flags, TelemetryKey, Tenant, TenantId, Timestamp, Value, ValueRef};

use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::*;

/// A database and a folder, and the store in them.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
    db: Db,
    options: StoreOptions,
    pub(crate) store: Store,
}

const SHARD: u16 = 0;

impl Place {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = Db::open(&dir.path().join("drover.db")).await.unwrap();
        let options = StoreOptions::default();
        let store = open(&db, &dir, options).await;
        Self { dir, db, options, store }
    }

    /// As after a crash: what was in memory is gone.
    async fn reopen(&mut self) {
        self.store = open(&self.db, &self.dir, self.options).await;
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a point, spelled out in each test")]
    pub(crate) fn push(&self, device: &str, key: &str, ts: i64, value: ValueRef<'_>, seq: u64) {
        self.store.apply(SHARD, |head| {
            let slot = head.device("t", device);
            head.push(slot, key, Timestamp::from_micros(ts), value, seq, Flags::NONE);
        });
    }

    pub(crate) fn number(&self, device: &str, ts: i64, number: f64) {
        self.push(device, "k", ts, ValueRef::Number(number), u64::try_from(ts).unwrap());
    }

    pub(crate) async fn flush(&self) {
        self.try_flush().await.unwrap();
    }

    /// None when there is nothing to write.
    async fn try_flush(&self) -> Option<()> {
        let flush = self.store.freeze_and_write(SHARD).await.unwrap()?;
        let mut tx = self.db.begin().await.unwrap();
        flush.record(&mut tx).await.unwrap();
        tx.commit().await.unwrap();
        flush.publish();
        Some(())
    }

    async fn range(&self, device: &str, query: &RangeQuery) -> RangeAnswer {
        self.store.range(SHARD, &tenant("t"), &id(device), query).await.unwrap()
    }

    async fn range_of(&self, name: &str, device: &str) -> RangeAnswer {
        self.store.range(SHARD, &tenant(name), &id(device), &all()).await.unwrap()
    }

    /// The positions in the log of all rows in all files.
    fn positions(&self) -> Vec<u64> {
        self.files().iter().flat_map(|path| positions(path)).collect()
    }

    /// Names of the point files in the folder.
    pub(crate) fn files(&self) -> Vec<std::path::PathBuf> {
        let mut files = self.all_files();
        files.retain(|path| path.extension().is_none_or(|ending| ending != "rollup"));
        files
    }

    /// Those of rollups too.
    fn all_files(&self) -> Vec<std::path::PathBuf> {
        let entries = std::fs::read_dir(self.dir.path().join("points")).unwrap();
        let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        files
    }
}

/// The positions in the log of all rows in a file.
fn positions(path: &std::path::Path) -> Vec<u64> {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut all = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let seq = batch.column_by_name("seq").unwrap().as_primitive::<Int64Type>().clone();
        all.extend(seq.values().iter().map(|seq| seq.cast_unsigned()));
    }
    all
}

async fn open(db: &Db, dir: &tempfile::TempDir, options: StoreOptions) -> Store {
    Store::open(db.clone(), dir.path().join("points"), options).await.unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test is its own authority")]
pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant::authenticated(TenantId::parse(name).unwrap())
}

fn id(device: &str) -> DeviceId {
    DeviceId::parse(device).unwrap()
}

fn key(name: &str) -> TelemetryKey {
    TelemetryKey::parse(name).unwrap()
}

/// Everything, as it is.
fn all() -> RangeQuery {
    let (from, to) = (Timestamp::MIN, Timestamp::MAX);
    RangeQuery {
        keys: Vec::new(),
        from,
        to,
        interval: None,
        aggregation: None,
        limit: usize::MAX,
        resume: None,
    }
}

/// Times and numbers of one series of an answer.
fn numbers(answer: &RangeAnswer, name: &str) -> Vec<(i64, f64)> {
    let samples = answer.series.get(name).map(Vec::as_slice).unwrap_or_default();
    let number = |value: &Value| match value {
        Value::Number(number) => *number,
        other => panic!("{other:?} is not a number"),
    };
    samples.iter().map(|sample| (sample.ts.as_micros(), number(&sample.value))).collect()
}
