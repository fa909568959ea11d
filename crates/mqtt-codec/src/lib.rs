//! MQTT 3.1.1 and 5.0 packets to bytes and back, and topic names and filters. No I/O, no clock, no session state.
//! Whether a well-formed packet is allowed now (client id, quotas, topic aliases, policy) is the gateway's to say.

#![cfg_attr(not(test), deny(clippy::indexing_slicing))]

mod decode;
mod encode;
mod error;
mod packet;
mod properties;
mod read;
mod reason;
pub mod topic;
mod write;

#[cfg(test)]
mod arbitrary;

pub use decode::{decode, needed};
pub use encode::{
    PublishRef, encode, encode_pingresp, encode_puback, encode_publish, encoded_len, publish_encoded_len,
};
pub use error::{DecodeError, EncodeError};
pub use packet::{
    Ack, Auth, ConnAck, Connect, Disconnect, Packet, PacketType, Publish, QoS, RetainHandling, Secret,
    SubAck, Subscribe, Subscription, UnsubAck, Unsubscribe, Version, Will,
};
pub use properties::{
    AckProperties, AuthProperties, ConnAckProperties, ConnectProperties, DisconnectProperties, Property,
    PublishProperties, SubscribeProperties, UnsubscribeProperties, UserProperties, WillProperties,
};
pub use reason::ReasonCode;

/// The largest remaining length that a fixed header can say, in bytes (MQTT 5, 1.5.5).
pub const MAX_REMAINING_LENGTH: usize = 268_435_455;
