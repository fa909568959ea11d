//! The frame: many records with one header and one checksum. The same bytes go through every backbone; what a backbone adds around
//! them (offset, place in a file) is its own.

use bytes::{Buf, Bytes, BytesMut};
use drover_proto::{InvalidRecord, RecordView};
use prost::encoding::decode_varint;

/// Length of the header in front of the records, in bytes.
pub(crate) const HEADER_BYTES: usize = 40;
/// Most records in one frame.
pub(crate) const MAX_RECORDS: u16 = 512;
/// Longest frame, in bytes.
pub(crate) const MAX_FRAME_BYTES: usize = 4 << 20;
/// Longest encoded record, in bytes: alone in a frame it fits.
pub(crate) const MAX_RECORD_BYTES: usize = MAX_FRAME_BYTES - HEADER_BYTES - 8;

/// First bytes of every frame.
pub(crate) const MAGIC: [u8; 4] = *b"DRVF";
const VERSION: u8 = 1;
const CRC_AT: usize = 12;

/// Why bytes are not a frame, or a part of it not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Too short, or not beginning as a frame does.
    #[error("not a frame")]
    NotAFrame,
    /// Written by a later version.
    #[error("frame of version {0}; this program reads version {VERSION}")]
    Version(u8),
    /// The checksum is another than the bytes have.
    #[error("frame with a wrong checksum")]
    Checksum,
    /// A record's length runs past the frame's end, or there are more or fewer records than the header says.
    #[error("frame whose records do not fill it")]
    Records,
    /// The bytes of one record are none.
    #[error(transparent)]
    Record(#[from] InvalidRecord),
}

/// Many records, as they went into the log. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    header: Header,
}

/// What stands in front of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) records: u16,
    pub(crate) body_bytes: u32,
    pub(crate) crc32c: u32,
    pub(crate) producer: u64,
    pub(crate) epoch: u64,
    pub(crate) first_sequence: u64,
}

impl Header {
    /// Reads a header without looking at what follows it.
    pub(crate) fn read(mut bytes: &[u8]) -> Result<Self, FrameError> {
        if bytes.len() < HEADER_BYTES || !bytes.starts_with(&MAGIC) {
            return Err(FrameError::NotAFrame);
        }
        bytes.advance(MAGIC.len());
        let version = bytes.get_u8();
        let reserved = bytes.get_u8();
        if version != VERSION || reserved != 0 {
            return Err(FrameError::Version(version));
        }
        let header = Self {
            records: bytes.get_u16_le(),
            body_bytes: bytes.get_u32_le(),
            crc32c: bytes.get_u32_le(),
            producer: bytes.get_u64_le(),
            epoch: bytes.get_u64_le(),
            first_sequence: bytes.get_u64_le(),
        };
        if header.frame_bytes() > MAX_FRAME_BYTES { Err(FrameError::NotAFrame) } else { Ok(header) }
    }

    /// Length of the whole frame, in bytes.
    pub(crate) fn frame_bytes(&self) -> usize {
        usize::try_from(self.body_bytes).unwrap_or(usize::MAX).saturating_add(HEADER_BYTES)
    }

    /// Writes this header over the first bytes of `frame` and computes its checksum over the rest.
    pub(crate) fn seal(mut self, frame: &mut [u8]) {
        self.write(frame);
        self.crc32c = checksum(frame);
        self.write(frame);
    }

    fn write(&self, frame: &mut [u8]) {
        let mut out = [0u8; HEADER_BYTES];
        out[0..4].copy_from_slice(&MAGIC);
        out[4] = VERSION;
        out[6..8].copy_from_slice(&self.records.to_le_bytes());
        out[8..12].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[12..16].copy_from_slice(&self.crc32c.to_le_bytes());
        out[16..24].copy_from_slice(&self.producer.to_le_bytes());
        out[24..32].copy_from_slice(&self.epoch.to_le_bytes());
        out[32..40].copy_from_slice(&self.first_sequence.to_le_bytes());
        frame[..HEADER_BYTES].copy_from_slice(&out);
    }
}

/// CRC-32C over everything but the checksum's own four bytes.
fn checksum(frame: &[u8]) -> u32 {
    let (before, rest) = frame.split_at(CRC_AT);
    crc32c::crc32c_append(crc32c::crc32c(before), &rest[4..])
}

impl Frame {
    /// Checks bytes and keeps them as a frame.
    ///
    /// # Errors
    /// [`FrameError`] when they are not exactly one frame with a right checksum.
    pub fn parse(bytes: Bytes) -> Result<Self, FrameError> {
        let header = Header::read(&bytes)?;
        if header.frame_bytes() != bytes.len() {
            return Err(FrameError::NotAFrame);
        }
        if checksum(&bytes) != header.crc32c {
            return Err(FrameError::Checksum);
        }
        Ok(Self { bytes, header })
    }

    /// Keeps bytes that this program has sealed itself.
    pub(crate) fn sealed(bytes: Bytes) -> Result<Self, FrameError> {
        let header = Header::read(&bytes)?;
        Ok(Self { bytes, header })
    }

    /// The whole frame, header included.
    pub fn as_bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Number of records, as the header says.
    pub fn len_records(&self) -> u16 {
        self.header.records
    }

    /// Who wrote it: random for each start of a process.
    pub fn producer(&self) -> u64 {
        self.header.producer
    }

    /// The writer's epoch, as its caller gave it.
    pub fn epoch(&self) -> u64 {
        self.header.epoch
    }

    /// Number of the first record among the producer's.
    pub fn first_sequence(&self) -> u64 {
        self.header.first_sequence
    }

    /// The records, in order. After an error the iteration ends.
    pub fn records(&self) -> Records<'_> {
        Records { rest: self.bytes.get(HEADER_BYTES..).unwrap_or_default(), left: self.header.records }
    }
}

/// Iterator over the records of a [`Frame`].
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
    left: u16,
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<RecordView<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 && self.rest.is_empty() {
            return None;
        }
        let record = self.take();
        if record.is_err() {
            (self.left, self.rest) = (0, &[]);
        }
        Some(record)
    }
}

impl<'a> Records<'a> {
    fn take(&mut self) -> Result<RecordView<'a>, FrameError> {
        self.left = self.left.checked_sub(1).ok_or(FrameError::Records)?;
        let length = decode_varint(&mut self.rest).map_err(|_| FrameError::Records)?;
        let length = usize::try_from(length).map_err(|_| FrameError::Records)?;
        let (record, rest) = self.rest.split_at_checked(length).ok_or(FrameError::Records)?;
        self.rest = rest;
        Ok(RecordView::decode(record)?)
    }
}

/// Appends one length-delimited record.
pub(crate) fn put_record(record: &drover_proto::RecordRef<'_>, length: usize, out: &mut BytesMut) {
    prost::encoding::encode_varint(length as u64, out);
    record.encode(out);
}

#[cfg(test)]
pub(crate) mod tests {
    use drover_proto::RecordRef;
    use drover_proto::backbone::v1::Channel;

    use super::*;

    /// A frame of records whose payloads are given.
    pub(crate) fn frame_of(first_sequence: u64, payloads: &[&str]) -> Frame {
        let mut bytes = BytesMut::zeroed(HEADER_BYTES);
        for payload in payloads {
            let record = RecordRef {
                tenant: "t",
                device: "d",
                channel: Channel::Telemetry,
                content_type: "",
                payload: payload.as_bytes(),
                received_us: 1,
                topic: "",
                traceparent: "",
                session: 0,
                packet_id: 0,
            };
            put_record(&record, record.encoded_len(), &mut bytes);
        }
        let header = Header {
            records: u16::try_from(payloads.len()).unwrap(),
            body_bytes: u32::try_from(bytes.len() - HEADER_BYTES).unwrap(),
            crc32c: 0,
            producer: 7,
            epoch: 1,
            first_sequence,
        };
        header.seal(&mut bytes);
        Frame::parse(bytes.freeze()).unwrap()
    }

    #[test]
    fn a_frame_gives_back_its_records() {
        let frame = frame_of(3, &["a", "bc"]);
        let payloads: Vec<_> = frame.records().map(|record| record.unwrap().payload.to_vec()).collect();
        assert_eq!(payloads, [b"a".to_vec(), b"bc".to_vec()]);
        assert_eq!(
            (frame.len_records(), frame.first_sequence(), frame.producer(), frame.epoch()),
            (2, 3, 7, 1)
        );
    }

    #[test]
    fn a_frame_with_any_byte_changed_or_missing_is_refused() {
        let good = frame_of(3, &["a", "bc"]).as_bytes().to_vec();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert!(Frame::parse(bad.into()).is_err(), "byte {at}");
            assert!(Frame::parse(good[..at].to_vec().into()).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_wrong_count_of_records_is_an_error_at_the_end() {
        let mut bytes = frame_of(3, &["a", "bc"]).as_bytes().to_vec();
        let mut header = Header::read(&bytes).unwrap();
        for records in [1, 3] {
            header.records = records;
            header.seal(&mut bytes);
            let frame = Frame::parse(bytes.clone().into()).unwrap();
            assert!(frame.records().last().unwrap().is_err());
        }
    }
}
