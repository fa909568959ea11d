//! Which files are worth a merge.

use std::collections::BTreeMap;
use std::sync::Arc;

use drover_model::Timestamp;

use super::days::day;
use crate::file::{Level, Part};
use crate::store::Inner;

/// Parts that one merge reads at the most, each with a batch in memory.
const MAX_PARTS: usize = 64;

/// Parts of one tenant and shard that are merged.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) shard: u16,
    pub(crate) tenant: Box<str>,
    pub(crate) parts: Vec<Arc<Part>>,
}

/// The first merge that is due.
pub(crate) fn choose(inner: &Inner, files: usize, now: Timestamp) -> Option<Job> {
    let quarantined = inner.quarantined.lock().clone();
    for (shard, slot) in (0..).zip(&inner.shards) {
        let state = slot.state.read();
        for (tenant, parts) in &state.files {
            // What can't be read stays as it is.
            let is_readable = |file: &str| !inner.damage.has(file) && !quarantined.contains(file);
            let readable = parts.iter().filter(|part| is_readable(&part.file));
            let (flushed, merged): (Vec<_>, Vec<_>) = readable.partition(|part| part.level == Level::Flushed);
            let due = if flushed.len() >= files {
                flushed.into_iter().take(MAX_PARTS).cloned().collect()
            } else {
                of_a_day(merged, day(now.as_micros()))
            };
            if !due.is_empty() {
                return Some(Job { shard, tenant: tenant.clone(), parts: due });
            }
        }
    }
    None
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
