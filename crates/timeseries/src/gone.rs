//! Which rows of a tenant no longer count, as of one moment. Whoever hands out rows of heads or files asks here, and nobody else
//! decides it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, BooleanArray, DictionaryArray, RecordBatch, StringArray};
use arrow_schema::ArrowError;
use arrow_select::filter::filter_record_batch;

use crate::erasures::{Erased, OfTenant};
use crate::file::{DEVICE, KEY, Part, SEQ};

/// What no longer counts of a tenant in one shard.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gone {
    pub(crate) erased: Option<Arc<OfTenant>>,
}

/// The same of one device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoneOfDevice<'a> {
    erased: Option<&'a Erased>,
}

impl GoneOfDevice<'_> {
    pub(crate) fn has(self, key: &str, seq: u64) -> bool {
        self.erased.is_some_and(|erased| erased.has(key, seq))
    }
}

impl Gone {
    pub(crate) fn of(&self, device: &str) -> GoneOfDevice<'_> {
        GoneOfDevice { erased: self.erased.as_ref().and_then(|erased| erased.device(device)) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.erased.is_none()
    }

    /// Whether rows of a part may be among it, of devices with these names; of no names, all.
    pub(crate) fn meets(&self, part: &Part, devices: &[Box<str>]) -> bool {
        self.erased.as_ref().is_some_and(|erased| erased.meets(part, devices))
    }

    /// The devices whose rows in a part may be among it.
    pub(crate) fn devices_of(&self, part: &Part) -> Vec<Box<str>> {
        self.erased.as_ref().map(|erased| erased.devices_of(part)).unwrap_or_default()
    }

    /// The rows of a batch that count. It has all columns of a point file.
    pub(crate) fn filter(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if self.is_empty() {
            return Ok(batch);
        }
        let strange = || ArrowError::SchemaError("the columns are not those of a point file".to_owned());
        let columns = Columns::of(&batch).ok_or_else(strange)?;
        let devices: Vec<GoneOfDevice<'_>> =
            columns.devices.iter().map(|name| self.of(name.unwrap_or_default())).collect();
        if devices.iter().all(|device| device.erased.is_none()) {
            return Ok(batch);
        }
        let counts: BooleanArray = (0..batch.num_rows())
            .map(|row| {
                let device = columns.device.key(row).and_then(|code| devices.get(code).copied());
                let key = columns.key.key(row).filter(|code| *code < columns.keys.len());
                let key = key.map_or("", |code| columns.keys.value(code));
                let seq = columns.seq.get(row).copied().unwrap_or_default().cast_unsigned();
                Some(!device.is_some_and(|device| device.has(key, seq)))
            })
            .collect();
        if counts.false_count() == 0 {
            return Ok(batch);
        }
        filter_record_batch(&batch, &counts)
    }
}

struct Columns<'a> {
    device: &'a DictionaryArray<Int32Type>,
    devices: &'a StringArray,
    key: &'a DictionaryArray<Int32Type>,
    keys: &'a StringArray,
    seq: &'a [i64],
}

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let column = |position: usize| batch.columns().get(position);
        let device = column(DEVICE)?.as_dictionary_opt::<Int32Type>()?;
        let key = column(KEY)?.as_dictionary_opt::<Int32Type>()?;
        Some(Self {
            devices: device.values().as_string_opt::<i32>()?,
            keys: key.values().as_string_opt::<i32>()?,
            device,
            key,
            seq: column(SEQ)?.as_primitive_opt::<Int64Type>()?.values(),
        })
    }
}
