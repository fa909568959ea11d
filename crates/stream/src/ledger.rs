//! The balance of each tenant, in records: accepted = stored + dead-lettered + pending.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use drover_backbone::Log;
use tokio::sync::watch;

/// What one batch, or one commit, adds to a tenant's balance.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) stored: u64,
    pub(crate) dead_lettered: u64,
    pub(crate) refused: BTreeMap<String, u64>,
}

impl Counts {
    fn processed(&self) -> u64 {
        self.stored + self.dead_lettered
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.stored += other.stored;
        self.dead_lettered += other.dead_lettered;
        for (reason, count) in &other.refused {
            *self.refused.entry(reason.clone()).or_default() += count;
        }
    }
}

/// Counts by tenant.
pub(crate) type ByTenant = HashMap<Box<str>, Counts>;

/// Adds all of `more` to `sums`.
pub(crate) fn add_all(sums: &mut ByTenant, more: &ByTenant) {
    for (tenant, counts) in more {
        sums.entry(tenant.clone()).or_default().add(counts);
    }
}

/// The balance as it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Balance {
    pub(crate) accepted: u64,
    pub(crate) pending: u64,
    pub(crate) counts: Counts,
}

#[derive(Debug, Default)]
struct Entry {
    counts: Counts,
    /// Records that were in the log before this process opened it.
    recovered: u64,
}

/// The balances of all tenants; cheap to clone.
#[derive(Clone)]
pub(crate) struct Ledger {
    log: Log,
    entries: Arc<Mutex<HashMap<Box<str>, Entry>>>,
    /// Whether everything that lay in the log at the start is counted.
    complete: Arc<watch::Sender<bool>>,
}

impl Ledger {
    /// Starts from what the database covers.
    pub(crate) fn new(log: Log, covered: ByTenant) -> Self {
        let entry = |counts: Counts| Entry { recovered: counts.processed(), counts };
        let entries = covered.into_iter().map(|(tenant, counts)| (tenant, entry(counts))).collect();
        Self { log, entries: Arc::new(Mutex::new(entries)), complete: Arc::default() }
    }

    /// Says that everything that lay in the log at the start was added.
    pub(crate) fn replayed(&self) {
        self.complete.send_replace(true);
    }

    /// Resolves when everything that lay in the log at the start is applied: before, what is read may lack some of it, or show what
    /// was erased.
    pub(crate) async fn caught_up(&self) {
        // It lives as long as this.
        let _ = self.complete.subscribe().wait_for(|complete| *complete).await;
    }

    /// Adds what was applied. `replayed` records lay in the log when this process opened it; the log counts the others itself.
    pub(crate) fn add(&self, batch: &ByTenant, replayed: bool) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        for (tenant, counts) in batch {
            let entry = entries.entry(tenant.clone()).or_default();
            entry.counts.add(counts);
            if replayed {
                entry.recovered += counts.processed();
            }
        }
    }

    /// One tenant's balance; none before the replay's end, when it is not known how many records of whom the log holds.
    /// Accepted is taken after the counts, so pending is never negative.
    pub(crate) fn balance(&self, tenant: &str) -> Option<Balance> {
        if !*self.complete.borrow() {
            return None;
        }
        let (counts, recovered) = {
            let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
            entries.get(tenant).map(|entry| (entry.counts.clone(), entry.recovered)).unwrap_or_default()
        };
        let accepted = recovered + self.log.appended(tenant);
        Some(Balance { accepted, pending: accepted.saturating_sub(counts.processed()), counts })
    }
}

#[cfg(test)]
mod tests {
    use drover_backbone::LogOptions;

    use super::*;

    #[test]
    fn there_is_no_balance_before_the_log_of_the_time_before_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let log =
            Log::open(&format!("embedded:{}", directory.path().display()), LogOptions::default()).unwrap();
        let counts = |stored| ByTenant::from([("default".into(), Counts { stored, ..Counts::default() })]);
        let ledger = Ledger::new(log, counts(7));
        ledger.add(&counts(3), true);
        assert_eq!(ledger.balance("default"), None);
        ledger.replayed();
        let counts = Counts { stored: 10, ..Counts::default() };
        assert_eq!(ledger.balance("default"), Some(Balance { accepted: 10, pending: 0, counts }));
    }
}
