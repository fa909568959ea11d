//! JSON (RFC 8259) to points, in one pass of serde's visitors; no tree is built.

use std::fmt;
use std::io;

use serde::Deserializer as _;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use crate::PayloadError;
use crate::assembly::{Assembly, Base, Number};

/// Reads a telemetry payload.
pub(crate) fn decode(payload: &[u8], assembly: &mut Assembly<'_>) -> Result<(), PayloadError> {
    read(payload, "JSON", assembly, |assembly, reader| reader.deserialize_any(Message(assembly)))
}

/// Reads any one JSON object.
pub(crate) fn check_object(payload: &[u8], assembly: &mut Assembly<'_>) -> Result<(), PayloadError> {
    read(payload, "JSON", assembly, |assembly, reader| reader.deserialize_map(Object(assembly))).map_err(
        |error| match error {
            PayloadError::Syntax { detail, .. } => PayloadError::Event { detail },
            other => other,
        },
    )
}

type Reader<'de> = serde_json::Deserializer<serde_json::de::StrRead<'de>>;

/// Runs a reader over the whole payload and turns its error into ours.
pub(crate) fn read<'de, 'a>(
    payload: &'de [u8],
    format: &'static str,
    assembly: &mut Assembly<'a>,
    run: impl FnOnce(&mut Assembly<'a>, &mut Reader<'de>) -> serde_json::Result<()>,
) -> Result<(), PayloadError> {
    let text = std::str::from_utf8(payload)
        .map_err(|error| PayloadError::NotUtf8 { position: error.valid_up_to() })?;
    let mut reader = serde_json::Deserializer::from_str(text);
    run(assembly, &mut reader).and_then(|()| reader.end()).map_err(|error| {
        assembly.failure.take().unwrap_or_else(|| PayloadError::Syntax { format, detail: error.to_string() })
    })
}

/// Keeps our error and gives serde one to stop with.
#[cold]
pub(crate) fn stop<E: de::Error>(assembly: &mut Assembly<'_>, error: PayloadError) -> E {
    assembly.failure = Some(error);
    E::custom("refused")
}

/// Passes our error on through serde.
macro_rules! pass {
    ($assembly:expr, $result:expr) => {
        match $result {
            Ok(value) => value,
            Err(error) => return Err(stop($assembly, error)),
        }
    };
}

/// The payload: a telemetry object or an array of them.
struct Message<'m, 'a>(&'m mut Assembly<'a>);

impl<'de> Visitor<'de> for Message<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of key and value, an object of \"ts\" and \"values\", or an array of these")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Telemetry(self.0).visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<(), A::Error> {
        pass!(self.0, self.0.enter());
        while sequence.next_element_seed(Telemetry(self.0))?.is_some() {}
        self.0.leave();
        Ok(())
    }
}

/// One telemetry object, of either form.
struct Telemetry<'m, 'a>(&'m mut Assembly<'a>);

impl<'de> DeserializeSeed<'de> for Telemetry<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Telemetry<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of key and value, or an object of \"ts\" and \"values\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        pass!(self.0, self.0.begin_object());
        members(self.0, &mut map, Base::TOP)?;
        pass!(self.0, self.0.end_object());
        Ok(())
    }
}

fn members<'de, A: MapAccess<'de>>(
    assembly: &mut Assembly<'_>,
    map: &mut A,
    base: Base,
) -> Result<(), A::Error> {
    while map.next_key_seed(Key { assembly, base })?.is_some() {
        map.next_value_seed(Member(assembly))?;
    }
    Ok(())
}

struct Key<'m, 'a> {
    assembly: &'m mut Assembly<'a>,
    base: Base,
}

impl<'de> DeserializeSeed<'de> for Key<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<(), E> {
        pass!(self.assembly, self.assembly.key(self.base, key));
        Ok(())
    }
}

/// The value of the current key.
struct Member<'m, 'a>(&'m mut Assembly<'a>);

impl<'de> DeserializeSeed<'de> for Member<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Member<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, true, false, a text, an object, an array or null")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.0.null();
        Ok(())
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        pass!(self.0, self.0.boolean(value));
        Ok(())
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        pass!(self.0, self.0.number(Number::Int(value)));
        Ok(())
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        pass!(self.0, self.0.number(Number::Uint(value)));
        Ok(())
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        pass!(self.0, self.0.number(Number::Float(value)));
        Ok(())
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        pass!(self.0, self.0.text(value));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let base = pass!(self.0, self.0.begin_nested());
        members(self.0, &mut map, base)?;
        self.0.end_nested(base);
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, sequence: A) -> Result<(), A::Error> {
        let start = self.0.begin_text();
        Compact { assembly: self.0, start }.visit_seq(sequence)?;
        pass!(self.0, self.0.end_text(start));
        Ok(())
    }
}

/// Any object, whatever is in it.
struct Object<'m, 'a>(&'m mut Assembly<'a>);

impl<'de> Visitor<'de> for Object<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Compact { assembly: self.0, start: 0 }.visit_map(map)
    }
}

/// Writes a value as JSON without spaces to the end of the text that began at `start`.
struct Compact<'m, 'a> {
    assembly: &'m mut Assembly<'a>,
    start: usize,
}

impl<'a> Compact<'_, 'a> {
    fn inner(&mut self) -> Compact<'_, 'a> {
        Compact { assembly: self.assembly, start: self.start }
    }

    fn write<E: de::Error>(self, piece: &str) -> Result<(), E> {
        self.assembly.out.text.push_str(piece);
        pass!(self.assembly, self.assembly.check_text(self.start));
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Compact<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Compact<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.write("null")
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        self.write(if value { "true" } else { "false" })
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        write_json(&mut self.assembly.out.text, &value);
        self.write("")
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        write_json(&mut self.assembly.out.text, &value);
        self.write("")
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        write_json(&mut self.assembly.out.text, &value);
        self.write("")
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<(), E> {
        write_json(&mut self.assembly.out.text, value);
        self.write("")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut sequence: A) -> Result<(), A::Error> {
        pass!(self.assembly, self.assembly.enter());
        self.assembly.out.text.push('[');
        let mut any = false;
        while sequence.next_element_seed(After { comma: any, compact: self.inner() })?.is_some() {
            any = true;
        }
        self.assembly.leave();
        self.write("]")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        pass!(self.assembly, self.assembly.enter());
        self.assembly.out.text.push('{');
        let mut any = false;
        while map.next_key_seed(After { comma: any, compact: self.inner() })?.is_some() {
            any = true;
            self.assembly.out.text.push(':');
            map.next_value_seed(self.inner())?;
        }
        self.assembly.leave();
        self.write("}")
    }
}

/// An element or a key, after a comma unless it is the first.
struct After<'m, 'a> {
    comma: bool,
    compact: Compact<'m, 'a>,
}

impl<'de> DeserializeSeed<'de> for After<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.comma {
            self.compact.assembly.out.text.push(',');
        }
        deserializer.deserialize_any(self.compact)
    }
}

/// Appends a number or a text as JSON.
pub(crate) fn write_json(text: &mut String, value: &(impl serde::Serialize + ?Sized)) {
    struct Appended<'t>(&'t mut String);
    impl io::Write for Appended<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push_str(std::str::from_utf8(bytes).map_err(io::Error::other)?);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    serde_json::to_writer(Appended(text), value)
        .expect("serde_json writes numbers and texts as whole UTF-8 pieces");
}
