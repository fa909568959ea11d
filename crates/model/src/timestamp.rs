//! Points in time, in microseconds since 1970-01-01T00:00:00Z.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Microseconds since the epoch. May be negative.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

/// A text that is neither RFC 3339 nor a number of milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time; use RFC 3339 like 2026-11-24T19:00:00Z, or milliseconds since 1970")]
pub struct InvalidTimestamp {
    text: String,
}

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

    /// RFC 3339, or a whole number of milliseconds since the epoch.
    ///
    /// # Errors
    /// [`InvalidTimestamp`] with both forms shown.
    pub fn parse(text: &str) -> Result<Self, InvalidTimestamp> {
        if let Ok(millis) = text.parse::<i64>() {
            return Ok(Self::from_millis(millis));
        }
        match text.parse::<jiff::Timestamp>() {
            Ok(time) => Ok(Self(time.as_microsecond())),
            Err(_) => Err(InvalidTimestamp { text: text.chars().take(64).collect() }),
        }
    }
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
    fn writes_rfc_3339_with_milliseconds() {
        assert_eq!(Timestamp::from_millis(1_500).to_string(), "1970-01-01T00:00:01.500Z");
    }

    #[test]
    fn milliseconds_round_down_before_the_epoch() {
        assert_eq!(Timestamp::from_micros(-1).as_millis(), -1);
    }
}
