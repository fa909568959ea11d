//! What queries ask for and answer with.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{Flags, TelemetryKey, Timestamp, Value};

use crate::Cursor;

/// One stored measurement of a series.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// When; for an aggregate, the start of its interval.
    pub ts: Timestamp,
    /// How much.
    pub value: Value,
    /// Remarks; for an aggregate, the union over its interval.
    pub flags: Flags,
}

/// How the samples of an interval become one. All but `Count`, `First` and `Last` pass over texts; booleans count as 1 and 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aggregation {
    /// Mean.
    Avg,
    /// Smallest.
    Min,
    /// Largest.
    Max,
    /// Sum.
    Sum,
    /// How many, texts too.
    Count,
    /// The oldest, as it was stored.
    First,
    /// The newest, as it was stored.
    Last,
}

/// A question for the samples of one device.
#[derive(Debug, Clone)]
pub struct RangeQuery {
    /// Which keys; empty means all.
    pub keys: Vec<TelemetryKey>,
    /// First time, inclusive.
    pub from: Timestamp,
    /// Last time, exclusive.
    pub to: Timestamp,
    /// Length of the intervals, which begin at whole multiples since 1970. With an aggregation and no interval the range
    /// is one interval; with an interval and no aggregation the mean is taken.
    pub interval: Option<Duration>,
    /// How intervals are reduced; without it and without an interval the samples come as they are.
    pub aggregation: Option<Aggregation>,
    /// Most samples of a key: the newest ones. Further cut so that an answer has at most
    /// [`MAX_ANSWER_SAMPLES`](crate::MAX_ANSWER_SAMPLES) in all, fewer when they are long texts.
    pub limit: usize,
    /// Where an answer to the same question ended; its range then counts, not this one.
    pub resume: Option<Cursor>,
}

/// The samples of one device, ascending in time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RangeAnswer {
    /// The samples of each key that has any.
    pub series: BTreeMap<TelemetryKey, Vec<Sample>>,
    /// Where to go on; none when nothing is left.
    pub next: Option<Cursor>,
    /// Files that may hold samples of the answer but could not be read.
    pub incomplete: Vec<String>,
}

/// A sample with its place in the log, on its way into an answer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Stored {
    pub(crate) ts: i64,
    pub(crate) seq: u64,
    pub(crate) value: Value,
    pub(crate) flags: Flags,
}

impl Stored {
    /// Whether this one is shown when both are of one key and the newer time counts.
    pub(crate) fn supersedes(&self, other: &Self) -> bool {
        (self.ts, self.seq) >= (other.ts, other.seq)
    }

    pub(crate) fn into_sample(self) -> Sample {
        Sample { ts: Timestamp::from_micros(self.ts), value: self.value, flags: self.flags }
    }
}

/// Sorts by time, and keeps of each time only the sample that came last in the log.
pub(crate) fn settle(samples: &mut Vec<Stored>) {
    samples.sort_by_key(|sample| (sample.ts, sample.seq));
    samples.dedup_by(|later, kept| {
        let same = later.ts == kept.ts;
        if same {
            std::mem::swap(later, kept);
        }
        same
    });
}
