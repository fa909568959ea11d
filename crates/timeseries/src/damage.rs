//! Which files of the manifest can't be read, as far as is known.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Whether the store can answer in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Ready,
    /// Answers may lack points.
    Degraded {
        /// How many files, and one by name.
        detail: String,
    },
}

/// The files and why each can't be read.
#[derive(Debug, Default)]
pub(crate) struct Damage(Mutex<BTreeMap<Arc<str>, String>>);

impl Damage {
    pub(crate) fn found(&self, file: &Arc<str>, reason: &str) {
        let new = self.0.lock().insert(Arc::clone(file), reason.to_owned()).is_none();
        if new {
            tracing::error!(
                file = &**file,
                reason,
                "a point file can't be read; its points are missing from answers"
            );
        }
    }

    /// Whether a file is among them.
    pub(crate) fn has(&self, file: &str) -> bool {
        let files = self.0.lock();
        !files.is_empty() && files.contains_key(file)
    }

    pub(crate) fn healed(&self, file: &Arc<str>) {
        let mut files = self.0.lock();
        if !files.is_empty() && files.remove(file).is_some() {
            tracing::info!(file = &**file, "a point file can be read again");
        }
    }

    /// Says that a file is no longer part of the store.
    pub(crate) fn removed(&self, file: &str) {
        self.0.lock().remove(file);
    }

    pub(crate) fn health(&self) -> Health {
        let files = self.0.lock();
        match files.first_key_value() {
            None => Health::Ready,
            Some((file, reason)) => {
                let detail =
                    format!("{} point files can't be read, among them {file}: {reason}", files.len());
                Health::Degraded { detail }
            }
        }
    }
}
