//! SenML (RFC 8428): applies base fields to records and makes them points. How a record is written in JSON and in CBOR
//! stands in the two modules.

mod cbor;
mod json;

use std::borrow::Cow;

use drover_model::Timestamp;

use crate::PayloadError;
use crate::assembly::{Assembly, whole_micros};
use crate::decoded::{Span, StoredValue};

pub(crate) use cbor::decode as decode_cbor;
pub(crate) use json::decode as decode_json;

/// The version of a pack that names none, and the newest one that is understood (RFC 8428, 4.1 and 4.4).
const VERSION: f64 = 10.0;
/// Seconds from here on count from 1970, below it from now (RFC 8428, 4.5.3).
const ABSOLUTE_SECONDS: f64 = 268_435_456.0;

/// The fields of a record that matter here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Label {
    BaseName,
    BaseTime,
    BaseValue,
    BaseSum,
    BaseVersion,
    Name,
    Value,
    Text,
    Boolean,
    Bytes,
    Sum,
    Time,
    /// Units, update time, and whatever need not be understood (RFC 8428, 4.4).
    Ignored,
}

impl Label {
    /// `None` for a field that must be understood and is not: its label ends in `_` (RFC 8428, 4.4).
    fn of_text(label: &str) -> Option<Self> {
        Some(match label {
            "bn" => Self::BaseName,
            "bt" => Self::BaseTime,
            "bv" => Self::BaseValue,
            "bs" => Self::BaseSum,
            "bver" => Self::BaseVersion,
            "n" => Self::Name,
            "v" => Self::Value,
            "vs" => Self::Text,
            "vb" => Self::Boolean,
            "vd" => Self::Bytes,
            "s" => Self::Sum,
            "t" => Self::Time,
            other if other.ends_with('_') => return None,
            _ => Self::Ignored,
        })
    }

    /// RFC 8428, 6, table 4, which is conclusive: extensions have text labels.
    fn of_integer(label: i128) -> Self {
        match label {
            -1 => Self::BaseVersion,
            -2 => Self::BaseName,
            -3 => Self::BaseTime,
            -5 => Self::BaseValue,
            -6 => Self::BaseSum,
            0 => Self::Name,
            2 => Self::Value,
            3 => Self::Text,
            4 => Self::Boolean,
            5 => Self::Sum,
            6 => Self::Time,
            8 => Self::Bytes,
            _ => Self::Ignored,
        }
    }
}

/// One record as it was written.
#[derive(Debug, Default)]
struct Record<'p> {
    base_name: Option<Cow<'p, str>>,
    base_time: Option<f64>,
    base_value: Option<f64>,
    base_sum: Option<f64>,
    base_version: Option<f64>,
    name: Option<Cow<'p, str>>,
    value: Option<f64>,
    text: Option<Cow<'p, str>>,
    boolean: Option<bool>,
    /// As base64url text, also in CBOR.
    bytes: Option<Cow<'p, str>>,
    sum: Option<f64>,
    time: Option<f64>,
}

impl Record<'_> {
    fn number(&mut self, label: Label) -> Option<&mut Option<f64>> {
        match label {
            Label::BaseTime => Some(&mut self.base_time),
            Label::BaseValue => Some(&mut self.base_value),
            Label::BaseSum => Some(&mut self.base_sum),
            Label::BaseVersion => Some(&mut self.base_version),
            Label::Value => Some(&mut self.value),
            Label::Sum => Some(&mut self.sum),
            Label::Time => Some(&mut self.time),
            Label::BaseName | Label::Name | Label::Text | Label::Boolean | Label::Bytes | Label::Ignored => {
                None
            }
        }
    }

    fn has_only_base_fields(&self) -> bool {
        self.name.is_none()
            && self.time.is_none()
            && self.sum.is_none()
            && self.value.is_none()
            && self.text.is_none()
            && self.boolean.is_none()
            && self.bytes.is_none()
    }
}

/// A list of records on its way to points: the base fields so far.
struct Pack<'m, 'a> {
    assembly: &'m mut Assembly<'a>,
    received: Timestamp,
    time: f64,
    value: Option<f64>,
    sum: Option<f64>,
    version: Option<f64>,
    /// The current record, from 1.
    record: usize,
}

impl<'m, 'a> Pack<'m, 'a> {
    fn new(received: Timestamp, assembly: &'m mut Assembly<'a>) -> Self {
        assembly.out.base_name.clear();
        Self { assembly, received, time: 0.0, value: None, sum: None, version: None, record: 0 }
    }

    fn wrong(&self, problem: impl Into<String>) -> PayloadError {
        PayloadError::Record { record: self.record, problem: problem.into() }
    }

    fn must_understand(&self, label: &str) -> PayloadError {
        let label = crate::error::shortened(label);
        self.wrong(format!("the field {label:?} must be understood, and is not"))
    }

    /// Takes the base fields, then adds the points of the record.
    fn resolve(&mut self, record: &Record<'_>) -> Result<(), PayloadError> {
        self.take_base_fields(record)?;
        if record.has_only_base_fields() {
            return Ok(());
        }
        let ts = self.time_of(record)?;
        self.assembly.resolved_key(record.name.as_deref().unwrap_or_default())?;
        let value = self.value_of(record)?;
        let sum = added(self.sum, record.sum);
        if value.is_none() && sum.is_none() {
            return Err(self.wrong("has no value and no sum"));
        }
        if let Some(value) = value {
            self.assembly.push_resolved(value, ts)?;
        }
        if let Some(sum) = sum {
            let sum = self.finite("s", sum)?;
            self.assembly.resolved_sum_key()?;
            self.assembly.push_resolved(StoredValue::Number(sum), ts)?;
        }
        Ok(())
    }

    fn take_base_fields(&mut self, record: &Record<'_>) -> Result<(), PayloadError> {
        self.take_version(record.base_version)?;
        if let Some(name) = &record.base_name {
            self.assembly.out.base_name.clear();
            self.assembly.out.base_name.push_str(name);
        }
        self.time = record.base_time.unwrap_or(self.time);
        self.value = record.base_value.or(self.value);
        self.sum = record.base_sum.or(self.sum);
        Ok(())
    }

    /// A positive whole number, the same in all records of a pack (RFC 8428, 4.1 and 4.4).
    fn take_version(&mut self, given: Option<f64>) -> Result<(), PayloadError> {
        let first = self.version;
        let version = given.or(first).unwrap_or(VERSION);
        if version.fract() != 0.0 || !(1.0..=VERSION).contains(&version) {
            return Err(
                self.wrong(format!("\"bver\" is {version}; versions from 1 to {VERSION} are understood"))
            );
        }
        if let Some(first) = first
            && first.to_bits() != version.to_bits()
        {
            return Err(
                self.wrong(format!("\"bver\" is {version}, and that of the records before is {first}"))
            );
        }
        self.version = Some(version);
        Ok(())
    }

    /// RFC 8428, 4.5.3. A time of "now" is none: the time of arrival is better known elsewhere.
    fn time_of(&self, record: &Record<'_>) -> Result<Option<Timestamp>, PayloadError> {
        let time = record.time.unwrap_or(0.0);
        let seconds = self.time + time;
        if seconds == 0.0 {
            return Ok(None);
        }
        let origin = if seconds >= ABSOLUTE_SECONDS { 0 } else { self.received.as_micros() };
        // Each part is rounded by itself: a float of 10^9 seconds and a fraction is not exact to the microsecond.
        let micros = || {
            let (base, offset) = (whole_micros(self.time * 1e6)?, whole_micros(time * 1e6)?);
            origin.checked_add(base.checked_add(offset)?)
        };
        let found = || PayloadError::Time { label: "t", found: format!("{seconds} s") };
        micros().map(Timestamp::from_micros).map(Some).ok_or_else(found)
    }

    fn value_of(&mut self, record: &Record<'_>) -> Result<Option<StoredValue>, PayloadError> {
        let given =
            [record.value.is_some(), record.text.is_some(), record.boolean.is_some(), record.bytes.is_some()];
        if given.iter().filter(|&&given| given).count() > 1 {
            return Err(self.wrong("has more than one of \"v\", \"vs\", \"vb\" and \"vd\""));
        }
        if let Some(text) = record.text.as_deref().or(record.bytes.as_deref()) {
            let start = self.assembly.begin_text();
            self.assembly.out.text.push_str(text);
            self.assembly.check_text(start)?;
            return Ok(Some(StoredValue::Text(Span { start, length: text.len() })));
        }
        if let Some(truth) = record.boolean {
            return Ok(Some(StoredValue::Bool(truth)));
        }
        // A record with a sum of its own may have no value (RFC 8428, 4.2): the base value alone is none of it.
        if record.value.is_none() && record.sum.is_some() {
            return Ok(None);
        }
        match added(self.value, record.value) {
            Some(value) => Ok(Some(StoredValue::Number(self.finite("v", value)?))),
            None => Ok(None),
        }
    }

    fn finite(&self, label: &str, number: f64) -> Result<f64, PayloadError> {
        if number.is_finite() {
            Ok(number)
        } else {
            Err(self.wrong(format!("{label:?} is not a finite number")))
        }
    }
}

/// A missing one of two counts as zero (RFC 8428, 4.5.4).
fn added(base: Option<f64>, own: Option<f64>) -> Option<f64> {
    match (base, own) {
        (None, None) => None,
        (base, own) => Some(base.unwrap_or(0.0) + own.unwrap_or(0.0)),
    }
}
