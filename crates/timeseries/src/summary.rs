//! Sums of samples over times that lie in one another: minutes, hours, days, an interval. A longer time is summed up out of the
//! shorter ones in it, never out of its samples, so that it comes to the same number whether they are read or their sums are.

use drover_model::{Flags, Value};

use crate::sample::{Aggregation, Stored};

/// What is known of the samples of some time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Summary {
    pub(crate) samples: u64,
    pub(crate) numbers: u64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) flags: Flags,
    pub(crate) first: Stored,
    pub(crate) last: Stored,
}

impl Summary {
    fn starting(sample: &Stored) -> Self {
        let (min, max) = (f64::INFINITY, f64::NEG_INFINITY);
        let (first, last) = (sample.clone(), sample.clone());
        Self { samples: 0, numbers: 0, sum: 0.0, min, max, flags: Flags::NONE, first, last }
    }

    /// Takes a sample that is later than those before.
    fn add(&mut self, sample: Stored) {
        self.samples += 1;
        self.flags = self.flags.with(sample.flags);
        if let Some(number) = number(&sample.value) {
            self.numbers += 1;
            self.sum += number;
            self.min = self.min.min(number);
            self.max = self.max.max(number);
        }
        self.last = sample;
    }

    /// Takes what is known of a time that follows.
    fn append(&mut self, later: Self) {
        self.samples += later.samples;
        self.flags = self.flags.with(later.flags);
        self.numbers += later.numbers;
        self.sum += later.sum;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.last = later.last;
    }

    #[expect(clippy::cast_precision_loss, reason = "a count beyond 2^53 may be rounded")]
    pub(crate) fn reduce(self, kind: Aggregation, start: i64) -> Option<Stored> {
        let some = |number| (self.numbers > 0).then_some(Value::Number(number));
        let value = match kind {
            Aggregation::Avg => some(self.sum / self.numbers as f64),
            Aggregation::Min => some(self.min),
            Aggregation::Max => some(self.max),
            Aggregation::Sum => some(self.sum),
            Aggregation::Count => Some(Value::Number(self.samples as f64)),
            Aggregation::First => Some(self.first.value),
            Aggregation::Last => Some(self.last.value),
        };
        Some(Stored { ts: start, seq: self.last.seq, value: value?, flags: self.flags })
    }
}

/// What a value counts as.
pub(crate) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => Some(*number),
        Value::Bool(truth) => Some(f64::from(u8::from(*truth))),
        Value::Text(_) => None,
    }
}

/// A time that is being summed up.
#[derive(Debug)]
struct Level {
    /// Microseconds; 0 for all time.
    length: i64,
    open: Option<(i64, Summary)>,
}

/// Sums one series up over several lengths of time at once, each a multiple of the one before.
#[derive(Debug)]
pub(crate) struct Cascade(Vec<Level>);

/// Takes a time that is over: which level's, its start, and what is known of it.
pub(crate) type Over<'a> = dyn FnMut(usize, i64, &Summary) + 'a;

impl Cascade {
    pub(crate) fn new(lengths: impl Iterator<Item = i64>) -> Self {
        Self(lengths.map(|length| Level { length, open: None }).collect())
    }

    /// The level of a length.
    pub(crate) fn level_of(&self, length: i64) -> Option<usize> {
        self.0.iter().position(|level| level.length == length)
    }

    /// Takes a sample that is later than everything before.
    pub(crate) fn add(&mut self, sample: Stored, over: &mut Over<'_>) {
        let Some(finest) = self.0.first_mut() else { return };
        let start = start(sample.ts, finest.length);
        if finest.open.as_ref().is_none_or(|(open, _)| *open != start) {
            self.close(0, over);
            if let Some(finest) = self.0.first_mut() {
                finest.open = Some((start, Summary::starting(&sample)));
            }
        }
        if let Some((_, summary)) = self.0.first_mut().and_then(|finest| finest.open.as_mut()) {
            summary.add(sample);
        }
    }

    /// Takes what is known of a time of some level that begins after everything before.
    pub(crate) fn append(&mut self, level: usize, begin: i64, summary: Summary, over: &mut Over<'_>) {
        for finer in 0..level {
            self.close(finer, over);
        }
        let Some(length) = self.0.get(level).map(|level| level.length) else { return };
        let start = start(begin, length);
        if self.0.get(level).is_some_and(|level| level.open.as_ref().is_none_or(|(open, _)| *open != start)) {
            self.close(level, over);
        }
        if let Some(level) = self.0.get_mut(level) {
            match &mut level.open {
                Some((_, open)) => open.append(summary),
                None => level.open = Some((start, summary)),
            }
        }
    }

    /// Ends everything that is open.
    pub(crate) fn finish(&mut self, over: &mut Over<'_>) {
        for level in 0..self.0.len() {
            self.close(level, over);
        }
    }

    fn close(&mut self, level: usize, over: &mut Over<'_>) {
        let Some((start, summary)) = self.0.get_mut(level).and_then(|level| level.open.take()) else {
            return;
        };
        over(level, start, &summary);
        if level + 1 < self.0.len() {
            self.append(level + 1, start, summary, over);
        }
    }
}

/// Where the time of a length begins that an instant lies in. The length 0 stands for all time, which begins at 0.
pub(crate) fn start(ts: i64, length: i64) -> i64 {
    if length <= 0 { 0 } else { ts.div_euclid(length).saturating_mul(length) }
}
