//! The files that a merge writes: one for each day, some at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, TimestampMicrosecondType};
use arrow_array::{Array, BooleanArray, RecordBatch};
use arrow_select::filter::filter_record_batch;
use parquet::errors::ParquetError;

use super::choose::Job;
use crate::StoreError;
use crate::file::{DEVICE, Level, Part, TS, Wanted};
use crate::flush::ENDING;
use crate::rollup::Rollups;
use crate::store::Inner;
use crate::write::{NewFile, note_tenants, settle_part};

/// Files that are written at a time, each with a row group in memory.
const OPEN_DAYS: usize = 8;
const DAY_US: i64 = 86_400_000_000;

/// The day of a time, counted from 1970-01-01 in UTC.
pub(crate) fn day(ts: i64) -> i64 {
    ts.div_euclid(DAY_US)
}

/// The days of one merge. Dropped before [`Self::finish`], what was written is removed.
pub(crate) struct Days<'a> {
    inner: &'a Arc<Inner>,
    job: &'a Job,
    open: BTreeMap<i64, DayFile>,
    /// The days of this pass, when they are known.
    only: Option<BTreeSet<i64>>,
    /// Days whose rows were seen and left for a later pass.
    later: BTreeSet<i64>,
    done: Vec<Part>,
}

struct DayFile {
    file: NewFile,
    rollups: Rollups,
    part: Part,
}

impl<'a> Days<'a> {
    pub(crate) fn new(inner: &'a Arc<Inner>, job: &'a Job) -> Self {
        Self { inner, job, open: BTreeMap::new(), only: None, later: BTreeSet::new(), done: Vec::new() }
    }

    /// The rows that this pass needs.
    pub(crate) fn wanted(&self) -> Wanted {
        let days = self.only.iter().flatten();
        let first = days.clone().next().map_or(i64::MIN, |day| day.saturating_mul(DAY_US));
        let end = days.last().map_or(i64::MAX, |day| day.saturating_add(1).saturating_mul(DAY_US));
        Wanted { devices: Vec::new(), keys: Vec::new(), from: first, to: end }
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), StoreError> {
        let days: Vec<i64> = times(batch).iter().map(|ts| day(*ts)).collect();
        let distinct: BTreeSet<i64> = days.iter().copied().collect();
        if let (Some(day), 1) = (distinct.first(), distinct.len()) {
            return self.write_day(*day, batch);
        }
        for day in distinct {
            let is_day: BooleanArray = days.iter().map(|other| Some(*other == day)).collect();
            let rows = filter_record_batch(batch, &is_day).map_err(|error| self.unreadable(&error.into()))?;
            self.write_day(day, &rows)?;
        }
        Ok(())
    }

    fn write_day(&mut self, day: i64, rows: &RecordBatch) -> Result<(), StoreError> {
        if self.only.as_ref().is_some_and(|only| !only.contains(&day)) {
            return Ok(());
        }
        if !self.open.contains_key(&day) {
            if self.open.len() >= OPEN_DAYS {
                self.later.insert(day);
                return Ok(());
            }
            let file = self.create(rows)?;
            self.open.insert(day, file);
        }
        match self.open.get_mut(&day) {
            Some(file) => file.write(rows),
            None => Ok(()),
        }
    }

    fn create(&self, rows: &RecordBatch) -> Result<DayFile, StoreError> {
        let number = self.inner.next_file.fetch_add(1, Ordering::Relaxed);
        let name = format!("{:05}-{number:012}.{ENDING}", self.job.shard);
        let path = self.inner.dir.join(&name);
        let file = NewFile::create(&path)?;
        let rollups = Rollups::new(
            &path,
            self.job.parts.iter().map(|part| part.points).sum(),
            self.inner.points_per_rollup_row,
        );
        let part = Part {
            file: name.into(),
            level: Level::Merged,
            first_row_group: 0,
            row_groups: 0,
            min_ts: i64::MAX,
            max_ts: i64::MIN,
            min_device: device(rows, 0).into(),
            max_device: "".into(),
            points: 0,
            size_bytes: 0,
            clean_to: self.job.clean_to,
            trimmed: 0,
            rollups: 0,
        };
        Ok(DayFile { file, rollups, part })
    }

    /// Ends a pass; whether there is no other.
    pub(crate) fn is_done(&mut self) -> Result<bool, StoreError> {
        for file in std::mem::take(&mut self.open).into_values() {
            self.done.push(file.finish(self.job)?);
        }
        let next: BTreeSet<i64> = self.later.iter().copied().take(OPEN_DAYS).collect();
        self.later.retain(|day| !next.contains(day));
        let is_done = next.is_empty();
        self.only = Some(next);
        Ok(is_done)
    }

    pub(crate) fn finish(mut self) -> Vec<Part> {
        std::mem::take(&mut self.done)
    }

    /// The error of a merge whose input can't be read.
    pub(crate) fn unreadable(&self, error: &ParquetError) -> StoreError {
        StoreError::Encode {
            path: self.inner.dir.display().to_string(),
            source: ParquetError::General(error.to_string()),
        }
    }
}

impl Drop for Days<'_> {
    fn drop(&mut self) {
        for part in &self.done {
            super::remove(&self.inner.dir, part);
        }
    }
}

impl DayFile {
    fn write(&mut self, rows: &RecordBatch) -> Result<(), StoreError> {
        let (part, times) = (&mut self.part, times(rows));
        part.min_ts = times.iter().copied().min().unwrap_or(i64::MAX).min(part.min_ts);
        part.max_ts = times.iter().copied().max().unwrap_or(i64::MIN).max(part.max_ts);
        part.max_device = device(rows, rows.num_rows().saturating_sub(1)).into();
        part.points += rows.num_rows() as u64;
        self.rollups.add(rows)?;
        self.file.write(rows)
    }

    fn finish(mut self, job: &Job) -> Result<Part, StoreError> {
        self.part.trimmed = job.gone.trimmed(self.part.max_ts);
        self.file.encode(|writer| {
            writer.flush()?;
            settle_part(writer, &mut self.part);
            note_tenants(writer, [(&*job.tenant, &self.part)].into_iter());
            Ok(())
        })?;
        self.file.finish()?;
        // One that is not there is only missed.
        match self.rollups.finish(self.part.points) {
            Ok(rollups) => self.part.rollups = rollups,
            Err(error) => tracing::warn!("rollups of {} can't be written: {error}", self.part.file),
        }
        Ok(self.part)
    }
}

fn times(batch: &RecordBatch) -> &[i64] {
    let column =
        batch.columns().get(TS).and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    column.map_or(&[], |times| times.values())
}

fn device(batch: &RecordBatch, row: usize) -> &str {
    let names = || {
        let column = batch.columns().get(DEVICE)?.as_dictionary_opt::<Int32Type>()?;
        let names = column.values().as_string_opt::<i32>()?;
        let code = column.key(row).filter(|code| *code < names.len())?;
        Some(names.value(code))
    };
    names().unwrap_or_default()
}
