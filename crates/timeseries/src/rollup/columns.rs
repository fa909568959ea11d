//! The format of rollups. What tells where rows are stands in the same places as in a point file, so that the same code finds them.

use std::sync::{Arc, LazyLock};

use arrow_array::builder::{
    Float64Builder, Int32Builder, Int64Builder, StringBuilder, StringDictionaryBuilder,
    TimestampMicrosecondBuilder,
};
use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef, TimeUnit};
use drover_model::{Flags, Value};

use crate::file::{DEVICE, KEY, TS};
use crate::sample::Stored;
use crate::summary::Summary;

const FIRST: usize = 3;
/// Where a point file has its texts.
const LAST_TEXT: usize = 4;
const FIRST_TEXT: usize = 5;
const LAST: usize = 6;
const SAMPLES: usize = 7;
const NUMBERS: usize = 8;
const SUM: usize = 9;
const MIN: usize = 10;
const MAX: usize = 11;
const FLAGS: usize = 12;

/// Bits of the column `flags` beside those of `model::Flags`: the first, or the last, value is a boolean.
const FIRST_BOOLEAN: i32 = 1 << 8;
const LAST_BOOLEAN: i32 = 1 << 9;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let name = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let number = |name: &str| Field::new(name, DataType::Float64, true);
    let count = |name: &str| Field::new(name, DataType::Int64, false);
    Arc::new(Schema::new(vec![
        Field::new("device", name.clone(), false),
        Field::new("key", name, false),
        Field::new("ts", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), false),
        number("first"),
        Field::new("last_text", DataType::Utf8, true),
        Field::new("first_text", DataType::Utf8, true),
        number("last"),
        count("samples"),
        count("numbers"),
        number("sum"),
        number("min"),
        number("max"),
        Field::new("flags", DataType::Int32, false),
    ]))
});

pub(crate) fn schema() -> SchemaRef {
    Arc::clone(&SCHEMA)
}

/// Rows on their way into a file.
pub(crate) struct Builder {
    device: StringDictionaryBuilder<Int32Type>,
    key: StringDictionaryBuilder<Int32Type>,
    ts: TimestampMicrosecondBuilder,
    first: Float64Builder,
    last_text: StringBuilder,
    first_text: StringBuilder,
    last: Float64Builder,
    samples: Int64Builder,
    numbers: Int64Builder,
    sum: Float64Builder,
    min: Float64Builder,
    max: Float64Builder,
    flags: Int32Builder,
    text_bytes: usize,
    rows: usize,
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            device: StringDictionaryBuilder::new(),
            key: StringDictionaryBuilder::new(),
            ts: TimestampMicrosecondBuilder::new().with_timezone("UTC"),
            first: Float64Builder::new(),
            last_text: StringBuilder::new(),
            first_text: StringBuilder::new(),
            last: Float64Builder::new(),
            samples: Int64Builder::new(),
            numbers: Int64Builder::new(),
            sum: Float64Builder::new(),
            min: Float64Builder::new(),
            max: Float64Builder::new(),
            flags: Int32Builder::new(),
            text_bytes: 0,
            rows: 0,
        }
    }
}

impl Builder {
    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    pub(crate) fn text_bytes(&self) -> usize {
        self.text_bytes
    }

    pub(crate) fn add(&mut self, (device, key): (&str, &str), start: i64, summary: &Summary) {
        let count = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
        self.device.append_value(device);
        self.key.append_value(key);
        self.ts.append_value(start);
        let (first, first_text, first_is_boolean) = parts(&summary.first.value);
        let (last, last_text, last_is_boolean) = parts(&summary.last.value);
        self.first.append_option(first);
        self.first_text.append_option(first_text);
        self.last.append_option(last);
        self.last_text.append_option(last_text);
        self.samples.append_value(count(summary.samples));
        self.numbers.append_value(count(summary.numbers));
        self.sum.append_value(summary.sum);
        self.min.append_value(summary.min);
        self.max.append_value(summary.max);
        let booleans =
            if first_is_boolean { FIRST_BOOLEAN } else { 0 } | if last_is_boolean { LAST_BOOLEAN } else { 0 };
        self.flags.append_value(i32::from(summary.flags.0) | booleans);
        self.text_bytes += first_text.map_or(0, str::len) + last_text.map_or(0, str::len);
        self.rows += 1;
    }

    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        let mut this = std::mem::take(self);
        RecordBatch::try_new(
            schema(),
            vec![
                Arc::new(this.device.finish()),
                Arc::new(this.key.finish()),
                Arc::new(this.ts.finish()),
                Arc::new(this.first.finish()),
                Arc::new(this.last_text.finish()),
                Arc::new(this.first_text.finish()),
                Arc::new(this.last.finish()),
                Arc::new(this.samples.finish()),
                Arc::new(this.numbers.finish()),
                Arc::new(this.sum.finish()),
                Arc::new(this.min.finish()),
                Arc::new(this.max.finish()),
                Arc::new(this.flags.finish()),
            ],
        )
    }
}

/// A value as a number or a text, and whether it is a boolean.
fn parts(value: &Value) -> (Option<f64>, Option<&str>, bool) {
    match value {
        Value::Number(number) => (Some(*number), None, false),
        Value::Bool(truth) => (Some(f64::from(u8::from(*truth))), None, true),
        Value::Text(text) => (None, Some(text), false),
    }
}

/// Hands over the rows of a batch: device, key, start, and what is known. None when it has other columns.
pub(crate) fn each(
    batch: &RecordBatch,
    mut take: impl FnMut(&str, &str, i64, Summary) -> bool,
) -> Option<bool> {
    let column = |position: usize| batch.columns().get(position);
    let number = |position| column(position)?.as_primitive_opt::<Float64Type>();
    let text = |position| column(position)?.as_string_opt::<i32>();
    let count = |position| Some(column(position)?.as_primitive_opt::<Int64Type>()?.values());
    let device = column(DEVICE)?.as_dictionary_opt::<Int32Type>()?;
    let devices = device.values().as_string_opt::<i32>()?;
    let key = column(KEY)?.as_dictionary_opt::<Int32Type>()?;
    let keys = key.values().as_string_opt::<i32>()?;
    let ts = column(TS)?.as_primitive_opt::<TimestampMicrosecondType>()?.values();
    let (first, first_text) = (number(FIRST)?, text(FIRST_TEXT)?);
    let (last, last_text) = (number(LAST)?, text(LAST_TEXT)?);
    let (samples, numbers) = (count(SAMPLES)?, count(NUMBERS)?);
    let (sum, min, max) = (number(SUM)?, number(MIN)?, number(MAX)?);
    let flags = column(FLAGS)?.as_primitive_opt::<Int32Type>()?.values();
    for row in 0..batch.num_rows() {
        let (start, bits) = (*ts.get(row)?, *flags.get(row)?);
        let own = Flags(u8::try_from(bits & 0xff).unwrap_or(0));
        let value = |number: &arrow_array::Float64Array, text: &arrow_array::StringArray, boolean: i32| {
            let value = if text.is_valid(row) {
                Value::Text(text.value(row).into())
            } else if bits & boolean != 0 {
                Value::Bool(number.value(row) != 0.0)
            } else {
                Value::Number(number.value(row))
            };
            Stored { ts: start, seq: 0, value, flags: own }
        };
        let summary = Summary {
            samples: (*samples.get(row)?).cast_unsigned(),
            numbers: (*numbers.get(row)?).cast_unsigned(),
            sum: sum.value(row),
            min: min.value(row),
            max: max.value(row),
            flags: own,
            first: value(first, first_text, FIRST_BOOLEAN),
            last: value(last, last_text, LAST_BOOLEAN),
        };
        let (device, key) = (device.key(row)?, key.key(row)?);
        let is_code = device < devices.len() && key < keys.len();
        if is_code && !take(devices.value(device), keys.value(key), start, summary) {
            return Some(false);
        }
    }
    Some(true)
}
