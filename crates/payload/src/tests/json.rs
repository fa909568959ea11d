//! JSON, good and bad.

use super::{Limits, error, points, told};

#[test]
fn json_becomes_these_points() {
    let table = [
        (r#"{"a":1}"#, "a=1"),
        (r#"{"a":1,"b":2.5,"c":true,"d":false,"e":"on"}"#, r#"a=1 b=2.5 c=true d=false e="on""#),
        (" { \"a\" : -0.25e-2 }\r\n", "a=-0.0025"),
        ("{}", ""),
        ("[]", ""),
        (r#"{"a":null,"b":1}"#, "b=1"),
        (r#"{"ä":null}"#, ""),
        // Nested objects and arrays.
        (r#"{"gps":{"lat":1,"lon":{"deg":2}},"x":3}"#, "gps.lat=1 gps.lon.deg=2 x=3"),
        (r#"{"a":{}}"#, ""),
        (
            r#"{"a":[1, 2.50, "x\n\"", null, {"k" : [ true ]}]}"#,
            r#"a="[1,2.5,\"x\\n\\\"\",null,{\"k\":[true]}]""#,
        ),
        (r#"{"a":[]}"#, r#"a="[]""#),
        // Keys.
        (r#"{"room/1.temp:x_-":1,"_":2,"-":3}"#, "-=3 _=2 room/1.temp:x_-=1"),
        (r#"{"\u0061":"\u00e4\ud83d\ude00"}"#, r#"a="ä😀""#),
        // Numbers are the nearest f64.
        (r#"{"a":9007199254740993,"b":18446744073709551616}"#, "a=9007199254740992 b=18446744073709552000"),
        (r#"{"a":0.30000000000000004,"b":1e-999}"#, "a=0.30000000000000004 b=0"),
        (
            r#"{"a":-9223372036854775808,"b":18446744073709551615}"#,
            "a=-9223372036854776000 b=18446744073709552000",
        ),
        // With a time.
        (r#"{"ts":1000,"values":{"a":1,"b":{"c":"x"}}}"#, r#"a=1@1000000 b.c="x"@1000000"#),
        (r#"{"values":{"a":1},"ts":1000}"#, "a=1@1000000"),
        (r#"{"ts":1000.0005,"values":{"a":1}}"#, "a=1@1000001"),
        (r#"{"ts":1732475895123.456,"values":{"a":1}}"#, "a=1@1732475895123456"),
        (r#"{"ts":-1.5,"values":{"a":1}}"#, "a=1@-1500"),
        (r#"{"ts":253402300799999,"values":{"a":1}}"#, "a=1@253402300799999000"),
        (r#"{"ts":9223372036854775,"values":{"a":1}}"#, "a=1@9223372036854775000"),
        (r#"{"ts":1,"values":{}}"#, ""),
        // A time as text, and one in seconds, which is taken by its word.
        (r#"{"ts":"2026-11-24T19:00:00Z","values":{"a":1}}"#, "a=1@1795546800000000"),
        (r#"{"values":{"a":"x"},"ts":"2026-11-24T20:00:00.000001+01:00"}"#, r#"a="x"@1795546800000001"#),
        (r#"{"ts":"x","ts":"2026-11-24T19:00:00Z","values":{"a":1}}"#, "a=1@1795546800000000"),
        (r#"{"ts":1795546800,"values":{"a":1}}"#, "a=1@1795546800000"),
        (r#"{"ts":1,"values":{"ts":2,"values":{"a":3}}}"#, "ts=2@1000 values.a=3@1000"),
        (r#"{"ts":1,"values":{"a":1},"note":null}"#, "a=1@1000"),
        // Neither form: ordinary keys.
        (r#"{"ts":1000,"a":1}"#, "a=1 ts=1000"),
        (r#"{"ts":"now","a":1}"#, r#"a=1 ts="now""#),
        (r#"{"ts":"now","values":5}"#, r#"ts="now" values=5"#),
        (r#"{"ts":[1],"a":1}"#, r#"a=1 ts="[1]""#),
        (r#"{"ts":1000,"values":5}"#, "ts=1000 values=5"),
        (r#"{"ts":1000,"values":[1]}"#, r#"ts=1000 values="[1]""#),
        (r#"{"ts":{"a":1},"values":{"b":2}}"#, "ts.a=1 values.b=2"),
        (r#"{"values":{"a":1},"b":2}"#, "b=2 values.a=1"),
        (r#"{"values":{"a":1},"values.b":2}"#, "values.a=1 values.b=2"),
        (r#"{"ts":true,"values":{"a":1}}"#, "ts=true values.a=1"),
        (r#"{"x":{"ts":1,"values":{"a":2}}}"#, "x.ts=1 x.values.a=2"),
        // Arrays of either form.
        (r#"[{"a":1},{"ts":1,"values":{"a":2}},{"ts":2,"values":{"a":3}}]"#, "a=1 a=2@1000 a=3@2000"),
        // The last one of the same key and time stays.
        (r#"{"a":1,"b":2,"a":"x"}"#, r#"a="x" b=2"#),
        (r#"{"a.b":1,"a":{"b":2}}"#, "a.b=2"),
        (r#"[{"a":1},{"a":2}]"#, "a=2"),
        (r#"[{"a":1},{"ts":1795546800000,"values":{"a":2}}]"#, "a=2@1795546800000000"),
        (r#"{"ts":1,"ts":2,"values":{"a":1}}"#, "a=1@2000"),
        (r#"{"ts":"x","ts":2,"values":7,"values":{"a":1}}"#, "a=1@2000"),
        (r#"{"ts":2,"values":{"a":1},"ts":true}"#, "ts=true values.a=1"),
    ];
    for (payload, expected) in table {
        assert_eq!(points("", payload), expected, "{payload}");
    }
}

#[test]
fn values_alone_have_no_time_and_a_time_beside_keys_is_theirs() {
    let table = [
        // `values` alone, without a time.
        (r#"{"values":{"a":1,"b":{"c":"x"}}}"#, r#"a=1 b.c="x""#),
        (r#"{"ts":null,"values":{"a":1}}"#, "a=1"),
        (r#"{"values":{"a":1},"note":null,"none":{}}"#, "a=1"),
        (r#"{"values":7,"values":{"a":1}}"#, "a=1"),
        (r#"[{"values":{"a":1}},{"b":2}]"#, "a=1 b=2"),
        // A time beside the keys, if it can be none but milliseconds or RFC 3339 of the years 2000 to 2099.
        (r#"{"ts":1795546800123,"a":1,"b":{"c":2}}"#, "a=1@1795546800123000 b.c=2@1795546800123000"),
        (r#"{"a":1,"ts":946684800000}"#, "a=1@946684800000000"),
        (r#"{"a":1,"ts":946684799999.9}"#, "a=1 ts=946684799999.9"),
        (r#"{"a":1,"ts":4102444799999}"#, "a=1@4102444799999000"),
        (r#"{"a":1,"ts":4102444800000}"#, "a=1 ts=4102444800000"),
        (r#"{"ts":"2026-11-24T19:00:00Z","a":1}"#, "a=1@1795546800000000"),
        (r#"{"ts":"1999-12-31T23:59:59Z","a":1}"#, r#"a=1 ts="1999-12-31T23:59:59Z""#),
        (r#"{"ts":1795546800000,"values":5}"#, "values=5@1795546800000000"),
        (r#"{"ts":1795546800000}"#, "ts=1795546800000"),
        (r#"[{"ts":1795546800001,"a":1},{"a":2}]"#, "a=1@1795546800001000 a=2"),
    ];
    for (payload, expected) in table {
        assert_eq!(points("", payload), expected, "{payload}");
    }
}

#[test]
fn bad_json_is_refused_with_these_words() {
    let table: [(&[u8], &str); 24] = [
        (b"{\"a\":}", "not JSON telemetry: expected value at line 1 column 6"),
        (b"{\"a\":1", "not JSON telemetry: EOF while parsing an object at line 1 column 6"),
        (b"{\"a\":1,\n \"b\" 2}", "not JSON telemetry: expected `:` at line 2 column 6"),
        (b"{\"a\":1}x", "not JSON telemetry: trailing characters at line 1 column 8"),
        (b"{\"a\":1,}", "not JSON telemetry: trailing comma at line 1 column 8"),
        (b"{\"a\":NaN}", "not JSON telemetry: expected value at line 1 column 6"),
        (b"{\"a\":01}", "not JSON telemetry: invalid number at line 1 column 7"),
        (b"{\"a\":1e999}", "not JSON telemetry: number out of range at line 1 column 10"),
        (b"{\"a\":\"\\ud800\"}", "not JSON telemetry: unexpected end of hex escape at line 1 column 13"),
        (
            b"{\"a\":\"\n\"}",
            "not JSON telemetry: control character (\\u0000-\\u001F) found while parsing a string at line 2 column 0",
        ),
        (
            b"5",
            "not JSON telemetry: invalid type: integer `5`, expected an object of key and value, an object of \"ts\" \
             and \"values\", or an array of these at line 1 column 1",
        ),
        (
            b"[1]",
            "not JSON telemetry: invalid type: integer `1`, expected an object of key and value, or an object of \
             \"ts\" and \"values\" at line 1 column 2",
        ),
        (b"{\"a\":\"\xff\"}", "the payload is not UTF-8: wrong byte at position 6"),
        (b"{\"a\":1}\xc3", "the payload is not UTF-8: wrong byte at position 7"),
        (
            b"{\"a b\":1}",
            "key \"a b\": telemetry key has the character ' ' at position 1; use A-Z a-z 0-9 _ - first, then also . : /",
        ),
        (b"{\"\":1}", "key \"\": telemetry key is empty; use 1 to 128 of A-Z a-z 0-9 _ - . :"),
        (
            b"{\"x\":{\"\xc3\xa4\":1}}",
            "key \"x.\u{e4}\": telemetry key has the character '\u{e4}' at position 2; use A-Z a-z 0-9 _ - first, then also . : /",
        ),
        (
            b"{\"ts\":1,\"values\":{\"/a\":1}}",
            "key \"/a\": telemetry key has the character '/' at position 0; use A-Z a-z 0-9 _ - first, then also . : /",
        ),
        (
            b"{\"ts\":1,\"values\":{\"\":1}}",
            "key \"\": telemetry key is empty; use 1 to 128 of A-Z a-z 0-9 _ - . :",
        ),
        (
            b"{\"ts\":9e99,\"values\":{\"a\":1}}",
            "\"ts\" is 9e+99: outside what 64-bit microseconds since 1970 can hold",
        ),
        (
            b"{\"ts\":9223372036854776,\"values\":{\"a\":1}}",
            "\"ts\" is 9223372036854776: outside what 64-bit microseconds since 1970 can hold",
        ),
        (
            b"{\"ts\":18446744073709551615,\"values\":{\"a\":1}}",
            "\"ts\" is 18446744073709551615: outside what 64-bit microseconds since 1970 can hold",
        ),
        (
            b"{\"ts\":1,\"values\":{\"a\":1},\"unit\":\"C\"}",
            "\"unit\" stands beside \"ts\" and \"values\"; put it into \"values\"",
        ),
        (
            b"{\"b\":{\"c\":1},\"values\":{\"a\":1},\"ts\":1}",
            "\"b.c\" stands beside \"ts\" and \"values\"; put it into \"values\"",
        ),
    ];
    for (payload, expected) in table {
        assert_eq!(error("", payload), expected, "{}", String::from_utf8_lossy(payload));
    }
}

#[test]
fn a_text_beside_values_that_is_no_time_is_refused_by_name() {
    for found in ["now", "1795546800000", "2026-11-24", "2026-11-24T19:00:00", ""] {
        let expected = format!(
            "\"ts\" is {found:?}: not a time; use milliseconds since 1970, or RFC 3339 like \"2026-11-24T19:00:00Z\""
        );
        assert_eq!(error("", format!(r#"{{"ts":"{found}","values":{{"a":1}}}}"#)), expected);
        assert_eq!(error("", format!(r#"[{{"values":{{"a":1}},"ts":"{found}"}}]"#)), expected);
    }
    assert!(error("", r#"{"ts":[1],"values":{"a":1}}"#).starts_with("\"ts\" is \"[1]\": not a time"));
    assert_eq!(
        error("", r#"{"ts":"2026-11-24T19:00:00Z","values":{"a":1},"unit":"C"}"#),
        "\"unit\" stands beside \"ts\" and \"values\"; put it into \"values\""
    );
}

#[test]
fn one_bad_object_of_an_array_refuses_the_whole_message() {
    assert!(error("", r#"[{"a":1},{"ü":2}]"#).starts_with("key \"ü\":"));
}

#[test]
fn a_key_has_at_most_128_bytes_also_below_values() {
    let (longest, longer) = ("k".repeat(128), "k".repeat(129));
    assert_eq!(points("", format!(r#"{{"{longest}":1}}"#)), format!("{longest}=1"));
    assert_eq!(points("", format!(r#"{{"values":{{"{longest}":1}},"ts":0}}"#)), format!("{longest}=1@0"));
    for payload in [
        format!(r#"{{"{longer}":1}}"#),
        format!(r#"{{"values":{{"{longer}":1}},"ts":0}}"#),
        format!(r#"{{"values":{{"{longest}":1}},"b":2}}"#),
        format!(r#"{{"{}":1}}"#, "k".repeat(100_000)),
    ] {
        let told = error("", &payload);
        assert!(told.contains("bytes; at most 128 are allowed") && told.len() < 200, "{told}");
    }
}

#[test]
fn depth_has_a_limit_far_above_which_nothing_breaks() {
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let arrays = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    let messages = |depth: usize| format!("[{}]", objects(depth - 1));
    let shapes: [&dyn Fn(usize) -> String; 3] = [&objects, &arrays, &messages];
    for shape in shapes {
        points("", shape(32));
        for depth in [33, 100, 10_000] {
            assert_eq!(error("", shape(depth)), "nested deeper than 32 levels");
        }
    }
    assert!(error("", "[".repeat(100_000)).contains("invalid type: sequence"));
}

#[test]
fn points_have_a_limit() {
    let limits = Limits { max_points: 3, ..Limits::default() };
    let told = |payload: &str| told("", payload.as_bytes(), &limits);
    assert_eq!(told(r#"{"a":1,"b":2,"c":3}"#).unwrap(), "a=1 b=2 c=3");
    assert_eq!(told(r#"{"ts":0,"values":{"a":1,"b":2,"c":3}}"#).unwrap(), "a=1@0 b=2@0 c=3@0");
    assert_eq!(told(r#"{"a":1,"b":2,"c":3,"d":4}"#).unwrap_err(), "more than 3 points in one message");
    assert_eq!(told(r#"{"a":1,"b":2,"c":3,"ts":4}"#).unwrap_err(), "more than 3 points in one message");
    assert_eq!(told(r#"[{"a":1,"b":2},{"a":3,"b":4}]"#).unwrap_err(), "more than 3 points in one message");
}

#[test]
fn text_has_a_limit_and_so_has_an_array_kept_as_text() {
    let limits = Limits { max_text_bytes: 8, ..Limits::default() };
    let told = |payload: &str| told("", payload.as_bytes(), &limits);
    assert_eq!(told(r#"{"a":"12345678"}"#).unwrap(), r#"a="12345678""#);
    assert_eq!(told(r#"{"a":[1,2, 345]}"#).unwrap_err(), "\"a\" has more than 8 bytes of text");
    assert_eq!(told(r#"{"a":[1,2, 34]}"#).unwrap(), r#"a="[1,2,34]""#);
    assert_eq!(told(r#"{"n":{"a":"123456789"}}"#).unwrap_err(), "\"n.a\" has more than 8 bytes of text");
}

#[test]
fn the_last_of_many_equal_points_stays() {
    let many: Vec<String> = (0..1_000).map(|index| format!(r#"{{"k{}":{index}}}"#, index % 100)).collect();
    let expected: Vec<String> = {
        let mut all: Vec<String> = (0..100).map(|key| format!("k{key}={}", 900 + key)).collect();
        all.sort();
        all
    };
    assert_eq!(points("", format!("[{}]", many.join(","))), expected.join(" "));
}
