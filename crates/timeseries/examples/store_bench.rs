//! Measures the store on weather-like points: `cargo run --release -p drover-timeseries --example store_bench`.
//! Times of push and flush are CPU times of the whole process.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement prints, and is its own authority"
)]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use drover_db::Db;
use drover_model::{DeviceId, Flags, TelemetryKey, Tenant, TenantId, Timestamp, ValueRef};
use drover_timeseries::{Aggregation, RangeQuery, Store, StoreOptions};

const MINUTE: i64 = 60_000_000;
const START: i64 = 1_790_000_000_000_000;
const SHARD: u16 = 0;

/// Points of one measurement: each device sends all of its keys once a minute; a file gets `minutes` of that.
struct Shape {
    name: &'static str,
    devices: usize,
    keys: usize,
    minutes: usize,
    files: usize,
}

const SHAPES: [Shape; 4] = [
    Shape { name: "a day of 35 devices a file", devices: 35, keys: 20, minutes: 1_440, files: 10 },
    Shape { name: "an hour of 1,000 devices a file", devices: 1_000, keys: 20, minutes: 60, files: 3 },
    Shape { name: "5 minutes of 10,000 devices a file", devices: 10_000, keys: 20, minutes: 5, files: 3 },
    Shape {
        name: "a minute of 10,000 devices with 3 keys a file",
        devices: 10_000,
        keys: 3,
        minutes: 1,
        files: 5,
    },
];

/// A small generator of repeatable noise.
struct Noise(u64);

impl Noise {
    fn below(&mut self, bound: i32) -> i32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        i32::try_from(self.0 % u64::from(bound.unsigned_abs())).unwrap_or(0)
    }
}

/// Sensors that wander by tenths.
struct Sensors {
    tenths: Vec<i32>,
    noise: Noise,
    seq: u64,
}

impl Sensors {
    /// One minute of all devices.
    fn minute(&mut self, keys: usize, minute: i64) -> Vec<(Timestamp, f64)> {
        let mut points = Vec::with_capacity(self.tenths.len());
        for sensors in self.tenths.chunks_mut(keys) {
            let ts = Timestamp::from_micros(START + minute * MINUTE + i64::from(self.noise.below(1_000_000)));
            for tenths in sensors {
                *tenths += self.noise.below(7) - 3;
                points.push((ts, f64::from(*tenths) / 10.0));
            }
        }
        points
    }

    fn push(&mut self, store: &Store, names: &Names, points: &[(Timestamp, f64)]) {
        let keys = names.keys.len();
        for (devices, points) in names.devices.chunks(256).zip(points.chunks(256 * keys)) {
            store.apply(SHARD, |head| {
                for (device, points) in devices.iter().zip(points.chunks(keys)) {
                    self.seq += if self.seq % 1024 == 511 { 513 } else { 1 };
                    let slot = head.device("weather", device);
                    for (key, (ts, number)) in names.keys.iter().zip(points) {
                        head.push(slot, key, *ts, ValueRef::Number(*number), self.seq, Flags::NONE);
                    }
                }
            });
        }
    }
}

#[derive(Clone)]
struct Names {
    devices: Vec<String>,
    keys: Vec<String>,
}

/// CPU time of all threads that there are.
fn cpu() -> Duration {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return Duration::ZERO };
    let texts = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok());
    Duration::from_nanos(texts.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok()).sum())
}

async fn flush(db: &Db, store: &Store) -> anyhow::Result<()> {
    if let Some(flush) = store.freeze_and_write(SHARD).await? {
        let mut tx = db.begin().await?;
        flush.record(&mut tx).await?;
        tx.commit().await?;
        flush.publish();
    }
    Ok(())
}

async fn measure(shape: &Shape) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let db = Db::open(&dir.path().join("drover.db")).await?;
    let open = || Store::open(db.clone(), dir.path().join("points"), StoreOptions::default());
    let store = open().await?;
    let names = Names {
        devices: (0..shape.devices).map(|device| format!("station-{device:05}")).collect(),
        keys: (0..shape.keys).map(|key| format!("sensor{key:02}.reading")).collect(),
    };
    let tenths =
        (0..shape.devices * shape.keys).map(|sensor| i32::try_from(sensor % shape.keys).unwrap_or(0) * 37);
    let mut sensors = Sensors { tenths: tenths.collect(), noise: Noise(0x9e37_79b9_7f4a_7c15), seq: 0 };
    let (mut pushing, mut flushing, mut head_bytes, mut minute) = (Duration::ZERO, Duration::ZERO, 0, 0);
    for _ in 0..shape.files {
        let minutes: Vec<_> = (0..shape.minutes)
            .map(|_| {
                minute += 1;
                sensors.minute(shape.keys, minute - 1)
            })
            .collect();
        let before = cpu();
        minutes.iter().for_each(|points| sensors.push(&store, &names, points));
        pushing += cpu().saturating_sub(before);
        head_bytes = head_bytes.max(store.head_bytes(SHARD));
        let before = cpu();
        flush(&db, &store).await?;
        flushing += cpu().saturating_sub(before);
    }
    let files: u64 = std::fs::read_dir(dir.path().join("points"))?
        .map(|file| Ok(file?.metadata()?.len()))
        .sum::<std::io::Result<u64>>()?;
    let points = shape.devices * shape.keys * shape.minutes * shape.files;
    let each = |time: Duration| time.as_nanos() as f64 / points as f64;
    println!("{}: {} points in {} files", shape.name, points, shape.files);
    println!("  push {:.1} ns, flush {:.1} ns CPU a point", each(pushing), each(flushing));
    println!(
        "  {:.2} B a point in files, {:.1} B in memory",
        files as f64 / points as f64,
        head_bytes as f64 * shape.files as f64 / points as f64
    );
    questions(shape, &open().await?, &names).await
}

async fn questions(shape: &Shape, store: &Store, names: &Names) -> anyhow::Result<()> {
    let tenant = Tenant::authenticated(TenantId::parse("weather")?);
    let device = DeviceId::parse(&names.devices[shape.devices / 2])?;
    let key = TelemetryKey::parse(&names.keys[shape.keys / 2])?;
    let minutes = i64::try_from(shape.minutes * shape.files)?;
    let whole = RangeQuery {
        keys: vec![key],
        from: Timestamp::from_micros(START),
        to: Timestamp::from_micros(START + minutes * MINUTE),
        interval: None,
        aggregation: None,
        limit: 100_000,
        resume: None,
    };
    let from = START + minutes * MINUTE / 2;
    let day = RangeQuery {
        from: Timestamp::from_micros(from),
        to: Timestamp::from_micros(from + 1_440 * MINUTE),
        ..whole.clone()
    };
    let hours = RangeQuery {
        interval: Some(Duration::from_hours(1)),
        aggregation: Some(Aggregation::Avg),
        ..whole.clone()
    };
    let last = RangeQuery { limit: 1, ..whole.clone() };
    for (what, query) in
        [("one day", &day), ("hourly means of all", &hours), ("all", &whole), ("newest of all", &last)]
    {
        let mut times = Vec::new();
        let mut samples = 0;
        for _ in 0..20 {
            let start = Instant::now();
            let answer = store.range(SHARD, &tenant, &device, query).await?;
            times.push(start.elapsed());
            samples = answer.series.values().map(Vec::len).sum();
        }
        let first = times[0];
        times.sort();
        println!(
            "  {what} of one series: {samples} samples, first {first:.1?}, then {:.1?}",
            times[times.len() / 2]
        );
    }
    for _ in 0..2 {
        let start = Instant::now();
        let page = store.list_latest(&tenant, None, 10_000).await?;
        println!("  list_latest of {} devices: {:.1?}", page.devices.len(), start.elapsed());
    }
    let start = Instant::now();
    store.latest(SHARD, &tenant, &device).await?;
    println!("  latest of one device: {:.1?}", start.elapsed());
    let (store, names) = (store.clone(), names.clone());
    tokio::task::spawn_blocking(move || latest_in_memory(&store, &tenant, &names)).await?
}

/// Pages of devices that are all in the head, and how long a writer waited meanwhile.
fn latest_in_memory(store: &Store, tenant: &Tenant, names: &Names) -> anyhow::Result<()> {
    for some in names.devices.chunks(100) {
        store.apply(SHARD, |head| {
            for device in some {
                let slot = head.device("weather", device);
                for key in &names.keys {
                    head.push(slot, key, Timestamp::MAX, ValueRef::Number(1.0), u64::MAX, Flags::NONE);
                }
            }
        });
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut waits = Vec::new();
            while !done.load(Ordering::Relaxed) {
                let start = Instant::now();
                store.apply(SHARD, |_| ());
                waits.push(start.elapsed());
                std::thread::sleep(Duration::from_micros(20));
            }
            waits.sort();
            waits
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for _ in 0..5 {
            let start = Instant::now();
            let page = runtime.block_on(store.list_latest(tenant, None, 10_000))?;
            println!("  list_latest of {} devices in memory: {:.1?}", page.devices.len(), start.elapsed());
        }
        done.store(true, Ordering::Relaxed);
        let waits = writer.join().map_err(|_| anyhow::anyhow!("the writer failed"))?;
        let at = |share: usize| waits.get(waits.len() * share / 1_000).copied().unwrap_or_default();
        println!(
            "  a writer meanwhile waited {:.1?} (99 %), {:.1?} (99.9 %), {:.1?} at the most",
            at(990),
            at(999),
            waits.last().copied().unwrap_or_default()
        );
        Ok(())
    })
}

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    SHAPES.iter().try_for_each(|shape| runtime.block_on(measure(shape)))
}
