//! SenML records in CBOR (RFC 8428, 6).

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use drover_model::Timestamp;
use minicbor::Decoder;
use minicbor::data::Type;

use super::{Label, Pack, Record};
use crate::PayloadError;
use crate::assembly::Assembly;
use crate::cbor::{Items, Key, any_number, expect_end, key, text, unexpected};

/// Reads a list of records.
pub(crate) fn decode(
    payload: &[u8],
    received: Timestamp,
    assembly: &mut Assembly<'_>,
) -> Result<(), PayloadError> {
    let mut reader = Decoder::new(payload);
    let mut pack = Pack::new(received, assembly);
    if !matches!(reader.datatype()?, Type::Array | Type::ArrayIndef) {
        return Err(unexpected(&reader, "expected an array of SenML records"));
    }
    let mut records = Items::of_array(&mut reader)?;
    while records.next(&mut reader)? {
        pack.record += 1;
        let record = read_record(&mut reader, &pack)?;
        pack.resolve(&record)?;
    }
    expect_end(&reader)
}

fn read_record<'b>(reader: &mut Decoder<'b>, pack: &Pack<'_, '_>) -> Result<Record<'b>, PayloadError> {
    let mut record = Record::default();
    let mut fields = Items::of_map(reader)?;
    while fields.next(reader)? {
        let label = match key(reader)? {
            Key::Integer(label) => Label::of_integer(label),
            Key::Text(label) => Label::of_text(&label).ok_or_else(|| pack.must_understand(&label))?,
        };
        match label {
            Label::BaseName => record.base_name = Some(text(reader)?),
            Label::Name => record.name = Some(text(reader)?),
            Label::Text => record.text = Some(text(reader)?),
            Label::Bytes => record.bytes = Some(Cow::Owned(base64url(reader)?)),
            Label::Boolean => record.boolean = Some(reader.bool()?),
            other => match record.number(other) {
                Some(number) => *number = Some(any_number(reader)?.as_f64()),
                None => reader.skip()?,
            },
        }
    }
    Ok(record)
}

/// A byte string of known or unknown length as base64url text.
fn base64url(reader: &mut Decoder<'_>) -> Result<String, PayloadError> {
    match reader.datatype()? {
        Type::Bytes => Ok(URL_SAFE_NO_PAD.encode(reader.bytes()?)),
        Type::BytesIndef => {
            let mut bytes = Vec::new();
            for piece in reader.bytes_iter()? {
                bytes.extend_from_slice(piece?);
            }
            Ok(URL_SAFE_NO_PAD.encode(bytes))
        }
        _ => Err(unexpected(reader, "expected a byte string")),
    }
}
