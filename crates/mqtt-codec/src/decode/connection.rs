//! Reads CONNECT, CONNACK, DISCONNECT and AUTH.

use bytes::Bytes;

use super::message::read_reason;
use crate::error::DecodeError;
use crate::packet::{Auth, ConnAck, Connect, Disconnect, PacketType, QoS, Secret, Version, Will};
use crate::properties::read_properties;
use crate::read::Reader;
use crate::reason::ReasonCode;
use crate::topic::TopicName;

/// Connect flags (MQTT 5, 3.1.2.3).
#[derive(Clone, Copy)]
struct Flags(u8);

impl Flags {
    fn reserved(self) -> bool {
        self.0 & 0x01 != 0
    }

    fn clean_start(self) -> bool {
        self.0 & 0x02 != 0
    }

    fn will(self) -> bool {
        self.0 & 0x04 != 0
    }

    fn will_qos(self) -> Result<QoS, DecodeError> {
        QoS::from_u8((self.0 >> 3) & 0b11).ok_or(DecodeError::Qos3(PacketType::Connect))
    }

    fn will_retain(self) -> bool {
        self.0 & 0x20 != 0
    }

    fn password(self) -> bool {
        self.0 & 0x40 != 0
    }

    fn username(self) -> bool {
        self.0 & 0x80 != 0
    }
}

/// MQTT 5, 3.1.
pub(super) fn read_connect(reader: &mut Reader<'_>) -> Result<Connect, DecodeError> {
    let version = read_protocol(reader)?;
    let flags = Flags(reader.u8()?);
    check_flags(flags, version)?;
    let keep_alive_s = reader.u16()?;
    let properties = if version == Version::V5 { read_properties(reader)? } else { None };
    let client_id = reader.string()?;
    let will = if flags.will() { Some(Box::new(read_will(reader, flags, version)?)) } else { None };
    let username = if flags.username() { Some(reader.string()?) } else { None };
    let password =
        if flags.password() { Some(Secret(Bytes::copy_from_slice(reader.binary()?))) } else { None };
    Ok(Connect {
        version,
        clean_start: flags.clean_start(),
        keep_alive_s,
        client_id,
        will,
        username,
        password,
        properties,
    })
}

fn read_protocol(reader: &mut Reader<'_>) -> Result<Version, DecodeError> {
    match reader.binary()? {
        b"MQTT" => {}
        b"MQIsdp" => return Err(DecodeError::Mqtt31),
        _ => return Err(DecodeError::ProtocolName),
    }
    match reader.u8()? {
        4 => Ok(Version::V4),
        5 => Ok(Version::V5),
        level => Err(DecodeError::ProtocolLevel(level)),
    }
}

fn check_flags(flags: Flags, version: Version) -> Result<(), DecodeError> {
    if flags.reserved() {
        return Err(DecodeError::ConnectReservedFlag);
    }
    if flags.will_qos()? != QoS::AtMostOnce && !flags.will() || flags.will_retain() && !flags.will() {
        return Err(DecodeError::WillFlags);
    }
    // MQTT 5 dropped this rule (3.1.2.9).
    if version == Version::V4 && flags.password() && !flags.username() {
        return Err(DecodeError::PasswordWithoutUsername);
    }
    Ok(())
}

fn read_will(reader: &mut Reader<'_>, flags: Flags, version: Version) -> Result<Will, DecodeError> {
    let properties = if version == Version::V5 { read_properties(reader)? } else { None };
    let topic = reader.text()?;
    TopicName::parse(topic).map_err(|error| DecodeError::TopicName { packet: reader.packet, error })?;
    Ok(Will {
        qos: flags.will_qos()?,
        retain: flags.will_retain(),
        topic: topic.to_owned(),
        payload: Bytes::copy_from_slice(reader.binary()?),
        properties,
    })
}

/// MQTT 5, 3.2.
pub(super) fn read_connack(reader: &mut Reader<'_>, version: Version) -> Result<ConnAck, DecodeError> {
    let session_present = match reader.u8()? {
        0 => false,
        1 => true,
        _ => return Err(DecodeError::ConnAckFlags),
    };
    let (reason, properties) = match version {
        Version::V4 => {
            let code = reader.u8()?;
            let packet = reader.packet;
            (ReasonCode::from_connack_v4(code).ok_or(DecodeError::ReasonCode { packet, code })?, None)
        }
        Version::V5 => (read_reason(reader)?, read_properties(reader)?),
    };
    if session_present && reason.is_error() {
        return Err(DecodeError::SessionPresentOnRefusal);
    }
    Ok(ConnAck { session_present, reason, properties })
}

/// MQTT 5, 3.14: the reason code may be left out when it is 0, the properties when there are none.
pub(super) fn read_disconnect(reader: &mut Reader<'_>, version: Version) -> Result<Disconnect, DecodeError> {
    if version == Version::V4 || reader.is_empty() {
        return Ok(Disconnect { reason: ReasonCode::Success, properties: None });
    }
    let reason = read_reason(reader)?;
    let properties = if reader.is_empty() { None } else { read_properties(reader)? };
    Ok(Disconnect { reason, properties })
}

/// MQTT 5, 3.15: empty when it says success and has no properties.
pub(super) fn read_auth(reader: &mut Reader<'_>) -> Result<Auth, DecodeError> {
    if reader.is_empty() {
        return Ok(Auth { reason: ReasonCode::Success, properties: None });
    }
    let auth = Auth { reason: read_reason(reader)?, properties: read_properties(reader)? };
    let has_method =
        auth.properties.as_ref().is_some_and(|properties| properties.authentication_method.is_some());
    let says_something = auth.reason != ReasonCode::Success || auth.properties.is_some();
    if says_something && !has_method {
        return Err(DecodeError::AuthenticationMethodMissing(PacketType::Auth));
    }
    Ok(auth)
}
