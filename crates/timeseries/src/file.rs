//! The format of point files, shared by writer and reader.
//!
//! A file holds one flush of one shard, or one day of one tenant of a shard, sorted by tenant, device, key, time and place in
//! the log. A row group has rows of one tenant only; which ones stands in the manifest, and in the file under [`TENANTS`] in
//! case the manifest is lost.

use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{DictionaryArray, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};

use crate::sample::Stored;

/// Metadata entry of a file: lines of `tenant first_row_group row_groups`.
pub(crate) const TENANTS: &str = "drover.tenants";

/// Bit of the `flags` column beside those of `model::Flags`: the value is a boolean.
pub(crate) const BOOLEAN: i32 = 1 << 8;

// Positions of the columns.
pub(crate) const DEVICE: usize = 0;
pub(crate) const KEY: usize = 1;
pub(crate) const TS: usize = 2;
pub(crate) const VALUE: usize = 3;
pub(crate) const TEXT: usize = 4;
pub(crate) const SEQ: usize = 5;
pub(crate) const FLAGS: usize = 6;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let name = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    Arc::new(Schema::new(vec![
        Field::new("device", name.clone(), false),
        Field::new("key", name, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        Field::new("value", DataType::Float64, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("seq", DataType::Int64, false),
        Field::new("flags", DataType::Int32, false),
    ]))
});

/// The columns.
pub(crate) fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// The columns of a batch that say which row is which, of a batch with all columns of a point file.
pub(crate) struct RowNames<'a> {
    pub(crate) device: &'a DictionaryArray<Int32Type>,
    pub(crate) devices: &'a StringArray,
    pub(crate) key: &'a DictionaryArray<Int32Type>,
    pub(crate) keys: &'a StringArray,
    pub(crate) ts: &'a [i64],
    pub(crate) seq: &'a [i64],
}

impl<'a> RowNames<'a> {
    /// `None` when the columns are others.
    pub(crate) fn of(batch: &'a RecordBatch) -> Option<Self> {
        let column = |position: usize| batch.columns().get(position);
        let device = column(DEVICE)?.as_dictionary_opt::<Int32Type>()?;
        let key = column(KEY)?.as_dictionary_opt::<Int32Type>()?;
        Some(Self {
            devices: device.values().as_string_opt::<i32>()?,
            keys: key.values().as_string_opt::<i32>()?,
            device,
            key,
            ts: column(TS)?.as_primitive_opt::<TimestampMicrosecondType>()?.values(),
            seq: column(SEQ)?.as_primitive_opt::<Int64Type>()?.values(),
        })
    }
}

/// How a file came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// By a flush: of any tenants and times.
    Flushed = 0,
    /// By a merge: of one tenant and one day.
    Merged = 1,
}

/// The part of a file that belongs to one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) file: Arc<str>,
    pub(crate) level: Level,
    pub(crate) first_row_group: usize,
    pub(crate) row_groups: usize,
    pub(crate) min_ts: i64,
    pub(crate) max_ts: i64,
    pub(crate) min_device: Box<str>,
    pub(crate) max_device: Box<str>,
    pub(crate) points: u64,
    pub(crate) size_bytes: u64,
    /// What was erased up to this position of the log has no rows in it.
    pub(crate) clean_to: u64,
    /// Names the rules of retention that had passed over all of it when it was written; 0 for none.
    pub(crate) trimmed: i64,
    /// Bits of the rollups that lie beside it.
    pub(crate) rollups: u8,
}

/// The parts of one file, with their tenants.
pub(crate) type Parts = Vec<(Box<str>, Part)>;

/// Which rows of a part a query needs.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// Sorted; empty means all.
    pub(crate) devices: Vec<Box<str>>,
    /// Sorted; empty means all.
    pub(crate) keys: Vec<Box<str>>,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Wanted {
    pub(crate) fn device(&self, device: &str) -> bool {
        has(&self.devices, device)
    }

    pub(crate) fn key(&self, key: &str) -> bool {
        has(&self.keys, key)
    }

    pub(crate) fn time(&self, ts: i64) -> bool {
        self.from <= ts && ts < self.to
    }

    /// Whether a part can have such rows.
    pub(crate) fn meets(&self, part: &Part) -> bool {
        part.min_ts < self.to
            && self.from <= part.max_ts
            && meets(&self.devices, part.min_device.as_bytes(), part.max_device.as_bytes())
    }
}

fn has(names: &[Box<str>], name: &str) -> bool {
    names.is_empty() || names.binary_search_by(|wanted| (**wanted).cmp(name)).is_ok()
}

/// Whether one of some sorted names lies between `min` and `max`; of no names, all do.
pub(crate) fn meets(names: &[Box<str>], min: &[u8], max: &[u8]) -> bool {
    let first = names.partition_point(|name| name.as_bytes() < min);
    names.is_empty() || names.get(first).is_some_and(|name| name.as_bytes() <= max)
}

/// Takes rows as they are found; false means that it wants no more.
pub(crate) type Sink<'a> = dyn FnMut(&str, Stored) -> bool + 'a;
