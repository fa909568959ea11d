//! What one device measured: the JSON of a sample, ranges of time, what is published on its behalf, and letting go of it.

pub mod erase;
pub mod publish;
pub mod range;

use drover_model::Timestamp;
use drover_proto::stream::v1 as pb;
use serde::Serialize;
use utoipa::ToSchema;

/// One measured value.
#[derive(Debug, Serialize, ToSchema)]
#[schema(example = json!({"ts": 1_795_978_800_000_i64, "value": 21.5}))]
pub struct Sample {
    /// Milliseconds since 1970; of an aggregate, the start of its interval.
    pub ts: i64,
    pub value: Value,
    /// `time_replaced`: the device's time lay too far in the future, so this is the time of arrival. Absent when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, value_type = Vec<String>)]
    pub flags: Vec<&'static str>,
}

/// A number, a truth value or a text.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub enum Value {
    #[schema(value_type = f64)]
    Number(#[serde(serialize_with = "drover_model::serialize_number")] f64),
    Truth(bool),
    Text(String),
}

impl Sample {
    fn new(ts_us: i64, value: Option<Value>, flags: u32) -> Self {
        let ts = Timestamp::from_micros(ts_us).as_millis();
        let value = value.unwrap_or_else(|| Value::Text(String::new()));
        Self { ts, value, flags: if flags & 1 == 0 { Vec::new() } else { vec!["time_replaced"] } }
    }
}

impl From<pb::Sample> for Sample {
    fn from(sample: pb::Sample) -> Self {
        let value = sample.value.and_then(|value| value.kind).map(|kind| match kind {
            pb::value::Kind::Number(number) => Value::Number(number),
            pb::value::Kind::Truth(truth) => Value::Truth(truth),
            pb::value::Kind::Text(text) => Value::Text(text),
        });
        Self::new(sample.ts_us, value, sample.flags)
    }
}

impl From<pb::KeyedSample> for Sample {
    fn from(sample: pb::KeyedSample) -> Self {
        let value = sample.kind.map(|kind| match kind {
            pb::keyed_sample::Kind::Number(number) => Value::Number(number),
            pb::keyed_sample::Kind::Truth(truth) => Value::Truth(truth),
            pb::keyed_sample::Kind::Text(text) => Value::Text(text),
        });
        Self::new(sample.ts_us, value, sample.flags)
    }
}
