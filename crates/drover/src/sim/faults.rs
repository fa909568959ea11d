//! What goes wrong with devices, and when: connections that break one by one or many at once, devices that are away for a while, clocks
//! that drift. A plan follows from seed and device alone.

use std::time::Duration;

use clap::ValueEnum;

use super::noise::share;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Fault {
    /// Now and then a device's connection breaks in the middle of a message
    Reconnect,
    /// Most devices lose their connections at the same moment, and all come back at once
    Storm,
    /// A device is away for a while and goes on measuring; then it sends what it missed
    Gap,
    /// Clocks are off by up to 5 s and gain or lose up to 9 s a day
    Drift,
}

impl Fault {
    pub fn name(self) -> &'static str {
        match self {
            Self::Reconnect => "reconnect",
            Self::Storm => "storm",
            Self::Gap => "gap",
            Self::Drift => "drift",
        }
    }
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Break {
    /// With half of the next message sent.
    MidMessage,
    /// Together with those of most other devices.
    Storm,
    /// For so long.
    Gap(Duration),
}

/// Mean time between two faults of a kind. Short runs have them more often, so that most devices meet each kind.
const RECONNECT_EVERY: Duration = Duration::from_secs(20);
const STORM_EVERY: Duration = Duration::from_secs(30);
const GAP_EVERY: Duration = Duration::from_secs(60);
/// The longest that a device is away, and what part of a short run that is.
const LONGEST_GAP: Duration = Duration::from_secs(10);
const GAP_PART: u32 = 10;
/// The share of devices that a storm hits.
const STORM_SHARE: f64 = 0.8;
/// Storms whose share of a device is looked at ahead.
const STORMS_AHEAD: u64 = 1_000;

/// The breaks of one device, in their order.
#[derive(Clone, Debug)]
pub struct Breaks {
    source: [u64; 2],
    duration: Duration,
    lines: Vec<Line>,
}

/// The breaks of one kind.
#[derive(Clone, Debug)]
struct Line {
    fault: Fault,
    turn: u64,
    next: Duration,
}

impl Breaks {
    pub fn new(faults: &[Fault], duration: Duration, (seed, device): (u64, u64)) -> Self {
        let mut breaks = Self { source: [seed, device], duration, lines: Vec::new() };
        for fault in [Fault::Reconnect, Fault::Storm, Fault::Gap] {
            if faults.contains(&fault) {
                let mut line = Line { fault, turn: 0, next: Duration::ZERO };
                breaks.advance_line(&mut line);
                breaks.lines.push(line);
            }
        }
        breaks
    }

    /// The next one, and when it is due from the start; none when there are no more before the end.
    pub fn next(&self) -> Option<(Duration, Break)> {
        let line = self.lines.iter().min_by_key(|line| line.next)?;
        (line.next < self.duration).then(|| (line.next, self.of(line)))
    }

    /// Leaves behind what was due until now.
    pub fn skip_until(&mut self, now: Duration) {
        let mut lines = std::mem::take(&mut self.lines);
        for line in &mut lines {
            while line.next <= now && line.next < self.duration {
                self.advance_line(line);
            }
        }
        self.lines = lines;
    }

    fn of(&self, line: &Line) -> Break {
        match line.fault {
            Fault::Storm => Break::Storm,
            Fault::Gap => {
                let longest = LONGEST_GAP.min(self.duration / GAP_PART);
                Break::Gap(longest.mul_f64(0.5 + 0.5 * self.share(line)))
            }
            Fault::Reconnect | Fault::Drift => Break::MidMessage,
        }
    }

    /// Storms come at the same time for all; what is a device's own is irregular.
    fn advance_line(&self, line: &mut Line) {
        if line.fault == Fault::Storm {
            let every = STORM_EVERY.min(self.duration / 3);
            for _ in 0..STORMS_AHEAD {
                line.turn += 1;
                line.next += every;
                if self.share(line) < STORM_SHARE {
                    return;
                }
            }
            return;
        }
        let every = match line.fault {
            Fault::Gap => GAP_EVERY.min(self.duration / 2),
            _ => RECONNECT_EVERY.min(self.duration / 3),
        };
        line.turn += 1;
        line.next += every.mul_f64(0.5 + self.share(line));
    }

    fn share(&self, line: &Line) -> f64 {
        share(&[self.source[0], self.source[1], line.fault as u64, line.turn])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn all(faults: &[Fault], duration: Duration, device: u64) -> Vec<(Duration, Break)> {
        let mut breaks = Breaks::new(faults, duration, (5, device));
        let mut found = Vec::new();
        while let Some((at, kind)) = breaks.next() {
            found.push((at, kind));
            breaks.skip_until(at);
        }
        found
    }

    #[test]
    fn a_storm_hits_most_devices_at_the_same_time() {
        let first = MINUTE / 3;
        let hit = (0..1_000).filter(|device| {
            all(&[Fault::Storm], MINUTE, *device)
                .iter()
                .any(|(at, kind)| (*at, *kind) == (first, Break::Storm))
        });
        let hit = hit.count();
        assert!((750..850).contains(&hit), "{hit}");
    }

    #[test]
    fn single_breaks_come_at_times_of_their_own() {
        let first = |device| all(&[Fault::Reconnect], MINUTE, device)[0].0;
        assert_ne!(first(1), first(2));
        assert_eq!(first(1), first(1));
        assert!(all(&[Fault::Reconnect], Duration::from_hours(1), 1).len() > 100);
    }

    #[test]
    fn a_device_is_away_for_a_bounded_part_of_the_run() {
        for (at, kind) in all(&[Fault::Gap], MINUTE, 3) {
            let Break::Gap(length) = kind else { panic!("{kind:?}") };
            assert!(at < MINUTE && (MINUTE / 20..=MINUTE / 10).contains(&length), "{length:?}");
        }
    }

    #[test]
    fn breaks_come_in_order_and_end_with_the_run() {
        let found = all(&[Fault::Gap, Fault::Reconnect, Fault::Storm], MINUTE, 8);
        assert!(found.len() >= 4 && found.windows(2).all(|pair| pair[0].0 <= pair[1].0), "{found:?}");
        assert!(found.iter().all(|(at, _)| *at < MINUTE));
        assert!(all(&[], MINUTE, 8).is_empty() && all(&[Fault::Drift], MINUTE, 8).is_empty());
    }
}
