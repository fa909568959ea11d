//! The readers of several shards as one, in turns.

use std::task::{Context, Poll};

use drover_backbone::{Frame, LogError, Offset, Reader, Shard};

/// A frame and where it stands.
type Found = (Shard, (Offset, Frame));

#[derive(Default)]
pub(crate) struct Readers {
    all: Vec<(Shard, Reader)>,
    /// Whose turn it is.
    turn: usize,
}

impl Readers {
    pub(crate) fn push(&mut self, shard: Shard, reader: Reader) {
        self.all.push((shard, reader));
    }

    /// The next frame of the shard whose turn it is, or else of the next one that has any. No frame is lost between two calls.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Result<Found, LogError>> {
        let count = self.all.len();
        for step in 0..count {
            let at = (self.turn + step) % count;
            let Some((shard, reader)) = self.all.get_mut(at) else { continue };
            if let Poll::Ready(found) = reader.poll_next(context) {
                self.turn = (at + 1) % count;
                return Poll::Ready(found.map(|found| (*shard, found)));
            }
        }
        Poll::Pending
    }
}
