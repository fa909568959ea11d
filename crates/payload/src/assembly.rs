//! From keys and values, in the order in which a reader meets them, to points: joins nested keys, tells the two forms of a
//! telemetry object apart, and holds the limits. Knows no format.

use std::fmt::Write;

use drover_model::{InvalidId, TelemetryKey, Timestamp};

use crate::decoded::{Decoded, Span, Stored, StoredValue};
use crate::error::shortened;
use crate::{Limits, PayloadError};

/// Longest joined key on the way, in bytes: a legal key under `values.`.
const MAX_PATH_BYTES: usize = 128 + VALUES_PREFIX_BYTES;
const VALUES_PREFIX_BYTES: usize = "values.".len();

/// 2^63 as a float: the first number of microseconds that is too large.
const MICROS_END: f64 = 9_223_372_036_854_775_808.0;

/// A number as a device wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Int(i64),
    Uint(u64),
    Float(f64),
}

impl Number {
    #[expect(clippy::cast_precision_loss, reason = "rounding integers beyond 2^53 is documented")]
    pub(crate) fn as_f64(self) -> f64 {
        match self {
            Self::Int(number) => number as f64,
            Self::Uint(number) => number as f64,
            Self::Float(number) => number,
        }
    }
}

/// What the key in a telemetry object means that leads to the current value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Ts,
    Values,
    WithinValues,
    Other,
}

/// Puts the points of one message together.
pub(crate) struct Assembly<'a> {
    pub(crate) out: &'a mut Decoded,
    pub(crate) limits: &'a Limits,
    /// Set when a reader is told to stop; reader errors of serde can't carry it.
    pub(crate) failure: Option<PayloadError>,
    depth: usize,
    /// Where the points of the current telemetry object begin.
    first: usize,
    role: Role,
    ts: Option<Number>,
    values: bool,
    /// A point that is neither `ts` nor in `values`.
    beside: Option<usize>,
}

impl<'a> Assembly<'a> {
    pub(crate) fn new(limits: &'a Limits, out: &'a mut Decoded) -> Self {
        let (role, ts) = (Role::Other, None);
        Self { out, limits, failure: None, depth: 0, first: 0, role, ts, values: false, beside: None }
    }

    /// One level down.
    pub(crate) fn enter(&mut self) -> Result<(), PayloadError> {
        if self.depth >= self.limits.max_depth {
            return Err(PayloadError::TooDeep { limit: self.limits.max_depth });
        }
        self.depth += 1;
        Ok(())
    }

    /// One level up.
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Begins one telemetry object.
    pub(crate) fn begin_object(&mut self) -> Result<(), PayloadError> {
        (self.first, self.ts, self.values, self.beside) = (self.out.points.len(), None, false, None);
        self.out.path.clear();
        self.enter()
    }

    /// Ends a telemetry object: only now is it known which of the two forms it has, since members come in any order.
    pub(crate) fn end_object(&mut self) -> Result<(), PayloadError> {
        self.leave();
        match self.ts {
            Some(ts) if self.values => self.move_out_of_values(milliseconds(ts)?)?,
            Some(ts) => {
                self.out.path.clear();
                self.out.path.push_str("ts");
                self.push(StoredValue::Number(ts.as_f64()))?;
            }
            None => {}
        }
        for point in self.out.points.iter().skip(self.first) {
            check_key(self.out.slice(point.key))?;
        }
        Ok(())
    }

    fn move_out_of_values(&mut self, ts: Timestamp) -> Result<(), PayloadError> {
        if let Some(stored) = self.beside.and_then(|index| self.out.points.get(index)) {
            return Err(PayloadError::Beside { key: shortened(self.out.slice(stored.key)) });
        }
        let mut kept = self.first;
        for index in self.first..self.out.points.len() {
            let mut point = self.out.points[index];
            // An earlier `ts` or `values` of another type, which the last one of that name replaces.
            if point.key.length < VALUES_PREFIX_BYTES {
                continue;
            }
            point.key.start += VALUES_PREFIX_BYTES;
            point.key.length -= VALUES_PREFIX_BYTES;
            point.ts = Some(ts);
            self.out.points[kept] = point;
            kept += 1;
        }
        self.out.points.truncate(kept);
        Ok(())
    }

    /// Takes the next member's key in the object whose own key, with its `.`, has `base` bytes.
    pub(crate) fn key(&mut self, base: usize, key: &str) -> Result<(), PayloadError> {
        self.out.path.truncate(base);
        self.out.path.push_str(key);
        self.after_key(base)
    }

    /// As [`Self::key`], for integers.
    pub(crate) fn integer_key(&mut self, base: usize, key: i128) -> Result<(), PayloadError> {
        self.out.path.truncate(base);
        // Writing to a String can't fail.
        let _ = write!(self.out.path, "{key}");
        self.after_key(base)
    }

    fn after_key(&mut self, base: usize) -> Result<(), PayloadError> {
        let path = self.out.path.as_str();
        if path.len() > MAX_PATH_BYTES {
            let reason = InvalidId::TooLong { what: "telemetry key", length: path.len() };
            return Err(PayloadError::Key { key: shortened(path), reason });
        }
        if base == 0 {
            self.role = match path {
                "ts" => Role::Ts,
                "values" => Role::Values,
                _ => Role::Other,
            };
        }
        Ok(())
    }

    /// Begins an object inside; returns the `base` for its keys.
    pub(crate) fn begin_nested(&mut self) -> Result<usize, PayloadError> {
        self.enter()?;
        self.role = match self.role {
            Role::Ts => {
                self.ts = None;
                Role::Other
            }
            Role::Values => {
                self.values = true;
                Role::WithinValues
            }
            Role::WithinValues => Role::WithinValues,
            Role::Other => Role::Other,
        };
        self.out.path.push('.');
        Ok(self.out.path.len())
    }

    /// Whether the value to come is that of `ts`.
    pub(crate) fn at_ts(&self) -> bool {
        self.role == Role::Ts
    }

    pub(crate) fn null(&mut self) {
        match self.role {
            Role::Ts => self.ts = None,
            Role::Values => self.values = false,
            Role::WithinValues | Role::Other => {}
        }
    }

    pub(crate) fn number(&mut self, number: Number) -> Result<(), PayloadError> {
        let value = number.as_f64();
        if !value.is_finite() {
            return Err(self.refused("is not a finite number"));
        }
        if self.role == Role::Ts {
            self.ts = Some(number);
            return Ok(());
        }
        self.value(StoredValue::Number(value))
    }

    pub(crate) fn boolean(&mut self, value: bool) -> Result<(), PayloadError> {
        self.value(StoredValue::Bool(value))
    }

    pub(crate) fn text(&mut self, value: &str) -> Result<(), PayloadError> {
        let start = self.begin_text();
        self.out.text.push_str(value);
        self.end_text(start)
    }

    /// Begins a text that is written to `out.text` piece by piece.
    pub(crate) fn begin_text(&mut self) -> usize {
        self.out.text.len()
    }

    /// Holds the limit while a text grows.
    pub(crate) fn check_text(&self, start: usize) -> Result<(), PayloadError> {
        if self.out.text.len() - start > self.limits.max_text_bytes {
            let key = shortened(&self.out.path);
            return Err(PayloadError::TextTooLong { key, limit: self.limits.max_text_bytes });
        }
        Ok(())
    }

    /// Makes what was written since `start` the value.
    pub(crate) fn end_text(&mut self, start: usize) -> Result<(), PayloadError> {
        self.check_text(start)?;
        let length = self.out.text.len() - start;
        self.value(StoredValue::Text(Span { start, length }))
    }

    /// The value of the current key can't be kept.
    pub(crate) fn refused(&self, problem: impl Into<String>) -> PayloadError {
        PayloadError::Value { key: shortened(&self.out.path), problem: problem.into() }
    }

    fn value(&mut self, value: StoredValue) -> Result<(), PayloadError> {
        match self.role {
            Role::WithinValues => {}
            Role::Other => {
                self.beside.get_or_insert(self.out.points.len());
            }
            Role::Ts | Role::Values => self.null(),
        }
        self.push(value)
    }

    fn push(&mut self, value: StoredValue) -> Result<(), PayloadError> {
        let out = &mut *self.out;
        if out.points.len() >= self.limits.max_points {
            return Err(PayloadError::TooManyPoints { limit: self.limits.max_points });
        }
        let key = Span { start: out.text.len(), length: out.path.len() };
        out.text.push_str(&out.path);
        out.points.push(Stored { key, ts: None, value });
        Ok(())
    }

    /// Adds a point under the current path outside of any telemetry object: SenML.
    pub(crate) fn push_resolved(
        &mut self,
        value: StoredValue,
        ts: Option<Timestamp>,
    ) -> Result<(), PayloadError> {
        check_key(&self.out.path)?;
        self.push(value)?;
        if let Some(point) = self.out.points.last_mut() {
            point.ts = ts;
        }
        Ok(())
    }
}

fn check_key(key: &str) -> Result<(), PayloadError> {
    TelemetryKey::check(key).map_err(|reason| PayloadError::Key { key: shortened(key), reason })
}

/// Reads milliseconds since 1970 as a time.
fn milliseconds(number: Number) -> Result<Timestamp, PayloadError> {
    let micros = match number {
        Number::Int(millis) => millis.checked_mul(1_000),
        Number::Uint(millis) => i64::try_from(millis).ok().and_then(|millis| millis.checked_mul(1_000)),
        Number::Float(millis) => whole_micros(millis * 1_000.0),
    };
    let outside = || PayloadError::Time { label: "ts", found: shown(number) };
    micros.map(Timestamp::from_micros).ok_or_else(outside)
}

/// The nearest whole number of microseconds, if 64 bits hold it.
pub(crate) fn whole_micros(micros: f64) -> Option<i64> {
    let micros = micros.round();
    #[expect(clippy::cast_possible_truncation, reason = "whole and within the range of i64")]
    (-MICROS_END..MICROS_END).contains(&micros).then_some(micros as i64)
}

/// A number as JSON writes it.
pub(crate) fn shown(number: Number) -> String {
    match number {
        Number::Int(number) => number.to_string(),
        Number::Uint(number) => number.to_string(),
        Number::Float(number) => serde_json::Number::from_f64(number)
            .map_or_else(|| number.to_string(), |number| number.to_string()),
    }
}
