//! Writes the points of a head into a new point file: complete and durable, or not there under its name.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::sync::Arc;

use arrow_array::ArrayRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::StoreError;
use crate::columns::{Columns, ROW_GROUP_ROWS, key_names};
use crate::file::{Part, Parts, TENANTS, schema};
use crate::head::{Head, Sorter, TenantHead};

/// Rows of a page: the least that a query reads, and the most within which the compressor sees that the times of one key
/// are those of the key before.
const PAGE_ROWS: usize = 16 * 1024;
/// Ending of a file that is not complete.
pub(crate) const UNFINISHED: &str = "tmp";

/// Writes `head` to `dir/name`, and returns when file and folder are on disk.
pub(crate) fn write_file(dir: &Path, name: &str, head: &Head) -> Result<Parts, StoreError> {
    let path = dir.join(name);
    let temporary = path.with_extension(UNFINISHED);
    let written = write_and_rename(dir, &temporary, &path, head);
    if written.is_err() {
        for leftover in [&temporary, &path] {
            // Best effort: what stays is removed at the next open.
            let _ = std::fs::remove_file(leftover);
        }
    }
    written
}

fn write_and_rename(dir: &Path, temporary: &Path, path: &Path, head: &Head) -> Result<Parts, StoreError> {
    let failed = |source| StoreError::File { path: path.display().to_string(), source };
    let unencoded = |source| match source {
        ParquetError::External(source) => match source.downcast::<std::io::Error>() {
            Ok(source) => failed(*source),
            Err(other) => {
                StoreError::Encode { path: path.display().to_string(), source: ParquetError::External(other) }
            }
        },
        source => StoreError::Encode { path: path.display().to_string(), source },
    };
    let file = File::create(temporary).map_err(failed)?;
    let writer =
        ArrowWriter::try_new(BufWriter::new(file), schema(), Some(properties())).map_err(unencoded)?;
    let name: Arc<str> = path.file_name().unwrap_or_default().to_string_lossy().into();
    let mut output =
        Output { writer, name, sorter: Sorter::new(head), keys: key_names(head), parts: Vec::new() };
    let mut tenants: Vec<&TenantHead> = head.tenants().iter().collect();
    tenants.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    for tenant in tenants {
        output.tenant(head, tenant).map_err(unencoded)?;
    }
    let (buffered, parts) = output.finish().map_err(unencoded)?;
    let file = buffered.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    std::fs::rename(temporary, path).map_err(failed)?;
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
    Ok(parts)
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

struct Output {
    writer: ArrowWriter<BufWriter<File>>,
    name: Arc<str>,
    sorter: Sorter,
    keys: ArrayRef,
    parts: Parts,
}

impl Output {
    /// Writes the row groups of one tenant.
    fn tenant(&mut self, head: &Head, tenant: &TenantHead) -> Result<(), ParquetError> {
        let mut devices: Vec<_> =
            head.devices(tenant).filter(|(_, device)| !device.rows.is_empty()).collect();
        devices.sort_unstable_by_key(|(name, _)| *name);
        let (Some((first, _)), Some((last, _))) = (devices.first(), devices.last()) else { return Ok(()) };
        let mut part = Part {
            file: Arc::clone(&self.name),
            first_row_group: self.writer.flushed_row_groups().len(),
            row_groups: 0,
            min_ts: i64::MAX,
            max_ts: i64::MIN,
            min_device: (*first).into(),
            max_device: (*last).into(),
            points: 0,
            size_bytes: 0,
        };
        let mut columns = Columns::default();
        for (name, device) in devices {
            let mut rows = self.sorter.sort(device);
            while !rows.is_empty() {
                let (now, later) = rows.split_at(columns.room(head, rows));
                columns.extend(head, name, now);
                rows = later;
                if columns.is_full() {
                    write_group(&mut self.writer, &mut columns, &self.keys, &mut part)?;
                }
            }
        }
        if !columns.is_empty() {
            write_group(&mut self.writer, &mut columns, &self.keys, &mut part)?;
        }
        let groups = self.writer.flushed_row_groups().get(part.first_row_group..).unwrap_or_default();
        part.row_groups = groups.len();
        part.size_bytes =
            groups.iter().map(|group| u64::try_from(group.compressed_size()).unwrap_or(0)).sum();
        self.parts.push((tenant.name.clone(), part));
        Ok(())
    }

    fn finish(mut self) -> Result<(BufWriter<File>, Parts), ParquetError> {
        let mut tenants = String::new();
        for (tenant, part) in &self.parts {
            tenants += &format!("{tenant} {} {}\n", part.first_row_group, part.row_groups);
        }
        self.writer.append_key_value_metadata(KeyValue::new(TENANTS.to_owned(), tenants));
        Ok((self.writer.into_inner()?, self.parts))
    }
}

fn write_group(
    writer: &mut ArrowWriter<BufWriter<File>>,
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
