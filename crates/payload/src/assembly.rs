//! From keys and values, in the order in which a reader meets them, to points: joins nested keys, tells the two forms of a
//! telemetry object apart, and holds the limits. Knows no format.

use drover_model::{InvalidId, TelemetryKey, Timestamp};

use crate::decoded::{Decoded, Span, Stored, StoredValue};
use crate::error::shortened;
use crate::{Limits, PayloadError};

/// Longest joined key on the way, in bytes: a legal key under `values.`.
const MAX_PATH_BYTES: usize = 128 + VALUES_PREFIX_BYTES;
const VALUES_PREFIX_BYTES: usize = "values.".len();

/// The years 2000 to 2099: a `ts` beside keys is a time if it lies here, else a value like another.
const PLAUSIBLE_MICROS: std::ops::Range<i64> = 946_684_800_000_000..4_102_444_800_000_000;

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

/// The value of `ts`, until it is known whether the object is one with a time.
#[derive(Debug, Clone, Copy)]
enum Ts {
    Number(Number),
    Text(Span),
}

/// What the key in a telemetry object means that leads to the current value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Ts,
    Values,
    WithinValues,
    Other,
}

/// Where the keys of an object begin: what stands before them, and how many points there were.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Base {
    prefix: Span,
    points: usize,
}

impl Base {
    /// Of a telemetry object itself.
    pub(crate) const TOP: Self = Self { prefix: Span::EMPTY, points: 0 };
}

/// Puts the points of one message together. A key is written to the shared text once, where its point will find it.
pub(crate) struct Assembly<'a> {
    pub(crate) out: &'a mut Decoded,
    pub(crate) limits: &'a Limits,
    /// Set when a reader is told to stop; reader errors of serde can't carry it.
    pub(crate) failure: Option<PayloadError>,
    depth: usize,
    /// The joined key of the current value.
    key: Span,
    /// Where the points of the current telemetry object begin.
    first: usize,
    role: Role,
    ts: Option<Ts>,
    values: bool,
    /// A point that is neither `ts` nor in `values`.
    beside: Option<usize>,
}

impl<'a> Assembly<'a> {
    pub(crate) fn new(limits: &'a Limits, out: &'a mut Decoded) -> Self {
        Self {
            out,
            limits,
            failure: None,
            depth: 0,
            key: Span::EMPTY,
            first: 0,
            role: Role::Other,
            ts: None,
            values: false,
            beside: None,
        }
    }

    /// One level down.
    #[inline]
    pub(crate) fn enter(&mut self) -> Result<(), PayloadError> {
        if self.depth >= self.limits.max_depth {
            return Err(PayloadError::TooDeep { limit: self.limits.max_depth });
        }
        self.depth += 1;
        Ok(())
    }

    /// One level up.
    #[inline]
    pub(crate) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Begins one telemetry object.
    pub(crate) fn begin_object(&mut self) -> Result<(), PayloadError> {
        (self.first, self.ts, self.values, self.beside) = (self.out.points.len(), None, false, None);
        self.enter()
    }

    /// Ends a telemetry object: only now is it known which form it has, since members come in any order.
    pub(crate) fn end_object(&mut self) -> Result<(), PayloadError> {
        self.leave();
        match self.ts {
            Some(ts) if self.values => self.move_out_of_values(Some(self.time(ts)?))?,
            Some(ts) => match self.plausible_time(ts) {
                Some(time) => {
                    let points = self.out.points.iter_mut().skip(self.first);
                    points.for_each(|point| point.ts = Some(time));
                }
                None => self.keep_ts(ts)?,
            },
            None if self.values && self.beside.is_none() && !self.has_ts() => {
                self.move_out_of_values(None)?;
            }
            None => {}
        }
        for point in self.out.points.iter().skip(self.first) {
            check_key(self.out.slice(point.key))?;
        }
        Ok(())
    }

    /// Reads the value of `ts` as a time.
    fn time(&self, ts: Ts) -> Result<Timestamp, PayloadError> {
        match ts {
            Ts::Number(number) => milliseconds(number),
            Ts::Text(text) => {
                let text = self.out.slice(text);
                Timestamp::parse_rfc3339(text).ok_or_else(|| PayloadError::NoTime { found: shortened(text) })
            }
        }
    }

    /// The time of the keys beside `ts`, if there are any and it is meant as one.
    fn plausible_time(&self, ts: Ts) -> Option<Timestamp> {
        let time = self.time(ts).ok().filter(|time| PLAUSIBLE_MICROS.contains(&time.as_micros()));
        time.filter(|_| self.out.points.len() > self.first)
    }

    /// Whether `ts` is among the points: it is neither a number nor a text.
    fn has_ts(&self) -> bool {
        self.out.points.iter().skip(self.first).any(|point| self.out.slice(point.key) == "ts")
    }

    /// Makes `ts` a value.
    fn keep_ts(&mut self, ts: Ts) -> Result<(), PayloadError> {
        self.write_key(Span::EMPTY, "ts");
        self.push(match ts {
            Ts::Number(number) => StoredValue::Number(number.as_f64()),
            Ts::Text(text) => StoredValue::Text(text),
        })
    }

    fn move_out_of_values(&mut self, ts: Option<Timestamp>) -> Result<(), PayloadError> {
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
            point.ts = ts;
            self.out.points[kept] = point;
            kept += 1;
        }
        self.out.points.truncate(kept);
        Ok(())
    }

    /// Takes the next member's key.
    #[inline]
    pub(crate) fn key(&mut self, base: Base, key: &str) -> Result<(), PayloadError> {
        self.write_key(base.prefix, key);
        if self.key.length > MAX_PATH_BYTES {
            let reason = InvalidId::TooLong { what: "telemetry key", length: self.key.length };
            return Err(PayloadError::Key { key: self.shown_key(), reason });
        }
        if base.prefix.length == 0 {
            self.role = match key {
                "ts" => Role::Ts,
                "values" => Role::Values,
                _ => Role::Other,
            };
        }
        Ok(())
    }

    #[inline]
    fn write_key(&mut self, prefix: Span, key: &str) {
        let text = &mut self.out.text;
        self.key = Span { start: text.len(), length: prefix.length + key.len() };
        if prefix.length > 0 {
            text.extend_from_within(prefix.start..prefix.start + prefix.length);
        }
        text.push_str(key);
    }

    /// Takes the current key out of the text again: no point will need it.
    fn drop_key(&mut self) {
        self.out.text.truncate(self.key.start);
    }

    fn shown_key(&self) -> String {
        shortened(self.out.slice(self.key))
    }

    /// Begins an object inside.
    pub(crate) fn begin_nested(&mut self) -> Result<Base, PayloadError> {
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
        self.out.text.push('.');
        let prefix = Span { start: self.key.start, length: self.key.length + 1 };
        Ok(Base { prefix, points: self.out.points.len() })
    }

    /// Ends an object inside; one without points leaves no text.
    pub(crate) fn end_nested(&mut self, base: Base) {
        self.leave();
        if self.out.points.len() == base.points {
            self.out.text.truncate(base.prefix.start);
        }
    }

    /// Whether the value to come is that of `ts`.
    pub(crate) fn at_ts(&self) -> bool {
        self.role == Role::Ts
    }

    pub(crate) fn null(&mut self) {
        self.drop_key();
        self.replace_form();
    }

    /// `ts` and `values` of another type than the form with a time has.
    fn replace_form(&mut self) {
        match self.role {
            Role::Ts => self.ts = None,
            Role::Values => self.values = false,
            Role::WithinValues | Role::Other => {}
        }
    }

    #[inline]
    pub(crate) fn number(&mut self, number: Number) -> Result<(), PayloadError> {
        let value = number.as_f64();
        if !value.is_finite() {
            return Err(self.refused("is not a finite number"));
        }
        if self.role == Role::Ts {
            self.drop_key();
            self.ts = Some(Ts::Number(number));
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
            return Err(PayloadError::TextTooLong {
                key: self.shown_key(),
                limit: self.limits.max_text_bytes,
            });
        }
        Ok(())
    }

    /// Makes what was written since `start` the value.
    pub(crate) fn end_text(&mut self, start: usize) -> Result<(), PayloadError> {
        self.check_text(start)?;
        let length = self.out.text.len() - start;
        if self.role == Role::Ts {
            self.ts = Some(Ts::Text(Span { start, length }));
            return Ok(());
        }
        self.value(StoredValue::Text(Span { start, length }))
    }

    /// The value of the current key can't be kept.
    pub(crate) fn refused(&self, problem: impl Into<String>) -> PayloadError {
        PayloadError::Value { key: self.shown_key(), problem: problem.into() }
    }

    #[inline]
    fn value(&mut self, value: StoredValue) -> Result<(), PayloadError> {
        match self.role {
            Role::WithinValues => {}
            Role::Other => {
                self.beside.get_or_insert(self.out.points.len());
            }
            Role::Ts | Role::Values => self.replace_form(),
        }
        self.push(value)
    }

    #[inline]
    fn push(&mut self, value: StoredValue) -> Result<(), PayloadError> {
        if self.out.points.len() >= self.limits.max_points {
            return Err(PayloadError::TooManyPoints { limit: self.limits.max_points });
        }
        self.out.points.push(Stored { key: self.key, ts: None, value });
        Ok(())
    }

    /// Begins a point outside of any telemetry object, for SenML: its key is the base name and the name.
    pub(crate) fn resolved_key(&mut self, name: &str) -> Result<(), PayloadError> {
        let out = &mut *self.out;
        self.key = Span { start: out.text.len(), length: out.base_name.len() + name.len() };
        out.text.push_str(&out.base_name);
        out.text.push_str(name);
        check_key(self.out.slice(self.key))
    }

    /// Goes from the key of a SenML value to that of its sum.
    pub(crate) fn resolved_sum_key(&mut self) -> Result<(), PayloadError> {
        self.write_key(self.key, ".sum");
        check_key(self.out.slice(self.key))
    }

    /// Adds the point.
    pub(crate) fn push_resolved(
        &mut self,
        value: StoredValue,
        ts: Option<Timestamp>,
    ) -> Result<(), PayloadError> {
        self.push(value)?;
        if let Some(point) = self.out.points.last_mut() {
            point.ts = ts;
        }
        Ok(())
    }
}

/// Which bytes a key may have after its first; a first `.`, `:` or `/` takes the way through the full check.
const KEY_BYTES: [bool; 256] = {
    let mut legal = [false; 256];
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:/";
    let mut index = 0;
    while index < alphabet.len() {
        legal[alphabet[index] as usize] = true;
        index += 1;
    }
    legal
};

#[inline]
fn check_key(key: &str) -> Result<(), PayloadError> {
    let bytes = key.as_bytes();
    let plain_first = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    if plain_first && bytes.len() <= 128 && bytes.iter().all(|&byte| KEY_BYTES[usize::from(byte)]) {
        return Ok(());
    }
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
