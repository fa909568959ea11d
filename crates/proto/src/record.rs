//! The record on the hot path: written straight from borrowed parts into a frame, read as slices of it. The bytes are those of
//! `drover.backbone.v1.Record`; a property test holds the two together.

use bytes::BufMut;
use prost::encoding::{
    DecodeContext, WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint,
    skip_field,
};

use crate::backbone::v1::Channel;

/// A record to be written, all of it borrowed.
#[derive(Debug, Clone, Copy)]
pub struct RecordRef<'a> {
    /// Tenant of the sender.
    pub tenant: &'a str,
    /// Device that sent it.
    pub device: &'a str,
    /// What the topic meant.
    pub channel: Channel,
    /// Media type; empty when none was declared.
    pub content_type: &'a str,
    /// The bytes, as they came.
    pub payload: &'a [u8],
    /// Time of arrival, microseconds since 1970.
    pub received_us: i64,
    /// Topic; empty when it is the channel's own.
    pub topic: &'a str,
    /// W3C trace context of what wrote it; empty when it is not traced.
    pub traceparent: &'a str,
    /// The MQTT session of a QoS 2 publish; 0 for none.
    pub session: u64,
    /// Its packet id; 0 for none.
    pub packet_id: u32,
}

/// A record that was read, all of it slices of the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordView<'a> {
    /// Tenant of the sender.
    pub tenant: &'a str,
    /// Device that sent it.
    pub device: &'a str,
    /// What the topic meant.
    pub channel: Channel,
    /// Media type; empty when none was declared.
    pub content_type: &'a str,
    /// The bytes, as they came.
    pub payload: &'a [u8],
    /// Time of arrival, microseconds since 1970.
    pub received_us: i64,
    /// Topic; empty when it is the channel's own.
    pub topic: &'a str,
    /// W3C trace context of what wrote it; empty when it is not traced.
    pub traceparent: &'a str,
    /// The MQTT session of a QoS 2 publish; 0 for none.
    pub session: u64,
    /// Its packet id; 0 for none.
    pub packet_id: u32,
}

/// Bytes that are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a record: {0}")]
pub struct InvalidRecord(&'static str);

const TENANT: u32 = 1;
const DEVICE: u32 = 2;
const CHANNEL: u32 = 3;
const CONTENT_TYPE: u32 = 4;
const PAYLOAD: u32 = 5;
const RECEIVED: u32 = 6;
const TOPIC: u32 = 7;
const TRACEPARENT: u32 = 9;
const SESSION: u32 = 10;
const PACKET_ID: u32 = 11;

impl RecordRef<'_> {
    /// Length of [`Self::encode`]'s output, in bytes.
    pub fn encoded_len(&self) -> usize {
        let varint = |value: u64| if value == 0 { 0 } else { 1 + encoded_len_varint(value) };
        length(self.tenant.as_bytes())
            + length(self.device.as_bytes())
            + varint(channel_number(self.channel))
            + length(self.content_type.as_bytes())
            + length(self.payload)
            + varint(self.received_us.cast_unsigned())
            + length(self.topic.as_bytes())
            + length(self.traceparent.as_bytes())
            + varint(self.session)
            + varint(self.packet_id.into())
    }

    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut impl BufMut) {
        put_bytes(TENANT, self.tenant.as_bytes(), out);
        put_bytes(DEVICE, self.device.as_bytes(), out);
        put_varint(CHANNEL, channel_number(self.channel), out);
        put_bytes(CONTENT_TYPE, self.content_type.as_bytes(), out);
        put_bytes(PAYLOAD, self.payload, out);
        put_varint(RECEIVED, self.received_us.cast_unsigned(), out);
        put_bytes(TOPIC, self.topic.as_bytes(), out);
        put_bytes(TRACEPARENT, self.traceparent.as_bytes(), out);
        put_varint(SESSION, self.session, out);
        put_varint(PACKET_ID, self.packet_id.into(), out);
    }
}

fn channel_number(channel: Channel) -> u64 {
    u64::from(i32::from(channel).cast_unsigned())
}

fn length(bytes: &[u8]) -> usize {
    if bytes.is_empty() { 0 } else { 1 + encoded_len_varint(bytes.len() as u64) + bytes.len() }
}

fn put_bytes(tag: u32, bytes: &[u8], out: &mut impl BufMut) {
    if !bytes.is_empty() {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.put_slice(bytes);
    }
}

fn put_varint(tag: u32, value: u64, out: &mut impl BufMut) {
    if value != 0 {
        encode_key(tag, WireType::Varint, out);
        encode_varint(value, out);
    }
}

impl<'a> RecordView<'a> {
    /// Reads one record; fields that this version does not know are passed over.
    ///
    /// # Errors
    /// [`InvalidRecord`] when the bytes are no protobuf message of this shape.
    pub fn decode(mut bytes: &'a [u8]) -> Result<Self, InvalidRecord> {
        let mut record = Self {
            tenant: "",
            device: "",
            channel: Channel::Unspecified,
            content_type: "",
            payload: &[],
            received_us: 0,
            topic: "",
            traceparent: "",
            session: 0,
            packet_id: 0,
        };
        while !bytes.is_empty() {
            let (tag, wire) = decode_key(&mut bytes).map_err(|_| InvalidRecord("broken field key"))?;
            match (tag, wire) {
                (TENANT, WireType::LengthDelimited) => record.tenant = take_text(&mut bytes)?,
                (DEVICE, WireType::LengthDelimited) => record.device = take_text(&mut bytes)?,
                (CONTENT_TYPE, WireType::LengthDelimited) => record.content_type = take_text(&mut bytes)?,
                (TOPIC, WireType::LengthDelimited) => record.topic = take_text(&mut bytes)?,
                (TRACEPARENT, WireType::LengthDelimited) => record.traceparent = take_text(&mut bytes)?,
                (PAYLOAD, WireType::LengthDelimited) => record.payload = take_bytes(&mut bytes)?,
                (CHANNEL, WireType::Varint) => {
                    let number = i32::try_from(take_varint(&mut bytes)?).unwrap_or_default();
                    record.channel = Channel::try_from(number).unwrap_or(Channel::Unspecified);
                }
                (RECEIVED, WireType::Varint) => record.received_us = take_varint(&mut bytes)?.cast_signed(),
                (SESSION, WireType::Varint) => record.session = take_varint(&mut bytes)?,
                (PACKET_ID, WireType::Varint) => {
                    record.packet_id = u32::try_from(take_varint(&mut bytes)?).unwrap_or_default();
                }
                _ => skip_field(wire, tag, &mut bytes, DecodeContext::default())
                    .map_err(|_| InvalidRecord("broken unknown field"))?,
            }
        }
        Ok(record)
    }
}

fn take_varint(bytes: &mut &[u8]) -> Result<u64, InvalidRecord> {
    decode_varint(bytes).map_err(|_| InvalidRecord("broken number"))
}

fn take_bytes<'a>(bytes: &mut &'a [u8]) -> Result<&'a [u8], InvalidRecord> {
    let length = usize::try_from(take_varint(bytes)?).map_err(|_| InvalidRecord("field too long"))?;
    let (field, rest) = bytes.split_at_checked(length).ok_or(InvalidRecord("field ends early"))?;
    *bytes = rest;
    Ok(field)
}

fn take_text<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, InvalidRecord> {
    std::str::from_utf8(take_bytes(bytes)?).map_err(|_| InvalidRecord("text is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::backbone::v1::{Record, UserProperty};

    proptest! {
        #[test]
        fn written_and_read_as_the_generated_code_does(
            tenant in ".{0,9}", device in ".{0,200}", channel in 0..6i32, content_type in ".{0,9}",
            payload in prop::collection::vec(any::<u8>(), 0..300), received_us in any::<i64>(), topic in ".{0,9}",
            traceparent in ".{0,60}", session in any::<u64>(), packet_id in any::<u32>(),
        ) {
            let record = Record {
                tenant, device, channel, content_type, received_us, topic,
                payload: payload.into(), user_properties: vec![], traceparent, session, packet_id,
            };
            let borrowed = RecordRef {
                tenant: &record.tenant,
                device: &record.device,
                channel: record.channel(),
                content_type: &record.content_type,
                payload: &record.payload,
                received_us,
                topic: &record.topic,
                traceparent: &record.traceparent,
                session,
                packet_id,
            };
            let mut bytes = Vec::new();
            borrowed.encode(&mut bytes);
            prop_assert_eq!(bytes.len(), borrowed.encoded_len());
            prop_assert_eq!(&bytes, &record.encode_to_vec());

            let more = Record {
                user_properties: vec![UserProperty { name: "a".into(), value: "b".into() }],
                ..record.clone()
            };
            let bytes = more.encode_to_vec();
            let view = RecordView::decode(&bytes).unwrap();
            prop_assert_eq!(view.tenant, &record.tenant);
            prop_assert_eq!(view.device, &record.device);
            prop_assert_eq!(view.payload, &record.payload[..]);
            prop_assert_eq!(view.received_us, received_us);
            prop_assert_eq!((view.topic, view.traceparent), (&*record.topic, &*record.traceparent));
            prop_assert_eq!(view.channel, record.channel());
            prop_assert_eq!((view.session, view.packet_id), (session, packet_id));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = RecordView::decode(&bytes);
        }
    }
}
