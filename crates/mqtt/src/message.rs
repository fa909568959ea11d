//! A message on its way from a publisher to subscribers: kept once, shared by all of them.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use drover_mqtt_codec::{PublishProperties, QoS};

/// Ticks of the gateway's clock in a second; it is as coarse as keep-alives and timeouts allow.
pub(crate) const TICKS_PER_SECOND: u32 = 2;

/// What is published.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Message {
    /// Names it in the journal and the database, among the messages of all tenants; 0 until it is on its way.
    pub(crate) number: u64,
    pub(crate) topic: Box<str>,
    pub(crate) payload: Bytes,
    /// What is forwarded as it came (MQTT 5, 3.3.2.3).
    pub(crate) properties: Option<Box<PublishProperties>>,
    /// Of the publisher; a subscription has its own maximum.
    pub(crate) qos: QoS,
    /// Whether the publisher wants it kept for later subscribers.
    pub(crate) retain: bool,
    /// When it came, in milliseconds since 1970.
    pub(crate) received_ms: i64,
}

impl Message {
    /// A message of the server itself.
    pub(crate) fn new(topic: &str, payload: &[u8], qos: QoS) -> Self {
        Self {
            number: 0,
            topic: topic.into(),
            payload: Bytes::copy_from_slice(payload),
            properties: None,
            qos,
            retain: false,
            received_ms: 0,
        }
    }

    /// What it adds to a queue, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.as_deref().map_or(0, properties_size)
    }

    /// Seconds after which it is worth nothing.
    pub(crate) fn expiry_s(&self) -> Option<u32> {
        self.properties.as_ref().and_then(|properties| properties.message_expiry_s)
    }

    /// The seconds that are left of its expiry: `None` when it has none, `Err` when they are over (MQTT 5, 3.3.2.3.3). The time of
    /// day is asked for only when it matters.
    pub(crate) fn expiry_left(&self, now_ms: impl FnOnce() -> i64) -> Result<Option<u32>, Expired> {
        let Some(expiry) = self.expiry_s() else { return Ok(None) };
        let waited_ms = now_ms().saturating_sub(self.received_ms).max(0);
        let left_ms = i64::from(expiry) * 1_000 - waited_ms;
        if left_ms <= 0 && waited_ms > 0 {
            return Err(Expired);
        }
        // Rounded up: a part of a second is still some time.
        Ok(Some(u32::try_from((left_ms + 999) / 1_000).unwrap_or(expiry)))
    }
}

/// Those of any length.
fn properties_size(properties: &PublishProperties) -> usize {
    let texts = [&properties.response_topic, &properties.content_type].into_iter().flatten().map(String::len);
    let user = properties.user_properties.iter().map(|(name, value)| name.len() + value.len());
    texts.chain(user).sum::<usize>() + properties.correlation_data.as_ref().map_or(0, Bytes::len)
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
    /// The flag that the client sees: it is a retained message, or the subscription wants the flag as it was published (MQTT 5, 3.3.1.3).
    pub(crate) retain: bool,
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
            received_ms: 5_000,
            ..Message::new("a", b"", QoS::AtMostOnce)
        };
        assert_eq!(message.expiry_left(|| 5_000), Ok(Some(10)));
        assert_eq!(message.expiry_left(|| 9_000), Ok(Some(6)));
        assert_eq!(message.expiry_left(|| 14_999), Ok(Some(1)));
        assert_eq!(message.expiry_left(|| 15_000), Err(Expired));
        assert_eq!(message.expiry_left(|| 0), Ok(Some(10)), "the clock was set back");
        let lasting = Message::new("a", b"", QoS::AtMostOnce);
        assert_eq!(lasting.expiry_left(|| i64::MAX), Ok(None));
    }
}
