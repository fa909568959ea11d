//! Reads PUBLISH and its four acknowledgements.

use std::num::NonZeroU16;

use super::publish_qos;
use crate::error::DecodeError;
use crate::packet::{Ack, PacketType, QoS, Version};
use crate::properties::{PublishProperties, read_properties};
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::topic::{TopicError, TopicName};

/// PUBLISH flags in the first byte (MQTT 5, 3.3.1).
pub(super) const DUP: u8 = 0b1000;
const RETAIN: u8 = 0b0001;

/// A PUBLISH as far as it is not a slice of the buffer.
pub(super) struct PublishHead {
    pub(super) dup: bool,
    pub(super) qos: QoS,
    pub(super) retain: bool,
    pub(super) topic_bytes: usize,
    pub(super) packet_id: Option<NonZeroU16>,
    pub(super) properties: Option<Box<PublishProperties>>,
    pub(super) payload_bytes: usize,
}

/// MQTT 5, 3.3. The topic is the first field, the payload is what the reader has left.
pub(super) fn read_head(
    first: u8,
    reader: &mut Reader<'_>,
    version: Version,
) -> Result<PublishHead, DecodeError> {
    let qos = publish_qos(first)?;
    let topic = reader.utf8()?;
    let packet_id = if qos == QoS::AtMostOnce { None } else { Some(reader.packet_id()?) };
    let properties: Option<Box<PublishProperties>> =
        if version == Version::V5 { read_properties(reader)? } else { None };
    let has_alias = properties.as_ref().is_some_and(|properties| properties.topic_alias.is_some());
    match TopicName::parse(topic) {
        Ok(_) => {}
        Err(TopicError::Empty) if has_alias => {}
        Err(TopicError::Nul) => return Err(DecodeError::NulCharacter(PacketType::Publish)),
        Err(TopicError::Empty) if version == Version::V5 => return Err(DecodeError::EmptyTopic),
        Err(error) => return Err(DecodeError::TopicName { packet: PacketType::Publish, error }),
    }
    Ok(PublishHead {
        dup: first & DUP != 0,
        qos,
        retain: first & RETAIN != 0,
        topic_bytes: topic.len(),
        packet_id,
        properties,
        payload_bytes: reader.remaining(),
    })
}

/// MQTT 5, 3.4 to 3.7: the reason code may be left out when it is 0, the properties when there are none.
pub(super) fn read_ack(reader: &mut Reader<'_>, version: Version) -> Result<Ack, DecodeError> {
    let packet_id = reader.packet_id()?;
    if version == Version::V4 || reader.is_empty() {
        return Ok(Ack::success(packet_id));
    }
    let reason = read_reason(reader)?;
    let properties = if reader.is_empty() { None } else { read_properties(reader)? };
    Ok(Ack { packet_id, reason, properties })
}

/// A reason code that this packet may carry (MQTT 5, 2.4).
pub(super) fn read_reason(reader: &mut Reader<'_>) -> Result<ReasonCode, DecodeError> {
    let packet = reader.packet;
    let code = reader.u8()?;
    ReasonCode::from_u8(code)
        .filter(|reason| reason.is_allowed_in(packet))
        .ok_or(DecodeError::ReasonCode { packet, code })
}
