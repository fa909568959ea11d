//! CBOR, good and bad.

use super::{Limits, error, hex, points, told};

const CBOR: &str = "application/cbor";

#[test]
fn cbor_becomes_these_points() {
    let table = [
        // {"a": 1, "b": -2, "c": 1.5 (half), "d": 1.5 (single), "e": 1.1 (double)}
        (
            "a5 6161 01 6162 21 6163 f93e00 6164 fa3fc00000 6165 fb3ff199999999999a",
            "a=1 b=-2 c=1.5 d=1.5 e=1.1",
        ),
        // {"a": true, "b": null, "c": undefined, "d": "on"}
        ("a4 6161 f5 6162 f6 6163 f7 6164 626f6e", r#"a=true d="on""#),
        // Unknown lengths: {_ "a": 1, "b": (_ "o", "n"), "c": {_ "d": 2}}
        ("bf 6161 01 6162 7f 616f 616e ff 6163 bf 6164 02 ff ff", r#"a=1 b="on" c.d=2"#),
        // Integer keys: {1: 2, -1: {300: 3}}
        ("a2 01 02 20 a1 19012c 03", "-1.300=3 1=2"),
        // {"a": [1, -2, 1.5, "x", null, {1: [_ true]}]}
        ("a1 6161 86 01 21 f93e00 6178 f6 a1 01 9f f5 ff", r#"a="[1,-2,1.5,\"x\",null,{\"1\":[true]}]""#),
        // 2^64 - 1 and -2^64
        (
            "a2 6161 1bffffffffffffffff 6162 3bffffffffffffffff",
            "a=18446744073709552000 b=-18446744073709552000",
        ),
        // {"ts": 1000, "values": {"a": 1}} and the other way round
        ("a2 627473 1903e8 6676616c756573 a1 6161 01", "a=1@1000000"),
        ("a2 6676616c756573 a1 6161 01 627473 1903e8", "a=1@1000000"),
        // ts as seconds since 1970: tag 1 around 1.5
        ("a2 627473 c1 f93e00 6676616c756573 a1 6161 01", "a=1@1500000"),
        // ts as text: tag 0 around "2026-11-24T19:00:00Z", and without it
        (
            "a2 627473 c0 74323032362d31312d32345431393a30303a30305a 6676616c756573 a1 6161 01",
            "a=1@1795546800000000",
        ),
        (
            "a2 6676616c756573 a1 6161 01 627473 74323032362d31312d32345431393a30303a30305a",
            "a=1@1795546800000000",
        ),
        // An array of both forms.
        ("82 a1 6161 01 a2 627473 01 6676616c756573 a1 6161 02", "a=1 a=2@1000"),
        ("9f a1 6161 01 ff", "a=1"),
        ("a0", ""),
        // Tags: self-described CBOR around all, decimal fraction 27315e-2, a date as text, an unknown one around a map.
        ("d9d9f7 a1 6161 01", "a=1"),
        ("a1 6161 c4 82 21 196ab3", "a=273.15"),
        ("a1 6161 c0 6474696d65", r#"a="time""#),
        ("a1 6161 d8c8 a1 6162 01", "a.b=1"),
        ("a1 6161 81 c4 82 21 196ab3", r#"a="[273.15]""#),
        // The last one stays.
        ("a2 6161 01 6161 02", "a=2"),
    ];
    for (payload, expected) in table {
        assert_eq!(points(CBOR, hex(payload)), expected, "{payload}");
    }
}

#[test]
fn bad_cbor_is_refused_with_these_words() {
    let table = [
        ("01", "not CBOR telemetry: unexpected type u8 at position 0: expected map"),
        ("81 01", "not CBOR telemetry: unexpected type u8 at position 1: expected map"),
        ("a1 6161", "not CBOR telemetry: end of input bytes"),
        ("a1 6161 1a00", "not CBOR telemetry: end of input bytes"),
        ("bb ffffffffffffffff 6161 01", "not CBOR telemetry: end of input bytes"),
        ("a1 6161 7b ffffffffffffffff", "not CBOR telemetry: end of input bytes"),
        (
            "a1 6161 01 00",
            "not CBOR telemetry: decode error at position 4: bytes after the end of the message",
        ),
        ("a1 6161 61ff", "not CBOR telemetry: invalid utf-8 at position 3"),
        (
            "a1 f5 01",
            "not CBOR telemetry: unexpected type bool at position 1: expected a key that is text or an integer",
        ),
        ("a1 6161 42 0102", "\"a\" is a byte string; send text or numbers"),
        ("a1 6161 81 42 0102", "\"a\" is a byte string; send text or numbers"),
        ("a1 6161 c2 42 0102", "\"a\" is a byte string; send text or numbers"),
        ("a1 6161 f97e00", "\"a\" is not a finite number"),
        ("a1 6161 fa7f800000", "\"a\" is not a finite number"),
        ("a1 6161 81 f97e00", "\"a\" has an element that is not a finite number"),
        ("a1 6161 c4 82 1903e8 01", "\"a\" is not a finite number"),
        ("a1 6161 c4 81 01", "not CBOR telemetry: end of input bytes"),
        ("a1 6161 f0", "\"a\" is of the CBOR type simple, which has no meaning here"),
        ("a1 6161 ff", "\"a\" is of the CBOR type break, which has no meaning here"),
        ("a1 6161 1c", "\"a\" is of the CBOR type 0x1c, which has no meaning here"),
        ("a1 627473 f97e00", "\"ts\" is not a finite number"),
        (
            "a1 63612062 01",
            "key \"a b\": telemetry key has the character ' ' at position 1; use A-Z a-z 0-9 _ - first, then also . : /",
        ),
    ];
    for (payload, expected) in table {
        let told = error(CBOR, hex(payload));
        let told = if expected.ends_with("end of input bytes") {
            told.split(" at position").next().unwrap().split(": a decimal").next().unwrap().to_owned()
        } else {
            told
        };
        assert_eq!(told, expected, "{payload}");
    }
}

#[test]
fn depth_points_and_text_have_limits_in_cbor_too() {
    let nested = |depth: usize| hex(&format!("{}01", "a1 6161 ".repeat(depth)));
    let arrays = |depth: usize| hex(&format!("a1 6161 {}01", "81".repeat(depth - 1)));
    for shape in [nested, arrays] {
        points(CBOR, shape(32));
        assert_eq!(error(CBOR, shape(33)), "nested deeper than 32 levels");
        assert_eq!(error(CBOR, shape(10_000)), "nested deeper than 32 levels");
    }
    assert_eq!(points(CBOR, hex(&format!("a1 6161 {} 01", "c5".repeat(10_000)))), "a=1");
    let limits = Limits { max_points: 1, max_text_bytes: 3, ..Limits::default() };
    let told = |payload: &str| told(CBOR, &hex(payload), &limits);
    assert_eq!(told("a2 6161 01 6162 02").unwrap_err(), "more than 1 points in one message");
    assert_eq!(told("a1 6161 64 61616161").unwrap_err(), "\"a\" has more than 3 bytes of text");
    assert_eq!(told("a1 6161 82 01 02").unwrap_err(), "\"a\" has more than 3 bytes of text");
}
