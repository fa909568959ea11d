//! Makes what was applied durable together with the offset that covers it: file, manifest, latest values, counts and offset, in one
//! transaction. A failure leaves everything as it was, and is tried again.

use std::time::Duration;

use drover_backbone::{Log, Offset, Shard, Stream};
use drover_timeseries::Frozen;

use crate::config::Config;
use crate::error::Error;
use crate::ledger::ByTenant;
use crate::metrics::StreamMetrics;
use crate::store::{self, Store};

/// First and longest pause between two tries.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));

/// Everything that was applied up to an offset and is not in the database yet.
pub(crate) struct Commit {
    pub(crate) shard: Shard,
    /// The head as it was at that offset; none when no points came.
    pub(crate) frozen: Option<Frozen>,
    pub(crate) counts: ByTenant,
    pub(crate) next: Offset,
}

/// What a commit works with.
#[derive(Clone)]
pub(crate) struct Committer {
    pub(crate) store: Store,
    pub(crate) log: Log,
    pub(crate) config: Config,
    pub(crate) metrics: StreamMetrics,
    pub(crate) health: drover_runtime::PartHealth,
}

impl Committer {
    /// Commits, however long it takes; says so while it fails.
    pub(crate) async fn run(self, mut commit: Commit) {
        let mut pause = RETRY.0;
        while let Err(error) = self.attempt(&mut commit).await {
            self.metrics.commit_failures.inc();
            tracing::error!(shard = commit.shard.0, "points cannot be written, trying again: {error}");
            self.health.set(drover_runtime::Status::Degraded(format!("points cannot be written: {error}")));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(RETRY.1);
        }
        self.metrics.commits.inc();
        self.health.set(drover_runtime::Status::Ok);
        self.log.truncate(Stream::Telemetry, commit.shard, commit.next);
    }

    async fn attempt(&self, commit: &mut Commit) -> Result<(), Error> {
        let written = match &commit.frozen {
            Some(frozen) => Some(frozen.write().await?),
            None => None,
        };
        let mut tx = self.store.begin().await?;
        if let Some(written) = &written {
            written.record(&mut tx).await?;
        }
        store::add_counts(&mut tx, &commit.counts).await?;
        for (tenant, counts) in &commit.counts {
            if counts.dead_lettered > 0 {
                store::prune_dead_letters(&mut tx, tenant, self.config.dead_letters_per_tenant).await?;
            }
            if counts.stored > 0 {
                store::prune_events(&mut tx, tenant, self.config.events_per_tenant).await?;
            }
        }
        store::set_offset(&mut tx, Stream::Telemetry.as_str(), commit.shard, commit.next).await?;
        tx.commit().await?;
        if let Some(written) = written {
            written.publish();
        }
        Ok(())
    }
}
