//! Which files are worth a merge.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use drover_model::Timestamp;

use super::days::day;
use crate::file::{Level, Part};
use crate::gone::Gone;
use crate::store::{Inner, ShardState};

/// Parts that one merge reads at the most, each with a batch in memory.
const MAX_PARTS: usize = 64;

/// Parts of one tenant and shard that are merged.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) shard: u16,
    pub(crate) tenant: Box<str>,
    pub(crate) parts: Vec<Arc<Part>>,
    /// What is left out, and up to which position of the log it was erased.
    pub(crate) gone: Gone,
    pub(crate) clean_to: u64,
}

/// Why a merge is due, the most pressing reason first.
#[derive(Clone, Copy)]
enum Reason {
    /// Nothing of a file is kept.
    TooOld,
    /// There are too many files.
    TooMany,
    /// A file may have rows that no longer count.
    Gone,
}

/// The first merge that is due.
pub(crate) fn choose(inner: &Inner, files: usize, now: Timestamp) -> Option<Job> {
    let quarantined = inner.quarantined.lock().clone();
    // What can't be read stays as it is.
    let is_readable = |part: &&Arc<Part>| !inner.damage.has(&part.file) && !quarantined.contains(&part.file);
    let is_readable: &dyn Fn(&&Arc<Part>) -> bool = &is_readable;
    for reason in [Reason::TooOld, Reason::TooMany, Reason::Gone] {
        for (shard, slot) in (0..).zip(&inner.shards) {
            let state = slot.state.read();
            let due = match reason {
                Reason::TooOld => too_old(inner, &state),
                Reason::TooMany => too_many(&state, (files, day(now.as_micros())), is_readable),
                Reason::Gone => with_gone(inner, &state, is_readable),
            };
            if let Some((tenant, parts)) = due {
                let (gone, clean_to) = (inner.gone(&state, tenant), state.erasures.applied());
                return Some(Job { shard, tenant: tenant.into(), parts, gone, clean_to });
            }
        }
    }
    None
}

/// The tenant and what of it is to be merged.
type Due<'a> = Option<(&'a str, Vec<Arc<Part>>)>;

/// Parts of which nothing is kept. They need not be read.
fn too_old<'a>(inner: &Inner, state: &'a ShardState) -> Due<'a> {
    state.files.iter().find_map(|(tenant, parts)| {
        let gone = inner.gone(state, tenant);
        let due: Vec<Arc<Part>> =
            parts.iter().filter(|part| gone.has_all(part)).take(MAX_PARTS).cloned().collect();
        (!due.is_empty()).then_some((&**tenant, due))
    })
}

fn too_many<'a>(
    state: &'a ShardState,
    (files, today): (usize, i64),
    is_readable: &dyn Fn(&&Arc<Part>) -> bool,
) -> Due<'a> {
    state.files.iter().find_map(|(tenant, parts)| {
        let readable = parts.iter().filter(is_readable);
        let (flushed, merged): (Vec<_>, Vec<_>) = readable.partition(|part| part.level == Level::Flushed);
        let due = if flushed.len() >= files {
            flushed.into_iter().take(MAX_PARTS).cloned().collect()
        } else {
            of_a_day(merged, today)
        };
        (!due.is_empty()).then_some((&**tenant, due))
    })
}

/// A merged file that may have rows which no longer count; or files of flushes, with what other tenants have in them, whose turn
/// is first: a file goes when the last part of it is merged.
fn with_gone<'a>(inner: &Inner, state: &'a ShardState, is_readable: &dyn Fn(&&Arc<Part>) -> bool) -> Due<'a> {
    let mut files: HashSet<&str> = HashSet::new();
    let mut losing: HashSet<&str> = HashSet::new();
    for (tenant, parts) in &state.files {
        let gone = inner.gone(state, tenant);
        for part in parts.iter().filter(is_readable).filter(|part| gone.is_due(part)) {
            if part.level == Level::Merged {
                return Some((tenant, vec![Arc::clone(part)]));
            }
            files.insert(&part.file);
            losing.insert(tenant);
        }
    }
    let in_files = state.files.iter().filter_map(|(tenant, parts)| {
        let due = parts.iter().filter(is_readable).filter(|part| files.contains(&*part.file));
        let due: Vec<Arc<Part>> = due.take(MAX_PARTS).cloned().collect();
        (!due.is_empty()).then_some((&**tenant, due))
    });
    in_files.min_by_key(|(tenant, _)| losing.contains(tenant))
}

/// Files of one day of which the largest is not much larger than the others together: so each point is written anew a
/// logarithmic number of times. Files of a day that is over may differ more, so that few are left of it.
fn of_a_day(merged: Vec<&Arc<Part>>, today: i64) -> Vec<Arc<Part>> {
    let mut days: BTreeMap<i64, Vec<&Arc<Part>>> = BTreeMap::new();
    for part in merged {
        days.entry(day(part.min_ts)).or_default().push(part);
    }
    for (day, mut parts) in days {
        let times = if day < today { 8 } else { 2 };
        parts.sort_unstable_by_key(|part| std::cmp::Reverse(part.points));
        for first in 0..parts.len().saturating_sub(1) {
            let (largest, smaller) = (parts[first].points, &parts[first + 1..]);
            let together: u64 = smaller.iter().map(|part| part.points).sum();
            if together.saturating_mul(times) >= largest {
                return parts[first..].iter().take(MAX_PARTS).map(|part| Arc::clone(part)).collect();
            }
        }
    }
    Vec::new()
}
