//! Any bytes as a payload of every format. The first byte chooses the limits; every point that comes out must be legal.
#![no_main]

use drover_model::{TelemetryKey, Timestamp, ValueRef};
use drover_payload::{Decoded, Limits, check_event, decode};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&choice, payload)) = input.split_first() else { return };
    let small = Limits { max_points: 4, max_depth: 3, max_text_bytes: 16 };
    let limits = if choice % 2 == 0 { Limits::default() } else { small };
    let received = Timestamp::from_millis(1_795_546_800_000);
    let mut out = Decoded::default();
    for format in ["", "application/cbor", "application/senml+json", "application/senml+cbor"] {
        let result = decode(format, payload, received, &limits, &mut out);
        assert!(result.is_ok() || out.is_empty());
        assert!(out.len() <= limits.max_points);
        for point in out.points() {
            TelemetryKey::check(point.key).expect("keys are checked");
            match point.value {
                ValueRef::Number(number) => assert!(number.is_finite()),
                ValueRef::Text(text) => assert!(text.len() <= limits.max_text_bytes),
                ValueRef::Bool(_) => {}
            }
        }
    }
    let _ = check_event(payload, &limits);
});
