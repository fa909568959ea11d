//! Stopping in two steps: first nothing new comes in, then what is inside is finished. A second signal aborts.

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Tells when to stop; cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    drain: CancellationToken,
    finish: CancellationToken,
}

impl Stop {
    /// Resolves when listeners close: accept no more, say goodbye to clients, let open requests end.
    pub fn drain(&self) -> WaitForCancellationFuture<'_> {
        self.drain.cancelled()
    }

    /// Resolves when every listener has closed and every open frame is in the log: finish what is left and return.
    pub fn finish(&self) -> WaitForCancellationFuture<'_> {
        self.finish.cancelled()
    }

    /// Whether listeners are closing.
    pub fn is_draining(&self) -> bool {
        self.drain.is_cancelled()
    }

    /// Begins the first step.
    pub fn begin_drain(&self) {
        self.drain.cancel();
    }

    /// Begins the second step.
    pub fn begin_finish(&self) {
        self.drain.cancel();
        self.finish.cancel();
    }
}
