//! Measures the embedded log: waiting tasks as fast as they can, or at a pace. CPU time is that of the whole process.
//!
//! `log_bench DIRECTORY TASKS SECONDS [MESSAGES_PER_SECOND] [SHARDS]`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use drover_backbone::{Log, LogOptions, Producer, ProducerOptions, Stream};
use drover_proto::RecordRef;
use drover_proto::backbone::v1::Channel;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number =
        |at: usize, default: u64| arguments.get(at).and_then(|text| text.parse().ok()).unwrap_or(default);
    let directory = arguments.first().cloned().unwrap_or_else(|| "log-bench".into());
    let (tasks, seconds, pace) = (number(1, 1000), number(2, 5), number(3, 0));
    let shards = u16::try_from(number(4, 1)).unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime can be built");
    runtime.block_on(run(&directory, tasks, Duration::from_secs(seconds), pace, shards));
}

async fn run(directory: &str, tasks: u64, duration: Duration, pace: u64, shards: u16) {
    let options = LogOptions { shards, ..LogOptions::default() };
    let log = Log::open(&format!("embedded:{directory}"), options).expect("the log opens");
    let producer = Producer::new(&log, ProducerOptions::new(u64::from(std::process::id()), 1));
    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let (before, cpu) = (log.stats(), cpu_us());
    let begin = Instant::now();
    let mut set = tokio::task::JoinSet::new();
    for task in 0..tasks {
        let (producer, stop, sent) = (producer.clone(), stop.clone(), sent.clone());
        set.spawn(async move {
            let device = format!("device-{task}");
            let every = (pace > 0).then(|| Duration::from_micros(1_000_000 * tasks / pace));
            let first = tokio::time::Instant::now()
                + every.unwrap_or_default() * u32::try_from(task).unwrap_or(0)
                    / u32::try_from(tasks).unwrap_or(1);
            let mut timer = every.map(|every| tokio::time::interval_at(first, every));
            while !stop.load(Ordering::Relaxed) {
                if let Some(timer) = &mut timer {
                    timer.tick().await;
                }
                send(&producer, &device).await;
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(duration).await;
    stop.store(true, Ordering::Relaxed);
    while set.join_next().await.is_some() {}
    report(&log, &before, begin.elapsed(), cpu_us() - cpu, sent.load(Ordering::Relaxed));
}

async fn send(producer: &Producer, device: &str) {
    let record = RecordRef {
        tenant: "acme",
        device,
        channel: Channel::Telemetry,
        content_type: "",
        payload: &[b'x'; 90],
        received_us: 1_700_000_000_000_000,
        topic: "",
        traceparent: "",
        session: 0,
        packet_id: 0,
    };
    match producer.append(Stream::Telemetry, &record) {
        Ok(mut ticket) => ticket.durable().await.expect("the log is open"),
        Err(_) => producer.ready(Stream::Telemetry, "acme", device).await,
    }
}

#[expect(clippy::print_stdout, clippy::cast_precision_loss, reason = "a report for people")]
fn report(log: &Log, before: &drover_backbone::LogStats, took: Duration, cpu: u64, sent: u64) {
    let after = log.stats();
    let (frames, syncs) = (after.frames - before.frames, after.syncs - before.syncs);
    println!(
        "{:.0} msg/s, {:.2} us CPU per message, {:.0} frames/s, {:.0} syncs/s, {:.0} bytes per frame, sync p50 <= {} us, p99 <= {} us, mean {} us",
        sent as f64 / took.as_secs_f64(),
        cpu as f64 / sent as f64,
        frames as f64 / took.as_secs_f64(),
        syncs as f64 / took.as_secs_f64(),
        (after.bytes - before.bytes) as f64 / frames as f64,
        after.sync_quantile_us(0.5),
        after.sync_quantile_us(0.99),
        after.sync_sum_us / after.syncs.max(1),
    );
}

/// User and system time of this process, in microseconds: fields 14 and 15 of its `stat`, in ticks of 10 ms.
fn cpu_us() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|field| field.parse::<u64>().ok()).sum::<u64>() * 10_000
}
