//! Every task of the process: counted, awaited at stop, and its failure seen.

use std::future::Future;

use tokio_util::task::TaskTracker;

use crate::Stop;

/// Spawns tasks; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    failed: tokio::sync::mpsc::Sender<anyhow::Error>,
    stop: Stop,
}

impl Tasks {
    /// Also returns where the first failure arrives.
    pub fn new(stop: Stop) -> (Self, tokio::sync::mpsc::Receiver<anyhow::Error>) {
        let (failed, failure) = tokio::sync::mpsc::channel(1);
        (Self { tracker: TaskTracker::new(), failed, stop }, failure)
    }

    /// Spawns a task that lives as long as the process. When it fails, or ends before [`Stop::finish`], the process stops.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let failed = self.failed.clone();
        let stop = self.stop.clone();
        self.track(async move {
            let outcome = work.await;
            if let Err(error) = outcome {
                let _ = failed.try_send(error.context(format!("task {name} failed")));
            } else if !stop.is_draining() {
                let _ = failed.try_send(anyhow::anyhow!("task {name} ended early"));
            }
        });
    }

    /// Spawns a task that ends by itself, for instance one connection.
    #[expect(clippy::disallowed_methods, reason = "the one place that spawns")]
    pub fn track(&self, work: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.tracker.track_future(work));
    }

    /// Resolves when every task has ended.
    pub async fn ended(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }
}
