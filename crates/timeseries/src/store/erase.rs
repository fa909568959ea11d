//! Erasures on their way into the table, and out of it again.

use sqlx::SqliteConnection;

use super::{Inner, ShardState, Store};
use crate::erasures::{self, Erasure};
use crate::file::Part;
use crate::{StoreError, latest};

/// Erasures that are looked through at a time for some that can be forgotten.
const FORGET: usize = 4096;

impl Store {
    /// Writes what was erased at positions below `below` and takes it out of the latest values. Below that position the log is not
    /// read again once the caller has committed; then call [`Self::erasures_recorded`].
    ///
    /// # Errors
    /// When the database refuses; then roll back.
    pub async fn record_erasures(
        &self,
        shard: u16,
        below: u64,
        db: &mut SqliteConnection,
    ) -> Result<(), StoreError> {
        let unrecorded = self.0.shard(shard).state.read().erasures.unrecorded(below);
        for erasure in unrecorded {
            erasures::put(db, &erasure).await?;
            let gone = self.0.gone(&self.0.shard(shard).state.read(), &erasure.tenant);
            latest::erase(db, &erasure.tenant, &erasure.device, &gone).await?;
        }
        Ok(())
    }

    /// Says that what [`Self::record_erasures`] wrote is committed.
    pub fn erasures_recorded(&self, shard: u16, below: u64) {
        self.0.shard(shard).state.write().erasures.recorded(below);
    }
}

impl Inner {
    /// Forgets erasures of which nothing is left that they would hide.
    pub(crate) async fn forget_erasures(&self) -> Result<(), StoreError> {
        for shard in &self.shards {
            let done: Vec<Erasure> = {
                let state = shard.state.read();
                let settled = state.erasures.settled().take(FORGET);
                settled.filter(|erasure| !state.may_have(erasure)).collect()
            };
            if done.is_empty() {
                continue;
            }
            let mut tx = self.db.begin().await?;
            for erasure in &done {
                erasures::remove(&mut tx, erasure).await?;
            }
            tx.commit().await?;
            shard.state.write().erasures.forget(&done);
        }
        Ok(())
    }
}

impl ShardState {
    /// Whether something that an erasure hides may be left.
    fn may_have(&self, erasure: &Erasure) -> bool {
        let has = |part: &Part| {
            part.clean_to < erasure.below
                && *part.min_device <= *erasure.device
                && *erasure.device <= *part.max_device
        };
        let is_frozen = self.frozen.is_some() && self.frozen_clean_to < erasure.below;
        is_frozen || self.files.get(&erasure.tenant).into_iter().flatten().any(|part| has(part))
    }
}
