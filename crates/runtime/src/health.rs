//! What is ready and what is sick, by part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// State of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Not ready yet.
    Starting,
    /// Does its work.
    Ok,
    /// Does not do its work, or not all of it; the text says what and what to do.
    Degraded(String),
}

/// All parts of the process; cheap to clone.
#[derive(Debug, Clone)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<&'static str, Status>>>,
    changed: watch::Sender<()>,
}

impl Default for Health {
    fn default() -> Self {
        Self { parts: Arc::default(), changed: watch::Sender::new(()) }
    }
}

impl Health {
    /// Adds a part; it is [`Status::Starting`] until it says otherwise.
    pub fn part(&self, name: &'static str) -> PartHealth {
        let part = PartHealth { name, health: self.clone() };
        part.set(Status::Starting);
        part
    }

    /// Every part's state.
    pub fn snapshot(&self) -> BTreeMap<&'static str, Status> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Tells when a part has said how it is.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Resolves when every part is [`Status::Ok`].
    pub async fn ready(&self) {
        let mut changed = self.changes();
        while self.snapshot().values().any(|status| *status != Status::Ok) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// One part's voice; cheap to clone.
#[derive(Debug, Clone)]
pub struct PartHealth {
    name: &'static str,
    health: Health,
}

impl PartHealth {
    /// Says how the part is.
    pub fn set(&self, status: Status) {
        self.health.parts.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name, status);
        self.health.changed.send_replace(());
    }
}
