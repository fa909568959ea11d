//! What the writer and the readers of one stream and shard share: the files, the newest frames, and how far the log is durable.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::Waker;

use parking_lot::Mutex;

use super::disk::Disk;
use super::segment::Segment;
use crate::frame::Frame;
use crate::health::Health;
use crate::log::LogOptions;
use crate::partition::{Offset, Shard, Stream};
use crate::queue::{Queue, Tenants};
use crate::stats::Counters;

/// Refusal begins at this share of the size bound, in per cent.
const FULL_PER_CENT: u64 = 90;
/// Most frames that a reader takes out of memory at once.
const TAKE_FRAMES: usize = 64;

/// Tells the readers of a shard apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ReaderId(u64);

/// What all shards of a log share.
pub(crate) struct Common {
    pub(crate) options: LogOptions,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) health: Health,
    pub(crate) counters: Counters,
    pub(crate) tenants: Arc<Tenants>,
    /// How many want nothing to go away.
    pub(crate) kept: Arc<AtomicUsize>,
}

impl Common {
    /// Compares the size with its bound.
    pub(crate) fn check_size(&self) {
        let (size, bound) = (self.counters.size_bytes.load(Ordering::Relaxed), self.options.max_bytes);
        let full = u128::from(size) * 100 >= u128::from(bound) * u128::from(FULL_PER_CENT);
        self.health.set_full(full, || format!("{size} of {bound} bytes are used"));
    }
}

/// One stream and shard.
pub(crate) struct ShardLog {
    pub(crate) stream: Stream,
    pub(crate) shard: Shard,
    pub(crate) directory: PathBuf,
    pub(crate) common: Arc<Common>,
    pub(crate) queue: Arc<Queue>,
    /// Oldest first; the last is the one that is written.
    pub(crate) segments: Mutex<Vec<Arc<Segment>>>,
    pub(crate) truncate_below: AtomicU64,
    /// What a reader beside the owner still needs.
    pub(crate) held_from: AtomicU64,
    durable: Mutex<Durable>,
    readers: AtomicU64,
}

/// The durable end of the log and the frames before it that are still in memory.
struct Durable {
    end: u64,
    recent: VecDeque<Frame>,
    recent_bytes: usize,
    closed: bool,
    /// The readers at the end, each once.
    waiting: HashMap<ReaderId, Waker>,
}

impl Durable {
    /// Answers whether there was one.
    fn forget_oldest(&mut self) -> bool {
        let oldest = self.recent.pop_front();
        self.recent_bytes -= oldest.as_ref().map_or(0, |oldest| oldest.as_bytes().len());
        oldest.is_some()
    }
}

/// What a reader gets from memory.
pub(crate) enum Recent {
    /// Frames from the offset asked for.
    Frames(Vec<(Offset, Frame)>),
    /// The offset is older than memory goes back.
    Older,
    /// The offset is the end.
    CaughtUp,
    /// The offset is the end, and nothing will come.
    Closed,
}

impl ShardLog {
    pub(crate) fn new(
        at: (Stream, Shard),
        directory: PathBuf,
        common: Arc<Common>,
        segments: Vec<Arc<Segment>>,
        end: u64,
    ) -> Self {
        let queue = Arc::new(Queue::new(common.tenants.clone()));
        let durable =
            Durable { end, recent: VecDeque::new(), recent_bytes: 0, closed: false, waiting: HashMap::new() };
        Self {
            stream: at.0,
            shard: at.1,
            directory,
            common,
            queue,
            segments: Mutex::new(segments),
            truncate_below: AtomicU64::new(0),
            held_from: AtomicU64::new(u64::MAX),
            durable: Mutex::new(durable),
            readers: AtomicU64::new(0),
        }
    }

    pub(crate) fn end(&self) -> u64 {
        self.durable.lock().end
    }

    /// Lets readers see frames that are durable now.
    pub(crate) fn publish(&self, frames: Vec<Frame>) {
        let bound = self.common.options.recent_bytes;
        let waiting = {
            let mut durable = self.durable.lock();
            for frame in frames {
                durable.end += 1;
                durable.recent_bytes += frame.as_bytes().len();
                durable.recent.push_back(frame);
            }
            while durable.recent_bytes > bound && durable.forget_oldest() {}
            std::mem::take(&mut durable.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    /// Gives back the memory of frames that nobody needs any more.
    pub(crate) fn forget_below(&self, offset: u64) {
        let mut durable = self.durable.lock();
        while durable.end - (durable.recent.len() as u64) < offset && durable.forget_oldest() {}
        if durable.recent.is_empty() {
            durable.recent = VecDeque::new();
        }
    }

    pub(crate) fn close_readers(&self) {
        let waiting = {
            let mut durable = self.durable.lock();
            durable.closed = true;
            std::mem::take(&mut durable.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    pub(crate) fn new_reader(&self) -> ReaderId {
        ReaderId(self.readers.fetch_add(1, Ordering::Relaxed))
    }

    /// A reader is gone: in a quiet shard nobody else would let go of its waker.
    pub(crate) fn forget_reader(&self, reader: ReaderId) {
        self.durable.lock().waiting.remove(&reader);
    }

    /// Takes frames out of memory; at the end, the reader's waker is kept to be called when there is more.
    pub(crate) fn recent(&self, from: u64, waiter: Option<(ReaderId, &Waker)>) -> Recent {
        let mut durable = self.durable.lock();
        if from >= durable.end {
            if durable.closed {
                return Recent::Closed;
            }
            if let Some((reader, waker)) = waiter {
                durable.waiting.insert(reader, waker.clone());
            }
            return Recent::CaughtUp;
        }
        let oldest = durable.end - durable.recent.len() as u64;
        let Some(skip) = from.checked_sub(oldest) else { return Recent::Older };
        let skip = usize::try_from(skip).unwrap_or(usize::MAX);
        let frames = durable.recent.iter().skip(skip).take(TAKE_FRAMES).cloned();
        Recent::Frames((from..).map(Offset).zip(frames).collect())
    }

    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.durable.lock().waiting.len()
    }

    /// The file in which an offset stands or stood, or the first one after it, and where the file's part of the log ends.
    pub(crate) fn segment_of(&self, offset: u64) -> Option<(Arc<Segment>, u64)> {
        let end = self.end();
        let segments = self.segments.lock();
        let after = segments.partition_point(|segment| segment.identity.base <= offset);
        let at = after.saturating_sub(1);
        let segment = segments.get(at)?;
        let limit = segments.get(at + 1).map_or(end, |next| next.identity.base.min(end));
        Some((segment.clone(), limit))
    }
}
