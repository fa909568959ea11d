//! Publishing on behalf of devices.

use bytes::Bytes;
use drover_proto::stream::v1 as proto;

use crate::{Client, Error};

/// Messages of one call.
const MAX_PUBLICATIONS: usize = 1_000;
/// Bytes of their payloads: the server takes 4 MiB with everything around them.
const MAX_BYTES: usize = 3 << 20;

pub use proto::{Publication as Message, Refusal, RefusalReason};

/// One message of a device.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    device: String,
    channel: proto::PublicationChannel,
    content_type: String,
    payload: Bytes,
}

impl Publication {
    /// Telemetry as JSON: `{"key": value, …}`, `{"ts": ms, "values": {…}}` or an array of either.
    pub fn json(device: impl Into<String>, values: &serde_json::Value) -> Self {
        Self::telemetry(device, "application/json", values.to_string())
    }

    /// Telemetry in any form that devices may use.
    pub fn telemetry(
        device: impl Into<String>,
        content_type: impl Into<String>,
        payload: impl Into<Bytes>,
    ) -> Self {
        Self {
            device: device.into(),
            channel: proto::PublicationChannel::Telemetry,
            content_type: content_type.into(),
            payload: payload.into(),
        }
    }

    /// An event: a JSON object.
    pub fn event(device: impl Into<String>, event: &serde_json::Value) -> Self {
        Self { channel: proto::PublicationChannel::Event, ..Self::json(device, event) }
    }

    fn bytes(&self) -> usize {
        self.payload.len() + self.device.len() + self.content_type.len()
    }
}

/// What became of messages.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Published {
    /// How many were taken; they are on the server's disk.
    pub accepted: usize,
    /// Those that were not; `index` counts from the first that was given.
    pub refusals: Vec<Refusal>,
}

impl Client {
    /// Sends messages and waits until they are on the server's disk. More than one call takes are sent in several, one after the other.
    ///
    /// # Errors
    /// [`Error::Refused`] when a call fails; then it is not known which of its messages were taken, and all may be sent again: the same
    /// point twice is one. A message that is refused by itself is no error.
    pub async fn publish(
        &self,
        publications: impl IntoIterator<Item = Publication>,
    ) -> Result<Published, Error> {
        let mut published = Published::default();
        let mut rest = publications.into_iter().peekable();
        let mut sent: u32 = 0;
        while rest.peek().is_some() {
            let (mut batch, mut bytes) = (Vec::new(), 0);
            while let Some(next) = rest.next_if(|next| {
                batch.is_empty() || (batch.len() < MAX_PUBLICATIONS && bytes + next.bytes() <= MAX_BYTES)
            }) {
                bytes += next.bytes();
                batch.push(next.into());
            }
            let first = sent;
            sent = sent.saturating_add(u32::try_from(batch.len()).unwrap_or(u32::MAX));
            let request = proto::PublishRequest { publications: batch };
            let answer = self.publisher().publish(request).await?.into_inner();
            published.accepted = published.accepted.saturating_add(answer.accepted as usize);
            let moved = |refusal: Refusal| Refusal { index: refusal.index.saturating_add(first), ..refusal };
            published.refusals.extend(answer.refusals.into_iter().map(moved));
        }
        Ok(published)
    }
}

impl From<Publication> for Message {
    fn from(publication: Publication) -> Self {
        let Publication { device, channel, content_type, payload } = publication;
        Self { device, channel: channel.into(), content_type, payload }
    }
}
