//! Answers range queries: rows of the head and rows of files become series, in bounded memory.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use drover_model::TelemetryKey;
use hashbrown::HashMap;

use crate::aggregate::{Intervals, Plan};
use crate::damage::Damage;
use crate::file::{Part, Wanted};
use crate::footers::Footers;
use crate::read::read_part;
use crate::sample::{RangeAnswer, Stored, settle};

/// Most samples of an answer, over all of its keys.
pub const MAX_ANSWER_SAMPLES: usize = 100_000;

/// Most rows of one device that an aggregation holds at a time; a time span with more is halved.
const MAX_WINDOW_ROWS: usize = 256 * 1024;

/// The rows of each key.
pub(crate) type Series = HashMap<String, Vec<Stored>>;

/// Everything that a query reads, as of one moment.
pub(crate) struct Reading {
    pub(crate) dir: PathBuf,
    pub(crate) footers: Arc<Footers>,
    pub(crate) damage: Arc<Damage>,
    pub(crate) head: Series,
    pub(crate) parts: Vec<Arc<Part>>,
    pub(crate) wanted: Wanted,
    pub(crate) incomplete: BTreeSet<Arc<str>>,
}

impl Reading {
    /// The newest `limit` samples of each key. Blocks.
    pub(crate) fn raw(mut self, limit: usize) -> RangeAnswer {
        let mut newest = Newest { series: Series::new(), rows: 0, compact_at: 2 * MAX_ANSWER_SAMPLES, limit };
        for (key, samples) in std::mem::take(&mut self.head) {
            samples.into_iter().for_each(|sample| newest.add(&key, sample));
        }
        let mut parts = std::mem::take(&mut self.parts);
        parts.sort_unstable_by_key(|part| std::cmp::Reverse(part.max_ts));
        for part in parts {
            if newest.floor(&self.wanted.keys).is_some_and(|floor| part.max_ts < floor) {
                break;
            }
            self.read(&part, &self.wanted.clone(), &mut |key, sample| {
                newest.add(key, sample);
                true
            });
        }
        newest.compact();
        self.answer(newest.series)
    }

    /// One sample for each key and interval. Blocks.
    pub(crate) fn aggregated(mut self, plan: Plan, limit: usize) -> RangeAnswer {
        let times = self.head.values().flatten().map(|sample| (sample.ts, sample.ts));
        let times = times.chain(self.parts.iter().map(|part| (part.min_ts, part.max_ts)));
        let (min, max) =
            times.fold((i64::MAX, i64::MIN), |(min, max), (low, high)| (min.min(low), max.max(high)));
        let first = min.max(self.wanted.from);
        let end = max.saturating_add(1).min(self.wanted.to);
        let mut intervals: HashMap<String, Intervals> = HashMap::new();
        let mut windows = vec![(first, end)];
        while let Some((from, to)) = windows.pop() {
            if from >= to {
                continue;
            }
            let Some(window) = self.window(from, to) else {
                let middle = from.midpoint(to);
                windows.push((middle, to));
                windows.push((from, middle));
                continue;
            };
            for (key, mut samples) in window {
                settle(&mut samples);
                intervals.entry(key).or_default().add(plan, limit, samples);
            }
            if intervals.values().map(Intervals::len).sum::<usize>() > MAX_ANSWER_SAMPLES {
                let share = share(limit, intervals.len());
                intervals.values_mut().for_each(|series| series.keep_newest(share));
            }
        }
        self.answer(intervals.into_iter().map(|(key, series)| (key, series.reduce(plan))).collect())
    }

    /// All rows of a span; none when there are too many and the span can be halved.
    fn window(&mut self, from: i64, to: i64) -> Option<Series> {
        let wanted = Wanted { from, to, ..self.wanted.clone() };
        let most = if to.saturating_sub(from) > 1 { MAX_WINDOW_ROWS } else { usize::MAX };
        let mut series = Series::new();
        let mut rows = 0;
        for (key, samples) in &self.head {
            let inside: Vec<Stored> =
                samples.iter().filter(|sample| wanted.time(sample.ts)).cloned().collect();
            if !inside.is_empty() {
                rows += inside.len();
                series.insert(key.clone(), inside);
            }
        }
        for part in self.parts.clone() {
            if rows > most {
                return None;
            }
            if wanted.meets(&part) {
                self.read(&part, &wanted, &mut |key, sample| {
                    series.entry_ref(key).or_default().push(sample);
                    rows += 1;
                    rows <= most
                });
            }
        }
        (rows <= most).then_some(series)
    }

    fn read(&mut self, part: &Part, wanted: &Wanted, sink: &mut dyn FnMut(&str, Stored) -> bool) {
        match read_part(&self.dir, &self.footers, part, wanted, sink) {
            Ok(()) => self.damage.healed(&part.file),
            Err(error) => {
                self.damage.found(&part.file, &error.to_string());
                self.incomplete.insert(Arc::clone(&part.file));
            }
        }
    }

    fn answer(self, series: Series) -> RangeAnswer {
        let named =
            series.into_iter().filter(|(_, samples)| !samples.is_empty()).filter_map(|(key, samples)| {
                let key = TelemetryKey::parse(&key).ok()?;
                Some((key, samples.into_iter().map(Stored::into_sample).collect()))
            });
        let series = named.take(MAX_ANSWER_SAMPLES).collect();
        RangeAnswer { series, incomplete: self.incomplete.iter().map(ToString::to_string).collect() }
    }
}

/// What of an answer one of `keys` series may have.
fn share(limit: usize, keys: usize) -> usize {
    limit.min(MAX_ANSWER_SAMPLES / keys.max(1)).max(1)
}

/// The newest rows seen so far.
struct Newest {
    series: Series,
    rows: usize,
    compact_at: usize,
    limit: usize,
}

impl Newest {
    fn add(&mut self, key: &str, sample: Stored) {
        self.series.entry_ref(key).or_default().push(sample);
        self.rows += 1;
        if self.rows >= self.compact_at {
            self.compact();
        }
    }

    fn compact(&mut self) {
        let share = share(self.limit, self.series.len());
        self.rows = 0;
        for samples in self.series.values_mut() {
            settle(samples);
            samples.drain(..samples.len().saturating_sub(share));
            self.rows += samples.len();
        }
        self.compact_at = self.rows.max(MAX_ANSWER_SAMPLES) * 2;
    }

    /// Rows older than this can't come into the answer; known once each of `keys` has its share.
    fn floor(&mut self, keys: &[Box<str>]) -> Option<i64> {
        if keys.is_empty() || self.rows < keys.len().saturating_mul(share(self.limit, keys.len())) {
            return None;
        }
        self.compact();
        let share = share(self.limit, keys.len());
        let oldest = keys.iter().map(|key| {
            self.series
                .get(&**key)
                .filter(|samples| samples.len() >= share)
                .and_then(|samples| samples.first())
        });
        oldest
            .map(|sample| sample.map(|sample| sample.ts))
            .try_fold(i64::MAX, |floor, ts| Some(floor.min(ts?)))
    }
}
