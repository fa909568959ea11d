//! Reduces samples to one for each interval.

use std::collections::BTreeMap;
use std::time::Duration;

use drover_model::Value;

use crate::newest::weight;
use crate::rollup::{Resolution, Rolled};
use crate::sample::{Aggregation, Stored};
use crate::summary::{Cascade, Summary};
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
            (Aggregation::First | Aggregation::Last, _) | (_, Value::Number(_) | Value::Bool(_)) => sample,
            (_, Value::Text(_)) => Stored { value: Value::Text("".into()), ..sample },
        }
    }

    /// Whether intervals are made of whole times of a resolution.
    pub(crate) fn is_made_of(self, resolution: Resolution) -> bool {
        self.length.is_some_and(|length| length % resolution.length() == 0)
    }

    /// Lengths of time over which is summed up, each out of the one before.
    fn lengths(self) -> Vec<i64> {
        let shorter = Resolution::ALL.into_iter().filter(|it| self.is_made_of(*it)).map(Resolution::length);
        let length = self.length.unwrap_or(0);
        shorter.filter(|it| *it != length).chain([length]).collect()
    }
}

/// The intervals of one series.
#[derive(Debug)]
pub(crate) struct Intervals {
    plan: Plan,
    /// The newest so many are kept.
    limit: usize,
    by_start: BTreeMap<i64, Summary>,
    /// What is not over yet.
    cascade: Cascade,
    last_level: usize,
    /// Whether older ones than these were left out.
    has_more: bool,
}

impl Intervals {
    pub(crate) fn new(plan: Plan, limit: usize) -> Self {
        let lengths = plan.lengths();
        let last_level = lengths.len() - 1;
        let cascade = Cascade::new(lengths.into_iter());
        Self { plan, limit, by_start: BTreeMap::new(), cascade, last_level, has_more: false }
    }

    /// Takes samples that follow those taken before, and what was summed up of other times among theirs; both by time.
    pub(crate) fn add(&mut self, samples: Vec<Stored>, rolled: Vec<Rolled>) {
        let mut rolled = rolled.into_iter().peekable();
        for sample in samples {
            while let Some(earlier) = rolled.next_if(|rolled| rolled.start < sample.ts) {
                self.append(earlier);
            }
            self.with_cascade(|cascade, over| cascade.add(sample, over));
        }
        rolled.for_each(|rolled| self.append(rolled));
    }

    fn append(&mut self, rolled: Rolled) {
        self.with_cascade(|cascade, over| {
            if let Some(level) = cascade.level_of(rolled.resolution.length()) {
                cascade.append(level, rolled.start, rolled.summary, over);
            }
        });
    }

    /// Ends what is not over yet.
    pub(crate) fn finish(&mut self) {
        self.with_cascade(Cascade::finish);
    }

    fn with_cascade(&mut self, act: impl FnOnce(&mut Cascade, &mut crate::summary::Over<'_>)) {
        let Self { plan, limit, by_start, cascade, last_level, has_more } = self;
        act(cascade, &mut |level, start, summary| {
            if level != *last_level {
                return;
            }
            by_start.insert(if plan.length.is_some() { start } else { plan.from }, summary.clone());
            if by_start.len() > *limit {
                by_start.pop_first();
                *has_more = true;
            }
        });
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
    pub(crate) fn reduce(self) -> Vec<Stored> {
        let kind = self.plan.kind;
        self.by_start.into_iter().filter_map(|(start, interval)| interval.reduce(kind, start)).collect()
    }
}
