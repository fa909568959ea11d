//! SUBSCRIBE and UNSUBSCRIBE: which filters a client may use, what it is granted, and the retained messages that it gets.

use std::num::NonZeroU32;
use std::sync::Arc;

use drover_model::topic::{PREFIX, device_space};
use drover_mqtt_codec::topic::{TopicFilter, is_within};
use drover_mqtt_codec::{QoS, ReasonCode, RetainHandling, SubAck, Subscribe, UnsubAck, Unsubscribe, Version};
use drover_proto::sessions::v1::{self, change::Change};

use crate::answers::{Answer, Outcome};
use crate::connect::topic_levels;
use crate::connection::Connection;
use crate::error::End;
use crate::journal::subscription_to;
use crate::message::{Delivery, Message};
use crate::route::deliver_to;
use crate::router::Options;
use crate::seat::Seat;
use crate::session::{Owner, Subscription};

/// The device's own topics as a filter.
pub(crate) const OWN_TOPICS: &str = "v1/#";

/// A subscription that is granted.
struct Granted {
    subscription: Subscription,
    sends_retained: bool,
}

/// Answers each filter by itself (MQTT 5, 3.9.3). SUBACK waits until the subscriptions of a session that outlives its connection are
/// durable.
pub(crate) fn subscribe(connection: &mut Connection, packet: &Subscribe) -> Result<(), End> {
    let id = packet.properties.as_ref().and_then(|properties| properties.subscription_id);
    let is_v4 = connection.version() == Version::V4;
    let seat = &connection.seat;
    let (gateway, session) = (&seat.gateway, &seat.session);
    let mut reasons = Vec::with_capacity(packet.subscriptions.len());
    let mut granted = Vec::new();
    for asked in &packet.subscriptions {
        let reason = match grant(seat, asked, id) {
            Ok(grant) => {
                let qos = grant.subscription.options.qos;
                granted.push(grant);
                granted_reason(qos)
            }
            Err(reason) => {
                gateway.metrics.subscription_refused(reason);
                // 3.1.1 knows one failure only (3.1.1, 3.9.3).
                if is_v4 { ReasonCode::UnspecifiedError } else { reason }
            }
        };
        reasons.push(reason);
    }
    let retained = granted.iter().filter(|grant| grant.sends_retained);
    let retained: Vec<_> = retained.flat_map(|grant| retained_for(seat, &grant.subscription)).collect();
    for delivery in retained {
        deliver_to(gateway, &seat.space, session, delivery)
            .map_err(|_| End::refused(ReasonCode::ServerBusy, "the log takes nothing at the moment"))?;
    }
    // Behind the retained messages in its shard, so that SUBACK waits for them too.
    let ticket = if session.is_durable() && !granted.is_empty() {
        let subscriptions = granted.iter().map(|grant| subscription_to(&grant.subscription)).collect();
        Some(seat.note(Change::Subscribed(v1::Subscribed { session: session.number, subscriptions }))?)
    } else {
        None
    };
    let answer = SubAck { packet_id: packet.packet_id, reasons, properties: None };
    connection.answers.push(Answer::SubAck(Box::new(answer)), Outcome::durable(ticket), 0);
    Ok(())
}

pub(crate) fn unsubscribe(connection: &mut Connection, packet: &Unsubscribe) -> Result<(), End> {
    let seat = &connection.seat;
    let session = &seat.session;
    let mut gone = Vec::new();
    let mut reasons = Vec::with_capacity(packet.filters.len());
    for filter in &packet.filters {
        let mut state = session.state.lock();
        let position = state.subscriptions.iter().position(|known| *known.filter == **filter);
        reasons.push(if TopicFilter::parse(filter).is_err() {
            ReasonCode::TopicFilterInvalid
        } else if let Some(position) = position {
            gone.push(state.subscriptions.swap_remove(position).filter.into());
            ReasonCode::Success
        } else {
            ReasonCode::NoSubscriptionExisted
        });
    }
    seat.space.unsubscribe(session.number, gone.iter().map(String::as_str));
    let ticket = if session.is_durable() && !gone.is_empty() {
        let unsubscribed = v1::Unsubscribed { session: session.number, filters: gone };
        Some(seat.note(Change::Unsubscribed(unsubscribed))?)
    } else {
        None
    };
    let answer = UnsubAck { packet_id: packet.packet_id, reasons, properties: None };
    connection.answers.push(Answer::UnsubAck(Box::new(answer)), Outcome::durable(ticket), 0);
    Ok(())
}

/// Puts one subscription in place, if the client may have it.
fn grant(
    seat: &Seat,
    asked: &drover_mqtt_codec::Subscription,
    id: Option<NonZeroU32>,
) -> Result<Granted, ReasonCode> {
    let config = &seat.gateway.config;
    if asked.filter.len() > config.max_filter_bytes || topic_levels(&asked.filter) > config.max_topic_levels {
        return Err(ReasonCode::TopicFilterInvalid);
    }
    let filter = TopicFilter::parse(&asked.filter).map_err(|_| ReasonCode::TopicFilterInvalid)?;
    let is_own = check_policy(seat, &filter)?;
    let options = Options {
        qos: asked.qos,
        no_local: asked.no_local,
        retain_as_published: asked.retain_as_published,
        id,
    };
    let subscription = Subscription { filter: asked.filter.as_str().into(), options, is_own };
    let is_new = {
        let mut state = seat.session.state.lock();
        let count = state.subscriptions.len();
        let known = state.subscriptions.iter_mut().find(|known| *known.filter == *asked.filter);
        match known {
            Some(known) => {
                known.options = options;
                false
            }
            None if count >= config.max_subscriptions => return Err(ReasonCode::QuotaExceeded),
            None => {
                state.subscriptions.push(subscription.clone());
                true
            }
        }
    };
    seat.space.subscribe(&seat.session, &subscription);
    // MQTT 5, 3.8.4 and 4.8.2: none for a shared subscription.
    let sends_retained = filter.group().is_none()
        && !is_own
        && match asked.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => is_new,
            RetainHandling::DontSend => false,
        };
    Ok(Granted { subscription, sends_retained })
}

/// Whether the filter is one of the device's own topics; an error when the client may not use it.
fn check_policy(seat: &Seat, filter: &TopicFilter) -> Result<bool, ReasonCode> {
    let text = filter.filter();
    match &seat.session.key.owner {
        Owner::Device(_) if text.starts_with(PREFIX) && is_within(text, OWN_TOPICS) => match filter.group() {
            None => Ok(true),
            // A device's own topics have one reader.
            Some(_) => Err(ReasonCode::SharedSubscriptionsNotSupported),
        },
        Owner::Device(device) if is_within(text, &device_space(device.as_str())) => Ok(false),
        Owner::Device(_) => Err(ReasonCode::NotAuthorized),
        // Nothing is ever published there, so it would wait for ever.
        Owner::Application(_) if text.starts_with(PREFIX) => Err(ReasonCode::NotAuthorized),
        Owner::Application(_) if seat.attachment.client.scopes_cover(text) => Ok(false),
        Owner::Application(_) => Err(ReasonCode::NotAuthorized),
        Owner::Anonymous => {
            let gateway = &seat.gateway;
            let is_denied = gateway.config.anonymous.deny.iter().any(|denied| is_within(text, denied));
            if is_denied { Err(gateway.deny_code) } else { Ok(false) }
        }
    }
}

/// The retained messages for a new subscription, as they are delivered.
fn retained_for(seat: &Seat, subscription: &Subscription) -> Vec<Delivery> {
    let mut found: Vec<Arc<Message>> = Vec::new();
    seat.space.retained.lock().messages.matching(&subscription.filter, &mut found);
    let Options { qos, id, .. } = subscription.options;
    let deliveries = found.into_iter().map(|message| Delivery {
        qos: qos.min(message.qos),
        retain: true,
        subscription_ids: id.map(|id| [id].into()),
        message,
    });
    let now_ms = seat.gateway.clock.now().as_millis();
    deliveries.filter(|delivery| delivery.message.expiry_left(|| now_ms).is_ok()).collect()
}

const fn granted_reason(qos: QoS) -> ReasonCode {
    match qos {
        QoS::AtMostOnce => ReasonCode::Success,
        QoS::AtLeastOnce => ReasonCode::GrantedQos1,
        QoS::ExactlyOnce => ReasonCode::GrantedQos2,
    }
}
