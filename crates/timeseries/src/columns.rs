//! Rows of a head as a batch of columns, in the form of a point file.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, builder::StringBuilder,
};
use arrow_schema::ArrowError;

use crate::file::{BOOLEAN, Wanted, schema};
use crate::head::{Form, Head, Row, Sorter};

/// Rows of a row group: the unit of a dictionary.
pub(crate) const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Bytes of text after which a row group takes no further row: a column holds 2 GiB, and its writer as much again.
const ROW_GROUP_TEXT_BYTES: usize = 64 << 20;
/// Rows of a batch that a query reads.
const BATCH_ROWS: usize = 8 * 1024;

/// Rows on their way into a batch.
#[derive(Default)]
pub(crate) struct Columns {
    devices: Vec<String>,
    device: Vec<i32>,
    key: Vec<i32>,
    ts: Vec<i64>,
    value: Vec<Option<f64>>,
    text: StringBuilder,
    text_bytes: usize,
    seq: Vec<i64>,
    flags: Vec<i32>,
}

impl Columns {
    /// How many of these rows it takes; at least one, since a full one is taken at once.
    pub(crate) fn room(&self, head: &Head, rows: &[Row]) -> usize {
        let room = rows.len().min(ROW_GROUP_ROWS - self.ts.len());
        let mut text_bytes = self.text_bytes;
        let enough = rows.iter().take(room).position(|row| {
            text_bytes += head.text_bytes_of(row);
            text_bytes >= ROW_GROUP_TEXT_BYTES
        });
        enough.map_or(room, |last| last + 1)
    }

    pub(crate) fn times(&self) -> &[i64] {
        &self.ts
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ts.is_empty()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.ts.len() >= ROW_GROUP_ROWS || self.text_bytes >= ROW_GROUP_TEXT_BYTES
    }

    pub(crate) fn extend(&mut self, head: &Head, device: &str, rows: &[Row]) {
        let code = i32::try_from(self.devices.len()).expect("a row group has fewer devices than rows");
        self.devices.push(device.to_owned());
        self.device.resize(self.device.len() + rows.len(), code);
        self.key
            .extend(rows.iter().map(|row| i32::try_from(row.key).expect("a head has fewer than 2^31 keys")));
        self.ts.extend(rows.iter().map(|row| row.ts));
        self.seq.extend(rows.iter().map(|row| row.seq.cast_signed()));
        for row in rows {
            let (number, text, boolean) = match row.form {
                Form::Number => (Some(f64::from_bits(row.bits)), None, 0),
                Form::Bool => (Some(f64::from_bits(row.bits)), None, BOOLEAN),
                Form::Text => (None, Some(head.text_of(row)), 0),
            };
            self.text_bytes += text.map_or(0, str::len);
            self.value.push(number);
            self.text.append_option(text);
            self.flags.push(i32::from(row.flags.0) | boolean);
        }
    }

    pub(crate) fn take(&mut self, keys: &ArrayRef) -> Result<RecordBatch, ArrowError> {
        let Self { devices, device, key, ts, value, mut text, seq, flags, .. } = std::mem::take(self);
        let names: ArrayRef = Arc::new(StringArray::from(devices));
        let device = DictionaryArray::try_new(Int32Array::from(device), names)?;
        let key = DictionaryArray::try_new(Int32Array::from(key), Arc::clone(keys))?;
        RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(device),
                Arc::new(key),
                Arc::new(TimestampMicrosecondArray::from(ts).with_timezone("UTC")),
                Arc::new(Float64Array::from(value)),
                Arc::new(text.finish()),
                Arc::new(Int64Array::from(seq)),
                Arc::new(Int32Array::from(flags)),
            ],
        )
    }
}

/// The names of a head's keys, by their numbers.
pub(crate) fn key_names(head: &Head) -> ArrayRef {
    let names = (0..head.key_count()).map(|key| head.key_named(u32::try_from(key).unwrap_or(u32::MAX)));
    Arc::new(StringArray::from_iter_values(names))
}

/// The rows of a tenant in a head, as batches in the order of a file.
pub(crate) struct HeadBatches {
    head: Arc<Head>,
    wanted: Wanted,
    keys: ArrayRef,
    sorter: Sorter,
    /// The devices that are left, the next one last.
    devices: Vec<(Box<str>, u32)>,
    /// Rows of the device that was begun.
    rows: std::vec::IntoIter<Row>,
    device: Box<str>,
}

impl HeadBatches {
    pub(crate) fn new(head: Arc<Head>, tenant: &str, wanted: Wanted) -> Self {
        let mut devices = head.slots(tenant, &wanted);
        devices.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        let (keys, sorter) = (key_names(&head), Sorter::new(&head));
        Self { head, wanted, keys, sorter, devices, rows: Vec::new().into_iter(), device: "".into() }
    }

    /// Sorts the rows of the next device; false when there is none.
    fn advance(&mut self) -> bool {
        let Some((device, slot)) = self.devices.pop() else { return false };
        let (head, wanted) = (&self.head, &self.wanted);
        let sorted = self.sorter.sort(head.at(slot)).iter();
        let rows: Vec<Row> =
            sorted.filter(|row| wanted.time(row.ts) && wanted.key(head.key(row))).copied().collect();
        self.rows = rows.into_iter();
        self.device = device;
        true
    }
}

impl Iterator for HeadBatches {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut columns = Columns::default();
        while columns.times().len() < BATCH_ROWS && !columns.is_full() {
            if self.rows.as_slice().is_empty() {
                if self.advance() {
                    continue;
                }
                break;
            }
            let rows = self.rows.as_slice();
            let rows = rows.get(..BATCH_ROWS - columns.times().len()).unwrap_or(rows);
            let rows = rows.get(..columns.room(&self.head, rows)).unwrap_or(rows);
            columns.extend(&self.head, &self.device, rows);
            let taken = rows.len();
            self.rows.nth(taken - 1);
        }
        (!columns.is_empty()).then(|| columns.take(&self.keys))
    }
}
