//! Behaviour of the handle on SQLite.

use drover_model::Kind;
use sqlx::Row;

use super::*;

fn words() -> sqlx::migrate::Migrator {
    migrations(&[
        (1, "words", "CREATE TABLE words (id TEXT PRIMARY KEY, n BIGINT NOT NULL);"),
        (2, "notes", "CREATE TABLE notes (word TEXT NOT NULL REFERENCES words (id));"),
    ])
}

async fn fresh(dir: &tempfile::TempDir) -> Db {
    let db = Db::open(&dir.path().join("drover.db")).await.unwrap();
    db.migrate("words", &words()).await.unwrap();
    db
}

async fn insert(tx: &mut Transaction, id: &str) -> Result<(), DbError> {
    sqlx::query("INSERT INTO words (id, n) VALUES ($1, 1)").bind(id).execute(&mut **tx).await?;
    Ok(())
}

async fn count(db: &Db) -> i64 {
    sqlx::query("SELECT COUNT(*) FROM words").fetch_one(db.read()).await.unwrap().get(0)
}

#[tokio::test]
async fn a_commit_is_seen_by_readers_and_a_dropped_transaction_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let db = fresh(&dir).await;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await.unwrap();
    assert_eq!(count(&db).await, 0);
    tx.commit().await.unwrap();
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "b").await.unwrap();
    drop(tx);
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "c").await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(count(&db).await, 1);
}

#[tokio::test]
async fn writers_take_turns() {
    let dir = tempfile::tempdir().unwrap();
    let db = fresh(&dir).await;
    let writers = (0..20).map(|number| {
        let db = db.clone();
        async move {
            let mut tx = db.begin().await.unwrap();
            insert(&mut tx, &format!("w{number}")).await.unwrap();
            tx.commit().await.unwrap();
        }
    });
    futures_util::future::join_all(writers).await;
    assert_eq!(count(&db).await, 20);
}

#[tokio::test]
async fn errors_have_kinds() {
    let dir = tempfile::tempdir().unwrap();
    let db = fresh(&dir).await;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await.unwrap();
    assert_eq!(insert(&mut tx, "a").await.unwrap_err().kind(), Kind::Exists);
    let orphan = sqlx::query("INSERT INTO notes (word) VALUES ('x')").execute(&mut *tx).await.unwrap_err();
    assert_eq!(DbError::from(orphan).kind(), Kind::Conflict);
    let nonsense = sqlx::query("SELEC").execute(&mut *tx).await.unwrap_err();
    assert_eq!(DbError::from(nonsense).kind(), Kind::Internal);
    let refused = sqlx::query("DELETE FROM words").execute(db.read()).await.unwrap_err();
    assert_eq!(DbError::from(refused).kind(), Kind::Unavailable);
    drop(tx);
    db.close().await;
    assert_eq!(db.begin().await.unwrap_err().kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_full_database_is_exhausted() {
    let dir = tempfile::tempdir().unwrap();
    let db = fresh(&dir).await;
    let mut tx = db.begin().await.unwrap();
    sqlx::query("PRAGMA max_page_count = 1").execute(&mut *tx).await.unwrap();
    let full = sqlx::query("INSERT INTO words (id, n) VALUES ($1, 1)")
        .bind("x".repeat(1 << 20))
        .execute(&mut *tx)
        .await
        .unwrap_err();
    assert_eq!(DbError::from(full).kind(), Kind::Exhausted);
}

#[tokio::test]
async fn services_migrate_apart_and_twice_without_harm() {
    let dir = tempfile::tempdir().unwrap();
    let db = fresh(&dir).await;
    db.migrate("words", &words()).await.unwrap();
    db.migrate("other", &migrations(&[(1, "other", "CREATE TABLE other (id TEXT PRIMARY KEY);")]))
        .await
        .unwrap();
    let changed = migrations(&[(1, "words", "CREATE TABLE changed (id TEXT);")]);
    let error = db.migrate("words", &changed).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Internal);
    assert!(error.to_string().contains("words"), "{error}");
}

#[tokio::test]
async fn what_was_committed_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let db = fresh(&dir).await;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await.unwrap();
    tx.commit().await.unwrap();
    db.close().await;
    assert_eq!(count(&fresh(&dir).await).await, 1);
}

#[tokio::test]
async fn a_copy_holds_what_was_committed_before_it_began() {
    let dir = tempfile::tempdir().unwrap();
    let db = fresh(&dir).await;
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "a").await.unwrap();
    tx.commit().await.unwrap();
    let mut open = db.begin().await.unwrap();
    insert(&mut open, "b").await.unwrap();
    let path = dir.path().join("copy.db");
    db.copy_to(&path).await.unwrap();
    open.commit().await.unwrap();
    assert_eq!((count(&Db::open(&path).await.unwrap()).await, count(&db).await), (1, 2));
    assert!(db.copy_to(&path).await.is_err(), "a copy never overwrites");
}

#[tokio::test]
async fn the_writer_syncs_at_every_commit() {
    let dir = tempfile::tempdir().unwrap();
    let db = fresh(&dir).await;
    let mut tx = db.begin().await.unwrap();
    let mode: String = sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&mut *tx).await.unwrap();
    let synchronous: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&mut *tx).await.unwrap();
    assert_eq!((mode.as_str(), synchronous), ("wal", 2));
}

/// A file system of 1 MiB; none when this process may not mount one.
fn small_disk(folder: &Path) -> Option<impl Drop> {
    struct Mounted(std::path::PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
        }
    }
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(folder)
        .output();
    mount.is_ok_and(|mount| mount.status.success()).then(|| Mounted(folder.to_owned()))
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_is_forgotten_when_space_returns() {
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = small_disk(dir.path()) else {
        eprintln!("ignored: mounting a small file system needs root");
        return;
    };
    let db = fresh(&dir).await;
    let filler = dir.path().join("filler");
    let _ = std::fs::write(&filler, vec![1; 2 << 20]);
    for round in 0..20 {
        let mut tx = db.begin().await.unwrap();
        let mut outcome = Ok(());
        for word in 0..50 {
            outcome = insert(&mut tx, &format!("{round}-{word}-{}", "x".repeat(2_000))).await;
            if outcome.is_err() {
                break;
            }
        }
        let error = match outcome {
            Ok(()) => tx.commit().await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!(error.kind(), Kind::Exhausted, "{error}");
    }
    std::fs::remove_file(&filler).unwrap();
    let mut tx = db.begin().await.unwrap();
    insert(&mut tx, "word").await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(count(&db).await, 1);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_told_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("drover.db");
    std::fs::write(&path, [7; 100_000]).unwrap();
    let error = Db::open(&path).await.unwrap_err();
    assert!(error.to_string().contains("drover restore"), "{error}");
    assert!(std::error::Error::source(&error).is_none(), "it is said once");
}
