//! Figures of the process itself, under the names that Prometheus gives them everywhere; read when they are asked for. Linux only:
//! elsewhere they are absent.

use std::fmt;

use drover_model::Timestamp;
use procfs_core::process::{LimitValue, Limits, Stat, Status};
use procfs_core::{FromRead, ProcResult};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::Metrics;

/// Linux counts processor time for programs in hundredths of a second, whatever its own clock is (USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Registers the figures as `process_…`. The process has started now.
pub(crate) fn register(metrics: &Metrics, now: Timestamp) {
    metrics.register_standard(Box::new(ProcessCollector { start: now }));
}

#[derive(Debug)]
struct ProcessCollector {
    start: Timestamp,
}

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let start = ConstGauge::new(float(self.start.as_micros().unsigned_abs()) / 1e6);
        let help = "When the process started, in seconds since 1970";
        let name = "process_start_time_seconds";
        start.encode(encoder.encode_descriptor(name, help, None, start.metric_type())?)?;
        // Without /proc, as in a sandbox, the rest of the metrics is still there.
        match Figures::read() {
            Ok(figures) => figures.encode(&mut encoder),
            Err(error) => {
                tracing::debug!("the figures of the process can't be read: {error}");
                Ok(())
            }
        }
    }
}

struct Figures {
    cpu_seconds: f64,
    resident_kib: Option<u64>,
    virtual_kib: Option<u64>,
    open_files: u64,
    /// None when it is unlimited.
    max_files: Option<u64>,
    threads: u64,
}

impl Figures {
    fn read() -> ProcResult<Self> {
        let stat = Stat::from_file("/proc/self/stat")?;
        let status = Status::from_file("/proc/self/status")?;
        let max_files = match Limits::from_file("/proc/self/limits")?.max_open_files.soft_limit {
            LimitValue::Value(files) => Some(files),
            LimitValue::Unlimited => None,
        };
        // One of them is the folder that is being read.
        let open_files = std::fs::read_dir("/proc/self/fd")?.count().saturating_sub(1);
        Ok(Self {
            cpu_seconds: float(stat.utime.saturating_add(stat.stime)) / TICKS_PER_SECOND,
            resident_kib: status.vmrss,
            virtual_kib: status.vmsize,
            open_files: open_files as u64,
            max_files,
            threads: status.threads,
        })
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let cpu = ConstCounter::new(self.cpu_seconds);
        let help = "Processor time of the process, user and system, in seconds";
        cpu.encode(encoder.encode_descriptor("process_cpu_seconds", help, None, cpu.metric_type())?)?;
        let bytes = |kib: u64| kib.saturating_mul(1_024);
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Memory of the process that is in RAM",
                self.resident_kib.map(bytes),
            ),
            ("process_virtual_memory_bytes", "Address space of the process", self.virtual_kib.map(bytes)),
            ("process_open_fds", "Files and sockets that the process has open", Some(self.open_files)),
            ("process_max_fds", "Files and sockets that it may have open", self.max_files),
            ("process_threads", "Threads of the process", Some(self.threads)),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value else { continue };
            let gauge = ConstGauge::new(float(value));
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus has nothing but such numbers")]
fn float(whole: u64) -> f64 {
    whole as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_the_process_have_their_standard_names() {
        let metrics = Metrics::default();
        register(&metrics, Timestamp::from_millis(1_795_546_800_500));
        let text = metrics.encode();
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{name} is none of {text}")).parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6);
        assert!((3.0..value("process_max_fds")).contains(&value("process_open_fds")));
        assert!((value("process_start_time_seconds") - 1_795_546_800.5).abs() < 1e-3);
        assert!(value("process_threads") >= 1.0);
        assert!(value("process_cpu_seconds_total") >= 0.0);
    }
}
