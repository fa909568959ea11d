//! Measurements: one device, one key, one time, one value.

use serde::{Serialize, Serializer};

use crate::{DeviceId, TelemetryKey, Timestamp};

/// Below this a double holds every whole number: 2^53.
const WHOLE_NUMBERS_END: f64 = 9_007_199_254_740_992.0;

/// A measured value.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A finite number.
    Number(f64),
    /// True or false; stored as 1 or 0.
    Bool(bool),
    /// Any text.
    Text(Box<str>),
}

/// A measured value that is borrowed from the bytes it was decoded from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ValueRef<'a> {
    /// A finite number.
    Number(f64),
    /// True or false.
    Bool(bool),
    /// Any text.
    Text(&'a str),
}

impl Value {
    /// Borrows the value.
    pub fn borrowed(&self) -> ValueRef<'_> {
        match self {
            Self::Number(number) => ValueRef::Number(*number),
            Self::Bool(truth) => ValueRef::Bool(*truth),
            Self::Text(text) => ValueRef::Text(text),
        }
    }
}

impl ValueRef<'_> {
    /// Bytes of its text; 0 of others.
    pub fn text_bytes(self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Number(_) | Self::Bool(_) => 0,
        }
    }
}

/// As JSON that applications read, the same wherever a value is shown.
impl Serialize for ValueRef<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serialize_number(number, serializer),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

/// Writes a whole number that a double holds exactly without `.0`, as devices send it.
///
/// # Errors
/// The serializer's.
#[expect(clippy::cast_possible_truncation, reason = "checked to be whole and small enough")]
pub fn serialize_number<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if number.fract() == 0.0 && number.abs() < WHOLE_NUMBERS_END {
        serializer.serialize_i64(*number as i64)
    } else {
        serializer.serialize_f64(*number)
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Number(number) => Self::Number(number),
            ValueRef::Bool(truth) => Self::Bool(truth),
            ValueRef::Text(text) => Self::Text(text.into()),
        }
    }
}

/// What the platform has to say about a point; a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(pub u8);

impl Flags {
    /// Nothing to say.
    pub const NONE: Self = Self(0);
    /// The device's own time lay too far in the future; the time of arrival stands in its place.
    pub const TIME_REPLACED: Self = Self(1);

    /// Whether every bit of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// One measurement as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// Who measured.
    pub device: DeviceId,
    /// What was measured.
    pub key: TelemetryKey,
    /// When.
    pub ts: Timestamp,
    /// How much.
    pub value: Value,
    /// Position in the log: for the same device, key and time the higher one wins.
    pub seq: u64,
    /// Remarks.
    pub flags: Flags,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_written_as_devices_send_it() {
        let table = [
            (ValueRef::Number(1.0), "1"),
            (ValueRef::Number(-273.15), "-273.15"),
            (ValueRef::Number(9_007_199_254_740_991.0), "9007199254740991"),
            (ValueRef::Number(9_007_199_254_740_992.0), "9007199254740992.0"),
            (ValueRef::Number(1e300), "1e+300"),
            (ValueRef::Bool(true), "true"),
            (ValueRef::Text("1.0"), "\"1.0\""),
        ];
        for (value, expected) in table {
            assert_eq!(serde_json::to_string(&value).unwrap(), expected);
        }
    }
}
