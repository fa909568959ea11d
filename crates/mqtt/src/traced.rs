//! The trace of a PUBLISH on its way into the log: whether its client asks for one, and what its span says.

use drover_model::{Channel, DeviceId, Tenant};
use drover_mqtt_codec::Publish;
use drover_runtime::traces::{Reception, TRACEPARENT, Traces};

/// Begins the spans of a message, unless it isn't traced. Of the payload they say the length only.
pub(crate) fn reception(
    traces: &Traces,
    (tenant, device): (&Tenant, &DeviceId),
    channel: Channel,
    publish: &Publish,
) -> Option<Reception> {
    let mut reception = traces.reception(|| own_context(publish))?;
    let span = reception.span();
    span.set("messaging.system", "mqtt");
    span.set("messaging.destination.name", channel.topic());
    span.set("messaging.message.body.size", i64::try_from(publish.payload.len()).unwrap_or(i64::MAX));
    span.set("tenant.id", tenant.as_str().to_owned());
    span.set("device.id", device.as_str().to_owned());
    Some(reception)
}

/// The trace context that a client brings as a user property of MQTT 5.
fn own_context(publish: &Publish) -> Option<&str> {
    let properties = &publish.properties.as_ref()?.user_properties;
    properties.iter().find(|(name, _)| name == TRACEPARENT).map(|(_, value)| value.as_str())
}
