//! Files that are missing, damaged, left over or not wanted; flushes that fail.

use super::*;

#[tokio::test]
async fn a_file_that_was_never_committed_is_removed_at_open() {
    let mut place = Place::new().await;
    place.number("d", 1, 1.0);
    let flush = place.store.freeze_and_write(SHARD).await.unwrap().unwrap();
    std::mem::forget(flush);
    std::fs::write(place.dir.path().join("points/00000-000000000009.tmp"), b"half").unwrap();
    assert_eq!(place.files().len(), 2);
    place.reopen().await;
    assert!(place.files().is_empty());
    assert!(place.range("d", &all()).await.series.is_empty());
    assert_eq!(place.store.health(), Health::Ready);
}

#[tokio::test]
async fn a_flush_given_up_leaves_no_file_and_its_points_are_in_the_next() {
    let place = Place::new().await;
    place.number("d", 1, 1.0);
    drop(place.store.freeze_and_write(SHARD).await.unwrap().unwrap());
    assert!(place.files().is_empty());
    assert_eq!(place.store.head_points(SHARD), 1);
    place.number("d", 2, 2.0);
    place.flush().await;
    assert_eq!(place.store.head_points(SHARD), 0);
    assert_eq!(place.store.head_bytes(SHARD), 0);
    assert_eq!(place.store.stats().file_points, 2);
    assert_eq!(numbers(&place.range("d", &all()).await, "k"), [(1, 1.0), (2, 2.0)]);
}

#[tokio::test]
async fn a_flush_whose_transaction_fails_leaves_no_file_after_the_next() {
    let place = Place::new().await;
    place.number("d", 1, 1.0);
    let flush = place.store.freeze_and_write(SHARD).await.unwrap().unwrap();
    let mut tx = place.db.begin().await.unwrap();
    flush.record(&mut tx).await.unwrap();
    tx.rollback().await.unwrap();
    drop(flush);
    place.flush().await;
    assert_eq!(place.files().len(), 1);
    assert_eq!(place.store.stats().files, 1);
}

#[tokio::test]
async fn a_commit_that_the_caller_never_learned_of_is_found_by_the_next_flush() {
    let place = Place::new().await;
    place.number("d", 1, 1.0);
    let flush = place.store.freeze_and_write(SHARD).await.unwrap().unwrap();
    let mut tx = place.db.begin().await.unwrap();
    flush.record(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    drop(flush);
    assert_eq!(numbers(&place.range("d", &all()).await, "k"), [(1, 1.0)]);
    assert!(place.store.freeze_and_write(SHARD).await.unwrap().is_none());
    assert_eq!((place.store.stats().files, place.store.head_points(SHARD)), (1, 0));
    assert_eq!(numbers(&place.range("d", &all()).await, "k"), [(1, 1.0)]);
}

#[tokio::test]
async fn missing_and_damaged_files_are_named_and_the_rest_answers() {
    let mut place = Place::new().await;
    for ts in [1, 2, 3] {
        place.number("d", ts, 1.0);
        place.flush().await;
    }
    let files = place.files();
    std::fs::remove_file(&files[0]).unwrap();
    let length = std::fs::metadata(&files[1]).unwrap().len();
    std::fs::write(&files[1], vec![7; usize::try_from(length).unwrap()]).unwrap();
    place.reopen().await;
    let Health::Degraded { detail } = place.store.health() else { panic!("a file is missing") };
    assert!(detail.contains("00000-000000000000.parquet"), "{detail}");
    let answer = place.range("d", &all()).await;
    assert_eq!(numbers(&answer, "k"), [(3, 1.0)]);
    assert_eq!(answer.incomplete, ["00000-000000000000.parquet", "00000-000000000001.parquet"]);
    let Health::Degraded { detail } = place.store.health() else { panic!("two files are away") };
    assert!(detail.starts_with("2 "), "{detail}");
    let newer = RangeQuery { from: Timestamp::from_micros(3), ..all() };
    assert!(place.range("d", &newer).await.incomplete.is_empty());
}

#[tokio::test]
async fn an_empty_head_makes_no_file() {
    let place = Place::new().await;
    assert!(place.store.freeze_and_write(SHARD).await.unwrap().is_none());
    assert!(place.files().is_empty());
}

#[tokio::test]
async fn a_folder_that_refuses_keeps_the_points_in_memory() {
    let place = Place::new().await;
    place.number("d", 1, 1.0);
    let points = place.dir.path().join("points");
    std::fs::remove_dir(&points).unwrap();
    let error = place.store.freeze_and_write(SHARD).await.unwrap_err();
    assert_eq!(error.kind(), drover_model::Kind::Unavailable, "{error}");
    std::fs::create_dir(&points).unwrap();
    place.flush().await;
    assert_eq!(numbers(&place.range("d", &all()).await, "k"), [(1, 1.0)]);
}
