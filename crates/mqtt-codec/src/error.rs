//! What can be wrong with bytes (`DecodeError`) and with values to send (`EncodeError`). Each decode error knows the
//! reason code that MQTT 5 prescribes for it; 3.1.1 closes the connection for all of them.

use crate::packet::PacketType;
use crate::properties::Property;
use crate::reason::ReasonCode;
use crate::topic::TopicError;

/// Why bytes aren't an acceptable MQTT packet. After one the connection can't go on. The sections are those of MQTT 5
/// unless the text says 3.1.1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("packet type 0 is reserved (2.1.2)")]
    PacketTypeZero,
    #[error("AUTH does not exist in MQTT 3.1.1 (3.1.1, 2.2.1)")]
    AuthInV4,
    #[error("{0} has reserved flags set in its first byte (2.1.3)")]
    FixedHeaderFlags(PacketType),
    #[error("variable byte integer is longer than needed or than four bytes (1.5.5)")]
    VariableByteInteger,
    #[error("{0} ends in the middle of a field (2.1.4)")]
    Truncated(PacketType),
    #[error("{0} has bytes after its last field (2.1.4)")]
    TrailingBytes(PacketType),
    #[error("{0} holds a string that is not well-formed UTF-8 (1.5.4)")]
    Utf8(PacketType),
    #[error("{0} holds a string with the character U+0000 (1.5.4)")]
    NulCharacter(PacketType),
    #[error("{0} has the reserved QoS 3 (4.3)")]
    Qos3(PacketType),
    #[error("CONNECT has its reserved flag set (3.1.2.3)")]
    ConnectReservedFlag,
    #[error("CONNECT has will QoS or will retain without a will (3.1.2.6)")]
    WillFlags,
    #[error("CONNECT has a password without a user name (3.1.1, 3.1.2.9)")]
    PasswordWithoutUsername,
    #[error("CONNACK has reserved acknowledge flags set (3.2.2.1)")]
    ConnAckFlags,
    #[error("SUBSCRIBE has reserved bits set in subscription options (3.8.3.1)")]
    SubscriptionOptions,
    #[error("{packet} has reason code 0x{code:02X}, which it may not carry (2.4)")]
    ReasonCode { packet: PacketType, code: u8 },
    #[error("{packet} has the unknown property 0x{id:02X} (2.2.2.2)")]
    UnknownProperty { packet: PacketType, id: u32 },
    #[error("{packet} may not carry the property {property} (2.2.2.2)")]
    PropertyNotAllowed { packet: PacketType, property: Property },

    #[error("{packet} has the property {property} twice (2.2.2.2)")]
    DuplicateProperty { packet: PacketType, property: Property },
    #[error("{packet} has the property {property} with a value that is not allowed (2.2.2.2)")]
    PropertyValue { packet: PacketType, property: Property },
    #[error("{0} has authentication data without an authentication method (4.12)")]
    AuthenticationMethodMissing(PacketType),
    #[error("{0} has packet identifier 0 (2.2.1)")]
    PacketIdZero(PacketType),
    #[error("PUBLISH with QoS 0 is marked as a duplicate (3.3.1.1)")]
    DupWithQos0,
    #[error("PUBLISH has an empty topic and no topic alias (3.3.2.1)")]
    EmptyTopic,
    #[error("{0} has an empty list (3.8.3, 3.9.3, 3.10.3, 3.11.3)")]
    EmptyList(PacketType),
    #[error("SUBSCRIBE has retain handling 3 (3.8.3.1)")]
    RetainHandling3,
    #[error("SUBSCRIBE has no-local on a shared subscription (3.8.3.1)")]
    NoLocalOnShared,
    #[error("CONNACK refuses the connection and says session present (3.2.2.1.1)")]
    SessionPresentOnRefusal,
    #[error("the first packet is {0}, not CONNECT (3.1.0)")]
    NotConnect(PacketType),
    #[error("CONNECT is sent twice on one connection (3.1.0)")]
    SecondConnect,

    #[error("protocol is MQTT 3.1 (name MQIsdp); 3.1.1 and 5.0 are supported (3.1.2.1)")]
    Mqtt31,
    #[error("protocol name is not MQTT (3.1.2.1)")]
    ProtocolName,
    #[error("protocol level is {0}; 4 (3.1.1) and 5 (5.0) are supported (3.1.2.2)")]
    ProtocolLevel(u8),

    #[error("{packet} has an invalid topic name: {error} (4.7)")]
    TopicName { packet: PacketType, error: TopicError },
    #[error("PUBLISH has topic alias 0 (3.3.2.3.4)")]
    TopicAliasZero,
    #[error("{packet} of {claimed_bytes} bytes is above the maximum of {max_bytes} (3.1.2.11.4)")]
    TooLarge { packet: PacketType, claimed_bytes: usize, max_bytes: u32 },
}

impl DecodeError {
    /// The reason code for CONNACK or DISCONNECT in MQTT 5 (4.13).
    pub const fn reason(&self) -> ReasonCode {
        match self {
            Self::PacketTypeZero
            | Self::AuthInV4
            | Self::FixedHeaderFlags(_)
            | Self::VariableByteInteger
            | Self::Truncated(_)
            | Self::TrailingBytes(_)
            | Self::Utf8(_)
            | Self::NulCharacter(_)
            | Self::Qos3(_)
            | Self::ConnectReservedFlag
            | Self::WillFlags
            | Self::PasswordWithoutUsername
            | Self::ConnAckFlags
            | Self::SubscriptionOptions
            | Self::ReasonCode { .. }
            | Self::UnknownProperty { .. }
            | Self::PropertyNotAllowed { .. } => ReasonCode::MalformedPacket,
            Self::DuplicateProperty { .. }
            | Self::PropertyValue { .. }
            | Self::AuthenticationMethodMissing(_)
            | Self::PacketIdZero(_)
            | Self::DupWithQos0
            | Self::EmptyTopic
            | Self::EmptyList(_)
            | Self::RetainHandling3
            | Self::NoLocalOnShared
            | Self::SessionPresentOnRefusal
            | Self::NotConnect(_)
            | Self::SecondConnect => ReasonCode::ProtocolError,
            Self::Mqtt31 | Self::ProtocolName | Self::ProtocolLevel(_) => {
                ReasonCode::UnsupportedProtocolVersion
            }
            Self::TopicName { .. } => ReasonCode::TopicNameInvalid,
            Self::TopicAliasZero => ReasonCode::TopicAliasInvalid,
            Self::TooLarge { .. } => ReasonCode::PacketTooLarge,
        }
    }
}

/// Why a value can't be sent as an MQTT packet. Nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("packet body of {0} bytes is above 268,435,455 (1.5.5)")]
    TooLarge(usize),
    #[error("string or binary field of {0} bytes is above 65,535 (1.5.4)")]
    FieldTooLong(usize),
    #[error("string has the character U+0000 (1.5.4)")]
    NulCharacter,
    #[error("invalid topic name: {0} (4.7)")]
    TopicName(#[from] TopicError),
    #[error("{packet} may not carry the reason {reason}")]
    Reason { packet: PacketType, reason: ReasonCode },
    #[error("MQTT 3.1.1 has no {packet} with the reason {reason}")]
    NotInV4 { packet: PacketType, reason: ReasonCode },
    #[error("packet contradicts itself: {0}")]
    Inconsistent(&'static str),
}
