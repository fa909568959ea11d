//! The start: sessions and retained messages as the last checkpoint and the journal behind it have them.

use std::collections::HashMap;
use std::num::NonZeroU16;
use std::sync::Arc;

use drover_backbone::{Frame, LogError, Offset, Reader, Shard, Stream};
use drover_model::{Tenant, TenantId};
use drover_mqtt_codec::topic::is_within;
use drover_proto::sessions::v1;
use drover_runtime::Env;
use prost::Message as _;

use crate::config::Config;
use crate::gateway::Gateway;
use crate::journal::{delivery_from, message_from, subscription_from, suspect_from, will_from};
use crate::message::Message;
use crate::outbox::{Outbox, Restored};
use crate::recovery::{Recovered, RecoveredSession, Recovery};
use crate::session::{Owner, Session, SessionKey, State, Subscription, Unreleased};
use crate::space::Space;
use crate::store::Store;
use crate::subscribe::OWN_TOPICS;

/// Opens the gateway with everything that outlived the last one.
pub(crate) async fn open(config: Config, env: &Env) -> anyhow::Result<Arc<Gateway>> {
    let store = Store::open(&env.db).await?;
    let mut recovery = Recovery::default();
    recovery.saved_numbers(store.numbers().await?);
    store.sessions(|number, tenant, state| recovery.saved(number, &tenant, state)).await?;
    store.retained(|tenant, message| recovery.saved_retained(&tenant, message)).await?;
    let positions: HashMap<_, _> =
        store.positions().await?.into_iter().map(|(stream, shard, next)| ((stream, shard), next)).collect();
    let from = |stream, shard| positions.get(&(stream, shard)).copied().unwrap_or_default();
    for (tenant, change, received_us) in journal(env, &from)? {
        recovery.apply(&tenant, change, received_us);
    }
    for shard in (0..env.log.shards()).map(Shard) {
        let at = from(Stream::Telemetry, shard);
        env.log.hold(Stream::Telemetry, shard, at);
        telemetry(env.log.reader(Stream::Telemetry, shard, at)?, &mut recovery)?;
    }
    let now_ms = env.clock.now().as_millis();
    let recovered = recovery.finish(now_ms);
    let gateway = Arc::new(Gateway::new(config, env, store, recovered.numbers)?);
    restore(&gateway, recovered);
    Ok(gateway)
}

/// The changes behind the last checkpoint, of all shards in one order.
fn journal(
    env: &Env,
    from: &impl Fn(Stream, Shard) -> Offset,
) -> anyhow::Result<Vec<(String, v1::Change, i64)>> {
    let mut changes = Vec::new();
    for shard in (0..env.log.shards()).map(Shard) {
        let mut reader = env.log.reader(Stream::Sessions, shard, from(Stream::Sessions, shard))?;
        while let Some((_, frame)) = reader.try_next()? {
            each_change(&frame, &mut changes);
        }
    }
    changes.sort_by_key(|(_, _, received_us)| *received_us);
    Ok(changes)
}

fn each_change(frame: &Frame, changes: &mut Vec<(String, v1::Change, i64)>) {
    for record in frame.records() {
        let change = record.ok().and_then(|record| {
            let change = v1::Change::decode(record.payload).ok()?;
            Some((record.tenant.to_owned(), change, record.received_us))
        });
        match change {
            Some(change) => changes.push(change),
            None => tracing::error!("a record of the journal can't be read and is passed over"),
        }
    }
}

fn telemetry(mut reader: Reader, recovery: &mut Recovery) -> Result<(), LogError> {
    while let Some((_, frame)) = reader.try_next()? {
        for record in frame.records().flatten().filter(|record| record.session != 0) {
            recovery.telemetry(record.session, record.packet_id, record.received_us);
        }
    }
    Ok(())
}

fn restore(gateway: &Arc<Gateway>, recovered: Recovered) {
    for (tenant, message) in recovered.retained {
        if let Some(space) = space_of(gateway, &tenant) {
            space.retained.lock().restore(&Arc::new(message_from(message, true)));
        }
    }
    for (tenant, topic) in recovered.retained_changed {
        if let Some(space) = space_of(gateway, &tenant) {
            space.retained.lock().touch(&topic);
        }
    }
    recovered.ended.into_iter().for_each(|number| gateway.journal.forget(number));
    let (mut sessions, mut connected) = (0, 0);
    let mut messages = HashMap::new();
    for session in recovered.sessions {
        sessions += 1;
        connected += usize::from(session.was_connected);
        restore_session(gateway, session, &mut messages);
    }
    if sessions > 0 {
        tracing::info!(sessions, connected, "sessions have outlived the server");
    }
}

/// The space of a tenant by its name in the journal.
fn space_of(gateway: &Gateway, tenant: &str) -> Option<Arc<Space>> {
    let id = TenantId::parse(tenant).ok()?;
    #[expect(clippy::disallowed_methods, reason = "its clients were authenticated when this was written")]
    let tenant = Tenant::authenticated(id);
    Some(gateway.spaces.of(&tenant))
}

fn restore_session(
    gateway: &Arc<Gateway>,
    recovered: RecoveredSession,
    messages: &mut HashMap<u64, Arc<Message>>,
) {
    let Some(space) = space_of(gateway, &recovered.tenant) else { return };
    let Some(owner) = Owner::parse(&recovered.state.owner) else {
        return tracing::error!(session = recovered.number, "a session has an unknown owner and is dropped");
    };
    let key = SessionKey { owner, client_id: recovered.state.client_id.as_str().into() };
    let (number, is_changed) = (recovered.number, recovered.changed);
    let state = state((&space, &key), recovered, messages);
    let next_ms = state.next_due_ms();
    let subscriptions = state.subscriptions.clone();
    let session = Arc::new(Session::of(key, number, state));
    for subscription in &subscriptions {
        space.subscribe(&session, subscription);
    }
    space.sessions.lock().insert(&session);
    if is_changed {
        gateway.journal.touch(&space, &session);
    }
    if let Some(at_ms) = next_ms {
        space.arm(&session, at_ms);
    }
}

fn state(
    (space, key): (&Space, &SessionKey),
    recovered: RecoveredSession,
    messages: &mut HashMap<u64, Arc<Message>>,
) -> State {
    let RecoveredSession { state, fresh, settled, .. } = recovered;
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    let fresh = fresh.into_iter().map(|(target, message)| {
        let message = messages
            .entry(message.number)
            .or_insert_with(|| Arc::new(message_from((*message).clone(), target.retain)))
            .clone();
        (target.sequence, delivery_from(&target, message))
    });
    let outbox = Outbox::restore(Restored {
        backlog: space.backlog.clone(),
        next_sequence: state.next_sequence,
        received: state.received,
        stored: size(state.queued),
        stored_bytes: size(state.queued_bytes),
        sent_through: state.sent_through,
        suspect: state.suspect.map(suspect_from),
        fresh: fresh.collect(),
        settled,
    });
    let at_risk = u16::try_from(state.at_risk).unwrap_or(u16::MAX);
    let mut subscriptions: Vec<_> =
        state.subscriptions.into_iter().map(|some| subscription(key, some)).collect();
    subscriptions.shrink_to_fit();
    let unreleased = state.unreleased.iter().filter_map(|id| NonZeroU16::new(u16::try_from(*id).ok()?));
    State {
        attachment: None,
        has_ended: false,
        subscriptions,
        outbox,
        unreleased: unreleased
            .map(|packet_id| Unreleased { packet_id, ticket: None, is_counted: false })
            .collect(),
        expiry_s: state.expiry_s,
        will: state.will.and_then(will_from),
        offline_since_ms: state.offline_since_ms,
        will_due_ms: state.will_due_ms,
        armed_ms: None,
        at_risk,
        is_loading: false,
        awaits_record: false,
        place: None,
        has_record: true,
        is_forgotten: false,
    }
}

fn subscription(key: &SessionKey, subscription: v1::Subscription) -> Subscription {
    let is_own = key.owner.device().is_some() && is_within(&subscription.filter, OWN_TOPICS);
    subscription_from(subscription, is_own)
}
