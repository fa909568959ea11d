//! Where encoded bytes go: the same code first counts them, then writes them, so that lengths precede their content
//! without a copy and an error leaves nothing half written.

use bytes::{BufMut, BytesMut};

use crate::error::EncodeError;

/// Takes encoded bytes.
pub(crate) trait Sink {
    fn put(&mut self, bytes: &[u8]);
}

/// Counts the bytes and drops them.
#[derive(Default)]
pub(crate) struct Count(pub(crate) usize);

impl Sink for Count {
    fn put(&mut self, bytes: &[u8]) {
        self.0 += bytes.len();
    }
}

impl Sink for BytesMut {
    fn put(&mut self, bytes: &[u8]) {
        self.put_slice(bytes);
    }
}

pub(crate) fn put_u8(sink: &mut impl Sink, value: u8) {
    sink.put(&[value]);
}

pub(crate) fn put_u16(sink: &mut impl Sink, value: u16) {
    sink.put(&value.to_be_bytes());
}

pub(crate) fn put_u32(sink: &mut impl Sink, value: u32) {
    sink.put(&value.to_be_bytes());
}

/// A variable byte integer (MQTT 5, 1.5.5).
pub(crate) fn put_variable_byte_integer(sink: &mut impl Sink, value: usize) -> Result<(), EncodeError> {
    if value > crate::MAX_REMAINING_LENGTH {
        return Err(EncodeError::TooLarge(value));
    }
    let mut rest = value;
    loop {
        let [low, ..] = (rest & 0x7F).to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            put_u8(sink, low);
            return Ok(());
        }
        put_u8(sink, low | 0x80);
    }
}

pub(crate) fn put_binary(sink: &mut impl Sink, value: &[u8]) -> Result<(), EncodeError> {
    let length = u16::try_from(value.len()).map_err(|_| EncodeError::FieldTooLong(value.len()))?;
    put_u16(sink, length);
    sink.put(value);
    Ok(())
}

pub(crate) fn put_text(sink: &mut impl Sink, value: &str) -> Result<(), EncodeError> {
    if value.as_bytes().contains(&0) {
        return Err(EncodeError::NulCharacter);
    }
    put_binary(sink, value.as_bytes())
}
