//! What is saved comes back, on a real database.

use super::*;

async fn store(folder: &tempfile::TempDir) -> Store {
    Store::open(&Db::open(&folder.path().join("test.db")).await.unwrap()).await.unwrap()
}

fn message(number: u64) -> Message {
    Message { number, topic: format!("t/{number}"), payload: vec![b'x'; 9].into(), ..Message::default() }
}

fn queued(session: u64, sequence: u64, number: u64) -> Queued {
    let target = Target { session, sequence, qos: 1, retain: true, subscription_ids: vec![7, 1_000] };
    Queued { target, tenant: "default".to_owned(), message: Arc::new(message(number)) }
}

fn session(number: u64) -> (u64, String, SessionState) {
    let state =
        SessionState { client_id: format!("client-{number}"), next_sequence: 9, ..SessionState::default() };
    (number, "default".to_owned(), state)
}

async fn page(store: &Store, session: u64, after: u64, limit: u32) -> Vec<(u64, u64)> {
    let page = store.page(session, after, limit).await.unwrap();
    page.iter().map(|(target, message)| (target.sequence, message.number)).collect()
}

async fn messages(store: &Store) -> i64 {
    sqlx::query("SELECT count(*) FROM messages").fetch_one(store.db.read()).await.unwrap().get(0)
}

#[tokio::test]
async fn a_checkpoint_comes_back_and_saving_it_again_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let checkpoint = Checkpoint {
        sessions: vec![session(1), session(2)],
        queued: vec![queued(1, 2, 11), queued(1, 1, 10), queued(2, 1, 10)],
        retained: vec![("default".to_owned(), "t/5".to_owned(), Some(message(5)))],
        positions: vec![(Stream::Sessions, Shard(0), Offset(4)), (Stream::Telemetry, Shard(1), Offset(6))],
        numbers: Numbers { next_session: 3, next_message: 12 },
        ..Checkpoint::default()
    };
    for _ in 0..2 {
        store(&folder).await.save(&checkpoint).await.unwrap();
    }
    let store = store(&folder).await;
    let mut sessions = Vec::new();
    store.sessions(|number, tenant, state| sessions.push((number, tenant, state))).await.unwrap();
    assert_eq!(sessions, checkpoint.sessions);
    assert_eq!(page(&store, 1, 0, 9).await, [(1, 10), (2, 11)]);
    assert_eq!(page(&store, 1, 0, 1).await, [(1, 10)]);
    assert_eq!(page(&store, 1, 1, 9).await, [(2, 11)]);
    assert_eq!(store.page(2, 0, 9).await.unwrap(), [(queued(2, 1, 10).target, message(10))]);
    let mut retained = Vec::new();
    store.retained(|tenant, message| retained.push((tenant, message))).await.unwrap();
    assert_eq!(retained, [("default".to_owned(), message(5))]);
    let mut positions = store.positions().await.unwrap();
    positions.sort_by_key(|(stream, ..)| stream.as_str());
    assert_eq!(positions, checkpoint.positions);
    assert_eq!(store.numbers().await.unwrap(), checkpoint.numbers);
}

#[tokio::test]
async fn a_message_goes_when_it_has_left_its_last_queue() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let queued = vec![queued(1, 1, 10), queued(2, 1, 10), queued(2, 2, 11), queued(3, 1, 12)];
    let sessions = vec![session(1), session(2), session(3)];
    store.save(&Checkpoint { sessions, queued, ..Checkpoint::default() }).await.unwrap();
    store.save(&Checkpoint { settled: vec![(1, 1)], ..Checkpoint::default() }).await.unwrap();
    assert_eq!((page(&store, 1, 0, 9).await.len(), messages(&store).await), (0, 3));
    store.save(&Checkpoint { settled: vec![(2, 1)], ..Checkpoint::default() }).await.unwrap();
    assert_eq!((page(&store, 2, 0, 9).await, messages(&store).await), (vec![(2, 11)], 2));
    store.save(&Checkpoint { ended: vec![2, 3], ..Checkpoint::default() }).await.unwrap();
    assert_eq!(messages(&store).await, 0, "the queue of a session ends with it");
    let mut left = Vec::new();
    store.sessions(|number, _, _| left.push(number)).await.unwrap();
    assert_eq!(left, [1]);
}

#[tokio::test]
async fn numbers_only_grow_and_a_retained_message_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let store = store(&folder).await;
    let retained = |message| vec![("default".to_owned(), "t/5".to_owned(), message)];
    for (next, message) in [(5, Some(message(5))), (3, None)] {
        let numbers = Numbers { next_session: next, next_message: next };
        store
            .save(&Checkpoint { numbers, retained: retained(message), ..Checkpoint::default() })
            .await
            .unwrap();
    }
    assert_eq!(store.numbers().await.unwrap(), Numbers { next_session: 5, next_message: 5 });
    store.retained(|_, message| panic!("{message:?}")).await.unwrap();
}
