//! Every task of the process: counted, awaited at stop, and its failure seen.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::Stop;

/// Spawns tasks; cheap to clone.
#[derive(Debug, Clone)]
pub struct Tasks {
    tracker: TaskTracker,
    named: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    failed: mpsc::Sender<anyhow::Error>,
    stop: Stop,
}

impl Tasks {
    /// Also returns where the first failure arrives.
    pub fn new(stop: Stop) -> (Self, mpsc::Receiver<anyhow::Error>) {
        let (failed, failure) = mpsc::channel(1);
        (Self { tracker: TaskTracker::new(), named: Arc::default(), failed, stop }, failure)
    }

    /// Another group that is awaited by itself; failures arrive at the same place.
    #[must_use]
    pub(crate) fn group(&self) -> Self {
        Self { tracker: TaskTracker::new(), named: Arc::default(), ..self.clone() }
    }

    /// Spawns a task that lives as long as the process. When it fails, or ends before [`Stop::drain`], the process stops.
    pub fn spawn(&self, name: &'static str, work: impl Future<Output = anyhow::Result<()>> + Send + 'static) {
        let this = self.clone();
        let running = Running::enter(&self.named, name);
        self.track(async move {
            // A panic drops both, so it must be seen from outside of the task's own code.
            let outcome = Outcome { name, tasks: this, running, told: false };
            let result = work.await;
            outcome.tell(result);
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

    /// Names of the tasks that have not ended, and how many others there are.
    pub fn running(&self) -> String {
        let named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        let names: Vec<_> = named.keys().copied().collect();
        let others = self.tracker.len().saturating_sub(named.values().sum());
        match (names.is_empty(), others) {
            (false, 0) => names.join(", "),
            (false, others) => format!("{}, {others} connections", names.join(", ")),
            (true, others) => format!("{others} connections"),
        }
    }
}

/// A name among the running ones, taken out when dropped.
struct Running {
    named: Arc<Mutex<BTreeMap<&'static str, usize>>>,
    name: &'static str,
}

impl Running {
    fn enter(named: &Arc<Mutex<BTreeMap<&'static str, usize>>>, name: &'static str) -> Self {
        *named.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default() += 1;
        Self { named: named.clone(), name }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut named = self.named.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = named.get_mut(self.name) {
            *count -= 1;
            if *count == 0 {
                named.remove(self.name);
            }
        }
    }
}

/// Tells how a task ended; also when a panic ended it.
struct Outcome {
    name: &'static str,
    tasks: Tasks,
    #[expect(dead_code, reason = "dropped with this")]
    running: Running,
    told: bool,
}

impl Outcome {
    fn tell(mut self, result: anyhow::Result<()>) {
        self.told = true;
        let name = self.name;
        match result {
            Err(error) => self.fail(error.context(format!("{name} failed"))),
            Ok(()) if !self.tasks.stop.is_draining() => self.fail(anyhow::anyhow!("{name} ended early")),
            Ok(()) => {}
        }
    }

    fn fail(&self, error: anyhow::Error) {
        // The first failure stops the process; of later ones there is nothing more to decide.
        let _ = self.tasks.failed.try_send(error);
    }
}

impl Drop for Outcome {
    fn drop(&mut self) {
        if !self.told && std::thread::panicking() {
            self.fail(anyhow::anyhow!("{} panicked", self.name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_failure_an_early_end_and_a_panic_are_seen() {
        for (work, wanted) in [(0, "one failed"), (1, "one ended early"), (2, "one panicked")] {
            let (tasks, mut failure) = Tasks::new(Stop::default());
            tasks.spawn("one", async move {
                match work {
                    0 => anyhow::bail!("no"),
                    1 => Ok(()),
                    _ => panic!("a test's panic"),
                }
            });
            assert_eq!(failure.recv().await.unwrap().to_string(), wanted);
            tasks.ended().await;
            assert_eq!(tasks.running(), "0 connections");
        }
    }

    #[tokio::test]
    async fn what_still_runs_is_named() {
        let stop = Stop::default();
        let (tasks, _failure) = Tasks::new(stop.clone());
        let ended = stop.clone();
        tasks.spawn("sweep", async move {
            ended.finish().await;
            Ok(())
        });
        assert_eq!(tasks.running(), "sweep");
        stop.begin_finish();
        tasks.ended().await;
    }
}
