//! Settings of the stream service; their defaults stand in default.toml.

use drover_runtime::Section;
use drover_runtime::config::Range;
use serde::{Deserialize, Serialize};

/// Settings of the stream service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A head of so many points is written to a file.
    pub flush_points: usize,
    /// A head that takes so much memory is written to a file, in bytes.
    pub flush_bytes: usize,
    /// A head that holds anything is written after so many seconds.
    pub flush_interval_s: u64,
    /// How far a device's time may lie ahead of the server's.
    pub max_future_s: u64,
    /// Points that one message may hold.
    pub max_points_per_message: usize,
    /// Bytes of one text value.
    pub max_text_bytes: usize,
    /// Keys that one device may have.
    pub max_keys_per_device: usize,
    /// Bytes of text that the latest values of one device may have.
    pub max_latest_text_bytes_per_device: usize,
    /// Newest dead letters that are kept for each tenant.
    pub dead_letters_per_tenant: u32,
    /// Bytes of their payloads.
    pub dead_letters_bytes_per_tenant: u64,
    /// Newest events that are kept for each tenant.
    pub events_per_tenant: u32,
    /// Bytes of them.
    pub events_bytes_per_tenant: u64,
    /// Days that points are kept of which no rule of their tenant speaks; 0 for ever.
    pub retention_days: u32,
    /// Files of flushes that are merged at a time.
    pub compact_files: usize,
    /// Memory that one query may have, in bytes.
    pub query_memory_bytes: usize,
    /// Time that one query may take.
    pub query_timeout_s: u64,
    /// Rows of one query's answer.
    pub query_max_rows: u64,
    /// Queries at a time.
    pub queries: usize,
    /// Readers of the feed at a time.
    pub subscriptions: usize,
    /// Those of one tenant.
    pub subscriptions_per_tenant: u32,
    /// Groups whose place in the feed is remembered, of one tenant.
    pub feed_groups_per_tenant: u32,
}

impl Section for Config {
    const RANGES: &'static [Range] = &[
        ("flush_points", 1, 20_000_000),
        ("flush_bytes", 1_048_576, 1_073_741_824),
        ("flush_interval_s", 1, 86_400),
        ("max_future_s", 0, 31_536_000),
        ("max_points_per_message", 1, 1_000_000),
        ("max_text_bytes", 1, 1_048_576),
        ("max_keys_per_device", 1, 100_000),
        ("max_latest_text_bytes_per_device", 1, 67_108_864),
        ("dead_letters_per_tenant", 1, 100_000_000),
        ("dead_letters_bytes_per_tenant", 1_048_576, 1_099_511_627_776),
        ("events_per_tenant", 1, 100_000_000),
        ("events_bytes_per_tenant", 1_048_576, 1_099_511_627_776),
        ("retention_days", 0, 36_500),
        ("compact_files", 2, 64),
        ("query_memory_bytes", 1_048_576, 1_099_511_627_776),
        ("query_timeout_s", 1, 3_600),
        ("query_max_rows", 1, 1_000_000_000),
        ("queries", 1, 64),
        ("subscriptions", 1, 100_000),
        ("subscriptions_per_tenant", 1, 100_000),
        ("feed_groups_per_tenant", 1, 10_000),
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_highest_bounds_the_latest_values_of_a_device_are_a_row_that_sqlite_takes() {
        const SQLITE_MAX_BYTES: i64 = 1_000_000_000;
        /// The longest key, the numbers of a sample and their lengths.
        const SAMPLE_BYTES: i64 = 128 + 64;
        let highest = |name| Config::RANGES.iter().find(|(range, ..)| *range == name).unwrap().2;
        let row = highest("max_keys_per_device") * SAMPLE_BYTES + highest("max_latest_text_bytes_per_device");
        assert!(row * 5 / 4 < SQLITE_MAX_BYTES / 8, "{row}");
    }
}
