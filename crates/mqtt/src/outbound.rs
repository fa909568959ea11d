//! Messages on their way to a client: its window of unacknowledged ones, its topic aliases, and the bytes.

use std::collections::VecDeque;
use std::num::NonZeroU16;

use bytes::BytesMut;
use drover_mqtt_codec::{
    Packet, PublishRef, QoS, ReasonCode, Version, encode, encode_publish, encoded_len, publish_encoded_len,
};

use crate::error::End;
use crate::message::{Delivery, Expired};
use crate::metrics::Metrics;

/// Topic aliases that the gateway sets, at most as many as the client allows.
const MAX_ALIASES: u16 = 16;
/// Packet ids kept room for when none is in flight.
const KEPT_IDS: usize = 8;

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
    /// Ids of messages that the client has not acknowledged, oldest first.
    inflight: VecDeque<NonZeroU16>,
    last_id: u16,
    /// Topics by alias, the first is alias 1.
    aliases: Vec<Box<str>>,
}

impl Outbound {
    pub(crate) fn new(limits: Limits) -> Self {
        let aliases = limits.aliases.min(MAX_ALIASES);
        let limits = Limits { aliases, ..limits };
        Self { limits, inflight: VecDeque::new(), last_id: 0, aliases: Vec::new() }
    }

    /// Whether the client's window has room for the message.
    pub(crate) fn may_send(&self, delivery: &Delivery) -> bool {
        delivery.qos == QoS::AtMostOnce || self.inflight.len() < usize::from(self.limits.window)
    }

    /// Notes an acknowledgement. One for an id that is not in flight changes nothing.
    pub(crate) fn acknowledged(&mut self, id: NonZeroU16) -> bool {
        let Some(position) = self.inflight.iter().position(|&other| other == id) else { return false };
        self.inflight.remove(position);
        if self.inflight.is_empty() && self.inflight.capacity() > KEPT_IDS {
            self.inflight = VecDeque::new();
        }
        true
    }

    /// Writes a message. One that has expired or is too long for the client is dropped (MQTT 5, 3.1.2.11.4).
    pub(crate) fn publish(
        &mut self,
        delivery: &Delivery,
        now: u32,
        metrics: &Metrics,
        output: &mut BytesMut,
    ) {
        let message = &*delivery.message;
        let message_expiry_s = match message.expiry_left(now) {
            Ok(left) => left,
            Err(Expired) => return metrics.dropped("expired"),
        };
        let packet_id = (delivery.qos == QoS::AtLeastOnce).then(|| self.next_id());
        let (topic, topic_alias) = self.alias(&message.topic);
        let publish = PublishRef {
            dup: false,
            qos: delivery.qos,
            retain: false,
            topic,
            packet_id,
            payload: &message.payload,
            properties: message.properties.as_deref(),
            message_expiry_s,
            topic_alias,
            subscription_ids: delivery.subscription_ids.as_deref().unwrap_or_default(),
        };
        let version = self.limits.version;
        if !publish_encoded_len(&publish, version).is_ok_and(|length| length <= self.limits.packet_bytes)
            || encode_publish(&publish, version, output).is_err()
        {
            return metrics.dropped("too large for the client");
        }
        if topic_alias.is_some() && !topic.is_empty() {
            self.aliases.push(message.topic.clone());
        }
        self.inflight.extend(packet_id);
        metrics.sent(delivery.qos);
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

    /// The next id that is not in flight; the window is smaller than the number of ids.
    fn next_id(&mut self) -> NonZeroU16 {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = NonZeroU16::new(self.last_id)
                && !self.inflight.contains(&id)
            {
                return id;
            }
        }
    }
}
