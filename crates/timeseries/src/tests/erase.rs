//! What is erased, as a user of the store sees it.

use super::*;

/// Commits everything below a position of the log, as the caller of the store does.
async fn commit(place: &Place, below: u64) {
    let flush = place.store.freeze_and_write(SHARD).await.unwrap();
    let mut tx = place.db.begin().await.unwrap();
    if let Some(flush) = &flush {
        flush.record(&mut tx).await.unwrap();
    }
    place.store.record_erasures(SHARD, below, &mut tx).await.unwrap();
    tx.commit().await.unwrap();
    if let Some(flush) = flush {
        flush.publish();
    }
    place.store.erasures_recorded(SHARD, below);
}

fn erase(place: &Place, device: &str, keys: &[&str], below: u64) {
    place.store.apply(SHARD, |head| head.erase("t", device, keys.iter().copied(), below));
}

async fn compact(place: &Place) -> usize {
    let mut merges = 0;
    while place.store.compact(8, Timestamp::from_micros(0)).await.unwrap().is_some() {
        merges += 1;
    }
    merges
}

async fn latest(place: &Place, device: &str) -> BTreeMap<TelemetryKey, Sample> {
    place.store.latest(SHARD, &tenant("t"), &id(device)).await.unwrap()
}

#[tokio::test]
async fn a_point_that_comes_after_the_erasure_shows_although_its_time_is_before_that_of_an_erased_one() {
    let mut place = Place::new().await;
    place.push("d", "k", 9, ValueRef::Number(1.0), 10);
    commit(&place, 11).await;
    erase(&place, "d", &[], 20);
    assert_eq!(latest(&place, "d").await.len(), 0);
    place.push("d", "k", 5, ValueRef::Number(2.0), 21);
    for committed in [false, true, true] {
        if committed {
            commit(&place, 22).await;
        }
        assert_eq!(numbers(&place.range("d", &all()).await, "k"), [(5, 2.0)]);
        assert_eq!(latest(&place, "d").await.values().next().unwrap().ts, Timestamp::from_micros(5));
    }
    place.reopen().await;
    assert_eq!(numbers(&place.range("d", &all()).await, "k"), [(5, 2.0)]);
    assert_eq!(latest(&place, "d").await.values().next().unwrap().ts, Timestamp::from_micros(5));
    compact(&place).await;
    assert_eq!(place.positions(), [21]);
}

#[tokio::test]
async fn what_a_flush_under_way_moves_is_erased_too() {
    let place = Place::new().await;
    place.push("d", "k", 1, ValueRef::Number(1.0), 1);
    place.push("e", "k", 1, ValueRef::Number(1.0), 2);
    let flush = place.store.freeze_and_write(SHARD).await.unwrap().unwrap();
    erase(&place, "d", &[], 3);
    assert_eq!(numbers(&place.range("d", &all()).await, "k"), []);
    let mut tx = place.db.begin().await.unwrap();
    flush.record(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    flush.publish();
    assert_eq!((numbers(&place.range("d", &all()).await, "k"), latest(&place, "d").await.len()), (vec![], 0));
    assert_eq!(numbers(&place.range("e", &all()).await, "k"), [(1, 1.0)]);
    let page = place.store.list_latest(&tenant("t"), None, 9).await.unwrap();
    assert_eq!(page.devices.len(), 1);
    assert_eq!(place.positions(), [1, 2]);
    compact(&place).await;
    assert_eq!(place.positions(), [2]);
}

#[tokio::test]
async fn a_flush_that_failed_does_not_bring_back_what_was_erased_meanwhile() {
    let place = Place::new().await;
    place.push("d", "k", 9, ValueRef::Number(1.0), 1);
    drop(place.store.freeze_and_write(SHARD).await.unwrap());
    erase(&place, "d", &[], 2);
    place.push("d", "k", 5, ValueRef::Number(2.0), 3);
    commit(&place, 4).await;
    assert_eq!(latest(&place, "d").await.values().next().unwrap().ts, Timestamp::from_micros(5));
    assert_eq!(place.positions(), [3]);
    assert_eq!(compact(&place).await, 0, "there is nothing to let go of");
}

#[tokio::test]
async fn only_files_that_may_have_erased_points_are_written_anew_and_the_others_once_looked_at() {
    const DAY: i64 = 86_400_000_000;
    let place = Place::new().await;
    for (seq, (device, day)) in [("a", 0), ("c", 0), ("b", 1), ("d", 2)].into_iter().enumerate() {
        place.push(device, "k", day * DAY, ValueRef::Number(1.0), seq as u64);
        commit(&place, 4).await;
    }
    assert!(place.store.compact(2, Timestamp::from_micros(0)).await.unwrap().is_some());
    let before = place.files();
    assert_eq!(before.len(), 3);
    erase(&place, "b", &[], 10);
    commit(&place, 11).await;
    assert_eq!(compact(&place).await, 2, "b lies between a and c, too");
    assert_eq!(place.files().iter().filter(|file| before.contains(file)).count(), 2);
    assert_eq!(erasures::load(place.db.read()).await.unwrap(), []);
}

#[tokio::test]
async fn a_file_with_other_tenants_points_goes_too() {
    let place = Place::new().await;
    for (seq, name) in ["t", "u"].into_iter().enumerate() {
        place.store.apply(SHARD, |head| {
            let slot = head.device(name, "d");
            let ts = Timestamp::from_micros(1);
            head.push(slot, "k", ts, ValueRef::Number(1.0), seq as u64, Flags::NONE);
        });
    }
    commit(&place, 2).await;
    erase(&place, "d", &["other"], 5);
    commit(&place, 6).await;
    let before = place.files();
    assert_eq!(compact(&place).await, 2, "nothing of the key is there, which is not known before it is read");
    assert!(!place.files().iter().any(|file| before.contains(file)));
    erase(&place, "d", &["k"], 7);
    commit(&place, 8).await;
    compact(&place).await;
    assert_eq!(place.positions(), [1]);
    assert_eq!(numbers(&place.range_of("u", "d").await, "k"), [(1, 1.0)]);
}

#[tokio::test]
async fn a_device_whose_keys_were_erased_may_have_as_many_others() {
    let place = Place::new().await;
    let admit = |from: usize| {
        place.store.apply(SHARD, |head| {
            let keys: Vec<String> = (from..from + 10_000).map(|key| format!("k{key}")).collect();
            let points = keys.iter().map(|key| (&**key, Timestamp::from_micros(1), ValueRef::Number(1.0)));
            let slot = head.admit("t", "d", points.clone())?;
            for (key, ts, value) in points {
                head.push(slot, key, ts, value, from as u64, Flags::NONE);
            }
            Ok::<_, OverBounds>(())
        })
    };
    assert_eq!(admit(0), Ok(()));
    assert_eq!(admit(10_000), Err(OverBounds::Keys));
    let flush = place.store.freeze_and_write(SHARD).await.unwrap();
    erase(&place, "d", &[], 5_000);
    assert_eq!(admit(10_000), Ok(()));
    drop(flush);
}
