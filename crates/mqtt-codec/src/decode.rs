//! Bytes to packets: the fixed header, the size limit, and the dispatch to the packet's own reader.

mod connection;
mod message;
mod subscription;

#[cfg(test)]
mod tests;

use bytes::{Buf, BytesMut};

use crate::error::DecodeError;
use crate::packet::{Packet, PacketType, Publish, QoS, Version};
use crate::read::{Reader, variable_byte_integer};

/// Takes one packet off the front of `buf`, or returns `None` and leaves `buf` alone while bytes are missing.
///
/// - `version` is what CONNECT chose; `None` before it, when nothing but CONNECT is acceptable.
/// - `max_packet_bytes` bounds the whole packet with its fixed header, as Maximum Packet Size does (MQTT 5,
///   3.1.2.11.4). It is compared with the length that the header claims, so a claim above it, reserved flags or a
///   wrong packet type are refused from the first one to five bytes.
///
/// The buffer is a `BytesMut` because that serves both buffers of a gateway: many connections read into one scratch
/// buffer per thread, whole packets are taken off it, and only an incomplete rest is copied into a `BytesMut` of the
/// connection, with the capacity that [`needed`] names, where reading goes on; an idle connection holds none.
/// Topic and payload of a PUBLISH are slices that keep the memory of `buf` alive; all other packets own what they hold.
///
/// # Errors
/// After an error the connection must end; `buf` is unchanged. [`DecodeError::reason`] is the code to send.
pub fn decode(
    buf: &mut BytesMut,
    version: Option<Version>,
    max_packet_bytes: u32,
) -> Result<Option<Packet>, DecodeError> {
    let Some(&first) = buf.first() else { return Ok(None) };
    let packet = check_first_byte(first)?;
    check_order(packet, version)?;
    let Some((remaining, length_bytes)) = variable_byte_integer(buf.get(1..).unwrap_or_default())? else {
        return Ok(None);
    };
    let body_start = 1 + length_bytes;
    let total = total_length(remaining, length_bytes);
    if total > usize::try_from(max_packet_bytes).unwrap_or(usize::MAX) {
        return Err(DecodeError::TooLarge { packet, claimed_bytes: total, max_bytes: max_packet_bytes });
    }
    let Some(body) = buf.get(body_start..total) else { return Ok(None) };
    let mut reader = Reader::new(packet, body);
    // Before CONNECT there is no version, and CONNECT reads its own.
    let version = version.unwrap_or(Version::V4);
    let decoded = match packet {
        PacketType::Connect => Packet::Connect(Box::new(connection::read_connect(&mut reader)?)),
        PacketType::ConnAck => Packet::ConnAck(connection::read_connack(&mut reader, version)?),
        PacketType::Publish => {
            let head = message::read_head(first, &mut reader, version)?;
            return Ok(Some(Packet::Publish(split_publish(buf, body_start, total, head))));
        }
        PacketType::PubAck => Packet::PubAck(message::read_ack(&mut reader, version)?),
        PacketType::PubRec => Packet::PubRec(message::read_ack(&mut reader, version)?),
        PacketType::PubRel => Packet::PubRel(message::read_ack(&mut reader, version)?),
        PacketType::PubComp => Packet::PubComp(message::read_ack(&mut reader, version)?),
        PacketType::Subscribe => Packet::Subscribe(subscription::read_subscribe(&mut reader, version)?),
        PacketType::SubAck => Packet::SubAck(subscription::read_suback(&mut reader, version)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(subscription::read_unsubscribe(&mut reader, version)?),
        PacketType::UnsubAck => Packet::UnsubAck(subscription::read_unsuback(&mut reader, version)?),
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(connection::read_disconnect(&mut reader, version)?),
        PacketType::Auth => Packet::Auth(connection::read_auth(&mut reader)?),
    };
    reader.finish()?;
    buf.advance(total);
    Ok(Some(decoded))
}

/// The length in bytes of the whole packet at the front of `bytes`, from its fixed header; `None` while the header is
/// incomplete. Says nothing about a maximum: [`decode`] does that first.
///
/// # Errors
/// A first byte or a length that no packet can have.
pub fn needed(bytes: &[u8]) -> Result<Option<usize>, DecodeError> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    check_first_byte(first)?;
    Ok(variable_byte_integer(rest)?.map(|(remaining, length_bytes)| total_length(remaining, length_bytes)))
}

fn total_length(remaining: u32, length_bytes: usize) -> usize {
    usize::try_from(remaining).unwrap_or(usize::MAX).saturating_add(1 + length_bytes)
}

/// MQTT 5, 2.1.2 and 2.1.3.
fn check_first_byte(first: u8) -> Result<PacketType, DecodeError> {
    let packet = PacketType::from_u8(first >> 4).ok_or(DecodeError::PacketTypeZero)?;
    let flags = first & 0x0F;
    if packet == PacketType::Publish {
        let qos = publish_qos(flags)?;
        if flags & message::DUP != 0 && qos == QoS::AtMostOnce {
            return Err(DecodeError::DupWithQos0);
        }
    } else if flags != packet.fixed_flags() {
        return Err(DecodeError::FixedHeaderFlags(packet));
    }
    Ok(packet)
}

fn publish_qos(flags: u8) -> Result<QoS, DecodeError> {
    QoS::from_u8((flags >> 1) & 0b11).ok_or(DecodeError::Qos3(PacketType::Publish))
}

/// MQTT 5, 3.1.0: CONNECT comes first and only once.
fn check_order(packet: PacketType, version: Option<Version>) -> Result<(), DecodeError> {
    match (packet, version) {
        (PacketType::Connect, None) => Ok(()),
        (_, None) => Err(DecodeError::NotConnect(packet)),
        (PacketType::Connect, Some(_)) => Err(DecodeError::SecondConnect),
        (PacketType::Auth, Some(Version::V4)) => Err(DecodeError::AuthInV4),
        _ => Ok(()),
    }
}

fn split_publish(buf: &mut BytesMut, body_start: usize, total: usize, head: message::PublishHead) -> Publish {
    let mut packet = buf.split_to(total).freeze();
    let topic_start = body_start + 2;
    let topic = packet.slice(topic_start..topic_start + head.topic_bytes);
    packet.advance(total - head.payload_bytes);
    Publish {
        dup: head.dup,
        qos: head.qos,
        retain: head.retain,
        topic,
        packet_id: head.packet_id,
        properties: head.properties,
        payload: packet,
    }
}
