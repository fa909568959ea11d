//! The fifteen control packets as values, the same for MQTT 3.1.1 and 5.0. What 3.1.1 lacks is absent (`None`)
//! or has its mapping written at the field. Properties live in `properties`.

use std::fmt;
use std::num::NonZeroU16;
use std::ops::Deref;

use bytes::Bytes;

use crate::properties::{
    AckProperties, AuthProperties, ConnAckProperties, ConnectProperties, DisconnectProperties,
    PublishProperties, SubscribeProperties, UnsubscribeProperties, WillProperties,
};
use crate::reason::ReasonCode;

/// The protocol version that a CONNECT chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1.1, protocol level 4.
    V4,
    /// MQTT 5.0, protocol level 5.
    V5,
}

impl Version {
    /// The protocol level byte of CONNECT (MQTT 5, 3.1.2.2).
    pub const fn level(self) -> u8 {
        match self {
            Self::V4 => 4,
            Self::V5 => 5,
        }
    }
}

/// Quality of service of a message or a subscription (MQTT 5, 4.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    #[default]
    AtMostOnce = 0,
    AtLeastOnce = 1,
    ExactlyOnce = 2,
}

impl QoS {
    /// The two bits that name it on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// `None` for 3 and above.
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// The kind of a control packet: the upper four bits of its first byte (MQTT 5, 2.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum PacketType {
    Connect = 1,
    ConnAck = 2,
    Publish = 3,
    PubAck = 4,
    PubRec = 5,
    PubRel = 6,
    PubComp = 7,
    Subscribe = 8,
    SubAck = 9,
    Unsubscribe = 10,
    UnsubAck = 11,
    PingReq = 12,
    PingResp = 13,
    Disconnect = 14,
    Auth = 15,
}

impl PacketType {
    pub(crate) const fn from_u8(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Connect,
            2 => Self::ConnAck,
            3 => Self::Publish,
            4 => Self::PubAck,
            5 => Self::PubRec,
            6 => Self::PubRel,
            7 => Self::PubComp,
            8 => Self::Subscribe,
            9 => Self::SubAck,
            10 => Self::Unsubscribe,
            11 => Self::UnsubAck,
            12 => Self::PingReq,
            13 => Self::PingResp,
            14 => Self::Disconnect,
            15 => Self::Auth,
            _ => return None,
        })
    }

    /// The lower four bits of the first byte that every packet of this kind has, except PUBLISH (MQTT 5, 2.1.3).
    pub(crate) const fn fixed_flags(self) -> u8 {
        match self {
            Self::PubRel | Self::Subscribe | Self::Unsubscribe => 0b0010,
            _ => 0,
        }
    }

    /// The name as the standards write it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::ConnAck => "CONNACK",
            Self::Publish => "PUBLISH",
            Self::PubAck => "PUBACK",
            Self::PubRec => "PUBREC",
            Self::PubRel => "PUBREL",
            Self::PubComp => "PUBCOMP",
            Self::Subscribe => "SUBSCRIBE",
            Self::SubAck => "SUBACK",
            Self::Unsubscribe => "UNSUBSCRIBE",
            Self::UnsubAck => "UNSUBACK",
            Self::PingReq => "PINGREQ",
            Self::PingResp => "PINGRESP",
            Self::Disconnect => "DISCONNECT",
            Self::Auth => "AUTH",
        }
    }
}

impl fmt::Display for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One MQTT control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    Connect(Box<Connect>),
    ConnAck(ConnAck),
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    Subscribe(Subscribe),
    SubAck(SubAck),
    Unsubscribe(Unsubscribe),
    UnsubAck(UnsubAck),
    PingReq,
    PingResp,
    Disconnect(Disconnect),
    Auth(Auth),
}

impl Packet {
    /// The kind of this packet.
    pub const fn packet_type(&self) -> PacketType {
        match self {
            Self::Connect(_) => PacketType::Connect,
            Self::ConnAck(_) => PacketType::ConnAck,
            Self::Publish(_) => PacketType::Publish,
            Self::PubAck(_) => PacketType::PubAck,
            Self::PubRec(_) => PacketType::PubRec,
            Self::PubRel(_) => PacketType::PubRel,
            Self::PubComp(_) => PacketType::PubComp,
            Self::Subscribe(_) => PacketType::Subscribe,
            Self::SubAck(_) => PacketType::SubAck,
            Self::Unsubscribe(_) => PacketType::Unsubscribe,
            Self::UnsubAck(_) => PacketType::UnsubAck,
            Self::PingReq => PacketType::PingReq,
            Self::PingResp => PacketType::PingResp,
            Self::Disconnect(_) => PacketType::Disconnect,
            Self::Auth(_) => PacketType::Auth,
        }
    }
}

/// Bytes that authenticate someone; `Debug` doesn't show them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(pub Bytes);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Deref for Secret {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// CONNECT (MQTT 5, 3.1). It owns its strings, since a connection keeps them for its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    pub version: Version,
    /// Clean Session in 3.1.1.
    pub clean_start: bool,
    /// Seconds; 0 turns the keep-alive off.
    pub keep_alive_s: u16,
    /// May be empty; whether that is acceptable is for the receiver to say.
    pub client_id: String,
    pub will: Option<Box<Will>>,
    pub username: Option<String>,
    pub password: Option<Secret>,
    pub properties: Option<Box<ConnectProperties>>,
}

/// The message that the server publishes when the connection ends without DISCONNECT (MQTT 5, 3.1.2.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub qos: QoS,
    pub retain: bool,
    pub topic: String,
    pub payload: Bytes,
    pub properties: Option<Box<WillProperties>>,
}

/// CONNACK (MQTT 5, 3.2). The 3.1.1 return codes 0 to 5 are 0x00, 0x84, 0x85, 0x88, 0x86 and 0x87.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnAck {
    pub session_present: bool,
    pub reason: ReasonCode,
    pub properties: Option<Box<ConnAckProperties>>,
}

/// PUBLISH (MQTT 5, 3.3). Topic and payload share the memory of the buffer that they were decoded from: copy what
/// is kept for long, or the whole buffer stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    pub dup: bool,
    pub qos: QoS,
    pub retain: bool,
    /// A valid topic name in UTF-8; empty only in MQTT 5 with a topic alias.
    pub topic: Bytes,
    /// Present exactly when `qos` is not 0.
    pub packet_id: Option<NonZeroU16>,
    pub properties: Option<Box<PublishProperties>>,
    pub payload: Bytes,
}

impl Publish {
    /// The topic; empty too when `topic` was set by hand to bytes that aren't UTF-8.
    pub fn topic_str(&self) -> &str {
        str::from_utf8(&self.topic).unwrap_or_default()
    }
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5, 3.4 to 3.7). 3.1.1 knows only `Success`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    pub packet_id: NonZeroU16,
    pub reason: ReasonCode,
    pub properties: Option<Box<AckProperties>>,
}

impl Ack {
    /// An acknowledgement that says nothing but success.
    pub const fn success(packet_id: NonZeroU16) -> Self {
        Self { packet_id, reason: ReasonCode::Success, properties: None }
    }
}

/// SUBSCRIBE (MQTT 5, 3.8), with at least one subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscribe {
    pub packet_id: NonZeroU16,
    pub subscriptions: Vec<Subscription>,
    pub properties: Option<Box<SubscribeProperties>>,
}

/// One topic filter of a SUBSCRIBE with its options (MQTT 5, 3.8.3.1). In 3.1.1 only the QoS exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// As it came: `topic::TopicFilter::parse` says whether it is valid, so that SUBACK can answer each filter.
    pub filter: String,
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub retain_handling: RetainHandling,
}

/// When retained messages are sent for a new subscription (MQTT 5, 3.8.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    #[default]
    Send = 0,
    SendIfNew = 1,
    DontSend = 2,
}

/// SUBACK (MQTT 5, 3.9): one reason for each subscription, in order. The 3.1.1 code 0x80 is `UnspecifiedError`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubAck {
    pub packet_id: NonZeroU16,
    pub reasons: Vec<ReasonCode>,
    pub properties: Option<Box<AckProperties>>,
}

/// UNSUBSCRIBE (MQTT 5, 3.10), with at least one filter. As in SUBSCRIBE the filters are not checked here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsubscribe {
    pub packet_id: NonZeroU16,
    pub filters: Vec<String>,
    pub properties: Option<Box<UnsubscribeProperties>>,
}

/// UNSUBACK (MQTT 5, 3.11): one reason for each filter; none in 3.1.1, where they are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnsubAck {
    pub packet_id: NonZeroU16,
    pub reasons: Vec<ReasonCode>,
    pub properties: Option<Box<AckProperties>>,
}

/// DISCONNECT (MQTT 5, 3.14). 3.1.1 knows only `Success`, and only from the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    pub reason: ReasonCode,
    pub properties: Option<Box<DisconnectProperties>>,
}

/// AUTH (MQTT 5, 3.15). Not in 3.1.1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    pub reason: ReasonCode,
    pub properties: Option<Box<AuthProperties>>,
}
