//! Turns records into points, rows and counts. Pure but for the head that it fills: no clock, no I/O.

use std::time::Duration;

use bytes::Bytes;
use drover_backbone::{Frame, Offset, sequence};
use drover_model::{Flags, Timestamp, ValueRef};
use drover_payload::{Decoded, DecodedPoint, Limits};
use drover_proto::RecordView;
use drover_proto::backbone::v1::{Channel, Erase, RefusedCounts};
use drover_timeseries::{HeadWriter, OverBounds};
use prost::Message as _;

use crate::config::Config;
use crate::ledger::{ByTenant, Counts};
use crate::notify::Notify;

/// An event to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) tenant: String,
    pub(crate) device: String,
    pub(crate) seq: i64,
    pub(crate) received_us: i64,
    pub(crate) json: String,
}

/// A record that could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeadLetter {
    pub(crate) tenant: String,
    pub(crate) received_us: i64,
    pub(crate) seq: i64,
    pub(crate) device: String,
    pub(crate) topic: String,
    pub(crate) reason: String,
    pub(crate) payload: Bytes,
}

/// A device's events before a position of the log, which are to be deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ErasedEvents {
    pub(crate) tenant: String,
    pub(crate) device: String,
    pub(crate) below: i64,
}

/// What goes into tables rather than into the head, or out of them.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) events: Vec<Event>,
    pub(crate) dead_letters: Vec<DeadLetter>,
    pub(crate) erased: Vec<ErasedEvents>,
}

impl Rows {
    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty() && self.dead_letters.is_empty() && self.erased.is_empty()
    }
}

/// What one batch of frames amounted to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows: Rows,
    pub(crate) counts: ByTenant,
    pub(crate) records: u64,
    pub(crate) points: u64,
    pub(crate) over_device_bounds: u64,
    pub(crate) unreadable: u64,
    pub(crate) times_replaced: u64,
    pub(crate) erasures: u64,
}

/// A point as it is stored, and as live listeners see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed<'a> {
    pub(crate) key: &'a str,
    pub(crate) ts: Timestamp,
    pub(crate) value: ValueRef<'a>,
    pub(crate) flags: Flags,
}

/// Decodes records; its buffers are used again for each.
pub(crate) struct Decoder {
    decoded: Decoded,
    limits: Limits,
    max_future: Duration,
    max_keys: usize,
    max_latest_text_bytes: usize,
    notify: Notify,
}

impl Decoder {
    pub(crate) fn new(config: &Config, notify: Notify) -> Self {
        Self {
            decoded: Decoded::default(),
            limits: Limits {
                max_points: config.max_points_per_message,
                max_text_bytes: config.max_text_bytes,
                ..Limits::default()
            },
            max_future: Duration::from_secs(config.max_future_s),
            max_keys: config.max_keys_per_device,
            max_latest_text_bytes: config.max_latest_text_bytes_per_device,
            notify,
        }
    }

    /// Applies frames in their order. Live listeners hear of them unless they are `replayed`.
    pub(crate) fn apply(
        &mut self,
        head: &mut HeadWriter<'_>,
        frames: &[(Offset, Frame)],
        replayed: bool,
    ) -> Outcome {
        let mut outcome = Outcome::default();
        for (offset, frame) in frames {
            for (index, record) in (0_u16..).zip(frame.records()) {
                outcome.records += 1;
                match record {
                    Ok(record) => {
                        let seq = sequence(*offset, index);
                        let stored = self.record(head, &record, seq, &mut outcome);
                        if stored && !replayed {
                            self.tell(&record);
                        }
                    }
                    Err(error) => {
                        outcome.unreadable += 1;
                        tracing::error!(
                            frame.offset = offset.0,
                            record.index = index,
                            "a record of the log is unreadable: {error}"
                        );
                    }
                }
            }
        }
        outcome
    }

    /// Says whether the record was stored.
    fn record(
        &mut self,
        head: &mut HeadWriter<'_>,
        record: &RecordView<'_>,
        seq: u64,
        outcome: &mut Outcome,
    ) -> bool {
        let understood = match record.channel {
            Channel::Telemetry => self.telemetry(head, record, seq, outcome),
            Channel::Event => self.event(record, seq, outcome),
            Channel::Refused => {
                refused(record, outcome);
                return false;
            }
            Channel::Erase => {
                erase(head, record, seq, outcome);
                return false;
            }
            Channel::Session | Channel::Unspecified => {
                Err("the channel of this record is not known to this version".to_owned())
            }
        };
        let counts = tenant_counts(&mut outcome.counts, record.tenant);
        match understood {
            Ok(()) => {
                counts.stored += 1;
                true
            }
            Err(reason) => {
                counts.dead_lettered += 1;
                outcome.rows.dead_letters.push(dead_letter(record, seq, reason));
                false
            }
        }
    }

    fn telemetry(
        &mut self,
        head: &mut HeadWriter<'_>,
        record: &RecordView<'_>,
        seq: u64,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        let received = Timestamp::from_micros(record.received_us);
        drover_payload::decode(
            record.content_type,
            record.payload,
            received,
            &self.limits,
            &mut self.decoded,
        )
        .map_err(|error| error.to_string())?;
        let timed = self.decoded.points().map(|point| self.timed(point, received));
        let points = timed.clone().map(|point| (point.key, point.ts, point.value));
        let device = head.admit(record.tenant, record.device, points).map_err(|over| {
            outcome.over_device_bounds += 1;
            self.over_bounds(over)
        })?;
        for point in timed {
            outcome.points += 1;
            outcome.times_replaced += u64::from(point.flags.contains(Flags::TIME_REPLACED));
            head.push(device, point.key, point.ts, point.value, seq, point.flags);
        }
        Ok(())
    }

    /// The point with the time at which it is stored: the device's, unless that lies too far ahead, or the time of arrival.
    fn timed<'p>(&self, point: DecodedPoint<'p>, received: Timestamp) -> Timed<'p> {
        let DecodedPoint { key, ts, value } = point;
        match ts {
            Some(ts) if ts > received.plus(self.max_future) => {
                Timed { key, ts: received, value, flags: Flags::TIME_REPLACED }
            }
            ts => Timed { key, ts: ts.unwrap_or(received), value, flags: Flags::NONE },
        }
    }

    fn over_bounds(&self, over: OverBounds) -> String {
        match over {
            OverBounds::Keys => format!(
                "the device would have more than {} keys; use fewer keys, or raise stream.max_keys_per_device",
                self.max_keys
            ),
            OverBounds::Text => format!(
                "the latest values of the device would have more than {} bytes of text; send less text, or raise \
                 stream.max_latest_text_bytes_per_device",
                self.max_latest_text_bytes
            ),
        }
    }

    fn event(&self, record: &RecordView<'_>, seq: u64, outcome: &mut Outcome) -> Result<(), String> {
        drover_payload::check_event(record.payload, &self.limits).map_err(|error| error.to_string())?;
        let json = std::str::from_utf8(record.payload).map_err(|error| error.to_string())?;
        outcome.rows.events.push(Event {
            tenant: record.tenant.to_owned(),
            device: record.device.to_owned(),
            seq: seq.cast_signed(),
            received_us: record.received_us,
            json: json.to_owned(),
        });
        Ok(())
    }

    fn tell(&self, record: &RecordView<'_>) {
        let received = Timestamp::from_micros(record.received_us);
        match record.channel {
            Channel::Telemetry => {
                self.notify.telemetry(record, self.decoded.points().map(|point| self.timed(point, received)));
            }
            Channel::Event => {
                self.notify.event(record, std::str::from_utf8(record.payload).unwrap_or_default(), received);
            }
            Channel::Refused | Channel::Erase | Channel::Session | Channel::Unspecified => {}
        }
    }
}

fn dead_letter(record: &RecordView<'_>, seq: u64, reason: String) -> DeadLetter {
    let topic = match record.channel {
        _ if !record.topic.is_empty() => record.topic,
        Channel::Event => drover_model::Channel::Event.topic(),
        Channel::Telemetry | Channel::Refused | Channel::Erase | Channel::Session | Channel::Unspecified => {
            drover_model::Channel::Telemetry.topic()
        }
    };
    DeadLetter {
        tenant: record.tenant.to_owned(),
        received_us: record.received_us,
        seq: seq.cast_signed(),
        device: record.device.to_owned(),
        topic: topic.to_owned(),
        reason,
        payload: Bytes::copy_from_slice(record.payload),
    }
}

fn refused(record: &RecordView<'_>, outcome: &mut Outcome) {
    let Ok(refused) = RefusedCounts::decode(record.payload) else {
        outcome.unreadable += 1;
        return;
    };
    let counts = Counts { refused: refused.by_reason.into_iter().collect(), ..Counts::default() };
    tenant_counts(&mut outcome.counts, record.tenant).add(&counts);
}

fn erase(head: &mut HeadWriter<'_>, record: &RecordView<'_>, seq: u64, outcome: &mut Outcome) {
    let Ok(Erase { keys }) = Erase::decode(record.payload) else {
        outcome.unreadable += 1;
        return;
    };
    outcome.erasures += 1;
    head.erase(record.tenant, record.device, keys.iter().map(String::as_str), seq);
    if keys.is_empty() {
        outcome.rows.erased.push(ErasedEvents {
            tenant: record.tenant.to_owned(),
            device: record.device.to_owned(),
            below: seq.cast_signed(),
        });
    }
}

fn tenant_counts<'a>(counts: &'a mut ByTenant, tenant: &str) -> &'a mut Counts {
    if !counts.contains_key(tenant) {
        counts.insert(tenant.into(), Counts::default());
    }
    counts.get_mut(tenant).expect("inserted above")
}
