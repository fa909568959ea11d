//! Frames on their way: per stream and shard one open frame that callers fill, and closed ones that wait for the writer. The writer
//! sleeps here, too, and so keeps the time of the open frame.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use drover_proto::RecordRef;
use drover_proto::backbone::v1::Channel;
use parking_lot::{Condvar, Mutex};

use crate::frame::{HEADER_BYTES, put_record};
use crate::producer::{Refused, Room};
use crate::ticket::{Outcome, Ticket};

/// Room that is left in front of a frame's header for what the backbone adds.
pub(crate) const ENVELOPE_BYTES: usize = 16;
const FRONT: usize = ENVELOPE_BYTES + HEADER_BYTES;
/// Smallest buffer of an open frame.
const MIN_BUFFER: usize = 512;

/// What a producer decides about its frames.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) producer: u64,
    pub(crate) epoch: u64,
    pub(crate) linger: Duration,
    pub(crate) frame_bytes: usize,
    pub(crate) frame_records: u16,
}

/// A frame on its way: room for the envelope and header, then the records.
#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) bytes: BytesMut,
    /// Length of the frame without envelope and padding; set by the writer.
    pub(crate) frame_bytes: usize,
    pub(crate) records: u16,
    pub(crate) shape: Shape,
    pub(crate) outcome: Arc<Outcome>,
    opened: Instant,
    counts: Vec<(Arc<TenantCount>, u64)>,
    room: Arc<Room>,
    reserved: usize,
}

impl Pending {
    /// Counts the records of each tenant; to be done before the tickets resolve.
    pub(crate) fn count(&self) {
        for (tenant, records) in &self.counts {
            tenant.records.fetch_add(*records, Ordering::Release);
        }
    }

    fn deadline(&self) -> Instant {
        self.opened + self.shape.linger
    }

    fn is_full(&self) -> bool {
        self.records >= self.shape.frame_records || self.bytes.len() >= self.shape.frame_bytes
    }

    fn takes(&self, shape: &Shape, size: usize) -> bool {
        self.bytes.len() + size <= self.shape.frame_bytes
            && (self.shape.producer, self.shape.epoch) == (shape.producer, shape.epoch)
    }

    fn push(&mut self, record: &RecordRef<'_>, length: usize, tenants: &Tenants) {
        put_record(record, length, &mut self.bytes);
        self.records += 1;
        if matches!(record.channel, Channel::Telemetry | Channel::Event) {
            match self.counts.iter_mut().rev().find(|(tenant, _)| *tenant.name == *record.tenant) {
                Some((_, records)) => *records += 1,
                None => self.counts.push((tenants.get(record.tenant), 1)),
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.room.release(self.reserved);
    }
}

/// How many records of one tenant became durable.
#[derive(Debug)]
pub(crate) struct TenantCount {
    name: Box<str>,
    records: AtomicU64,
}

/// The counts of all tenants. Tenants come from authentication, so their number is bounded by the registry.
#[derive(Debug, Default)]
pub(crate) struct Tenants(Mutex<HashMap<Box<str>, Arc<TenantCount>>>);

impl Tenants {
    fn get(&self, name: &str) -> Arc<TenantCount> {
        let mut tenants = self.0.lock();
        if let Some(tenant) = tenants.get(name) {
            return tenant.clone();
        }
        let tenant = Arc::new(TenantCount { name: name.into(), records: AtomicU64::new(0) });
        tenants.insert(name.into(), tenant.clone());
        tenant
    }

    pub(crate) fn appended(&self, name: &str) -> u64 {
        self.0.lock().get(name).map_or(0, |tenant| tenant.records.load(Ordering::Acquire))
    }
}

/// Where the writer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// Not started yet.
    Absent,
    /// At work; it looks here again by itself.
    Busy,
    /// Asleep until something comes.
    Idle,
    /// Asleep until the open frame's time has come.
    Lingering,
}

#[derive(Debug)]
struct State {
    open: Option<Pending>,
    closed: VecDeque<Pending>,
    /// The newest frame: when it is durable, all are.
    last: Option<Arc<Outcome>>,
    writer: Writer,
    /// Something else than frames is to be done.
    errand: bool,
    stopped: bool,
    /// Length of the last frame, a guess for the next.
    guess: usize,
}

/// What the writer gets to do.
#[derive(Debug)]
pub(crate) enum Work {
    /// Frames to be written, in order.
    Frames(Vec<Pending>),
    /// Something else was asked for.
    Errand,
    /// Nothing more will come.
    Stop,
}

/// The frames of one stream and shard.
pub(crate) struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    tenants: Arc<Tenants>,
}

impl Queue {
    pub(crate) fn new(tenants: Arc<Tenants>) -> Self {
        let state = State {
            open: None,
            closed: VecDeque::new(),
            last: None,
            writer: Writer::Absent,
            errand: false,
            stopped: false,
            guess: MIN_BUFFER,
        };
        Self { state: Mutex::new(state), wake: Condvar::new(), tenants }
    }

    /// Puts a record of `length` bytes, for which `room` has `reserved`, into the open frame. The second answer tells that the writer
    /// must be started first.
    pub(crate) fn append(
        &self,
        shape: &Shape,
        record: &RecordRef<'_>,
        length: usize,
        room: &Arc<Room>,
    ) -> Result<(Ticket, bool), Refused> {
        let reserved = Room::of_record(length);
        let mut state = self.state.lock();
        if state.stopped {
            return Err(Refused::Stopped);
        }
        let mut wake = false;
        if state.open.as_ref().is_some_and(|open| !open.takes(shape, length + 5)) {
            close(&mut state);
            wake = state.writer != Writer::Busy;
        }
        let fresh = state.open.is_none();
        if fresh {
            state.open = Some(open(*shape, room, state.guess.max(length + FRONT + 16)));
            wake |= state.writer == Writer::Idle;
        }
        let pending = state.open.as_mut().expect("an open frame was put there above");
        pending.push(record, length, &self.tenants);
        pending.reserved += reserved;
        let outcome = pending.outcome.clone();
        if pending.is_full() {
            close(&mut state);
            wake |= state.writer != Writer::Busy;
        }
        if fresh {
            state.last = Some(outcome.clone());
        }
        let absent = state.writer == Writer::Absent;
        if wake || absent {
            // Once is enough: until the writer sleeps again it looks here by itself.
            state.writer = Writer::Busy;
        }
        drop(state);
        if wake && !absent {
            self.wake.notify_one();
        }
        Ok((Ticket::new(outcome), absent))
    }

    /// Whether the writer must be started; whoever gets `true` starts it.
    pub(crate) fn claim_writer(&self) -> bool {
        let mut state = self.state.lock();
        let absent = state.writer == Writer::Absent && !state.stopped;
        if absent {
            state.writer = Writer::Busy;
        }
        absent
    }

    /// The writer could not be started.
    pub(crate) fn disclaim_writer(&self) {
        self.state.lock().writer = Writer::Absent;
    }

    /// Asks the writer to look for something else to do.
    pub(crate) fn errand(&self) {
        let mut state = self.state.lock();
        state.errand = true;
        self.rouse(state);
    }

    /// Closes the open frame; the answer resolves when everything until here is durable.
    pub(crate) fn flush(&self) -> Option<Ticket> {
        let mut state = self.state.lock();
        let last = state.last.clone()?;
        close(&mut state);
        self.rouse(state);
        Some(Ticket::new(last))
    }

    /// Takes no more records; what is here is still written.
    pub(crate) fn stop(&self) {
        let mut state = self.state.lock();
        state.stopped = true;
        close(&mut state);
        self.rouse(state);
    }

    fn rouse(&self, mut state: parking_lot::MutexGuard<'_, State>) {
        let asleep = matches!(state.writer, Writer::Idle | Writer::Lingering);
        if asleep {
            state.writer = Writer::Busy;
        }
        drop(state);
        if asleep {
            self.wake.notify_one();
        }
    }

    /// Gives up what no writer will take any more.
    pub(crate) fn abandon(&self) {
        let frames = std::mem::take(&mut self.state.lock().closed);
        frames.iter().for_each(|frame| frame.outcome.stopped());
    }

    /// Whether [`Self::stop`] was called.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().stopped
    }

    /// Sleeps before something is tried again, less when the log is stopped meanwhile.
    pub(crate) fn pause(&self, duration: Duration) {
        let until = Instant::now() + duration;
        let mut state = self.state.lock();
        while !state.stopped && Instant::now() < until {
            state.writer = Writer::Lingering;
            self.wake.wait_until(&mut state, until);
        }
        state.writer = Writer::Busy;
    }

    /// Waits for work. With `hurry` the open frame is not left open for its time: the last sync took longer than that.
    pub(crate) fn take(&self, hurry: bool) -> Work {
        let mut state = self.state.lock();
        loop {
            if state.errand {
                state.errand = false;
                state.writer = Writer::Busy;
                return Work::Errand;
            }
            let due = |open: &Pending| hurry || Instant::now() >= open.deadline();
            if !state.closed.is_empty() || state.open.as_ref().is_some_and(due) {
                close(&mut state);
                state.writer = Writer::Busy;
                return Work::Frames(state.closed.drain(..).collect());
            }
            if state.stopped {
                state.writer = Writer::Busy;
                return Work::Stop;
            }
            match state.open.as_ref().map(Pending::deadline) {
                Some(deadline) => {
                    state.writer = Writer::Lingering;
                    self.wake.wait_until(&mut state, deadline);
                }
                None => {
                    state.writer = Writer::Idle;
                    self.wake.wait(&mut state);
                }
            }
        }
    }
}

fn open(shape: Shape, room: &Arc<Room>, capacity: usize) -> Pending {
    let mut bytes = BytesMut::with_capacity(capacity);
    bytes.resize(FRONT, 0);
    Pending {
        bytes,
        frame_bytes: 0,
        records: 0,
        shape,
        outcome: Arc::default(),
        opened: Instant::now(),
        counts: Vec::new(),
        room: room.clone(),
        reserved: 0,
    }
}

fn close(state: &mut State) {
    if let Some(open) = state.open.take() {
        state.guess = (open.bytes.len() + open.bytes.len() / 4).max(MIN_BUFFER);
        state.closed.push_back(open);
    }
}
