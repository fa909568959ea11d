//! Turns records into points, rows and counts. Pure but for the head that it fills: no clock, no I/O.

use bytes::Bytes;
use drover_backbone::{Frame, Offset, sequence};
use drover_model::Flags;
use drover_proto::RecordView;
use drover_proto::backbone::v1::{Channel, Erase, RefusedCounts};
use drover_timeseries::{HeadWriter, OverBounds};
use prost::Message as _;

use crate::config::Config;
use crate::ledger::{ByTenant, Counts};
use crate::reading::Reading;

/// Traced records of one batch; of further ones nothing is sent.
const MAX_TRACED: usize = 1_024;

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

/// A record whose storing is traced.
#[derive(Debug)]
pub(crate) struct Traced {
    pub(crate) traceparent: String,
    pub(crate) tenant: String,
    pub(crate) device: String,
    pub(crate) is_stored: bool,
}

/// What one batch of frames amounted to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) rows: Rows,
    pub(crate) counts: ByTenant,
    pub(crate) traced: Vec<Traced>,
    pub(crate) records: u64,
    pub(crate) points: u64,
    pub(crate) over_device_bounds: u64,
    pub(crate) unreadable: u64,
    pub(crate) times_replaced: u64,
    pub(crate) erasures: u64,
}

/// Applies records to a head.
pub(crate) struct Decoder {
    reading: Reading,
    max_keys: usize,
    max_latest_text_bytes: usize,
    is_traced: bool,
}

impl Decoder {
    /// `is_traced`: whether traces are sent anywhere.
    pub(crate) fn new(config: &Config, is_traced: bool) -> Self {
        Self {
            reading: Reading::new(config),
            max_keys: config.max_keys_per_device,
            max_latest_text_bytes: config.max_latest_text_bytes_per_device,
            is_traced,
        }
    }

    /// Applies frames in their order. Traces hear of them unless they are `replayed`.
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
                        let stored = self.record(head, &record, sequence(*offset, index), &mut outcome);
                        if self.is_traced && !replayed && !record.traceparent.is_empty() {
                            trace(&record, stored, &mut outcome.traced);
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
        let is_stored = understood.is_ok();
        match understood {
            Ok(()) => counts.stored += 1,
            Err(reason) => {
                counts.dead_lettered += 1;
                outcome.rows.dead_letters.push(dead_letter(record, seq, reason));
            }
        }
        is_stored
    }

    fn telemetry(
        &mut self,
        head: &mut HeadWriter<'_>,
        record: &RecordView<'_>,
        seq: u64,
        outcome: &mut Outcome,
    ) -> Result<(), String> {
        self.reading.telemetry(record)?;
        let timed = self.reading.points(record);
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
        let json = self.reading.event(record)?;
        outcome.rows.events.push(Event {
            tenant: record.tenant.to_owned(),
            device: record.device.to_owned(),
            seq: seq.cast_signed(),
            received_us: record.received_us,
            json: json.to_owned(),
        });
        Ok(())
    }
}

fn trace(record: &RecordView<'_>, is_stored: bool, traced: &mut Vec<Traced>) {
    if traced.len() < MAX_TRACED {
        traced.push(Traced {
            traceparent: record.traceparent.to_owned(),
            tenant: record.tenant.to_owned(),
            device: record.device.to_owned(),
            is_stored,
        });
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
