//! Checkpoints: what changed of sessions and retained messages goes to the database, with the position in the log that it covers, in
//! one transaction. Then the log may forget it. A checkpoint that fails is tried again as it is, before the next one is made.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use drover_backbone::{Offset, Shard, Stream};
use drover_proto::sessions::v1;
use tokio::time::MissedTickBehavior;

use crate::deliveries::PAGE;
use crate::gateway::Gateway;
use crate::journal::{Changed, message_to, subscription_to, suspect_to, will_to};
use crate::session::{Session, State};
use crate::space::Space;
use crate::store::{Checkpoint, Queued};

/// A checkpoint under way.
struct Pending {
    checkpoint: Checkpoint,
    sessions: Vec<Arc<Session>>,
}

/// Makes checkpoints until the gateway stops, and a last one then.
pub(crate) async fn run(gateway: Arc<Gateway>) -> anyhow::Result<()> {
    let mut interval =
        tokio::time::interval(Duration::from_secs(gateway.config.checkpoint_interval_s.get().into()));
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pending = None;
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

async fn attempt(gateway: &Gateway, pending: &mut Option<Pending>) {
    if pending.is_none() {
        *pending = gather(gateway);
    }
    let Some(made) = pending else { return };
    if let Err(error) = gateway.store.save(&made.checkpoint).await {
        gateway.metrics.checkpoint_failures.inc();
        gateway.checkpoint_failed(&error);
        return;
    }
    gateway.metrics.checkpoints.inc();
    gateway.checkpoint_succeeded();
    cover(gateway, &made.checkpoint);
    for session in made.sessions.drain(..) {
        let mut state = session.state.lock();
        let keep = if state.attachment.is_some() { PAGE.into() } else { 0 };
        state.outbox.unload(keep);
    }
    *pending = None;
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

/// What changed since the last checkpoint; `None` when nothing did.
fn gather(gateway: &Gateway) -> Option<Pending> {
    let journal = &gateway.journal;
    // First the positions, then the changes: whatever lies below a position has been done in memory, and is looked at below.
    let (positions, changed) = journal.at_rest(|| (positions(gateway), journal.take_changed()));
    let checkpoint = Checkpoint { positions, numbers: journal.numbers(), ..Checkpoint::default() };
    if changed.is_empty() && !has_moved(gateway, &checkpoint.positions) {
        return None;
    }
    let mut pending = Pending { checkpoint, sessions: Vec::new() };
    let Changed { sessions, ended, retained } = changed;
    pending.checkpoint.ended = ended;
    for (space, session) in sessions {
        // Before it is looked at: a change from now on is one for the next checkpoint.
        session.is_dirty.store(false, Ordering::Release);
        capture(&space, &session, &mut pending.checkpoint);
        pending.sessions.push(session);
    }
    for (space, topic) in retained {
        let message = space.retained.lock().messages.get(&topic).map(|message| message_to(message));
        pending.checkpoint.retained.push((space.tenant.as_str().to_owned(), topic.into(), message));
    }
    Some(pending)
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

fn capture(space: &Space, session: &Session, checkpoint: &mut Checkpoint) {
    let mut state = session.state.lock();
    if state.has_ended || !session.is_durable() && !state.has_record {
        return;
    }
    let tenant = space.tenant.as_str();
    let number = session.number;
    state.outbox.take_unstored(|sequence, delivery| {
        let target = v1::Target {
            session: number,
            sequence,
            qos: delivery.qos.as_u8().into(),
            retain: delivery.retain,
            subscription_ids: delivery.subscription_ids.iter().flatten().map(|id| id.get()).collect(),
        };
        let message = Arc::new(message_to(&delivery.message));
        checkpoint.queued.push(Queued { target, tenant: tenant.to_owned(), message });
    });
    let settled = state.outbox.take_settled();
    checkpoint.settled.extend(settled.into_iter().map(|sequence| (number, sequence)));
    checkpoint.sessions.push((number, tenant.to_owned(), saved(session, &state)));
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
        window: state.window.into(),
        suspect: outbox.suspect.map(suspect_to),
        queued: u64::try_from(outbox.stored_len()).unwrap_or(u64::MAX),
        queued_bytes: u64::try_from(outbox.bytes()).unwrap_or(u64::MAX),
    }
}
