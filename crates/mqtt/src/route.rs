//! A message on a free topic: to whom it goes, and what of that stands in the journal before it is acknowledged.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use drover_backbone::{Refused, Ticket};
use drover_mqtt_codec::QoS;
use drover_proto::sessions::v1::{self, change::Change};

use crate::gateway::Gateway;
use crate::journal::{message_to, target_to};
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
    mut message: Message,
    hits: &mut Hits,
) -> Result<Routed, Refused> {
    message.number = gateway.journal.message_number();
    hits.clear();
    if space.is_watched.load(Ordering::Relaxed) {
        gateway.show(space, &message);
    }
    space.matching(&message, origin.publisher, gateway.bounds(), hits);
    let has_subscribers = !hits.is_empty();
    let is_recorded = message.retain
        || origin.packet_id != 0
        || origin.will_of != 0
        || hits.iter().any(|hit| is_kept(message.qos.min(hit.qos), &hit.session));
    if is_recorded {
        let ticket = record(gateway, space, origin, message, hits)?;
        return Ok(Routed { has_subscribers, ticket: Some(ticket) });
    }
    let message = Arc::new(message);
    for (session, delivery) in hits.drain(..).map(|hit| delivery(&message, hit)) {
        settle(gateway, space, &session, session.deliver(delivery, gateway.bounds()));
    }
    Ok(Routed { has_subscribers, ticket: None })
}

/// Whether a message that is delivered so gets a durable place in the session's queue.
fn is_kept(qos: QoS, session: &Session) -> bool {
    qos != QoS::AtMostOnce && session.is_durable()
}

pub(crate) fn delivery(message: &Arc<Message>, hit: Hit<Arc<Session>>) -> (Arc<Session>, Delivery) {
    let delivery = Delivery {
        qos: hit.qos.min(message.qos),
        retain: message.retain && hit.retain_as_published,
        subscription_ids: (!hit.ids.is_empty()).then(|| hit.ids.into_iter().collect()),
        message: message.clone(),
    };
    (hit.session, delivery)
}

/// Notes what became of a delivery. A session over its bound ends; publishers never wait for one, but what tells that the end is durable
/// is answered: a message may be acknowledged then, that went to everybody who is left.
pub(crate) fn settle(
    gateway: &Gateway,
    space: &Arc<Space>,
    session: &Arc<Session>,
    delivered: Delivered,
) -> Option<Ticket> {
    match delivered {
        Delivered::Queued | Delivered::Ended => {}
        Delivered::Dropped => gateway.metrics.dropped("queue full"),
        Delivered::Away => gateway.metrics.dropped("client away"),
        Delivered::Over(full) => {
            gateway.metrics.dropped("session ended over a full queue");
            return gateway.end_over_bound(space, session, full);
        }
    }
    None
}

/// Puts the message into the journal with what it changes beside the queues.
fn record(
    gateway: &Gateway,
    space: &Arc<Space>,
    origin: Origin,
    message: Message,
    hits: &mut Hits,
) -> Result<Ticket, Refused> {
    let message = Arc::new(message);
    let published = v1::Published {
        message: Some(message_to(&message)),
        targets: Vec::new(),
        retained: message.retain,
        publisher: if origin.packet_id == 0 { 0 } else { origin.publisher },
        packet_id: origin.packet_id.into(),
        will_of: origin.will_of,
    };
    let deliveries = hits.drain(..).map(|hit| delivery(&message, hit)).collect();
    // Held until the record is appended: the newest retained message is the last one in the journal.
    let retained = message.retain.then(|| space.retained.lock());
    keep(gateway, space, published, deliveries, || {
        if let Some(mut retained) = retained {
            retained.keep(&message);
        }
    })
}

/// Appends a message with its places in the queues, then puts it there; `appended` is done in between. What needs no place is delivered
/// as it is.
fn keep(
    gateway: &Gateway,
    space: &Arc<Space>,
    mut published: v1::Published,
    deliveries: Vec<(Arc<Session>, Delivery)>,
    appended: impl FnOnce(),
) -> Result<Ticket, Refused> {
    let bounds = gateway.bounds();
    let _fence = gateway.journal.fence();
    let reserve = |(session, delivery): &(Arc<Session>, Delivery)| {
        is_kept(delivery.qos, session).then(|| session.reserve(delivery.message.size(), bounds))
    };
    let places: Vec<_> = deliveries.iter().map(reserve).collect();
    let placed = deliveries.iter().zip(&places).filter_map(|((session, delivery), place)| match place {
        Some(Ok(sequence)) => Some(target_to(session.number, *sequence, delivery)),
        _ => None,
    });
    published.targets = placed.collect();
    let mut ticket = append(gateway, space, published).inspect_err(|_| {
        let placed = deliveries.iter().zip(&places).filter(|(_, place)| matches!(place, Some(Ok(_))));
        placed.for_each(|((session, delivery), _)| session.cancel(delivery.message.size()));
    })?;
    appended();
    for ((session, delivery), place) in deliveries.into_iter().zip(places) {
        let delivered = match place {
            Some(Ok(sequence)) => {
                session.put(sequence, delivery, &ticket);
                gateway.journal.touch(space, &session);
                Delivered::Queued
            }
            Some(Err(delivered)) => delivered,
            None => session.deliver(delivery, bounds),
        };
        // Later in the same shard, so it tells of everything before, too.
        if let Some(ended) = settle(gateway, space, &session, delivered) {
            ticket = ended;
        }
    }
    Ok(ticket)
}

/// Appends a message with its targets, in several records when there are very many; the last one completes it.
fn append(gateway: &Gateway, space: &Space, mut published: v1::Published) -> Result<Ticket, Refused> {
    while published.targets.len() > MAX_TARGETS {
        let targets = published.targets.split_off(published.targets.len() - MAX_TARGETS);
        let some = v1::Published { message: published.message.clone(), targets, ..v1::Published::default() };
        gateway.journal.append(&space.tenant, Change::Published(some))?;
    }
    gateway.journal.append(&space.tenant, Change::Published(published))
}

/// Delivers a message to one session: a retained one that has just subscribed (MQTT 5, 3.3.1.3), or another member of a group.
///
/// # Errors
/// The log takes nothing at the moment.
pub(crate) fn deliver_to(
    gateway: &Gateway,
    space: &Arc<Space>,
    session: &Arc<Session>,
    delivery: Delivery,
) -> Result<(), Refused> {
    if !is_kept(delivery.qos, session) {
        // Only the bytes bound them: whoever asks for all of them gets all of them.
        let bounds = Bounds { volatile: usize::MAX, ..gateway.bounds() };
        settle(gateway, space, session, session.deliver(delivery, bounds));
        return Ok(());
    }
    let published =
        v1::Published { message: Some(message_to(&delivery.message)), ..v1::Published::default() };
    keep(gateway, space, published, vec![(session.clone(), delivery)], || {})?;
    Ok(())
}
