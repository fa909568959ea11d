//! The log's figures as metrics, read when they are asked for.

use std::fmt;
use std::time::Duration;

use drover_backbone::{Log, LogStats, SYNC_BOUNDS_US};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::Metrics;

/// Registers the figures as `drover_log_…`.
pub(super) fn register(metrics: &Metrics, log: &Log) {
    metrics.register("log", |registry| registry.register_collector(Box::new(LogCollector(log.clone()))));
}

struct LogCollector(Log);

impl fmt::Debug for LogCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogCollector")
    }
}

impl Collector for LogCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let stats = self.0.stats();
        let counters = [
            ("frames", "Groups of records made durable", stats.frames),
            ("records", "Records made durable", stats.records),
            ("written_bytes", "Bytes written for them", stats.bytes),
            ("failures", "Writes and syncs that failed", stats.failures),
            ("corrupt_frames", "Groups of records lost to damaged bytes", stats.corrupt_frames),
        ];
        for (name, help, count) in counters {
            let counter = ConstCounter::new(count);
            counter.encode(encoder.encode_descriptor(name, help, None, counter.metric_type())?)?;
        }
        let gauges = [
            ("segments", "Segment files", stats.segments),
            ("size_bytes", "Bytes of records kept", stats.size_bytes),
            ("max_bytes", "Bound of the bytes of records kept: log.max_bytes", stats.max_bytes),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        syncs(&mut encoder, &stats)
    }
}

/// Durations of fdatasync in seconds.
fn syncs(encoder: &mut DescriptorEncoder<'_>, stats: &LogStats) -> Result<(), fmt::Error> {
    let seconds = |micros: u64| Duration::from_micros(micros).as_secs_f64();
    let bounds = SYNC_BOUNDS_US.into_iter().map(seconds).chain([f64::INFINITY]);
    let buckets: Vec<_> = bounds.zip(stats.sync_buckets).collect();
    let mut metric =
        encoder.encode_descriptor("sync_seconds", "Durations of fdatasync", None, MetricType::Histogram)?;
    metric.encode_histogram::<NoLabelSet>(seconds(stats.sync_sum_us), stats.syncs, &buckets, None)
}
