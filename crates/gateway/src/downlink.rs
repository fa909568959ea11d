//! Messages from the platform down to devices, for the gateway that has the device's session.

use bytes::Bytes;
use drover_backbone::{Live, Subscription};
use drover_model::{DeviceId, Party, TenantId};

use crate::subject::tenant_and_party;

/// A message to a device on one of its own topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownlinkMessage {
    /// The device's tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// The topic, for instance `v1/errors`.
    pub topic: String,
    /// The content.
    pub payload: Bytes,
}

/// All messages to devices, whoever sends them.
pub struct Downlink(Subscription);

impl Downlink {
    /// Starts to listen.
    pub fn new(live: &Live) -> Self {
        Self(live.subscribe("downlink.>", None))
    }

    /// The next well-formed message; `None` when the process stops. Dropping the future loses none.
    pub async fn next(&mut self) -> Option<DownlinkMessage> {
        loop {
            let message = self.0.next().await?;
            if let Some(message) = parse(&message.subject, &message.payload) {
                return Some(message);
            }
            tracing::error!("a downlink message is not well formed");
        }
    }
}

/// The payload is the topic, a zero byte, and the content.
fn parse(subject: &str, payload: &Bytes) -> Option<DownlinkMessage> {
    let (tenant, Party::Device(device)) = tenant_and_party(subject)? else { return None };
    let end = payload.iter().position(|&byte| byte == 0)?;
    let topic = std::str::from_utf8(payload.get(..end)?).ok()?.to_owned();
    Some(DownlinkMessage { tenant, device, topic, payload: payload.slice(end + 1..) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topic_and_content_are_split_at_the_first_zero() {
        let message = parse("downlink.acme.pump", &Bytes::from_static(b"v1/errors\0{\0}")).unwrap();
        assert_eq!((message.topic.as_str(), &message.payload[..]), ("v1/errors", &b"{\0}"[..]));
        assert!(parse("downlink.acme.pump", &Bytes::from_static(b"v1/errors")).is_none());
    }
}
