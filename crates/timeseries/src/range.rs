//! Answers range queries: rows of the head and rows of files become series, in bounded memory.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use drover_model::TelemetryKey;
use hashbrown::HashMap;

use crate::aggregate::{Intervals, Plan};
use crate::cursor::Cursor;
use crate::damage::Damage;
use crate::file::{Part, Wanted};
use crate::footers::Footers;
use crate::gone::Gone;
use crate::newest::{ANSWER_BYTES, Newest, SAMPLE_BYTES, share, weight};
use crate::read::read_part;
use crate::sample::{RangeAnswer, Stored, settle};

/// What the rows may weigh that an aggregation holds at a time; a time span with more is halved.
const MAX_WINDOW_BYTES: usize = 256 * 1024 * SAMPLE_BYTES;

/// The rows of each key.
pub(crate) type Series = HashMap<String, Vec<Stored>>;

/// Everything that a query reads, as of one moment.
pub(crate) struct Reading {
    pub(crate) dir: PathBuf,
    pub(crate) footers: Arc<Footers>,
    pub(crate) damage: Arc<Damage>,
    pub(crate) parts: Vec<Arc<Part>>,
    /// What no longer counts of the rows in them.
    pub(crate) gone: Gone,
    pub(crate) wanted: Wanted,
    /// The range of the first answer.
    pub(crate) range: (i64, i64),
    pub(crate) incomplete: BTreeSet<Arc<str>>,
}

impl Reading {
    /// The newest samples of each key, given those of the head. Blocks.
    pub(crate) fn raw(mut self, mut newest: Newest) -> RangeAnswer {
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
        self.answer(newest)
    }

    /// One sample for each key and interval, given all rows of the head. Blocks.
    pub(crate) fn aggregated(mut self, plan: Plan, head: &Series, mut newest: Newest) -> RangeAnswer {
        let times = head.values().flatten().map(|sample| (sample.ts, sample.ts));
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
            let Some(window) = self.window(plan, head, &newest, (from, to)) else {
                let middle = from.midpoint(to);
                windows.push((middle, to));
                windows.push((from, middle));
                continue;
            };
            for (key, mut samples) in window {
                settle(&mut samples);
                intervals.entry(key).or_default().add(plan, newest.limit(), samples);
            }
            if intervals.values().map(Intervals::weight).sum::<usize>() > ANSWER_BYTES {
                let share = share(intervals.len());
                intervals.values_mut().for_each(|series| series.keep_newest(share));
            }
        }
        for (key, series) in intervals {
            if let Some(floor) = series.floor() {
                newest.has_more(&key, floor);
            }
            series.reduce(plan).into_iter().for_each(|sample| newest.add(&key, sample));
        }
        self.answer(newest)
    }

    /// All rows of a span that are wanted; none when there are too many and the span can be halved.
    fn window(
        &mut self,
        plan: Plan,
        head: &Series,
        newest: &Newest,
        (from, to): (i64, i64),
    ) -> Option<Series> {
        let wanted = Wanted { from, to, ..self.wanted.clone() };
        let most = if to.saturating_sub(from) > 1 { MAX_WINDOW_BYTES } else { usize::MAX };
        let mut series = Series::new();
        let mut bytes = 0;
        let mut take = |key: &str, sample: Stored| {
            if newest.wants(key, sample.ts) {
                let sample = plan.relevant(sample);
                bytes += weight(&sample);
                series.entry_ref(key).or_default().push(sample);
            }
            bytes <= most
        };
        for (key, samples) in head {
            let mut inside = samples.iter().filter(|sample| wanted.time(sample.ts));
            if !inside.all(|sample| take(key, sample.clone())) {
                return None;
            }
        }
        let mut has_room = true;
        for part in self.parts.clone() {
            if has_room && wanted.meets(&part) {
                self.read(&part, &wanted, &mut |key, sample| {
                    has_room = take(key, sample);
                    has_room
                });
            }
        }
        has_room.then_some(series)
    }

    fn read(&mut self, part: &Part, wanted: &Wanted, sink: &mut dyn FnMut(&str, Stored) -> bool) {
        let gone = self.gone.of(wanted.devices.first().map_or("", |device| device));
        let mut counting = |key: &str, sample: Stored| gone.has(key, &sample) || sink(key, sample);
        match read_part(&self.dir, &self.footers, part, wanted, &mut counting) {
            Ok(()) => self.damage.healed(&part.file),
            Err(error) => {
                self.damage.found(&part.file, &error.to_string());
                self.incomplete.insert(Arc::clone(&part.file));
            }
        }
    }

    fn answer(self, newest: Newest) -> RangeAnswer {
        let (series, left) = newest.finish();
        let named =
            series.into_iter().filter(|(_, samples)| !samples.is_empty()).filter_map(|(key, samples)| {
                let key = TelemetryKey::parse(&key).ok()?;
                Some((key, samples.into_iter().map(Stored::into_sample).collect()))
            });
        let next = (!left.is_end()).then_some(Cursor { from: self.range.0, to: self.range.1, ..left });
        let incomplete = self.incomplete.iter().map(ToString::to_string).collect();
        RangeAnswer { series: named.collect(), next, incomplete }
    }
}
