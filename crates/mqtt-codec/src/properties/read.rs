//! Reading properties: each once, only where it is allowed, and with a value in its range.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use super::{
    AckProperties, AuthProperties, ConnAckProperties, ConnectProperties, DisconnectProperties, Property,
    PublishProperties, SubscribeProperties, UnsubscribeProperties, WillProperties,
};
use crate::error::DecodeError;
use crate::packet::{QoS, Secret};
use crate::read::Reader;
use crate::topic::TopicName;

/// The properties of one kind of packet.
pub(crate) trait ReadProperties: Default {
    /// Reads the value of one property into its field.
    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError>;

    /// What must hold between the properties.
    fn check(&self, _reader: &Reader<'_>) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// Reads the property length and the properties; `None` when there are none.
pub(crate) fn read_properties<P: ReadProperties>(
    reader: &mut Reader<'_>,
) -> Result<Option<Box<P>>, DecodeError> {
    let length = reader.variable_byte_integer()?;
    if length == 0 {
        return Ok(None);
    }
    let length = usize::try_from(length).map_err(|_| DecodeError::Truncated(reader.packet))?;
    let mut section = reader.section(length)?;
    let mut properties = Box::<P>::default();
    while !section.is_empty() {
        let id = section.variable_byte_integer()?;
        let property = Property::ALL
            .into_iter()
            .find(|property| u32::from(property.as_u8()) == id)
            .ok_or(DecodeError::UnknownProperty { packet: section.packet, id })?;
        properties.read_one(property, &mut section)?;
    }
    properties.check(&section)?;
    Ok(Some(properties))
}

/// What a reader does for a property's value.
impl Reader<'_> {
    fn bad_value(&self, property: Property) -> DecodeError {
        DecodeError::PropertyValue { packet: self.packet, property }
    }

    fn not_allowed(&self, property: Property) -> DecodeError {
        DecodeError::PropertyNotAllowed { packet: self.packet, property }
    }

    fn once<T>(&self, slot: &mut Option<T>, property: Property, value: T) -> Result<(), DecodeError> {
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(DecodeError::DuplicateProperty { packet: self.packet, property }),
        }
    }

    fn read_bool(&mut self, slot: &mut Option<bool>, property: Property) -> Result<(), DecodeError> {
        let value = match self.u8()? {
            0 => false,
            1 => true,
            _ => return Err(self.bad_value(property)),
        };
        self.once(slot, property, value)
    }

    fn read_u16(&mut self, slot: &mut Option<u16>, property: Property) -> Result<(), DecodeError> {
        let value = self.u16()?;
        self.once(slot, property, value)
    }

    fn read_nonzero_u16(
        &mut self,
        slot: &mut Option<NonZeroU16>,
        property: Property,
    ) -> Result<(), DecodeError> {
        let value = NonZeroU16::new(self.u16()?).ok_or_else(|| self.bad_value(property))?;
        self.once(slot, property, value)
    }

    fn read_u32(&mut self, slot: &mut Option<u32>, property: Property) -> Result<(), DecodeError> {
        let value = self.u32()?;
        self.once(slot, property, value)
    }

    fn read_nonzero_u32(
        &mut self,
        slot: &mut Option<NonZeroU32>,
        property: Property,
    ) -> Result<(), DecodeError> {
        let value = NonZeroU32::new(self.u32()?).ok_or_else(|| self.bad_value(property))?;
        self.once(slot, property, value)
    }

    fn read_string(&mut self, slot: &mut Option<String>, property: Property) -> Result<(), DecodeError> {
        let value = self.string()?;
        self.once(slot, property, value)
    }

    fn read_response_topic(
        &mut self,
        slot: &mut Option<String>,
        property: Property,
    ) -> Result<(), DecodeError> {
        let topic = self.text()?;
        TopicName::parse(topic).map_err(|error| DecodeError::TopicName { packet: self.packet, error })?;
        self.once(slot, property, topic.to_owned())
    }

    fn read_bytes(&mut self, slot: &mut Option<Bytes>, property: Property) -> Result<(), DecodeError> {
        let value = Bytes::copy_from_slice(self.binary()?);
        self.once(slot, property, value)
    }

    fn read_secret(&mut self, slot: &mut Option<Secret>, property: Property) -> Result<(), DecodeError> {
        let value = Secret(Bytes::copy_from_slice(self.binary()?));
        self.once(slot, property, value)
    }

    fn read_subscription_id(&mut self) -> Result<NonZeroU32, DecodeError> {
        let id = self.variable_byte_integer()?;
        NonZeroU32::new(id).ok_or_else(|| self.bad_value(Property::SubscriptionIdentifier))
    }

    fn read_pair(&mut self, pairs: &mut Vec<(String, String)>) -> Result<(), DecodeError> {
        pairs.push((self.string()?, self.string()?));
        Ok(())
    }

    fn check_authentication(
        &self,
        method: Option<&String>,
        data: Option<&Secret>,
    ) -> Result<(), DecodeError> {
        if data.is_some() && method.is_none() {
            return Err(DecodeError::AuthenticationMethodMissing(self.packet));
        }
        Ok(())
    }
}

impl ReadProperties for ConnectProperties {
    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::SessionExpiryInterval => reader.read_u32(&mut self.session_expiry_s, property),
            Property::ReceiveMaximum => reader.read_nonzero_u16(&mut self.receive_maximum, property),
            Property::MaximumPacketSize => reader.read_nonzero_u32(&mut self.maximum_packet_bytes, property),
            Property::TopicAliasMaximum => reader.read_u16(&mut self.topic_alias_maximum, property),
            Property::RequestResponseInformation => {
                reader.read_bool(&mut self.request_response_information, property)
            }
            Property::RequestProblemInformation => {
                reader.read_bool(&mut self.request_problem_information, property)
            }
            Property::UserProperty => reader.read_pair(&mut self.user_properties),
            Property::AuthenticationMethod => reader.read_string(&mut self.authentication_method, property),
            Property::AuthenticationData => reader.read_secret(&mut self.authentication_data, property),
            _ => Err(reader.not_allowed(property)),
        }
    }

    fn check(&self, reader: &Reader<'_>) -> Result<(), DecodeError> {
        reader.check_authentication(self.authentication_method.as_ref(), self.authentication_data.as_ref())
    }
}

impl ReadProperties for WillProperties {
    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::WillDelayInterval => reader.read_u32(&mut self.will_delay_s, property),
            Property::PayloadFormatIndicator => reader.read_bool(&mut self.payload_is_utf8, property),
            Property::MessageExpiryInterval => reader.read_u32(&mut self.message_expiry_s, property),
            Property::ContentType => reader.read_string(&mut self.content_type, property),
            Property::ResponseTopic => reader.read_response_topic(&mut self.response_topic, property),
            Property::CorrelationData => reader.read_bytes(&mut self.correlation_data, property),
            Property::UserProperty => reader.read_pair(&mut self.user_properties),
            _ => Err(reader.not_allowed(property)),
        }
    }
}

impl ReadProperties for ConnAckProperties {
    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::SessionExpiryInterval => reader.read_u32(&mut self.session_expiry_s, property),
            Property::ReceiveMaximum => reader.read_nonzero_u16(&mut self.receive_maximum, property),
            Property::MaximumQos => {
                let value = QoS::from_u8(reader.u8()?)
                    .filter(|qos| *qos < QoS::ExactlyOnce)
                    .ok_or_else(|| reader.bad_value(property))?;
                reader.once(&mut self.maximum_qos, property, value)
            }
            Property::RetainAvailable => reader.read_bool(&mut self.retain_available, property),
            Property::MaximumPacketSize => reader.read_nonzero_u32(&mut self.maximum_packet_bytes, property),
            Property::AssignedClientIdentifier => reader.read_string(&mut self.assigned_client_id, property),
            Property::TopicAliasMaximum => reader.read_u16(&mut self.topic_alias_maximum, property),
            Property::ReasonString => reader.read_string(&mut self.reason_string, property),
            Property::UserProperty => reader.read_pair(&mut self.user_properties),
            Property::WildcardSubscriptionAvailable => {
                reader.read_bool(&mut self.wildcard_subscription_available, property)
            }
            Property::SubscriptionIdentifierAvailable => {
                reader.read_bool(&mut self.subscription_identifier_available, property)
            }
            Property::SharedSubscriptionAvailable => {
                reader.read_bool(&mut self.shared_subscription_available, property)
            }
            Property::ServerKeepAlive => reader.read_u16(&mut self.server_keep_alive_s, property),
            Property::ResponseInformation => reader.read_string(&mut self.response_information, property),
            Property::ServerReference => reader.read_string(&mut self.server_reference, property),
            Property::AuthenticationMethod => reader.read_string(&mut self.authentication_method, property),
            Property::AuthenticationData => reader.read_secret(&mut self.authentication_data, property),
            _ => Err(reader.not_allowed(property)),
        }
    }

    fn check(&self, reader: &Reader<'_>) -> Result<(), DecodeError> {
        reader.check_authentication(self.authentication_method.as_ref(), self.authentication_data.as_ref())
    }
}

impl ReadProperties for PublishProperties {
    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::PayloadFormatIndicator => reader.read_bool(&mut self.payload_is_utf8, property),
            Property::MessageExpiryInterval => reader.read_u32(&mut self.message_expiry_s, property),
            Property::TopicAlias => {
                let alias = NonZeroU16::new(reader.u16()?).ok_or(DecodeError::TopicAliasZero)?;
                reader.once(&mut self.topic_alias, property, alias)
            }
            Property::ResponseTopic => reader.read_response_topic(&mut self.response_topic, property),
            Property::CorrelationData => reader.read_bytes(&mut self.correlation_data, property),
            Property::UserProperty => reader.read_pair(&mut self.user_properties),
            Property::SubscriptionIdentifier => {
                self.subscription_ids.push(reader.read_subscription_id()?);
                Ok(())
            }
            Property::ContentType => reader.read_string(&mut self.content_type, property),
            _ => Err(reader.not_allowed(property)),
        }
    }
}

impl ReadProperties for AckProperties {
    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::ReasonString => reader.read_string(&mut self.reason_string, property),
            Property::UserProperty => reader.read_pair(&mut self.user_properties),
            _ => Err(reader.not_allowed(property)),
        }
    }
}

impl ReadProperties for SubscribeProperties {
    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::SubscriptionIdentifier => {
                let id = reader.read_subscription_id()?;
                reader.once(&mut self.subscription_id, property, id)
            }
            Property::UserProperty => reader.read_pair(&mut self.user_properties),
            _ => Err(reader.not_allowed(property)),
        }
    }
}

impl ReadProperties for UnsubscribeProperties {
    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::UserProperty => reader.read_pair(&mut self.user_properties),
            _ => Err(reader.not_allowed(property)),
        }
    }
}

impl ReadProperties for DisconnectProperties {
    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::SessionExpiryInterval => reader.read_u32(&mut self.session_expiry_s, property),
            Property::ReasonString => reader.read_string(&mut self.reason_string, property),
            Property::UserProperty => reader.read_pair(&mut self.user_properties),
            Property::ServerReference => reader.read_string(&mut self.server_reference, property),
            _ => Err(reader.not_allowed(property)),
        }
    }
}

impl ReadProperties for AuthProperties {
    fn read_one(&mut self, property: Property, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        match property {
            Property::AuthenticationMethod => reader.read_string(&mut self.authentication_method, property),
            Property::AuthenticationData => reader.read_secret(&mut self.authentication_data, property),
            Property::ReasonString => reader.read_string(&mut self.reason_string, property),
            Property::UserProperty => reader.read_pair(&mut self.user_properties),
            _ => Err(reader.not_allowed(property)),
        }
    }
}
