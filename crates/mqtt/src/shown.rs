//! A message on a free topic as those see it who watch topics: JSON, with the properties of MQTT 5 that it came with.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use drover_mqtt_codec::PublishProperties;
use serde_json::{Map, Value, json};

use crate::message::Message;

/// A message as one JSON object; bytes that are no text are in Base64.
pub(crate) fn show(message: &Message) -> Value {
    let mut shown = json!({
        "topic": &*message.topic,
        "ts": message.received_ms,
        "qos": message.qos.as_u8(),
        "retain": message.retain,
    });
    match std::str::from_utf8(&message.payload) {
        Ok(text) => shown["payload"] = text.into(),
        Err(_) => shown["payload_base64"] = STANDARD.encode(&message.payload).into(),
    }
    if let Some(properties) = &message.properties {
        shown["properties"] = show_properties(properties);
    }
    shown
}

/// Those that are forwarded (MQTT 5, 3.3.2.3); what is absent is left out.
fn show_properties(properties: &PublishProperties) -> Value {
    let mut shown = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        shown.extend(value.map(|value| (name.to_owned(), value)));
    };
    put("payload_is_utf8", properties.payload_is_utf8.map(Value::from));
    put("message_expiry_s", properties.message_expiry_s.map(Value::from));
    put("content_type", properties.content_type.as_deref().map(Value::from));
    put("response_topic", properties.response_topic.as_deref().map(Value::from));
    let correlation = properties.correlation_data.as_ref();
    put("correlation_data_base64", correlation.map(|bytes| STANDARD.encode(bytes).into()));
    let user = properties.user_properties.iter().map(|(name, value)| json!({ "name": name, "value": value }));
    let user: Vec<Value> = user.collect();
    put("user_properties", (!user.is_empty()).then(|| user.into()));
    shown.into()
}

#[cfg(test)]
mod tests {
    use drover_mqtt_codec::QoS;

    use super::*;

    #[test]
    fn properties_are_shown_as_far_as_there_are_any() {
        let plain = Message::new("a", b"\xff", QoS::AtMostOnce);
        let expected = json!({"topic": "a", "ts": 0, "qos": 0, "retain": false, "payload_base64": "/w=="});
        assert_eq!(show(&plain), expected);
        let properties = PublishProperties {
            response_topic: Some("b".to_owned()),
            correlation_data: Some(vec![1].into()),
            user_properties: vec![("k".to_owned(), "1".to_owned()), ("k".to_owned(), "2".to_owned())],
            ..PublishProperties::default()
        };
        let rich = Message { properties: Some(Box::new(properties)), ..plain };
        let expected = json!({
            "response_topic": "b",
            "correlation_data_base64": "AQ==",
            "user_properties": [{"name": "k", "value": "1"}, {"name": "k", "value": "2"}],
        });
        assert_eq!(show(&rich)["properties"], expected);
    }
}
