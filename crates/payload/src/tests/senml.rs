//! SenML in JSON and CBOR, good and bad, with the examples of RFC 8428.

use super::{Limits, error, hex, points, told};

const JSON: &str = "application/senml+json";
const CBOR: &str = "application/senml+cbor";

#[test]
fn senml_json_becomes_these_points() {
    let table = [
        // RFC 8428, 5.1.1: one datum, without a time.
        (r#"[{"n":"urn:dev:ow:10e2073a01080063","u":"Cel","v":23.1}]"#, "urn:dev:ow:10e2073a01080063=23.1"),
        // RFC 8428, 5.1.2: base name, base time, relative times.
        (
            r#"[{"bn":"urn:dev:ow:10e2073a0108006:","bt":1.276020076001e+09,"bu":"A","bver":5,"n":"voltage","u":"V","v":120.1},
               {"n":"current","t":-5,"v":1.2},{"n":"current","t":-4,"v":1.3}]"#,
            "urn:dev:ow:10e2073a0108006:current=1.2@1276020071001000 \
             urn:dev:ow:10e2073a0108006:current=1.3@1276020072001000 \
             urn:dev:ow:10e2073a0108006:voltage=120.1@1276020076001000",
        ),
        // RFC 8428, 5.1.3: the base name alone is the name.
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063","bt":1.320067464e+09,"bu":"%RH","v":20},{"u":"lon","t":60,"v":24.30622}]"#,
            "urn:dev:ow:10e2073a01080063=20@1320067464000000 urn:dev:ow:10e2073a01080063=24.30622@1320067524000000",
        ),
        // RFC 8428, 5.1.5: one record of each data type.
        (
            r#"[{"bn":"urn:dev:ow:10e2073a01080063:","n":"temp","u":"Cel","v":23.1},{"n":"label","vs":"Machine Room"},
               {"n":"open","vb":false},{"n":"nfv-reader","vd":"aGkgCg"}]"#,
            r#"urn:dev:ow:10e2073a01080063:label="Machine Room" urn:dev:ow:10e2073a01080063:nfv-reader="aGkgCg" urn:dev:ow:10e2073a01080063:open=false urn:dev:ow:10e2073a01080063:temp=23.1"#,
        ),
        // RFC 8428, 5.1.6: a new base name with the base time of before.
        (
            r#"[{"bn":"2001:db8::2/","bt":1.320078429e+09,"n":"temperature","u":"Cel","v":25.2},{"n":"humidity","u":"%RH","v":30},
               {"bn":"2001:db8::1/","n":"temperature","u":"Cel","v":12.3},{"n":"humidity","u":"%RH","v":67}]"#,
            "2001:db8::1/humidity=67@1320078429000000 2001:db8::1/temperature=12.3@1320078429000000 \
             2001:db8::2/humidity=30@1320078429000000 2001:db8::2/temperature=25.2@1320078429000000",
        ),
        // Every kind of value.
        (
            r#"[{"bn":"d:"},{"n":"a","v":1},{"n":"b","vs":"x\ty"},{"n":"c","vb":true},{"n":"e","vd":"aGkgCg"}]"#,
            r#"d:a=1 d:b="x\ty" d:c=true d:e="aGkgCg""#,
        ),
        // Base value and sums; a missing one of two counts as zero.
        (r#"[{"n":"a","bv":20,"v":1.5},{"n":"b"},{"n":"c","vs":"x"}]"#, r#"a=21.5 b=20 c="x""#),
        (
            r#"[{"n":"a","v":1,"s":5},{"n":"b","s":7},{"n":"c","bs":1,"s":2,"v":3}]"#,
            "a.sum=5 a=1 b.sum=7 c.sum=3 c=3",
        ),
        // A record with a sum of its own needs no value; a base sum is the sum of every record after it.
        (r#"[{"bn":"d:","bv":20},{"n":"a","s":7},{"n":"b"}]"#, "d:a.sum=7 d:b=20"),
        (
            r#"[{"n":"a","bs":10,"v":1},{"n":"b","s":1},{"n":"c","vb":true}]"#,
            "a.sum=10 a=1 b.sum=11 c.sum=10 c=true",
        ),
        // Base time and time are added before it is known what they are relative to.
        (r#"[{"bt":-60,"n":"a","v":1},{"n":"b","t":60,"v":2}]"#, "a=1@1795546740000000 b=2"),
        // Times: now, relative to now, absolute, with microseconds.
        (
            r#"[{"n":"a","t":0,"v":1},{"n":"b","t":-60,"v":2},{"n":"c","t":1.5,"v":3}]"#,
            "a=1 b=2@1795546740000000 c=3@1795546801500000",
        ),
        (r#"[{"bt":1320067464,"t":0.123457,"n":"a","v":1}]"#, "a=1@1320067464123457"),
        (
            r#"[{"n":"a","t":268435456,"v":1},{"n":"b","t":268435455,"v":1}]"#,
            "a=1@268435456000000 b=1@2063982255000000",
        ),
        // Unknown fields, update time, base fields only, nothing at all.
        (r#"[{"n":"a","v":1,"ut":3,"x":[{"y":null}]}]"#, "a=1"),
        (r#"[{"bn":"x","bu":"V","bver":10}]"#, ""),
        (r#"[{"bver":5},{"n":"a","v":1},{"bver":5,"n":"b","v":1}]"#, "a=1 b=1"),
        (r#"[{"n":"a","v":1},{"bver":10,"n":"b","v":1}]"#, "a=1 b=1"),
        ("[]", ""),
        ("[{}]", ""),
        // The base name alone may be the name; a later one replaces it.
        (r#"[{"bn":"x","v":1},{"bn":"y","v":2}]"#, "x=1 y=2"),
        (r#"[{"n":"a","v":1},{"n":"a","v":2}]"#, "a=2"),
    ];
    for (payload, expected) in table {
        assert_eq!(points(JSON, payload), expected, "{payload}");
    }
}

#[test]
fn bad_senml_json_is_refused_with_these_words() {
    let table = [
        (
            r#"{"n":"a","v":1}"#,
            "not SenML JSON telemetry: invalid type: map, expected an array of SenML records at line 1 column 0",
        ),
        (
            "[1]",
            "not SenML JSON telemetry: invalid type: integer `1`, expected a SenML record at line 1 column 2",
        ),
        (
            r#"[{"n":"a","v":"1"}]"#,
            "not SenML JSON telemetry: invalid type: string \"1\", expected f64 at line 1 column 17",
        ),
        (r#"[{"n":"a","v":1e999}]"#, "not SenML JSON telemetry: number out of range at line 1 column 19"),
        (r#"[{"n":"a","v":1"#, "not SenML JSON telemetry: EOF while parsing an object at line 1 column 15"),
        (r#"[{"n":"a","v":1},{"n":"a"}]"#, "SenML record 2: has no value and no sum"),
        (
            r#"[{"n":"a","v":1,"vb":true}]"#,
            "SenML record 1: has more than one of \"v\", \"vs\", \"vb\" and \"vd\"",
        ),
        (
            r#"[{"n":"a","v":1,"must_":1}]"#,
            "SenML record 1: the field \"must_\" must be understood, and is not",
        ),
        (
            r#"[{"bver":11},{"n":"a","v":1}]"#,
            "SenML record 1: \"bver\" is 11; versions from 1 to 10 are understood",
        ),
        (r#"[{"bver":1.5}]"#, "SenML record 1: \"bver\" is 1.5; versions from 1 to 10 are understood"),
        (r#"[{"bver":0}]"#, "SenML record 1: \"bver\" is 0; versions from 1 to 10 are understood"),
        (
            r#"[{"n":"a","v":1},{"bver":5,"n":"b","v":1}]"#,
            "SenML record 2: \"bver\" is 5, and that of the records before is 10",
        ),
        (
            r#"[{"n":"a","bver_":1,"v":1}]"#,
            "SenML record 1: the field \"bver_\" must be understood, and is not",
        ),
        (r#"[{"n":"a","vd":"abcde"}]"#, "SenML record 1: \"vd\" is not base64url without padding"),
        (r#"[{"n":"a","vd":"a+b="}]"#, "SenML record 1: \"vd\" is not base64url without padding"),
        (r#"[{"n":"a","bv":1e308,"v":1.7e308}]"#, "SenML record 1: \"v\" is not a finite number"),
        (r#"[{"v":1}]"#, "key \"\": telemetry key is empty; use 1 to 128 of A-Z a-z 0-9 _ - . :"),
        (
            r#"[{"bn":"a ","n":"b","v":1}]"#,
            "key \"a b\": telemetry key has the character ' ' at position 1; use A-Z a-z 0-9 _ - first, then also . : /",
        ),
        (
            r#"[{"n":"a","t":1e30,"v":1}]"#,
            "\"t\" is 1000000000000000000000000000000 s: outside what 64-bit microseconds since 1970 can hold",
        ),
    ];
    for (payload, expected) in table {
        assert_eq!(error(JSON, payload), expected, "{payload}");
    }
    let deep = format!("[{{\"n\":\"a\",\"v\":1,\"x\":{}{}}}]", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(points(JSON, deep), "a=1");
}

#[test]
fn senml_cbor_becomes_these_points() {
    // RFC 8428, 6: base name "urn:dev:ow:10e2073a0108006:", base time, base unit, base version, records.
    let example = "87 a7 21 781b75726e3a6465763a6f773a313065323037336130313038303036 3a 22 fb41d303a15b00106223 6141 \
                   20 05 00 67766f6c74616765 01 6156 02 fb405e066666666666 \
                   a3 00 6763757272656e74 06 24 02 fb3ff3333333333333 \
                   a3 00 6763757272656e74 06 23 02 fb3ff4cccccccccccd \
                   a3 00 6763757272656e74 06 22 02 fb3ff6666666666666 \
                   a3 00 6763757272656e74 06 21 02 f93e00 \
                   a3 00 6763757272656e74 06 20 02 fb3ff999999999999a \
                   a3 00 6763757272656e74 06 00 02 fb3ffb333333333333";
    let told = points(CBOR, hex(example));
    assert!(told.ends_with("urn:dev:ow:10e2073a0108006:voltage=120.1@1276020076001000"), "{told}");
    assert!(told.starts_with("urn:dev:ow:10e2073a0108006:current=1.2@1276020071001000 "), "{told}");
    let table = [
        ("9f bf 00 6161 02 01 ff ff", "a=1"),
        ("81 a2 616e 6161 6176 01", "a=1"),
        (
            "84 a2 00 6161 03 6178 a2 00 6162 04 f5 a2 00 6163 08 43 686920 a2 00 6164 08 5f 41 68 42 6920 ff",
            r#"a="x" b=true c="aGkg" d="aGkg""#,
        ),
        ("81 a3 00 6161 02 c4 82 21 196ab3 05 07", "a.sum=7 a=273.15"),
        ("81 a4 00 6161 02 01 07 18 64 6178 82 01 a0", "a=1"),
        ("80", ""),
    ];
    for (payload, expected) in table {
        assert_eq!(points(CBOR, hex(payload)), expected, "{payload}");
    }
}

#[test]
fn bad_senml_cbor_is_refused_with_these_words() {
    let table = [
        (
            "a2 00 6161 02 01",
            "not CBOR telemetry: unexpected type map at position 0: expected an array of SenML records",
        ),
        ("81 a2 00 6161 02 f97e00", "SenML record 1: \"v\" is not a finite number"),
        (
            "81 a2 00 6161 02 6131",
            "not CBOR telemetry: unexpected type string at position 6: expected a number",
        ),
        ("81 a3 00 6161 02 01 62785f 01", "SenML record 1: the field \"x_\" must be understood, and is not"),
        ("81 a3 00 6161 02 01 20 0b", "SenML record 1: \"bver\" is 11; versions from 1 to 10 are understood"),
        ("80 00", "not CBOR telemetry: decode error at position 1: bytes after the end of the message"),
        (
            "81 a3 00 6161 02 01 06 f97c00",
            "\"t\" is inf s: outside what 64-bit microseconds since 1970 can hold",
        ),
    ];
    for (payload, expected) in table {
        assert_eq!(error(CBOR, hex(payload)), expected, "{payload}");
    }
}

#[test]
fn points_and_text_have_limits_in_senml_too() {
    let limits = Limits { max_points: 1, max_text_bytes: 3, ..Limits::default() };
    let told = |payload: &str| told(JSON, payload.as_bytes(), &limits);
    assert_eq!(
        told(r#"[{"n":"a","v":1},{"n":"b","v":1}]"#).unwrap_err(),
        "more than 1 points in one message"
    );
    assert_eq!(told(r#"[{"n":"a","vs":"1234"}]"#).unwrap_err(), "\"a\" has more than 3 bytes of text");
}
