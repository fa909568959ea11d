//! Reading a stream and shard in order. Here repeated frames are dropped; where frames come from is the backbone's.

use std::collections::HashMap;
use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use crate::frame::Frame;
use crate::log::LogError;
use crate::partition::Offset;

/// Writers whose last sequence is remembered.
const MAX_WRITERS: usize = 1024;

/// A source of frames, with whatever repetitions the backbone makes.
pub(crate) trait ReadLog: Send {
    /// The next frame, if there is one; may read from the disk.
    fn try_next(&mut self) -> Result<Option<(Offset, Frame)>, LogError>;
    /// The next frame, or the waker is called when there may be one.
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<(Offset, Frame), LogError>>;
}

/// Reads the frames of one stream and shard in order, each once.
pub struct Reader {
    source: Box<dyn ReadLog>,
    seen: Seen,
}

impl Reader {
    pub(crate) fn new(source: Box<dyn ReadLog>) -> Self {
        Self { source, seen: Seen::default() }
    }

    /// The next frame; waits at the end of the log. Dropping the future loses no frame.
    ///
    /// # Errors
    /// [`LogError`] when the log can't be read or was closed; the next call tries again.
    pub async fn next(&mut self) -> Result<(Offset, Frame), LogError> {
        poll_fn(|context| self.poll_next(context)).await
    }

    /// As [`Self::next`], for callers that poll.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<(Offset, Frame), LogError>> {
        loop {
            let (offset, frame) = ready!(self.source.poll_next(context))?;
            if self.seen.is_new(&frame) {
                return Poll::Ready(Ok((offset, frame)));
            }
        }
    }

    /// The next frame, or `None` when the reader has caught up. May read a file.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub fn try_next(&mut self) -> Result<Option<(Offset, Frame)>, LogError> {
        while let Some((offset, frame)) = self.source.try_next()? {
            if self.seen.is_new(&frame) {
                return Ok(Some((offset, frame)));
            }
        }
        Ok(None)
    }
}

/// The last sequence of each producer and epoch; the one that was silent for longest is forgotten first.
#[derive(Debug, Default)]
struct Seen {
    writers: HashMap<(u64, u64), (u64, u64)>,
    clock: u64,
}

impl Seen {
    fn is_new(&mut self, frame: &Frame) -> bool {
        self.clock += 1;
        let writer = (frame.producer(), frame.epoch());
        if let Some((last, used)) = self.writers.get_mut(&writer) {
            *used = self.clock;
            let new = frame.first_sequence() > *last;
            *last = frame.first_sequence().max(*last);
            return new;
        }
        if self.writers.len() >= MAX_WRITERS {
            let oldest = self.writers.iter().min_by_key(|(_, (_, used))| *used).map(|(writer, _)| *writer);
            oldest.and_then(|writer| self.writers.remove(&writer));
        }
        self.writers.insert(writer, (frame.first_sequence(), self.clock));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::tests::frame_of;

    struct Given(std::vec::IntoIter<Frame>);

    impl ReadLog for Given {
        fn try_next(&mut self) -> Result<Option<(Offset, Frame)>, LogError> {
            Ok(self.0.next().map(|frame| (Offset(0), frame)))
        }
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<(Offset, Frame), LogError>> {
            Poll::Pending
        }
    }

    #[test]
    fn a_repeated_frame_is_dropped() {
        let frames: Vec<_> = [0, 2, 0, 2, 4].map(|first| frame_of(first, &["a", "b"])).into();
        let mut reader = Reader::new(Box::new(Given(frames.into_iter())));
        let mut sequences = Vec::new();
        while let Some((_, frame)) = reader.try_next().unwrap() {
            sequences.push(frame.first_sequence());
        }
        assert_eq!(sequences, [0, 2, 4]);
    }
}
