//! What a reader of the feed wants, and what of a record that is.

use std::collections::HashSet;

use drover_backbone::{Shard, partition_of, shard_of};
use drover_model::{DeviceId, TelemetryKey, Tenant, ValueRef};
use drover_proto::RecordView;
use drover_proto::backbone::v1::Channel;
use drover_proto::stream::v1::{self as proto, subscribe_response::Kind};

use crate::config::Config;
use crate::error::Error;
use crate::reading::{Reading, Timed};

/// Most devices, and most keys, that a call may name.
const MAX_NAMES: usize = 256;

/// What one reader wants of one tenant. An empty set means all.
pub(crate) struct Wanted {
    tenant: Tenant,
    devices: HashSet<DeviceId>,
    keys: HashSet<TelemetryKey>,
    telemetry: bool,
    events: bool,
    reading: Reading,
}

impl Wanted {
    pub(crate) fn parse(
        config: &Config,
        tenant: Tenant,
        request: &proto::SubscribeRequest,
    ) -> Result<Self, Error> {
        for (field, names) in [("devices", &request.devices), ("keys", &request.keys)] {
            if names.len() > MAX_NAMES {
                return Err(Error::Field { field, reason: "are more than 256; leave them out for all" });
            }
        }
        let has = |stream: proto::FeedStream| {
            request.streams.is_empty() || request.streams.contains(&i32::from(stream))
        };
        let is_unknown = |stream: &i32| {
            matches!(proto::FeedStream::try_from(*stream), Err(_) | Ok(proto::FeedStream::Unspecified))
        };
        if request.streams.iter().any(is_unknown) {
            return Err(Error::Field { field: "streams", reason: "has one that is not known" });
        }
        Ok(Self {
            tenant,
            devices: request.devices.iter().map(|id| DeviceId::parse(id)).collect::<Result<_, _>>()?,
            keys: request.keys.iter().map(|key| TelemetryKey::parse(key)).collect::<Result<_, _>>()?,
            telemetry: has(proto::FeedStream::Telemetry),
            events: has(proto::FeedStream::Events),
            reading: Reading::new(config),
        })
    }

    /// The shards that may have something of it, when there are `count`.
    pub(crate) fn shards(&self, count: u16) -> Vec<Shard> {
        let of = |device: &DeviceId| shard_of(partition_of(self.tenant.as_str(), device.as_str()), count);
        let mut shards: Vec<_> = self.devices.iter().map(of).collect();
        if self.devices.is_empty() {
            shards = (0..count).map(Shard).collect();
        }
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    /// The answers that a record makes, each with its number among all that it could make. None for what can't be understood.
    pub(crate) fn answers(&mut self, record: &RecordView<'_>) -> Vec<(u32, Kind)> {
        let is_meant = record.tenant == self.tenant.as_str()
            && (self.devices.is_empty() || self.devices.contains(record.device));
        match record.channel {
            Channel::Telemetry if is_meant && self.telemetry => self.measurements(record),
            Channel::Event if is_meant && self.events => {
                self.event(record).map(|event| (0, event)).into_iter().collect()
            }
            Channel::Telemetry
            | Channel::Event
            | Channel::Refused
            | Channel::Erase
            | Channel::Session
            | Channel::Unspecified => Vec::new(),
        }
    }

    /// One for each time among the points, as long as it stays the same from one to the next.
    fn measurements(&mut self, record: &RecordView<'_>) -> Vec<(u32, Kind)> {
        if self.reading.telemetry(record).is_err() {
            return Vec::new();
        }
        let mut answers = Vec::new();
        let mut points = self.reading.points(record).peekable();
        let mut part = 0;
        while let Some(first) = points.next() {
            let mut measurement = proto::Measurement {
                device: record.device.to_owned(),
                ts_us: first.ts.as_micros(),
                flags: first.flags.0.into(),
                ..proto::Measurement::default()
            };
            self.put(&mut measurement, first);
            while let Some(point) = points.next_if(|point| (point.ts, point.flags) == (first.ts, first.flags))
            {
                self.put(&mut measurement, point);
            }
            if !measurement.values.is_empty() {
                answers.push((part, Kind::Measurement(measurement)));
            }
            part += 1;
        }
        answers
    }

    fn put(&self, measurement: &mut proto::Measurement, point: Timed<'_>) {
        if self.keys.is_empty() || self.keys.contains(point.key) {
            measurement.values.insert(point.key.to_owned(), value(point.value));
        }
    }

    fn event(&self, record: &RecordView<'_>) -> Option<Kind> {
        let json = self.reading.event(record).ok()?;
        let device = record.device.to_owned();
        Some(Kind::Event(proto::DeviceEvent { device, ts_us: record.received_us, json: json.to_owned() }))
    }
}

fn value(value: ValueRef<'_>) -> proto::Value {
    let kind = match value {
        ValueRef::Number(number) => proto::value::Kind::Number(number),
        ValueRef::Bool(truth) => proto::value::Kind::Truth(truth),
        ValueRef::Text(text) => proto::value::Kind::Text(text.to_owned()),
    };
    proto::Value { kind: Some(kind) }
}
