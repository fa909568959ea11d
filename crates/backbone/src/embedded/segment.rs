//! One file of the log: its name, and the frames in it. A frame stands in an envelope {check, length, offset}; the check covers the
//! file's identity too, so that what an earlier use of the file left behind is never taken for a frame.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use crate::frame::{Frame, HEADER_BYTES, MAGIC, MAX_FRAME_BYTES};
use crate::queue::ENVELOPE_BYTES;

/// Frames begin at multiples of this.
const ALIGN: usize = 8;
/// Envelope and header: what is needed to tell a frame.
const FRONT_BYTES: usize = ENVELOPE_BYTES + HEADER_BYTES;
/// Bytes read at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Distance of the entries of the sparse index, in bytes.
const INDEX_BYTES: u64 = 64 << 10;
/// Zeros that are passed over at a time.
const ZEROS: [u8; 4096] = [0; 4096];

/// Length of a frame in a file, with envelope and padding.
pub(crate) fn stored_bytes(frame_bytes: usize) -> usize {
    (ENVELOPE_BYTES + frame_bytes).next_multiple_of(ALIGN)
}

/// A file's identity: the offset of its first frame, and a number that no other use of a file has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Identity {
    pub(crate) base: u64,
    /// Upper half: counts up in the directory. Lower half: random, so that no payload can imitate a frame of this file.
    pub(crate) generation: u64,
}

impl Identity {
    pub(crate) fn file_name(self) -> String {
        format!("{:020}-{:016x}.log", self.base, self.generation)
    }

    pub(crate) fn of_file_name(name: &str) -> Option<Self> {
        let (base, generation) = name.strip_suffix(".log")?.split_once('-')?;
        let identity =
            Self { base: base.parse().ok()?, generation: u64::from_str_radix(generation, 16).ok()? };
        (identity.file_name() == name).then_some(identity)
    }

    /// Writes the envelope in front of a sealed frame: `stored` is room for the envelope, the frame, and padding.
    pub(crate) fn stamp(self, stored: &mut [u8], frame_bytes: usize, offset: u64) {
        let length = u32::try_from(frame_bytes).expect("a frame is shorter than 4 MiB");
        stored[4..8].copy_from_slice(&length.to_le_bytes());
        stored[8..16].copy_from_slice(&offset.to_le_bytes());
        let check = self.check(stored);
        stored[0..4].copy_from_slice(&check.to_le_bytes());
    }

    /// Over identity, length, offset and the frame's header, which has the checksum of the records.
    fn check(self, stored: &[u8]) -> u32 {
        let crc = crc32c::crc32c(&self.base.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &self.generation.to_le_bytes());
        crc32c::crc32c_append(crc, stored.get(4..FRONT_BYTES).unwrap_or_default())
    }

    /// Offset and length of the frame whose envelope and header are given.
    fn envelope(self, bytes: &[u8]) -> Option<(u64, usize)> {
        let check = u32::from_le_bytes(*bytes.first_chunk()?);
        let length = u32::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
        let offset = u64::from_le_bytes(*bytes.get(8..)?.first_chunk()?);
        let length = usize::try_from(length).ok()?;
        let plausible = (HEADER_BYTES..=MAX_FRAME_BYTES).contains(&length)
            && offset >= self.base
            && bytes.get(ENVELOPE_BYTES..)?.starts_with(&MAGIC);
        (plausible && self.check(bytes) == check).then_some((offset, length))
    }
}

/// An open file of the log.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) identity: Identity,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// Length of the file.
    pub(crate) bytes: u64,
    /// Where the durable frames end; the length of the file where that is not known.
    written: AtomicU64,
    /// Offsets and where they stand, every [`INDEX_BYTES`] or so.
    index: Mutex<Vec<(u64, u64)>>,
}

impl Segment {
    pub(crate) fn new(
        identity: Identity,
        path: PathBuf,
        file: File,
        written: Option<u64>,
    ) -> io::Result<Self> {
        let bytes = file.metadata()?.len();
        let written = AtomicU64::new(written.unwrap_or(bytes));
        Ok(Self { identity, path, file, bytes, written, index: Mutex::default() })
    }

    pub(crate) fn open(directory: &Path, identity: Identity) -> io::Result<Self> {
        let path = directory.join(identity.file_name());
        let file = File::options().read(true).write(true).open(&path)?;
        Self::new(identity, path, file, None)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn set_written(&self, written: u64) {
        self.written.store(written, Ordering::Release);
    }

    /// Remembers where a frame stands, if the last one remembered is far enough away. Frames come in order.
    pub(crate) fn note(&self, offset: u64, at: u64) {
        let mut index = self.index.lock();
        let far = index.last().is_none_or(|(last, last_at)| offset > *last && at >= last_at + INDEX_BYTES);
        if far {
            index.push((offset, at));
        }
    }

    /// A place at or before that of a frame.
    pub(crate) fn place_before(&self, offset: u64) -> u64 {
        let index = self.index.lock();
        let after = index.partition_point(|(noted, _)| *noted <= offset);
        after.checked_sub(1).and_then(|last| index.get(last)).map_or(0, |(_, at)| *at)
    }
}

/// A frame found in a file.
#[derive(Debug, Clone)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) at: u64,
    pub(crate) end: u64,
    pub(crate) frame: Frame,
}

/// Reads frames out of a file, a chunk at a time.
#[derive(Debug, Default)]
pub(crate) struct Chunk {
    bytes: Bytes,
    at: u64,
}

impl Chunk {
    /// The valid frame at exactly this place, if it ends within `until`.
    pub(crate) fn frame_at(&mut self, segment: &Segment, at: u64, until: u64) -> io::Result<Option<Found>> {
        let front = self.load(segment, at, FRONT_BYTES, until)?;
        let Some((offset, length)) = segment.identity.envelope(&front) else { return Ok(None) };
        let stored = self.load(segment, at, ENVELOPE_BYTES + length, until)?;
        if stored.len() < ENVELOPE_BYTES + length {
            return Ok(None);
        }
        let frame = Frame::parse(stored.slice(ENVELOPE_BYTES..ENVELOPE_BYTES + length));
        let end = at + stored_bytes(length) as u64;
        Ok(frame.ok().map(|frame| Found { offset, at, end, frame }))
    }

    /// The first valid frame behind a damaged place, of at least an offset.
    pub(crate) fn frame_after(
        &mut self,
        segment: &Segment,
        damaged: u64,
        least: u64,
        until: u64,
    ) -> io::Result<Option<Found>> {
        let mut at = damaged + ALIGN as u64;
        loop {
            let ahead = self.load(segment, at, FRONT_BYTES, until)?;
            match candidate(&ahead) {
                Candidate::At(skip) => at += skip as u64,
                Candidate::NoneWithin(0) => return Ok(None),
                Candidate::NoneWithin(passed) => {
                    at += passed as u64;
                    continue;
                }
            }
            if let Some(found) = self.frame_at(segment, at, until)?
                && found.offset >= least
            {
                return Ok(Some(found));
            }
            at += ALIGN as u64;
        }
    }

    /// What is in memory from a place on: at least `length` bytes, unless the file ends before.
    fn load(&mut self, segment: &Segment, at: u64, length: usize, until: u64) -> io::Result<Bytes> {
        let until = until.min(segment.bytes);
        let wanted = until.saturating_sub(at).min(length as u64);
        if at < self.at || at + wanted > self.at + self.bytes.len() as u64 {
            let room = usize::try_from(until.saturating_sub(at)).unwrap_or(usize::MAX);
            let mut bytes = vec![0; CHUNK_BYTES.max(length).min(room)];
            let read = read_at(&segment.file, &mut bytes, at)?;
            bytes.truncate(read);
            (self.bytes, self.at) = (bytes.into(), at);
        }
        let skip = usize::try_from(at - self.at).unwrap_or(usize::MAX).min(self.bytes.len());
        Ok(self.bytes.slice(skip..))
    }
}

/// Where a frame may begin.
enum Candidate {
    At(usize),
    /// Nowhere in so many bytes.
    NoneWithin(usize),
}

/// Looks for the first place where the beginning of a frame stands behind room for its envelope.
fn candidate(ahead: &[u8]) -> Candidate {
    if ahead.starts_with(&ZEROS) {
        return Candidate::NoneWithin(ZEROS.len() - ENVELOPE_BYTES);
    }
    let Some(last) = ahead.len().checked_sub(FRONT_BYTES) else { return Candidate::NoneWithin(0) };
    let places = last / ALIGN + 1;
    let mut frames = ahead.get(ENVELOPE_BYTES..).unwrap_or_default().chunks_exact(ALIGN).take(places);
    match frames.position(|frame| frame.starts_with(&MAGIC)) {
        Some(place) => Candidate::At(place * ALIGN),
        None => Candidate::NoneWithin(places * ALIGN),
    }
}

/// Reads until the buffer is full or the file ends.
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
