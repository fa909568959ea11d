//! SenML records in JSON (RFC 8428, 5).

use std::borrow::Cow;
use std::fmt;

use drover_model::Timestamp;
use serde::Deserializer as _;
use serde::de::{self, Deserialize, DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Label, Pack, Record};
use crate::PayloadError;
use crate::assembly::Assembly;
use crate::json::{read, stop};

/// Reads a list of records.
pub(crate) fn decode(
    payload: &[u8],
    received: Timestamp,
    assembly: &mut Assembly<'_>,
) -> Result<(), PayloadError> {
    read(payload, "SenML JSON", assembly, |assembly, reader| {
        reader.deserialize_seq(List(Pack::new(received, assembly)))
    })
}

struct List<'m, 'a>(Pack<'m, 'a>);

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of SenML records")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<(), A::Error> {
        while sequence.next_element_seed(OneRecord(&mut self.0))?.is_some() {}
        Ok(())
    }
}

struct OneRecord<'r, 'm, 'a>(&'r mut Pack<'m, 'a>);

impl<'de> DeserializeSeed<'de> for OneRecord<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for OneRecord<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a SenML record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let pack = self.0;
        pack.record += 1;
        let mut record = Record::default();
        while let Some(Text(name)) = map.next_key()? {
            let Some(label) = Label::of_text(&name) else {
                let error = pack.must_understand(&name);
                return Err(stop(pack.assembly, error));
            };
            match label {
                Label::BaseName => record.base_name = Some(map.next_value::<Text<'_>>()?.0),
                Label::Name => record.name = Some(map.next_value::<Text<'_>>()?.0),
                Label::Text => record.text = Some(map.next_value::<Text<'_>>()?.0),
                Label::Bytes => {
                    let text = map.next_value::<Text<'_>>()?.0;
                    // RFC 8428, 4.3. One character alone of a group of four holds no byte (RFC 4648, 4).
                    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
                    if !text.bytes().all(legal) || text.len() % 4 == 1 {
                        let error = pack.wrong("\"vd\" is not base64url without padding");
                        return Err(stop(pack.assembly, error));
                    }
                    record.bytes = Some(text);
                }
                Label::Boolean => record.boolean = Some(map.next_value()?),
                other => match record.number(other) {
                    Some(number) => *number = Some(map.next_value()?),
                    None => {
                        map.next_value::<IgnoredAny>()?;
                    }
                },
            }
        }
        pack.resolve(&record).map_err(|error| stop(pack.assembly, error))
    }
}

/// A text, borrowed from the payload where it has no escapes.
struct Text<'p>(Cow<'p, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyText;
        impl<'de> Visitor<'de> for AnyText {
            type Value = Text<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }
            fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(AnyText)
    }
}
