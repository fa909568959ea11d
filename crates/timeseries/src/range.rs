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
use crate::rollup::{self, Resolution, Rolled};
use crate::sample::{RangeAnswer, Stored, settle};
use crate::summary::start;

/// What the rows may weigh that an aggregation holds at a time; a time span with more is halved.
const MAX_WINDOW_BYTES: usize = 256 * 1024 * SAMPLE_BYTES;

/// The rows of each key.
pub(crate) type Series = HashMap<String, Vec<Stored>>;

/// The rows of each key, and what other times of it come to.
type Window = HashMap<String, (Vec<Stored>, Vec<Rolled>)>;

/// A file of which a rollup is read.
type RolledPart = (Arc<Part>, Resolution);

/// Why a window can't be used.
enum Unfit {
    /// It can be halved.
    TooMuch,
    /// The rollup of this file can't be read.
    Unread(Arc<str>),
}

/// What a window holds so far.
struct Gathered<'a> {
    plan: Plan,
    newest: &'a Newest,
    /// What it may weigh.
    most: usize,
    bytes: usize,
    window: Window,
}

impl Gathered<'_> {
    fn has_room(&self) -> bool {
        self.bytes <= self.most
    }

    /// Whether it takes more.
    fn take(&mut self, key: &str, sample: Stored) -> bool {
        if self.newest.wants(key, sample.ts) {
            let sample = self.plan.relevant(sample);
            self.bytes += weight(&sample);
            self.window.entry_ref(key).or_default().0.push(sample);
        }
        self.has_room()
    }

    fn take_rolled(&mut self, key: &str, rolled: Rolled) -> bool {
        if self.newest.wants(key, rolled.start) {
            self.bytes += weight(&rolled.summary.first) + weight(&rolled.summary.last);
            self.window.entry_ref(key).or_default().1.push(rolled);
        }
        self.has_room()
    }
}

/// The part of a span that is made of whole times.
fn whole_times((from, to): (i64, i64), resolution: Resolution) -> (i64, i64) {
    let length = resolution.length();
    let (first, end) = (start(from.saturating_add(length - 1), length), start(to, length));
    if first < end { (first, end) } else { (to, to) }
}

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
        // Whole days: the times of rollups at their ends are whole ones too.
        let day = Resolution::Day.length();
        let first = start(min, day).max(self.wanted.from);
        let end = start(max, day).saturating_add(day).min(self.wanted.to);
        let mut rolled = self.rolled(plan, head);
        let mut intervals: HashMap<String, Intervals> = HashMap::new();
        let mut windows = vec![(first, end)];
        while let Some((from, to)) = windows.pop() {
            if from >= to {
                continue;
            }
            let window = match self.window(plan, (head, &rolled), &newest, (from, to)) {
                Ok(window) => window,
                Err(Unfit::TooMuch) => {
                    let middle = from.midpoint(to);
                    windows.extend([(middle, to), (from, middle)]);
                    continue;
                }
                Err(Unfit::Unread(file)) => {
                    rolled.retain(|(part, _)| part.file != file);
                    windows.push((from, to));
                    continue;
                }
            };
            for (key, (mut samples, mut rolled)) in window {
                settle(&mut samples);
                rolled.sort_unstable_by_key(|rolled| rolled.start);
                let series = intervals.entry(key);
                series.or_insert_with(|| Intervals::new(plan, newest.limit())).add(samples, rolled);
            }
            if intervals.values().map(Intervals::weight).sum::<usize>() > ANSWER_BYTES {
                let share = share(intervals.len());
                intervals.values_mut().for_each(|series| series.keep_newest(share));
            }
        }
        for (key, mut series) in intervals {
            series.finish();
            if let Some(floor) = series.floor() {
                newest.has_more(&key, floor);
            }
            series.reduce().into_iter().for_each(|sample| newest.add(&key, sample));
        }
        self.answer(newest)
    }

    /// The files of which rollups are read instead of points, the coarsest of which the intervals are made: those beside whose points
    /// there are no others in the same times, and of which all points count.
    fn rolled(&self, plan: Plan, head: &Series) -> Vec<RolledPart> {
        let mut times: Vec<i64> = head.values().flatten().map(|sample| sample.ts).collect();
        times.sort_unstable();
        let coarsest = |part: &Part| {
            let mut all = Resolution::ALL.into_iter().rev();
            all.find(|it| part.rollups & it.bit() != 0 && plan.is_made_of(*it))
        };
        let is_alone = |part: &Arc<Part>, resolution: Resolution| {
            let first = start(part.min_ts, resolution.length());
            let end = start(part.max_ts, resolution.length()).saturating_add(resolution.length());
            let others = self.parts.iter().filter(|other| !Arc::ptr_eq(part, other));
            let in_memory = times.partition_point(|ts| *ts < first);
            times.get(in_memory).is_none_or(|ts| *ts >= end)
                && others.into_iter().all(|other| other.max_ts < first || end <= other.min_ts)
        };
        let parts = self.parts.iter().filter(|part| !self.gone.meets(part, &self.wanted.devices));
        let found = parts.filter_map(|part| Some((Arc::clone(part), coarsest(part)?)));
        found.filter(|(part, resolution)| is_alone(part, *resolution)).collect()
    }

    /// All rows of a span that are wanted, or what they come to.
    fn window(
        &mut self,
        plan: Plan,
        (head, rolled): (&Series, &[RolledPart]),
        newest: &Newest,
        (from, to): (i64, i64),
    ) -> Result<Window, Unfit> {
        let most = if to.saturating_sub(from) > 1 { MAX_WINDOW_BYTES } else { usize::MAX };
        let mut gathered = Gathered { plan, newest, most, bytes: 0, window: Window::new() };
        let wanted = Wanted { from, to, ..self.wanted.clone() };
        for (key, samples) in head {
            let mut inside = samples.iter().filter(|sample| wanted.time(sample.ts));
            if !inside.all(|sample| gathered.take(key, sample.clone())) {
                return Err(Unfit::TooMuch);
            }
        }
        for part in self.parts.clone().into_iter().filter(|part| wanted.meets(part)) {
            let resolution = rolled.iter().find(|(other, _)| Arc::ptr_eq(other, &part)).map(|(_, it)| *it);
            let mut spans = vec![(from, to)];
            if let Some(resolution) = resolution {
                let whole = whole_times((from, to), resolution);
                let wanted = Wanted { from: whole.0, to: whole.1, ..wanted.clone() };
                self.read_rolled((&part, resolution), &wanted, &mut gathered)?;
                spans = vec![(from, whole.0), (whole.1, to)];
            }
            for (from, to) in spans.into_iter().filter(|(from, to)| from < to) {
                let wanted = Wanted { from, to, ..wanted.clone() };
                if gathered.has_room() && wanted.meets(&part) {
                    self.read(&part, &wanted, &mut |key, sample| gathered.take(key, sample));
                }
            }
        }
        if gathered.has_room() { Ok(gathered.window) } else { Err(Unfit::TooMuch) }
    }

    fn read_rolled(
        &self,
        (part, resolution): (&Part, Resolution),
        wanted: &Wanted,
        gathered: &mut Gathered<'_>,
    ) -> Result<(), Unfit> {
        if wanted.from >= wanted.to {
            return Ok(());
        }
        let place = (&*self.dir, &*self.footers);
        let mut take = |key: &str, rolled: Rolled| gathered.take_rolled(key, rolled);
        rollup::read(place, (part, resolution), wanted, &mut take).map_err(|error| {
            let file = resolution.file(&part.file);
            tracing::warn!(file, %error, "a rollup can't be read; points are read instead");
            Unfit::Unread(Arc::clone(&part.file))
        })
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
