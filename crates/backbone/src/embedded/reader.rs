//! Reading a shard: the newest frames from memory, older ones from the files.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use tokio::task::JoinHandle;

use super::recovery::gap;
use super::segment::{Chunk, Found, Segment};
use super::shard::{ReaderId, Recent, ShardLog};
use crate::frame::Frame;
use crate::log::LogError;
use crate::partition::Offset;
use crate::reader::ReadLog;

/// Frames read from a file at once: as many as begin within so many bytes.
const READ_BYTES: u64 = 256 << 10;

/// What a file gave.
type Read = Result<Vec<(Offset, Frame)>, LogError>;
/// What a reader answers.
type Answer = Poll<Result<(Offset, Frame), LogError>>;

pub(crate) struct EmbeddedReader {
    log: Arc<ShardLog>,
    id: ReaderId,
    ready: VecDeque<(Offset, Frame)>,
    /// Absent while a thread reads with it.
    place: Option<Place>,
    loading: Option<JoinHandle<(Place, Read)>>,
    /// Where to go on should that thread be lost.
    resume: u64,
}

/// Where a reader is.
#[derive(Default)]
struct Place {
    /// Offset of the frame to be read next.
    next: u64,
    file: Option<(Arc<Segment>, u64)>,
    chunk: Chunk,
}

impl EmbeddedReader {
    pub(crate) fn new(log: Arc<ShardLog>, from: Offset) -> Self {
        let place = Place { next: from.0, ..Place::default() };
        let id = log.new_reader();
        Self { log, id, ready: VecDeque::new(), place: Some(place), loading: None, resume: from.0 }
    }

    /// From what is at hand or in memory: `None` when a file must be read.
    fn at_hand(&mut self, waker: Option<&Waker>) -> Option<Answer> {
        if let Some(frame) = self.ready.pop_front() {
            return Some(Poll::Ready(Ok(frame)));
        }
        let place = self.place.as_mut()?;
        match self.log.recent(place.next, waker.map(|waker| (self.id, waker))) {
            Recent::Frames(frames) => {
                place.next += frames.len() as u64;
                // What was read of the files is behind us.
                (place.file, place.chunk) = (None, Chunk::default());
                self.ready = frames.into();
                self.ready.pop_front().map(|frame| Poll::Ready(Ok(frame)))
            }
            Recent::Older => None,
            Recent::CaughtUp => Some(Poll::Pending),
            Recent::Closed => Some(Poll::Ready(Err(LogError::Stopped))),
        }
    }
}

impl Drop for EmbeddedReader {
    fn drop(&mut self) {
        self.log.forget_reader(self.id);
    }
}

impl ReadLog for EmbeddedReader {
    fn try_next(&mut self) -> Result<Option<(Offset, Frame)>, LogError> {
        if self.loading.is_some() {
            // A future of `next` was dropped while a thread was reading; what it brings comes with the next poll.
            let mut context = Context::from_waker(Waker::noop());
            return match self.poll_next(&mut context) {
                Poll::Ready(found) => found.map(Some),
                Poll::Pending => Ok(None),
            };
        }
        loop {
            match self.at_hand(None) {
                Some(Poll::Ready(Err(LogError::Stopped)) | Poll::Pending) => return Ok(None),
                Some(Poll::Ready(found)) => return found.map(Some),
                None => {}
            }
            let place = self.place.as_mut().expect("no thread is reading");
            self.ready = place.read(&self.log)?.into();
        }
    }

    fn poll_next(&mut self, context: &mut Context<'_>) -> Answer {
        loop {
            if let Some(loading) = &mut self.loading {
                let loaded = ready!(Pin::new(loading).poll(context));
                self.loading = None;
                let Ok((place, frames)) = loaded else {
                    // The runtime is going down.
                    self.place = Some(Place { next: self.resume, ..Place::default() });
                    return Poll::Ready(Err(LogError::Stopped));
                };
                self.place = Some(place);
                self.ready = frames?.into();
            }
            if let Some(answer) = self.at_hand(Some(context.waker())) {
                return answer;
            }
            let mut place = self.place.take().unwrap_or_default();
            let log = self.log.clone();
            self.resume = place.next;
            self.loading = Some(tokio::task::spawn_blocking(move || {
                let frames = place.read(&log);
                (place, frames)
            }));
        }
    }
}

impl Place {
    /// Reads some frames from a file, or passes over what isn't there.
    fn read(&mut self, log: &ShardLog) -> Read {
        let Some((segment, limit)) = log.segment_of(self.next) else {
            // Nothing is durable but the end: whatever was before is gone.
            self.next = log.end();
            return Ok(Vec::new());
        };
        self.next = self.next.max(segment.identity.base);
        let mut at = match &self.file {
            Some((open, at)) if Arc::ptr_eq(open, &segment) => *at,
            _ => {
                self.chunk = Chunk::default();
                segment.place_before(self.next)
            }
        };
        let until = segment.written();
        let stop = at + READ_BYTES;
        let mut frames = Vec::new();
        while self.next < limit && at < stop {
            let found = self.chunk.frame_at(&segment, at, until).map_err(LogError::io(&segment.path))?;
            let found = match found {
                // Frames before the one that is looked for.
                Some(found) if found.offset < self.next => {
                    segment.note(found.offset, found.at);
                    at = found.end;
                    continue;
                }
                Some(found) if found.offset == self.next => found,
                other => match self.pass_damage(log, (&segment, limit), at, other)? {
                    Some(found) => found,
                    None => break,
                },
            };
            segment.note(found.offset, found.at);
            at = found.end;
            self.next = found.offset + 1;
            frames.push((Offset(found.offset), found.frame));
        }
        self.file = Some((segment, at));
        Ok(frames)
    }

    /// The next frame behind a damaged place, if the file has one that counts.
    fn pass_damage(
        &mut self,
        log: &ShardLog,
        (segment, limit): (&Segment, u64),
        at: u64,
        found: Option<Found>,
    ) -> Result<Option<Found>, LogError> {
        let until = segment.written();
        let found = match found {
            Some(found) => Some(found),
            None => {
                self.chunk.frame_after(segment, at, self.next, until).map_err(LogError::io(&segment.path))?
            }
        };
        let found = found.filter(|found| found.offset < limit);
        let (next, to) = found.as_ref().map_or((limit, until), |found| (found.offset, found.at));
        log.common.counters.corrupt(next - self.next, gap(segment, at, to));
        self.next = next;
        Ok(found)
    }
}
