//! The points of one message, in buffers that are used again for the next.

use std::cmp::Ordering;

use drover_model::{Timestamp, ValueRef};

/// Buffers above this size are given back when they are cleared, in bytes of text and in points.
const KEPT_TEXT_BYTES: usize = 1 << 20;
const KEPT_POINTS: usize = 1 << 14;
/// Up to this many points, comparing each with each is faster than sorting.
const COMPARED_POINTS: usize = 32;

/// The points of one message. Make one, use it for many messages.
#[derive(Debug, Default)]
pub struct Decoded {
    pub(crate) text: String,
    pub(crate) points: Vec<Stored>,
    /// SenML's base name.
    pub(crate) base_name: String,
    order: Vec<usize>,
}

/// One point, borrowed from a [`Decoded`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DecodedPoint<'a> {
    /// A legal [`drover_model::TelemetryKey`].
    pub key: &'a str,
    /// When, if the device said so.
    pub ts: Option<Timestamp>,
    /// How much.
    pub value: ValueRef<'a>,
}

/// A point whose texts are ranges of the shared text. An empty key marks one that a later point replaces.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    pub(crate) key: Span,
    pub(crate) ts: Option<Timestamp>,
    pub(crate) value: StoredValue,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum StoredValue {
    Number(f64),
    Bool(bool),
    Text(Span),
}

/// A range of the shared text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) length: usize,
}

impl Span {
    pub(crate) const EMPTY: Self = Self { start: 0, length: 0 };
}

impl Decoded {
    /// Forgets the points and keeps the buffers.
    pub fn clear(&mut self) {
        self.text.clear();
        self.points.clear();
        if self.text.capacity() > KEPT_TEXT_BYTES {
            self.text.shrink_to(KEPT_TEXT_BYTES);
        }
        if self.points.capacity() > KEPT_POINTS {
            self.points.shrink_to(KEPT_POINTS);
            self.order.clear();
            self.order.shrink_to(KEPT_POINTS);
        }
    }

    /// How many points there are.
    pub fn len(&self) -> usize {
        self.points.len()
    }

    /// Whether there is no point.
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }

    /// The points, in no order that matters: no two of them have the same key and time.
    pub fn points(&self) -> impl ExactSizeIterator<Item = DecodedPoint<'_>> + Clone {
        self.points.iter().map(|stored| DecodedPoint {
            key: self.slice(stored.key),
            ts: stored.ts,
            value: match stored.value {
                StoredValue::Number(number) => ValueRef::Number(number),
                StoredValue::Bool(truth) => ValueRef::Bool(truth),
                StoredValue::Text(span) => ValueRef::Text(self.slice(span)),
            },
        })
    }

    #[inline]
    pub(crate) fn slice(&self, span: Span) -> &str {
        self.text.get(span.start..span.start + span.length).unwrap_or_default()
    }

    /// Drops every point that a later one with the same key and time replaces. No time means `received`.
    pub(crate) fn keep_last(&mut self, received: Timestamp) {
        let replaced = if self.points.len() <= COMPARED_POINTS {
            self.mark_replaced_by_comparing(received)
        } else {
            self.mark_replaced_by_sorting(received)
        };
        if replaced {
            self.points.retain(|point| point.key.length > 0);
        }
    }

    fn mark_replaced_by_comparing(&mut self, received: Timestamp) -> bool {
        let mut replaced = false;
        for index in 0..self.points.len() {
            let (point, later) = (self.points[index], &self.points[index + 1..]);
            let same = |other: &Stored| {
                other.key.length == point.key.length && self.compare(&point, other, received).is_eq()
            };
            if later.iter().any(same) {
                self.points[index].key = Span::EMPTY;
                replaced = true;
            }
        }
        replaced
    }

    fn mark_replaced_by_sorting(&mut self, received: Timestamp) -> bool {
        let mut order = std::mem::take(&mut self.order);
        order.clear();
        order.extend(0..self.points.len());
        order.sort_unstable_by(|&a, &b| {
            self.compare(&self.points[a], &self.points[b], received).then(a.cmp(&b))
        });
        let mut replaced = false;
        for pair in order.windows(2) {
            if self.compare(&self.points[pair[0]], &self.points[pair[1]], received).is_eq() {
                self.points[pair[0]].key = Span::EMPTY;
                replaced = true;
            }
        }
        self.order = order;
        replaced
    }

    fn compare(&self, a: &Stored, b: &Stored, received: Timestamp) -> Ordering {
        let (time_a, time_b) = (a.ts.unwrap_or(received), b.ts.unwrap_or(received));
        time_a.cmp(&time_b).then_with(|| self.slice(a.key).cmp(self.slice(b.key)))
    }
}
