//! The rules of the fold one by one, and that a checkpoint at any moment changes nothing.

use drover_proto::sessions::v1::{Received, Settled, Subscription, Will};

use super::*;

const TENANT: &str = "default";
const NOW_MS: i64 = 1_000_000;

/// Folds changes in their order over what was saved.
#[derive(Default)]
struct Fold {
    recovery: Recovery,
    at_us: i64,
}

impl Fold {
    fn then(mut self, change: Kind) -> Self {
        self.at_us += 1;
        self.recovery.apply(TENANT, Change { change: Some(change) }, self.at_us);
        self
    }

    fn finish(self) -> (Vec<RecoveredSession>, Recovered) {
        let mut recovered = self.recovery.finish(NOW_MS);
        (recovered.sessions.by_ref().collect(), recovered)
    }

    /// The only session.
    fn session(self) -> RecoveredSession {
        let (mut sessions, _) = self.finish();
        assert_eq!(sessions.len(), 1);
        sessions.remove(0)
    }
}

fn opened(session: u64, client_id: &str) -> Kind {
    let owner = "device:pump-1".to_owned();
    let client_id = client_id.to_owned();
    Kind::Opened(Opened { session, owner, client_id, expiry_s: 100, will: None, at_risk: 4 })
}

fn closed(session: u64) -> Kind {
    let (at_ms, expiry_s) = (500, 100);
    Kind::Closed(Closed { session, at_ms, sent_through: 2, will_due_ms: 0, expiry_s, suspect: None })
}

fn message(number: u64, topic: &str, payload: &'static [u8]) -> Message {
    Message { number, topic: topic.to_owned(), payload: payload.into(), qos: 1, ..Message::default() }
}

fn published(number: u64, targets: &[(u64, u64)]) -> Kind {
    let target =
        |&(session, sequence)| Target { session, sequence, qos: 1, retain: false, subscription_ids: vec![] };
    let targets = targets.iter().map(target).collect();
    Kind::Published(Published { message: Some(message(number, "t", b"x")), targets, ..Published::default() })
}

fn retained(number: u64, topic: &str, payload: &'static [u8]) -> Kind {
    let message = Some(message(number, topic, payload));
    Kind::Published(Published { message, retained: true, ..Published::default() })
}

fn settled(session: u64, sequences: &[u64]) -> Kind {
    Kind::Settled(Settled { session, sequences: sequences.to_vec() })
}

fn sequences(session: &RecoveredSession) -> Vec<u64> {
    session.fresh.iter().map(|(target, _)| target.sequence).collect()
}

#[test]
fn a_session_has_what_was_queued_and_not_settled() {
    let fold = Fold::default().then(opened(1, "a")).then(published(1, &[(1, 1)]));
    let fold = fold.then(published(2, &[(1, 2)])).then(settled(1, &[1])).then(closed(1));
    let session = fold.session();
    assert_eq!((session.number, &*session.tenant, &*session.state.client_id), (1, TENANT, "a"));
    assert_eq!(sequences(&session), [2]);
    assert_eq!((session.state.next_sequence, session.state.sent_through), (3, 2));
    assert_eq!(session.state.offline_since_ms, 500);
    assert!(!session.was_connected && session.changed);
}

#[test]
fn whoever_was_connected_at_a_kill_has_left_now_and_may_have_seen_what_was_at_risk() {
    let session = Fold::default().then(opened(1, "a")).then(published(1, &[(1, 1)])).session();
    assert!(session.was_connected);
    assert_eq!(session.state.offline_since_ms, NOW_MS);
    assert_eq!(session.state.suspect, Some(Suspect { window: 4, through: 1, after: 0 }));
    let fold = Fold::default().then(opened(1, "a")).then(published(1, &[(1, 1)])).then(closed(1));
    assert_eq!(fold.session().state.suspect, None, "it left by itself");
}

#[test]
fn a_will_is_due_after_its_delay_or_with_the_session_and_gone_when_published() {
    let opened_with = |delay_s| {
        let will = Some(Will { message: Some(message(1, "w", b"bye")), retain: false, delay_s });
        let Kind::Opened(opened) = opened(1, "a") else { unreachable!() };
        Kind::Opened(Opened { will, ..opened })
    };
    for (delay_s, wait_ms) in [(0, 0), (7, 7_000), (1_000, 100_000)] {
        let state = Fold::default().then(opened_with(delay_s)).session().state;
        assert_eq!(state.will_due_ms, NOW_MS + wait_ms, "a delay of {delay_s} s");
    }
    let sent = Kind::Published(Published {
        message: Some(message(1, "w", b"bye")),
        will_of: 1,
        ..Published::default()
    });
    let state = Fold::default().then(opened_with(0)).then(sent).session().state;
    assert_eq!((state.will, state.will_due_ms), (None, 0));
    let mut fold = Fold::default().then(opened_with(0));
    fold.recovery.telemetry(1, SessionPublish::WILL.into(), fold.at_us + 1);
    assert_eq!(fold.session().state.will, None, "it went to the device's own topics");
}

#[test]
fn a_session_that_ended_or_was_begun_anew_is_gone_with_its_queue() {
    let fold = Fold::default().then(opened(1, "a")).then(published(1, &[(1, 1)]));
    let (sessions, recovered) =
        fold.then(Kind::Ended(drover_proto::sessions::v1::Ended { session: 1 })).finish();
    assert!(sessions.is_empty());
    assert!(recovered.ended.is_empty(), "the database never had it");
    assert_eq!(recovered.numbers, Numbers { next_session: 2, next_message: 2 });

    let mut fold = Fold::default();
    fold.recovery.saved(1, TENANT, Fold::default().then(opened(1, "a")).then(closed(1)).session().state);
    let (sessions, recovered) = fold.then(opened(2, "a")).then(opened(3, "b")).finish();
    assert_eq!(sessions.iter().map(|session| session.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(recovered.ended, [1]);
}

#[test]
fn qos_2_is_remembered_in_both_directions_until_it_is_complete() {
    let received = Kind::Received(Received { session: 1, sequences: vec![1, 2] });
    let sent = |packet_id| {
        Kind::Published(Published {
            message: Some(message(9, "t", b"x")),
            publisher: 1,
            packet_id,
            ..Published::default()
        })
    };
    let released = Kind::Released(Released { session: 1, packet_ids: vec![5], at_us: 50 });
    let fold =
        Fold::default().then(opened(1, "a")).then(published(1, &[(1, 1)])).then(published(2, &[(1, 2)]));
    let mut fold = fold.then(received).then(settled(1, &[1])).then(sent(5)).then(sent(6)).then(released);
    // Telemetry is read after the journal: what came before the release stays released.
    fold.recovery.telemetry(1, 5, 49);
    fold.recovery.telemetry(1, 7, 49);
    let session = fold.session();
    assert_eq!(sequences(&session), [] as [u64; 0]);
    assert_eq!(session.state.received, [2]);
    assert_eq!(session.state.unreleased, [6, 7]);

    let mut fold = Fold::default().then(opened(1, "a"));
    fold = fold.then(Kind::Released(Released { session: 1, packet_ids: vec![5], at_us: 50 }));
    fold.recovery.telemetry(1, 5, 51);
    assert_eq!(fold.session().state.unreleased, [5], "it is another message by now");
}

#[test]
fn the_last_retained_message_of_a_topic_counts_and_an_empty_one_removes_it() {
    let mut fold = Fold::default();
    fold.recovery.saved_retained(TENANT, message(1, "kept", b"old"));
    let fold = fold.then(retained(2, "a", b"one")).then(retained(3, "a", b"two"));
    let (_, recovered) = fold.then(retained(4, "b", b"x")).then(retained(5, "b", b"")).finish();
    let found: Vec<_> =
        recovered.retained.iter().map(|(_, message)| (&*message.topic, message.number)).collect();
    assert_eq!(found, [("a", 3), ("kept", 1)]);
    let changed: Vec<_> = recovered.retained_changed.iter().map(|(_, topic)| &**topic).collect();
    assert_eq!(changed, ["a", "b"]);
}

/// What a checkpoint after the first `count` changes would save, and the rest of the changes, or some more, folded over it.
fn through_a_checkpoint(changes: &[Kind], count: usize, from: usize) -> RecoveredSession {
    let before = changes[..count].iter().cloned().fold(Fold::default(), Fold::then);
    let live = before.recovery.finish(0).sessions.next().unwrap();
    let stored: Vec<u64> = live.fresh.iter().map(|(target, _)| target.sequence).collect();
    // Not as a kill at this moment has it, but as it is: the client is connected.
    let state = SessionState { offline_since_ms: 0, will_due_ms: 0, suspect: None, ..live.state };
    let mut fold = Fold { at_us: i64::try_from(from).unwrap(), ..Fold::default() };
    fold.recovery.saved(1, TENANT, state);
    let mut session = changes[from..].iter().cloned().fold(fold, Fold::then).session();
    let mut queue: Vec<u64> =
        stored.into_iter().filter(|sequence| !session.settled.contains(sequence)).collect();
    queue.extend(sequences(&session));
    session.settled = queue;
    session
}

#[test]
fn a_checkpoint_at_any_moment_changes_nothing() {
    let subscription = Subscription { filter: "t".to_owned(), ..Subscription::default() };
    let changes = [
        opened(1, "a"),
        Kind::Subscribed(Subscribed { session: 1, subscriptions: vec![subscription] }),
        published(1, &[(1, 1)]),
        published(2, &[(1, 2)]),
        published(3, &[(1, 3)]),
        Kind::Received(Received { session: 1, sequences: vec![2] }),
        settled(1, &[1]),
        settled(1, &[2]),
        published(4, &[(1, 4)]),
    ];
    for count in 1..=changes.len() {
        // Its position in the journal may be older than what it saw.
        for from in 0..=count {
            let session = through_a_checkpoint(&changes, count, from);
            let place = format!("saved after {count}, folded from {from}");
            assert_eq!(session.settled, [3, 4], "{place}");
            assert_eq!(session.state.received, [] as [u64; 0], "{place}");
            assert_eq!(session.state.next_sequence, 5, "{place}");
            assert_eq!(session.state.subscriptions.len(), 1, "{place}");
            assert_eq!(session.state.suspect.map(|suspect| suspect.through), Some(4), "{place}");
        }
    }
}
