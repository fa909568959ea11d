//! Writes new point files, from a head or from sorted batches: complete and durable, or not there under their names.

use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::StoreError;
use crate::columns::{Columns, ROW_GROUP_ROWS, ROW_GROUP_TEXT_BYTES, key_names};
use crate::file::{Level, Part, Parts, TENANTS, schema};
use crate::head::{Head, Sorter, TenantHead};

/// Rows of a page: the least that a query reads, and the most within which the compressor sees that the times of one key
/// are those of the key before.
const PAGE_ROWS: usize = 16 * 1024;
/// Ending of a file that is not complete.
pub(crate) const UNFINISHED: &str = "tmp";

type Writer = ArrowWriter<BufWriter<File>>;

/// Writes `head` to `dir/name`, and returns when file and folder are on disk.
pub(crate) fn write_file(dir: &Path, name: &str, head: &Head) -> Result<Parts, StoreError> {
    let path = dir.join(name);
    let mut file = NewFile::create(&path)?;
    let parts = file.encode(|writer| {
        let (sorter, keys) = (Sorter::new(head), key_names(head));
        let mut output = Output { writer, name: name.into(), sorter, keys, parts: Vec::new() };
        let mut tenants: Vec<&TenantHead> = head.tenants().iter().collect();
        tenants.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for tenant in tenants {
            output.tenant(head, tenant)?;
        }
        Ok(output.finish())
    })?;
    file.finish()?;
    Ok(parts)
}

/// A file that is not there under its name until it is finished. Dropped before, it is removed.
pub(crate) struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    writer: Option<Writer>,
}

impl NewFile {
    /// With the columns of a point file.
    pub(crate) fn create(path: &Path) -> Result<Self, StoreError> {
        Self::create_with(path, schema())
    }

    pub(crate) fn create_with(path: &Path, schema: SchemaRef) -> Result<Self, StoreError> {
        let temporary = path.with_extension(UNFINISHED);
        let mut this = Self { path: path.to_owned(), temporary, writer: None };
        let file = File::create(&this.temporary).map_err(|source| this.failed(source))?;
        let writer = ArrowWriter::try_new(BufWriter::new(file), schema, Some(properties()));
        this.writer = Some(writer.map_err(|source| this.unencoded(source))?);
        Ok(this)
    }

    /// Writes by `encode`.
    pub(crate) fn encode<T>(
        &mut self,
        encode: impl FnOnce(&mut Writer) -> Result<T, ParquetError>,
    ) -> Result<T, StoreError> {
        let writer = self.writer.as_mut().expect("a file that is not finished has a writer");
        encode(writer).map_err(|source| self.unencoded(source))
    }

    /// Adds rows, which follow those before in the order of a file.
    pub(crate) fn write(&mut self, rows: &RecordBatch) -> Result<(), StoreError> {
        self.encode(|writer| {
            writer.write(rows)?;
            if writer.in_progress_size() >= ROW_GROUP_TEXT_BYTES { writer.flush() } else { Ok(()) }
        })
    }

    /// The footer, file and folder on disk, and the name.
    pub(crate) fn finish(mut self) -> Result<(), StoreError> {
        let writer = self.writer.take().expect("a file is finished once");
        let buffered = writer.into_inner().map_err(|source| self.unencoded(source))?;
        let file = buffered.into_inner().map_err(|error| self.failed(error.into_error()))?;
        file.sync_all().map_err(|source| self.failed(source))?;
        std::fs::rename(&self.temporary, &self.path).map_err(|source| self.failed(source))?;
        let dir = self.path.parent().unwrap_or(Path::new("."));
        let synced = File::open(dir).and_then(|dir| dir.sync_all());
        synced.map_err(|source| {
            // Best effort: what stays is removed at the next open.
            let _ = std::fs::remove_file(&self.path);
            self.failed(source)
        })
    }

    fn failed(&self, source: std::io::Error) -> StoreError {
        StoreError::File { path: self.path.display().to_string(), source }
    }

    fn unencoded(&self, source: ParquetError) -> StoreError {
        match source {
            ParquetError::External(source) => match source.downcast::<std::io::Error>() {
                Ok(source) => self.failed(*source),
                Err(other) => self.unencoded(ParquetError::General(other.to_string())),
            },
            source => StoreError::Encode { path: self.path.display().to_string(), source },
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        // It is not there once it is finished; otherwise best effort, since the next open removes it.
        let _ = std::fs::remove_file(&self.temporary);
    }
}

/// What a writer has flushed since `part.first_row_group`, as numbers of the part.
pub(crate) fn settle_part(writer: &Writer, part: &mut Part) {
    let groups = writer.flushed_row_groups().get(part.first_row_group..).unwrap_or_default();
    part.row_groups = groups.len();
    part.size_bytes = groups.iter().map(|group| u64::try_from(group.compressed_size()).unwrap_or(0)).sum();
}

/// Notes in a file which of its row groups are whose.
pub(crate) fn note_tenants<'a>(writer: &mut Writer, parts: impl Iterator<Item = (&'a str, &'a Part)>) {
    let mut tenants = String::new();
    for (tenant, part) in parts {
        tenants += &format!("{tenant} {} {}\n", part.first_row_group, part.row_groups);
    }
    writer.append_key_value_metadata(KeyValue::new(TENANTS.to_owned(), tenants));
}

/// Sensor values repeat, so they go through a dictionary. Times and places in the log repeat as runs, once for each key of
/// a device: as plain 8-byte numbers the compressor finds the runs, and a dictionary's packed bits would hide them.
fn properties() -> WriterProperties {
    let path = |name: &str| ColumnPath::from(name);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).unwrap_or_default()))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_statistics_enabled(EnabledStatistics::None)
        .set_write_page_header_statistics(false);
    for name in ["device", "key", "ts"] {
        properties = properties.set_column_statistics_enabled(path(name), EnabledStatistics::Page);
    }
    for name in ["ts", "seq"] {
        properties = properties
            .set_column_dictionary_enabled(path(name), false)
            .set_column_encoding(path(name), Encoding::PLAIN);
    }
    properties.build()
}

struct Output<'w> {
    writer: &'w mut Writer,
    name: Arc<str>,
    sorter: Sorter,
    keys: ArrayRef,
    parts: Parts,
}

impl Output<'_> {
    /// Writes the row groups of one tenant.
    fn tenant(&mut self, head: &Head, tenant: &TenantHead) -> Result<(), ParquetError> {
        let mut devices: Vec<_> =
            head.devices(tenant).filter(|(_, device)| !device.rows.is_empty()).collect();
        devices.sort_unstable_by_key(|(name, _)| *name);
        let (Some((first, _)), Some((last, _))) = (devices.first(), devices.last()) else { return Ok(()) };
        let mut part = Part {
            file: Arc::clone(&self.name),
            level: Level::Flushed,
            first_row_group: self.writer.flushed_row_groups().len(),
            row_groups: 0,
            min_ts: i64::MAX,
            max_ts: i64::MIN,
            min_device: (*first).into(),
            max_device: (*last).into(),
            points: 0,
            size_bytes: 0,
            clean_to: 0,
            trimmed: 0,
            rollups: 0,
        };
        let mut columns = Columns::default();
        for (name, device) in devices {
            let mut rows = self.sorter.sort(device);
            while !rows.is_empty() {
                let (now, later) = rows.split_at(columns.room(head, rows));
                columns.extend(head, name, now);
                rows = later;
                if columns.is_full() {
                    write_group(self.writer, &mut columns, &self.keys, &mut part)?;
                }
            }
        }
        if !columns.is_empty() {
            write_group(self.writer, &mut columns, &self.keys, &mut part)?;
        }
        settle_part(self.writer, &mut part);
        self.parts.push((tenant.name.clone(), part));
        Ok(())
    }

    fn finish(self) -> Parts {
        note_tenants(self.writer, self.parts.iter().map(|(tenant, part)| (&**tenant, part)));
        self.parts
    }
}

fn write_group(
    writer: &mut Writer,
    columns: &mut Columns,
    keys: &ArrayRef,
    part: &mut Part,
) -> Result<(), ParquetError> {
    part.points += columns.times().len() as u64;
    part.min_ts = columns.times().iter().copied().min().unwrap_or(i64::MAX).min(part.min_ts);
    part.max_ts = columns.times().iter().copied().max().unwrap_or(i64::MIN).max(part.max_ts);
    writer.write(&columns.take(keys)?)?;
    writer.flush()
}
