//! Tells live listeners what came in, and devices what was refused. Nothing here is durable.

use drover_backbone::{Live, token};
use drover_model::{Flags, Timestamp, topic};
use drover_proto::RecordView;
use serde_json::{Map, Value, json};

use crate::batch::Timed;

/// Publishes to `Live`, and formats only when somebody listens.
#[derive(Clone)]
pub(crate) struct Notify {
    live: Live,
}

impl Notify {
    pub(crate) fn new(live: Live) -> Self {
        Self { live }
    }

    /// A record's points, one message for each time in it.
    pub(crate) fn telemetry<'p>(&self, record: &RecordView<'_>, points: impl Iterator<Item = Timed<'p>>) {
        let subject = subject("telemetry", record);
        if !self.live.has_subscribers(&subject) {
            return;
        }
        let mut rest = points.peekable();
        while let Some(first) = rest.next() {
            let mut values = Map::new();
            values.insert(first.key.to_owned(), json!(first.value));
            while let Some(point) = rest.next_if(|point| (point.ts, point.flags) == (first.ts, first.flags)) {
                values.insert(point.key.to_owned(), json!(point.value));
            }
            let mut message =
                json!({ "device": record.device, "ts": first.ts.as_millis(), "values": values });
            if let (Flags::TIME_REPLACED, Some(message)) = (first.flags, message.as_object_mut()) {
                message.insert("flags".to_owned(), json!(["time_replaced"]));
            }
            self.live.publish(&subject, message.to_string().into());
        }
    }

    /// A device's event.
    pub(crate) fn event(&self, record: &RecordView<'_>, json: &str, received: Timestamp) {
        let subject = subject("event", record);
        if self.live.has_subscribers(&subject) {
            let event: Value = serde_json::from_str(json).unwrap_or_default();
            let message = json!({ "device": record.device, "ts": received.as_millis(), "event": event });
            self.live.publish(&subject, message.to_string().into());
        }
    }

    /// Tells a device why a message of it was dead-lettered.
    pub(crate) fn refusal(&self, tenant: &str, device: &str, topic: &str, reason: &str) {
        let subject = format!("downlink.{}.{}", token(tenant), token(device));
        let mut payload = Vec::from(topic::ERRORS);
        payload.push(0);
        payload.extend_from_slice(json!({ "topic": topic, "reason": reason }).to_string().as_bytes());
        self.live.publish(&subject, payload.into());
    }
}

fn subject(first: &str, record: &RecordView<'_>) -> String {
    format!("{first}.{}.{}", token(record.tenant), token(record.device))
}
