//! A message on a free topic: to whom it goes, and what of that stands in the journal before it is acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use drover_backbone::{Refused, Ticket};
use drover_mqtt_codec::QoS;
use drover_proto::sessions::v1::{self, change::Change};

use crate::gateway::Gateway;
use crate::journal::message_to;
use crate::message::{Delivery, Message};
use crate::outbox::Bounds;
use crate::router::Hit;
use crate::session::{Delivered, Session};
use crate::space::Space;

/// Targets of one record, which is bounded in bytes.
const MAX_TARGETS: usize = 50_000;

/// Where a message comes from.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Origin {
    /// Number of the publisher's session.
    pub(crate) publisher: u64,
    /// The packet id of a QoS 2 publish that has to be known again after a restart; 0 for none.
    pub(crate) packet_id: u16,
    /// The session whose will it is, when that stands in the journal; 0 for none.
    pub(crate) will_of: u64,
}

/// What became of a message.
pub(crate) struct Routed {
    /// Whether there is any subscription to it.
    pub(crate) has_subscribers: bool,
    /// It may be acknowledged when this has resolved.
    pub(crate) ticket: Option<Ticket>,
}

/// Room to work in.
pub(crate) type Hits = Vec<Hit<Arc<Session>>>;

/// Delivers a message to every session that its topic reaches. For sessions that outlive their connections, and for those that will
/// ask for the retained message later, it stands in the journal first.
///
/// # Errors
/// [`Refused`]: nobody got it.
pub(crate) fn route(
    gateway: &Gateway,
    space: &Arc<Space>,
    origin: Origin,
    message: Message,
    hits: &mut Hits,
) -> Result<Routed, Refused> {
    hits.clear();
    if space.is_watched.load(Ordering::Relaxed) {
        gateway.show(space, &message);
    }
    space.matching(&message.topic, origin.publisher, hits);
    let has_subscribers = !hits.is_empty();
    let is_recorded = message.retain
        || origin.packet_id != 0
        || origin.will_of != 0
        || hits.iter().any(|hit| is_kept(&message, hit));
    if is_recorded {
        let ticket = record(gateway, space, origin, message, hits)?;
        return Ok(Routed { has_subscribers, ticket: Some(ticket) });
    }
    let message = Arc::new(message);
    for hit in hits.drain(..) {
        let session = hit.session.clone();
        settle(gateway, space, &session, deliver(gateway, &message, hit));
    }
    Ok(Routed { has_subscribers, ticket: None })
}

/// Whether the message gets a durable place in the session's queue.
fn is_kept(message: &Message, hit: &Hit<Arc<Session>>) -> bool {
    message.qos.min(hit.qos) != QoS::AtMostOnce && hit.session.is_durable()
}

fn delivery(message: &Arc<Message>, hit: Hit<Arc<Session>>) -> Delivery {
    Delivery {
        qos: hit.qos.min(message.qos),
        retain: message.retain && hit.retain_as_published,
        subscription_ids: (!hit.ids.is_empty()).then(|| hit.ids.into_iter().collect()),
        message: message.clone(),
    }
}

fn deliver(gateway: &Gateway, message: &Arc<Message>, hit: Hit<Arc<Session>>) -> Delivered {
    let session = hit.session.clone();
    session.deliver(delivery(message, hit), gateway.bounds())
}

/// Notes what became of a delivery. A session over its bound ends; publishers never wait for one.
pub(crate) fn settle(gateway: &Gateway, space: &Arc<Space>, session: &Arc<Session>, delivered: Delivered) {
    match delivered {
        Delivered::Queued | Delivered::Ended => {}
        Delivered::Dropped => gateway.metrics.dropped("queue full"),
        Delivered::Away => gateway.metrics.dropped("client away"),
        Delivered::Over => {
            gateway.metrics.dropped("session ended over a full queue");
            gateway.end_over_bound(space, session);
        }
    }
}

/// Appends the message with its places in the queues, then puts it there.
fn record(
    gateway: &Gateway,
    space: &Arc<Space>,
    origin: Origin,
    mut message: Message,
    hits: &mut Hits,
) -> Result<Ticket, Refused> {
    let journal = &gateway.journal;
    let _fence = journal.fence();
    message.number = journal.message_number();
    // Held until the record is appended: the newest retained message is the last one in the journal.
    let mut retained = message.retain.then(|| space.retained.lock());
    let bounds = gateway.bounds();
    let places: Vec<_> = hits
        .iter()
        .map(|hit| is_kept(&message, hit).then(|| hit.session.reserve(message.size(), bounds)))
        .collect();
    let targets = hits.iter().zip(&places).filter_map(|(hit, place)| match place {
        Some(Ok(sequence)) => Some(target(&message, hit, *sequence)),
        _ => None,
    });
    let ticket = append(gateway, space, origin, &message, targets.collect())?;
    let message = Arc::new(message);
    if let Some(retained) = &mut retained {
        retained.keep(&message);
    }
    drop(retained);
    for (hit, place) in hits.drain(..).zip(places) {
        let session = hit.session.clone();
        let delivered = match place {
            Some(Ok(sequence)) => {
                session.put(sequence, delivery(&message, hit), Some(ticket.clone()));
                journal.touch(space, &session);
                Delivered::Queued
            }
            Some(Err(delivered)) => delivered,
            None => deliver(gateway, &message, hit),
        };
        settle(gateway, space, &session, delivered);
    }
    Ok(ticket)
}

/// Appends the message with its targets, in several records when there are very many; the last one completes it.
fn append(
    gateway: &Gateway,
    space: &Space,
    origin: Origin,
    message: &Message,
    mut targets: Vec<v1::Target>,
) -> Result<Ticket, Refused> {
    let published =
        |targets| v1::Published { targets, message: Some(message_to(message)), ..v1::Published::default() };
    while targets.len() > MAX_TARGETS {
        let some = targets.split_off(targets.len() - MAX_TARGETS);
        gateway.journal.append(&space.tenant, Change::Published(published(some)))?;
    }
    let last = v1::Published {
        retained: message.retain,
        publisher: if origin.packet_id == 0 { 0 } else { origin.publisher },
        packet_id: origin.packet_id.into(),
        will_of: origin.will_of,
        ..published(targets)
    };
    gateway.journal.append(&space.tenant, Change::Published(last))
}

fn target(message: &Message, hit: &Hit<Arc<Session>>, sequence: u64) -> v1::Target {
    v1::Target {
        session: hit.session.number,
        sequence,
        qos: message.qos.min(hit.qos).as_u8().into(),
        retain: message.retain && hit.retain_as_published,
        subscription_ids: hit.ids.iter().map(|id| id.get()).collect(),
    }
}

/// Delivers a retained message to one session that has just subscribed (MQTT 5, 3.3.1.3).
///
/// # Errors
/// The log takes nothing at the moment.
pub(crate) fn deliver_retained(
    gateway: &Gateway,
    space: &Arc<Space>,
    session: &Arc<Session>,
    delivery: Delivery,
) -> Result<(), Refused> {
    if delivery.qos == QoS::AtMostOnce || !session.is_durable() {
        // Only the bytes bound them: whoever asks for all of them gets all of them.
        let bounds = Bounds { volatile: usize::MAX, ..gateway.bounds() };
        settle(gateway, space, session, session.deliver(delivery, bounds));
        return Ok(());
    }
    let _fence = gateway.journal.fence();
    let sequence = match session.reserve(delivery.message.size(), gateway.bounds()) {
        Ok(sequence) => sequence,
        Err(delivered) => {
            settle(gateway, space, session, delivered);
            return Ok(());
        }
    };
    let target = v1::Target {
        session: session.number,
        sequence,
        qos: delivery.qos.as_u8().into(),
        retain: true,
        subscription_ids: delivery.subscription_ids.iter().flatten().map(|id| id.get()).collect(),
    };
    let published = v1::Published {
        message: Some(message_to(&delivery.message)),
        targets: vec![target],
        ..v1::Published::default()
    };
    let ticket = gateway.journal.append(&space.tenant, Change::Published(published))?;
    session.put(sequence, delivery, Some(ticket));
    gateway.journal.touch(space, session);
    Ok(())
}
