//! Points that grow too old, as a user of the store sees them.

use super::*;

const DAY: i64 = 86_400_000_000;

fn keep(place: &Place, rules: &[(&str, u64)], today: i64) {
    let days = |days: u64| (days > 0).then(|| Duration::from_secs(days * 86_400));
    let rules =
        rules.iter().map(|(keys, of)| RetentionRule { keys: (*keys).into(), keep: days(*of) }).collect();
    let retention = Retention { default: None, rules: [("t".into(), rules)].into_iter().collect() };
    place.store.set_retention(&retention, at(today));
}

fn at(day: i64) -> Timestamp {
    Timestamp::from_micros(day * DAY)
}

/// Ten days with a point of two keys each, merged into a file for each day.
async fn ten_days() -> Place {
    let place = Place::new().await;
    for day in 0..10 {
        place.push("d", "a", day * DAY, ValueRef::Number(1.0), day.cast_unsigned() * 2);
        place.push("d", "debug.b", day * DAY + 1, ValueRef::Number(2.0), day.cast_unsigned() * 2 + 1);
        if day == 4 {
            place.flush().await;
        }
    }
    place.flush().await;
    place.store.compact(2, at(10)).await.unwrap().unwrap();
    assert_eq!(place.files().len(), 10);
    place
}

async fn merges(place: &Place, today: i64) -> usize {
    let mut merges = 0;
    while place.store.compact(2, at(today)).await.unwrap().is_some() {
        merges += 1;
    }
    merges
}

async fn lengths(place: &Place) -> (usize, usize) {
    let answer = place.range("d", &all()).await;
    (numbers(&answer, "a").len(), numbers(&answer, "debug.b").len())
}

#[tokio::test]
async fn whole_files_go_and_what_is_left_of_others_is_written_anew_once() {
    let mut place = ten_days().await;
    keep(&place, &[("*", 7), ("debug.*", 2)], 10);
    assert_eq!(lengths(&place).await, (7, 2));
    assert_eq!(place.files().len(), 10, "nothing is removed by being hidden");
    assert_eq!(
        merges(&place, 10).await,
        6,
        "one for three files that go, one for each of five that lose a key"
    );
    assert_eq!(place.files().len(), 7);
    assert_eq!((lengths(&place).await, place.store.stats().file_points), ((7, 2), 9));
    assert_eq!(merges(&place, 10).await, 0);
    place.reopen().await;
    keep(&place, &[("*", 7), ("debug.*", 2)], 10);
    assert_eq!((merges(&place, 10).await, lengths(&place).await), (0, (7, 2)));
    assert_eq!(merges(&place, 11).await, 2, "a day later one goes, one loses a key");
    assert_eq!(lengths(&place).await, (6, 1));
}

#[tokio::test]
async fn what_is_not_removed_yet_shows_again_when_a_rule_goes() {
    let place = ten_days().await;
    keep(&place, &[("*", 1)], 10);
    assert_eq!(lengths(&place).await, (1, 1));
    keep(&place, &[], 10);
    assert_eq!(lengths(&place).await, (10, 10));
}

#[tokio::test]
async fn the_latest_value_goes_when_it_is_too_old() {
    let place = ten_days().await;
    place.push("e", "a", 5 * DAY, ValueRef::Number(1.0), 100);
    keep(&place, &[("*", 3)], 10);
    let latest = place.store.latest(SHARD, &tenant("t"), &id("d")).await.unwrap();
    assert_eq!(latest.len(), 2);
    assert_eq!(place.store.latest(SHARD, &tenant("t"), &id("e")).await.unwrap().len(), 0);
    keep(&place, &[("*", 3)], 20);
    for limit in [1, 9] {
        assert_eq!(place.store.list_latest(&tenant("t"), None, limit).await.unwrap().devices, []);
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_read_goes_all_the_same_when_nothing_of_it_is_kept() {
    let place = ten_days().await;
    std::fs::write(&place.files()[0], b"not a file of points").unwrap();
    assert_eq!(place.range("d", &all()).await.incomplete.len(), 1);
    keep(&place, &[("*", 9)], 10);
    let answer = place.range("d", &all()).await;
    assert_eq!((numbers(&answer, "a").len(), answer.incomplete.len()), (9, 0));
    merges(&place, 10).await;
    assert_eq!((place.files().len(), place.store.health()), (9, Health::Ready));
}
