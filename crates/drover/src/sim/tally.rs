//! What was sent and acknowledged against what was found: the sums that decide. No I/O.

use drover_mqtt_codec::QoS;

use super::faults::{Break, Fault};
use super::sequences::Sequences;

/// What one device did. Its messages have the numbers 0 to `sent` - 1.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub sent: u64,
    pub acknowledged: Sequences,
    /// Messages that were sent more than once, after their connection broke.
    pub sent_again: Sequences,
    /// Messages that the server answered with an error.
    pub refused: u64,
    pub breaks: Injected,
    /// Connections that ended and that no fault ended.
    pub lost_connections: u64,
    pub reconnects: u64,
    /// Why it stopped before the end.
    pub gave_up: Option<String>,
}

/// How often faults ended a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Injected {
    pub reconnect: u64,
    pub storm: u64,
    pub gap: u64,
}

impl Injected {
    pub fn count(&mut self, kind: Break) {
        match kind {
            Break::MidMessage => self.reconnect += 1,
            Break::Storm => self.storm += 1,
            Break::Gap(_) => self.gap += 1,
        }
    }

    /// Of drift there is nothing to count.
    pub fn of(&self, fault: Fault) -> Option<u64> {
        match fault {
            Fault::Reconnect => Some(self.reconnect),
            Fault::Storm => Some(self.storm),
            Fault::Gap => Some(self.gap),
            Fault::Drift => None,
        }
    }

    fn add(&mut self, other: &Self) {
        self.reconnect += other.reconnect;
        self.storm += other.storm;
        self.gap += other.gap;
    }
}

/// What was found of one device.
#[derive(Clone, Debug, Default)]
pub struct Found {
    numbers: Sequences,
    /// The number of every further copy.
    copies: Vec<u64>,
}

impl Found {
    /// Whether it is the first copy.
    pub fn insert(&mut self, sequence: u64) -> bool {
        // A number that no device reaches would make the set as large as it is.
        let is_new = sequence <= super::MOST_MESSAGES_PER_DEVICE && self.numbers.insert(sequence);
        if !is_new {
            self.copies.push(sequence);
        }
        is_new
    }
}

/// The sums of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub sent: u64,
    pub acknowledged: u64,
    pub refused: u64,
    /// Different messages.
    pub found: u64,
    /// Acknowledged and not found.
    pub lost: u64,
    /// Further copies, but for those that MQTT allows.
    pub doubled: u64,
    pub sent_again: u64,
    /// Further copies of QoS 1 messages that were sent again.
    pub repeated: u64,
    pub injected: Injected,
    pub reconnects: u64,
    pub lost_connections: u64,
    pub gave_up: u64,
    /// Why the first of them did.
    pub reason: Option<String>,
}

impl Tally {
    /// Sums of devices, each with what was found of it.
    pub fn of(qos: QoS, devices: &[(Record, Found)]) -> Self {
        let mut tally = Self::default();
        for (record, found) in devices {
            tally.sent += record.sent;
            tally.acknowledged += record.acknowledged.count();
            tally.refused += record.refused;
            tally.sent_again += record.sent_again.count();
            tally.found += found.numbers.count();
            tally.lost += record.acknowledged.count_without(&found.numbers);
            let copies = found.copies.len() as u64;
            let may_repeat = |sequence: &&u64| {
                qos == QoS::AtLeastOnce
                    && record.sent_again.contains(**sequence)
                    && found.numbers.contains(**sequence)
            };
            let repeated = found.copies.iter().filter(may_repeat).count() as u64;
            tally.repeated += repeated;
            tally.doubled += copies - repeated;
            tally.injected.add(&record.breaks);
            tally.reconnects += record.reconnects;
            tally.lost_connections += record.lost_connections;
            tally.gave_up += u64::from(record.gave_up.is_some());
            tally.reason = tally.reason.or_else(|| record.gave_up.clone());
        }
        tally
    }

    /// Sent, and neither acknowledged nor refused; found or not, it is no fault.
    pub fn unacknowledged(&self) -> u64 {
        self.sent.saturating_sub(self.acknowledged + self.refused)
    }

    /// Nothing that was acknowledged is missing and nothing is there twice.
    pub fn is_exact(&self) -> bool {
        self.lost == 0 && self.doubled == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(numbers: impl IntoIterator<Item = u64>) -> Sequences {
        let mut set = Sequences::default();
        for number in numbers {
            set.insert(number);
        }
        set
    }

    fn found(numbers: impl IntoIterator<Item = u64>) -> Found {
        let mut found = Found::default();
        for number in numbers {
            found.insert(number);
        }
        found
    }

    fn record(sent: u64, acknowledged: impl IntoIterator<Item = u64>) -> Record {
        Record { sent, acknowledged: set(acknowledged), ..Record::default() }
    }

    #[test]
    fn all_found_once_is_exact() {
        let tally =
            Tally::of(QoS::AtLeastOnce, &[(record(10, 0..10), found(0..10)), (record(5, 0..5), found(0..5))]);
        assert_eq!((tally.sent, tally.acknowledged, tally.found), (15, 15, 15));
        assert!(tally.is_exact());
    }

    #[test]
    fn what_was_acknowledged_and_is_not_found_is_lost() {
        let tally = Tally::of(QoS::AtLeastOnce, &[(record(10, 0..10), found([0, 1, 2, 9]))]);
        assert_eq!((tally.lost, tally.doubled), (6, 0));
        assert!(!tally.is_exact());
    }

    #[test]
    fn what_was_not_acknowledged_is_no_fault_found_or_not() {
        let tally = Tally::of(QoS::AtMostOnce, &[(record(10, []), found(0..7))]);
        assert_eq!((tally.lost, tally.found, tally.unacknowledged()), (0, 7, 10));
        let tally = Tally::of(QoS::AtLeastOnce, &[(record(10, 0..8), found(0..10))]);
        assert_eq!((tally.lost, tally.unacknowledged()), (0, 2));
        assert!(tally.is_exact());
    }

    #[test]
    fn a_copy_is_doubled_unless_its_message_was_sent_again_at_qos_1() {
        let again = Record { sent_again: set([3]), ..record(5, 0..5) };
        let copies = found([0, 1, 2, 3, 4, 3, 4]);
        let sums = |qos| {
            let tally = Tally::of(qos, &[(again.clone(), copies.clone())]);
            (tally.doubled, tally.repeated)
        };
        assert_eq!(sums(QoS::AtLeastOnce), (1, 1));
        assert_eq!(sums(QoS::ExactlyOnce), (2, 0));
    }

    #[test]
    fn a_number_that_no_device_reaches_is_doubled_and_takes_no_memory() {
        let tally = Tally::of(QoS::AtLeastOnce, &[(record(1, [0]), found([0, u64::MAX / 2]))]);
        assert_eq!((tally.found, tally.doubled), (1, 1));
    }

    #[test]
    fn faults_and_devices_that_gave_up_are_counted() {
        let mut one = record(0, []);
        one.breaks.count(Break::Storm);
        one.breaks.count(Break::Gap(std::time::Duration::ZERO));
        one.gave_up = Some("refused".to_owned());
        let tally = Tally::of(QoS::AtLeastOnce, &[(one.clone(), found([])), (one, found([]))]);
        assert_eq!(
            (tally.injected.of(Fault::Storm), tally.injected.of(Fault::Reconnect)),
            (Some(2), Some(0))
        );
        assert_eq!((tally.gave_up, tally.reason.as_deref()), (2, Some("refused")));
    }
}
