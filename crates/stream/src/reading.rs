//! What a record says: its points with the times at which they are stored, or its event. The one way to read records, so that who
//! follows the log gets what is stored.

use std::time::Duration;

use drover_model::{Flags, Timestamp, ValueRef};
use drover_payload::{Decoded, DecodedPoint, Limits};
use drover_proto::RecordView;

use crate::config::Config;

/// A point as it is stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timed<'a> {
    pub(crate) key: &'a str,
    pub(crate) ts: Timestamp,
    pub(crate) value: ValueRef<'a>,
    pub(crate) flags: Flags,
}

/// Reads records; its buffers are used again for each.
pub(crate) struct Reading {
    decoded: Decoded,
    limits: Limits,
    max_future: Duration,
}

impl Reading {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            decoded: Decoded::default(),
            limits: Limits {
                max_points: config.max_points_per_message,
                max_text_bytes: config.max_text_bytes,
                ..Limits::default()
            },
            max_future: Duration::from_secs(config.max_future_s),
        }
    }

    /// Understands a record of telemetry, or says why it can't; [`Self::points`] has its points then.
    pub(crate) fn telemetry(&mut self, record: &RecordView<'_>) -> Result<(), String> {
        drover_payload::decode(
            record.content_type,
            record.payload,
            Timestamp::from_micros(record.received_us),
            &self.limits,
            &mut self.decoded,
        )
        .map_err(|error| error.to_string())
    }

    /// The points of the record that was understood last. No two of them have the same key and time.
    pub(crate) fn points(&self, record: &RecordView<'_>) -> impl Iterator<Item = Timed<'_>> + Clone {
        let received = Timestamp::from_micros(record.received_us);
        self.decoded.points().map(move |point| self.timed(point, received))
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

    /// The JSON of an event, or why it is none.
    pub(crate) fn event<'r>(&self, record: &RecordView<'r>) -> Result<&'r str, String> {
        drover_payload::check_event(record.payload, &self.limits).map_err(|error| error.to_string())?;
        std::str::from_utf8(record.payload).map_err(|error| error.to_string())
    }
}
