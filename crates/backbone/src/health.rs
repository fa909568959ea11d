//! Whether the log takes records, and why not.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::partition::{Shard, Stream};

/// Whether the log takes records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogHealth {
    /// It does.
    Ready,
    /// Writing fails; what was appended waits in memory and is tried again.
    Failing {
        /// When it began.
        since: Instant,
        /// Path and error.
        detail: String,
    },
    /// The size bound is reached; new records are refused until the log is truncated.
    Full {
        /// Size and bound.
        detail: String,
    },
}

/// Since when a shard can't write, and why.
type Failing = BTreeMap<(Stream, Shard), (Instant, String)>;

/// Gathers what the shards say into one answer.
#[derive(Debug)]
pub(crate) struct Health {
    failing: Mutex<Failing>,
    full: AtomicBool,
    full_detail: Mutex<String>,
    watch: watch::Sender<LogHealth>,
}

impl Default for Health {
    fn default() -> Self {
        Self {
            failing: Mutex::default(),
            full: AtomicBool::new(false),
            full_detail: Mutex::default(),
            watch: watch::Sender::new(LogHealth::Ready),
        }
    }
}

impl Health {
    pub(crate) fn subscribe(&self) -> watch::Receiver<LogHealth> {
        self.watch.subscribe()
    }

    pub(crate) fn get(&self) -> LogHealth {
        self.watch.borrow().clone()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// A shard can't write. Answers whether that is news.
    pub(crate) fn failing(&self, at: (Stream, Shard), detail: String) -> bool {
        let mut failing = self.failing.lock();
        let news = !failing.contains_key(&at);
        failing.entry(at).or_insert_with(|| (Instant::now(), String::new())).1 = detail;
        self.publish(&failing);
        news
    }

    /// A shard can write. Answers whether that is news.
    pub(crate) fn recovered(&self, at: (Stream, Shard)) -> bool {
        let mut failing = self.failing.lock();
        let news = failing.remove(&at).is_some();
        if news {
            self.publish(&failing);
        }
        news
    }

    pub(crate) fn set_full(&self, full: bool, detail: impl FnOnce() -> String) {
        if self.full.swap(full, Ordering::Relaxed) == full {
            return;
        }
        if full {
            let detail = detail();
            tracing::error!("the log is full: {detail}");
            *self.full_detail.lock() = detail;
        } else {
            tracing::info!("the log has room again");
        }
        self.publish(&self.failing.lock());
    }

    fn publish(&self, failing: &Failing) {
        let health = match failing.values().min_by_key(|(since, _)| *since) {
            Some((since, detail)) => LogHealth::Failing { since: *since, detail: detail.clone() },
            None if self.is_full() => LogHealth::Full { detail: self.full_detail.lock().clone() },
            None => LogHealth::Ready,
        };
        self.watch.send_replace(health);
    }
}
