//! What goes in and what comes out, as tables; then properties against a naive model.

mod cbor;
mod json;
mod properties;
mod senml;

use drover_model::{Timestamp, ValueRef};

use crate::{Decoded, Limits, PayloadError, check_event, decode};

/// When every message here is received: 2026-11-24T19:00:00Z.
const RECEIVED: Timestamp = Timestamp::from_millis(1_795_546_800_000);

/// The points as `key=value` or `key=value@microseconds`, sorted, or the error's text.
fn told(content_type: &str, payload: &[u8], limits: &Limits) -> Result<String, String> {
    let mut out = Decoded::default();
    let result = decode(content_type, payload, RECEIVED, limits, &mut out);
    if let Err(error) = result {
        assert!(out.is_empty(), "points after the error {error}");
        return Err(error.to_string());
    }
    let mut points: Vec<String> = out
        .points()
        .map(|point| {
            let value = match point.value {
                ValueRef::Number(number) => number.to_string(),
                ValueRef::Bool(truth) => truth.to_string(),
                ValueRef::Text(text) => format!("{text:?}"),
            };
            let ts = point.ts.map(|ts| format!("@{}", ts.as_micros())).unwrap_or_default();
            format!("{}={value}{ts}", point.key)
        })
        .collect();
    points.sort();
    assert_eq!(points.len(), out.len());
    Ok(points.join(" "))
}

fn points(content_type: &str, payload: impl AsRef<[u8]>) -> String {
    let payload = payload.as_ref();
    match told(content_type, payload, &Limits::default()) {
        Ok(points) => points,
        Err(error) => panic!("{:?}: {error}", String::from_utf8_lossy(payload)),
    }
}

fn error(content_type: &str, payload: impl AsRef<[u8]>) -> String {
    match told(content_type, payload.as_ref(), &Limits::default()) {
        Ok(points) => panic!("decoded to {points}"),
        Err(error) => error,
    }
}

/// Bytes from hexadecimal digits; spaces are for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect()
}

#[test]
fn the_content_type_chooses_the_format_whatever_its_case_and_parameters() {
    for json in
        ["", "application/json", "Application/JSON; charset=utf-8", "application/vnd.acme+json", " ; x=y"]
    {
        assert_eq!(points(json, r#"{"a":1}"#), "a=1", "{json}");
    }
    for cbor in ["application/cbor", "APPLICATION/CBOR;x=y"] {
        assert_eq!(points(cbor, hex("a1 6161 01")), "a=1", "{cbor}");
    }
    for senml in ["application/senml+json", "application/sensml+json"] {
        assert_eq!(points(senml, r#"[{"n":"a","v":1}]"#), "a=1", "{senml}");
    }
    assert_eq!(points("application/senml+cbor", hex("81 a2 00 6161 02 01")), "a=1");
}

#[test]
fn an_unknown_content_type_is_answered_with_the_known_ones() {
    assert_eq!(
        error("text/plain", "x"),
        "content type \"text/plain\" is not known; use application/json (or none), application/cbor, \
         application/senml+json or application/senml+cbor"
    );
    assert!(error("+json", "{}").contains("\"+json\" is not known"));
}

#[test]
fn an_empty_payload_is_an_error_in_every_format() {
    for format in ["", "application/cbor", "application/senml+json", "application/senml+cbor"] {
        assert_eq!(error(format, ""), "the payload is empty");
    }
}

#[test]
fn buffers_are_used_again_without_leftovers() {
    let mut out = Decoded::default();
    let limits = Limits::default();
    decode("", br#"{"a":"text","b":2}"#, RECEIVED, &limits, &mut out).unwrap();
    assert_eq!(out.len(), 2);
    decode("", br#"{"c":3}"#, RECEIVED, &limits, &mut out).unwrap();
    assert_eq!(out.points().map(|point| point.key.to_owned()).collect::<Vec<_>>(), ["c"]);
    decode("", br#"{"d":4,"#, RECEIVED, &limits, &mut out).unwrap_err();
    assert!(out.is_empty());
}

#[test]
fn an_event_is_one_json_object_of_any_content() {
    let limits = Limits::default();
    let check = |text: &str| check_event(text.as_bytes(), &limits).map_err(|error| error.to_string());
    assert_eq!(check(r#"{"type":"door","open":true,"who":[1,{"x":null}],"any key / at all":{}}"#), Ok(()));
    assert_eq!(check(&format!("{{\"text\":\"{}\"}}", "x".repeat(100_000))), Ok(()));
    assert_eq!(check(""), Err("the payload is empty".into()));
    assert_eq!(
        check("[1]"),
        Err("not a JSON object: invalid type: sequence, expected an object at line 1 column 0".into())
    );
    assert_eq!(check("{} {}"), Err("not a JSON object: trailing characters at line 1 column 4".into()));
    assert_eq!(
        check(r#"{"a":1e999}"#),
        Err("not a JSON object: number out of range at line 1 column 10".into())
    );
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(check(&deep), Err("nested deeper than 32 levels".into()));
    assert_eq!(check_event(b"{\"a\":\"\xff\"}", &limits), Err(PayloadError::NotUtf8 { position: 6 }));
}
