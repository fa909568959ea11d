//! Which rows of a tenant no longer count, as of one moment. Whoever hands out rows of heads or files asks here, and nobody else
//! decides it.

use std::sync::Arc;

use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;

use crate::erasures::{Erased, OfTenant};
use crate::file::{Part, RowNames, Wanted};
use crate::retention::Kept;
use crate::sample::Stored;

/// What no longer counts of a tenant in one shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gone {
    pub(crate) erased: Option<Arc<OfTenant>>,
    pub(crate) kept: Option<Kept>,
}

/// The same of one device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoneOfDevice<'a> {
    erased: Option<&'a Erased>,
    kept: Option<&'a Kept>,
}

impl GoneOfDevice<'_> {
    pub(crate) fn has(self, key: &str, sample: &Stored) -> bool {
        self.has_row(key, (sample.ts, sample.seq))
    }

    /// Whether a row with this time and place in the log is among it.
    pub(crate) fn has_row(self, key: &str, (ts, seq): (i64, u64)) -> bool {
        self.erased.is_some_and(|erased| erased.has(key, seq))
            || self.kept.is_some_and(|kept| !kept.has(key, ts))
    }
}

impl Gone {
    pub(crate) fn of(&self, device: &str) -> GoneOfDevice<'_> {
        let erased = self.erased.as_ref().and_then(|erased| erased.device(device));
        GoneOfDevice { erased, kept: self.kept.as_ref() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.erased.is_none() && self.kept.is_none()
    }

    /// Whether it has all rows of a part.
    pub(crate) fn has_all(&self, part: &Part) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.has_none(part))
    }

    /// Whether a merged part is worth writing anew without its rows that no longer count. Of those that grow too old one after the
    /// other, when the last one has.
    pub(crate) fn is_due(&self, part: &Part) -> bool {
        self.erased.as_ref().is_some_and(|erased| erased.meets(part, &[]))
            || self.kept.as_ref().is_some_and(|kept| kept.is_due(part))
    }

    /// Whether rows of a part may be among it, of devices with these names; of no names, all.
    pub(crate) fn meets(&self, part: &Part, devices: &[Box<str>]) -> bool {
        self.erased.as_ref().is_some_and(|erased| erased.meets(part, devices))
            || self.kept.as_ref().is_some_and(|kept| !kept.has_all(part))
    }

    /// The rows of a part that may be among it.
    pub(crate) fn wanted_of(&self, part: &Part) -> Wanted {
        let is_kept = self.kept.as_ref().is_none_or(|kept| kept.has_all(part));
        let devices = self.erased.as_ref().filter(|_| is_kept).map(|erased| erased.devices_of(part));
        let devices = devices.unwrap_or_default();
        Wanted { devices, keys: Vec::new(), from: i64::MIN, to: i64::MAX }
    }

    /// What [`Part::trimmed`] is for a part that ends at `max_ts` and is written without this.
    pub(crate) fn trimmed(&self, max_ts: i64) -> i64 {
        self.kept.as_ref().map_or(0, |kept| kept.trimmed(max_ts))
    }

    /// The rows of a batch that count. It has all columns of a point file.
    pub(crate) fn filter(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if self.is_empty() {
            return Ok(batch);
        }
        let strange = || ArrowError::SchemaError("the columns are not those of a point file".to_owned());
        let columns = RowNames::of(&batch).ok_or_else(strange)?;
        let devices: Vec<GoneOfDevice<'_>> =
            columns.devices.iter().map(|name| self.of(name.unwrap_or_default())).collect();
        if self.kept.is_none() && devices.iter().all(|device| device.erased.is_none()) {
            return Ok(batch);
        }
        let from = |key: &str| self.kept.as_ref().map_or(i64::MIN, |kept| kept.from(key));
        let from: Vec<i64> = columns.keys.iter().map(|key| from(key.unwrap_or_default())).collect();
        let counts: BooleanArray = (0..batch.num_rows())
            .map(|row| {
                let device = columns.device.key(row).and_then(|code| devices.get(code).copied());
                let key = columns.key.key(row).filter(|code| *code < columns.keys.len());
                let name = key.map_or("", |code| columns.keys.value(code));
                let seq = columns.seq.get(row).copied().unwrap_or_default().cast_unsigned();
                let is_erased = device.and_then(|device| device.erased).is_some_and(|it| it.has(name, seq));
                let from = key.and_then(|code| from.get(code)).copied().unwrap_or(i64::MIN);
                Some(!is_erased && columns.ts.get(row).is_some_and(|ts| *ts >= from))
            })
            .collect();
        if counts.false_count() == 0 {
            return Ok(batch);
        }
        filter_record_batch(&batch, &counts)
    }
}
