//! How much waits for the clients of a tenant: one count for all of its queues, and each queue's share of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes of QoS 1 and 2 messages in all queues of a tenant, in memory or in the database, and their bound.
#[derive(Debug)]
pub(crate) struct Backlog {
    bytes: AtomicUsize,
    max_bytes: usize,
}

impl Default for Backlog {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl Backlog {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { bytes: AtomicUsize::new(0), max_bytes }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts bytes that are within the bound; `false` when they are not.
    fn take(&self, bytes: usize) -> bool {
        let grown = |before| self.grown(before, bytes);
        self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    /// The count with so many more bytes, if that is within the bound. A single message is within it whatever its length.
    fn grown(&self, before: usize, bytes: usize) -> Option<usize> {
        let after = before.saturating_add(bytes);
        (before == 0 || after <= self.max_bytes).then_some(after)
    }
}

/// The bytes of one queue, which are counted for its tenant as long as it is there.
#[derive(Debug, Default)]
pub(crate) struct Share {
    backlog: Arc<Backlog>,
    bytes: usize,
}

impl Share {
    pub(crate) fn of(backlog: &Arc<Backlog>) -> Self {
        Self { backlog: backlog.clone(), bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether the tenant's bound allows a further message; soon it may not any more.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.backlog.grown(self.backlog.bytes(), bytes).is_some()
    }

    /// Counts a further message; `false` when that would take the tenant over its bound.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let is_taken = self.backlog.take(bytes);
        if is_taken {
            self.bytes += bytes;
        }
        is_taken
    }

    /// Counts what is there already, whatever the bound.
    pub(crate) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.backlog.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Corrects the count.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.give_back(self.bytes.saturating_sub(bytes));
        self.add(bytes - self.bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_share_the_bound_of_their_tenant_and_a_queue_that_is_gone_makes_room() {
        let backlog = Arc::new(Backlog::new(10));
        let (mut one, mut other) = (Share::of(&backlog), Share::of(&backlog));
        assert!(one.take(20), "a single message is taken whatever its length");
        assert!(!other.take(1));
        one.set(4);
        assert!(other.take(6) && !other.take(1) && !one.take(1));
        one.give_back(9);
        assert_eq!((one.bytes(), backlog.bytes()), (0, 6), "no more than it has");
        one.add(9);
        one.set(11);
        assert_eq!(backlog.bytes(), 17, "what is there already is counted over the bound, too");
        drop(one);
        assert!(other.take(4));
        drop(other);
        assert_eq!(backlog.bytes(), 0);
    }
}
