//! Points in time, in microseconds since 1970-01-01T00:00:00Z.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds since the epoch. May be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A text that is not a time in any of the forms of [`Timestamp::parse`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a time; use RFC 3339 like 2026-11-24T19:00:00Z or 2026-11-24T20:00:00+01:00, a date like 2026-11-24, \
     or milliseconds since 1970"
)]
pub struct InvalidTimestamp {
    text: String,
}

/// Length of `+01:00`.
const OFFSET_BYTES: usize = 6;
/// Length of `2026-01-01`.
const DATE_BYTES: usize = 10;

impl Timestamp {
    /// Smallest value.
    pub const MIN: Self = Self(i64::MIN);
    /// Largest value.
    pub const MAX: Self = Self(i64::MAX);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds since the epoch; saturates.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000))
    }

    /// Microseconds since the epoch.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whole milliseconds since the epoch, rounded down.
    pub const fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// Later by a duration; saturates.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// Earlier by a duration; saturates.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)))
    }

    /// How long after `earlier` this is; zero when it is not after it.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// A time as people and programs ask for it: RFC 3339; a date, which is its midnight in UTC; or a whole number of
    /// milliseconds since the epoch. The `+` of an offset may have become a space, as it does in a query that is not encoded.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] with the forms shown.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        if let Ok(millis) = text.parse::<i64>() {
            return Ok(Self::from_millis(millis));
        }
        Self::parse_rfc3339(text)
            .or_else(|| midnight(text))
            .or_else(|| Self::parse_rfc3339(&with_plus(text)?))
            .ok_or_else(|| InvalidTimestamp { text: text.chars().take(64).collect() })
    }

    /// RFC 3339 and nothing else; up to the end of the year 9999.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Some(Self(time.as_microsecond())),
            Err(_) => last_hours(text),
        }
    }
}

/// The last 26 hours of the year 9999, which jiff holds only as a time of day without a zone.
fn last_hours(text: &str) -> Option<Timestamp> {
    let (local, offset_s) = match text.strip_suffix(['Z', 'z']) {
        Some(local) => (local, 0),
        None => {
            let (local, offset) = text.split_at_checked(text.len().checked_sub(OFFSET_BYTES)?)?;
            (local, offset_seconds(offset)?)
        }
    };
    if !local.starts_with("9999-12-3") {
        return None;
    }
    let epoch = jiff::civil::date(1970, 1, 1).at(0, 0, 0, 0);
    let local = local.parse::<jiff::civil::DateTime>().ok()?.duration_since(epoch);
    let micros = i64::try_from(local.as_micros()).ok()?;
    Some(Timestamp(micros.checked_sub(offset_s * 1_000_000)?))
}

/// `+01:00` or `-01:00` in seconds.
fn offset_seconds(offset: &str) -> Option<i64> {
    let (sign, rest) = match offset.strip_prefix('+') {
        Some(rest) => (1, rest),
        None => (-1, offset.strip_prefix('-')?),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
    (hours < 24 && minutes < 60).then(|| sign * (i64::from(hours) * 3_600 + i64::from(minutes) * 60))
}

fn midnight(text: &str) -> Option<Timestamp> {
    (text.len() == DATE_BYTES).then(|| Timestamp::parse_rfc3339(&format!("{text}T00:00:00Z")))?
}

/// The text with its `+` again: `2026-01-01T00:00:00 01:00` can mean nothing else.
fn with_plus(text: &str) -> Option<String> {
    let (local, offset) = text.split_at_checked(text.len().checked_sub(OFFSET_BYTES)?)?;
    let offset = offset.strip_prefix(' ')?;
    (local.len() > DATE_BYTES).then(|| format!("{local}+{offset}"))
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with milliseconds; the bare number outside the years that RFC 3339 can write.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.as_millis()) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{}us", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_rfc_3339_and_milliseconds() {
        assert_eq!(Timestamp::parse("1970-01-01T00:00:01.5Z").unwrap(), Timestamp::from_millis(1_500));
        assert_eq!(Timestamp::parse("1970-01-01T01:00:00+01:00").unwrap(), Timestamp::from_millis(0));
        assert_eq!(Timestamp::parse("-1").unwrap().as_micros(), -1_000);
        assert!(Timestamp::parse("yesterday").unwrap_err().to_string().contains("RFC 3339"));
    }

    #[test]
    fn reads_up_to_the_end_of_the_year_9999() {
        let end = Timestamp::from_millis(253_402_300_799_000);
        for text in ["9999-12-31T23:59:59Z", "9999-12-31t23:59:59z", "9999-12-31T22:59:59-01:00"] {
            assert_eq!(Timestamp::parse(text), Ok(end), "{text}");
        }
        assert_eq!(Timestamp::parse("9999-12-31T23:59:59.000001Z").unwrap().as_micros(), end.as_micros() + 1);
        for text in ["9999-12-32T00:00:00Z", "9999-12-31T23:59:59", "9999-12-31T23:59:59+99:00", "é9999-1"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_date_is_its_midnight_in_utc() {
        assert_eq!(Timestamp::parse("2026-01-01").unwrap(), Timestamp::from_millis(1_767_225_600_000));
        assert_eq!(Timestamp::parse("9999-12-31").unwrap(), Timestamp::from_millis(253_402_214_400_000));
        for text in ["2026-01-32", "2026-1-1", "2026-01-01T", "01.01.2026"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_offset_whose_plus_became_a_space_is_read_and_no_other_space() {
        let expected = Timestamp::parse("2026-01-01T00:00:00+01:00").unwrap();
        for text in ["2026-01-01T00:00:00 01:00", "2026-01-01 00:00:00 01:00"] {
            assert_eq!(Timestamp::parse(text), Ok(expected), "{text}");
        }
        for text in ["2026-01-01 01:00", "2026-01-01 00:00:00", "2026-01-01T00:00:00  1:00"] {
            assert!(Timestamp::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_rfc_3339_is_rfc_3339() {
        for text in ["1767225600000", "2026-01-01", "2026-01-01T00:00:00 01:00", ""] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn writes_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp::from_millis(1_500).to_string(), "1970-01-01T00:00:01.500Z");
    }

    #[test]
    fn milliseconds_round_down_before_the_epoch() {
        assert_eq!(Timestamp::from_micros(-1).as_millis(), -1);
    }
}
