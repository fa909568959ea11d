//! Between what is in memory and what stands in the journal.

use std::num::NonZeroU32;
use std::sync::Arc;

use drover_mqtt_codec::{PublishProperties, QoS};
use drover_proto::sessions::v1;

use crate::message::{Delivery, Message};
use crate::outbox::Suspect;
use crate::router::Options;
use crate::session::Subscription;
use crate::will::Will;

pub(crate) fn message_to(message: &Message) -> v1::Message {
    let properties = message.properties.as_deref();
    v1::Message {
        number: message.number,
        topic: message.topic.as_ref().to_owned(),
        payload: message.payload.clone(),
        qos: message.qos.as_u8().into(),
        received_ms: message.received_ms,
        expiry_s: properties.and_then(|properties| properties.message_expiry_s),
        payload_is_utf8: properties.and_then(|properties| properties.payload_is_utf8),
        content_type: properties.and_then(|properties| properties.content_type.clone()),
        response_topic: properties.and_then(|properties| properties.response_topic.clone()),
        correlation_data: properties.and_then(|properties| properties.correlation_data.clone()),
        user_properties: properties
            .map(|properties| properties.user_properties.iter().map(user_property).collect())
            .unwrap_or_default(),
    }
}

fn user_property((name, value): &(String, String)) -> v1::UserProperty {
    v1::UserProperty { name: name.clone(), value: value.clone() }
}

/// `retain`: the publisher wanted it kept.
pub(crate) fn message_from(message: v1::Message, retain: bool) -> Message {
    let properties = PublishProperties {
        message_expiry_s: message.expiry_s,
        payload_is_utf8: message.payload_is_utf8,
        content_type: message.content_type,
        response_topic: message.response_topic,
        correlation_data: message.correlation_data,
        user_properties: message.user_properties.into_iter().map(|pair| (pair.name, pair.value)).collect(),
        ..PublishProperties::default()
    };
    Message {
        number: message.number,
        topic: message.topic.into(),
        payload: message.payload,
        properties: (properties != PublishProperties::default()).then(|| Box::new(properties)),
        qos: qos(message.qos),
        retain,
        received_ms: message.received_ms,
    }
}

pub(crate) fn target_to(session: u64, sequence: u64, delivery: &Delivery) -> v1::Target {
    v1::Target {
        session,
        sequence,
        qos: delivery.qos.as_u8().into(),
        retain: delivery.retain,
        subscription_ids: delivery.subscription_ids.iter().flatten().map(|id| id.get()).collect(),
    }
}

/// A message's place in a queue.
pub(crate) fn delivery_from(target: &v1::Target, message: Arc<Message>) -> Delivery {
    let ids: Box<[_]> = target.subscription_ids.iter().filter_map(|id| NonZeroU32::new(*id)).collect();
    Delivery {
        message,
        qos: qos(target.qos),
        retain: target.retain,
        subscription_ids: (!ids.is_empty()).then_some(ids),
    }
}

/// Three and above can't be there.
pub(crate) fn qos(value: u32) -> QoS {
    u8::try_from(value).ok().and_then(QoS::from_u8).unwrap_or_default()
}

pub(crate) fn subscription_to(subscription: &Subscription) -> v1::Subscription {
    let Options { qos, no_local, retain_as_published, id } = subscription.options;
    v1::Subscription {
        filter: subscription.filter.as_ref().to_owned(),
        qos: qos.as_u8().into(),
        no_local,
        retain_as_published,
        id: id.map_or(0, NonZeroU32::get),
    }
}

/// `is_own` follows from the filter and the owner.
pub(crate) fn subscription_from(subscription: v1::Subscription, is_own: bool) -> Subscription {
    let options = Options {
        qos: qos(subscription.qos),
        no_local: subscription.no_local,
        retain_as_published: subscription.retain_as_published,
        id: NonZeroU32::new(subscription.id),
    };
    Subscription { filter: subscription.filter.into(), options, is_own }
}

pub(crate) fn will_to(will: &Will) -> v1::Will {
    v1::Will { message: Some(message_to(&will.message)), retain: will.message.retain, delay_s: will.delay_s }
}

pub(crate) fn will_from(will: v1::Will) -> Option<Box<Will>> {
    let message = message_from(will.message?, will.retain);
    Some(Box::new(Will { message, delay_s: will.delay_s }))
}

pub(crate) fn suspect_to(suspect: Suspect) -> v1::Suspect {
    v1::Suspect { window: suspect.window.into(), through: suspect.through, after: suspect.after }
}

pub(crate) fn suspect_from(suspect: v1::Suspect) -> Suspect {
    let v1::Suspect { window, through, after } = suspect;
    Suspect { window: u16::try_from(window).unwrap_or(u16::MAX), through, after }
}
