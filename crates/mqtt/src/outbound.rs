//! What a client takes: its limits, its topic aliases, and the bytes of a packet for it.

use std::num::NonZeroU16;

use bytes::BytesMut;
use drover_model::Clock;
use drover_mqtt_codec::{
    Packet, PublishRef, QoS, ReasonCode, Version, encode, encode_publish, encoded_len, publish_encoded_len,
};

use crate::error::End;
use crate::message::Expired;
use crate::metrics::Metrics;
use crate::outbox::{Entry, packet_id};

/// Topic aliases that the gateway sets, at most as many as the client allows.
const MAX_ALIASES: u16 = 16;

/// What the client said of itself in CONNECT.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) version: Version,
    /// QoS 1 messages that it takes unacknowledged.
    pub(crate) window: u16,
    /// Longest packet that it takes.
    pub(crate) packet_bytes: usize,
    /// Topic aliases that it takes.
    pub(crate) aliases: u16,
    /// Whether it wants reason strings (MQTT 5, 3.1.2.11.7).
    pub(crate) problem_information: bool,
}

/// The sending side of a connection.
pub(crate) struct Outbound {
    pub(crate) limits: Limits,
    /// Topics by alias, the first is alias 1.
    aliases: Vec<Box<str>>,
}

impl Outbound {
    pub(crate) fn new(limits: Limits) -> Self {
        let aliases = limits.aliases.min(MAX_ALIASES);
        let limits = Limits { aliases, ..limits };
        Self { limits, aliases: Vec::new() }
    }

    /// Writes a message; `false` when it is dropped, because it has expired or is too long for the client (MQTT 5, 3.1.2.11.4).
    pub(crate) fn publish(
        &mut self,
        entry: &Entry,
        clock: &Clock,
        metrics: &Metrics,
        output: &mut BytesMut,
    ) -> bool {
        let delivery = &entry.delivery;
        let message = &*delivery.message;
        let message_expiry_s = match message.expiry_left(|| clock.now().as_millis()) {
            Ok(left) => left,
            // MQTT 5, 4.3.3: what was sent before does not expire any more.
            Err(Expired) if entry.is_sent => Some(0),
            Err(Expired) => {
                metrics.dropped("expired");
                return false;
            }
        };
        let (topic, topic_alias) = self.alias(&message.topic);
        let version = self.limits.version;
        let fits = |publish: &PublishRef<'_>| {
            publish_encoded_len(publish, version).is_ok_and(|length| length <= self.limits.packet_bytes)
        };
        let mut publish = PublishRef {
            dup: entry.is_sent,
            qos: delivery.qos,
            retain: delivery.retain,
            topic,
            packet_id: (delivery.qos != QoS::AtMostOnce).then(|| packet_id(entry.sequence)),
            payload: &message.payload,
            properties: message.properties.as_deref(),
            message_expiry_s,
            topic_alias,
            subscription_ids: delivery.subscription_ids.as_deref().unwrap_or_default(),
        };
        if !fits(&publish) && !publish.topic.is_empty() {
            // A new alias takes three bytes that there may not be.
            publish.topic_alias = None;
        }
        if !fits(&publish) || encode_publish(&publish, version, output).is_err() {
            metrics.dropped("too large for the client");
            return false;
        }
        if publish.topic_alias.is_some() && !publish.topic.is_empty() {
            self.aliases.push(message.topic.clone());
        }
        metrics.sent(delivery.qos);
        true
    }

    /// Writes any other packet, unless it is longer than the client takes; says whether it did.
    pub(crate) fn control(&self, packet: &Packet, output: &mut BytesMut) -> bool {
        let version = self.limits.version;
        encoded_len(packet, version).is_ok_and(|length| length <= self.limits.packet_bytes)
            && encode(packet, version, output).is_ok()
    }

    /// Writes an answer; one that the client does not take ends the connection.
    pub(crate) fn answer(&self, packet: &Packet, output: &mut BytesMut) -> Result<(), End> {
        if self.control(packet, output) {
            Ok(())
        } else {
            Err(End::refused(ReasonCode::PacketTooLarge, "the answer is longer than the client takes"))
        }
    }

    /// Topic and alias to write: a known topic is left out, a new one takes the next free alias.
    fn alias<'a>(&self, topic: &'a str) -> (&'a str, Option<NonZeroU16>) {
        if self.limits.aliases == 0 {
            return (topic, None);
        }
        let known = self.aliases.iter().position(|known| **known == *topic);
        let number = known.unwrap_or(self.aliases.len()) + 1;
        let alias = u16::try_from(number).ok().filter(|number| *number <= self.limits.aliases);
        (if known.is_some() { "" } else { topic }, alias.and_then(NonZeroU16::new))
    }
}
