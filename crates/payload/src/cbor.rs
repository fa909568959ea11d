//! CBOR (RFC 8949) to points, and the few reading steps that SenML shares.

use std::borrow::Cow;

use minicbor::Decoder;
use minicbor::data::{Int, Type};
use minicbor::decode::Error;

use crate::PayloadError;
use crate::assembly::{Assembly, Base, Number};
use crate::json::write_json;

/// Tags with a meaning here (RFC 8949, 3.4.2 and 3.4.4); the others are looked through.
const TAG_EPOCH_SECONDS: u64 = 1;
const TAG_DECIMAL_FRACTION: u64 = 4;

impl From<Error> for PayloadError {
    fn from(error: Error) -> Self {
        Self::Syntax { format: "CBOR", detail: error.to_string() }
    }
}

/// Reads a telemetry payload.
pub(crate) fn decode(payload: &[u8], assembly: &mut Assembly<'_>) -> Result<(), PayloadError> {
    let mut reader = Decoder::new(payload);
    skip_tags(&mut reader)?;
    match reader.datatype()? {
        Type::Array | Type::ArrayIndef => {
            assembly.enter()?;
            let mut items = Items::of_array(&mut reader)?;
            while items.next(&mut reader)? {
                skip_tags(&mut reader)?;
                telemetry(&mut reader, assembly)?;
            }
            assembly.leave();
        }
        _ => telemetry(&mut reader, assembly)?,
    }
    expect_end(&reader)
}

/// Refuses bytes after the one item that a payload is.
pub(crate) fn expect_end(reader: &Decoder<'_>) -> Result<(), PayloadError> {
    if reader.position() == reader.input().len() {
        return Ok(());
    }
    Err(Error::message("bytes after the end of the message").at(reader.position()).into())
}

/// One telemetry object, of either form.
fn telemetry(reader: &mut Decoder<'_>, assembly: &mut Assembly<'_>) -> Result<(), PayloadError> {
    assembly.begin_object()?;
    members(reader, assembly, Base::TOP)?;
    assembly.end_object()
}

fn members(reader: &mut Decoder<'_>, assembly: &mut Assembly<'_>, base: Base) -> Result<(), PayloadError> {
    let mut items = Items::of_map(reader)?;
    while items.next(reader)? {
        match key(reader)? {
            Key::Text(key) => assembly.key(base, &key)?,
            Key::Integer(key) => assembly.key(base, &key.to_string())?,
        }
        member(reader, assembly)?;
    }
    Ok(())
}

/// The value of the current key.
fn member(reader: &mut Decoder<'_>, assembly: &mut Assembly<'_>) -> Result<(), PayloadError> {
    let mut kind = reader.datatype()?;
    while kind == Type::Tag {
        match reader.tag()?.as_u64() {
            TAG_DECIMAL_FRACTION => return assembly.number(decimal_fraction(reader)?),
            TAG_EPOCH_SECONDS if assembly.at_ts() => {
                let seconds =
                    number(reader)?.ok_or_else(|| unexpected(reader, "expected seconds since 1970"))?;
                return assembly.number(Number::Float(seconds.as_f64() * 1_000.0));
            }
            _ => kind = reader.datatype()?,
        }
    }
    match kind {
        Type::Bool => assembly.boolean(reader.bool()?),
        Type::Null | Type::Undefined => {
            step_over(reader);
            assembly.null();
            Ok(())
        }
        Type::String => assembly.text(reader.str()?),
        Type::StringIndef => assembly.text(&text(reader)?),
        Type::Map | Type::MapIndef => {
            let base = assembly.begin_nested()?;
            members(reader, assembly, base)?;
            assembly.end_nested(base);
            Ok(())
        }
        Type::Array | Type::ArrayIndef => {
            let start = assembly.begin_text();
            compact(reader, assembly, start)?;
            assembly.end_text(start)
        }
        _ => match number(reader)? {
            Some(number) => assembly.number(number),
            None => Err(not_kept(assembly, kind)),
        },
    }
}

fn not_kept(assembly: &Assembly<'_>, kind: Type) -> PayloadError {
    match kind {
        Type::Bytes | Type::BytesIndef => assembly.refused("is a byte string; send text or numbers"),
        other => assembly.refused(format!("is of the CBOR type {other}, which has no meaning here")),
    }
}

/// Writes an item as JSON without spaces to the end of the text that began at `start`.
fn compact(reader: &mut Decoder<'_>, assembly: &mut Assembly<'_>, start: usize) -> Result<(), PayloadError> {
    skip_tags_but_decimal(reader)?;
    match reader.datatype()? {
        Type::Array | Type::ArrayIndef => compact_array(reader, assembly, start)?,
        Type::Map | Type::MapIndef => compact_map(reader, assembly, start)?,
        Type::Bool => assembly.out.text.push_str(if reader.bool()? { "true" } else { "false" }),
        Type::Null | Type::Undefined => {
            step_over(reader);
            assembly.out.text.push_str("null");
        }
        Type::String | Type::StringIndef => write_json(&mut assembly.out.text, &*text(reader)?),
        Type::Tag => {
            reader.tag()?;
            compact_number(decimal_fraction(reader)?, assembly)?;
        }
        kind => match number(reader)? {
            Some(number) => compact_number(number, assembly)?,
            None => return Err(not_kept(assembly, kind)),
        },
    }
    assembly.check_text(start)
}

fn compact_array(
    reader: &mut Decoder<'_>,
    assembly: &mut Assembly<'_>,
    start: usize,
) -> Result<(), PayloadError> {
    assembly.enter()?;
    assembly.out.text.push('[');
    let mut items = Items::of_array(reader)?;
    let mut separator = "";
    while items.next(reader)? {
        assembly.out.text.push_str(separator);
        separator = ",";
        compact(reader, assembly, start)?;
    }
    assembly.out.text.push(']');
    assembly.leave();
    Ok(())
}

fn compact_map(
    reader: &mut Decoder<'_>,
    assembly: &mut Assembly<'_>,
    start: usize,
) -> Result<(), PayloadError> {
    assembly.enter()?;
    assembly.out.text.push('{');
    let mut items = Items::of_map(reader)?;
    let mut separator = "";
    while items.next(reader)? {
        assembly.out.text.push_str(separator);
        separator = ",";
        match key(reader)? {
            Key::Text(key) => write_json(&mut assembly.out.text, &*key),
            Key::Integer(key) => write_json(&mut assembly.out.text, &key.to_string()),
        }
        assembly.out.text.push(':');
        compact(reader, assembly, start)?;
    }
    assembly.out.text.push('}');
    assembly.leave();
    Ok(())
}

fn compact_number(number: Number, assembly: &mut Assembly<'_>) -> Result<(), PayloadError> {
    let text = &mut assembly.out.text;
    match number {
        Number::Int(number) => write_json(text, &number),
        Number::Uint(number) => write_json(text, &number),
        Number::Float(number) if number.is_finite() => write_json(text, &number),
        Number::Float(_) => return Err(assembly.refused("has an element that is not a finite number")),
    }
    Ok(())
}

/// Counts the items of an array or the pairs of a map, of known or unknown length.
pub(crate) struct Items(Option<u64>);

impl Items {
    pub(crate) fn of_array(reader: &mut Decoder<'_>) -> Result<Self, Error> {
        reader.array().map(Self)
    }

    pub(crate) fn of_map(reader: &mut Decoder<'_>) -> Result<Self, Error> {
        reader.map().map(Self)
    }

    /// Whether there is one more; steps over the break that ends an unknown length.
    pub(crate) fn next(&mut self, reader: &mut Decoder<'_>) -> Result<bool, Error> {
        match &mut self.0 {
            Some(0) => Ok(false),
            Some(left) => {
                *left -= 1;
                Ok(true)
            }
            None if reader.datatype()? == Type::Break => {
                step_over(reader);
                Ok(false)
            }
            None => Ok(true),
        }
    }
}

/// Steps over an item of one byte.
fn step_over(reader: &mut Decoder<'_>) {
    reader.set_position(reader.position() + 1);
}

/// A key of a map.
pub(crate) enum Key<'b> {
    Text(Cow<'b, str>),
    Integer(i128),
}

pub(crate) fn key<'b>(reader: &mut Decoder<'b>) -> Result<Key<'b>, PayloadError> {
    skip_tags(reader)?;
    match reader.datatype()? {
        Type::String => Ok(Key::Text(Cow::Borrowed(reader.str()?))),
        Type::StringIndef => Ok(Key::Text(text(reader)?)),
        Type::U8
        | Type::U16
        | Type::U32
        | Type::U64
        | Type::I8
        | Type::I16
        | Type::I32
        | Type::I64
        | Type::Int => Ok(Key::Integer(i128::from(reader.int()?))),
        _ => Err(unexpected(reader, "expected a key that is text or an integer")),
    }
}

/// A text of known or unknown length.
pub(crate) fn text<'b>(reader: &mut Decoder<'b>) -> Result<Cow<'b, str>, PayloadError> {
    match reader.datatype()? {
        Type::String => Ok(Cow::Borrowed(reader.str()?)),
        Type::StringIndef => Ok(Cow::Owned(reader.str_iter()?.collect::<Result<String, _>>()?)),
        _ => Err(unexpected(reader, "expected text")),
    }
}

/// A number without a tag; `None`, with the reader where it was, when the item is something else.
pub(crate) fn number(reader: &mut Decoder<'_>) -> Result<Option<Number>, PayloadError> {
    Ok(Some(match reader.datatype()? {
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => Number::Uint(reader.u64()?),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => Number::Int(reader.i64()?),
        Type::Int => Number::Float(rounded(reader.int()?)),
        Type::F16 => Number::Float(f64::from(reader.f16()?)),
        Type::F32 => Number::Float(f64::from(reader.f32()?)),
        Type::F64 => Number::Float(reader.f64()?),
        _ => return Ok(None),
    }))
}

/// A number, as a decimal fraction too.
pub(crate) fn any_number(reader: &mut Decoder<'_>) -> Result<Number, PayloadError> {
    skip_tags_but_decimal(reader)?;
    if reader.datatype()? == Type::Tag {
        reader.tag()?;
        return decimal_fraction(reader);
    }
    number(reader)?.ok_or_else(|| unexpected(reader, "expected a number"))
}

/// The array of exponent and mantissa behind tag 4.
fn decimal_fraction(reader: &mut Decoder<'_>) -> Result<Number, PayloadError> {
    let mut items = Items::of_array(reader)?;
    let mut part = |reader: &mut Decoder<'_>| match items.next(reader)? {
        true => Ok(i128::from(reader.int()?)),
        false => Err(unexpected(reader, "a decimal fraction has an exponent and a mantissa")),
    };
    let (exponent, mantissa) = (part(reader)?, part(reader)?);
    if items.next(reader)? {
        return Err(unexpected(reader, "a decimal fraction has only an exponent and a mantissa"));
    }
    // Parsing rounds once; a product of floats would round twice.
    format!("{mantissa}e{exponent}")
        .parse()
        .map(Number::Float)
        .map_err(|_| unexpected(reader, "a decimal fraction out of range"))
}

#[expect(clippy::cast_precision_loss, reason = "rounding integers beyond 2^53 is documented")]
fn rounded(number: Int) -> f64 {
    i128::from(number) as f64
}

fn skip_tags(reader: &mut Decoder<'_>) -> Result<(), Error> {
    while reader.datatype()? == Type::Tag {
        reader.tag()?;
    }
    Ok(())
}

fn skip_tags_but_decimal(reader: &mut Decoder<'_>) -> Result<(), Error> {
    while reader.datatype()? == Type::Tag {
        let before = reader.position();
        if reader.tag()?.as_u64() == TAG_DECIMAL_FRACTION {
            reader.set_position(before);
            break;
        }
    }
    Ok(())
}

/// The item at the reader is of the wrong type.
pub(crate) fn unexpected(reader: &Decoder<'_>, message: &'static str) -> PayloadError {
    match reader.datatype() {
        Ok(kind) => Error::type_mismatch(kind).at(reader.position()).with_message(message).into(),
        Err(error) => error.into(),
    }
}
