//! Tells devices what was refused. Nothing here is durable.

use drover_backbone::{Live, token};
use drover_model::topic;
use serde_json::json;

/// Publishes to `Live`.
#[derive(Clone)]
pub(crate) struct Notify {
    live: Live,
}

impl Notify {
    pub(crate) fn new(live: Live) -> Self {
        Self { live }
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
