//! Device payload to points: JSON, CBOR, SenML in JSON and in CBOR, chosen by content type. One pass over the bytes into
//! buffers that are used again; no I/O and no clock, the time of arrival is handed in.

mod assembly;
mod cbor;
mod decoded;
mod error;
mod json;
mod senml;

use drover_model::Timestamp;

pub use decoded::{Decoded, DecodedPoint};
pub use error::PayloadError;

use assembly::Assembly;

/// What one message may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Points in one message.
    pub max_points: usize,
    /// Levels of arrays and objects inside one another.
    pub max_depth: usize,
    /// Bytes of one text value, also of an array that is kept as text.
    pub max_text_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_points: 10_000, max_depth: 32, max_text_bytes: 64 * 1024 }
    }
}

/// The known formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Cbor,
    SenmlJson,
    SenmlCbor,
}

impl Format {
    /// Parameters such as `charset` say nothing that matters here: JSON is UTF-8 (RFC 8259, 8.1).
    fn of(content_type: &str) -> Option<Self> {
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        let json_suffix = |text: &str| text.len() > 5 && text.to_ascii_lowercase().ends_with("+json");
        if essence.is_empty() || is("application/json") {
            Some(Self::Json)
        } else if is("application/cbor") {
            Some(Self::Cbor)
        } else if is("application/senml+json") || is("application/sensml+json") {
            Some(Self::SenmlJson)
        } else if is("application/senml+cbor") || is("application/sensml+cbor") {
            Some(Self::SenmlCbor)
        } else {
            json_suffix(essence).then_some(Self::Json)
        }
    }
}

/// Decodes a telemetry payload into `out`, which is cleared first. All or nothing: after an error `out` is empty.
///
/// - JSON (no content type, `application/json`, `…+json`) and `application/cbor`: an object of key: number, bool or text;
///   or `{"ts": time, "values": {…}}`; or an array of either. The time is a number of milliseconds since 1970, whatever its
///   size (seconds are not guessed), or RFC 3339 as a text; another text or an array there is refused. `{"values": {…}}` with
///   nothing beside it is the second form without a time. `ts` beside other keys than `values` is their time if it lies in the
///   years 2000 to 2099, and a key like another if not. Nested objects become keys joined by `.`; an array
///   inside becomes its compact JSON text; null is skipped. CBOR integer keys become decimal text, tags are looked
///   through (except decimal fractions, and seconds since 1970 around `ts`), byte strings are refused.
/// - `application/senml+json`, `application/senml+cbor` (RFC 8428): a sum becomes the point `name.sum`; units are not kept;
///   `vd` is kept as base64url text; times below 2^28 s are relative to now (RFC 8428, 4.5.3), which is `received`.
///
/// A number becomes the nearest `f64`, so integers beyond 2^53 are rounded. Of several points with the same key and time
/// the last one stays. A point without a time of its own has none: it was measured when it was received.
///
/// # Errors
/// [`PayloadError`] names the place, the key or the record, and the reason.
pub fn decode(
    content_type: &str,
    payload: &[u8],
    received: Timestamp,
    limits: &Limits,
    out: &mut Decoded,
) -> Result<(), PayloadError> {
    out.clear();
    let result = decode_into(content_type, payload, received, &mut Assembly::new(limits, out));
    match result {
        Ok(()) => out.keep_last(received),
        Err(_) => out.clear(),
    }
    result
}

fn decode_into(
    content_type: &str,
    payload: &[u8],
    received: Timestamp,
    assembly: &mut Assembly<'_>,
) -> Result<(), PayloadError> {
    let Some(format) = Format::of(content_type) else {
        return Err(PayloadError::ContentType { found: error::shortened(content_type) });
    };
    if payload.is_empty() {
        return Err(PayloadError::Empty);
    }
    match format {
        Format::Json => json::decode(payload, assembly),
        Format::Cbor => cbor::decode(payload, assembly),
        Format::SenmlJson => senml::decode_json(payload, received, assembly),
        Format::SenmlCbor => senml::decode_cbor(payload, received, assembly),
    }
}

/// Checks that an event is one JSON object, not deeper than the limit. Its size and texts are bounded only by the payload.
///
/// # Errors
/// [`PayloadError`] with the place and the reason.
pub fn check_event(payload: &[u8], limits: &Limits) -> Result<(), PayloadError> {
    if payload.is_empty() {
        return Err(PayloadError::Empty);
    }
    let limits = Limits { max_text_bytes: usize::MAX, ..limits.clone() };
    json::check_object(payload, &mut Assembly::new(&limits, &mut Decoded::default()))
}

#[cfg(test)]
mod tests;
