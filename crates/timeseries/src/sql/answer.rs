//! Forms of an answer: batches become JSON, CSV or an Arrow stream, a piece at a time.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::{Array, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use bytes::Bytes;
use datafusion::arrow::compute::cast;
use datafusion::arrow::csv;
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::arrow::json::writer::{JsonFormat, Writer as JsonWriter, WriterBuilder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use parking_lot::Mutex;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `{"columns":[{"name","type"}],"rows":[{column:value}],"incomplete"?:[file]}`. Times are RFC 3339, in UTC.
    Json,
    /// RFC 4180 with a header; NULL is empty.
    Csv,
    /// Arrow's streaming form.
    Arrow,
}

/// Bytes that writers leave here, so that they can be taken while the writers live.
#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Rows of an array, whose brackets are written by [`Encoder`].
#[derive(Debug, Default)]
struct Elements;

impl JsonFormat for Elements {
    fn start_row<W: Write>(&self, writer: &mut W, is_first_row: bool) -> Result<(), ArrowError> {
        if !is_first_row {
            writer.write_all(b",")?;
        }
        Ok(())
    }
}

enum Writer {
    Json(JsonWriter<Buffer, Elements>),
    Csv(Box<csv::Writer<Buffer>>),
    Arrow(Box<StreamWriter<Buffer>>),
}

/// Writes one answer.
pub(crate) struct Encoder {
    buffer: Buffer,
    writer: Writer,
    schema: SchemaRef,
}

impl Encoder {
    pub(crate) fn new(format: Format, columns: &Schema) -> Result<Self, ArrowError> {
        let mut buffer = Buffer::default();
        let schema = Arc::new(plain_schema(columns, format));
        let writer = match format {
            Format::Json => {
                write!(buffer, "{{\"columns\":{},\"rows\":[", names(columns))?;
                Writer::Json(WriterBuilder::new().with_explicit_nulls(true).build(buffer.clone()))
            }
            Format::Csv => {
                let builder = csv::WriterBuilder::new().with_header(true);
                Writer::Csv(Box::new(builder.build(buffer.clone())))
            }
            Format::Arrow => Writer::Arrow(Box::new(StreamWriter::try_new(buffer.clone(), &schema)?)),
        };
        let mut this = Self { buffer, writer, schema };
        // An answer without rows has its header too.
        if let Writer::Csv(writer) = &mut this.writer {
            writer.write(&RecordBatch::new_empty(Arc::clone(&this.schema)))?;
        }
        Ok(this)
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let columns = batch.columns().iter().zip(self.schema.fields());
        let columns =
            columns.map(|(column, field)| plain(column, field.data_type())).collect::<Result<_, _>>()?;
        let batch = RecordBatch::try_new(Arc::clone(&self.schema), columns)?;
        match &mut self.writer {
            Writer::Json(writer) => writer.write(&batch),
            Writer::Csv(writer) => writer.write(&batch),
            Writer::Arrow(writer) => writer.write(&batch),
        }
    }

    /// The end, which names what is missing where the form has a place for it.
    pub(crate) fn finish(mut self, incomplete: &[String]) -> Result<Bytes, ArrowError> {
        match &mut self.writer {
            Writer::Json(writer) => {
                writer.finish()?;
                let missing = match incomplete {
                    [] => String::new(),
                    some => format!(",\"incomplete\":{}", json(some)),
                };
                write!(self.buffer, "]{missing}}}")?;
            }
            Writer::Csv(_) => {}
            Writer::Arrow(writer) => writer.finish()?,
        }
        Ok(self.take())
    }

    pub(crate) fn len(&self) -> usize {
        self.buffer.0.lock().len()
    }

    /// What was written since the last time.
    pub(crate) fn take(&mut self) -> Bytes {
        std::mem::take(&mut *self.buffer.0.lock()).into()
    }
}

/// Types that every reader has: names and texts as strings; in CSV nested values as text too.
fn plain_schema(columns: &Schema, format: Format) -> Schema {
    let field = |field: &Arc<Field>| {
        let data_type = match field.data_type() {
            DataType::Dictionary(_, value) => text_type(value),
            other => text_type(other),
        };
        let data_type =
            if format == Format::Csv && data_type.is_nested() { DataType::Utf8 } else { data_type };
        Field::new(field.name(), data_type, field.is_nullable())
    };
    Schema::new(columns.fields().iter().map(field).collect::<Vec<_>>())
}

fn text_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        other => other.clone(),
    }
}

fn plain(column: &Arc<dyn Array>, data_type: &DataType) -> Result<Arc<dyn Array>, ArrowError> {
    if column.data_type() == data_type {
        return Ok(Arc::clone(column));
    }
    if column.data_type().is_nested() {
        let options = FormatOptions::default();
        let formatter = ArrayFormatter::try_new(column, &options)?;
        let text =
            (0..column.len()).map(|row| column.is_valid(row).then(|| formatter.value(row).to_string()));
        return Ok(Arc::new(text.collect::<arrow_array::StringArray>()));
    }
    cast(column, data_type)
}

/// The columns as JSON.
fn names(columns: &Schema) -> String {
    let of = |field: &Arc<Field>| {
        let kind = match field.data_type() {
            DataType::Boolean => "boolean",
            DataType::Timestamp(..) => "timestamp",
            data_type if data_type.is_integer() => "integer",
            data_type if data_type.is_numeric() => "number",
            data_type if data_type.is_nested() => "object",
            _ => "text",
        };
        format!("{{\"name\":{},\"type\":\"{kind}\"}}", quoted(field.name()))
    };
    format!("[{}]", columns.fields().iter().map(of).collect::<Vec<_>>().join(","))
}

fn json(texts: &[String]) -> String {
    format!("[{}]", texts.iter().map(|text| quoted(text)).collect::<Vec<_>>().join(","))
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}
