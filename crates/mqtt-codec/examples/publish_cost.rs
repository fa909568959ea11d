//! Prints the nanoseconds that decoding and encoding a PUBLISH of QoS 1 with 128 bytes take, as `make bench` shows
//! them. Run it with `cargo run --release -p drover-mqtt-codec --example publish_cost`.

#![expect(clippy::print_stdout, reason = "its output is its purpose")]

use std::hint::black_box;
use std::num::NonZeroU16;
use std::time::Instant;

use bytes::BytesMut;
use drover_mqtt_codec::{PublishRef, QoS, Version, decode, encode_puback, encode_publish, topic};

/// Packets in one scratch buffer, about what a gateway reads at once from a busy socket.
const PACKETS: u32 = 400;
const ROUNDS: u32 = 5_000;

fn main() {
    let payload = [b'7'; 128];
    let publish = PublishRef {
        qos: QoS::AtLeastOnce,
        packet_id: Some(NonZeroU16::MIN),
        ..PublishRef::new("v1/devices/meter-0001/telemetry", &payload)
    };
    for version in [Version::V4, Version::V5] {
        let mut out = BytesMut::new();
        measure(&format!("encode_publish {version:?}"), || {
            out.clear();
            for _ in 0..PACKETS {
                encode_publish(black_box(&publish), version, &mut out).expect("the publish is valid");
            }
            black_box(&mut out);
        });
        let mut scratch = BytesMut::with_capacity(out.len());
        measure(&format!("decode {version:?}"), || {
            // One copy for all packets stands for the read from the socket.
            scratch.reserve(out.len());
            scratch.extend_from_slice(&out);
            while let Some(packet) =
                decode(&mut scratch, Some(version), 1 << 20).expect("the bytes are valid")
            {
                black_box(packet);
            }
        });
    }
    let mut out = BytesMut::new();
    measure("encode_puback", || {
        out.clear();
        for _ in 0..PACKETS {
            encode_puback(black_box(NonZeroU16::MIN), &mut out);
        }
        black_box(&mut out);
    });
    measure("topic::matches", || {
        for _ in 0..PACKETS {
            black_box(topic::matches(black_box("v1/devices/+/telemetry"), black_box(publish.topic)));
        }
    });
}

fn measure(what: &str, mut run: impl FnMut()) {
    // The fastest round is the one that nothing else on the machine disturbed.
    let fastest = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        run();
        start.elapsed()
    });
    let ns = fastest.min().unwrap_or_default().as_secs_f64() * 1e9 / f64::from(PACKETS);
    println!("{what:<20} {ns:6.1} ns");
}
