//! `grpc-timeout`, as the gRPC protocol over HTTP/2 writes it: at most eight digits and a unit.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Status;

/// Metadata key of the time that a caller gives a call.
pub const TIMEOUT_HEADER: &str = "grpc-timeout";
/// Digits that the protocol allows.
const MAX_DIGITS: usize = 8;

/// When the caller stops waiting; none when it waits for as long as it takes.
///
/// # Errors
/// Invalid argument, when the caller wrote something else there.
pub fn deadline(headers: &HeaderMap, now: Instant) -> Result<Option<Instant>, Status> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else { return Ok(None) };
    let timeout = value.to_str().ok().and_then(parse).ok_or_else(|| {
        Status::invalid_argument("grpc-timeout: is not up to 8 digits and a unit H, M, S, m, u or n")
    })?;
    // A time beyond what the clock counts is none.
    Ok(now.checked_add(timeout))
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// What a caller is told whose time is over.
pub fn exceeded() -> Status {
    Status::deadline_exceeded("the call did not end within its grpc-timeout")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_digits_and_a_unit() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3_600)),
            ("2M", Duration::from_secs(120)),
            ("99999999S", Duration::from_secs(99_999_999)),
            ("0m", Duration::ZERO),
            ("250u", Duration::from_micros(250)),
            ("7n", Duration::from_nanos(7)),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for text in ["", "S", "1", "1s", "-1S", "+1S", "1.5S", "999999999S", "1é", "é"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
