//! When each device begins, when its messages are due, and which time its clock shows then.

use std::time::Duration;

use super::noise::spread;

/// A message a device is no faster than this.
pub const MOST_RATE_PER_DEVICE: f64 = 100_000.0;
/// Clocks that drift are off by at most this at the start …
const MOST_OFFSET_US: f64 = 5_000_000.0;
/// … and gain or lose at most this, in millionths: nine seconds a day, as a cheap crystal does.
const MOST_DRIFT_PPM: f64 = 100.0;
/// Devices that measure more seldom than this tell whole milliseconds, as most do; others need more digits for times that differ.
const WHOLE_MILLIS_FROM: Duration = Duration::from_millis(2);

/// The plan of a fleet.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    pub devices: u64,
    /// Messages a second of all together.
    pub rate: f64,
    pub ramp: Duration,
    pub duration: Duration,
}

impl Schedule {
    /// Time between two messages of a device.
    pub fn period(&self) -> Duration {
        Duration::from_secs_f64(as_f64(self.devices) / self.rate)
    }

    /// When a device connects, from the start.
    pub fn begins(&self, device: u64) -> Duration {
        self.ramp.mul_f64(as_f64(device) / as_f64(self.devices))
    }

    /// When a device's message is due. Devices take turns.
    pub fn due(&self, device: u64, sequence: u64) -> Duration {
        let turn = as_f64(device) / as_f64(self.devices) + as_f64(sequence);
        self.begins(device) + self.period().mul_f64(turn)
    }

    /// How many messages of a device are due before the end.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a bounded positive number")]
    pub fn count(&self, device: u64) -> u64 {
        let left = self.duration.saturating_sub(self.due(device, 0)).as_secs_f64();
        (left / self.period().as_secs_f64()).ceil() as u64
    }

    /// How many messages there are.
    pub fn total(&self) -> u64 {
        (0..self.devices).map(|device| self.count(device)).sum()
    }
}

/// A device's clock.
#[derive(Clone, Copy, Debug)]
pub struct DeviceClock {
    /// The true time at the start, in microseconds since 1970.
    pub began_us: i64,
    offset_us: f64,
    ppm: f64,
    whole_millis: bool,
}

impl DeviceClock {
    /// A clock that is right.
    pub fn exact(began_us: i64, period: Duration) -> Self {
        Self { began_us, offset_us: 0.0, ppm: 0.0, whole_millis: period >= WHOLE_MILLIS_FROM }
    }

    /// The same, wrong in a way of the device's own.
    #[must_use]
    pub fn drifting(self, seed: u64, device: u64) -> Self {
        let offset_us = MOST_OFFSET_US * spread(&[seed, device, 0x6f66_6673]);
        Self { offset_us, ppm: MOST_DRIFT_PPM * spread(&[seed, device, 0x7070_6d21]), ..self }
    }

    /// What it shows after a while, in microseconds since 1970. Two messages of a device never show the same.
    pub fn shows(&self, passed: Duration) -> i64 {
        let micros = self.began_us + rounded(passed.as_secs_f64() * 1e6) + self.off_by(passed);
        if self.whole_millis { micros.div_euclid(1_000) * 1_000 } else { micros }
    }

    /// By how much it is wrong, in microseconds.
    pub fn off_by(&self, passed: Duration) -> i64 {
        rounded(self.offset_us + passed.as_secs_f64() * self.ppm)
    }
}

#[expect(clippy::cast_possible_truncation, reason = "a number of microseconds within days")]
fn rounded(micros: f64) -> i64 {
    micros.round() as i64
}

#[expect(clippy::cast_precision_loss, reason = "numbers far below 2^53")]
fn as_f64(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn schedule(devices: u64, rate: f64, ramp: u64) -> Schedule {
        Schedule { devices, rate, ramp: Duration::from_secs(ramp), duration: Duration::from_secs(30) }
    }

    #[test]
    fn a_fleet_sends_at_its_rate_for_its_duration() {
        assert_eq!(schedule(10, 100.0, 0).total(), 3_000);
        assert_eq!(schedule(1_000, 10.0, 0).total(), 300);
        assert_eq!(schedule(1, 0.5, 0).total(), 15);
        let with_ramp = schedule(10, 100.0, 10).total();
        assert!((2_500..2_600).contains(&with_ramp), "{with_ramp}");
    }

    #[test]
    fn every_message_that_counts_is_due_before_the_end() {
        let schedule = schedule(7, 33.0, 5);
        for device in 0..7 {
            let count = schedule.count(device);
            assert!(schedule.due(device, count - 1) < schedule.duration);
            assert!(schedule.due(device, count) >= schedule.duration);
            assert!(schedule.due(device, 0) >= schedule.begins(device));
        }
    }

    #[test]
    fn a_clock_that_drifts_stays_within_its_bounds() {
        let (period, day) = (Duration::from_secs(1), Duration::from_hours(24));
        let clocks: Vec<_> =
            (0..100).map(|device| DeviceClock::exact(0, period).drifting(1, device)).collect();
        assert!(clocks.iter().all(|clock| clock.off_by(day).abs() < 14_000_000));
        assert!(clocks.iter().any(|clock| clock.off_by(day).abs() > 2_000_000));
        assert!(clocks.iter().any(|clock| clock.off_by(Duration::ZERO) != clock.off_by(day)));
        assert_eq!(DeviceClock::exact(5_000, period).shows(Duration::ZERO), 5_000);
    }

    #[test]
    fn no_two_messages_of_a_device_show_the_same_time() {
        for rate in [500.0, 1_000.0, MOST_RATE_PER_DEVICE] {
            let schedule = schedule(1, rate, 0);
            for device in 0..5 {
                let clock = DeviceClock::exact(1_780_000_000_000_000, schedule.period()).drifting(3, device);
                let times: BTreeSet<i64> =
                    (0..10_000).map(|sequence| clock.shows(schedule.due(0, sequence))).collect();
                assert_eq!(times.len(), 10_000, "{rate}");
            }
        }
    }
}
