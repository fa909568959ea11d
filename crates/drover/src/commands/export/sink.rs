//! The file of an export in its form.

use std::io;
use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::failure::{Failure, Outcome};
use crate::new_file::NewFile;

/// Rows of one row group; a reader holds a column of it.
const ROW_GROUP_ROWS: usize = 1_000_000;
/// Bytes of a row group on its way, beyond which it ends; texts may be long.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    Csv,
    Parquet,
}

/// What rows are written to.
pub struct Sink {
    path: PathBuf,
    form: Form,
    writer: Writer,
}

enum Writer {
    /// The columns are not known yet.
    New(Option<NewFile>),
    Csv(Box<arrow_csv::Writer<NewFile>>),
    Parquet(Box<ArrowWriter<NewFile>>),
}

impl Sink {
    pub fn create(path: &Path, form: Form) -> Outcome<Self> {
        let file = NewFile::create(path)?;
        Ok(Self { path: path.to_owned(), form, writer: Writer::New(Some(file)) })
    }

    /// Writes what stands before the rows, once.
    pub fn begin(&mut self, columns: &SchemaRef) -> Outcome {
        let Writer::New(file) = &mut self.writer else { return Ok(()) };
        let Some(file) = file.take() else { return Ok(()) };
        self.writer = match self.form {
            Form::Csv => {
                let mut writer = arrow_csv::WriterBuilder::new().with_header(true).build(file);
                let header = writer.write(&RecordBatch::new_empty(columns.clone()));
                header.map_err(|error| self.failed_csv(&error))?;
                Writer::Csv(Box::new(writer))
            }
            Form::Parquet => {
                let writer = ArrowWriter::try_new(file, columns.clone(), Some(properties()));
                Writer::Parquet(Box::new(writer.map_err(|error| self.failed_parquet(&error))?))
            }
        };
        Ok(())
    }

    pub fn write(&mut self, batch: &RecordBatch) -> Outcome {
        self.begin(&batch.schema())?;
        match &mut self.writer {
            Writer::New(_) => Ok(()),
            Writer::Csv(writer) => writer.write(batch).map_err(|error| self.failed_csv(&error)),
            Writer::Parquet(writer) => {
                let mut written = writer.write(batch);
                if written.is_ok() && writer.in_progress_size() > ROW_GROUP_BYTES {
                    written = writer.flush();
                }
                written.map_err(|error| self.failed_parquet(&error))
            }
        }
    }

    /// Gives the file its name; its size.
    pub fn finish(self) -> Outcome<u64> {
        let Self { path, writer, .. } = self;
        let file = match writer {
            Writer::New(file) => file,
            Writer::Csv(writer) => Some(writer.into_inner()),
            Writer::Parquet(writer) => {
                let file = writer.into_inner();
                Some(file.map_err(|error| NewFile::failure(&path, &parquet_cause(&error)))?)
            }
        };
        file.map_or(Ok(0), NewFile::finish)
    }

    fn failed_csv(&self, error: &ArrowError) -> Failure {
        NewFile::failure(&self.path, &csv_cause(error))
    }

    fn failed_parquet(&self, error: &ParquetError) -> Failure {
        NewFile::failure(&self.path, &parquet_cause(error))
    }
}

fn csv_cause(error: &ArrowError) -> io::Error {
    match error {
        ArrowError::IoError(_, error) => io::Error::new(error.kind(), error.to_string()),
        other => io::Error::other(other.to_string()),
    }
}

fn parquet_cause(error: &ParquetError) -> io::Error {
    match error {
        ParquetError::External(cause) => io::Error::other(cause.to_string()),
        other => io::Error::other(other.to_string()),
    }
}

fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_created_by(concat!("drover ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}
