//! Round trips of every packet, and what `encode` refuses.

use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::arbitrary::versioned_packet;
use crate::decode::{decode, needed};
use crate::packet::{Ack, Auth, ConnAck, Disconnect, Subscribe};
use crate::reason::ReasonCode;

const MAX: u32 = 1 << 20;

/// The version that `decode` is told: none before CONNECT.
fn known(version: Version, packet: &Packet) -> Option<Version> {
    (packet.packet_type() != PacketType::Connect).then_some(version)
}

fn encoded(packet: &Packet, version: Version) -> BytesMut {
    let mut out = BytesMut::new();
    encode(packet, version, &mut out).expect("the packet is valid");
    out
}

fn id(value: u16) -> NonZeroU16 {
    NonZeroU16::new(value).expect("not 0")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn a_packet_comes_back_as_it_was_encoded((version, packet) in versioned_packet(), after in any::<[u8; 3]>()) {
        let mut bytes = encoded(&packet, version);
        prop_assert_eq!(encoded_len(&packet, version), Ok(bytes.len()));
        prop_assert_eq!(needed(&bytes), Ok(Some(bytes.len())));
        bytes.extend_from_slice(&after);
        let decoded = decode(&mut bytes, known(version, &packet), MAX);
        prop_assert_eq!(decoded, Ok(Some(packet)));
        prop_assert_eq!(&bytes[..], &after[..]);
    }

    #[test]
    fn every_prefix_of_a_packet_asks_for_more_and_stays((version, packet) in versioned_packet()) {
        let bytes = encoded(&packet, version);
        // Long payloads add nothing but time.
        for length in (0..bytes.len()).filter(|length| *length < 600 || length + 3 > bytes.len()) {
            let mut prefix = BytesMut::from(&bytes[..length]);
            prop_assert_eq!(decode(&mut prefix, known(version, &packet), MAX), Ok(None));
            prop_assert_eq!(prefix.len(), length);
            prop_assert!(matches!(needed(&prefix), Ok(None | Some(_))));
        }
    }

    #[test]
    fn a_packet_of_exactly_the_maximum_passes_and_one_byte_more_does_not((version, packet) in versioned_packet()) {
        let bytes = encoded(&packet, version);
        let length = u32::try_from(bytes.len()).expect("the packets are small");
        prop_assert!(matches!(decode(&mut bytes.clone(), known(version, &packet), length), Ok(Some(_))));
        let error = decode(&mut bytes.clone(), known(version, &packet), length - 1).expect_err("too large");
        prop_assert_eq!(error.reason(), ReasonCode::PacketTooLarge);
    }
}

#[test]
fn the_fast_functions_write_what_encode_writes() {
    for version in [Version::V4, Version::V5] {
        let mut fast = BytesMut::new();
        encode_puback(id(0x1234), &mut fast);
        assert_eq!(fast, encoded(&Packet::PubAck(Ack::success(id(0x1234))), version));
        fast.clear();
        encode_pingresp(&mut fast);
        assert_eq!(fast, encoded(&Packet::PingResp, version));
    }
}

#[test]
fn one_messages_properties_serve_receivers_with_their_own_expiry_alias_and_subscriptions() {
    let properties = PublishProperties {
        message_expiry_s: Some(60),
        topic_alias: Some(id(9)),
        content_type: Some("text/plain".into()),
        ..PublishProperties::default()
    };
    let subscription_ids = [NonZeroU32::MIN];
    let publish = PublishRef {
        properties: Some(&properties),
        message_expiry_s: Some(58),
        subscription_ids: &subscription_ids,
        ..PublishRef::new("a/b", b"x")
    };
    let mut out = BytesMut::new();
    encode_publish(&publish, Version::V5, &mut out).expect("valid");
    assert_eq!(publish_encoded_len(&publish, Version::V5), Ok(out.len()));
    let Ok(Some(Packet::Publish(received))) = decode(&mut out, Some(Version::V5), MAX) else {
        panic!("not a PUBLISH")
    };
    let received = received.properties.expect("has properties");
    assert_eq!(received.message_expiry_s, Some(58));
    assert_eq!(received.topic_alias, None);
    assert_eq!(received.subscription_ids, subscription_ids);
    assert_eq!(received.content_type.as_deref(), Some("text/plain"));
}

#[test]
fn connack_of_3_1_1_takes_the_nearest_return_code_and_refuses_where_there_is_none() {
    let connack = |reason| Packet::ConnAck(ConnAck { session_present: false, reason, properties: None });
    assert_eq!(&encoded(&connack(ReasonCode::ServerBusy), Version::V4)[..], [0x20, 2, 0, 3]);
    assert_eq!(&encoded(&connack(ReasonCode::NotAuthorized), Version::V4)[..], [0x20, 2, 0, 5]);
    let refused = encode(&connack(ReasonCode::PacketTooLarge), Version::V4, &mut BytesMut::new());
    assert!(matches!(refused, Err(EncodeError::NotInV4 { .. })));
}

#[test]
fn what_no_receiver_may_get_is_refused_and_nothing_is_written() {
    let with_id = PublishRef { packet_id: Some(id(1)), ..PublishRef::new("a", b"") };
    let publishes = [
        PublishRef::new("", b""),
        PublishRef::new("a/+", b""),
        PublishRef::new("a\0", b""),
        with_id,
        PublishRef { qos: QoS::AtLeastOnce, ..PublishRef::new("a", b"") },
        PublishRef { dup: true, ..PublishRef::new("a", b"") },
        PublishRef { topic_alias: Some(id(1)), ..PublishRef::new("#", b"") },
    ];
    let mut out = BytesMut::new();
    for publish in publishes {
        assert!(encode_publish(&publish, Version::V5, &mut out).is_err(), "{publish:?}");
    }
    let negative = Ack { packet_id: id(1), reason: ReasonCode::QuotaExceeded, properties: None };
    let packets = [
        (Version::V4, Packet::PubAck(negative.clone())),
        (Version::V5, Packet::PubRel(negative)),
        (Version::V4, Packet::Auth(Auth { reason: ReasonCode::Success, properties: None })),
        (Version::V5, Packet::Auth(Auth { reason: ReasonCode::ContinueAuthentication, properties: None })),
        (Version::V4, Packet::Disconnect(Disconnect { reason: ReasonCode::ServerBusy, properties: None })),
        (
            Version::V5,
            Packet::Subscribe(Subscribe { packet_id: id(1), subscriptions: Vec::new(), properties: None }),
        ),
        (
            Version::V5,
            Packet::Publish(Publish {
                dup: false,
                qos: QoS::AtMostOnce,
                retain: false,
                topic: Bytes::from_static(b"\xFF"),
                packet_id: None,
                properties: None,
                payload: Bytes::new(),
            }),
        ),
    ];
    for (version, packet) in packets {
        assert!(encode(&packet, version, &mut out).is_err(), "{packet:?}");
    }
    assert!(out.is_empty());
}

#[test]
fn fields_and_packets_above_the_limits_of_the_protocol_are_refused() {
    let long = "a".repeat(65_536);
    let mut out = BytesMut::new();
    let properties = PublishProperties { content_type: Some(long), ..PublishProperties::default() };
    let publish = PublishRef { properties: Some(&properties), ..PublishRef::new("a", b"") };
    assert_eq!(encode_publish(&publish, Version::V5, &mut out), Err(EncodeError::FieldTooLong(65_536)));
    let payload = vec![0; MAX_REMAINING_LENGTH];
    let publish = PublishRef::new("a", &payload);
    let expected = Err(EncodeError::TooLarge(MAX_REMAINING_LENGTH + 3));
    assert_eq!(encode_publish(&publish, Version::V4, &mut out), expected);
    assert!(out.is_empty());
}
