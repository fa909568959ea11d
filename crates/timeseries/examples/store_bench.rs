//! Measures the store on weather-like points: `cargo run --release -p drover-timeseries --example store_bench`.

use std::time::{Duration, Instant};

use drover_db::Db;
use drover_model::{DeviceId, Flags, TelemetryKey, Tenant, TenantId, Timestamp, ValueRef};
use drover_timeseries::{Aggregation, RangeQuery, Store, StoreOptions};

const KEYS: usize = 20;
const MINUTE: i64 = 60_000_000;
const START: i64 = 1_790_000_000_000_000;

/// Points that a file gets, and how many files.
const SETS: [(&str, usize, usize, usize); 2] =
    [("35 devices a day a file", 35, 1_440, 10), ("1,000 devices an hour a file", 1_000, 60, 3)];

/// A small generator of repeatable noise.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// Sensors that wander by tenths.
struct Sensors {
    tenths: Vec<i32>,
    noise: Noise,
}

impl Sensors {
    fn new(devices: usize) -> Self {
        let tenths = (0..devices * KEYS).map(|sensor| 200 + i32::try_from(sensor % KEYS).unwrap_or(0) * 37).collect();
        Self { tenths, noise: Noise(0x9e37_79b9_7f4a_7c15) }
    }

    /// The next minute of every device: its jitter and its values.
    fn minute(&mut self) -> Vec<(i64, Vec<f64>)> {
        let noise = &mut self.noise;
        let devices = self.tenths.chunks_mut(KEYS).map(|sensors| {
            let jitter = i64::try_from(noise.next() % 1_000_000).unwrap_or(0);
            let values = sensors.iter_mut().map(|tenths| {
                *tenths += i32::try_from(noise.next() % 7).unwrap_or(0) - 3;
                f64::from(*tenths) / 10.0
            });
            (jitter, values.collect())
        });
        devices.collect()
    }
}

fn cpu() -> Duration {
    let usage = rustix_free_cpu();
    Duration::from_micros(usage)
}

/// CPU time of the process in microseconds, from /proc.
fn rustix_free_cpu() -> u64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").unwrap_or_default();
    let threads = std::fs::read_dir("/proc/self/task").map(|tasks| {
        tasks
            .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok())
            .filter_map(|line| line.split(' ').next()?.parse::<u64>().ok())
            .sum::<u64>()
    });
    threads.unwrap_or_else(|_| text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0)) / 1_000
}
