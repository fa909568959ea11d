//! Strategies for valid packets of each version: what `encode` accepts and `decode` gives back unchanged.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

use crate::packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketType, Publish, QoS, RetainHandling, Secret,
    SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe, Version, Will,
};
use crate::properties::{
    AckProperties, AuthProperties, ConnAckProperties, ConnectProperties, DisconnectProperties,
    PublishProperties, SubscribeProperties, UnsubscribeProperties, UserProperties, WillProperties,
};
use crate::reason::ReasonCode;

pub(crate) fn text() -> impl Strategy<Value = String> {
    vec(any::<char>().prop_filter("no U+0000", |character| *character != '\0'), 0..6)
        .prop_map(|characters| characters.into_iter().collect())
}

fn topic() -> impl Strategy<Value = String> {
    text().prop_map(|text| format!("t/{}", text.replace(['+', '#'], "/")))
}

fn binary() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..12).prop_map(Bytes::from)
}

/// Long enough for every length of the remaining length up to three bytes.
fn payload() -> impl Strategy<Value = Bytes> {
    prop_oneof![
        8 => vec(any::<u8>(), 0..40).prop_map(Bytes::from),
        1 => (100usize..200).prop_map(|length| Bytes::from(vec![0x80; length])),
        1 => (16_350usize..16_400).prop_map(|length| Bytes::from(vec![7; length])),
    ]
}

fn pairs() -> impl Strategy<Value = UserProperties> {
    vec((text(), text()), 0..3)
}

fn qos() -> impl Strategy<Value = QoS> {
    select(vec![QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn packet_id() -> impl Strategy<Value = NonZeroU16> {
    any::<NonZeroU16>()
}

fn subscription_id() -> impl Strategy<Value = NonZeroU32> {
    (1u32..=268_435_455).prop_map(|id| NonZeroU32::new(id).expect("the range starts at 1"))
}

fn reason(packet: PacketType) -> impl Strategy<Value = ReasonCode> {
    let allowed = ReasonCode::ALL.into_iter().map(|(code, _)| code);
    select(allowed.filter(|code| code.is_allowed_in(packet)).collect::<Vec<_>>())
}

/// Properties only in MQTT 5; empty ones are the same as none.
fn properties<P: Clone + Default + PartialEq + std::fmt::Debug + 'static>(
    version: Version,
    strategy: impl Strategy<Value = P> + 'static,
) -> BoxedStrategy<Option<Box<P>>> {
    match version {
        Version::V4 => Just(None).boxed(),
        Version::V5 => option::of(strategy)
            .prop_map(|properties| properties.filter(|properties| *properties != P::default()).map(Box::new))
            .boxed(),
    }
}

fn authentication() -> impl Strategy<Value = (Option<String>, Option<Secret>)> {
    (option::of(text()), option::of(binary().prop_map(Secret)))
        .prop_map(|(method, data)| if method.is_some() { (method, data) } else { (None, None) })
}

fn connect_properties() -> impl Strategy<Value = ConnectProperties> {
    let limits = (any::<Option<u32>>(), any::<Option<NonZeroU16>>(), any::<Option<NonZeroU32>>());
    let wishes = (any::<Option<u16>>(), any::<Option<bool>>(), any::<Option<bool>>());
    (limits, wishes, pairs(), authentication()).prop_map(
        |(limits, wishes, user_properties, authentication)| ConnectProperties {
            session_expiry_s: limits.0,
            receive_maximum: limits.1,
            maximum_packet_bytes: limits.2,
            topic_alias_maximum: wishes.0,
            request_response_information: wishes.1,
            request_problem_information: wishes.2,
            user_properties,
            authentication_method: authentication.0,
            authentication_data: authentication.1,
        },
    )
}

fn will_properties() -> impl Strategy<Value = WillProperties> {
    let numbers = (any::<Option<u32>>(), any::<Option<bool>>(), any::<Option<u32>>());
    (numbers, option::of(text()), option::of(topic()), option::of(binary()), pairs()).prop_map(
        |(numbers, content_type, response_topic, correlation_data, user_properties)| WillProperties {
            will_delay_s: numbers.0,
            payload_is_utf8: numbers.1,
            message_expiry_s: numbers.2,
            content_type,
            response_topic,
            correlation_data,
            user_properties,
        },
    )
}

fn will(version: Version) -> impl Strategy<Value = Will> {
    (qos(), any::<bool>(), topic(), binary(), properties(version, will_properties())).prop_map(
        |(qos, retain, topic, payload, properties)| Will { qos, retain, topic, payload, properties },
    )
}

pub(crate) fn connect(version: Version) -> impl Strategy<Value = Packet> {
    let login = (option::of(text()), option::of(binary().prop_map(Secret)));
    let properties = properties(version, connect_properties());
    (any::<bool>(), any::<u16>(), text(), option::of(will(version)), login, properties).prop_map(
        move |(clean_start, keep_alive_s, client_id, will, (username, password), properties)| {
            let password = password.filter(|_| version == Version::V5 || username.is_some());
            Packet::Connect(Box::new(Connect {
                version,
                clean_start,
                keep_alive_s,
                client_id,
                will: will.map(Box::new),
                username,
                password,
                properties,
            }))
        },
    )
}

fn connack_properties() -> impl Strategy<Value = ConnAckProperties> {
    let limits = (any::<Option<u32>>(), any::<Option<NonZeroU16>>(), any::<Option<bool>>());
    let sizes = (any::<Option<NonZeroU32>>(), any::<Option<u16>>(), any::<Option<u16>>());
    let available = any::<[Option<bool>; 4]>();
    let texts = (option::of(text()), option::of(text()), option::of(text()), option::of(text()));
    (limits, sizes, available, texts, pairs(), authentication()).prop_map(
        |(limits, sizes, available, texts, user_properties, authentication)| ConnAckProperties {
            session_expiry_s: limits.0,
            receive_maximum: limits.1,
            maximum_qos: limits.2.map(|one| if one { QoS::AtLeastOnce } else { QoS::AtMostOnce }),
            retain_available: available[0],
            maximum_packet_bytes: sizes.0,
            assigned_client_id: texts.0,
            topic_alias_maximum: sizes.1,
            reason_string: texts.1,
            user_properties,
            wildcard_subscription_available: available[1],
            subscription_identifier_available: available[2],
            shared_subscription_available: available[3],
            server_keep_alive_s: sizes.2,
            response_information: texts.2,
            server_reference: texts.3,
            authentication_method: authentication.0,
            authentication_data: authentication.1,
        },
    )
}

fn connack(version: Version) -> impl Strategy<Value = Packet> {
    let reason = match version {
        Version::V4 => select((0..6).filter_map(ReasonCode::from_connack_v4).collect::<Vec<_>>()).boxed(),
        Version::V5 => reason(PacketType::ConnAck).boxed(),
    };
    (any::<bool>(), reason, properties(version, connack_properties())).prop_map(
        |(session_present, reason, properties)| {
            let session_present = session_present && !reason.is_error();
            Packet::ConnAck(ConnAck { session_present, reason, properties })
        },
    )
}

fn publish_properties() -> impl Strategy<Value = PublishProperties> {
    let numbers = (any::<Option<bool>>(), any::<Option<u32>>(), any::<Option<NonZeroU16>>());
    let texts = (option::of(topic()), option::of(binary()), option::of(text()));
    (numbers, texts, pairs(), vec(subscription_id(), 0..3)).prop_map(
        |(numbers, texts, user_properties, subscription_ids)| PublishProperties {
            payload_is_utf8: numbers.0,
            message_expiry_s: numbers.1,
            topic_alias: numbers.2,
            response_topic: texts.0,
            correlation_data: texts.1,
            user_properties,
            subscription_ids,
            content_type: texts.2,
        },
    )
}

pub(crate) fn publish(version: Version) -> impl Strategy<Value = Packet> {
    let properties = properties(version, publish_properties());
    (any::<[bool; 3]>(), qos(), topic(), packet_id(), properties, payload()).prop_map(
        |([dup, retain, empty], qos, topic, packet_id, properties, payload)| {
            let has_alias = properties.as_ref().is_some_and(|properties| properties.topic_alias.is_some());
            Packet::Publish(Publish {
                dup: dup && qos != QoS::AtMostOnce,
                qos,
                retain,
                topic: if empty && has_alias { Bytes::new() } else { Bytes::from(topic) },
                packet_id: (qos != QoS::AtMostOnce).then_some(packet_id),
                properties,
                payload,
            })
        },
    )
}

fn ack_properties() -> impl Strategy<Value = AckProperties> {
    (option::of(text()), pairs())
        .prop_map(|(reason_string, user_properties)| AckProperties { reason_string, user_properties })
}

fn ack(version: Version, packet: PacketType) -> impl Strategy<Value = Ack> {
    (packet_id(), reason(packet), properties(version, ack_properties())).prop_map(
        move |(packet_id, reason, properties)| match version {
            Version::V4 => Ack::success(packet_id),
            Version::V5 => Ack { packet_id, reason, properties },
        },
    )
}

fn subscription(version: Version) -> impl Strategy<Value = Subscription> {
    let handling = select(vec![RetainHandling::Send, RetainHandling::SendIfNew, RetainHandling::DontSend]);
    (text(), qos(), any::<bool>(), any::<bool>(), handling).prop_map(
        move |(filter, qos, no_local, retain_as_published, retain_handling)| match version {
            Version::V4 => Subscription {
                filter,
                qos,
                no_local: false,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
            },
            Version::V5 => Subscription { filter, qos, no_local, retain_as_published, retain_handling },
        },
    )
}

fn subscribe(version: Version) -> impl Strategy<Value = Packet> {
    let subscribe_properties =
        (option::of(subscription_id()), pairs()).prop_map(|(subscription_id, user_properties)| {
            SubscribeProperties { subscription_id, user_properties }
        });
    (packet_id(), vec(subscription(version), 1..4), properties(version, subscribe_properties)).prop_map(
        |(packet_id, subscriptions, properties)| {
            Packet::Subscribe(Subscribe { packet_id, subscriptions, properties })
        },
    )
}

fn suback(version: Version) -> impl Strategy<Value = Packet> {
    let reason = match version {
        Version::V4 => select(vec![
            ReasonCode::Success,
            ReasonCode::GrantedQos1,
            ReasonCode::GrantedQos2,
            ReasonCode::UnspecifiedError,
        ])
        .boxed(),
        Version::V5 => reason(PacketType::SubAck).boxed(),
    };
    (packet_id(), vec(reason, 1..4), properties(version, ack_properties())).prop_map(
        |(packet_id, reasons, properties)| Packet::SubAck(SubAck { packet_id, reasons, properties }),
    )
}

fn unsubscribe(version: Version) -> impl Strategy<Value = Packet> {
    let unsubscribe_properties =
        pairs().prop_map(|user_properties| UnsubscribeProperties { user_properties });
    (packet_id(), vec(text(), 1..4), properties(version, unsubscribe_properties)).prop_map(
        |(packet_id, filters, properties)| {
            Packet::Unsubscribe(Unsubscribe { packet_id, filters, properties })
        },
    )
}

fn unsuback(version: Version) -> impl Strategy<Value = Packet> {
    let reasons = match version {
        Version::V4 => Just(Vec::new()).boxed(),
        Version::V5 => vec(reason(PacketType::UnsubAck), 1..4).boxed(),
    };
    (packet_id(), reasons, properties(version, ack_properties())).prop_map(
        |(packet_id, reasons, properties)| Packet::UnsubAck(UnsubAck { packet_id, reasons, properties }),
    )
}

fn disconnect(version: Version) -> impl Strategy<Value = Packet> {
    let disconnect_properties = (any::<Option<u32>>(), option::of(text()), pairs(), option::of(text()))
        .prop_map(|(session_expiry_s, reason_string, user_properties, server_reference)| {
            DisconnectProperties { session_expiry_s, reason_string, user_properties, server_reference }
        });
    (reason(PacketType::Disconnect), properties(version, disconnect_properties)).prop_map(
        move |(reason, properties)| match version {
            Version::V4 => Packet::Disconnect(Disconnect { reason: ReasonCode::Success, properties: None }),
            Version::V5 => Packet::Disconnect(Disconnect { reason, properties }),
        },
    )
}

fn auth() -> impl Strategy<Value = Packet> {
    let said = (reason(PacketType::Auth), text(), option::of(binary()), option::of(text()), pairs())
        .prop_map(|(reason, method, data, reason_string, user_properties)| Auth {
            reason,
            properties: Some(Box::new(AuthProperties {
                authentication_method: Some(method),
                authentication_data: data.map(Secret),
                reason_string,
                user_properties,
            })),
        });
    prop_oneof![Just(Auth { reason: ReasonCode::Success, properties: None }), said].prop_map(Packet::Auth)
}

/// Any valid packet of this version.
pub(crate) fn packet(version: Version) -> BoxedStrategy<Packet> {
    let common = prop_oneof![
        connect(version),
        connack(version),
        publish(version),
        ack(version, PacketType::PubAck).prop_map(Packet::PubAck),
        ack(version, PacketType::PubRec).prop_map(Packet::PubRec),
        ack(version, PacketType::PubRel).prop_map(Packet::PubRel),
        ack(version, PacketType::PubComp).prop_map(Packet::PubComp),
        prop_oneof![subscribe(version), suback(version)],
        prop_oneof![unsubscribe(version), unsuback(version)],
        prop_oneof![Just(Packet::PingReq), Just(Packet::PingResp), disconnect(version)],
    ];
    match version {
        Version::V4 => common.boxed(),
        Version::V5 => prop_oneof![10 => common, 1 => auth()].boxed(),
    }
}

/// A version with a valid packet of it.
pub(crate) fn versioned_packet() -> impl Strategy<Value = (Version, Packet)> {
    select(vec![Version::V4, Version::V5])
        .prop_flat_map(|version| packet(version).prop_map(move |packet| (version, packet)))
}
