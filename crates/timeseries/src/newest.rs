//! Gathers the newest rows of each key for an answer that is bounded in bytes, in memory that is bounded too.

use std::collections::BTreeMap;

use hashbrown::HashMap;

use crate::cursor::Cursor;
use crate::sample::{Stored, settle};

/// Most samples of an answer, over all of its keys, when all are numbers.
pub const MAX_ANSWER_SAMPLES: usize = 100_000;

/// What a sample takes in an answer, about, beside its text.
pub(crate) const SAMPLE_BYTES: usize = 40;

/// What an answer takes, about, unless a single sample takes more.
pub(crate) const ANSWER_BYTES: usize = MAX_ANSWER_SAMPLES * SAMPLE_BYTES;

/// What the names of its keys may take besides. Together they stay below 4 MiB, which gRPC clients take unless told otherwise.
const NAME_BYTES: usize = ANSWER_BYTES / 25;

/// What the names of the keys that have more may take in a cursor, which travels in a URL.
const CURSOR_BYTES: usize = 4 * 1024;

/// What a sample takes of an answer.
pub(crate) fn weight(sample: &Stored) -> usize {
    SAMPLE_BYTES + sample.value.borrowed().text_bytes()
}

/// The rows of one key.
#[derive(Debug)]
struct Rows {
    samples: Vec<Stored>,
    bytes: usize,
    /// There are older rows than these, which do not come into this answer.
    floor: Option<i64>,
}

/// The newest rows seen so far.
#[derive(Debug)]
pub(crate) struct Newest {
    limit: usize,
    series: HashMap<String, Rows>,
    bytes: usize,
    compact_at: usize,
    /// Keys after this one have no place in the answer.
    last_key: Option<String>,
    resume: Option<Cursor>,
}

/// The samples of each key, and where they end when there are more.
pub(crate) type Gathered = (BTreeMap<String, Vec<Stored>>, Cursor);

impl Newest {
    /// For the newest `limit` rows of each key that come after `resume`.
    pub(crate) fn new(limit: usize, resume: Option<Cursor>) -> Self {
        let compact_at = 2 * ANSWER_BYTES;
        Self { limit, series: HashMap::new(), bytes: 0, compact_at, last_key: None, resume }
    }

    /// Most rows of a key.
    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Whether a row did not come in an answer before.
    pub(crate) fn wants(&self, key: &str, ts: i64) -> bool {
        self.resume.as_ref().is_none_or(|cursor| cursor.wants(key, ts))
    }

    pub(crate) fn add(&mut self, key: &str, sample: Stored) {
        if !self.wants(key, sample.ts) || !self.has_place(key) {
            return;
        }
        let rows = self.rows(key);
        if rows.floor.is_some_and(|floor| sample.ts < floor) {
            return;
        }
        let bytes = weight(&sample);
        rows.samples.push(sample);
        rows.bytes += bytes;
        self.bytes += bytes;
        if self.bytes >= self.compact_at {
            self.compact();
        }
    }

    /// There are rows of a key below `floor`, which do not come into this answer.
    pub(crate) fn has_more(&mut self, key: &str, floor: i64) {
        if self.has_place(key) {
            self.rows(key).floor = Some(floor);
        }
    }

    /// Rows whose time is below this can't come into the answer; known once each of `keys` has more than its share.
    pub(crate) fn floor(&mut self, keys: &[Box<str>]) -> Option<i64> {
        let (limit, least) = (self.limit, share(keys.len()));
        if keys.is_empty() || !self.all(keys, |rows| rows.samples.len() > limit || rows.bytes > least) {
            return None;
        }
        self.compact();
        let share = share(self.series.len());
        if !self.all(keys, |rows| rows.samples.len() > fitting(&rows.samples, limit, share)) {
            return None;
        }
        for rows in self.series.values_mut() {
            rows.floor = rows.samples.first().map(|sample| sample.ts);
        }
        self.series.values().filter_map(|rows| rows.floor).min()
    }

    fn has_place(&self, key: &str) -> bool {
        self.last_key.as_deref().is_none_or(|last| key <= last)
    }

    /// Whether something is true of each of these keys that has a place in the answer.
    fn all(&self, keys: &[Box<str>], is_true: impl Fn(&Rows) -> bool) -> bool {
        let mut placed =
            keys.iter().filter(|key| self.last_key.as_deref().is_none_or(|last| &***key <= last));
        placed.all(|key| self.series.get(&**key).is_some_and(&is_true))
    }

    fn rows(&mut self, key: &str) -> &mut Rows {
        let none = || Rows { samples: Vec::new(), bytes: 0, floor: None };
        self.series.entry_ref(key).or_insert_with(none)
    }

    /// Ends a key's rows where its share does, and the keys where the answer does.
    fn compact(&mut self) {
        let share = share(self.series.len());
        for rows in self.series.values_mut() {
            settle(&mut rows.samples);
            // One more than fits shows that there is more.
            let kept = fitting(&rows.samples, self.limit, share).saturating_add(1);
            let surplus = rows.samples.len().saturating_sub(kept);
            if surplus > 0 {
                rows.samples.drain(..surplus);
                rows.floor = rows.samples.first().map(|sample| sample.ts);
            }
            rows.bytes = rows.samples.iter().map(weight).sum();
        }
        self.drop_keys(share);
        self.bytes = self.series.values().map(|rows| rows.bytes).sum();
        self.compact_at = self.bytes.max(ANSWER_BYTES) * 2;
    }

    /// Leaves the last keys out when the answer has no room for them, or its cursor.
    fn drop_keys(&mut self, share: usize) {
        let mut names: Vec<&String> = self.series.keys().collect();
        names.sort_unstable();
        let (mut bytes, mut cursor_bytes) = (0, 0);
        let fits = |name: &&&String| {
            let Some(rows) = self.series.get(**name) else { return false };
            let count = fitting(&rows.samples, self.limit, share);
            bytes += name.len() + rows.samples.iter().rev().take(count).map(weight).sum::<usize>();
            if rows.floor.is_some() || rows.samples.len() > count {
                cursor_bytes += name.len();
            }
            bytes <= ANSWER_BYTES + NAME_BYTES && cursor_bytes <= CURSOR_BYTES
        };
        let fitting = names.iter().take_while(fits).count().max(1);
        if fitting < names.len() {
            self.last_key = names.get(fitting - 1).map(|name| (*name).clone());
            self.series.retain(|name, _| self.last_key.as_ref().is_none_or(|last| name <= last));
        }
    }

    /// What was gathered. The cursor's range is the caller's to fill in.
    pub(crate) fn finish(mut self) -> Gathered {
        self.compact();
        let share = share(self.series.len());
        let mut cursor = rest(self.resume, self.last_key);
        let mut answer = BTreeMap::new();
        for (key, mut rows) in self.series {
            let surplus = rows.samples.len() - fitting(&rows.samples, self.limit, share);
            rows.samples.drain(..surplus);
            let oldest = rows.samples.first().map(|sample| sample.ts);
            let floor = rows.floor.or(oldest.filter(|_| surplus > 0));
            if let Some(floor) = floor {
                cursor.before.insert(key.as_str().into(), oldest.unwrap_or(floor));
            }
            answer.insert(key, rows.samples);
        }
        (answer, cursor)
    }
}

/// What an answer up to `last_key` leaves of what there was to come before it.
fn rest(resume: Option<Cursor>, last_key: Option<String>) -> Cursor {
    let last_key = last_key.map(String::into_boxed_str);
    let Some(mut cursor) = resume else { return Cursor { unread_after: last_key, ..Cursor::default() } };
    match last_key {
        Some(last) => {
            cursor.before.retain(|key, _| *key > last);
            cursor.unread_after = cursor.unread_after.map(|unread| unread.max(last));
        }
        None => cursor = Cursor::default(),
    }
    cursor
}

/// What of an answer one of `keys` series may take.
pub(crate) fn share(keys: usize) -> usize {
    ANSWER_BYTES / keys.max(1)
}

/// How many of the last samples make the share of a key: at least one.
fn fitting(samples: &[Stored], limit: usize, share: usize) -> usize {
    let mut bytes = 0;
    let fits = |sample: &&Stored| {
        bytes += weight(sample);
        bytes <= share
    };
    let count = samples.iter().rev().take(limit).take_while(fits).count();
    count.max(1).min(samples.len())
}
