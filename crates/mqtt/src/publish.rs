//! PUBLISH from a client: may it, and where does it go: into the log, to other clients, or back as the time of day.

use std::num::NonZeroU16;

use bytes::Bytes;
use drover_backbone::Refused;
use drover_gateway::{RefusedReason, Sender, SessionPublish};
use drover_model::Channel;
use drover_model::topic::{ERRORS, PREFIX, TIME, Upward};
use drover_mqtt_codec::{Publish, PublishProperties, QoS, ReasonCode, Version};
use drover_proto::sessions::v1::{self, change::Change};
use drover_runtime::traces::Reception;

use crate::answers::{Answer, Outcome};
use crate::connect::topic_levels;
use crate::connection::{Connection, Held, Scratch};
use crate::error::End;
use crate::gateway::Gateway;
use crate::message::Message;
use crate::route::{Origin, route};
use crate::session::{Owner, Unreleased};
use crate::traced;

/// Takes one PUBLISH. Its acknowledgement takes its place in the order of the connection.
pub(crate) fn receive(
    connection: &mut Connection,
    mut publish: Publish,
    scratch: &mut Scratch,
) -> Result<(), End> {
    let topic = resolve_alias(connection, &mut publish)?;
    // MQTT 5, 3.3.4: a client never sends subscription identifiers.
    if publish.properties.as_ref().is_some_and(|properties| !properties.subscription_ids.is_empty()) {
        return Err(End::refused(ReasonCode::ProtocolError, "PUBLISH has a subscription identifier"));
    }
    connection.gateway.metrics.received(publish.qos);
    // What is repeated has its place in the window already.
    if publish.qos == QoS::ExactlyOnce && is_repeated(connection, &publish) {
        return Ok(());
    }
    if publish.packet_id.is_some() && connection.is_window_full() {
        let text = "more messages are unacknowledged than the receive maximum allows";
        return Err(End::refused(ReasonCode::ReceiveMaximumExceeded, text));
    }
    publish.topic = topic;
    handle(connection, publish, scratch)
}

/// Takes a PUBLISH whose topic is known to its destination; also once more when the log was busy at first.
pub(crate) fn handle(
    connection: &mut Connection,
    publish: Publish,
    scratch: &mut Scratch,
) -> Result<(), End> {
    let text = std::str::from_utf8(&publish.topic).unwrap_or_default();
    if topic_levels(text) > connection.gateway.config.max_topic_levels {
        let refusal = (ReasonCode::TopicNameInvalid, "the topic has too many levels");
        return refuse(connection, &publish, refusal, RefusedReason::TopicInvalid);
    }
    let destination = destination(&connection.seat.session.key.owner, text);
    match destination.filter(|_| connection.seat.attachment.client.scopes_match(text)) {
        Some(Upward::Channel(channel)) => ingest(connection, channel, publish),
        Some(Upward::Time) => {
            tell_time(connection);
            acknowledge(connection, &publish, Outcome::now(ReasonCode::Success, ""));
            Ok(())
        }
        Some(Upward::Free) => distribute(connection, publish, scratch),
        Some(Upward::Reserved) | None => {
            let refusal = (ReasonCode::NotAuthorized, "the client may not publish to this topic");
            refuse(connection, &publish, refusal, RefusedReason::NotAllowed)
        }
    }
}

/// Whether a QoS 2 message came before and was not released (MQTT 5, 4.3.3): it is acknowledged, and not taken again.
fn is_repeated(connection: &mut Connection, publish: &Publish) -> bool {
    let Some(packet_id) = publish.packet_id else { return false };
    let ticket = {
        let mut state = connection.seat.session.state.lock();
        let known = state.unreleased.iter_mut().find(|known| known.packet_id == packet_id);
        let Some(known) = known else { return false };
        known.is_counted = true;
        known.ticket.clone()
    };
    connection.answers.push(Answer::PubRec(packet_id), Outcome::durable(ticket), 0);
    true
}

/// Puts the acknowledgement of a message in its turn. A QoS 2 message that was taken is remembered until the client releases it.
fn acknowledge(connection: &mut Connection, publish: &Publish, outcome: Outcome) {
    let Some(packet_id) = publish.packet_id else { return };
    let answer = if publish.qos == QoS::ExactlyOnce {
        if !outcome.reason.is_error() {
            let unreleased = Unreleased { packet_id, ticket: outcome.ticket.clone(), is_counted: true };
            connection.seat.session.state.lock().unreleased.push(unreleased);
        }
        Answer::PubRec(packet_id)
    } else {
        Answer::PubAck(packet_id)
    };
    connection.answers.push(answer, outcome, publish.payload.len());
}

/// PUBREL: the client knows that its message has arrived, and may use the packet id again (MQTT 5, 4.3.3).
pub(crate) fn release(connection: &mut Connection, packet_id: NonZeroU16) -> Result<(), End> {
    let seat = &connection.seat;
    let is_known = {
        let mut state = seat.session.state.lock();
        let position = state.unreleased.iter().position(|known| known.packet_id == packet_id);
        position.map(|position| state.unreleased.swap_remove(position)).is_some()
    };
    let outcome = if !is_known {
        Outcome::now(ReasonCode::PacketIdentifierNotFound, "")
    } else if seat.session.is_durable() {
        let released = v1::Released {
            session: seat.session.number,
            packet_ids: vec![packet_id.get().into()],
            at_us: seat.gateway.ingress.next_us(),
        };
        Outcome::durable(Some(seat.note(Change::Released(released))?))
    } else {
        Outcome::now(ReasonCode::Success, "")
    };
    connection.answers.push(Answer::PubComp(packet_id), outcome, 0);
    Ok(())
}

/// Sends a message on a free topic to its subscribers. While the log takes nothing, it is held and reading pauses.
fn distribute(connection: &mut Connection, publish: Publish, scratch: &mut Scratch) -> Result<(), End> {
    let seat = &connection.seat;
    let gateway = seat.gateway.clone();
    let mut message = message_of(&gateway, &publish);
    let max_bytes = gateway.config.max_retained_bytes;
    if message.retain && !seat.space.retained.lock().takes(&message, max_bytes) {
        let refusal = (ReasonCode::QuotaExceeded, "the tenant has too many retained messages");
        if publish.qos != QoS::AtMostOnce {
            return refuse(connection, &publish, refusal, RefusedReason::RetainedFull);
        }
        // It goes to whoever is there, as a will does.
        message.retain = false;
        gateway.refused(&seat.space.tenant, RefusedReason::RetainedFull);
        tell(connection, &publish, refusal.1);
    }
    let is_exactly_once = publish.qos == QoS::ExactlyOnce && seat.session.is_durable();
    let origin = Origin {
        publisher: seat.session.number,
        packet_id: if is_exactly_once { publish.packet_id.map_or(0, NonZeroU16::get) } else { 0 },
        will_of: 0,
    };
    // Held until the packet id is known: a checkpoint has both or finds both in the journal.
    let _fence = is_exactly_once.then(|| gateway.journal.fence());
    match route(&gateway, &seat.space, origin, message, &mut scratch.hits) {
        Ok(routed) => {
            if is_exactly_once {
                gateway.journal.touch(&seat.space, &seat.session);
            }
            let reason =
                if routed.has_subscribers { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
            acknowledge(connection, &publish, Outcome { ticket: routed.ticket, reason, text: "" });
            Ok(())
        }
        Err(refused) => {
            let gateway = gateway.clone();
            not_taken(connection, publish, refused, async move { gateway.journal.ready().await })
        }
    }
}

/// What became of a message that the log did not take: it is held until the log may, it is refused, or the connection ends.
fn not_taken(
    connection: &mut Connection,
    publish: Publish,
    refused: Refused,
    ready: impl Future<Output = ()> + Send + 'static,
) -> Result<(), End> {
    match refused {
        Refused::Busy | Refused::Full => {
            connection.hold(Held { publish: detach(publish), ready: Box::pin(ready) });
            Ok(())
        }
        Refused::TooLarge => {
            let refusal = (ReasonCode::QuotaExceeded, "the message is longer than the log takes");
            refuse(connection, &publish, refusal, RefusedReason::TooLarge)
        }
        Refused::Stopped => Err(End::refused(ReasonCode::ServerShuttingDown, "the log is closed")),
    }
}

/// A copy that does not keep the read buffer.
fn detach(publish: Publish) -> Publish {
    Publish {
        payload: Bytes::copy_from_slice(&publish.payload),
        topic: Bytes::copy_from_slice(&publish.topic),
        ..publish
    }
}

/// The topic itself, or what its alias stands for (MQTT 5, 3.3.2.3.4).
fn resolve_alias(connection: &mut Connection, publish: &mut Publish) -> Result<Bytes, End> {
    let topic = std::mem::take(&mut publish.topic);
    let Some(alias) = publish.properties.as_mut().and_then(|properties| properties.topic_alias.take()) else {
        return Ok(topic);
    };
    if alias.get() > connection.gateway.config.max_topic_aliases {
        return Err(End::refused(ReasonCode::TopicAliasInvalid, "the topic alias is above the maximum"));
    }
    let index = usize::from(alias.get()) - 1;
    if topic.is_empty() {
        let known = connection.aliases.get(index).filter(|topic| !topic.is_empty());
        return known.cloned().ok_or(End::refused(ReasonCode::ProtocolError, "the topic alias is not set"));
    }
    if connection.aliases.len() <= index {
        connection.aliases.resize(index + 1, Bytes::new());
    }
    if let Some(slot) = connection.aliases.get_mut(index) {
        // A copy: the topic shares the memory of the read buffer.
        *slot = Bytes::copy_from_slice(&topic);
    }
    Ok(topic)
}

/// Where a client's message goes; `None` when it may not publish there, whatever scopes it has. Default: nowhere. Topics under `v1/` are
/// those of one device, and mean nothing for an application.
pub(crate) fn destination(owner: &Owner, topic: &str) -> Option<Upward> {
    let device = match owner {
        Owner::Device(device) => device,
        Owner::Application(_) => return (!topic.starts_with(PREFIX)).then_some(Upward::Free),
        Owner::Anonymous => return Some(Upward::Free),
    };
    match Upward::of(topic) {
        Upward::Free => {
            let rest = topic.strip_prefix("dev/")?.strip_prefix(device.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some(Upward::Free)
        }
        upward => Some(upward),
    }
}

/// Offers a message to the log. While the log takes none, the message is held and reading pauses.
fn ingest(connection: &mut Connection, channel: Channel, publish: Publish) -> Result<(), End> {
    let seat = &connection.seat;
    let gateway = seat.gateway.clone();
    let Owner::Device(device) = &seat.session.key.owner else { return Ok(()) };
    let properties = publish.properties.as_ref();
    let content_type = properties.and_then(|properties| properties.content_type.as_deref());
    let is_exactly_once = publish.qos == QoS::ExactlyOnce && seat.session.is_durable();
    let again = SessionPublish {
        session: seat.session.number,
        packet_id: publish.packet_id.map_or(0, |packet_id| packet_id.get().into()),
    };
    let reception = traced::reception(&gateway.traces, (&seat.space.tenant, device), channel, &publish);
    let traceparent = reception.as_ref().map(Reception::traceparent).unwrap_or_default();
    let sender = Sender {
        tenant: &seat.space.tenant,
        device,
        publish: is_exactly_once.then_some(again),
        traceparent: &traceparent,
    };
    let _fence = is_exactly_once.then(|| gateway.journal.fence());
    let accepted =
        gateway.ingress.accept(&sender, channel, content_type.unwrap_or_default(), &publish.payload);
    match accepted {
        Ok(ticket) => {
            if is_exactly_once {
                gateway.journal.touch(&seat.space, &seat.session);
            }
            if let Some(reception) = reception {
                gateway.tasks.track(reception.durable(ticket.clone()));
            }
            acknowledge(connection, &publish, Outcome::durable(Some(ticket)));
            Ok(())
        }
        Err(refused) => {
            if let Some(reception) = reception {
                reception.refused("the log did not take it");
            }
            let (gateway, tenant, device) = (gateway.clone(), seat.space.tenant.clone(), device.clone());
            let ready = async move { gateway.ingress.ready(&tenant, &device).await };
            not_taken(connection, publish, refused, ready)
        }
    }
}

/// Refuses one message and keeps the connection. Who can't be told by PUBACK or PUBREC is told on `v1/errors`.
fn refuse(
    connection: &mut Connection,
    publish: &Publish,
    (reason, text): (ReasonCode, &'static str),
    counted: RefusedReason,
) -> Result<(), End> {
    let seat = &connection.seat;
    seat.gateway.refused(&seat.space.tenant, counted);
    tell(connection, publish, text);
    acknowledge(connection, publish, Outcome::now(reason, text));
    Ok(())
}

/// Tells a device why a message was refused, where an acknowledgement can't.
fn tell(connection: &Connection, publish: &Publish, reason: &'static str) {
    let seat = &connection.seat;
    let is_silent = connection.version() == Version::V4 || publish.qos == QoS::AtMostOnce;
    if let Some(device) = seat.session.key.owner.device().filter(|_| is_silent) {
        let error = serde_json::json!({ "topic": publish.topic_str(), "reason": reason }).to_string();
        seat.gateway.tell_device(&seat.space, device, ERRORS, error.as_bytes());
    }
}

fn tell_time(connection: &Connection) {
    let seat = &connection.seat;
    if let Some(device) = seat.session.key.owner.device() {
        let answer = format!("{{\"ms\":{}}}", seat.gateway.clock.now().as_millis());
        seat.gateway.tell_device(&seat.space, device, TIME, answer.as_bytes());
    }
}

fn message_of(gateway: &Gateway, publish: &Publish) -> Message {
    // Copies: what the message keeps must not keep the read buffer.
    let properties = publish.properties.clone();
    let properties =
        properties.filter(|properties| **properties != PublishProperties::default()).map(|mut some| {
            some.correlation_data = some.correlation_data.map(|data| Bytes::copy_from_slice(&data));
            some
        });
    let mut message = Message::new(publish.topic_str(), &publish.payload, publish.qos);
    message.retain = publish.retain;
    message.received_ms = gateway.clock.now().as_millis();
    message.properties = properties;
    message
}
