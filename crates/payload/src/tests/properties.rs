//! Random objects against a model that walks a tree, and bytes that mean nothing.

use std::collections::BTreeMap;

use drover_model::Value as PointValue;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::RECEIVED;
use crate::{Decoded, Limits, check_event, decode};

type Expected = BTreeMap<(String, Option<i64>), PointValue>;

/// The naive model: a tree in memory, walked.
fn model(message: &Value) -> Expected {
    let mut points = Expected::new();
    match message {
        Value::Array(objects) => objects.iter().for_each(|object| object_points(object, &mut points)),
        object => object_points(object, &mut points),
    }
    points
}

fn object_points(object: &Value, points: &mut Expected) {
    let (ts, mut beside) = (object.get("ts").and_then(Value::as_i64), object.clone());
    if let Some(values @ Value::Object(_)) = object.get("values") {
        if let Some(ts) = ts {
            return walk("", values, Some(ts * 1_000), points);
        }
        beside.as_object_mut().unwrap().remove("values");
        if nothing(&beside) {
            return walk("", values, None, points);
        }
        return walk("", object, None, points);
    }
    beside.as_object_mut().unwrap().remove("ts");
    match ts {
        Some(ts @ 946_684_800_000..4_102_444_800_000) if !nothing(&beside) => {
            walk("", &beside, Some(ts * 1_000), points);
        }
        _ => walk("", object, None, points),
    }
}

fn nothing(object: &Value) -> bool {
    let mut points = Expected::new();
    walk("", object, None, &mut points);
    points.is_empty()
}

fn walk(path: &str, value: &Value, ts: Option<i64>, points: &mut Expected) {
    let point = match value {
        Value::Null => return,
        Value::Object(members) => {
            for (key, member) in members {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(&path, member, ts, points);
            }
            return;
        }
        Value::Bool(truth) => PointValue::Bool(*truth),
        Value::Number(number) => PointValue::Number(number.as_f64().unwrap()),
        Value::String(text) => PointValue::Text(text.as_str().into()),
        array @ Value::Array(_) => PointValue::Text(array.to_string().into()),
    };
    points.insert((path.to_owned(), ts), point);
}

fn decoded(content_type: &str, payload: &[u8]) -> Expected {
    let mut out = Decoded::default();
    if let Err(error) = decode(content_type, payload, RECEIVED, &Limits::default(), &mut out) {
        panic!("{error} in {}", String::from_utf8_lossy(payload));
    }
    let points = out.points().map(|point| {
        (
            (point.key.to_owned(), point.ts.map(drover_model::Timestamp::as_micros)),
            PointValue::from(point.value),
        )
    });
    let all: Expected = points.collect();
    assert_eq!(all.len(), out.len(), "two points with the same key and time");
    all
}

fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter_map("finite", |number| number.is_finite().then(|| Value::from(number))),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            members(inner).prop_map(Value::Object),
        ]
    })
}

fn members(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Map<String, Value>> {
    let key = prop_oneof![8 => "[A-Za-z0-9_-][A-Za-z0-9:/_-]{0,6}", 1 => Just("ts".into()), 1 => Just("values".into())];
    prop::collection::btree_map(key, value, 0..6).prop_map(|members| members.into_iter().collect())
}

/// A plain object, one with a time (never with a key beside or with a text that is no time, which are refused), or an array of
/// these.
fn any_message() -> impl Strategy<Value = Value> {
    let plain = members(any_value()).prop_filter("a key beside", |object| {
        let timed = object.get("ts").is_some_and(|ts| ts.is_number() || ts.is_string() || ts.is_array())
            && object.get("values").is_some_and(Value::is_object);
        !timed
    });
    let timed = (-1_000_000_000_000_000i64..1_000_000_000_000_000, members(any_value()))
        .prop_map(|(ts, values)| json!({"ts": ts, "values": values}));
    let beside =
        (946_684_700_000..4_102_444_900_000_i64, members(any_value())).prop_map(|(ts, mut members)| {
            members.retain(|key, value| key != "values" || !value.is_object());
            members.insert("ts".to_owned(), ts.into());
            Value::Object(members)
        });
    let values = members(any_value()).prop_map(|values| json!({ "values": values }));
    let object = prop_oneof![3 => plain.prop_map(Value::Object), 1 => timed, 1 => beside, 1 => values];
    prop_oneof![
        3 => object.clone(),
        1 => prop::collection::vec(object, 0..5).prop_map(Value::from),
    ]
}

fn to_cbor(value: &Value, out: &mut minicbor::Encoder<&mut Vec<u8>>) {
    match value {
        Value::Null => out.null().unwrap(),
        Value::Bool(truth) => out.bool(*truth).unwrap(),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => out.i64(number).unwrap(),
            (None, Some(number)) => out.u64(number).unwrap(),
            (None, None) => out.f64(number.as_f64().unwrap()).unwrap(),
        },
        Value::String(text) => out.str(text).unwrap(),
        Value::Array(items) => {
            out.array(items.len() as u64).unwrap();
            items.iter().for_each(|item| to_cbor(item, out));
            out
        }
        Value::Object(members) => {
            out.begin_map().unwrap();
            for (key, member) in members {
                out.str(key).unwrap();
                to_cbor(member, out);
            }
            out.end().unwrap()
        }
    };
}

const FORMATS: [&str; 4] = ["", "application/cbor", "application/senml+json", "application/senml+cbor"];

proptest! {
    #[test]
    fn json_gives_the_points_of_the_model(message in any_message()) {
        prop_assert_eq!(decoded("", message.to_string().as_bytes()), model(&message));
        let spaced = serde_json::to_string_pretty(&message).unwrap();
        prop_assert_eq!(decoded("", spaced.as_bytes()), model(&message));
    }

    #[test]
    fn cbor_gives_the_points_of_the_model(message in any_message()) {
        let mut bytes = Vec::new();
        to_cbor(&message, &mut minicbor::Encoder::new(&mut bytes));
        prop_assert_eq!(decoded("application/cbor", &bytes), model(&message));
    }

    #[test]
    fn an_event_is_what_serde_json_calls_an_object(value in any_value()) {
        let good = check_event(value.to_string().as_bytes(), &Limits::default()).is_ok();
        prop_assert_eq!(good, value.is_object());
    }

    #[test]
    fn bytes_that_mean_nothing_never_panic(payload in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in FORMATS {
            let _ = decode(format, &payload, RECEIVED, &Limits::default(), &mut Decoded::default());
        }
        let _ = check_event(&payload, &Limits::default());
    }

    #[test]
    fn damaged_messages_never_panic(message in any_message(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut cbor = Vec::new();
        to_cbor(&message, &mut minicbor::Encoder::new(&mut cbor));
        for mut payload in [message.to_string().into_bytes(), cbor] {
            let index = at.index(payload.len());
            payload[index] = byte;
            for format in FORMATS {
                let _ = decode(format, &payload, RECEIVED, &Limits::default(), &mut Decoded::default());
                let _ = decode(format, &payload[..index], RECEIVED, &Limits::default(), &mut Decoded::default());
            }
        }
    }
}
