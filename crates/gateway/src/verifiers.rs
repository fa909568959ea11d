//! A bounded cache of what secrets are checked against.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use drover_model::{Party, Scope, TenantId, Timestamp};
use drover_trust::TokenHash;
use hashbrown::HashMap;
use parking_lot::Mutex;

/// Whose secrets they are.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Account {
    pub(crate) tenant: TenantId,
    pub(crate) party: Party,
}

/// One secret, and what an application may do with it.
#[derive(Debug, Clone)]
pub(crate) struct Verifier {
    pub(crate) hash: TokenHash,
    pub(crate) scopes: Arc<[Scope]>,
}

/// All secrets of an account; none for one that has none or is not there.
pub(crate) type Verifiers = Arc<[Verifier]>;

struct Entry {
    verifiers: Verifiers,
    expires: Timestamp,
    /// Where the account last proved its identity from.
    known_source: Option<IpAddr>,
}

/// What was answered lately.
pub(crate) struct Cache {
    inner: Mutex<Inner>,
    capacity: usize,
}

struct Inner {
    entries: HashMap<Account, Entry>,
    /// Counts changes, so that an answer that was on its way during one is not kept.
    generation: u64,
}

impl Cache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { inner: Mutex::new(Inner { entries: HashMap::new(), generation: 0 }), capacity }
    }

    pub(crate) fn generation(&self) -> u64 {
        self.inner.lock().generation
    }

    pub(crate) fn get(&self, account: &Account, now: Timestamp) -> Option<Verifiers> {
        let inner = self.inner.lock();
        inner.entries.get(account).filter(|entry| entry.expires > now).map(|entry| entry.verifiers.clone())
    }

    /// Keeps an answer that was asked for at `generation`. That there is nothing is not kept: it is asked again before anybody is refused.
    pub(crate) fn put(
        &self,
        account: &Account,
        verifiers: Verifiers,
        (now, ttl): (Timestamp, Duration),
        generation: u64,
    ) {
        let mut inner = self.inner.lock();
        if inner.generation != generation {
            return;
        }
        if verifiers.is_empty() {
            inner.entries.remove(account);
            return;
        }
        if inner.entries.len() >= self.capacity && !inner.entries.contains_key(account) {
            inner.make_room(now);
        }
        let known_source = inner.entries.get(account).and_then(|entry| entry.known_source);
        inner.entries.insert(account.clone(), Entry { verifiers, expires: now.plus(ttl), known_source });
    }

    pub(crate) fn remember_source(&self, account: &Account, source: IpAddr) {
        if let Some(entry) = self.inner.lock().entries.get_mut(account) {
            entry.known_source = Some(source);
        }
    }

    /// Whether the account's last proof of its identity came from there.
    pub(crate) fn is_known_source(&self, account: &Account, source: IpAddr) -> bool {
        self.inner.lock().entries.get(account).is_some_and(|entry| entry.known_source == Some(source))
    }

    pub(crate) fn forget(&self, account: &Account) {
        let mut inner = self.inner.lock();
        inner.generation += 1;
        inner.entries.remove(account);
    }

    pub(crate) fn forget_all(&self) {
        let mut inner = self.inner.lock();
        inner.generation += 1;
        inner.entries.clear();
    }
}

impl Inner {
    /// Drops what has expired; when nothing has, any entry.
    fn make_room(&mut self, now: Timestamp) {
        let before = self.entries.len();
        self.entries.retain(|_, entry| entry.expires > now);
        if self.entries.len() == before {
            let any = self.entries.keys().next().cloned();
            any.and_then(|account| self.entries.remove(&account));
        }
    }
}
