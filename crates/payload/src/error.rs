//! Why a payload is not telemetry. The texts go to the device and into the dead letters.

use drover_model::{InvalidId, Kind};

/// Longest piece of a payload that an error repeats, in characters.
const SHOWN_CHARACTERS: usize = 64;

/// Why a payload was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// No bytes at all.
    #[error("the payload is empty")]
    Empty,
    /// A content type that is not spoken here.
    #[error(
        "content type {found:?} is not known; use application/json (or none), application/cbor, \
         application/senml+json or application/senml+cbor"
    )]
    ContentType { found: String },
    /// JSON that is not UTF-8; the position counts bytes from 0.
    #[error("the payload is not UTF-8: wrong byte at position {position}")]
    NotUtf8 { position: usize },
    /// Not the format that the content type claims, or not of the expected shape.
    #[error("not {format} telemetry: {detail}")]
    Syntax { format: &'static str, detail: String },
    /// An event that is not one JSON object.
    #[error("not a JSON object: {detail}")]
    Event { detail: String },
    /// A key outside the alphabet or too long.
    #[error("key {key:?}: {reason}")]
    Key { key: String, reason: InvalidId },
    /// A value that can't be kept.
    #[error("{key:?} {problem}")]
    Value { key: String, problem: String },
    /// A time that 64-bit microseconds can't hold.
    #[error("{label:?} is {found}: outside what 64-bit microseconds since 1970 can hold")]
    Time { label: &'static str, found: String },
    /// A `ts` beside `values` that is no time.
    #[error(
        "\"ts\" is {found:?}: not a time; use milliseconds since 1970, or RFC 3339 like \"2026-11-24T19:00:00Z\""
    )]
    NoTime { found: String },
    /// A key next to `ts` and `values`, which would be lost.
    #[error("{key:?} stands beside \"ts\" and \"values\"; put it into \"values\"")]
    Beside { key: String },
    /// More points than allowed.
    #[error("more than {limit} points in one message")]
    TooManyPoints { limit: usize },
    /// More levels than allowed.
    #[error("nested deeper than {limit} levels")]
    TooDeep { limit: usize },
    /// More text in one value than allowed.
    #[error("{key:?} has more than {limit} bytes of text")]
    TextTooLong { key: String, limit: usize },
    /// A SenML record that breaks RFC 8428; records count from 1.
    #[error("SenML record {record}: {problem}")]
    Record { record: usize, problem: String },
}

impl PayloadError {
    /// The sort of failure: the payload is at fault, always.
    pub fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

/// The beginning of a text, short enough to be repeated.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARACTERS) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
    }
}
