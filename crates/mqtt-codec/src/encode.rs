//! Packets to bytes. Every function appends to `out`; on an error it has written nothing.

mod body;

#[cfg(test)]
mod tests;

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut, BytesMut};

use crate::MAX_REMAINING_LENGTH;
use crate::error::EncodeError;
use crate::packet::{Packet, PacketType, Publish, QoS, Version};
use crate::properties::{PublishProperties, put_publish_properties};
use crate::topic::TopicName;
use crate::write::{Count, Sink, put_binary, put_u16, put_variable_byte_integer};

/// A PUBLISH of borrowed parts. What differs from receiver to receiver (expiry, alias, subscription identifiers) is
/// taken from here alone and never from `properties`, so one message's properties serve all its receivers.
#[derive(Clone, Copy, Debug)]
pub struct PublishRef<'a> {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// May be empty in MQTT 5 with a topic alias.
    pub topic: &'a str,
    /// Present exactly when `qos` is not 0.
    pub packet_id: Option<NonZeroU16>,
    pub payload: &'a [u8],
    /// Payload format, response topic, correlation data, user properties and content type.
    pub properties: Option<&'a PublishProperties>,
    /// The seconds that are left.
    pub message_expiry_s: Option<u32>,
    pub topic_alias: Option<NonZeroU16>,
    pub subscription_ids: &'a [NonZeroU32],
}

impl<'a> PublishRef<'a> {
    /// A PUBLISH with QoS 0 and nothing but topic and payload.
    pub const fn new(topic: &'a str, payload: &'a [u8]) -> Self {
        Self {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            topic,
            packet_id: None,
            payload,
            properties: None,
            message_expiry_s: None,
            topic_alias: None,
            subscription_ids: &[],
        }
    }

    pub(crate) const fn has_properties(&self) -> bool {
        self.properties.is_some()
            || self.message_expiry_s.is_some()
            || self.topic_alias.is_some()
            || !self.subscription_ids.is_empty()
    }

    fn check(&self, version: Version) -> Result<(), EncodeError> {
        let by_alias = self.topic.is_empty() && self.topic_alias.is_some() && version == Version::V5;
        if !by_alias {
            TopicName::parse(self.topic)?;
        }
        if (self.qos == QoS::AtMostOnce) != self.packet_id.is_none() {
            return Err(EncodeError::Inconsistent(
                "a packet identifier belongs to QoS 1 and 2, and only to them",
            ));
        }
        if self.dup && self.qos == QoS::AtMostOnce {
            return Err(EncodeError::Inconsistent("QoS 0 has no duplicates"));
        }
        Ok(())
    }

    fn first_byte(&self) -> u8 {
        (PacketType::Publish as u8) << 4
            | u8::from(self.dup) << 3
            | self.qos.as_u8() << 1
            | u8::from(self.retain)
    }

    fn put_head(&self, version: Version, sink: &mut impl Sink) -> Result<(), EncodeError> {
        // `check` has refused U+0000 in it.
        put_binary(sink, self.topic.as_bytes())?;
        if let Some(packet_id) = self.packet_id {
            put_u16(sink, packet_id.get());
        }
        if version == Version::V5 {
            put_publish_properties(sink, self)?;
        }
        Ok(())
    }

    /// Checks everything; afterwards writing can't fail.
    fn body_length(&self, version: Version) -> Result<usize, EncodeError> {
        self.check(version)?;
        let mut count = Count::default();
        self.put_head(version, &mut count)?;
        check_length(count.0.saturating_add(self.payload.len()))
    }
}

impl<'a> From<&'a Publish> for PublishRef<'a> {
    fn from(publish: &'a Publish) -> Self {
        let properties = publish.properties.as_deref();
        Self {
            dup: publish.dup,
            qos: publish.qos,
            retain: publish.retain,
            topic: publish.topic_str(),
            packet_id: publish.packet_id,
            payload: &publish.payload,
            properties,
            message_expiry_s: properties.and_then(|properties| properties.message_expiry_s),
            topic_alias: properties.and_then(|properties| properties.topic_alias),
            subscription_ids: properties.map_or(&[], |properties| &properties.subscription_ids),
        }
    }
}

/// Appends `packet`. CONNECT must be of the same `version`. Properties, subscription options beyond the QoS and the
/// reasons of UNSUBACK don't exist in 3.1.1 and are left out there.
///
/// # Errors
/// The packet is too large, contradicts itself or has no form in this version.
pub fn encode(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    let length = body_length(packet, version)?;
    out.reserve(whole_length(length));
    out.put_u8(first_byte(packet));
    put_variable_byte_integer(out, length)?;
    body::put_body(packet, version, out)
}

/// The length in bytes of what [`encode`] writes: to compare with the receiver's Maximum Packet Size.
///
/// # Errors
/// The same as [`encode`].
pub fn encoded_len(packet: &Packet, version: Version) -> Result<usize, EncodeError> {
    body_length(packet, version).map(whole_length)
}

/// Appends a PUBLISH. In 3.1.1 its properties are left out.
///
/// # Errors
/// The topic is invalid, the packet is too large or contradicts itself.
pub fn encode_publish(
    publish: &PublishRef<'_>,
    version: Version,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let length = publish.body_length(version)?;
    out.reserve(whole_length(length));
    out.put_u8(publish.first_byte());
    put_variable_byte_integer(out, length)?;
    publish.put_head(version, out)?;
    out.put_slice(publish.payload);
    Ok(())
}

/// The length in bytes of what [`encode_publish`] writes.
///
/// # Errors
/// The same as [`encode_publish`].
pub fn publish_encoded_len(publish: &PublishRef<'_>, version: Version) -> Result<usize, EncodeError> {
    publish.body_length(version).map(whole_length)
}

/// Appends a PUBACK that says success, which both versions write the same way.
pub fn encode_puback(packet_id: NonZeroU16, out: &mut BytesMut) {
    let [high, low] = packet_id.get().to_be_bytes();
    out.put_slice(&[(PacketType::PubAck as u8) << 4, 2, high, low]);
}

/// Appends a PINGRESP.
pub fn encode_pingresp(out: &mut BytesMut) {
    out.put_slice(&[(PacketType::PingResp as u8) << 4, 0]);
}

fn first_byte(packet: &Packet) -> u8 {
    match packet {
        Packet::Publish(publish) => PublishRef::from(publish).first_byte(),
        _ => (packet.packet_type() as u8) << 4 | packet.packet_type().fixed_flags(),
    }
}

fn body_length(packet: &Packet, version: Version) -> Result<usize, EncodeError> {
    let mut count = Count::default();
    body::put_body(packet, version, &mut count)?;
    check_length(count.0)
}

fn check_length(body_bytes: usize) -> Result<usize, EncodeError> {
    if body_bytes > MAX_REMAINING_LENGTH { Err(EncodeError::TooLarge(body_bytes)) } else { Ok(body_bytes) }
}

/// With the first byte and the remaining length.
fn whole_length(body_bytes: usize) -> usize {
    let length_bytes = match body_bytes {
        0..0x80 => 1,
        0x80..0x4000 => 2,
        0x4000..0x20_0000 => 3,
        _ => 4,
    };
    1 + length_bytes + body_bytes
}
