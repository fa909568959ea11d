//! Figures of the log since it was opened.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Upper bounds of the buckets of [`LogStats::sync_buckets`], in microseconds; one more bucket is above them.
pub const SYNC_BOUNDS_US: [u64; 12] =
    [100, 200, 400, 800, 1_600, 3_200, 6_400, 12_800, 25_600, 51_200, 102_400, 1_000_000];

/// Damaged places that are remembered so as to be reported once.
const KNOWN_PLACES: usize = 1024;

/// Figures of the log since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Frames made durable.
    pub frames: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes written for them.
    pub bytes: u64,
    /// Calls of fdatasync.
    pub syncs: u64,
    /// Their durations by [`SYNC_BOUNDS_US`]; not cumulative.
    pub sync_buckets: [u64; SYNC_BOUNDS_US.len() + 1],
    /// Sum of their durations, in microseconds.
    pub sync_sum_us: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of records kept.
    pub size_bytes: u64,
    /// Their bound.
    pub max_bytes: u64,
    /// Writes and syncs that failed.
    pub failures: u64,
    /// Frames that were lost to damaged bytes in the middle of the log, as far as their number is known.
    pub corrupt_frames: u64,
    /// Where the last damage was found.
    pub corruption: Option<String>,
}

impl LogStats {
    /// The duration, in microseconds, that the given share (0 to 1) of all syncs stayed below: a bound of a bucket.
    pub fn sync_quantile_us(&self, share: f64) -> u64 {
        let mut left = self.syncs;
        for (count, bound) in self.sync_buckets.iter().zip(SYNC_BOUNDS_US) {
            left = left.saturating_sub(*count);
            #[expect(clippy::cast_precision_loss, reason = "a share of a count needs no last digit")]
            if (left as f64) <= (1.0 - share) * self.syncs as f64 {
                return bound;
            }
        }
        u64::MAX
    }
}

/// Where the writers and readers count.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames: AtomicU64,
    pub(crate) records: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) segments: AtomicU64,
    pub(crate) size_bytes: AtomicU64,
    pub(crate) failures: AtomicU64,
    syncs: AtomicU64,
    sync_buckets: [AtomicU64; SYNC_BOUNDS_US.len() + 1],
    sync_sum_us: AtomicU64,
    corrupt_frames: AtomicU64,
    /// The newest places where damage was found.
    corruption: Mutex<VecDeque<String>>,
}

impl Counters {
    pub(crate) fn synced(&self, took: Duration) {
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let bucket = SYNC_BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(SYNC_BOUNDS_US.len());
        if let Some(bucket) = self.sync_buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.sync_sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// Counts frames that damaged bytes took away, and says so: once, however many readers come by.
    pub(crate) fn corrupt(&self, frames: u64, place: String) {
        let mut known = self.corruption.lock();
        if known.contains(&place) {
            return;
        }
        tracing::error!(log.frames = frames, "the log is damaged in its middle: {place}");
        self.corrupt_frames.fetch_add(frames, Ordering::Relaxed);
        known.truncate(KNOWN_PLACES - 1);
        known.push_front(place);
    }

    pub(crate) fn read(&self) -> LogStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LogStats {
            frames: of(&self.frames),
            records: of(&self.records),
            bytes: of(&self.bytes),
            syncs: of(&self.syncs),
            sync_buckets: std::array::from_fn(|at| self.sync_buckets.get(at).map_or(0, of)),
            sync_sum_us: of(&self.sync_sum_us),
            segments: of(&self.segments),
            max_bytes: 0,
            size_bytes: of(&self.size_bytes),
            failures: of(&self.failures),
            corrupt_frames: of(&self.corrupt_frames),
            corruption: self.corruption.lock().front().cloned(),
        }
    }
}
