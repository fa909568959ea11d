//! Makes what was applied durable together with the offset that covers it: file, manifest, latest values, erasures, counts and offset, in
//! one transaction. A failure leaves everything as it was; the worker tries again.

use drover_backbone::{Log, Offset, Shard, Stream, sequence};

use crate::error::Error;
use crate::ledger::ByTenant;
use crate::metrics::StreamMetrics;
use crate::store::{self, Store};

/// What a commit works with.
#[derive(Clone)]
pub(crate) struct Committer {
    pub(crate) store: Store,
    pub(crate) points: drover_timeseries::Store,
    pub(crate) log: Log,
    pub(crate) metrics: StreamMetrics,
    pub(crate) health: drover_runtime::PartHealth,
}

impl Committer {
    /// Commits everything that was applied below `next`. The file may hold points from beyond it, when they came while an earlier
    /// try was failing: a replay gives them the same positions, so they are not doubled.
    pub(crate) async fn run(&self, shard: Shard, next: Offset, counts: &ByTenant) -> Result<(), Error> {
        match self.attempt(shard, next, counts).await {
            Ok(()) => {
                self.metrics.commits.inc();
                self.health.set(drover_runtime::Status::Ok);
                self.log.truncate(Stream::Telemetry, shard, next);
                Ok(())
            }
            Err(error) => {
                self.metrics.commit_failures.inc();
                tracing::error!(shard = shard.0, "points cannot be written: {error}");
                self.health
                    .set(drover_runtime::Status::Degraded(format!("points cannot be written: {error}")));
                Err(error)
            }
        }
    }

    async fn attempt(&self, shard: Shard, next: Offset, counts: &ByTenant) -> Result<(), Error> {
        let flush = self.points.freeze_and_write(shard.0).await?;
        let mut tx = self.store.begin().await?;
        if let Some(flush) = &flush {
            flush.record(&mut tx).await?;
        }
        let below = sequence(next, 0);
        self.points.record_erasures(shard.0, below, &mut tx).await?;
        store::add_counts(&mut tx, counts).await?;
        store::set_offset(&mut tx, Stream::Telemetry.as_str(), shard, next).await?;
        tx.commit().await?;
        if let Some(flush) = flush {
            flush.publish();
        }
        self.points.erasures_recorded(shard.0, below);
        Ok(())
    }
}
