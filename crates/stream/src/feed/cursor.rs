//! A place in the log, as readers of the feed keep it: of each shard the next record, and the next answer within it. An opaque text to
//! them, with a check, so that what was cut or made up is refused.

use bytes::Buf;
use drover_backbone::{Log, Offset, Shard, Stream};
use prost::encoding::{decode_varint, encode_varint};

use crate::error::Error;

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;

/// The next answer of one shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Place {
    pub(crate) offset: Offset,
    /// Record of the frame.
    pub(crate) record: u16,
    /// Answer of the record: it may have points of several times.
    pub(crate) part: u32,
}

impl Place {
    /// Before the first record of a frame.
    pub(crate) const fn of_frame(offset: Offset) -> Self {
        Self { offset, record: 0, part: 0 }
    }

    fn put(self, out: &mut Vec<u8>) {
        let is_within = self != Self::of_frame(self.offset);
        encode_varint(self.offset.0 << 1 | u64::from(is_within), out);
        if is_within {
            encode_varint(self.record.into(), out);
            encode_varint(self.part.into(), out);
        }
    }

    fn take(bytes: &mut &[u8]) -> Option<Self> {
        let first = decode_varint(bytes).ok()?;
        let offset = Offset(first >> 1);
        if first & 1 == 0 {
            return Some(Self::of_frame(offset));
        }
        let record = decode_varint(bytes).ok()?.try_into().ok()?;
        let part = decode_varint(bytes).ok()?.try_into().ok()?;
        Some(Self { offset, record, part })
    }
}

/// The next answer of each shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor(Vec<Place>);

impl Cursor {
    /// Behind everything that is durable.
    pub(crate) fn end_of(log: &Log) -> Self {
        let end = |shard| Place::of_frame(log.end(Stream::Telemetry, Shard(shard)));
        Self((0..log.shards()).map(end).collect())
    }

    pub(crate) fn place(&self, shard: Shard) -> Place {
        self.0.get(usize::from(shard.0)).copied().unwrap_or_default()
    }

    pub(crate) fn set(&mut self, shard: Shard, place: Place) {
        if let Some(known) = self.0.get_mut(usize::from(shard.0)) {
            *known = place;
        }
    }

    /// Of each shard the later of the two places.
    #[must_use]
    pub(crate) fn later(&self, other: &Self) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(one, other)| *one.max(other)).collect())
    }

    pub(crate) fn encode(&self) -> String {
        let mut bytes = vec![VERSION];
        encode_varint(self.0.len() as u64, &mut bytes);
        self.0.iter().for_each(|place| place.put(&mut bytes));
        let check = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&check.to_le_bytes());
        drover_rpc::token(bytes)
    }

    /// Reads a cursor of an installation with so many shards.
    pub(crate) fn decode(text: &str, shards: u16) -> Result<Self, Error> {
        let bytes = drover_rpc::position_of(text).map_err(|_| Error::Cursor)?;
        let cursor = Self::read(&bytes).ok_or(Error::Cursor)?;
        if cursor.0.len() == usize::from(shards) { Ok(cursor) } else { Err(Error::ForeignCursor) }
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let (mut bytes, check) = bytes.split_last_chunk::<CHECK_BYTES>()?;
        if crc32c::crc32c(bytes) != u32::from_le_bytes(*check) || bytes.try_get_u8().ok()? != VERSION {
            return None;
        }
        let shards = u16::try_from(decode_varint(&mut bytes).ok()?).ok()?;
        let places = (0..shards).map(|_| Place::take(&mut bytes)).collect::<Option<_>>()?;
        bytes.is_empty().then_some(Self(places))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(offset: u64, record: u16, part: u32) -> Place {
        Place { offset: Offset(offset), record, part }
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for places in [
            vec![place(0, 0, 0)],
            vec![place(7, 0, 0), place(u64::MAX >> 1, 511, 0), place(3, 0, 9_999), place(1 << 40, 1, 1)],
            (0..256).map(|shard| place(shard << 20, 0, 0)).collect(),
        ] {
            let cursor = Cursor(places);
            let shards = u16::try_from(cursor.0.len()).unwrap();
            let text = cursor.encode();
            assert_eq!(Cursor::decode(&text, shards).unwrap(), cursor);
            assert!(Cursor::decode(&text, shards + 1).is_err(), "of another installation");
        }
        assert!(Cursor(vec![place(1_000_000, 0, 0)]).encode().len() <= 16);
    }

    #[test]
    fn what_was_cut_changed_or_made_up_is_refused() {
        let text = Cursor(vec![place(300, 2, 1), place(5, 0, 0)]).encode();
        for cut in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[cut] = if changed[cut] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(Cursor::decode(&changed, 2).is_err(), "changed at {cut}");
            assert!(Cursor::decode(text.get(..cut).unwrap(), 2).is_err(), "cut at {cut}");
        }
        for made_up in ["%", "AA", "AQAAAAAA", &format!("{text}AAAA")] {
            assert!(Cursor::decode(made_up, 2).is_err(), "{made_up}");
        }
    }

    #[test]
    fn the_later_place_is_that_of_each_shard() {
        let one = Cursor(vec![place(3, 2, 0), place(9, 0, 0)]);
        let other = Cursor(vec![place(3, 1, 5), place(9, 0, 1)]);
        assert_eq!(one.later(&other), Cursor(vec![place(3, 2, 0), place(9, 0, 1)]));
    }
}
