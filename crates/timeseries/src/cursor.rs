//! Where an answer ended, so that the next one goes on there: every sample once, whatever comes in between.

use std::collections::BTreeMap;

use prost::Message;

/// The place after an answer: what of the range is left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// The range of the first answer, microseconds since 1970.
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// Keys that have more: samples before this time. Times of a key differ, so a time is a place.
    pub(crate) before: BTreeMap<Box<str>, i64>,
    /// Keys after this one have not come yet; without it there are none.
    pub(crate) unread_after: Option<Box<str>>,
}

/// How a cursor travels: keys that stopped at the same time, as those of one message do, share it.
#[derive(Clone, PartialEq, Message)]
struct Encoded {
    #[prost(sint64, tag = "1")]
    from: i64,
    #[prost(sint64, tag = "2")]
    to: i64,
    #[prost(message, repeated, tag = "3")]
    places: Vec<EncodedPlace>,
    #[prost(string, optional, tag = "4")]
    unread_after: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
struct EncodedPlace {
    #[prost(sint64, tag = "1")]
    before: i64,
    #[prost(string, repeated, tag = "2")]
    keys: Vec<String>,
}

impl Cursor {
    /// The cursor as bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut places: BTreeMap<i64, Vec<String>> = BTreeMap::new();
        for (key, before) in &self.before {
            places.entry(*before).or_default().push(key.to_string());
        }
        let places = places.into_iter().map(|(before, keys)| EncodedPlace { before, keys }).collect();
        let unread_after = self.unread_after.as_deref().map(str::to_owned);
        Encoded { from: self.from, to: self.to, places, unread_after }.encode_to_vec()
    }

    /// Reads what [`Self::encode`] wrote; none if it is something else.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let Encoded { from, to, places, unread_after } = Encoded::decode(bytes).ok()?;
        let mut before = BTreeMap::new();
        for place in places {
            before.extend(place.keys.into_iter().map(|key| (key.into_boxed_str(), place.before)));
        }
        let cursor = Self { from, to, before, unread_after: unread_after.map(Into::into) };
        (from < to && !cursor.is_end()).then_some(cursor)
    }

    /// Whether a sample is still to come.
    pub(crate) fn wants(&self, key: &str, ts: i64) -> bool {
        match self.before.get(key) {
            Some(before) => ts < *before,
            None => self.unread_after.as_deref().is_some_and(|last| key > last),
        }
    }

    /// Whether nothing is left.
    pub(crate) fn is_end(&self) -> bool {
        self.before.is_empty() && self.unread_after.is_none()
    }

    /// The end of what is left, exclusive.
    pub(crate) fn end(&self) -> i64 {
        match self.unread_after {
            None => self.before.values().copied().max().unwrap_or(self.to).min(self.to),
            Some(_) => self.to,
        }
    }

    /// Which of some keys have something left; of all keys, those that are known.
    pub(crate) fn keys(&self, asked: Vec<Box<str>>) -> Vec<Box<str>> {
        if self.unread_after.is_some() {
            return asked;
        }
        let known = self.before.keys();
        known.filter(|key| asked.is_empty() || asked.binary_search(key).is_ok()).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let before: BTreeMap<Box<str>, i64> =
            [("a", -5), ("b", 7), ("c", 7)].map(|(key, ts)| (key.into(), ts)).into();
        let some = Cursor { from: -9, to: 9, before, unread_after: None };
        let rest = Cursor { from: 0, to: 9, before: BTreeMap::new(), unread_after: Some("c".into()) };
        for cursor in [some, rest] {
            assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
        for bytes in [&b""[..], b"pump-7", &Cursor { from: 0, to: 9, ..Cursor::default() }.encode()] {
            assert_eq!(Cursor::decode(bytes), None, "{bytes:?}");
        }
    }
}
