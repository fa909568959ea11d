//! What a watcher gets: the answers of the feed, as events.

use drover_model::{Timestamp, ValueRef};
use drover_proto::stream::v1::subscribe_response::Kind;
use drover_proto::stream::v1::{self as pb, value};
use serde::Serialize;
use serde_json::{Map, Value, json};

/// One event.
#[derive(Debug, Serialize)]
pub struct Message {
    /// `telemetry`, `events`, `gap`, or `position` when there is nothing but a place.
    pub event: &'static str,
    /// The place behind it in the feed.
    pub id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl From<pb::SubscribeResponse> for Message {
    fn from(answer: pb::SubscribeResponse) -> Self {
        let (event, data) = match answer.kind {
            Some(Kind::Measurement(measurement)) => ("telemetry", Some(telemetry(measurement))),
            Some(Kind::Event(event)) => ("events", Some(device_event(&event))),
            Some(Kind::Gap(gap)) => ("gap", Some(gap_data(gap))),
            Some(Kind::Position(_)) | None => ("position", None),
        };
        Self { event, id: answer.cursor, data }
    }
}

fn telemetry(measurement: pb::Measurement) -> Value {
    let values: Map<String, Value> =
        measurement.values.into_iter().map(|(key, value)| (key, show(value))).collect();
    let ts = Timestamp::from_micros(measurement.ts_us).as_millis();
    let mut data = json!({ "device": measurement.device, "ts": ts, "values": values });
    if let (true, Some(data)) = (measurement.flags & 1 != 0, data.as_object_mut()) {
        data.insert("flags".to_owned(), json!(["time_replaced"]));
    }
    data
}

fn show(value: pb::Value) -> Value {
    match value.kind {
        Some(value::Kind::Number(number)) => json!(ValueRef::Number(number)),
        Some(value::Kind::Truth(truth)) => Value::Bool(truth),
        Some(value::Kind::Text(text)) => Value::String(text),
        None => Value::Null,
    }
}

fn device_event(event: &pb::DeviceEvent) -> Value {
    let content: Value = serde_json::from_str(&event.json).unwrap_or_default();
    let ts = Timestamp::from_micros(event.ts_us).as_millis();
    json!({ "device": event.device, "ts": ts, "event": content })
}

fn gap_data(gap: pb::Gap) -> Value {
    let until = Timestamp::from_micros(gap.until_us).as_millis();
    if gap.frames == 0 { json!({ "until": until }) } else { json!({ "until": until, "frames": gap.frames }) }
}
