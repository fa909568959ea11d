//! The producer: puts records into the open frame of their shard and hands out tickets. It never blocks and never waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::time::Duration;

use drover_proto::RecordRef;
use tokio::sync::Notify;

use crate::frame::{MAX_RECORD_BYTES, MAX_RECORDS};
use crate::log::{Log, LogError};
use crate::partition::{Offset, Shard, Stream, partition_of, shard_of};
use crate::queue::{Queue, Shape};
use crate::ticket::Ticket;

/// Memory that a record costs beside its bytes, roughly.
const RECORD_OVERHEAD: usize = 8;
/// Smallest and largest `frame_bytes`.
const FRAME_BYTES: std::ops::RangeInclusive<usize> = 1024..=1 << 20;

/// How frames are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducerOptions {
    /// How long a frame stays open for more records.
    pub linger: Duration,
    /// Length at which a frame closes, in bytes; 1 KiB to 1 MiB.
    pub frame_bytes: usize,
    /// Number of records at which a frame closes; 1 to 512.
    pub frame_records: u16,
    /// Bound of what is appended and not yet durable, in bytes.
    pub max_pending_bytes: usize,
    /// Names this start of this process; must be random.
    pub producer: u64,
    /// The owner's epoch, for readers.
    pub epoch: u64,
}

impl ProducerOptions {
    /// The usual frames, for a producer of this (random) number.
    pub fn new(producer: u64, epoch: u64) -> Self {
        Self {
            linger: Duration::from_millis(2),
            frame_bytes: 64 << 10,
            frame_records: MAX_RECORDS,
            max_pending_bytes: 64 << 20,
            producer,
            epoch,
        }
    }
}

/// Why a record was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As much is on its way to the disk as is allowed; see [`Producer::ready`].
    #[error("the log is busy: too much is waiting for the disk")]
    Busy,
    /// The log's size bound is near; see [`Producer::ready`].
    #[error("the log is full")]
    Full,
    /// The record is longer than a frame can be, or than a quarter of `max_pending_bytes`.
    #[error("the record is too long for the log")]
    TooLarge,
    /// The log was closed, or its writer can't be started.
    #[error("the log is stopped")]
    Stopped,
}

/// What may be on its way at a time.
#[derive(Debug)]
pub(crate) struct Room {
    used: AtomicUsize,
    bound: usize,
    /// Somebody was refused and may wait.
    refused: AtomicBool,
    freed: Notify,
}

impl Room {
    /// What a record of this length takes up.
    pub(crate) const fn of_record(length: usize) -> usize {
        length + RECORD_OVERHEAD
    }

    fn reserve(&self, bytes: usize) -> bool {
        if self.used.fetch_add(bytes, Ordering::AcqRel) + bytes <= self.bound {
            return true;
        }
        self.used.fetch_sub(bytes, Ordering::AcqRel);
        self.refused.store(true, Ordering::SeqCst);
        false
    }

    pub(crate) fn release(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::SeqCst);
        if self.refused.load(Ordering::SeqCst) && self.has_room() {
            self.refused.store(false, Ordering::SeqCst);
            self.freed.notify_waiters();
        }
    }

    /// Whether a quarter is free: enough that those who waited don't all wait again at once.
    fn has_room(&self) -> bool {
        self.used.load(Ordering::SeqCst) <= self.bound - self.bound / 4
    }
}

/// Appends records to a log. Cheap to clone; clones share frames and bounds.
#[derive(Clone)]
pub struct Producer(Arc<Shared>);

struct Shared {
    log: Log,
    shape: Shape,
    room: Arc<Room>,
    /// By stream, then shard.
    queues: Vec<Vec<Arc<Queue>>>,
    /// The newest time of arrival that was given out, microseconds.
    last_us: AtomicI64,
}

impl Producer {
    /// A producer for every stream and shard of a log.
    pub fn new(log: &Log, options: ProducerOptions) -> Self {
        let shape = Shape {
            producer: options.producer,
            epoch: options.epoch,
            linger: options.linger,
            frame_bytes: options.frame_bytes.clamp(*FRAME_BYTES.start(), *FRAME_BYTES.end()),
            frame_records: options.frame_records.clamp(1, MAX_RECORDS),
        };
        let room = Arc::new(Room {
            used: AtomicUsize::new(0),
            bound: options.max_pending_bytes.max(1),
            refused: AtomicBool::new(false),
            freed: Notify::new(),
        });
        let queues = Stream::ALL.map(|stream| log.backend().queues(stream)).into();
        let last_us = AtomicI64::new(i64::MIN);
        Self(Arc::new(Shared { log: log.clone(), shape, room, queues, last_us }))
    }

    /// Reads the newest times of arrival from the log, so that new ones lie above them even after the clock was set back.
    ///
    /// # Errors
    /// [`LogError`] when the log can't be read.
    pub fn learn_arrivals(&self) -> Result<(), LogError> {
        let log = &self.0.log;
        for shard in (0..log.shards()).map(Shard) {
            self.0.last_us.fetch_max(newest(log, shard)?, Ordering::Relaxed);
        }
        Ok(())
    }

    /// A time of arrival in microseconds: the time of day, but later than every one before, whoever it was for.
    pub fn arrival_us(&self, now_us: i64) -> i64 {
        let mut last = self.0.last_us.load(Ordering::Relaxed);
        loop {
            let next = now_us.max(last.saturating_add(1));
            match self.0.last_us.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next,
                Err(newer) => last = newer,
            }
        }
    }

    /// Puts a record into the open frame of its device's shard. Never blocks.
    ///
    /// # Errors
    /// [`Refused`]: nothing was taken.
    pub fn append(&self, stream: Stream, record: &RecordRef<'_>) -> Result<Ticket, Refused> {
        let shared = &*self.0;
        let length = record.encoded_len();
        let reserved = Room::of_record(length);
        if length > MAX_RECORD_BYTES || reserved > shared.room.bound / 4 {
            return Err(Refused::TooLarge);
        }
        if shared.log.backend().is_full() {
            return Err(Refused::Full);
        }
        if !shared.room.reserve(reserved) {
            return Err(Refused::Busy);
        }
        let shard = shard_of(partition_of(record.tenant, record.device), shared.log.shards());
        let queue = shared.queues.get(stream.index()).and_then(|shards| shards.get(usize::from(shard.0)));
        let queue = queue.expect("there is a queue for every stream and shard");
        match queue.append(&shared.shape, record, length, &shared.room) {
            Ok((ticket, false)) => Ok(ticket),
            Ok((ticket, true)) => {
                shared.log.backend().start_writer(stream, shard).map_err(|_| Refused::Stopped)?;
                Ok(ticket)
            }
            Err(refused) => {
                shared.room.release(reserved);
                Err(refused)
            }
        }
    }

    /// Resolves when [`Self::append`] may work again for records of this device.
    pub async fn ready(&self, _stream: Stream, _tenant: &str, _device: &str) {
        let mut health = self.0.log.watch_health();
        loop {
            let freed = self.0.room.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            self.0.room.refused.store(true, Ordering::SeqCst);
            let full = self.0.log.backend().is_full();
            if !full && self.0.room.has_room() {
                return;
            }
            // Cancel-safe: both only tell that it is time to look again.
            tokio::select! {
                () = freed => {}
                changed = health.changed() => if changed.is_err() { return },
            }
        }
    }

    /// Closes the open frames and waits until everything appended before is durable.
    ///
    /// # Errors
    /// [`LogError::Stopped`] when the log was closed before that.
    pub async fn flush(&self) -> Result<(), LogError> {
        let tickets: Vec<_> = self.0.queues.iter().flatten().filter_map(|queue| queue.flush()).collect();
        for mut ticket in tickets {
            ticket.durable().await?;
        }
        Ok(())
    }
}

/// The newest time of arrival in the last frame of a shard.
fn newest(log: &Log, shard: Shard) -> Result<i64, LogError> {
    let Some(last) = log.end(Stream::Telemetry, shard).0.checked_sub(1) else { return Ok(i64::MIN) };
    let Some((_, frame)) = log.reader(Stream::Telemetry, shard, Offset(last))?.try_next()? else {
        return Ok(i64::MIN);
    };
    Ok(frame.records().flatten().map(|record| record.received_us).max().unwrap_or(i64::MIN))
}
