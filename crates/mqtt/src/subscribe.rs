//! SUBSCRIBE and UNSUBSCRIBE: which filters a client may use, and what it is granted.

use std::num::NonZeroU32;

use bytes::BytesMut;
use drover_model::topic::{PREFIX, device_space};
use drover_mqtt_codec::topic::{TopicFilter, is_within};
use drover_mqtt_codec::{
    Packet, QoS, ReasonCode, SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe, Version,
};

use crate::connect::topic_levels;
use crate::connection::Connection;
use crate::error::End;
use crate::router::Subscriber;
use crate::session::Client;

/// The device's own topics as a filter.
const OWN_TOPICS: &str = "v1/#";

/// Answers each filter by itself (MQTT 5, 3.9.3).
pub(crate) fn subscribe(
    connection: &mut Connection,
    packet: &Subscribe,
    output: &mut BytesMut,
) -> Result<(), End> {
    let id = packet.properties.as_ref().and_then(|properties| properties.subscription_id);
    let reasons = packet.subscriptions.iter().map(|subscription| {
        let reason = grant(connection, subscription, id);
        if reason.is_error() {
            connection.gateway.metrics.subscription_refused(reason);
        }
        // 3.1.1 knows one failure only (3.1.1, 3.9.3).
        let v4 = connection.version() == Version::V4;
        if v4 && reason.is_error() { ReasonCode::UnspecifiedError } else { reason }
    });
    let reasons = reasons.collect();
    connection
        .outbound
        .answer(&Packet::SubAck(SubAck { packet_id: packet.packet_id, reasons, properties: None }), output)
}

pub(crate) fn unsubscribe(
    connection: &mut Connection,
    packet: &Unsubscribe,
    output: &mut BytesMut,
) -> Result<(), End> {
    let reasons = packet.filters.iter().map(|filter| {
        if TopicFilter::parse(filter).is_err() {
            ReasonCode::TopicFilterInvalid
        } else if connection.registration.unsubscribe(filter) {
            ReasonCode::Success
        } else {
            ReasonCode::NoSubscriptionExisted
        }
    });
    let reasons = reasons.collect();
    connection.outbound.answer(
        &Packet::UnsubAck(UnsubAck { packet_id: packet.packet_id, reasons, properties: None }),
        output,
    )
}

fn grant(connection: &mut Connection, asked: &Subscription, id: Option<NonZeroU32>) -> ReasonCode {
    let config = &connection.gateway.config;
    if asked.filter.len() > config.max_filter_bytes || topic_levels(&asked.filter) > config.max_topic_levels {
        return ReasonCode::TopicFilterInvalid;
    }
    let Ok(filter) = TopicFilter::parse(&asked.filter) else { return ReasonCode::TopicFilterInvalid };
    if filter.group().is_some() {
        return ReasonCode::SharedSubscriptionsNotSupported;
    }
    if connection.registration.count_with(filter.filter()) > config.max_subscriptions {
        return ReasonCode::QuotaExceeded;
    }
    let qos = asked.qos.min(QoS::AtLeastOnce);
    let session = connection.registration.session.clone();
    match &session.client {
        Client::Device(identity) => {
            if is_within(filter.filter(), OWN_TOPICS) && filter.filter().starts_with(PREFIX) {
                connection.registration.subscribe_own(filter.filter(), qos, id);
                return granted(qos);
            }
            if !is_within(filter.filter(), &device_space(identity.device.as_str())) {
                return ReasonCode::NotAuthorized;
            }
        }
        Client::Anonymous(_) => {
            let denied = |denied: &String| is_within(filter.filter(), denied);
            if config.anonymous.deny.iter().any(denied) {
                return connection.gateway.deny_code;
            }
        }
    }
    let subscriber = Subscriber { session, qos, no_local: asked.no_local, id };
    connection.registration.subscribe(filter.filter(), subscriber);
    granted(qos)
}

const fn granted(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce | QoS::ExactlyOnce => ReasonCode::GrantedQos1,
    }
}
