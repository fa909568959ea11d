//! Bytes of the standards, each refusal with its reason code, and bytes that nobody should send.

use std::num::NonZeroU16;

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::versioned_packet;
use crate::encode::encode;
use crate::packet::{Ack, ConnAck, Connect, Secret, Subscription, Will};
use crate::properties::Property;
use crate::reason::ReasonCode;
use crate::topic::TopicError;

const MAX: u32 = 1 << 20;
const V4: Option<Version> = Some(Version::V4);
const V5: Option<Version> = Some(Version::V5);

fn decode_all(bytes: &[u8], version: Option<Version>) -> Result<Option<Packet>, DecodeError> {
    decode(&mut BytesMut::from(bytes), version, MAX)
}

/// A packet with this first byte and body.
fn frame(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u8::try_from(body.len()).expect("a short body");
    assert!(length < 0x80);
    [&[first, length], body].concat()
}

fn refusal(first: u8, body: &[u8], version: Option<Version>) -> DecodeError {
    decode_all(&frame(first, body), version).expect_err("must be refused")
}

/// The body of a CONNECT: protocol name, level, flags, keep-alive 60 s, and the rest.
fn connect(level: u8, flags: u8, rest: &[u8]) -> Vec<u8> {
    [b"\0\x04MQTT", &[level, flags, 0, 60][..], rest].concat()
}

fn text(value: &str) -> Vec<u8> {
    let length = u16::try_from(value.len()).expect("a short text");
    [&length.to_be_bytes(), value.as_bytes()].concat()
}

/// The body of a PUBLISH of QoS 0 in MQTT 5 with these properties.
fn publish_with(properties: &[u8]) -> Vec<u8> {
    with_properties(b"\0\x01a", properties)
}

fn with_properties(before: &[u8], properties: &[u8]) -> Vec<u8> {
    [before, &[u8::try_from(properties.len()).expect("few properties")], properties].concat()
}

/// Unbounded random bytes rarely get past the first byte: take a valid packet and break it in places.
fn mutated() -> impl Strategy<Value = (Option<Version>, Vec<u8>)> {
    let changes = proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..4);
    (versioned_packet(), changes, any::<Option<proptest::sample::Index>>()).prop_map(
        |((version, packet), changes, cut)| {
            let mut bytes = BytesMut::new();
            encode(&packet, version, &mut bytes).expect("the packet is valid");
            let mut bytes = bytes.to_vec();
            for (index, byte) in changes {
                let index = index.index(bytes.len().min(64));
                bytes[index] = byte;
            }
            if let Some(cut) = cut {
                bytes.truncate(cut.index(bytes.len()));
            }
            ((packet.packet_type() != PacketType::Connect).then_some(version), bytes)
        },
    )
}

/// Decodes to the end, and checks that what decoded is encoded to something that decodes the same.
fn decode_everything(bytes: &[u8], mut version: Option<Version>) -> Result<(), TestCaseError> {
    let mut buf = BytesMut::from(bytes);
    while let Ok(Some(packet)) = decode(&mut buf, version, MAX) {
        let known = version;
        if let Packet::Connect(connect) = &packet {
            version = Some(connect.version);
        }
        let mut again = BytesMut::new();
        let encoded = encode(&packet, version.expect("CONNECT came first"), &mut again);
        prop_assert!(encoded.is_ok(), "{:?} {:?}", packet, encoded);
        prop_assert_eq!(decode(&mut again, known, MAX), Ok(Some(packet)));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        for version in [None, V4, V5] {
            decode_everything(&bytes, version)?;
        }
        let _ = needed(&bytes);
    }

    #[test]
    fn damaged_packets_never_panic_and_what_decodes_is_valid((version, bytes) in mutated()) {
        decode_everything(&bytes, version)?;
    }
}

#[test]
fn the_connect_of_the_3_1_1_standard_decodes() {
    // 3.1.1, figure 3.6 and 3.1.3: user name, password, will retain 0, will QoS 1, will, clean session, 10 s.
    let rest = [text("id"), text("will/topic"), text("gone"), text("user"), text("pass")].concat();
    let mut body = connect(4, 0b1100_1110, &rest);
    body[9] = 10;
    let expected = Connect {
        version: Version::V4,
        clean_start: true,
        keep_alive_s: 10,
        client_id: "id".into(),
        will: Some(Box::new(Will {
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "will/topic".into(),
            payload: Bytes::from_static(b"gone"),
            properties: None,
        })),
        username: Some("user".into()),
        password: Some(Secret(Bytes::from_static(b"pass"))),
        properties: None,
    };
    assert!(!format!("{expected:?}").contains("pass\""), "the password is not shown");
    assert_eq!(decode_all(&frame(0x10, &body), None), Ok(Some(Packet::Connect(Box::new(expected)))));
}

#[test]
fn the_publish_of_the_standard_decodes_to_slices_of_the_input() {
    // 3.3.2: topic a/b, packet identifier 10.
    let mut buf = BytesMut::from(&b"\x33\x0a\0\x03a/b\0\x0apay\xC0\0"[..]);
    let input = buf.as_ptr_range();
    let Ok(Some(Packet::Publish(publish))) = decode(&mut buf, V4, MAX) else { panic!("not a PUBLISH") };
    assert_eq!((publish.topic_str(), publish.packet_id), ("a/b", NonZeroU16::new(10)));
    assert_eq!((publish.qos, publish.retain, publish.dup), (QoS::AtLeastOnce, true, false));
    assert_eq!(publish.payload, "pay");
    assert!(input.contains(&publish.topic.as_ptr()) && input.contains(&publish.payload.as_ptr()));
    assert_eq!(decode(&mut buf, V4, MAX), Ok(Some(Packet::PingReq)));
    assert!(buf.is_empty());
}

#[test]
fn the_subscribe_of_the_standard_decodes() {
    // 3.8.3: a/b with QoS 1, c/d with QoS 2.
    let body = [&[0, 10][..], &text("a/b"), &[1], &text("c/d"), &[2]].concat();
    let Ok(Some(Packet::Subscribe(subscribe))) = decode_all(&frame(0x82, &body), V4) else {
        panic!("not a SUBSCRIBE")
    };
    let asked =
        subscribe.subscriptions.iter().map(|Subscription { filter, qos, .. }| (filter.as_str(), *qos));
    assert_eq!(asked.collect::<Vec<_>>(), [("a/b", QoS::AtLeastOnce), ("c/d", QoS::ExactlyOnce)]);
}

#[test]
fn the_examples_of_the_string_and_integer_encodings_hold() {
    // 1.5.4: A and U+2A6D4; 1.5.5, table 1-1.
    let body = [text("A\u{2A6D4}"), b"x".to_vec()].concat();
    let Ok(Some(Packet::Publish(publish))) = decode_all(&frame(0x30, &body), V4) else {
        panic!("not a PUBLISH")
    };
    assert_eq!(publish.topic, b"A\xF0\xAA\x9B\x94"[..]);
    for (bytes, value) in [
        (&[0x00][..], 0),
        (&[0x7F], 127),
        (&[0x80, 0x01], 128),
        (&[0xFF, 0x7F], 16_383),
        (&[0x80, 0x80, 0x01], 16_384),
        (&[0xFF, 0xFF, 0x7F], 2_097_151),
        (&[0x80, 0x80, 0x80, 0x01], 2_097_152),
        (&[0xFF, 0xFF, 0xFF, 0x7F], 268_435_455),
    ] {
        assert_eq!(variable_byte_integer(bytes), Ok(Some((value, bytes.len()))));
        assert_eq!(variable_byte_integer(&bytes[..bytes.len() - 1]), Ok(None));
    }
}

#[test]
fn short_forms_of_mqtt_5_mean_success_without_properties() {
    let success = Ack::success(NonZeroU16::MIN);
    for body in [&[0, 1][..], &[0, 1, 0], &[0, 1, 0, 0]] {
        assert_eq!(decode_all(&frame(0x40, body), V5), Ok(Some(Packet::PubAck(success.clone()))));
    }
    for body in [&[][..], &[0], &[0, 0]] {
        let decoded = decode_all(&frame(0xE0, body), V5);
        assert!(matches!(decoded, Ok(Some(Packet::Disconnect(ref disconnect)))
            if disconnect.reason == ReasonCode::Success && disconnect.properties.is_none()));
    }
    assert!(matches!(decode_all(&frame(0xF0, &[]), V5), Ok(Some(Packet::Auth(_)))));
}

#[test]
fn return_codes_of_3_1_1_become_reason_codes() {
    for (code, reason) in [(0, 0x00), (1, 0x84), (2, 0x85), (3, 0x88), (4, 0x86), (5, 0x87)] {
        let Ok(Some(Packet::ConnAck(ConnAck { reason: found, .. }))) =
            decode_all(&frame(0x20, &[0, code]), V4)
        else {
            panic!("not a CONNACK")
        };
        assert_eq!(found.as_u8(), reason);
    }
    let Ok(Some(Packet::SubAck(suback))) = decode_all(&frame(0x90, &[0, 1, 0, 1, 2, 0x80]), V4) else {
        panic!("not a SUBACK")
    };
    assert_eq!(suback.reasons.iter().map(|reason| reason.as_u8()).collect::<Vec<_>>(), [0, 1, 2, 0x80]);
}

#[test]
fn a_claim_of_100_mb_is_refused_from_the_first_bytes() {
    let error = decode_all(&[0x30, 0x80, 0xC2, 0xD7, 0x2F], V4).expect_err("too large");
    assert_eq!(
        error,
        DecodeError::TooLarge { packet: PacketType::Publish, claimed_bytes: 100_000_005, max_bytes: MAX }
    );
    assert_eq!(error.reason(), ReasonCode::PacketTooLarge);
    assert_eq!(needed(&[0x30, 0x80, 0xC2, 0xD7, 0x2F]), Ok(Some(100_000_005)));
    assert_eq!(decode_all(&[0x30, 0x80, 0xC2], V4), Ok(None));
}

#[test]
fn a_wrong_first_byte_is_refused_before_the_rest_arrives() {
    use PacketType::{Auth, ConnAck, PingReq, PubRel, Publish};
    for (first, version, error) in [
        (0x00, V4, DecodeError::PacketTypeZero),
        (0x16, None, DecodeError::FixedHeaderFlags(PacketType::Connect)),
        (0x21, V5, DecodeError::FixedHeaderFlags(ConnAck)),
        (0x60, V4, DecodeError::FixedHeaderFlags(PubRel)),
        (0xC1, V4, DecodeError::FixedHeaderFlags(PingReq)),
        (0x36, V5, DecodeError::Qos3(Publish)),
        (0x38, V4, DecodeError::DupWithQos0),
        (0xF0, V4, DecodeError::AuthInV4),
        (0xF0, None, DecodeError::NotConnect(Auth)),
        (0x30, None, DecodeError::NotConnect(Publish)),
        (0x10, V5, DecodeError::SecondConnect),
    ] {
        assert_eq!(decode_all(&[first], version), Err(error), "0x{first:02X}");
    }
}

#[test]
fn variable_byte_integers_that_are_too_long_are_malformed() {
    for bytes in
        [&[0xC0, 0x80, 0x00][..], &[0xC0, 0xFF, 0xFF, 0xFF, 0xFF], &[0xC0, 0x80, 0x80, 0x80, 0x80, 0x01]]
    {
        let error = decode_all(bytes, V4).expect_err("malformed");
        assert_eq!(error, DecodeError::VariableByteInteger);
        assert_eq!(error.reason(), ReasonCode::MalformedPacket);
        assert_eq!(needed(bytes), Err(DecodeError::VariableByteInteger));
    }
    assert_eq!(refusal(0x30, b"\0\x01a\x80\0", V5), DecodeError::VariableByteInteger);
}

#[test]
fn connects_that_break_a_rule_are_refused_with_its_reason() {
    let id = text("c");
    let will = |topic: &str| [text("c"), text(topic), text("p")].concat();
    let malformed = 0x81;
    for (body, error, reason) in [
        ([b"\0\x06MQIsdp", &[3, 2, 0, 60][..], &id].concat(), DecodeError::Mqtt31, 0x84),
        ([b"\0\x04HTTP", &[4, 2, 0, 60][..], &id].concat(), DecodeError::ProtocolName, 0x84),
        (connect(3, 2, &id), DecodeError::ProtocolLevel(3), 0x84),
        (connect(6, 2, &id), DecodeError::ProtocolLevel(6), 0x84),
        (connect(4, 0b11, &id), DecodeError::ConnectReservedFlag, malformed),
        (connect(4, 0b1010, &id), DecodeError::WillFlags, malformed),
        (connect(5, 0b10_0010, &id), DecodeError::WillFlags, malformed),
        (connect(4, 0b1_1110, &will("w")), DecodeError::Qos3(PacketType::Connect), malformed),
        (connect(4, 0b100_0010, &will("w")), DecodeError::PasswordWithoutUsername, malformed),
        (
            connect(4, 2, &[&id[..], &[0]].concat()),
            DecodeError::TrailingBytes(PacketType::Connect),
            malformed,
        ),
        (connect(4, 2, b"\0\x02c"), DecodeError::Truncated(PacketType::Connect), malformed),
        (connect(4, 2, b"\0\x01\0"), DecodeError::NulCharacter(PacketType::Connect), malformed),
        (connect(4, 2, b"\0\x03\xED\xA0\x80"), DecodeError::Utf8(PacketType::Connect), malformed),
        (connect(4, 2, b"\0\x02\xC0\x80"), DecodeError::Utf8(PacketType::Connect), malformed),
        (
            connect(4, 0b110, &will("w/#")),
            DecodeError::TopicName { packet: PacketType::Connect, error: TopicError::WildcardInName },
            0x90,
        ),
        (
            connect(4, 0b110, &will("")),
            DecodeError::TopicName { packet: PacketType::Connect, error: TopicError::Empty },
            0x90,
        ),
        (
            connect(5, 2, &[&[5, 0x16][..], &text("ab"), &id].concat()),
            DecodeError::AuthenticationMethodMissing(PacketType::Connect),
            0x82,
        ),
    ] {
        let refused = refusal(0x10, &body, None);
        assert_eq!(refused.reason().as_u8(), reason, "{refused}");
        assert_eq!(refused, error);
    }
    // MQTT 5 allows what 3.1.1 does not, and both leave the empty client id to the server.
    let password_alone = connect(5, 0b100_0010, &[&[0][..], &id, &text("p")].concat());
    assert!(matches!(decode_all(&frame(0x10, &password_alone), None), Ok(Some(Packet::Connect(_)))));
    assert!(matches!(
        decode_all(&frame(0x10, &connect(4, 0, &text(""))), None),
        Ok(Some(Packet::Connect(_)))
    ));
}

#[test]
fn packets_that_break_a_rule_are_refused_with_its_reason() {
    use PacketType::{PubAck, Publish, SubAck, Subscribe, UnsubAck, Unsubscribe};
    let wildcard = DecodeError::TopicName { packet: Publish, error: TopicError::WildcardInName };
    let empty = DecodeError::TopicName { packet: Publish, error: TopicError::Empty };
    let reason_code = |packet, code| DecodeError::ReasonCode { packet, code };
    type Case = (u8, &'static [u8], Option<Version>, DecodeError, u8);
    let cases: Vec<Case> = vec![
        (0x30, b"\0\x03a/+", V4, wildcard.clone(), 0x90),
        (0x30, b"\0\x03a/#\0", V5, wildcard, 0x90),
        (0x30, b"\0\0", V4, empty, 0x90),
        (0x30, b"\0\0\0", V5, DecodeError::EmptyTopic, 0x82),
        (0x30, b"\0\x05a", V4, DecodeError::Truncated(Publish), 0x81),
        (0x30, b"\0\x01a", V5, DecodeError::Truncated(Publish), 0x81),
        (0x30, b"\0\x01a\x05\x01", V5, DecodeError::Truncated(Publish), 0x81),
        (0x30, b"\0\x01\xFF", V4, DecodeError::Utf8(Publish), 0x81),
        (0x30, b"\0\x01\0", V4, DecodeError::NulCharacter(Publish), 0x81),
        (0x32, b"\0\x01a\0\0", V4, DecodeError::PacketIdZero(Publish), 0x82),
        (0x32, b"\0\x01a\0", V4, DecodeError::Truncated(Publish), 0x81),
        (0x40, b"\0\0", V4, DecodeError::PacketIdZero(PubAck), 0x82),
        (0x40, b"\0\x01\0", V4, DecodeError::TrailingBytes(PubAck), 0x81),
        (0x40, b"\0\x01\0\0\0", V5, DecodeError::TrailingBytes(PubAck), 0x81),
        (0x40, b"\0\x01\x92", V5, reason_code(PubAck, 0x92), 0x81),
        (0x40, b"\0\x01\x03", V5, reason_code(PubAck, 0x03), 0x81),
        (0x62, b"\0\x01\x10", V5, reason_code(PacketType::PubRel, 0x10), 0x81),
        (0x82, b"\0\x01", V4, DecodeError::EmptyList(Subscribe), 0x82),
        (0x82, b"\0\x01\0", V5, DecodeError::EmptyList(Subscribe), 0x82),
        (0x82, b"\0\x01\0\x01a", V4, DecodeError::Truncated(Subscribe), 0x81),
        (0x82, b"\0\x01\0\x01a\x03", V4, DecodeError::Qos3(Subscribe), 0x81),
        (0x82, b"\0\x01\0\x01a\x04", V4, DecodeError::SubscriptionOptions, 0x81),
        (0x82, b"\0\x01\0\0\x01a\x40", V5, DecodeError::SubscriptionOptions, 0x81),
        (0x82, b"\0\x01\0\0\x01a\x80", V5, DecodeError::SubscriptionOptions, 0x81),
        (0x82, b"\0\x01\0\0\x01a\x30", V5, DecodeError::RetainHandling3, 0x82),
        (0x82, b"\0\x01\0\0\x0a$share/g/a\x04", V5, DecodeError::NoLocalOnShared, 0x82),
        (0x82, b"\0\0\0\x01a\x01", V4, DecodeError::PacketIdZero(Subscribe), 0x82),
        (0xA2, b"\0\x01", V4, DecodeError::EmptyList(Unsubscribe), 0x82),
        (0xA2, b"\0\x01\0", V5, DecodeError::EmptyList(Unsubscribe), 0x82),
        (0x90, b"\0\x01", V4, DecodeError::EmptyList(SubAck), 0x82),
        (0x90, b"\0\x01\x03", V4, reason_code(SubAck, 3), 0x81),
        (0x90, b"\0\x01\0\x11", V5, reason_code(SubAck, 0x11), 0x81),
        (0xB0, b"\0\x01\0", V4, DecodeError::TrailingBytes(UnsubAck), 0x81),
        (0xB0, b"\0\x01\0\x01", V5, reason_code(UnsubAck, 1), 0x81),
        (0xC0, b"\0", V4, DecodeError::TrailingBytes(PacketType::PingReq), 0x81),
        (0xE0, b"\0", V4, DecodeError::TrailingBytes(PacketType::Disconnect), 0x81),
        (0xE0, b"\x01", V5, reason_code(PacketType::Disconnect, 1), 0x81),
        (0xF0, b"\x18\0", V5, DecodeError::AuthenticationMethodMissing(PacketType::Auth), 0x82),
        (0xF0, b"\x18\x05\x16\0\x02ab", V5, DecodeError::AuthenticationMethodMissing(PacketType::Auth), 0x82),
        (0x20, b"\x02\0", V4, DecodeError::ConnAckFlags, 0x81),
        (0x20, b"\0\x06", V4, reason_code(PacketType::ConnAck, 6), 0x81),
        (0x20, b"\x01\x05", V4, DecodeError::SessionPresentOnRefusal, 0x82),
        (0x20, b"\x01\x87\0", V5, DecodeError::SessionPresentOnRefusal, 0x82),
    ];
    for (first, body, version, error, reason) in cases {
        let refused = refusal(first, body, version);
        assert_eq!(refused, error, "0x{first:02X} {body:02X?}");
        assert_eq!(refused.reason().as_u8(), reason, "{refused}");
    }
}

#[test]
fn property_values_out_of_range_are_refused() {
    let connect_with = |properties: &[u8]| {
        let length = u8::try_from(properties.len()).expect("few properties");
        (0x10, connect(5, 2, &[&[length], properties, b"\0\x01c"].concat()), None)
    };
    let publish = |properties: &[u8]| (0x30, publish_with(properties), V5);
    let connack = |properties: &[u8]| (0x20, with_properties(&[0, 0], properties), V5);
    let subscribe =
        |properties: &[u8]| (0x82, [&with_properties(&[0, 1], properties)[..], b"\0\x01a\0"].concat(), V5);
    for ((first, body, version), property) in [
        (connect_with(&[0x21, 0, 0]), Property::ReceiveMaximum),
        (connect_with(&[0x27, 0, 0, 0, 0]), Property::MaximumPacketSize),
        (connect_with(&[0x17, 2]), Property::RequestProblemInformation),
        (connect_with(&[0x19, 2]), Property::RequestResponseInformation),
        (publish(&[0x01, 2]), Property::PayloadFormatIndicator),
        (publish(&[0x0B, 0]), Property::SubscriptionIdentifier),
        (subscribe(&[0x0B, 0]), Property::SubscriptionIdentifier),
        (connack(&[0x21, 0, 0]), Property::ReceiveMaximum),
        (connack(&[0x24, 2]), Property::MaximumQos),
        (connack(&[0x25, 2]), Property::RetainAvailable),
        (connack(&[0x27, 0, 0, 0, 0]), Property::MaximumPacketSize),
        (connack(&[0x28, 2]), Property::WildcardSubscriptionAvailable),
        (connack(&[0x29, 2]), Property::SubscriptionIdentifierAvailable),
        (connack(&[0x2A, 2]), Property::SharedSubscriptionAvailable),
    ] {
        let error = refusal(first, &body, version);
        assert!(
            matches!(error, DecodeError::PropertyValue { property: found, .. } if found == property),
            "{error}"
        );
        assert_eq!(error.reason(), ReasonCode::ProtocolError);
    }
    let alias = refusal(0x30, &publish_with(&[0x23, 0, 0]), V5);
    assert_eq!((alias.reason(), alias), (ReasonCode::TopicAliasInvalid, DecodeError::TopicAliasZero));
    let response = refusal(0x30, &publish_with(&[0x08, 0, 1, b'+']), V5);
    assert_eq!(response.reason(), ReasonCode::TopicNameInvalid);
}

/// A well-formed property of each kind, and the packets that may carry it (MQTT 5, table 2-4).
fn property_bytes(property: Property) -> (Vec<u8>, &'static [PacketType]) {
    use PacketType::*;
    const ACKS: &[PacketType] =
        &[ConnAck, PubAck, PubRec, PubRel, PubComp, SubAck, UnsubAck, Disconnect, Auth];
    let (value, packets): (&[u8], &[PacketType]) = match property {
        Property::PayloadFormatIndicator => (&[1], &[Publish]),
        Property::MessageExpiryInterval => (&[0, 0, 0, 1], &[Publish]),
        Property::ContentType | Property::ResponseTopic => (b"\0\x01x", &[Publish]),
        Property::CorrelationData => (b"\0\x01\xFF", &[Publish]),
        Property::SubscriptionIdentifier => (&[0x80, 1], &[Publish, Subscribe]),
        Property::SessionExpiryInterval => (&[0, 0, 0, 1], &[Connect, ConnAck, Disconnect]),
        Property::AssignedClientIdentifier | Property::ResponseInformation => (b"\0\x01x", &[ConnAck]),
        Property::ServerKeepAlive => (&[0, 1], &[ConnAck]),
        Property::AuthenticationMethod => (b"\0\x01x", &[Connect, ConnAck, Auth]),
        // Alone it lacks its method: not among the packets that take it without one.
        Property::AuthenticationData => (b"\0\x01x", &[]),
        Property::RequestProblemInformation | Property::RequestResponseInformation => (&[1], &[Connect]),
        Property::WillDelayInterval => (&[0, 0, 0, 1], &[]),
        Property::ServerReference => (b"\0\x01x", &[ConnAck, Disconnect]),
        Property::ReasonString => (b"\0\x01x", ACKS),
        Property::ReceiveMaximum | Property::TopicAliasMaximum => (&[0, 1], &[Connect, ConnAck]),
        Property::TopicAlias => (&[0, 1], &[Publish]),
        Property::MaximumQos => (&[1], &[ConnAck]),
        Property::RetainAvailable
        | Property::WildcardSubscriptionAvailable
        | Property::SubscriptionIdentifierAvailable
        | Property::SharedSubscriptionAvailable => (&[1], &[ConnAck]),
        Property::UserProperty => (
            b"\0\x01n\0\x01v",
            &[
                Connect,
                ConnAck,
                Publish,
                PubAck,
                PubRec,
                PubRel,
                PubComp,
                Subscribe,
                SubAck,
                Unsubscribe,
                UnsubAck,
                Disconnect,
                Auth,
            ],
        ),
        Property::MaximumPacketSize => (&[0, 0, 0, 1], &[Connect, ConnAck]),
    };
    ([&[property.as_u8()], value].concat(), packets)
}

/// A packet of this kind with these properties.
fn packet_with(packet: PacketType, properties: &[u8]) -> Vec<u8> {
    let (first, before, after): (u8, &[u8], &[u8]) = match packet {
        PacketType::Connect => (0x10, b"\0\x04MQTT\x05\x02\0\x3C", b"\0\x01c"),
        PacketType::ConnAck => (0x20, &[0, 0], &[]),
        PacketType::Publish => (0x30, b"\0\x01a", b"payload"),
        PacketType::PubAck => (0x40, &[0, 1, 0], &[]),
        PacketType::PubRec => (0x50, &[0, 1, 0], &[]),
        PacketType::PubRel => (0x62, &[0, 1, 0], &[]),
        PacketType::PubComp => (0x70, &[0, 1, 0], &[]),
        PacketType::Subscribe => (0x82, &[0, 1], b"\0\x01a\0"),
        PacketType::SubAck => (0x90, &[0, 1], &[0]),
        PacketType::Unsubscribe => (0xA2, &[0, 1], b"\0\x01a"),
        PacketType::UnsubAck => (0xB0, &[0, 1], &[0]),
        PacketType::Disconnect => (0xE0, &[0], &[]),
        PacketType::Auth => (0xF0, &[0], &[]),
        PacketType::PingReq | PacketType::PingResp => unreachable!("have no properties"),
    };
    // AUTH has to name its method whatever else it says.
    let method: &[u8] =
        if packet == PacketType::Auth && !properties.starts_with(&[0x15]) { b"\x15\0\x01m" } else { &[] };
    frame(first, &[&with_properties(before, &[method, properties].concat())[..], after].concat())
}

#[test]
fn every_property_is_taken_once_where_it_is_allowed_and_refused_elsewhere() {
    let packets = (1..=15).filter_map(PacketType::from_u8);
    for packet in packets.filter(|packet| !matches!(packet, PacketType::PingReq | PacketType::PingResp)) {
        let version = (packet != PacketType::Connect).then_some(Version::V5);
        for property in Property::ALL {
            let (bytes, allowed_in) = property_bytes(property);
            let decoded = decode_all(&packet_with(packet, &bytes), version);
            let twice = decode_all(&packet_with(packet, &[bytes.clone(), bytes].concat()), version);
            if allowed_in.contains(&packet) {
                assert!(matches!(decoded, Ok(Some(_))), "{packet} {property}: {decoded:?}");
                let repeatable = property == Property::UserProperty
                    || property == Property::SubscriptionIdentifier && packet == PacketType::Publish;
                let duplicate = DecodeError::DuplicateProperty { packet, property };
                assert_eq!(duplicate.reason(), ReasonCode::ProtocolError);
                assert_eq!(twice.err(), (!repeatable).then_some(duplicate), "{packet} {property}");
            } else if property == Property::AuthenticationData {
                let has_method = packet == PacketType::Auth;
                assert_eq!(decoded.is_ok(), has_method, "{packet}: {decoded:?}");
            } else {
                let not_allowed = DecodeError::PropertyNotAllowed { packet, property };
                assert_eq!(not_allowed.reason(), ReasonCode::MalformedPacket);
                assert_eq!(decoded, Err(not_allowed));
            }
        }
        let unknown = decode_all(&packet_with(packet, &[0x7E]), version);
        assert_eq!(unknown, Err(DecodeError::UnknownProperty { packet, id: 0x7E }));
    }
}

#[test]
fn will_properties_are_read_and_only_those() {
    let body = |properties: &[u8]| {
        let will = with_properties(&[], properties);
        connect(5, 0b110, &[&[0][..], &text("c"), &will, &text("w"), &text("gone")].concat())
    };
    let Ok(Some(Packet::Connect(connect))) = decode_all(&frame(0x10, &body(&[0x18, 0, 0, 0, 5])), None)
    else {
        panic!("not a CONNECT")
    };
    let properties = connect.will.and_then(|will| will.properties).expect("has will properties");
    assert_eq!(properties.will_delay_s, Some(5));
    let error = refusal(0x10, &body(&[0x23, 0, 1]), None);
    let (packet, property) = (PacketType::Connect, Property::TopicAlias);
    assert_eq!(error, DecodeError::PropertyNotAllowed { packet, property });
}

#[test]
fn an_error_leaves_the_buffer_as_it_was() {
    let mut buf = BytesMut::from(&b"\x30\x03\0\x01+"[..]);
    assert!(decode(&mut buf, V4, MAX).is_err());
    assert_eq!(&buf[..], b"\x30\x03\0\x01+");
}
