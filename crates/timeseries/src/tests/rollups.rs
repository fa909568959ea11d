//! Answers with rollups and without them are the same.

use proptest::prelude::*;

use super::*;

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const DAY: i64 = 86_400 * SECOND;

/// A store that keeps each rollup, or none.
async fn place(points_per_rollup_row: u64) -> Place {
    let mut place = Place::new().await;
    place.options.points_per_rollup_row = points_per_rollup_row;
    place.reopen().await;
    place
}

async fn compact(place: &Place) {
    while place.store.compact(2, Timestamp::from_micros(9 * DAY)).await.unwrap().is_some() {}
}

fn rollups(place: &Place) -> Vec<std::path::PathBuf> {
    let mut files = place.all_files();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "rollup"));
    files
}

fn query(interval_us: i64, aggregation: Aggregation, (from, to): (i64, i64)) -> RangeQuery {
    RangeQuery {
        from: Timestamp::from_micros(from),
        to: Timestamp::from_micros(to),
        interval: Some(Duration::from_micros(interval_us.unsigned_abs())),
        aggregation: Some(aggregation),
        ..all()
    }
}

/// Two days of two keys each second minute, merged.
async fn two_days() -> Place {
    let place = place(1).await;
    for half in 0..2 {
        for at in (half..2_880).step_by(2) {
            let ts = at * MINUTE + 7 * SECOND;
            place.push("d", "k", ts, ValueRef::Number(0.1 * (at % 17) as f64), ts.unsigned_abs());
            place.push(
                "d",
                "s",
                ts,
                ValueRef::Text(if at % 4 == 0 { "on" } else { "off" }),
                ts.unsigned_abs(),
            );
        }
        place.flush().await;
    }
    compact(&place).await;
    place
}

#[tokio::test]
async fn an_aggregate_is_read_from_rollups_where_they_cover_it_and_from_points_elsewhere() {
    let place = two_days().await;
    assert_eq!(rollups(&place).len(), 6);
    let hours = query(60 * MINUTE, Aggregation::Sum, (0, 2 * DAY));
    let cut = query(60 * MINUTE, Aggregation::Sum, (90 * SECOND, 2 * DAY - 90 * SECOND));
    let before = (place.range("d", &hours).await, place.range("d", &cut).await);
    assert_eq!(before.0.series.values().map(Vec::len).collect::<Vec<_>>(), [48]);
    for path in place.files() {
        std::fs::write(path, b"not a file of points").unwrap();
    }
    let after = place.range("d", &hours).await;
    assert_eq!((&after, after.incomplete.len()), (&before.0, 0), "no point was read");
    assert_eq!(place.range("d", &cut).await.incomplete.len(), 2, "the ends need points");
    assert_eq!(place.range("d", &query(90 * SECOND, Aggregation::Sum, (0, DAY))).await.incomplete.len(), 1);
}

#[tokio::test]
async fn a_rollup_that_is_damaged_or_missing_is_done_without() {
    let mut place = two_days().await;
    let hours = query(60 * MINUTE, Aggregation::Last, (0, 2 * DAY));
    let before = place.range("d", &hours).await;
    for (number, path) in rollups(&place).into_iter().enumerate() {
        if number % 2 == 0 {
            std::fs::write(path, b"no rollup").unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert_eq!(place.range("d", &hours).await, before);
    place.reopen().await;
    assert_eq!(place.range("d", &hours).await, before);
    assert_eq!(before.incomplete.len(), 0);
}

#[tokio::test]
async fn what_comes_later_or_is_erased_is_not_hidden_by_a_rollup() {
    let place = two_days().await;
    let days = query(DAY, Aggregation::Count, (0, 2 * DAY));
    assert_eq!(numbers(&place.range("d", &days).await, "k"), [(0, 1440.0), (DAY, 1440.0)]);
    place.push("d", "k", 5, ValueRef::Number(1.0), 1 << 50);
    assert_eq!(numbers(&place.range("d", &days).await, "k"), [(0, 1441.0), (DAY, 1440.0)]);
    place.flush().await;
    assert_eq!(numbers(&place.range("d", &days).await, "k"), [(0, 1441.0), (DAY, 1440.0)]);
    place.store.apply(SHARD, |head| head.erase("t", "d", ["k"], (1 << 50) + 1));
    assert_eq!(numbers(&place.range("d", &days).await, "k"), []);
    assert_eq!(numbers(&place.range("d", &days).await, "s"), [(0, 1440.0), (DAY, 1440.0)]);
}

#[tokio::test]
async fn a_rollup_that_is_not_much_smaller_is_not_kept_and_one_goes_with_its_file() {
    let place = place(1_000).await;
    for part in 0..2 {
        for at in 0..1_000 {
            let ts = (at * 2 + part) * SECOND;
            place.push("d", "k", ts, ValueRef::Number(1.0), ts.unsigned_abs());
        }
        place.flush().await;
    }
    compact(&place).await;
    let kept: Vec<String> = rollups(&place).iter().map(|path| path.display().to_string()).collect();
    assert!(
        kept.len() == 2 && kept[0].ends_with(".1d.rollup") && kept[1].ends_with(".1h.rollup"),
        "{kept:?}"
    );
    for part in 0..2 {
        place.push("d", "k", DAY - 1 - part, ValueRef::Number(1.0), 1 << 50);
        place.flush().await;
    }
    compact(&place).await;
    place.store.apply(SHARD, |head| head.erase("t", "d", [], 1 << 51));
    let mut tx = place.db.begin().await.unwrap();
    place.store.record_erasures(SHARD, 1 << 52, &mut tx).await.unwrap();
    tx.commit().await.unwrap();
    place.store.erasures_recorded(SHARD, 1 << 52);
    compact(&place).await;
    assert_eq!(place.all_files(), Vec::<std::path::PathBuf>::new());
}

#[derive(Debug, Clone)]
enum Step {
    Push(Vec<(i64, i32)>),
    Flush,
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    let point = (0..3 * 86_400i64, -99i32..99);
    prop_oneof![
        3 => prop::collection::vec(point, 1..200).prop_map(Step::Push),
        2 => Just(Step::Flush),
        2 => Just(Step::Compact),
    ]
}

fn asked() -> impl Strategy<Value = RangeQuery> {
    let interval = prop::sample::select(vec![60i64, 300, 3_600, 7_200, 86_400, 420, 90, 5_400]);
    let kind = prop::sample::select(vec![
        Aggregation::Avg,
        Aggregation::Min,
        Aggregation::Max,
        Aggregation::Sum,
        Aggregation::Count,
        Aggregation::First,
        Aggregation::Last,
    ]);
    let bound =
        prop_oneof![Just(0), Just(3 * 86_400), 0..3 * 86_400i64, (0..72i64).prop_map(|hour| hour * 3_600)];
    let limit = prop_oneof![Just(usize::MAX), 1usize..20];
    (interval, kind, bound.clone(), bound, limit).prop_map(|(interval, kind, from, to, limit)| RangeQuery {
        limit,
        ..query(interval * SECOND, kind, (from.min(to) * SECOND, from.max(to) * SECOND))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn answers_are_the_same_with_rollups_and_without(
        steps in prop::collection::vec(step(), 4..12), queries in prop::collection::vec(asked(), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let places = [place(1).await, place(u64::MAX).await];
            let mut seq = 0;
            for step in steps.into_iter().chain([Step::Flush, Step::Compact]) {
                for place in &places {
                    match &step {
                        Step::Push(points) => for (at, (second, value)) in points.iter().enumerate() {
                            let (device, key) = (["a", "b"][at % 2], ["k", "l"][at / 2 % 2]);
                            let value = match value % 7 {
                                0 => ValueRef::Text("text"),
                                1 => ValueRef::Bool(true),
                                _ => ValueRef::Number(f64::from(*value) / 10.0),
                            };
                            place.push(device, key, second * SECOND, value, seq + at as u64);
                        },
                        Step::Flush => drop(place.try_flush().await),
                        Step::Compact => compact(place).await,
                    }
                }
                seq += 1_000;
            }
            assert_eq!(rollups(&places[1]).len(), 0);
            for query in queries {
                let mut answers = Vec::new();
                for place in &places {
                    answers.push(place.range("a", &query).await);
                }
                assert_eq!(answers[0], answers[1], "{query:?}");
            }
        });
    }
}
