//! Merges point files in the background, one merge at a time, and says how it goes.

use std::time::Duration;

use drover_runtime::{Env, PartHealth, Status};
use drover_timeseries::Store;
use tokio::time::{Instant, sleep};

use crate::metrics::StreamMetrics;

/// How often it looks for something to do.
const LOOK: Duration = Duration::from_secs(1);
/// Pause after a merge that failed: for want of room, say.
const RETRY: Duration = Duration::from_secs(30);

pub(crate) struct Compaction {
    pub(crate) points: Store,
    /// Files of flushes that are merged at a time.
    pub(crate) files: usize,
    pub(crate) metrics: StreamMetrics,
    pub(crate) health: PartHealth,
    pub(crate) env: Env,
}

/// Merges until the process drains. A merge under way then is given up: its files don't count yet.
pub(crate) async fn run(compaction: Compaction) -> anyhow::Result<()> {
    let stop = compaction.env.stop.clone();
    compaction.health.set(Status::Ok);
    // Cancel-safe: see above.
    tokio::select! {
        () = compaction.for_ever() => {}
        () = stop.drain() => {}
    }
    Ok(())
}

impl Compaction {
    async fn for_ever(&self) {
        loop {
            let started = Instant::now();
            match self.points.compact(self.files, self.env.clock.now()).await {
                Ok(None) => sleep(LOOK).await,
                Ok(Some(done)) => {
                    self.metrics.compactions.inc();
                    self.metrics.compacted_points.inc_by(done.points);
                    self.metrics.compaction_seconds.inc_by(started.elapsed().as_secs_f64());
                    self.health.set(Status::Ok);
                }
                Err(error) => {
                    self.metrics.compaction_failures.inc();
                    tracing::error!("point files can't be merged, trying again later: {error}");
                    self.health.set(Status::Degraded(format!("point files can't be merged: {error}")));
                    sleep(RETRY).await;
                }
            }
            self.count();
        }
    }

    fn count(&self) {
        let stats = self.points.stats();
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.files.set(gauge(stats.files));
        self.metrics.file_points.set(gauge(stats.file_points));
        self.metrics.file_bytes.set(gauge(stats.file_bytes));
    }
}
