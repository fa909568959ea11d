//! What devices measure: a day's curve, slow changes and noise, counters that only rise, and sensors that fall silent for a while.
//! A value follows from seed, device and time alone.

use std::f64::consts::TAU;

use clap::ValueEnum;

use super::noise::{bell, share, spread};

const SECOND: i64 = 1_000_000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
/// A sensor that is out is so for a whole stretch of this length.
const OUTAGE: i64 = 5 * MINUTE;
/// The share of stretches in which it is.
const OUTAGE_SHARE: f64 = 0.02;

/// Kinds of devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// Weather station: temperature, humidity, pressure, wind, radiation
    Weather,
    /// Pump: flow, pressure, speed, vibration, motor temperature
    Pump,
    /// Electricity meter: energy, power, voltage, current, frequency
    Meter,
    /// One of these each
    Mixed,
}

impl Profile {
    /// The kind of a certain device.
    pub fn of(self, device: u64) -> Self {
        match self {
            Self::Mixed => {
                [Self::Weather, Self::Pump, Self::Meter][usize::try_from(device % 3).unwrap_or_default()]
            }
            kind => kind,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Weather => "weather",
            Self::Pump => "pump",
            Self::Meter => "meter",
            Self::Mixed => "mixed",
        }
    }
}

/// A device at a time, in microseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    pub seed: u64,
    pub device: u64,
    pub micros: i64,
}

impl Source {
    /// What is the same for this device at all times; from -1 to 1.
    fn own(&self, channel: u64) -> f64 {
        spread(&[self.seed, self.device, channel])
    }

    /// Other at each time; from -1 to 1.
    fn noise(&self, channel: u64) -> f64 {
        bell(&[self.seed, self.device, channel, self.micros.cast_unsigned()])
    }

    /// Moves from one value to another within `period`; from -1 to 1.
    fn slow(&self, channel: u64, period: i64) -> f64 {
        let at = |turn: i64| {
            spread(&[self.seed, self.device, channel, period.cast_unsigned(), turn.cast_unsigned()])
        };
        let turn = self.micros.div_euclid(period);
        let passed = ratio(self.micros.rem_euclid(period), period);
        let eased = (1.0 - (passed * TAU / 2.0).cos()) / 2.0;
        at(turn) + (at(turn + 1) - at(turn)) * eased
    }

    /// The wave of a day that is highest at this hour (UTC); from -1 to 1.
    fn daily(&self, peak_hour: f64) -> f64 {
        ((ratio(self.micros.rem_euclid(DAY), DAY) - peak_hour / 24.0) * TAU).cos()
    }

    fn is_out(&self, channel: u64) -> bool {
        let stretch = self.micros.div_euclid(OUTAGE).cast_unsigned();
        share(&[self.seed, self.device, channel, stretch, 0x6f75_7421]) < OUTAGE_SHARE
    }
}

#[expect(clippy::cast_precision_loss, reason = "times of this century are exact")]
fn ratio(part: i64, whole: i64) -> f64 {
    part as f64 / whole as f64
}

/// What the device measures. Sensors that are out are left out.
pub fn measure(profile: Profile, source: &Source) -> Vec<(&'static str, f64)> {
    let all = match profile.of(source.device) {
        Profile::Weather | Profile::Mixed => weather(source),
        Profile::Pump => pump(source),
        Profile::Meter => meter(source),
    };
    let working = all.into_iter().zip(0_u64..).filter(|(_, channel)| !source.is_out(*channel));
    working.map(|((key, value), _)| (key, rounded(value))).collect()
}

fn rounded(value: f64) -> f64 {
    (value * 1_000.0).round() / 1_000.0
}

fn weather(source: &Source) -> [(&'static str, f64); 5] {
    let mean = 11.0 + 6.0 * source.own(1);
    let warmth = 7.0 * source.daily(14.5) + 2.0 * source.slow(2, 2 * HOUR);
    let temperature = mean + warmth + 0.15 * source.noise(3);
    let humidity = 66.0 - 2.6 * warmth + 6.0 * source.slow(4, HOUR) + 0.8 * source.noise(5);
    let pressure = 1_013.0 + 9.0 * source.slow(6, 12 * HOUR) + 0.05 * source.noise(7);
    let gusts = (1.0 + source.slow(8, 10 * MINUTE)) * (1.0 + 0.5 * source.noise(9));
    let sun = (source.daily(12.0) + 0.1).max(0.0) * (0.7 + 0.3 * source.slow(10, 20 * MINUTE));
    [
        ("temperature_c", temperature),
        ("humidity_percent", humidity.clamp(4.0, 100.0)),
        ("pressure_hpa", pressure),
        ("wind_m_s", 3.2 * gusts.max(0.0)),
        ("radiation_w_m2", 880.0 * sun),
    ]
}

fn pump(source: &Source) -> [(&'static str, f64); 5] {
    // More water is wanted in the morning and in the evening, and each quarter of an hour something changes.
    let wanted = 0.6 + 0.2 * source.daily(7.5) + 0.1 * source.daily(19.0) + 0.2 * source.slow(1, 15 * MINUTE);
    let load = if wanted < 0.35 { 0.0 } else { wanted.min(1.0) };
    let wear = 1.0 + 0.5 * source.own(2).abs();
    [
        ("flow_l_s", 42.0 * load * (1.0 + 0.02 * source.noise(3))),
        ("pressure_bar", 1.2 + 5.0 * load * load + 0.05 * source.noise(4)),
        ("speed_rpm", 2_950.0 * load * (1.0 + 0.002 * source.noise(5))),
        ("vibration_mm_s", load * wear * (1.8 + 0.6 * source.noise(6).abs())),
        ("motor_temperature_c", 22.0 + 38.0 * load + 3.0 * source.slow(7, 30 * MINUTE)),
    ]
}

fn meter(source: &Source) -> [(&'static str, f64); 5] {
    let mean = 420.0 + 250.0 * source.own(1);
    let day = 1.0 + 0.35 * source.daily(19.0) + 0.15 * source.daily(8.0);
    let power = mean * day * (1.0 + 0.3 * source.slow(2, 10 * MINUTE) + 0.05 * source.noise(3));
    let voltage = 230.0 + 3.0 * source.slow(4, 5 * MINUTE) + 0.4 * source.noise(5);
    [
        // A counter never goes back: it is the mean use since the start of 2024, which the noise of the power leaves out.
        ("energy_kwh", mean / 1_000.0 * ratio(source.micros - 1_704_067_200 * SECOND, HOUR)),
        ("power_w", power),
        ("voltage_v", voltage),
        ("current_a", power / voltage),
        ("frequency_hz", 50.0 + 0.02 * source.slow(6, MINUTE) + 0.003 * source.noise(7)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-06-01T00:00:00Z.
    const MIDNIGHT: i64 = 1_780_272_000 * SECOND;

    fn value(profile: Profile, device: u64, micros: i64, key: &str) -> Option<f64> {
        let values = measure(profile, &Source { seed: 1, device, micros });
        values.into_iter().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    fn mean(hour: i64) -> f64 {
        let times = (0..60).map(|minute| MIDNIGHT + hour * HOUR + minute * MINUTE);
        let values: Vec<f64> =
            times.filter_map(|time| value(Profile::Weather, 0, time, "temperature_c")).collect();
        values.iter().sum::<f64>() / f64::from(u32::try_from(values.len()).unwrap())
    }

    #[test]
    fn afternoons_are_warmer_than_nights() {
        assert!(mean(14) > mean(3) + 6.0, "{} {}", mean(14), mean(3));
    }

    #[test]
    fn the_same_device_measures_the_same_at_the_same_time_and_others_do_not() {
        let at = |device, micros| measure(Profile::Pump, &Source { seed: 9, device, micros });
        assert_eq!(at(1, MIDNIGHT), at(1, MIDNIGHT));
        assert_ne!(at(1, MIDNIGHT), at(2, MIDNIGHT));
        assert_ne!(at(1, MIDNIGHT), at(1, MIDNIGHT + SECOND));
    }

    #[test]
    fn values_change_little_within_a_second() {
        for second in 0..600 {
            let time = MIDNIGHT + second * SECOND;
            let pair = [time, time + SECOND].map(|time| value(Profile::Weather, 3, time, "temperature_c"));
            if let [Some(one), Some(next)] = pair {
                assert!((one - next).abs() < 0.5, "{one} {next}");
            }
        }
    }

    #[test]
    fn a_meter_never_runs_backward() {
        let times = (0..1_000).map(|minute| MIDNIGHT + minute * MINUTE);
        let read: Vec<f64> = times.filter_map(|time| value(Profile::Meter, 5, time, "energy_kwh")).collect();
        assert!(read.len() > 900 && read.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn a_sensor_is_out_now_and_then_for_a_stretch() {
        let out: Vec<bool> = (0..20_000)
            .map(|minute| value(Profile::Weather, 1, MIDNIGHT + minute * MINUTE, "wind_m_s").is_none())
            .collect();
        let count = out.iter().filter(|out| **out).count();
        assert!((100..900).contains(&count), "{count}");
        assert_eq!(out.chunks(5).filter(|five| five.iter().any(|out| *out != five[0])).count(), 0);
    }

    #[test]
    fn a_mixed_fleet_has_each_kind() {
        let kinds: Vec<_> = (0..4).map(|device| Profile::Mixed.of(device)).collect();
        assert_eq!(kinds, [Profile::Weather, Profile::Pump, Profile::Meter, Profile::Weather]);
    }
}
