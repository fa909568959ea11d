//! Sums up a merged file while it is written.

use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type};
use arrow_array::{Array, RecordBatch};
use drover_model::{Flags, Value};
use parquet::errors::ParquetError;

use super::Resolution;
use super::columns::{self, Builder};
use crate::StoreError;
use crate::file::{BOOLEAN, FLAGS, RowNames, TEXT, VALUE};
use crate::sample::Stored;
use crate::summary::Cascade;
use crate::write::NewFile;

/// Rows that are written at a time.
const BATCH_ROWS: usize = 4 * 1024;
/// Bytes of text after which they are written too.
const BATCH_TEXT_BYTES: usize = 4 << 20;

/// The rollups of one file.
pub(crate) struct Rollups {
    path: PathBuf,
    cascade: Cascade,
    series: (String, String),
    files: [RollupFile; 3],
    points_per_row: u64,
    /// A rollup with more rows than this is given up.
    most_rows: u64,
}

struct RollupFile {
    resolution: Resolution,
    rows: u64,
    builder: Builder,
    file: Option<NewFile>,
}

impl Rollups {
    /// Beside the file at `path`, which will have at most so many points. One is kept if it has a row for `points_per_row` of them.
    pub(crate) fn new(path: &Path, points: u64, points_per_row: u64) -> Self {
        let file = |resolution| RollupFile { resolution, rows: 0, builder: Builder::default(), file: None };
        Self {
            path: path.to_owned(),
            cascade: Cascade::new(Resolution::ALL.into_iter().map(Resolution::length)),
            series: (String::new(), String::new()),
            files: Resolution::ALL.map(file),
            points_per_row,
            most_rows: points / points_per_row.max(1),
        }
    }

    /// Takes rows that follow those before in the order of a file.
    pub(crate) fn add(&mut self, rows: &RecordBatch) -> Result<(), StoreError> {
        let points = Points::of(rows).ok_or_else(|| self.strange())?;
        for row in 0..rows.num_rows() {
            let Some((device, key, sample)) = points.get(row) else { continue };
            if self.series.0 != device || self.series.1 != key {
                self.end_series();
                self.series = (device.to_owned(), key.to_owned());
            }
            let Self { cascade, series, files, most_rows, .. } = self;
            cascade.add(sample, &mut |level, start, summary| {
                if let Some(file) = files.get_mut(level).filter(|file| file.rows <= *most_rows) {
                    file.builder.add((&series.0, &series.1), start, summary);
                    file.rows += 1;
                }
            });
        }
        self.write(false)
    }

    fn end_series(&mut self) {
        let Self { cascade, series, files, most_rows, .. } = self;
        cascade.finish(&mut |level, start, summary| {
            if let Some(file) = files.get_mut(level).filter(|file| file.rows <= *most_rows) {
                file.builder.add((&series.0, &series.1), start, summary);
                file.rows += 1;
            }
        });
    }

    /// Writes what has gathered, or all of it.
    fn write(&mut self, all: bool) -> Result<(), StoreError> {
        for file in &mut self.files {
            if file.rows > self.most_rows {
                (file.file, file.builder) = (None, Builder::default());
                continue;
            }
            let is_enough =
                file.builder.rows() >= BATCH_ROWS || file.builder.text_bytes() >= BATCH_TEXT_BYTES;
            if file.builder.rows() == 0 || !(all || is_enough) {
                continue;
            }
            let mut new = match file.file.take() {
                Some(new) => new,
                None => {
                    let name = self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                    let path = self.path.with_file_name(file.resolution.file(name));
                    NewFile::create_with(&path, columns::schema())?
                }
            };
            new.encode(|writer| writer.write(&file.builder.take()?))?;
            file.file = Some(new);
        }
        Ok(())
    }

    /// Finishes those that are worth it, given how many points there are in all. Which ones, as bits.
    pub(crate) fn finish(mut self, points: u64) -> Result<u8, StoreError> {
        self.end_series();
        self.most_rows = points / self.points_per_row.max(1);
        self.write(true)?;
        let mut bits = 0;
        for file in self.files {
            if let Some(new) = file.file {
                new.finish()?;
                bits |= file.resolution.bit();
            }
        }
        Ok(bits)
    }

    fn strange(&self) -> StoreError {
        let source = ParquetError::General("the columns are not those of a point file".to_owned());
        StoreError::Encode { path: self.path.display().to_string(), source }
    }
}

/// The columns of a batch of a point file.
struct Points<'a> {
    names: RowNames<'a>,
    value: &'a arrow_array::Float64Array,
    text: &'a arrow_array::StringArray,
    flags: &'a [i32],
}

impl<'a> Points<'a> {
    fn of(batch: &'a RecordBatch) -> Option<Self> {
        let column = |position: usize| batch.columns().get(position);
        Some(Self {
            names: RowNames::of(batch)?,
            value: column(VALUE)?.as_primitive_opt::<Float64Type>()?,
            text: column(TEXT)?.as_string_opt::<i32>()?,
            flags: column(FLAGS)?.as_primitive_opt::<Int32Type>()?.values(),
        })
    }

    fn get(&self, row: usize) -> Option<(&'a str, &'a str, Stored)> {
        let names = &self.names;
        let device = names.device.key(row).filter(|code| *code < names.devices.len())?;
        let key = names.key.key(row).filter(|code| *code < names.keys.len())?;
        let bits = *self.flags.get(row)?;
        let value = if self.text.is_valid(row) {
            Value::Text(self.text.value(row).into())
        } else if bits & BOOLEAN != 0 {
            Value::Bool(self.value.value(row) != 0.0)
        } else {
            Value::Number(self.value.value(row))
        };
        let flags = Flags(u8::try_from(bits & 0xff).unwrap_or(0));
        let sample =
            Stored { ts: *names.ts.get(row)?, seq: names.seq.get(row)?.cast_unsigned(), value, flags };
        Some((names.devices.value(device), names.keys.value(key), sample))
    }
}
