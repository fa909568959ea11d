//! The writer of one stream and shard, a thread of its own: takes what is queued, writes it at once, syncs once, and only then tells
//! anybody. After an error the file is not trusted again: the same frames go into a new one.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::files::Files;
use super::segment::{Segment, stored_bytes};
use super::shard::ShardLog;
use crate::frame::{Frame, HEADER_BYTES, Header};
use crate::partition::POSITIONS_PER_FRAME;
use crate::queue::{ENVELOPE_BYTES, Pending, Work};

/// Frames written with one call; the operating system takes 1,024 parts.
const MAX_FRAMES: usize = 512;
/// Time between two tries after an error: doubles from the first to the last.
const BACK_OFF: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(1);

/// Why nothing was made durable.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub(crate) struct WriteError {
    pub(crate) path: PathBuf,
    pub(crate) source: io::Error,
}

impl WriteError {
    pub(crate) fn at(path: &std::path::Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { path: path.to_owned(), source }
    }
}

pub(crate) struct Writer {
    log: Arc<ShardLog>,
    files: Files,
    /// Number of the next record.
    sequence: u64,
    /// The last sync took longer than the linger.
    hurry: bool,
}

impl Writer {
    pub(crate) fn new(log: Arc<ShardLog>) -> Self {
        // Above every number that was given out before in this directory, whoever the producer is.
        let sequence = log.end().saturating_mul(POSITIONS_PER_FRAME);
        let files = Files::new(log.clone());
        Self { log, files, sequence, hurry: false }
    }

    pub(crate) fn run(mut self) {
        loop {
            match self.log.queue.take(self.hurry) {
                Work::Frames(frames) => self.commit(frames.into()),
                Work::Errand => self.files.truncate(),
                Work::Stop => break,
            }
        }
        self.files.finish();
    }

    /// Makes all frames durable, however many tries that needs. Only when the log is stopped does it give up.
    fn commit(&mut self, mut frames: VecDeque<Pending>) {
        for frame in &mut frames {
            self.seal(frame);
        }
        let mut pause = *BACK_OFF.start();
        while !frames.is_empty() {
            match self.write(&mut frames) {
                Ok(()) => {
                    pause = *BACK_OFF.start();
                    if self.log.common.health.recovered((self.log.stream, self.log.shard)) {
                        tracing::info!("{} is written again", self.log.directory.display());
                    }
                }
                Err(error) => {
                    self.failed(&error);
                    if self.log.queue.is_stopped() {
                        return frames.iter().for_each(|frame| frame.outcome.stopped());
                    }
                    self.log.queue.pause(pause);
                    // What need not be kept any more may make room.
                    self.files.truncate();
                    pause = (pause * 2).min(*BACK_OFF.end());
                }
            }
        }
        self.files.prepare();
        self.log.common.check_size();
    }

    fn failed(&mut self, error: &WriteError) {
        self.log.common.counters.failures.fetch_add(1, Ordering::Relaxed);
        if self.log.common.health.failing((self.log.stream, self.log.shard), error.to_string()) {
            tracing::error!("the log can't be written and tries again: {error}");
        }
    }

    /// Completes the frame's header and pads it to its stored length.
    fn seal(&mut self, pending: &mut Pending) {
        let frame_bytes = pending.bytes.len() - ENVELOPE_BYTES;
        let header = Header {
            records: pending.records,
            body_bytes: u32::try_from(frame_bytes - HEADER_BYTES).expect("a frame is shorter than 4 MiB"),
            crc32c: 0,
            producer: pending.shape.producer,
            epoch: pending.shape.epoch,
            first_sequence: self.sequence,
        };
        self.sequence += u64::from(pending.records);
        header.seal(&mut pending.bytes[ENVELOPE_BYTES..]);
        pending.frame_bytes = frame_bytes;
        pending.bytes.resize(stored_bytes(frame_bytes), 0);
    }

    /// Writes and publishes as many frames as fit into one file.
    fn write(&mut self, frames: &mut VecDeque<Pending>) -> Result<(), WriteError> {
        let Some(first) = frames.front() else { return Ok(()) };
        let (segment, at) = self.files.place_for(first.bytes.len() as u64)?;
        let mut room = segment.bytes.saturating_sub(at);
        let mut count = 0;
        let end = self.log.end();
        for (offset, frame) in (end..).zip(frames.iter_mut().take(MAX_FRAMES)) {
            let length = frame.bytes.len() as u64;
            if length > room {
                break;
            }
            segment.identity.stamp(&mut frame.bytes, frame.frame_bytes, offset);
            room -= length;
            count += 1;
        }
        let written = self.write_and_sync(&segment, at, frames.iter().take(count));
        let linger = frames.front().map_or(Duration::ZERO, |frame| frame.shape.linger);
        match written {
            Ok((bytes, took)) => {
                self.hurry = took >= linger;
                self.publish(&segment, at, bytes, frames.drain(..count).collect());
                Ok(())
            }
            Err(source) => {
                self.files.abandon();
                Err(WriteError { path: segment.path.clone(), source })
            }
        }
    }

    fn write_and_sync<'a>(
        &self,
        segment: &Segment,
        at: u64,
        frames: impl Iterator<Item = &'a Pending>,
    ) -> io::Result<(u64, Duration)> {
        let disk = &*self.log.common.disk;
        let mut parts: Vec<IoSlice<'_>> = frames.map(|frame| IoSlice::new(&frame.bytes)).collect();
        let mut parts = &mut parts[..];
        let mut to = at;
        while !parts.is_empty() {
            match disk.write(&segment.file, parts, to) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    to += written as u64;
                    IoSlice::advance_slices(&mut parts, written);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let begin = Instant::now();
        disk.sync(&segment.file)?;
        let took = begin.elapsed();
        self.log.common.counters.synced(took);
        Ok((to - at, took))
    }

    /// Tells everybody: counts first, then readers, then tickets.
    fn publish(&mut self, segment: &Segment, at: u64, bytes: u64, mut frames: Vec<Pending>) {
        let counters = &self.log.common.counters;
        let offsets = self.log.end()..;
        let mut place = at;
        let mut records = 0;
        let mut published = Vec::with_capacity(frames.len());
        for (offset, pending) in offsets.zip(&mut frames) {
            segment.note(offset, place);
            place += pending.bytes.len() as u64;
            records += u64::from(pending.records);
            pending.count();
            let bytes = std::mem::take(&mut pending.bytes).freeze();
            let frame = bytes.slice(ENVELOPE_BYTES..ENVELOPE_BYTES + pending.frame_bytes);
            published.push(Frame::sealed(frame).expect("the writer sealed this frame"));
        }
        counters.frames.fetch_add(frames.len() as u64, Ordering::Relaxed);
        counters.records.fetch_add(records, Ordering::Relaxed);
        counters.bytes.fetch_add(bytes, Ordering::Relaxed);
        counters.size_bytes.fetch_add(bytes, Ordering::Relaxed);
        segment.set_written(at + bytes);
        self.log.publish(published);
        frames.iter().for_each(|frame| frame.outcome.durable());
    }
}
