//! Wills: the message that the server publishes for a client that left without goodbye (MQTT 5, 3.1.2.5).

use std::sync::Arc;

use drover_backbone::{Refused, Ticket};
use drover_gateway::{RefusedReason, Sender, SessionPublish};
use drover_model::topic::Upward;
use drover_mqtt_codec::{PublishProperties, ReasonCode};

use crate::connect::topic_levels;
use crate::error::End;
use crate::gateway::Gateway;
use crate::message::Message;
use crate::publish::destination;
use crate::route::{Origin, route};
use crate::session::{Client, Owner, Session};
use crate::space::Space;

/// Time until a will is tried again that the log did not take, in milliseconds.
const RETRY_MS: i64 = 500;

/// A will that stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Will {
    pub(crate) message: Message,
    /// Will Delay Interval (MQTT 5, 3.1.3.2.2).
    pub(crate) delay_s: u32,
}

impl Will {
    /// The will of a CONNECT, if its client may publish it.
    pub(crate) fn of(
        gateway: &Gateway,
        client: &Client,
        will: drover_mqtt_codec::Will,
    ) -> Result<Box<Self>, End> {
        if topic_levels(&will.topic) > gateway.config.max_topic_levels {
            return Err(End::refused(ReasonCode::TopicNameInvalid, "the will's topic has too many levels"));
        }
        let destination = destination(&client.owner(), &will.topic);
        let is_possible = matches!(destination, Some(Upward::Channel(_) | Upward::Free));
        if !is_possible || !client.scopes_match(&will.topic) {
            let text = "the client may not publish to its will's topic";
            return Err(End::refused(ReasonCode::NotAuthorized, text));
        }
        let properties = will.properties.map(|properties| *properties).unwrap_or_default();
        let delay_s = properties.will_delay_s.unwrap_or(0);
        let properties = PublishProperties {
            payload_is_utf8: properties.payload_is_utf8,
            message_expiry_s: properties.message_expiry_s,
            content_type: properties.content_type,
            response_topic: properties.response_topic,
            // A copy: it shares the memory of the CONNECT.
            correlation_data: properties.correlation_data.map(|data| bytes::Bytes::copy_from_slice(&data)),
            user_properties: properties.user_properties,
            ..PublishProperties::default()
        };
        let mut message = Message::new(&will.topic, &will.payload, will.qos);
        message.retain = will.retain;
        message.properties =
            Some(properties).filter(|properties| *properties != PublishProperties::default()).map(Box::new);
        Ok(Box::new(Self { message, delay_s }))
    }
}

/// The log does not take a will at the moment: it stands with its session again, and is tried again soon.
pub(crate) struct Later;

impl Gateway {
    /// Publishes the will of a session; answers when the session's end may be noted, if that has to wait.
    pub(crate) fn send_will(
        &self,
        space: &Arc<Space>,
        session: &Arc<Session>,
        will: Box<Will>,
    ) -> Result<Option<Ticket>, Later> {
        match send(self, space, session, &will.message) {
            Ok(ticket) => {
                self.metrics.wills.inc();
                Ok(ticket)
            }
            Err(Refused::TooLarge) => {
                self.refused(&space.tenant, RefusedReason::TooLarge);
                Ok(None)
            }
            Err(Refused::Full | Refused::Busy | Refused::Stopped) => {
                let now_ms = self.clock.now().as_millis();
                {
                    let mut state = session.state.lock();
                    // Whoever has taken the session over may have another one.
                    state.will.get_or_insert(will);
                    state.will_due_ms = now_ms;
                }
                space.arm(session, now_ms + RETRY_MS);
                Err(Later)
            }
        }
    }
}

fn send(
    gateway: &Gateway,
    space: &Arc<Space>,
    session: &Session,
    will: &Message,
) -> Result<Option<Ticket>, Refused> {
    let mut message = Message { received_ms: gateway.clock.now().as_millis(), ..will.clone() };
    let has_record = session.state.lock().has_record;
    match (destination(&session.key.owner, &message.topic), &session.key.owner) {
        (Some(Upward::Channel(channel)), Owner::Device(device)) => {
            let properties = message.properties.as_deref();
            let content_type = properties.and_then(|properties| properties.content_type.as_deref());
            let publish = has_record
                .then_some(SessionPublish { session: session.number, packet_id: SessionPublish::WILL });
            let sender = Sender { tenant: &space.tenant, device, publish, traceparent: "" };
            let content_type = content_type.unwrap_or_default();
            gateway.ingress.accept(&sender, channel, content_type, &message.payload).map(Some)
        }
        (Some(Upward::Free), _) => {
            let max_bytes = gateway.config.max_retained_bytes;
            if message.retain && !space.retained.lock().takes(&message, max_bytes) {
                message.retain = false;
                gateway.refused(&space.tenant, RefusedReason::RetainedFull);
            }
            let origin = Origin {
                publisher: session.number,
                will_of: if has_record { session.number } else { 0 },
                ..Origin::default()
            };
            // Its record stands before whatever is noted of the session afterwards.
            route(gateway, space, origin, message, &mut Vec::new()).map(|_| None)
        }
        _ => Ok(None),
    }
}
