//! A cursor over the body of one packet: the data types of MQTT 5, section 1.5, checked as they are read.

use std::num::NonZeroU16;

use crate::error::DecodeError;
use crate::packet::PacketType;

/// Reads a variable byte integer from the front: its value and its length in bytes. `None` when bytes are missing.
pub(crate) fn variable_byte_integer(bytes: &[u8]) -> Result<Option<(u32, usize)>, DecodeError> {
    let mut value = 0u32;
    for (index, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            // The last of several bytes being 0 means that fewer would have done.
            if byte == 0 && index > 0 {
                return Err(DecodeError::VariableByteInteger);
            }
            return Ok(Some((value, index + 1)));
        }
    }
    if bytes.len() >= 4 { Err(DecodeError::VariableByteInteger) } else { Ok(None) }
}

/// The unread part of a packet's body, or of its properties.
pub(crate) struct Reader<'a> {
    pub(crate) packet: PacketType,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(packet: PacketType, body: &'a [u8]) -> Self {
        Self { packet, rest: body }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Ends the packet: nothing may be left.
    pub(crate) fn finish(&self) -> Result<(), DecodeError> {
        if self.is_empty() { Ok(()) } else { Err(DecodeError::TrailingBytes(self.packet)) }
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], DecodeError> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(DecodeError::Truncated(self.packet))?;
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::Truncated(self.packet))?;
        self.rest = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn variable_byte_integer(&mut self) -> Result<u32, DecodeError> {
        let (value, length) = variable_byte_integer(self.rest)?.ok_or(DecodeError::Truncated(self.packet))?;
        self.take(length)?;
        Ok(value)
    }

    pub(crate) fn packet_id(&mut self) -> Result<NonZeroU16, DecodeError> {
        NonZeroU16::new(self.u16()?).ok_or(DecodeError::PacketIdZero(self.packet))
    }

    pub(crate) fn binary(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }

    /// A UTF-8 string in which U+0000 is still to be refused. `str` can't hold surrogates, so those are refused here.
    pub(crate) fn utf8(&mut self) -> Result<&'a str, DecodeError> {
        let bytes = self.binary()?;
        str::from_utf8(bytes).map_err(|_| DecodeError::Utf8(self.packet))
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let text = self.utf8()?;
        if text.as_bytes().contains(&0) {
            return Err(DecodeError::NulCharacter(self.packet));
        }
        Ok(text)
    }

    pub(crate) fn string(&mut self) -> Result<String, DecodeError> {
        self.text().map(str::to_owned)
    }

    /// The next `length` bytes as a reader of their own.
    pub(crate) fn section(&mut self, length: usize) -> Result<Self, DecodeError> {
        Ok(Self { packet: self.packet, rest: self.take(length)? })
    }
}
