//! Measurements: one device, one key, one time, one value.

use crate::{DeviceId, TelemetryKey, Timestamp};

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
