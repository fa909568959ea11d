//! Tickets: what a caller holds until its record is durable. All tickets of one frame share one state.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::log::LogError;

/// Any other state means that the frame is on its way.
const DURABLE: u8 = 1;
const STOPPED: u8 = 2;

/// The state of a frame on its way, shared by the tickets of its records.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    state: AtomicU8,
    /// One place per ticket that was polled; bounded by the tickets of the frame.
    waiting: Mutex<Vec<Waker>>,
}

impl Outcome {
    pub(crate) fn durable(&self) {
        self.settle(DURABLE);
    }

    pub(crate) fn stopped(&self) {
        self.settle(STOPPED);
    }

    fn settle(&self, state: u8) {
        let waiting = {
            let mut waiting = self.waiting.lock();
            self.state.store(state, Ordering::Release);
            std::mem::take(&mut *waiting)
        };
        waiting.into_iter().for_each(Waker::wake);
    }

    fn get(&self) -> Poll<Result<(), LogError>> {
        match self.state.load(Ordering::Acquire) {
            DURABLE => Poll::Ready(Ok(())),
            STOPPED => Poll::Ready(Err(LogError::Stopped)),
            _ => Poll::Pending,
        }
    }
}

/// Answers whether a record is durable. Dropping it changes nothing for the record.
#[derive(Debug)]
pub struct Ticket {
    frame: Arc<Outcome>,
    /// This ticket's place among the waiting; none before it was polled.
    place: Option<usize>,
}

impl Clone for Ticket {
    fn clone(&self) -> Self {
        Self { frame: self.frame.clone(), place: None }
    }
}

impl Ticket {
    pub(crate) fn new(frame: Arc<Outcome>) -> Self {
        Self { frame, place: None }
    }

    /// Whether the record has reached the disk.
    pub fn is_durable(&self) -> bool {
        matches!(self.frame.get(), Poll::Ready(Ok(())))
    }

    /// Whether the record has reached the disk, or never will; without waiting.
    ///
    /// # Errors
    /// As [`Self::poll_durable`].
    pub fn outcome(&self) -> Poll<Result<(), LogError>> {
        self.frame.get()
    }

    /// Whether both tickets wait for the same frame: they resolve together, so that one needs no poll of its own.
    pub fn same_frame(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.frame, &other.frame)
    }

    /// Ready when the record is durable.
    ///
    /// # Errors
    /// [`LogError::Stopped`] when the log was closed before.
    pub fn poll_durable(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LogError>> {
        if let Poll::Ready(outcome) = self.frame.get() {
            return Poll::Ready(outcome);
        }
        let mut waiting = self.frame.waiting.lock();
        if let Poll::Ready(outcome) = self.frame.get() {
            return Poll::Ready(outcome);
        }
        match self.place.and_then(|place| waiting.get_mut(place)) {
            Some(waker) => waker.clone_from(context.waker()),
            None => {
                self.place = Some(waiting.len());
                waiting.push(context.waker().clone());
            }
        }
        Poll::Pending
    }

    /// Waits until the record is durable. Dropping the future loses nothing.
    ///
    /// # Errors
    /// As [`Self::poll_durable`].
    pub async fn durable(&mut self) -> Result<(), LogError> {
        poll_fn(|context| self.poll_durable(context)).await
    }
}
