//! The merge against a sorted map.

use std::collections::BTreeMap;

use drover_model::{Flags, Timestamp, ValueRef};
use proptest::prelude::*;

use super::*;
use crate::census::{Census, DeviceBounds};
use crate::columns::HeadBatches;
use crate::erasures::Erasures;
use crate::file::Wanted;
use crate::head::{Head, HeadWriter};

/// Device, key, time, value.
type Point = (u8, u8, i64, u8);

fn all() -> Wanted {
    Wanted { devices: Vec::new(), keys: Vec::new(), from: i64::MIN, to: i64::MAX }
}

/// Points as a sorted source; their places in the log begin at `seq`.
fn source(points: &[Point], seq: u64) -> Sorted {
    let (mut head, mut census, mut erasures) = (Head::default(), Census::default(), Erasures::default());
    let mut writer = HeadWriter::new(&mut head, None, &mut census, &mut erasures, DeviceBounds::default());
    for ((device, key, ts, value), seq) in points.iter().zip(seq..) {
        let slot = writer.device("t", &format!("d{device}"));
        let text = "x".repeat(usize::from(*value));
        let value = if value % 5 == 0 { ValueRef::Text(&text) } else { ValueRef::Number(f64::from(*value)) };
        writer.push(slot, &format!("k{key}"), Timestamp::from_micros(*ts), value, seq, Flags::NONE);
    }
    Box::new(HeadBatches::new(Arc::new(head), "t", all()).map(|batch| batch.map_err(ParquetError::from)))
}

type Rows = Vec<((String, String, i64), (u64, Option<f64>, Option<String>))>;

fn rows(batches: impl Iterator<Item = Result<RecordBatch, ParquetError>>) -> Rows {
    let mut rows = Rows::new();
    for batch in batches {
        let batch = Columns::of(&batch.unwrap()).unwrap();
        for row in 0..batch.ts.len() {
            let place = (batch.device(row).to_owned(), batch.key(row).to_owned(), batch.ts.value(row));
            let value = batch.value.is_valid(row).then(|| batch.value.value(row));
            let text = batch.text.is_valid(row).then(|| batch.text.value(row).to_owned());
            rows.push((place, (batch.seq.value(row).cast_unsigned(), value, text)));
        }
    }
    rows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_comes_out_is_what_a_sorted_map_holds(
        sources in prop::collection::vec(prop::collection::vec((0..3_u8, 0..3_u8, 0..40_i64, 0..9_u8), 0..120), 0..5),
        shuffled in any::<bool>(),
    ) {
        let mut expected: BTreeMap<_, (u64, _, _)> = BTreeMap::new();
        let mut opened = Vec::new();
        for (number, points) in sources.iter().enumerate() {
            // Sources are not in the order of the log.
            let place = if shuffled { 10 - number as u64 } else { number as u64 };
            opened.push(source(points, place * 1_000));
            for (key, row) in rows(source(points, place * 1_000)) {
                match expected.get(&key) {
                    Some((seq, ..)) if *seq > row.0 => {}
                    _ => _ = expected.insert(key, row),
                }
            }
        }
        prop_assert_eq!(rows(Merge::new(opened)), expected.into_iter().collect::<Rows>());
    }
}

#[test]
fn long_series_are_cut_into_batches_and_lose_nothing() {
    let points =
        |from: i64, step: i64| (0..20_000).map(move |n| (1, 1, from + n * step, 1)).collect::<Vec<Point>>();
    let merged = Merge::new(vec![
        source(&points(0, 2), 0),
        source(&points(1, 2), 50_000),
        source(&points(40_000, 1), 90_000),
    ]);
    let batches: Vec<_> = merged.map(Result::unwrap).collect();
    assert!(batches.iter().all(|batch| batch.num_rows() <= BATCH_ROWS));
    let times: Vec<i64> = rows(batches.into_iter().map(Ok)).into_iter().map(|((_, _, ts), _)| ts).collect();
    assert_eq!(times, (0..60_000).collect::<Vec<i64>>());
}

#[test]
fn a_source_that_fails_is_told_and_the_others_go_on() {
    let failing: Sorted = Box::new(std::iter::once(Err(ParquetError::General("torn".to_owned()))));
    let outcomes: Vec<_> = Merge::new(vec![source(&[(1, 1, 1, 1)], 0), failing]).collect();
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_err()).count(), 1);
    assert_eq!(rows(outcomes.into_iter().filter(Result::is_ok)).len(), 1);
}
