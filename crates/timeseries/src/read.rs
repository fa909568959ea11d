//! Reads wanted rows out of a part of a point file: footer from the cache, pages by their index.

use std::fs::File;
use std::ops::Range;
use std::path::Path;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use drover_model::{Flags, Value};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder, RowSelection};
use parquet::errors::ParquetError;
use parquet::file::metadata::{ParquetMetaData, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;

use crate::file::{BOOLEAN, DEVICE, FLAGS, KEY, Part, SEQ, Sink, TEXT, TS, VALUE, Wanted, meets};
use crate::footers::Footers;
use crate::sample::Stored;

/// Rows decoded at a time, fewer when they have long texts.
const BATCH_ROWS: usize = 8 * 1024;
/// What the texts of these rows may take, about.
const BATCH_TEXT_BYTES: usize = 8 << 20;

/// Hands every wanted row of a part to `sink`, unsorted, until it wants no more.
pub(crate) fn read_part(
    dir: &Path,
    footers: &Footers,
    part: &Part,
    wanted: &Wanted,
    sink: &mut Sink<'_>,
) -> Result<(), ParquetError> {
    let groups = part.first_row_group..part.first_row_group + part.row_groups;
    for batch in batches((dir, footers), part, groups, wanted, None)?.into_iter().flatten() {
        if !filter(&batch?, wanted, sink)? {
            break;
        }
    }
    Ok(())
}

/// The rows of some row groups of a part, in their order, without the pages that can have no wanted rows; none when no page has.
/// Only some columns when they are named, in the order of the file.
pub(crate) fn batches(
    (dir, footers): (&Path, &Footers),
    part: &Part,
    groups: Range<usize>,
    wanted: &Wanted,
    columns: Option<&[usize]>,
) -> Result<Option<ParquetRecordBatchReader>, ParquetError> {
    let file = File::open(dir.join(&*part.file))?;
    let footer = footers.get(&part.file, &file)?;
    let metadata = footer.metadata();
    let mut needed = Vec::new();
    let mut selected: Vec<Range<usize>> = Vec::new();
    let (mut total, mut text_bytes) = (0, 0);
    for group in groups {
        let rows = rows_of(metadata, group)?;
        let pages = matching_rows(metadata, group, rows, wanted);
        if !pages.is_empty() {
            selected.extend(pages.into_iter().map(|range| range.start + total..range.end + total));
            needed.push(group);
            total += rows;
            text_bytes += text_bytes_of(metadata, group);
        }
    }
    if needed.is_empty() {
        return Ok(None);
    }
    let all = metadata.file_metadata().schema_descr();
    let mask =
        columns.map_or_else(ProjectionMask::all, |some| ProjectionMask::leaves(all, some.iter().copied()));
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file, (*footer).clone())
        .with_projection(mask)
        .with_row_groups(needed)
        .with_row_selection(RowSelection::from_consecutive_ranges(selected.into_iter(), total))
        .with_batch_size(batch_rows(total, text_bytes))
        .build()?;
    Ok(Some(reader))
}

fn rows_of(metadata: &ParquetMetaData, group: usize) -> Result<usize, ParquetError> {
    let rows = metadata.row_groups().get(group).map(RowGroupMetaData::num_rows);
    rows.and_then(|rows| usize::try_from(rows).ok())
        .ok_or_else(|| ParquetError::General(format!("row group {group} of the manifest is not in the file")))
}

fn text_bytes_of(metadata: &ParquetMetaData, group: usize) -> usize {
    let column = metadata.row_groups().get(group).and_then(|group| group.columns().get(TEXT));
    let bytes =
        column.map(|column| column.unencoded_byte_array_data_bytes().unwrap_or(column.uncompressed_size()));
    bytes.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default()
}

/// How many of `rows` with texts of so many bytes are decoded at a time.
fn batch_rows(rows: usize, text_bytes: usize) -> usize {
    let text_bytes = (text_bytes / rows.max(1)).max(1);
    (BATCH_TEXT_BYTES / text_bytes).clamp(1, BATCH_ROWS)
}

/// The rows of a row group that lie in pages which can have wanted rows.
fn matching_rows(
    metadata: &ParquetMetaData,
    group: usize,
    rows: usize,
    wanted: &Wanted,
) -> Vec<Range<usize>> {
    let mut ranges = pages(metadata, (group, DEVICE), rows, |index, page| {
        text_page(index, page, |min, max| meets(&wanted.devices, min, max))
    });
    if !wanted.keys.is_empty() && !ranges.is_empty() {
        let keys = pages(metadata, (group, KEY), rows, |index, page| {
            text_page(index, page, |min, max| meets(&wanted.keys, min, max))
        });
        ranges = intersection(&ranges, &keys);
    }
    if !ranges.is_empty() {
        let times = pages(metadata, (group, TS), rows, |index, page| match index {
            ColumnIndexMetaData::INT64(index) => match (index.min_value(page), index.max_value(page)) {
                (Some(min), Some(max)) => *min < wanted.to && wanted.from <= *max,
                _ => true,
            },
            _ => true,
        });
        ranges = intersection(&ranges, &times);
    }
    ranges
}

/// Whether a page passes by its bounds; one without bounds does. Long bounds are cut, but stay bounds.
fn text_page(index: &ColumnIndexMetaData, page: usize, passes: impl Fn(&[u8], &[u8]) -> bool) -> bool {
    match index {
        ColumnIndexMetaData::BYTE_ARRAY(index) => match (index.min_value(page), index.max_value(page)) {
            (Some(min), Some(max)) => passes(min, max),
            _ => true,
        },
        _ => true,
    }
}

/// The rows of the pages of a column that pass, joined where they touch.
fn pages(
    metadata: &ParquetMetaData,
    (group, column): (usize, usize),
    rows: usize,
    passes: impl Fn(&ColumnIndexMetaData, usize) -> bool,
) -> Vec<Range<usize>> {
    let index = metadata.column_index().and_then(|all| all.get(group)?.get(column));
    let offsets = metadata.offset_index().and_then(|all| all.get(group)?.get(column));
    let (Some(index), Some(offsets)) = (index, offsets) else { return std::iter::once(0..rows).collect() };
    let starts =
        offsets.page_locations().iter().map(|page| usize::try_from(page.first_row_index).unwrap_or(0));
    let ends = starts.clone().skip(1).chain([rows]);
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for (page, (start, end)) in starts.zip(ends).enumerate() {
        if !passes(index, page) {
            continue;
        }
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ => ranges.push(start..end),
        }
    }
    ranges
}

fn intersection(a: &[Range<usize>], b: &[Range<usize>]) -> Vec<Range<usize>> {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    let mut both = Vec::new();
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        let range = x.start.max(y.start)..x.end.min(y.end);
        if x.end < y.end {
            a.next();
        } else {
            b.next();
        }
        if range.start < range.end {
            both.push(range);
        }
    }
    both
}

/// Hands the wanted rows of a batch to the sink; false when it wants no more.
fn filter(batch: &RecordBatch, wanted: &Wanted, sink: &mut Sink<'_>) -> Result<bool, ParquetError> {
    let strange = || ParquetError::General("the file's columns are not those of a point file".to_owned());
    let column = |position: usize| batch.columns().get(position).ok_or_else(strange);
    let device = column(DEVICE)?.as_dictionary_opt::<Int32Type>().ok_or_else(strange)?;
    let key = column(KEY)?.as_dictionary_opt::<Int32Type>().ok_or_else(strange)?;
    let ts = column(TS)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(strange)?.values();
    let value = column(VALUE)?.as_primitive_opt::<Float64Type>().ok_or_else(strange)?;
    let text = column(TEXT)?.as_string_opt::<i32>().ok_or_else(strange)?;
    let seq = column(SEQ)?.as_primitive_opt::<Int64Type>().ok_or_else(strange)?.values();
    let flags = column(FLAGS)?.as_primitive_opt::<Int32Type>().ok_or_else(strange)?.values();

    let devices = device.values().as_string_opt::<i32>().ok_or_else(strange)?;
    let is_device: Vec<bool> =
        devices.iter().map(|name| name.is_some_and(|name| wanted.device(name))).collect();
    let names = key.values().as_string_opt::<i32>().ok_or_else(strange)?;
    let keys: Vec<Option<&str>> = names.iter().map(|name| name.filter(|name| wanted.key(name))).collect();
    let code = |code: i32| usize::try_from(code).unwrap_or(usize::MAX);

    let rows = device.keys().values().iter().zip(key.keys().values()).zip(ts).zip(seq).zip(flags);
    for (row, ((((device, key), ts), seq), flags)) in rows.enumerate() {
        if !is_device.get(code(*device)).copied().unwrap_or(false) || !wanted.time(*ts) {
            continue;
        }
        let Some(key) = keys.get(code(*key)).copied().flatten() else { continue };
        let found = if text.is_valid(row) {
            Value::Text(text.value(row).into())
        } else if flags & BOOLEAN != 0 {
            Value::Bool(value.value(row) != 0.0)
        } else {
            Value::Number(value.value(row))
        };
        let flags = Flags(u8::try_from(flags & 0xff).unwrap_or(0));
        if !sink(key, Stored { ts: *ts, seq: seq.cast_unsigned(), value: found, flags }) {
            return Ok(false);
        }
    }
    Ok(true)
}
