//! Nanoseconds a message takes from payload to points. Run with `cargo run --release -p drover-payload --example payload_bench`.
#![expect(clippy::print_stdout, reason = "its output is the result")]

use std::fmt::Write;
use std::hint::black_box;
use std::time::Instant;

use drover_model::Timestamp;
use drover_payload::{Decoded, Limits, decode};

/// Short rounds, of which the best counts: the machine may have other work.
const ROUNDS: u32 = 6_000;
const BYTES_PER_ROUND: usize = 100_000;

fn main() {
    let flat = r#"{"temperature":21.57,"humidity":48.2,"pressure":1013.25,"voltage":3.307,"current":0.1254,"rssi":-67}"#;
    let timed = r#"{"ts":1795546800123,"values":{"temperature":21.57,"humidity":48.2,"pressure":1013.25,"rssi":-67}}"#;
    let senml = r#"[{"bn":"urn:dev:mac:0024befffe804ff1:","bt":1795546800,"n":"temperature","u":"Cel","v":21.57},{"n":"humidity","u":"%RH","v":48.2}]"#;
    let mut hundred = String::from("[");
    for index in 0..100 {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(
            hundred,
            r#"{comma}{{"ts":{},"values":{{"temperature":{}.5}}}}"#,
            1_795_546_800_000u64 + index,
            index
        );
    }
    hundred.push(']');
    measure("JSON, 6 numbers", "application/json", flat.as_bytes());
    measure("JSON, ts and 4 numbers", "", timed.as_bytes());
    measure("JSON, array of 100 with ts", "", hundred.as_bytes());
    measure("CBOR, 6 numbers", "application/cbor", &cbor());
    measure("SenML JSON, 2 records", "application/senml+json", senml.as_bytes());
}

fn cbor() -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = minicbor::Encoder::new(&mut bytes);
    let numbers = [
        ("temperature", 21.57),
        ("humidity", 48.2),
        ("pressure", 1013.25),
        ("voltage", 3.307),
        ("current", 0.1254),
    ];
    encoder.map(6).expect("a Vec takes all");
    for (key, number) in numbers {
        encoder.str(key).and_then(|encoder| encoder.f64(number)).expect("a Vec takes all");
    }
    encoder.str("rssi").and_then(|encoder| encoder.i8(-67)).expect("a Vec takes all");
    bytes
}

fn measure(name: &str, content_type: &str, payload: &[u8]) {
    let mut out = Decoded::default();
    let limits = Limits::default();
    let received = Timestamp::from_millis(1_795_546_800_000);
    let messages = u32::try_from(BYTES_PER_ROUND / payload.len()).unwrap_or(u32::MAX);
    let mut best = f64::INFINITY;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..messages {
            decode(content_type, black_box(payload), received, &limits, &mut out).expect("a good payload");
            black_box(&out);
        }
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(messages));
    }
    println!("{name}: {} bytes, {} points, {best:.0} ns a message", payload.len(), out.len());
}
