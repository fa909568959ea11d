//! Checkpoints: what changed of sessions and retained messages goes to the database, with the position in the log that it covers, in
//! one transaction. Then the log may forget it. A checkpoint that fails is tried again as it is, before the next one is made.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use drover_backbone::{Offset, Shard, Stream};
use drover_proto::sessions::v1;
use tokio::time::MissedTickBehavior;

use crate::deliveries::PAGE;
use crate::gateway::Gateway;
use crate::journal::{message_to, subscription_to, suspect_to, target_to, will_to};
use crate::session::{Session, State};
use crate::space::Space;
use crate::store::{Checkpoint, Queued};

/// Sessions of one transaction: others want to write, too.
const SESSIONS_PER_PART: usize = 2_000;

/// A part of a checkpoint, one transaction; the last one has the positions.
#[derive(Default)]
struct Part {
    checkpoint: Checkpoint,
    sessions: Vec<Arc<Session>>,
}

/// Makes checkpoints until the gateway stops, and a last one then.
pub(crate) async fn run(gateway: Arc<Gateway>) -> anyhow::Result<()> {
    let mut interval =
        tokio::time::interval(Duration::from_secs(gateway.config.checkpoint_interval_s.get().into()));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pending = VecDeque::new();
    loop {
        // Cancel-safe: neither holds anything.
        let is_last = tokio::select! {
            _ = interval.tick() => false,
            () = gateway.stop.finish() => true,
        };
        attempt(&gateway, &mut pending).await;
        if is_last {
            // What changed while an older one was written.
            attempt(&gateway, &mut pending).await;
            return Ok(());
        }
    }
}

async fn attempt(gateway: &Gateway, pending: &mut VecDeque<Part>) {
    if pending.is_empty() {
        *pending = gather(gateway);
    }
    // What is written must not be ahead of the log: after a crash it would tell of messages that never were.
    if pending.is_empty() || gateway.journal.flush().await.is_err() {
        return;
    }
    while let Some(part) = pending.front() {
        if let Err(error) = gateway.store.save(&part.checkpoint).await {
            gateway.metrics.checkpoint_failures.inc();
            gateway.checkpoint_failed(&error);
            return;
        }
        cover(gateway, &part.checkpoint);
        part.sessions.iter().for_each(|session| unload(session));
        pending.pop_front();
    }
    gateway.metrics.checkpoints.inc();
    gateway.checkpoint_succeeded();
}

/// Leaves to the database what it has now.
fn unload(session: &Session) {
    let mut state = session.state.lock();
    let keep = if state.attachment.is_some() { PAGE.into() } else { 0 };
    state.outbox.unload(keep);
}

/// Tells the log what it need not keep.
fn cover(gateway: &Gateway, checkpoint: &Checkpoint) {
    for &(stream, shard, next) in &checkpoint.positions {
        match stream {
            Stream::Sessions => gateway.log.truncate(stream, shard, next),
            _ => gateway.log.hold(stream, shard, next),
        }
    }
}

/// What changed since the last checkpoint; empty when nothing did.
fn gather(gateway: &Gateway) -> VecDeque<Part> {
    let journal = &gateway.journal;
    // First the positions, then the changes: whatever lies below a position has been done in memory, and is looked at below.
    let (positions, changed) = journal.at_rest(|| (positions(gateway), journal.take_changed()));
    let retained = retained(gateway);
    if changed.is_empty() && retained.is_empty() && !has_moved(gateway, &positions) {
        return VecDeque::new();
    }
    let mut parts = VecDeque::from([Part::default()]);
    let mut messages = HashMap::new();
    for (space, session) in changed.sessions {
        if parts.back().is_none_or(|part| part.sessions.len() >= SESSIONS_PER_PART) {
            parts.push_back(Part::default());
        }
        // Before it is looked at: a change from now on is one for the next checkpoint.
        session.is_dirty.store(false, Ordering::Release);
        if let Some(part) = parts.back_mut() {
            // Taken while nobody has a place in the queue without a message there: a replay passes over everything below the next place.
            let mut state = journal.at_rest(|| session.state.lock());
            capture((&space, &session), &mut state, &mut messages, &mut part.checkpoint);
            drop(state);
            part.sessions.push(session);
        }
    }
    if let Some(Part { checkpoint, .. }) = parts.back_mut() {
        checkpoint.ended = changed.ended;
        checkpoint.retained = retained;
        checkpoint.positions = positions;
    }
    // With each part: no number that stands in one is given out again after a crash before the next.
    let numbers = journal.numbers();
    parts.iter_mut().for_each(|part| part.checkpoint.numbers = numbers);
    parts
}

/// Tenant, topic and message of the retained messages that changed.
fn retained(gateway: &Gateway) -> Vec<(String, String, Option<v1::Message>)> {
    let mut changed = Vec::new();
    for space in gateway.spaces.all() {
        let taken = space.retained.lock().take_changed();
        changed.extend(taken.into_iter().map(|(topic, message)| {
            (space.tenant.as_str().to_owned(), topic.into(), message.map(|message| message_to(&message)))
        }));
    }
    changed
}

fn positions(gateway: &Gateway) -> Vec<(Stream, Shard, Offset)> {
    let log = &gateway.log;
    let shards = (0..log.shards()).map(Shard);
    let of = |stream| shards.clone().map(move |shard| (stream, shard, log.end(stream, shard)));
    of(Stream::Sessions).chain(of(Stream::Telemetry)).collect()
}

/// Whether so much telemetry came since the last checkpoint that the log should not be kept from forgetting it.
fn has_moved(gateway: &Gateway, positions: &[(Stream, Shard, Offset)]) -> bool {
    let end: u64 = positions.iter().map(|(_, _, next)| next.0).sum();
    gateway.covered.swap(end, Ordering::AcqRel) != end
}

/// Messages of this checkpoint by number: what waits for many sessions is made once.
type Messages = HashMap<u64, Arc<v1::Message>>;

fn capture(
    (space, session): (&Space, &Session),
    state: &mut State,
    messages: &mut Messages,
    checkpoint: &mut Checkpoint,
) {
    if state.is_forgotten || !session.is_durable() && !state.has_record {
        return;
    }
    let tenant = space.tenant.as_str();
    let number = session.number;
    // Of a session that ends with its connection only the will is kept.
    if session.is_durable() {
        state.outbox.take_unstored(|sequence, delivery| {
            let target = target_to(number, sequence, delivery);
            let message = &delivery.message;
            let message =
                messages.entry(message.number).or_insert_with(|| Arc::new(message_to(message))).clone();
            checkpoint.queued.push(Queued { target, tenant: tenant.to_owned(), message });
        });
        let settled = state.outbox.take_settled();
        checkpoint.settled.extend(settled.into_iter().map(|sequence| (number, sequence)));
    }
    checkpoint.sessions.push((number, tenant.to_owned(), saved(session, state)));
}

fn saved(session: &Session, state: &State) -> v1::SessionState {
    let is_attached = state.attachment.is_some();
    let outbox = &state.outbox;
    v1::SessionState {
        owner: session.key.owner.to_string(),
        client_id: session.key.client_id.as_ref().to_owned(),
        expiry_s: state.expiry_s,
        will: state.will.as_deref().map(will_to),
        offline_since_ms: if is_attached { 0 } else { state.offline_since_ms },
        will_due_ms: if is_attached || state.will.is_none() { 0 } else { state.will_due_ms },
        subscriptions: state.subscriptions.iter().map(subscription_to).collect(),
        next_sequence: outbox.next_sequence(),
        received: outbox.received().collect(),
        unreleased: state.unreleased.iter().map(|unreleased| unreleased.packet_id.get().into()).collect(),
        sent_through: outbox.sent_through,
        at_risk: state.at_risk.into(),
        suspect: outbox.suspect().map(suspect_to),
        queued: u64::try_from(outbox.stored_len()).unwrap_or(u64::MAX),
        queued_bytes: u64::try_from(outbox.kept_bytes()).unwrap_or(u64::MAX),
    }
}
