//! PUBLISH from a client: may it, and where does it go: into the log, to other clients, or back as the time of day.

use std::sync::Arc;

use bytes::Bytes;
use drover_backbone::Refused;
use drover_gateway::{RefusedReason, Sender};
use drover_model::Channel;
use drover_model::topic::{ERRORS, TIME, Upward};
use drover_mqtt_codec::{Publish, PublishProperties, QoS, ReasonCode, Version, Will};

use crate::acknowledge::Outcome;
use crate::connect::topic_levels;
use crate::connection::{Connection, Held, Scratch};
use crate::error::End;
use crate::gateway::Gateway;
use crate::message::Message;
use crate::router::Hit;
use crate::session::{Client, Session};
use crate::space::Space;

/// Takes one PUBLISH. Its acknowledgement takes its place in the order of the connection.
pub(crate) fn receive(
    connection: &mut Connection,
    mut publish: Publish,
    scratch: &mut Scratch,
) -> Result<(), End> {
    check_offered(connection, &publish)?;
    let topic = resolve_alias(connection, &mut publish)?;
    connection.gateway.metrics.received(publish.qos);
    let text = std::str::from_utf8(&topic).unwrap_or_default();
    if topic_levels(text) > connection.gateway.config.max_topic_levels {
        let refusal = (ReasonCode::TopicNameInvalid, "the topic has too many levels");
        return refuse(connection, &publish, text, refusal, RefusedReason::TopicInvalid);
    }
    let session = connection.registration.session.clone();
    match destination(&session.client, text) {
        Some(Upward::Channel(channel)) => ingest(connection, channel, publish),
        Some(Upward::Time) => {
            tell_time(connection);
            connection.acknowledge_later(publish.packet_id, Outcome::Done(ReasonCode::Success, ""), 0);
            Ok(())
        }
        Some(Upward::Free) => {
            let packet_id = publish.packet_id;
            let message = message_of(text, publish, connection.gateway.now());
            let reached = route(
                &connection.gateway,
                &connection.registration.space,
                &session,
                message,
                &mut scratch.hits,
            );
            let reason = if reached { ReasonCode::Success } else { ReasonCode::NoMatchingSubscribers };
            connection.acknowledge_later(packet_id, Outcome::Done(reason, ""), 0);
            Ok(())
        }
        Some(Upward::Reserved) | None => {
            let refusal = (ReasonCode::NotAuthorized, "the client may not publish to this topic");
            refuse(connection, &publish, text, refusal, RefusedReason::NotAllowed)
        }
    }
}

/// What the gateway does not offer, and said so in CONNACK, ends the connection.
fn check_offered(connection: &mut Connection, publish: &Publish) -> Result<(), End> {
    let tenant = connection.registration.session.client.tenant();
    let ingress = &connection.gateway.ingress;
    if publish.qos == QoS::ExactlyOnce {
        ingress.refused(tenant, RefusedReason::QosNotSupported);
        return Err(End::refused(ReasonCode::QosNotSupported, "QoS 2 is not offered"));
    }
    if publish.retain {
        if connection.version() == Version::V5 {
            ingress.refused(tenant, RefusedReason::RetainNotSupported);
            return Err(End::refused(ReasonCode::RetainNotSupported, "retained messages are not offered"));
        }
        // 3.1.1 has no way to refuse it: the message is delivered and not kept.
        connection.gateway.metrics.dropped("retain flag of 3.1.1");
    }
    if publish.packet_id.is_some() && connection.is_window_full() {
        let text = "more messages are unacknowledged than the receive maximum allows";
        return Err(End::refused(ReasonCode::ReceiveMaximumExceeded, text));
    }
    // MQTT 5, 3.3.4: a client never sends subscription identifiers.
    if publish.properties.as_ref().is_some_and(|properties| !properties.subscription_ids.is_empty()) {
        return Err(End::refused(ReasonCode::ProtocolError, "PUBLISH has a subscription identifier"));
    }
    Ok(())
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

/// Where a client's message goes; `None` when it may not publish there. Default: nowhere.
fn destination(client: &Client, topic: &str) -> Option<Upward> {
    let Client::Device(identity) = client else { return Some(Upward::Free) };
    match Upward::of(topic) {
        Upward::Free => {
            let rest = topic.strip_prefix("dev/")?.strip_prefix(identity.device.as_str())?;
            (rest.is_empty() || rest.starts_with('/')).then_some(Upward::Free)
        }
        upward => Some(upward),
    }
}

/// Offers a message to the log. While the log takes none, the message is held and reading pauses.
pub(crate) fn ingest(connection: &mut Connection, channel: Channel, publish: Publish) -> Result<(), End> {
    let session = connection.registration.session.clone();
    let Client::Device(identity) = &session.client else { return Ok(()) };
    let content_type = publish.properties.as_ref().and_then(|properties| properties.content_type.as_deref());
    let sender = Sender { tenant: &identity.tenant, device: &identity.device, publish: None };
    match connection.gateway.ingress.accept(
        &sender,
        channel,
        content_type.unwrap_or_default(),
        &publish.payload,
    ) {
        Ok(ticket) => {
            connection.acknowledge_later(publish.packet_id, Outcome::Logged(ticket), publish.payload.len());
            Ok(())
        }
        Err(Refused::Busy | Refused::Full) => {
            let payload = Bytes::copy_from_slice(&publish.payload);
            let gateway = connection.gateway.clone();
            let ready = async move {
                if let Client::Device(identity) = &session.client {
                    gateway.ingress.ready(&identity.tenant, &identity.device).await;
                }
            };
            let publish = Publish { payload, topic: Bytes::new(), ..publish };
            connection.hold(Held { channel, publish, ready: Box::pin(ready) });
            Ok(())
        }
        Err(Refused::TooLarge) => {
            let refusal = (ReasonCode::QuotaExceeded, "the message is longer than the log takes");
            refuse(connection, &publish, channel.topic(), refusal, RefusedReason::TooLarge)
        }
        Err(Refused::Stopped) => Err(End::refused(ReasonCode::ServerShuttingDown, "the log is closed")),
    }
}

/// Refuses one message and keeps the connection. Who can't be told by PUBACK is told on `v1/errors`.
fn refuse(
    connection: &mut Connection,
    publish: &Publish,
    topic: &str,
    (reason, text): (ReasonCode, &'static str),
    counted: RefusedReason,
) -> Result<(), End> {
    let session = connection.registration.session.clone();
    connection.gateway.ingress.refused(session.client.tenant(), counted);
    connection.gateway.metrics.refused(counted.as_str());
    let silent = connection.version() == Version::V4 || publish.qos == QoS::AtMostOnce;
    if let Some(device) = session.client.device().filter(|_| silent) {
        let error = serde_json::json!({ "topic": topic, "reason": text }).to_string();
        connection.gateway.tell_device(&connection.registration.space, device, ERRORS, error.as_bytes());
    }
    connection.acknowledge_later(publish.packet_id, Outcome::Done(reason, text), 0);
    Ok(())
}

fn tell_time(connection: &Connection) {
    if let Some(device) = connection.registration.session.client.device() {
        let answer = format!("{{\"ms\":{}}}", connection.gateway.clock.now().as_millis());
        connection.gateway.tell_device(&connection.registration.space, device, TIME, answer.as_bytes());
    }
}

fn message_of(topic: &str, publish: Publish, now: u32) -> Message {
    // Copies: what the message keeps must not keep the read buffer.
    let properties = publish.properties.filter(|properties| **properties != PublishProperties::default());
    Message { properties, ..Message::new(topic, &publish.payload, publish.qos, now) }
}

fn route(gateway: &Gateway, space: &Space, session: &Session, message: Message, hits: &mut Vec<Hit>) -> bool {
    space.publish(&Arc::new(message), session.number, hits, &gateway.metrics)
}

/// Whether a will may be kept, by what is offered and by where the client may publish.
pub(crate) fn check_will(will: &mut Will, client: &Client, version: Version) -> Result<(), End> {
    if will.qos == QoS::ExactlyOnce {
        return Err(End::refused(ReasonCode::QosNotSupported, "a will with QoS 2 is not offered"));
    }
    if will.retain && version == Version::V5 {
        return Err(End::refused(ReasonCode::RetainNotSupported, "a retained will is not offered"));
    }
    match destination(client, &will.topic) {
        Some(Upward::Channel(_) | Upward::Free) => Ok(()),
        Some(Upward::Time | Upward::Reserved) | None => {
            Err(End::refused(ReasonCode::NotAuthorized, "the client may not publish to its will's topic"))
        }
    }
}

/// Publishes the will of a session that has ended (MQTT 5, 3.1.2.5). Session expiry is 0, so no will delay applies.
pub(crate) fn send_will(gateway: &Gateway, space: &Space, session: &Session, will: Will) {
    let properties = will.properties.map(|will| *will).unwrap_or_default();
    match (destination(&session.client, &will.topic), &session.client) {
        (Some(Upward::Channel(channel)), Client::Device(identity)) => {
            let content_type = properties.content_type.unwrap_or_default();
            let sender = Sender { tenant: &identity.tenant, device: &identity.device, publish: None };
            if gateway.ingress.accept(&sender, channel, &content_type, &will.payload).is_err() {
                gateway.ingress.refused(session.client.tenant(), RefusedReason::LogBusy);
                gateway.metrics.refused(RefusedReason::LogBusy.as_str());
            }
        }
        (Some(Upward::Free), _) => {
            let properties = PublishProperties {
                payload_is_utf8: properties.payload_is_utf8,
                message_expiry_s: properties.message_expiry_s,
                content_type: properties.content_type,
                response_topic: properties.response_topic,
                correlation_data: properties.correlation_data,
                user_properties: properties.user_properties,
                ..PublishProperties::default()
            };
            let mut message = Message::new(&will.topic, &will.payload, will.qos, gateway.now());
            message.properties = Some(properties)
                .filter(|properties| *properties != PublishProperties::default())
                .map(Box::new);
            route(gateway, space, session, message, &mut Vec::new());
        }
        _ => {}
    }
}
