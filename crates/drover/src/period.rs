//! Times as a person types them: `-1h`, `now` and plain dates beside RFC 3339 and milliseconds. The server takes only the latter two.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Span, SpanRelativeTo, Timestamp};

/// Length of a date like 2026-01-31. A longer text that begins with one is a time of some zone.
const DATE_LENGTH: usize = 10;

/// The wall clock of the command line, which has no `Env`.
#[expect(clippy::disallowed_methods, reason = "a client has no server's clock to ask")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// What the API takes for `text`: relative times and dates (midnight UTC) become RFC 3339, others go through unchanged once they are known to be times.
pub fn absolute(text: &str, now: Timestamp) -> Result<String, String> {
    if text == "now" {
        return Ok(now.to_string());
    }
    if text.starts_with(['-', '+']) {
        let span: Span = text.parse().map_err(|_| hint(text))?;
        let distance: SignedDuration =
            span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| hint(text))?;
        return now.checked_add(distance).map(|time| time.to_string()).map_err(|_| hint(text));
    }
    if text.len() == DATE_LENGTH
        && let Ok(date) = text.parse::<Date>()
    {
        let midnight = date.to_zoned(TimeZone::UTC).map_err(|_| hint(text))?;
        return Ok(midnight.timestamp().to_string());
    }
    if text.parse::<i64>().is_ok() || text.parse::<Timestamp>().is_ok() {
        return Ok(text.to_owned());
    }
    Err(hint(text))
}

fn hint(text: &str) -> String {
    format!(
        "`{text}` is not a time: give `-1h`, `-30m`, `-2d`, `now`, a date (`2026-01-31`, from midnight UTC), RFC 3339 (`2026-01-31T12:00:00Z`) or \
         milliseconds since 1970"
    )
}

/// Milliseconds since 1970 as RFC 3339; the number itself when it is beyond the calendar.
pub fn show_millis(millis: i64) -> String {
    Timestamp::from_millisecond(millis).map_or_else(|_| millis.to_string(), |time| format!("{time:.3}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noon() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    #[test]
    fn a_relative_time_counts_from_now() {
        assert_eq!(absolute("-1h", noon()).unwrap(), "2026-03-01T11:00:00Z");
        assert_eq!(absolute("-2d", noon()).unwrap(), "2026-02-27T12:00:00Z");
        assert_eq!(absolute("-1h30m", noon()).unwrap(), "2026-03-01T10:30:00Z");
        assert_eq!(absolute("+5m", noon()).unwrap(), "2026-03-01T12:05:00Z");
        assert_eq!(absolute("now", noon()).unwrap(), "2026-03-01T12:00:00Z");
    }

    #[test]
    fn an_absolute_time_passes_unchanged() {
        for text in ["1767225600000", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"] {
            assert_eq!(absolute(text, noon()).unwrap(), text);
        }
    }

    #[test]
    fn a_date_is_its_midnight_in_utc() {
        assert_eq!(absolute("2026-01-01", noon()).unwrap(), "2026-01-01T00:00:00Z");
        assert_eq!(absolute("2024-02-29", noon()).unwrap(), "2024-02-29T00:00:00Z");
    }

    #[test]
    fn anything_else_is_refused_with_examples() {
        for text in [
            "yesterday",
            "-1 fortnight",
            "",
            "-",
            "2026-13-01T00:00:00Z",
            "2026-02-30",
            "2026-01-01T00:00",
            "-99999999999d",
        ] {
            assert!(absolute(text, noon()).unwrap_err().contains("-1h"), "{text}");
        }
    }

    #[test]
    fn milliseconds_are_shown_as_rfc_3339() {
        assert_eq!(show_millis(1_767_225_600_123), "2026-01-01T00:00:00.123Z");
        assert_eq!(show_millis(i64::MAX), i64::MAX.to_string());
    }
}
