//! Reduces samples to one for each interval.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::{Flags, Value};

use crate::newest::weight;
use crate::sample::{Aggregation, Stored};
use crate::{RangeQuery, StoreError};

/// Longest interval: a thousand years of 365 days.
const MAX_INTERVAL: Duration = Duration::from_secs(1_000 * 365 * 86_400);

/// How a query cuts time into intervals and what becomes of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Microseconds; without it there is one interval.
    length: Option<i64>,
    /// Where that one interval begins.
    from: i64,
    kind: Aggregation,
}

impl Plan {
    /// The plan of a query; none when it asks for the samples as they are.
    pub(crate) fn of(query: &RangeQuery) -> Result<Option<Self>, StoreError> {
        if query.interval.is_none() && query.aggregation.is_none() {
            return Ok(None);
        }
        let length = match query.interval {
            Some(length) if length > MAX_INTERVAL || length.as_micros() == 0 => {
                return Err(StoreError::Interval);
            }
            Some(length) => Some(i64::try_from(length.as_micros()).map_err(|_| StoreError::Interval)?),
            None => None,
        };
        let kind = query.aggregation.unwrap_or(Aggregation::Avg);
        Ok(Some(Self { length, from: query.from.as_micros(), kind }))
    }

    /// What of a sample counts: of a text, for most, only that there is one.
    pub(crate) fn relevant(self, sample: Stored) -> Stored {
        match (self.kind, &sample.value) {
            (Aggregation::Last, _) | (_, Value::Number(_) | Value::Bool(_)) => sample,
            (_, Value::Text(_)) => Stored { value: Value::Text("".into()), ..sample },
        }
    }

    fn start(self, ts: i64) -> i64 {
        self.length.map_or(self.from, |length| ts.div_euclid(length).saturating_mul(length))
    }
}

/// What is known of one interval.
#[derive(Debug)]
struct Interval {
    samples: u64,
    numbers: u64,
    sum: f64,
    min: f64,
    max: f64,
    flags: Flags,
    last: Stored,
}

/// The intervals of one series.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    by_start: BTreeMap<i64, Interval>,
    /// Whether older ones than these were left out.
    has_more: bool,
}

impl Intervals {
    /// Takes samples that follow those taken before, and keeps the newest `limit` intervals.
    pub(crate) fn add(&mut self, plan: Plan, limit: usize, samples: Vec<Stored>) {
        for sample in samples {
            let start = plan.start(sample.ts);
            self.by_start.entry(start).or_insert_with(|| Interval::starting(&sample)).add(sample);
            if self.by_start.len() > limit {
                self.by_start.pop_first();
                self.has_more = true;
            }
        }
    }

    /// What the samples will take of an answer, at the most.
    pub(crate) fn weight(&self) -> usize {
        self.by_start.values().map(|interval| weight(&interval.last)).sum()
    }

    /// Keeps the newest that weigh no more than `share`, at least one.
    pub(crate) fn keep_newest(&mut self, share: usize) {
        let mut bytes = self.weight();
        while bytes > share && self.by_start.len() > 1 {
            let oldest = self.by_start.pop_first();
            bytes -= oldest.map_or(0, |(_, interval)| weight(&interval.last));
            self.has_more = true;
        }
    }

    /// Where the oldest begins, when older ones were left out.
    pub(crate) fn floor(&self) -> Option<i64> {
        self.by_start.keys().next().copied().filter(|_| self.has_more)
    }

    /// One sample for each interval that has a value.
    pub(crate) fn reduce(self, plan: Plan) -> Vec<Stored> {
        self.by_start.into_iter().filter_map(|(start, interval)| interval.reduce(plan.kind, start)).collect()
    }
}

impl Interval {
    fn starting(sample: &Stored) -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        Self { samples: 0, numbers: 0, sum: 0.0, min, max, flags: Flags::NONE, last: sample.clone() }
    }

    fn add(&mut self, sample: Stored) {
        self.samples += 1;
        self.flags = self.flags.with(sample.flags);
        let number = match sample.value {
            Value::Number(number) => Some(number),
            Value::Bool(truth) => Some(f64::from(u8::from(truth))),
            Value::Text(_) => None,
        };
        if let Some(number) = number {
            self.numbers += 1;
            self.sum += number;
            self.min = self.min.min(number);
            self.max = self.max.max(number);
        }
        self.last = sample;
    }

    #[expect(clippy::cast_precision_loss, reason = "a count beyond 2^53 may be rounded")]
    fn reduce(self, kind: Aggregation, start: i64) -> Option<Stored> {
        let some = |number| (self.numbers > 0).then_some(Value::Number(number));
        let value = match kind {
            Aggregation::Avg => some(self.sum / self.numbers as f64),
            Aggregation::Min => some(self.min),
            Aggregation::Max => some(self.max),
            Aggregation::Sum => some(self.sum),
            Aggregation::Count => Some(Value::Number(self.samples as f64)),
            Aggregation::Last => Some(self.last.value),
        };
        Some(Stored { ts: start, seq: self.last.seq, value: value?, flags: self.flags })
    }
}
