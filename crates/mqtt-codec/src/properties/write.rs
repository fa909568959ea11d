//! Writing properties, in the order of the sections of the standard.

use std::num::{NonZeroU16, NonZeroU32};

use super::{
    AckProperties, AuthProperties, ConnAckProperties, ConnectProperties, DisconnectProperties, Property,
    SubscribeProperties, UnsubscribeProperties, UserProperties, WillProperties,
};
use crate::encode::PublishRef;
use crate::error::EncodeError;
use crate::packet::{QoS, Secret};
use crate::topic::TopicName;
use crate::write::{Count, Sink, put_binary, put_text, put_u8, put_u16, put_u32, put_variable_byte_integer};

/// The properties of one kind of packet.
pub(crate) trait WriteProperties {
    /// Writes the properties without their length.
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError>;
}

/// Writes the property length and the properties.
pub(crate) fn put_properties<P: WriteProperties>(
    sink: &mut impl Sink,
    properties: Option<&P>,
) -> Result<(), EncodeError> {
    let Some(properties) = properties else {
        put_u8(sink, 0);
        return Ok(());
    };
    let mut count = Count::default();
    properties.write(&mut count)?;
    put_variable_byte_integer(sink, count.0)?;
    properties.write(sink)
}

/// Writes the property length and the properties of a PUBLISH.
pub(crate) fn put_publish_properties(
    sink: &mut impl Sink,
    publish: &PublishRef<'_>,
) -> Result<(), EncodeError> {
    put_properties(sink, publish.has_properties().then_some(publish))
}

fn put_bool(sink: &mut impl Sink, property: Property, value: Option<bool>) {
    if let Some(value) = value {
        sink.put(&[property.as_u8(), u8::from(value)]);
    }
}

fn put_short(sink: &mut impl Sink, property: Property, value: Option<u16>) {
    if let Some(value) = value {
        put_u8(sink, property.as_u8());
        put_u16(sink, value);
    }
}

fn put_long(sink: &mut impl Sink, property: Property, value: Option<u32>) {
    if let Some(value) = value {
        put_u8(sink, property.as_u8());
        put_u32(sink, value);
    }
}

fn put_string(sink: &mut impl Sink, property: Property, value: Option<&str>) -> Result<(), EncodeError> {
    let Some(value) = value else { return Ok(()) };
    put_u8(sink, property.as_u8());
    put_text(sink, value)
}

fn put_response_topic(sink: &mut impl Sink, value: Option<&str>) -> Result<(), EncodeError> {
    if let Some(topic) = value {
        TopicName::parse(topic)?;
    }
    put_string(sink, Property::ResponseTopic, value)
}

fn put_bytes(sink: &mut impl Sink, property: Property, value: Option<&[u8]>) -> Result<(), EncodeError> {
    let Some(value) = value else { return Ok(()) };
    put_u8(sink, property.as_u8());
    put_binary(sink, value)
}

fn put_pairs(sink: &mut impl Sink, pairs: &UserProperties) -> Result<(), EncodeError> {
    for (name, value) in pairs {
        put_u8(sink, Property::UserProperty.as_u8());
        put_text(sink, name)?;
        put_text(sink, value)?;
    }
    Ok(())
}

fn put_subscription_id(sink: &mut impl Sink, id: NonZeroU32) -> Result<(), EncodeError> {
    put_u8(sink, Property::SubscriptionIdentifier.as_u8());
    let id = usize::try_from(id.get()).unwrap_or(usize::MAX);
    if id > crate::MAX_REMAINING_LENGTH {
        return Err(EncodeError::Inconsistent("a subscription identifier is above 268,435,455"));
    }
    put_variable_byte_integer(sink, id)
}

fn put_authentication(
    sink: &mut impl Sink,
    method: Option<&str>,
    data: Option<&Secret>,
) -> Result<(), EncodeError> {
    if data.is_some() && method.is_none() {
        return Err(EncodeError::Inconsistent("authentication data needs an authentication method"));
    }
    put_string(sink, Property::AuthenticationMethod, method)?;
    put_bytes(sink, Property::AuthenticationData, data.map(|data| &**data))
}

impl WriteProperties for ConnectProperties {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        put_long(sink, Property::SessionExpiryInterval, self.session_expiry_s);
        put_short(sink, Property::ReceiveMaximum, self.receive_maximum.map(NonZeroU16::get));
        put_long(sink, Property::MaximumPacketSize, self.maximum_packet_bytes.map(NonZeroU32::get));
        put_short(sink, Property::TopicAliasMaximum, self.topic_alias_maximum);
        put_bool(sink, Property::RequestResponseInformation, self.request_response_information);
        put_bool(sink, Property::RequestProblemInformation, self.request_problem_information);
        put_pairs(sink, &self.user_properties)?;
        put_authentication(sink, self.authentication_method.as_deref(), self.authentication_data.as_ref())
    }
}

impl WriteProperties for WillProperties {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        put_long(sink, Property::WillDelayInterval, self.will_delay_s);
        put_bool(sink, Property::PayloadFormatIndicator, self.payload_is_utf8);
        put_long(sink, Property::MessageExpiryInterval, self.message_expiry_s);
        put_string(sink, Property::ContentType, self.content_type.as_deref())?;
        put_response_topic(sink, self.response_topic.as_deref())?;
        put_bytes(sink, Property::CorrelationData, self.correlation_data.as_deref())?;
        put_pairs(sink, &self.user_properties)
    }
}

impl WriteProperties for ConnAckProperties {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        if self.maximum_qos == Some(QoS::ExactlyOnce) {
            return Err(EncodeError::Inconsistent("maximum QoS 2 is said by leaving it out"));
        }
        put_long(sink, Property::SessionExpiryInterval, self.session_expiry_s);
        put_short(sink, Property::ReceiveMaximum, self.receive_maximum.map(NonZeroU16::get));
        if let Some(qos) = self.maximum_qos {
            sink.put(&[Property::MaximumQos.as_u8(), qos.as_u8()]);
        }
        put_bool(sink, Property::RetainAvailable, self.retain_available);
        put_long(sink, Property::MaximumPacketSize, self.maximum_packet_bytes.map(NonZeroU32::get));
        put_string(sink, Property::AssignedClientIdentifier, self.assigned_client_id.as_deref())?;
        put_short(sink, Property::TopicAliasMaximum, self.topic_alias_maximum);
        put_string(sink, Property::ReasonString, self.reason_string.as_deref())?;
        put_pairs(sink, &self.user_properties)?;
        put_bool(sink, Property::WildcardSubscriptionAvailable, self.wildcard_subscription_available);
        put_bool(sink, Property::SubscriptionIdentifierAvailable, self.subscription_identifier_available);
        put_bool(sink, Property::SharedSubscriptionAvailable, self.shared_subscription_available);
        put_short(sink, Property::ServerKeepAlive, self.server_keep_alive_s);
        put_string(sink, Property::ResponseInformation, self.response_information.as_deref())?;
        put_string(sink, Property::ServerReference, self.server_reference.as_deref())?;
        put_authentication(sink, self.authentication_method.as_deref(), self.authentication_data.as_ref())
    }
}

impl WriteProperties for PublishRef<'_> {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        put_long(sink, Property::MessageExpiryInterval, self.message_expiry_s);
        put_short(sink, Property::TopicAlias, self.topic_alias.map(NonZeroU16::get));
        for &id in self.subscription_ids {
            put_subscription_id(sink, id)?;
        }
        let Some(properties) = self.properties else { return Ok(()) };
        put_bool(sink, Property::PayloadFormatIndicator, properties.payload_is_utf8);
        put_response_topic(sink, properties.response_topic.as_deref())?;
        put_bytes(sink, Property::CorrelationData, properties.correlation_data.as_deref())?;
        put_pairs(sink, &properties.user_properties)?;
        put_string(sink, Property::ContentType, properties.content_type.as_deref())
    }
}

impl WriteProperties for AckProperties {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        put_string(sink, Property::ReasonString, self.reason_string.as_deref())?;
        put_pairs(sink, &self.user_properties)
    }
}

impl WriteProperties for SubscribeProperties {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        if let Some(id) = self.subscription_id {
            put_subscription_id(sink, id)?;
        }
        put_pairs(sink, &self.user_properties)
    }
}

impl WriteProperties for UnsubscribeProperties {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        put_pairs(sink, &self.user_properties)
    }
}

impl WriteProperties for DisconnectProperties {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        put_long(sink, Property::SessionExpiryInterval, self.session_expiry_s);
        put_string(sink, Property::ReasonString, self.reason_string.as_deref())?;
        put_pairs(sink, &self.user_properties)?;
        put_string(sink, Property::ServerReference, self.server_reference.as_deref())
    }
}

impl WriteProperties for AuthProperties {
    fn write(&self, sink: &mut impl Sink) -> Result<(), EncodeError> {
        put_authentication(sink, self.authentication_method.as_deref(), self.authentication_data.as_ref())?;
        put_string(sink, Property::ReasonString, self.reason_string.as_deref())?;
        put_pairs(sink, &self.user_properties)
    }
}
