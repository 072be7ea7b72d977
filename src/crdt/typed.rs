//! JSON values and what they stand for: texts, counters, times and bytes, which JSON has no word for.

use std::borrow::Cow;
use std::hash::{Hash, Hasher};

use automerge::hydrate;
use automerge::{ScalarValue, ScalarValueRef, TextEncoding};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustc_hash::FxHasher;
use serde_json::{Map, Value};

use super::EditError;
use super::json::step;
use crate::base::limits::MAX_DEPTH;

/// A value that has been read, from a request or from a document.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    Int(i64),
    /// Above `i64::MAX`; what is not, is an `Int`.
    Uint(u64),
    Float(f64),
    Str(Cow<'a, str>),
    Text(Cow<'a, str>),
    Counter(i64),
    /// Milliseconds since 1970, within the years that have a name in RFC 3339.
    Timestamp(i64),
    Bytes(Cow<'a, [u8]>),
    /// In ascending byte order of the keys.
    Map(Vec<(Cow<'a, str>, Node<'a>)>),
    List(Vec<Node<'a>>),
}

impl<'a> Node<'a> {
    /// Reads a value of a request. `level` is its level in the document; the root's is 1.
    ///
    /// # Errors
    /// `Refused`, with the pointer in `value`, for what is outside the mapping.
    pub fn read(value: &'a Value, level: usize) -> Result<Self, EditError> {
        Ok(match value {
            Value::Null => Node::Null,
            Value::Bool(value) => Node::Bool(*value),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(n), _) => Node::Int(n),
                (None, Some(n)) => Node::Uint(n),
                (None, None) => Node::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Node::Str(Cow::Borrowed(text)),
            Value::Array(elements) => {
                bounded(level)?;
                let read = |(i, value)| Node::read(value, level + 1).map_err(|e| e.under(&format!("/{i}")));
                Node::List(elements.iter().enumerate().map(read).collect::<Result<_, _>>()?)
            }
            Value::Object(members) => match word(members)? {
                Some(node) => node,
                None => {
                    bounded(level)?;
                    let read = |(key, value): (&'a String, &'a Value)| {
                        let node = Node::read(value, level + 1).map_err(|e| e.under(&step(key)))?;
                        Ok((Cow::Borrowed(literal(key)?), node))
                    };
                    // Taking a `$` from all keys that begin with one leaves them in order.
                    Node::Map(members.iter().map(read).collect::<Result<_, EditError>>()?)
                }
            },
        })
    }

    /// How a document's value reads. Plainly, what has no word in JSON becomes a string or a number.
    pub fn shown(scalar: &'a ScalarValueRef<'_>, typed: bool) -> Self {
        match scalar {
            ScalarValueRef::Null => Node::Null,
            ScalarValueRef::Boolean(value) => Node::Bool(*value),
            ScalarValueRef::Int(n) => Node::Int(*n),
            ScalarValueRef::Uint(n) => i64::try_from(*n).map_or(Node::Uint(*n), Node::Int),
            ScalarValueRef::F64(n) if n.is_finite() => Node::Float(*n),
            ScalarValueRef::F64(_) => Node::Null,
            ScalarValueRef::Str(text) => Node::Str(Cow::Borrowed(text)),
            ScalarValueRef::Counter(n) if typed => Node::Counter(*n),
            ScalarValueRef::Counter(n) => Node::Int(*n),
            ScalarValueRef::Timestamp(ms) => match time_text(*ms) {
                Some(_) if typed => Node::Timestamp(*ms),
                Some(text) => Node::Str(Cow::Owned(text)),
                None => Node::Int(*ms),
            },
            ScalarValueRef::Bytes(bytes) | ScalarValueRef::Unknown { bytes, .. } if typed => {
                Node::Bytes(Cow::Borrowed(bytes))
            }
            ScalarValueRef::Bytes(bytes) | ScalarValueRef::Unknown { bytes, .. } => {
                Node::Str(Cow::Owned(BASE64.encode(bytes)))
            }
        }
    }

    /// Lets go of what it was read from.
    pub fn into_owned(self) -> Node<'static> {
        match self {
            Node::Null => Node::Null,
            Node::Text(text) => Node::Text(Cow::Owned(text.into_owned())),
            Node::Map(members) => Node::Map(
                members
                    .into_iter()
                    .map(|(key, node)| (Cow::Owned(key.into_owned()), node.into_owned()))
                    .collect(),
            ),
            Node::List(elements) => Node::List(elements.into_iter().map(Node::into_owned).collect()),
            Node::Bool(value) => Node::Bool(value),
            Node::Int(n) => Node::Int(n),
            Node::Uint(n) => Node::Uint(n),
            Node::Float(n) => Node::Float(n),
            Node::Str(text) => Node::Str(Cow::Owned(text.into_owned())),
            Node::Counter(n) => Node::Counter(n),
            Node::Timestamp(ms) => Node::Timestamp(ms),
            Node::Bytes(bytes) => Node::Bytes(Cow::Owned(bytes.into_owned())),
        }
    }

    /// What Automerge keeps in one field; None for texts, maps and lists.
    pub fn scalar(&self) -> Option<ScalarValue> {
        Some(match self {
            Node::Null => ScalarValue::Null,
            Node::Bool(value) => ScalarValue::Boolean(*value),
            Node::Int(n) => ScalarValue::Int(*n),
            Node::Uint(n) => ScalarValue::Uint(*n),
            Node::Float(n) => ScalarValue::F64(*n),
            Node::Str(text) => ScalarValue::Str(text.as_ref().into()),
            Node::Counter(n) => ScalarValue::counter(*n),
            Node::Timestamp(ms) => ScalarValue::Timestamp(*ms),
            Node::Bytes(bytes) => ScalarValue::Bytes(bytes.to_vec()),
            Node::Text(_) | Node::Map(_) | Node::List(_) => return None,
        })
    }

    /// The whole as Automerge takes it in one step.
    pub fn hydrate(&self, encoding: TextEncoding, strings_are_text: bool) -> hydrate::Value {
        match self {
            Node::Map(members) => hydrate::Value::Map(
                members
                    .iter()
                    .map(|(key, node)| (key.as_ref(), node.hydrate(encoding, strings_are_text)))
                    .collect::<std::collections::HashMap<_, _>>()
                    .into(),
            ),
            Node::List(elements) => hydrate::Value::List(
                elements
                    .iter()
                    .map(|node| node.hydrate(encoding, strings_are_text))
                    .collect::<Vec<_>>()
                    .into(),
            ),
            Node::Text(text) => hydrate::Value::text(encoding, text),
            Node::Str(text) if strings_are_text => hydrate::Value::text(encoding, text),
            scalar => hydrate::Value::Scalar(scalar.scalar().unwrap_or(ScalarValue::Null)),
        }
    }

    /// A hash of how it reads plainly, so that a text and the string written over it have the same. Equal
    /// hashes only suggest equal values.
    pub fn mark(&self) -> u64 {
        match self {
            Node::Map(members) => map_mark(members.iter().map(|(key, node)| (key.as_ref(), node.mark()))),
            Node::List(elements) => list_mark(elements.iter().map(Node::mark)),
            Node::Null => mark((0, 0)),
            Node::Bool(value) => mark((1, *value)),
            Node::Int(n) | Node::Counter(n) => mark((2, *n)),
            Node::Uint(n) => mark((2, *n)),
            Node::Float(n) => mark((3, n.to_bits())),
            Node::Str(text) | Node::Text(text) => text_mark(text),
            Node::Timestamp(ms) => text_mark(&time_text(*ms).unwrap_or_default()),
            Node::Bytes(bytes) => text_mark(&BASE64.encode(bytes)),
        }
    }
}

fn mark(value: impl Hash) -> u64 {
    let mut hasher = FxHasher::default();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The [`Node::mark`] of a string or text.
pub(super) fn text_mark(text: &str) -> u64 {
    mark((4, text))
}

/// The [`Node::mark`] of a list of elements with these marks.
pub(super) fn list_mark(marks: impl Iterator<Item = u64>) -> u64 {
    let mut hasher = FxHasher::default();
    5.hash(&mut hasher);
    marks.for_each(|mark| mark.hash(&mut hasher));
    hasher.finish()
}

/// The [`Node::mark`] of a map of members with these marks, in ascending order of the keys.
pub(super) fn map_mark<'k>(members: impl Iterator<Item = (&'k str, u64)>) -> u64 {
    let mut hasher = FxHasher::default();
    6.hash(&mut hasher);
    members.for_each(|member| member.hash(&mut hasher));
    hasher.finish()
}

/// A time as RFC 3339, if its year has a name there.
pub(super) fn time_text(ms: i64) -> Option<String> {
    jiff::Timestamp::from_millisecond(ms).ok().map(|time| time.to_string())
}

/// The time or bytes of which `text` is exactly the plain reading.
pub(super) fn time_shown_as(text: &str) -> Option<i64> {
    let ms = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
    (time_text(ms)? == text).then_some(ms)
}

/// As [`time_shown_as`].
pub(super) fn bytes_shown_as(text: &str) -> Option<Vec<u8>> {
    BASE64.decode(text).ok()
}

fn bounded(level: usize) -> Result<(), EditError> {
    if level > MAX_DEPTH {
        return Err(EditError::refused("", format!("more than {MAX_DEPTH} levels deep in the document")));
    }
    Ok(())
}

/// The key that is meant by the one written, in which `$` is doubled at the beginning.
fn literal(key: &str) -> Result<&str, EditError> {
    match key.strip_prefix('$') {
        None => Ok(key),
        Some(rest) if rest.starts_with('$') => Ok(rest),
        Some(_) => Err(EditError::refused(
            step(key),
            format!("a literal key that begins with $ is written \"${key}\""),
        )),
    }
}

/// What an object with one of our words as its only member stands for.
fn word(members: &Map<String, Value>) -> Result<Option<Node<'_>>, EditError> {
    let (Some((key, value)), 1) = (members.iter().next(), members.len()) else { return Ok(None) };
    let read = match (key.as_str(), value) {
        ("$text", Value::String(text)) => Ok(Node::Text(Cow::Borrowed(text))),
        ("$text", _) => Err("a text is a string"),
        ("$counter", value) => value.as_i64().map(Node::Counter).ok_or("a counter is an integer of 64 bits"),
        ("$timestamp", value) => time(value).map(Node::Timestamp),
        ("$bytes", value) => match value.as_str().map(|text| BASE64.decode(text)) {
            Some(Ok(bytes)) => Ok(Node::Bytes(Cow::Owned(bytes))),
            _ => Err("bytes are a string of base64, with + and / and padding"),
        },
        _ => return Ok(None),
    };
    read.map(Some).map_err(|reason| EditError::refused(step(key), reason))
}

fn time(value: &Value) -> Result<i64, &'static str> {
    let time = value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let time = time.ok_or("a timestamp is a string as in RFC 3339, like \"2026-01-31T12:00:00Z\"")?;
    let ms = time.as_millisecond();
    if jiff::Timestamp::from_millisecond(ms).is_ok_and(|rounded| rounded == time) {
        Ok(ms)
    } else {
        Err("times are kept to the millisecond")
    }
}
