//! Frames in CBOR: the same objects as in JSON, with byte strings for raw changes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use serde_json::{Map, Number, Value};

/// Levels of nesting in a client's frame. Ours are as deep as documents are, and encoded from values that exist.
const DEPTH: usize = 8;

type Wrong = minicbor::encode::Error<std::convert::Infallible>;

/// A frame; its `changes`, where it has any, are base64 and become byte strings.
pub(super) fn encode(frame: &Value, changes: Option<&Value>) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to a Vec cannot fail.
    let _ = write(&mut Encoder::new(&mut out), frame, changes);
    out
}

fn write(e: &mut Encoder<&mut Vec<u8>>, value: &Value, changes: Option<&Value>) -> Result<(), Wrong> {
    match value {
        Value::Null => drop(e.null()?),
        Value::Bool(value) => drop(e.bool(*value)?),
        Value::Number(number) => match (number.as_u64(), number.as_i64()) {
            (Some(n), _) => drop(e.u64(n)?),
            (None, Some(n)) => drop(e.i64(n)?),
            (None, None) => drop(e.f64(number.as_f64().unwrap_or(f64::NAN))?),
        },
        Value::String(text) => drop(e.str(text)?),
        Value::Array(elements) => {
            e.array(elements.len() as u64)?;
            elements.iter().try_for_each(|element| write(e, element, None))?;
        }
        Value::Object(members) => {
            e.map(members.len() as u64)?;
            for (key, value) in members {
                e.str(key)?;
                match changes.filter(|_| key == "changes") {
                    Some(changes) => write_bytes(e, changes)?,
                    None => write(e, value, None)?,
                }
            }
        }
    }
    Ok(())
}

fn write_bytes(e: &mut Encoder<&mut Vec<u8>>, texts: &Value) -> Result<(), Wrong> {
    let texts = texts.as_array().map(Vec::as_slice).unwrap_or_default();
    e.array(texts.len() as u64)?;
    for text in texts {
        e.bytes(&BASE64.decode(text.as_str().unwrap_or_default()).unwrap_or_default())?;
    }
    Ok(())
}

/// # Errors
/// What is wrong with it, in words.
pub(super) fn decode(bytes: &[u8]) -> Result<Value, String> {
    let d = &mut Decoder::new(bytes);
    let value = read(d, DEPTH).map_err(|error| error.to_string())?;
    if d.position() == bytes.len() { Ok(value) } else { Err("bytes after the frame".into()) }
}

fn read(d: &mut Decoder<'_>, depth: usize) -> Result<Value, minicbor::decode::Error> {
    let wrong = |what: &str| minicbor::decode::Error::message(what.to_owned());
    if depth == 0 {
        return Err(wrong("too deep"));
    }
    Ok(match d.datatype()? {
        Type::Null => {
            d.null()?;
            Value::Null
        }
        Type::Bool => d.bool()?.into(),
        Type::U8 | Type::U16 | Type::U32 | Type::U64 => d.u64()?.into(),
        Type::I8 | Type::I16 | Type::I32 | Type::I64 => d.i64()?.into(),
        Type::F16 | Type::F32 | Type::F64 => Number::from_f64(d.f64()?).map_or(Value::Null, Value::Number),
        Type::String => d.str()?.into(),
        Type::Array => {
            let count = d.array()?.ok_or_else(|| wrong("a list without a length"))?;
            let mut elements = Vec::new();
            for _ in 0..count {
                elements.push(read(d, depth - 1)?);
            }
            elements.into()
        }
        Type::Map => {
            let count = d.map()?.ok_or_else(|| wrong("a map without a length"))?;
            let mut members = Map::new();
            for _ in 0..count {
                let key = d.str()?.to_owned();
                if members.insert(key, read(d, depth - 1)?).is_some() {
                    return Err(wrong("a member twice"));
                }
            }
            members.into()
        }
        other => return Err(wrong(&format!("{other}, which no frame has"))),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_frame_comes_back_from_its_bytes() {
        let frame =
            json!({"type": "x", "n": [0, -1, 1.5, u64::MAX, i64::MIN], "t": "é", "b": [true, null, {}]});
        assert_eq!(decode(&encode(&frame, None)), Ok(frame));
    }

    #[test]
    fn raw_changes_are_byte_strings() {
        let bytes = encode(&json!({"changes": null}), Some(&json!(["AAEC"])));
        assert_eq!(bytes, b"\xa1\x67changes\x81\x43\x00\x01\x02");
    }

    #[test]
    fn garbage_is_refused() {
        for garbage in
            [&b""[..], b"\xa1", b"\x9f\xff", b"\x00\x00", b"\x43abc", &[0x81; 100], b"\xa2\x61a\x00\x61a\x00"]
        {
            assert!(decode(garbage).is_err(), "{garbage:x?}");
        }
    }
}
