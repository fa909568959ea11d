//! The system's clock: the one place that asks the operating system what time it is.

use std::time::{SystemTime, UNIX_EPOCH};

use drover_model::{Clock, Now, Timestamp};

/// The time of day of the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl SystemClock {
    /// A handle to it.
    pub fn clock() -> Clock {
        Clock::new(Self)
    }
}

impl Now for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Timestamp {
        let micros = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |micros| -micros),
        };
        Timestamp::from_micros(micros)
    }
}
