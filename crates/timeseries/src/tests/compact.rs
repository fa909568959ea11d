//! Merges of files as a user of the store sees them.

use super::*;

const DAY: i64 = 86_400_000_000;

fn at(day: i64) -> Timestamp {
    Timestamp::from_micros(day * DAY)
}

async fn compact(place: &Place, now: Timestamp) -> Vec<Compacted> {
    let mut done = Vec::new();
    while let Some(merge) = place.store.compact(2, now).await.unwrap() {
        done.push(merge);
    }
    done
}

#[tokio::test]
async fn files_of_flushes_become_one_for_each_day() {
    let mut place = Place::new().await;
    for part in 0..3 {
        for day in 0..20 {
            place.number("a", day * DAY + part, (day * 10 + part) as f64);
            place.number("b", day * DAY + part, 1.0);
        }
        place.flush().await;
    }
    let before = (place.range("a", &all()).await, place.range("b", &all()).await);
    let done = compact(&place, at(30)).await;
    assert_eq!((done[0].parts, done[0].points), (3, 120));
    assert_eq!(place.files().len(), 20, "{:?}", place.files());
    assert_eq!((place.range("a", &all()).await, place.range("b", &all()).await), before);
    assert_eq!(place.store.stats().file_points, 120);
    place.reopen().await;
    assert_eq!((place.range("a", &all()).await, place.range("b", &all()).await), before);
    assert_eq!(compact(&place, at(30)).await, []);
}

#[tokio::test]
async fn a_correction_takes_the_place_of_what_it_corrects() {
    let place = Place::new().await;
    place.push("d", "k", 5, ValueRef::Number(1.0), 10);
    place.flush().await;
    place.push("d", "k", 5, ValueRef::Number(2.0), 20);
    place.flush().await;
    compact(&place, at(0)).await;
    assert_eq!(place.store.stats().file_points, 1);
    assert_eq!(numbers(&place.range("d", &all()).await, "k"), [(5, 2.0)]);
}

#[tokio::test]
async fn what_another_tenant_has_in_a_file_stays() {
    let place = Place::new().await;
    let push = |name: &str, ts: i64| {
        place.store.apply(SHARD, |head| {
            let slot = head.device(name, "d");
            head.push(
                slot,
                "k",
                Timestamp::from_micros(ts),
                ValueRef::Number(1.0),
                ts.cast_unsigned(),
                Flags::NONE,
            );
        });
    };
    push("t", 1);
    push("u", 1);
    place.flush().await;
    push("t", 2);
    place.flush().await;
    assert_eq!(compact(&place, at(0)).await.len(), 1, "only one tenant has two files");
    let other = place.store.range(SHARD, &tenant("u"), &id("d"), &all()).await.unwrap();
    assert_eq!(numbers(&other, "k"), [(1, 1.0)]);
    assert!(other.incomplete.is_empty());
    assert_eq!(numbers(&place.range_of("t", "d").await, "k"), [(1, 1.0), (2, 1.0)]);
    // The file of which only the other tenant's part counts is merged in its turn.
    push("u", 3);
    place.flush().await;
    compact(&place, at(0)).await;
    assert_eq!(place.files().len(), 2, "{:?}", place.files());
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_left_alone_and_the_others_are_merged() {
    let place = Place::new().await;
    for ts in 0..4 {
        place.number("d", ts, ts as f64);
        place.flush().await;
    }
    let damaged = place.files().remove(1);
    std::fs::write(&damaged, b"PAR1 is not enough").unwrap();
    assert!(place.store.compact(2, at(0)).await.is_err());
    assert!(matches!(place.store.health(), Health::Degraded { .. }));
    // A query that reads another page of it finds it well.
    let name = damaged.file_name().unwrap().to_str().unwrap().into();
    place.store.0.damage.healed(&name);
    assert_eq!(compact(&place, at(0)).await.len(), 1);
    assert_eq!(place.files().len(), 2, "{:?}", place.files());
    let answer = place.range("d", &all()).await;
    assert_eq!(numbers(&answer, "k"), [(0, 0.0), (2, 2.0), (3, 3.0)]);
    assert_eq!(answer.incomplete, [damaged.file_name().unwrap().to_str().unwrap()]);
}

#[tokio::test]
async fn a_day_ends_as_few_files_and_each_point_is_written_a_few_times() {
    let place = Place::new().await;
    let mut written = 0;
    for ts in 0..128 {
        place.number("d", ts, 0.0);
        place.flush().await;
        written += compact(&place, at(0)).await.iter().map(|merge| merge.points).sum::<u64>();
    }
    written += compact(&place, at(1)).await.iter().map(|merge| merge.points).sum::<u64>();
    assert!(place.files().len() <= 2, "{:?}", place.files());
    assert!(written <= 128 * 10, "{written}");
}

#[tokio::test]
async fn files_that_a_query_reads_outlive_the_merge() {
    let place = Place::new().await;
    for ts in 0..30_000 {
        place.number("d", ts, ts as f64);
    }
    place.flush().await;
    place.number("d", 30_000, 0.0);
    place.flush().await;
    let bounds = QueryBounds {
        memory_bytes: 64 << 20,
        timeout: Duration::from_secs(60),
        rows: 1 << 20,
        concurrent: 2,
    };
    let engine = Engine::new(place.store.clone(), Vec::new(), bounds, place.dir.path().join("spill"));
    let sql = "SELECT a.ts, a.seq, a.value, b.n FROM points a CROSS JOIN generate_series(1, 4) AS b(n)";
    let query = Query { sql: sql.to_owned(), format: Format::Csv, timeout: None };
    let (first, mut answer) = engine.query(&tenant("t"), query).await.unwrap();
    compact(&place, at(0)).await;
    let mut lines = first.iter().filter(|byte| **byte == b'\n').count();
    while let Some(piece) = answer.next().await {
        lines += piece.unwrap().iter().filter(|byte| **byte == b'\n').count();
    }
    assert_eq!(lines, 30_001 * 4 + 1);
    compact(&place, at(0)).await;
    assert_eq!(place.files().len(), 1);
}
