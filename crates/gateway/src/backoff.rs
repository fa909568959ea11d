//! Slows down whoever guesses: failures are allowed at a rate, after a burst, by source and by account.

use std::hash::Hash;
use std::time::Duration;

use drover_model::Timestamp;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Keys remembered at a time. When all are taken, failures of further keys share one allowance.
const MAX_KEYS: usize = 65_536;

/// Remembers failures of the keys of one sort. A key's state is the time at which all its failures are forgiven.
pub(crate) struct Backoff<K> {
    forgiven: Mutex<HashMap<Option<K>, Timestamp>>,
    /// How long one failure lasts.
    period: Duration,
    /// Failures that may stand at a time.
    burst: u32,
}

impl<K: Hash + Eq + Clone> Backoff<K> {
    pub(crate) fn new(period: Duration, burst: u32) -> Self {
        Self { forgiven: Mutex::default(), period, burst }
    }

    /// Whether the key has to wait before it may try again.
    pub(crate) fn holds(&self, key: &K, now: Timestamp) -> bool {
        let forgiven = self.forgiven.lock();
        let key = Some(key.clone());
        let until = match forgiven.get(&key) {
            None if forgiven.len() >= MAX_KEYS => forgiven.get(&None),
            until => until,
        };
        until.is_some_and(|until| until.since(now) >= self.period.saturating_mul(self.burst))
    }

    /// Notes a failure.
    pub(crate) fn failed(&self, key: K, now: Timestamp) {
        let mut forgiven = self.forgiven.lock();
        let mut key = Some(key);
        if forgiven.len() >= MAX_KEYS && !forgiven.contains_key(&key) {
            forgiven.retain(|_, until| *until > now);
            if forgiven.len() >= MAX_KEYS {
                key = None;
            }
        }
        let until = forgiven.entry(key).or_insert(now);
        *until = (*until).max(now).plus(self.period);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    #[test]
    fn a_key_is_held_after_its_burst_and_let_go_as_time_passes() {
        let backoff = Backoff::new(Duration::from_secs(5), 3);
        for _ in 0..3 {
            assert!(!backoff.holds(&"a", at(0)));
            backoff.failed("a", at(0));
        }
        assert!(backoff.holds(&"a", at(0)));
        assert!(!backoff.holds(&"b", at(0)));
        assert!(!backoff.holds(&"a", at(1)));
        backoff.failed("a", at(1));
        assert!(backoff.holds(&"a", at(1)));
        assert!(!backoff.holds(&"a", at(1_000)));
    }

    #[test]
    fn keys_beyond_the_bound_share_one_allowance_and_old_ones_make_room() {
        let backoff = Backoff::new(Duration::from_secs(5), 3);
        for key in 0..=MAX_KEYS + 3 {
            backoff.failed(key, at(0));
        }
        assert!(backoff.forgiven.lock().len() <= MAX_KEYS + 1);
        assert!(backoff.holds(&usize::MAX, at(0)));
        backoff.failed(usize::MAX, at(100));
        assert_eq!(backoff.forgiven.lock().len(), 1);
    }
}
