//! Reads SUBSCRIBE, SUBACK, UNSUBSCRIBE and UNSUBACK.

use super::message::read_reason;
use crate::error::DecodeError;
use crate::packet::{
    PacketType, QoS, RetainHandling, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe, Version,
};
use crate::properties::read_properties;
use crate::read::Reader;
use crate::reason::ReasonCode;

/// MQTT 5, 3.8.
pub(super) fn read_subscribe(reader: &mut Reader<'_>, version: Version) -> Result<Subscribe, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = if version == Version::V5 { read_properties(reader)? } else { None };
    let subscriptions = read_list(reader, |reader| {
        let filter = reader.string()?;
        read_options(filter, reader.u8()?, version)
    })?;
    Ok(Subscribe { packet_id, subscriptions, properties })
}

/// Subscription options (MQTT 5, 3.8.3.1); 3.1.1 has the QoS alone.
fn read_options(filter: String, options: u8, version: Version) -> Result<Subscription, DecodeError> {
    let reserved = match version {
        Version::V4 => 0b1111_1100,
        Version::V5 => 0b1100_0000,
    };
    if options & reserved != 0 {
        return Err(DecodeError::SubscriptionOptions);
    }
    let qos = QoS::from_u8(options & 0b11).ok_or(DecodeError::Qos3(PacketType::Subscribe))?;
    let no_local = options & 0b100 != 0;
    if no_local && filter.starts_with("$share/") {
        return Err(DecodeError::NoLocalOnShared);
    }
    let retain_handling = match options >> 4 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DontSend,
        _ => return Err(DecodeError::RetainHandling3),
    };
    Ok(Subscription { filter, qos, no_local, retain_as_published: options & 0b1000 != 0, retain_handling })
}

/// MQTT 5, 3.9.
pub(super) fn read_suback(reader: &mut Reader<'_>, version: Version) -> Result<SubAck, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = if version == Version::V5 { read_properties(reader)? } else { None };
    let reasons = read_list(reader, |reader| match version {
        Version::V4 => read_return_code(reader),
        Version::V5 => read_reason(reader),
    })?;
    Ok(SubAck { packet_id, reasons, properties })
}

/// 3.1.1, 3.9.3.
fn read_return_code(reader: &mut Reader<'_>) -> Result<ReasonCode, DecodeError> {
    match reader.u8()? {
        0 => Ok(ReasonCode::Success),
        1 => Ok(ReasonCode::GrantedQos1),
        2 => Ok(ReasonCode::GrantedQos2),
        0x80 => Ok(ReasonCode::UnspecifiedError),
        code => Err(DecodeError::ReasonCode { packet: PacketType::SubAck, code }),
    }
}

/// MQTT 5, 3.10.
pub(super) fn read_unsubscribe(
    reader: &mut Reader<'_>,
    version: Version,
) -> Result<Unsubscribe, DecodeError> {
    let packet_id = reader.packet_id()?;
    let properties = if version == Version::V5 { read_properties(reader)? } else { None };
    let filters = read_list(reader, Reader::string)?;
    Ok(Unsubscribe { packet_id, filters, properties })
}

/// MQTT 5, 3.11; in 3.1.1 it is the packet identifier alone.
pub(super) fn read_unsuback(reader: &mut Reader<'_>, version: Version) -> Result<UnsubAck, DecodeError> {
    let packet_id = reader.packet_id()?;
    if version == Version::V4 {
        return Ok(UnsubAck { packet_id, reasons: Vec::new(), properties: None });
    }
    let properties = read_properties(reader)?;
    let reasons = read_list(reader, read_reason)?;
    Ok(UnsubAck { packet_id, reasons, properties })
}

/// Reads items to the end of the packet: at least one.
fn read_list<'a, T>(
    reader: &mut Reader<'a>,
    mut read_item: impl FnMut(&mut Reader<'a>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let mut items = Vec::new();
    while !reader.is_empty() {
        items.push(read_item(reader)?);
    }
    if items.is_empty() {
        return Err(DecodeError::EmptyList(reader.packet));
    }
    Ok(items)
}
