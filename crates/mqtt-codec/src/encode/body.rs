//! Writes what follows the fixed header.

use super::PublishRef;
use crate::error::EncodeError;
use crate::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketType, QoS, SubAck, Subscribe, UnsubAck,
    Unsubscribe, Version, Will,
};
use crate::properties::put_properties;
use crate::reason::ReasonCode;
use crate::topic::TopicName;
use crate::write::{Sink, put_binary, put_text, put_u8, put_u16};

pub(super) fn put_body(packet: &Packet, version: Version, sink: &mut impl Sink) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(connect) => put_connect(connect, version, sink),
        Packet::ConnAck(connack) => put_connack(connack, version, sink),
        Packet::Publish(publish) => {
            let publish = PublishRef::from(publish);
            publish.check(version)?;
            publish.put_head(version, sink)?;
            sink.put(publish.payload);
            Ok(())
        }
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            put_ack(ack, packet.packet_type(), version, sink)
        }
        Packet::Subscribe(subscribe) => put_subscribe(subscribe, version, sink),
        Packet::SubAck(suback) => put_suback(suback, version, sink),
        Packet::Unsubscribe(unsubscribe) => put_unsubscribe(unsubscribe, version, sink),
        Packet::UnsubAck(unsuback) => put_unsuback(unsuback, version, sink),
        Packet::PingReq | Packet::PingResp => Ok(()),
        Packet::Disconnect(disconnect) => put_disconnect(disconnect, version, sink),
        Packet::Auth(auth) => put_auth(auth, version, sink),
    }
}

fn put_connect(connect: &Connect, version: Version, sink: &mut impl Sink) -> Result<(), EncodeError> {
    if connect.version != version {
        return Err(EncodeError::Inconsistent("CONNECT is of another version than asked for"));
    }
    if version == Version::V4 && connect.password.is_some() && connect.username.is_none() {
        return Err(EncodeError::Inconsistent("a password needs a user name in 3.1.1"));
    }
    put_text(sink, "MQTT")?;
    put_u8(sink, version.level());
    put_u8(sink, connect_flags(connect));
    put_u16(sink, connect.keep_alive_s);
    if version == Version::V5 {
        put_properties(sink, connect.properties.as_deref())?;
    }
    put_text(sink, &connect.client_id)?;
    if let Some(will) = &connect.will {
        put_will(will, version, sink)?;
    }
    if let Some(username) = &connect.username {
        put_text(sink, username)?;
    }
    if let Some(password) = &connect.password {
        put_binary(sink, password)?;
    }
    Ok(())
}

/// MQTT 5, 3.1.2.3.
fn connect_flags(connect: &Connect) -> u8 {
    let (will, will_qos, will_retain) =
        connect.will.as_ref().map_or((false, QoS::AtMostOnce, false), |will| (true, will.qos, will.retain));
    u8::from(connect.username.is_some()) << 7
        | u8::from(connect.password.is_some()) << 6
        | u8::from(will_retain) << 5
        | will_qos.as_u8() << 3
        | u8::from(will) << 2
        | u8::from(connect.clean_start) << 1
}

fn put_will(will: &Will, version: Version, sink: &mut impl Sink) -> Result<(), EncodeError> {
    TopicName::parse(&will.topic)?;
    if version == Version::V5 {
        put_properties(sink, will.properties.as_deref())?;
    }
    put_text(sink, &will.topic)?;
    put_binary(sink, &will.payload)
}

fn put_connack(connack: &ConnAck, version: Version, sink: &mut impl Sink) -> Result<(), EncodeError> {
    let (packet, reason) = (PacketType::ConnAck, connack.reason);
    check_reason(packet, reason)?;
    if connack.session_present && reason.is_error() {
        return Err(EncodeError::Inconsistent("a refusal has no session present"));
    }
    put_u8(sink, u8::from(connack.session_present));
    match version {
        Version::V4 => {
            put_u8(sink, reason.connack_v4().ok_or(EncodeError::NotInV4 { packet, reason })?);
            Ok(())
        }
        Version::V5 => {
            put_u8(sink, reason.as_u8());
            put_properties(sink, connack.properties.as_deref())
        }
    }
}

fn put_ack(ack: &Ack, packet: PacketType, version: Version, sink: &mut impl Sink) -> Result<(), EncodeError> {
    check_reason(packet, ack.reason)?;
    put_u16(sink, ack.packet_id.get());
    if version == Version::V4 {
        return only_success_in_v4(packet, ack.reason);
    }
    if ack.reason == ReasonCode::Success && ack.properties.is_none() {
        return Ok(());
    }
    put_u8(sink, ack.reason.as_u8());
    if ack.properties.is_some() {
        put_properties(sink, ack.properties.as_deref())?;
    }
    Ok(())
}

fn put_subscribe(subscribe: &Subscribe, version: Version, sink: &mut impl Sink) -> Result<(), EncodeError> {
    check_list(&subscribe.subscriptions)?;
    put_u16(sink, subscribe.packet_id.get());
    if version == Version::V5 {
        put_properties(sink, subscribe.properties.as_deref())?;
    }
    for subscription in &subscribe.subscriptions {
        if subscription.no_local && subscription.filter.starts_with("$share/") {
            return Err(EncodeError::Inconsistent("a shared subscription can't have no-local"));
        }
        put_text(sink, &subscription.filter)?;
        let qos = subscription.qos.as_u8();
        put_u8(
            sink,
            match version {
                Version::V4 => qos,
                Version::V5 => {
                    (subscription.retain_handling as u8) << 4
                        | u8::from(subscription.retain_as_published) << 3
                        | u8::from(subscription.no_local) << 2
                        | qos
                }
            },
        );
    }
    Ok(())
}

fn put_suback(suback: &SubAck, version: Version, sink: &mut impl Sink) -> Result<(), EncodeError> {
    check_list(&suback.reasons)?;
    put_u16(sink, suback.packet_id.get());
    if version == Version::V5 {
        put_properties(sink, suback.properties.as_deref())?;
    }
    for &reason in &suback.reasons {
        check_reason(PacketType::SubAck, reason)?;
        // 3.1.1 has one code for every failure (3.9.3).
        let code = if version == Version::V4 && reason.is_error() { 0x80 } else { reason.as_u8() };
        put_u8(sink, code);
    }
    Ok(())
}

fn put_unsubscribe(
    unsubscribe: &Unsubscribe,
    version: Version,
    sink: &mut impl Sink,
) -> Result<(), EncodeError> {
    check_list(&unsubscribe.filters)?;
    put_u16(sink, unsubscribe.packet_id.get());
    if version == Version::V5 {
        put_properties(sink, unsubscribe.properties.as_deref())?;
    }
    for filter in &unsubscribe.filters {
        put_text(sink, filter)?;
    }
    Ok(())
}

fn put_unsuback(unsuback: &UnsubAck, version: Version, sink: &mut impl Sink) -> Result<(), EncodeError> {
    put_u16(sink, unsuback.packet_id.get());
    if version == Version::V4 {
        return Ok(());
    }
    check_list(&unsuback.reasons)?;
    put_properties(sink, unsuback.properties.as_deref())?;
    for &reason in &unsuback.reasons {
        check_reason(PacketType::UnsubAck, reason)?;
        put_u8(sink, reason.as_u8());
    }
    Ok(())
}

fn put_disconnect(
    disconnect: &Disconnect,
    version: Version,
    sink: &mut impl Sink,
) -> Result<(), EncodeError> {
    check_reason(PacketType::Disconnect, disconnect.reason)?;
    if version == Version::V4 {
        return only_success_in_v4(PacketType::Disconnect, disconnect.reason);
    }
    if disconnect.reason == ReasonCode::Success && disconnect.properties.is_none() {
        return Ok(());
    }
    put_u8(sink, disconnect.reason.as_u8());
    if disconnect.properties.is_some() {
        put_properties(sink, disconnect.properties.as_deref())?;
    }
    Ok(())
}

fn put_auth(auth: &Auth, version: Version, sink: &mut impl Sink) -> Result<(), EncodeError> {
    let (packet, reason) = (PacketType::Auth, auth.reason);
    check_reason(packet, reason)?;
    if version == Version::V4 {
        return Err(EncodeError::NotInV4 { packet, reason });
    }
    if reason == ReasonCode::Success && auth.properties.is_none() {
        return Ok(());
    }
    if auth.properties.as_ref().is_none_or(|properties| properties.authentication_method.is_none()) {
        return Err(EncodeError::Inconsistent("AUTH needs an authentication method"));
    }
    put_u8(sink, reason.as_u8());
    put_properties(sink, auth.properties.as_deref())
}

fn check_reason(packet: PacketType, reason: ReasonCode) -> Result<(), EncodeError> {
    if reason.is_allowed_in(packet) { Ok(()) } else { Err(EncodeError::Reason { packet, reason }) }
}

fn only_success_in_v4(packet: PacketType, reason: ReasonCode) -> Result<(), EncodeError> {
    if reason == ReasonCode::Success { Ok(()) } else { Err(EncodeError::NotInV4 { packet, reason }) }
}

fn check_list<T>(items: &[T]) -> Result<(), EncodeError> {
    if items.is_empty() { Err(EncodeError::Inconsistent("a list needs at least one item")) } else { Ok(()) }
}
