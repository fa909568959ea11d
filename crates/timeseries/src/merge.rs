//! Merges sorted sources of one tenant into one: rows by device, key and time, and of those that share all three only the one that
//! came last in the log. It goes by series, not by row: where sources don't overlap in time, their rows are copied in runs.

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{
    Array, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use hashbrown::HashMap;
use parquet::errors::ParquetError;

use crate::file::{DEVICE, FLAGS, KEY, SEQ, TEXT, TS, VALUE, schema};

/// Rows of a batch that comes out.
const BATCH_ROWS: usize = 8 * 1024;
/// Bytes of text after which it takes no further row.
const BATCH_TEXT_BYTES: usize = 8 << 20;

/// Batches in the form of a point file, sorted by device, key and time, each time of a series once.
pub(crate) type Sorted = Box<dyn Iterator<Item = Result<RecordBatch, ParquetError>> + Send>;

/// What comes out is sorted in the same way. A source that fails is left out from there on.
pub(crate) struct Merge {
    waiting: Vec<Sorted>,
    sources: Vec<Source>,
    output: Output,
}

impl Merge {
    pub(crate) fn new(sources: Vec<Sorted>) -> Self {
        Self { waiting: sources, sources: Vec::new(), output: Output::default() }
    }

    /// Copies the rows that come next, as many as one run of one source has.
    fn step(&mut self) -> Result<(), ParquetError> {
        let Some(first) = self.sources.iter().min_by(|a, b| a.series().cmp(&b.series())) else {
            return Ok(());
        };
        let series = first.series();
        let mut same = self.sources.iter().enumerate().filter(|(_, source)| source.series() == series);
        let Some((mut least, _)) = same.next() else { return Ok(()) };
        // Of the sources at this series: who is first, who has the same time but came later in the log, and where the next begins.
        let mut limit = i64::MAX;
        let mut superseded = Vec::new();
        for (other, source) in same {
            let best = &self.sources[least];
            match source.ts().cmp(&best.ts()) {
                Ordering::Greater => limit = limit.min(source.ts()),
                Ordering::Less => {
                    limit = limit.min(best.ts());
                    superseded.clear();
                    least = other;
                }
                Ordering::Equal if source.seq() >= best.seq() => {
                    superseded.push(least);
                    least = other;
                }
                Ordering::Equal => superseded.push(other),
            }
        }
        let source = &self.sources[least];
        let room = self.output.room();
        let rows = if superseded.is_empty() { source.run(limit, room) } else { 1 };
        let rows = self.output.extend(source, rows);
        let mut finished = Vec::new();
        let mut failed = None;
        for (index, rows) in
            std::iter::once((least, rows)).chain(superseded.into_iter().map(|other| (other, 1)))
        {
            match self.sources[index].advance(rows) {
                Ok(true) => {}
                Ok(false) => finished.push(index),
                Err(error) => {
                    finished.push(index);
                    failed = Some(error);
                }
            }
        }
        finished.sort_unstable();
        for index in finished.into_iter().rev() {
            self.sources.swap_remove(index);
        }
        failed.map_or(Ok(()), Err)
    }
}

impl Iterator for Merge {
    type Item = Result<RecordBatch, ParquetError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(waiting) = self.waiting.pop() {
            match Source::open(waiting) {
                Ok(source) => self.sources.extend(source),
                Err(error) => return Some(Err(error)),
            }
        }
        while !self.sources.is_empty() && self.output.room() > 0 {
            if let Err(error) = self.step() {
                return Some(Err(error));
            }
        }
        (self.output.room() < BATCH_ROWS).then(|| self.output.take())
    }
}

/// A source at a row.
struct Source {
    batches: Sorted,
    batch: Columns,
    row: usize,
    /// Where the series of the row ends in the batch.
    end: usize,
}

impl Source {
    /// None when it has no rows.
    fn open(mut batches: Sorted) -> Result<Option<Self>, ParquetError> {
        let Some(batch) = next_batch(&mut batches)? else { return Ok(None) };
        let end = batch.end_of_series(0);
        Ok(Some(Self { batches, batch, row: 0, end }))
    }

    fn series(&self) -> (&str, &str) {
        (self.batch.device(self.row), self.batch.key(self.row))
    }

    fn ts(&self) -> i64 {
        self.batch.ts.value(self.row)
    }

    fn seq(&self) -> u64 {
        self.batch.seq.value(self.row).cast_unsigned()
    }

    /// How many rows from here are of this series and before `limit`; at least one, at most `most`.
    fn run(&self, limit: i64, most: usize) -> usize {
        let end = self.end.min(self.row + most);
        let times = &self.batch.ts.values()[self.row..end];
        if times.last().is_some_and(|last| *last < limit) {
            return times.len();
        }
        times.partition_point(|ts| *ts < limit).max(1)
    }

    /// Goes on; false at the end.
    fn advance(&mut self, rows: usize) -> Result<bool, ParquetError> {
        self.row += rows;
        if self.row >= self.batch.ts.len() {
            match next_batch(&mut self.batches)? {
                None => return Ok(false),
                Some(batch) => self.batch = batch,
            }
            self.row = 0;
            self.end = 0;
        }
        if self.row >= self.end {
            self.end = self.batch.end_of_series(self.row);
        }
        Ok(true)
    }
}

/// The next batch that has rows.
fn next_batch(batches: &mut Sorted) -> Result<Option<Columns>, ParquetError> {
    for batch in batches {
        let batch = batch?;
        if batch.num_rows() > 0 {
            return Columns::of(&batch).map(Some);
        }
    }
    Ok(None)
}

/// The columns of a batch.
struct Columns {
    device: DictionaryArray<Int32Type>,
    devices: StringArray,
    key: DictionaryArray<Int32Type>,
    keys: StringArray,
    ts: TimestampMicrosecondArray,
    value: Float64Array,
    text: StringArray,
    seq: Int64Array,
    flags: Int32Array,
}

impl Columns {
    fn of(batch: &RecordBatch) -> Result<Self, ParquetError> {
        let columns = || {
            let column = |position: usize| batch.columns().get(position);
            let device = column(DEVICE)?.as_dictionary_opt::<Int32Type>()?.clone();
            let key = column(KEY)?.as_dictionary_opt::<Int32Type>()?.clone();
            Some(Self {
                devices: device.values().as_string_opt::<i32>()?.clone(),
                keys: key.values().as_string_opt::<i32>()?.clone(),
                device,
                key,
                ts: column(TS)?.as_primitive_opt::<TimestampMicrosecondType>()?.clone(),
                value: column(VALUE)?.as_primitive_opt::<Float64Type>()?.clone(),
                text: column(TEXT)?.as_string_opt::<i32>()?.clone(),
                seq: column(SEQ)?.as_primitive_opt::<Int64Type>()?.clone(),
                flags: column(FLAGS)?.as_primitive_opt::<Int32Type>()?.clone(),
            })
        };
        columns().ok_or_else(|| ParquetError::General("the columns are not those of a point file".to_owned()))
    }

    fn device(&self, row: usize) -> &str {
        self.device.key(row).map_or("", |code| self.devices.value(code))
    }

    fn key(&self, row: usize) -> &str {
        self.key.key(row).map_or("", |code| self.keys.value(code))
    }

    /// The first row after `row` that is of another series.
    fn end_of_series(&self, row: usize) -> usize {
        let (devices, keys) = (self.device.keys().values(), self.key.keys().values());
        let of = |row: usize| (devices.get(row), keys.get(row));
        let series = of(row);
        // Long series are common, and so are short ones.
        let mut step = 1;
        let mut low = row;
        while low + step < devices.len() && of(low + step) == series {
            low += step;
            step *= 2;
        }
        let mut high = (low + step).min(devices.len());
        while high - low > 1 {
            let middle = low.midpoint(high);
            if of(middle) == series { low = middle } else { high = middle }
        }
        low + 1
    }
}

/// Rows on their way out.
#[derive(Default)]
struct Output {
    device_names: Vec<String>,
    device: Vec<i32>,
    key_names: Vec<String>,
    key_codes: HashMap<String, i32>,
    key: Vec<i32>,
    ts: Vec<i64>,
    value: Float64Builder,
    text: StringBuilder,
    text_bytes: usize,
    seq: Vec<i64>,
    flags: Vec<i32>,
}

impl Output {
    fn room(&self) -> usize {
        if self.text_bytes >= BATCH_TEXT_BYTES { 0 } else { BATCH_ROWS.saturating_sub(self.ts.len()) }
    }

    /// Takes up to so many rows from where a source stands; how many it took, at least one.
    fn extend(&mut self, source: &Source, rows: usize) -> usize {
        let batch = &source.batch;
        let text = batch.text.slice(source.row, rows);
        let rows = self.extend_text(&text);
        let range = source.row..source.row + rows;
        let (device, key) = source.series();
        if self.device_names.last().is_none_or(|last| last != device) {
            self.device_names.push(device.to_owned());
        }
        let code = i32::try_from(self.device_names.len() - 1).expect("a batch has fewer devices than rows");
        self.device.resize(self.device.len() + rows, code);
        let code = match self.key_codes.get(key) {
            Some(code) => *code,
            None => {
                let code = i32::try_from(self.key_names.len()).expect("a batch has fewer keys than rows");
                self.key_names.push(key.to_owned());
                self.key_codes.insert(key.to_owned(), code);
                code
            }
        };
        self.key.resize(self.key.len() + rows, code);
        self.ts.extend_from_slice(&batch.ts.values()[range.clone()]);
        self.value.append_array(&batch.value.slice(source.row, rows));
        self.seq.extend_from_slice(&batch.seq.values()[range.clone()]);
        self.flags.extend_from_slice(&batch.flags.values()[range]);
        rows
    }

    fn extend_text(&mut self, text: &StringArray) -> usize {
        if text.null_count() == text.len() {
            self.text.append_nulls(text.len());
            return text.len();
        }
        for (row, text) in text.iter().enumerate() {
            self.text.append_option(text);
            self.text_bytes += text.map_or(0, str::len);
            if self.text_bytes >= BATCH_TEXT_BYTES {
                return row + 1;
            }
        }
        text.len()
    }

    fn take(&mut self) -> Result<RecordBatch, ParquetError> {
        let Self { device_names, device, key_names, key, ts, mut value, mut text, seq, flags, .. } =
            std::mem::take(self);
        let names = |names: Vec<String>| Arc::new(StringArray::from(names));
        Ok(RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(DictionaryArray::try_new(Int32Array::from(device), names(device_names))?),
                Arc::new(DictionaryArray::try_new(Int32Array::from(key), names(key_names))?),
                Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC")),
                Arc::new(value.finish()),
                Arc::new(text.finish()),
                Arc::new(Int64Array::from(seq)),
                Arc::new(Int32Array::from(flags)),
            ],
        )?)
    }
}

#[cfg(test)]
mod tests;
