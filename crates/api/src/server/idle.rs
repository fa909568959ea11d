//! The connections that have no request in work. When there is no place for a further one, the one that has waited longest ends:
//! silence keeps nobody out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Connections in the order in which they became idle; cheap to clone.
#[derive(Clone, Default)]
pub struct Idle(Arc<Mutex<Queue>>);

#[derive(Default)]
struct Queue {
    next: u64,
    waiting: BTreeMap<u64, Arc<Notify>>,
}

impl Idle {
    /// Says that a connection is idle; the number takes it out again. `end` is told when its place is wanted.
    pub fn enter(&self, end: &Arc<Notify>) -> u64 {
        let mut queue = self.queue();
        let number = queue.next;
        queue.next += 1;
        queue.waiting.insert(number, end.clone());
        number
    }

    pub fn leave(&self, number: u64) {
        self.queue().waiting.remove(&number);
    }

    /// Tells the connection that has been idle for the longest to end, if there is one.
    pub fn end_longest(&self) {
        if let Some((_, end)) = self.queue().waiting.pop_first() {
            end.notify_one();
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
