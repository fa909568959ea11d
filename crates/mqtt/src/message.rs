//! A message on its way from a publisher to subscribers: kept once, shared by all of them.

use std::num::NonZeroU32;
use std::sync::Arc;

use drover_mqtt_codec::{PublishProperties, QoS};

/// Ticks of the gateway's clock in a second; it is as coarse as keep-alives and timeouts allow.
pub(crate) const TICKS_PER_SECOND: u32 = 2;

/// What is published.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) topic: Box<str>,
    pub(crate) payload: Box<[u8]>,
    /// What is forwarded as it came (MQTT 5, 3.3.2.3).
    pub(crate) properties: Option<Box<PublishProperties>>,
    /// Of the publisher; a subscription has its own maximum.
    pub(crate) qos: QoS,
    /// When it came, in ticks.
    pub(crate) received: u32,
}

impl Message {
    /// A message of the server itself.
    pub(crate) fn new(topic: &str, payload: &[u8], qos: QoS, now: u32) -> Self {
        Self { topic: topic.into(), payload: payload.into(), properties: None, qos, received: now }
    }

    /// What it adds to a queue, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.topic.len() + self.payload.len()
    }

    /// The seconds that are left of its expiry: `None` when it has none, `Err` when they are over (MQTT 5, 3.3.2.3.3).
    pub(crate) fn expiry_left(&self, now: u32) -> Result<Option<u32>, Expired> {
        let Some(expiry) = self.properties.as_ref().and_then(|properties| properties.message_expiry_s) else {
            return Ok(None);
        };
        let waited = now.saturating_sub(self.received) / TICKS_PER_SECOND;
        match expiry.checked_sub(waited) {
            Some(left) if left > 0 || waited == 0 => Ok(Some(left)),
            _ => Err(Expired),
        }
    }
}

/// The message has outlived its expiry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Expired;

/// A message for one client.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) message: Arc<Message>,
    /// The lower of the message's and the subscription's.
    pub(crate) qos: QoS,
    /// Of every matching subscription that has one (MQTT 5, 3.3.4).
    pub(crate) subscription_ids: Option<Box<[NonZeroU32]>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_counts_down_while_a_message_waits() {
        let properties = PublishProperties { message_expiry_s: Some(10), ..PublishProperties::default() };
        let message = Message {
            properties: Some(Box::new(properties)),
            ..Message::new("a", b"", QoS::AtMostOnce, 100)
        };
        assert_eq!(message.expiry_left(100), Ok(Some(10)));
        assert_eq!(message.expiry_left(100 + 4 * TICKS_PER_SECOND), Ok(Some(6)));
        assert_eq!(message.expiry_left(100 + 10 * TICKS_PER_SECOND), Err(Expired));
        assert_eq!(Message::new("a", b"", QoS::AtMostOnce, 0).expiry_left(u32::MAX), Ok(None));
    }
}
