//! The reason codes of MQTT 5 (section 2.4): their numbers, their names and the packets that may carry them.

use std::fmt;

use crate::packet::PacketType;

/// A reason code (MQTT 5, 2.4). 0x80 and above are failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum ReasonCode {
    /// Also "normal disconnection" (DISCONNECT) and "granted QoS 0" (SUBACK).
    Success = 0x00,
    GrantedQos1 = 0x01,
    GrantedQos2 = 0x02,
    DisconnectWithWill = 0x04,
    NoMatchingSubscribers = 0x10,
    NoSubscriptionExisted = 0x11,
    ContinueAuthentication = 0x18,
    ReAuthenticate = 0x19,
    UnspecifiedError = 0x80,
    MalformedPacket = 0x81,
    ProtocolError = 0x82,
    ImplementationSpecificError = 0x83,
    UnsupportedProtocolVersion = 0x84,
    ClientIdentifierNotValid = 0x85,
    BadUserNameOrPassword = 0x86,
    NotAuthorized = 0x87,
    ServerUnavailable = 0x88,
    ServerBusy = 0x89,
    Banned = 0x8A,
    ServerShuttingDown = 0x8B,
    BadAuthenticationMethod = 0x8C,
    KeepAliveTimeout = 0x8D,
    SessionTakenOver = 0x8E,
    TopicFilterInvalid = 0x8F,
    TopicNameInvalid = 0x90,
    PacketIdentifierInUse = 0x91,
    PacketIdentifierNotFound = 0x92,
    ReceiveMaximumExceeded = 0x93,
    TopicAliasInvalid = 0x94,
    PacketTooLarge = 0x95,
    MessageRateTooHigh = 0x96,
    QuotaExceeded = 0x97,
    AdministrativeAction = 0x98,
    PayloadFormatInvalid = 0x99,
    RetainNotSupported = 0x9A,
    QosNotSupported = 0x9B,
    UseAnotherServer = 0x9C,
    ServerMoved = 0x9D,
    SharedSubscriptionsNotSupported = 0x9E,
    ConnectionRateExceeded = 0x9F,
    MaximumConnectTime = 0xA0,
    SubscriptionIdentifiersNotSupported = 0xA1,
    WildcardSubscriptionsNotSupported = 0xA2,
}

impl ReasonCode {
    /// Every code with its name, in order of the numbers.
    pub const ALL: [(Self, &'static str); 43] = [
        (Self::Success, "success"),
        (Self::GrantedQos1, "granted QoS 1"),
        (Self::GrantedQos2, "granted QoS 2"),
        (Self::DisconnectWithWill, "disconnect with will message"),
        (Self::NoMatchingSubscribers, "no matching subscribers"),
        (Self::NoSubscriptionExisted, "no subscription existed"),
        (Self::ContinueAuthentication, "continue authentication"),
        (Self::ReAuthenticate, "re-authenticate"),
        (Self::UnspecifiedError, "unspecified error"),
        (Self::MalformedPacket, "malformed packet"),
        (Self::ProtocolError, "protocol error"),
        (Self::ImplementationSpecificError, "implementation specific error"),
        (Self::UnsupportedProtocolVersion, "unsupported protocol version"),
        (Self::ClientIdentifierNotValid, "client identifier not valid"),
        (Self::BadUserNameOrPassword, "bad user name or password"),
        (Self::NotAuthorized, "not authorized"),
        (Self::ServerUnavailable, "server unavailable"),
        (Self::ServerBusy, "server busy"),
        (Self::Banned, "banned"),
        (Self::ServerShuttingDown, "server shutting down"),
        (Self::BadAuthenticationMethod, "bad authentication method"),
        (Self::KeepAliveTimeout, "keep alive timeout"),
        (Self::SessionTakenOver, "session taken over"),
        (Self::TopicFilterInvalid, "topic filter invalid"),
        (Self::TopicNameInvalid, "topic name invalid"),
        (Self::PacketIdentifierInUse, "packet identifier in use"),
        (Self::PacketIdentifierNotFound, "packet identifier not found"),
        (Self::ReceiveMaximumExceeded, "receive maximum exceeded"),
        (Self::TopicAliasInvalid, "topic alias invalid"),
        (Self::PacketTooLarge, "packet too large"),
        (Self::MessageRateTooHigh, "message rate too high"),
        (Self::QuotaExceeded, "quota exceeded"),
        (Self::AdministrativeAction, "administrative action"),
        (Self::PayloadFormatInvalid, "payload format invalid"),
        (Self::RetainNotSupported, "retain not supported"),
        (Self::QosNotSupported, "QoS not supported"),
        (Self::UseAnotherServer, "use another server"),
        (Self::ServerMoved, "server moved"),
        (Self::SharedSubscriptionsNotSupported, "shared subscriptions not supported"),
        (Self::ConnectionRateExceeded, "connection rate exceeded"),
        (Self::MaximumConnectTime, "maximum connect time"),
        (Self::SubscriptionIdentifiersNotSupported, "subscription identifiers not supported"),
        (Self::WildcardSubscriptionsNotSupported, "wildcard subscriptions not supported"),
    ];

    /// The number on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// `None` for a number that MQTT 5 doesn't define.
    pub fn from_u8(value: u8) -> Option<Self> {
        Self::ALL.iter().find(|(code, _)| code.as_u8() == value).map(|(code, _)| *code)
    }

    /// The name in words.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(code, _)| *code == self).map_or("unnamed", |(_, name)| name)
    }

    /// Whether it reports a failure (0x80 and above).
    pub const fn is_error(self) -> bool {
        self.as_u8() >= 0x80
    }

    /// Whether packets of this kind may carry it (MQTT 5, table 2-6).
    pub const fn is_allowed_in(self, packet: PacketType) -> bool {
        match packet {
            PacketType::ConnAck => self.is_allowed_in_connack(),
            PacketType::PubAck | PacketType::PubRec => self.is_allowed_in_puback(),
            PacketType::PubRel | PacketType::PubComp => {
                matches!(self, Self::Success | Self::PacketIdentifierNotFound)
            }
            PacketType::SubAck => self.is_allowed_in_suback(),
            PacketType::UnsubAck => self.is_allowed_in_unsuback(),
            PacketType::Disconnect => self.is_allowed_in_disconnect(),
            PacketType::Auth => {
                matches!(self, Self::Success | Self::ContinueAuthentication | Self::ReAuthenticate)
            }
            PacketType::Connect
            | PacketType::Publish
            | PacketType::Subscribe
            | PacketType::Unsubscribe
            | PacketType::PingReq
            | PacketType::PingResp => false,
        }
    }

    const fn is_allowed_in_connack(self) -> bool {
        match self {
            Self::Success
            | Self::BadAuthenticationMethod
            | Self::TopicNameInvalid
            | Self::PacketTooLarge
            | Self::QuotaExceeded
            | Self::PayloadFormatInvalid
            | Self::RetainNotSupported
            | Self::QosNotSupported
            | Self::UseAnotherServer
            | Self::ServerMoved
            | Self::ConnectionRateExceeded => true,
            _ => matches!(self.as_u8(), 0x80..=0x8A),
        }
    }

    const fn is_allowed_in_puback(self) -> bool {
        matches!(
            self,
            Self::Success
                | Self::NoMatchingSubscribers
                | Self::UnspecifiedError
                | Self::ImplementationSpecificError
                | Self::NotAuthorized
                | Self::TopicNameInvalid
                | Self::PacketIdentifierInUse
                | Self::QuotaExceeded
                | Self::PayloadFormatInvalid
        )
    }

    const fn is_allowed_in_suback(self) -> bool {
        matches!(
            self,
            Self::Success
                | Self::GrantedQos1
                | Self::GrantedQos2
                | Self::UnspecifiedError
                | Self::ImplementationSpecificError
                | Self::NotAuthorized
                | Self::TopicFilterInvalid
                | Self::PacketIdentifierInUse
                | Self::QuotaExceeded
                | Self::SharedSubscriptionsNotSupported
                | Self::SubscriptionIdentifiersNotSupported
                | Self::WildcardSubscriptionsNotSupported
        )
    }

    const fn is_allowed_in_unsuback(self) -> bool {
        matches!(
            self,
            Self::Success
                | Self::NoSubscriptionExisted
                | Self::UnspecifiedError
                | Self::ImplementationSpecificError
                | Self::NotAuthorized
                | Self::TopicFilterInvalid
                | Self::PacketIdentifierInUse
        )
    }

    const fn is_allowed_in_disconnect(self) -> bool {
        match self {
            Self::Success
            | Self::DisconnectWithWill
            | Self::UnspecifiedError
            | Self::MalformedPacket
            | Self::ProtocolError
            | Self::ImplementationSpecificError
            | Self::NotAuthorized
            | Self::ServerBusy => true,
            Self::PacketIdentifierInUse | Self::PacketIdentifierNotFound => false,
            _ => matches!(self.as_u8(), 0x8B..=0xA2),
        }
    }

    /// The CONNACK return code of 3.1.1 (3.2.2.3). Codes that say the same more precisely take the nearest one;
    /// `None` where 3.1.1 has nothing to say and the server closes without CONNACK.
    pub const fn connack_v4(self) -> Option<u8> {
        match self {
            Self::Success => Some(0),
            Self::UnsupportedProtocolVersion => Some(1),
            Self::ClientIdentifierNotValid => Some(2),
            Self::ServerUnavailable
            | Self::ServerBusy
            | Self::QuotaExceeded
            | Self::ConnectionRateExceeded
            | Self::UseAnotherServer
            | Self::ServerMoved => Some(3),
            Self::BadUserNameOrPassword => Some(4),
            Self::NotAuthorized | Self::Banned => Some(5),
            _ => None,
        }
    }

    pub(crate) const fn from_connack_v4(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Success),
            1 => Some(Self::UnsupportedProtocolVersion),
            2 => Some(Self::ClientIdentifierNotValid),
            3 => Some(Self::ServerUnavailable),
            4 => Some(Self::BadUserNameOrPassword),
            5 => Some(Self::NotAuthorized),
            _ => None,
        }
    }
}

impl fmt::Display for ReasonCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (0x{:02X})", self.name(), self.as_u8())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_number_and_its_name() {
        for (code, name) in ReasonCode::ALL {
            assert_eq!(ReasonCode::from_u8(code.as_u8()), Some(code));
            assert_eq!(code.name(), name);
        }
        assert_eq!((0..=u8::MAX).filter_map(ReasonCode::from_u8).count(), ReasonCode::ALL.len());
        assert_eq!(ReasonCode::PacketTooLarge.to_string(), "packet too large (0x95)");
    }
}
