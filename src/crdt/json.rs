//! JSON as it comes in, read strictly.
//!
//! `serde_json` does the reading. What it would let pass is caught here while the value is built: the
//! second of two equal keys, nesting past the limit, and integers beyond 64 bits, which it hands over as
//! floats. The last are told from real floats by looking at the text again ([`Numbers`]), which also gives
//! the floats exactly.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::base::limits::MAX_DEPTH;

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum JsonError {
    /// Not JSON, or not UTF-8.
    #[error("not JSON: {0}")]
    Syntax(String),
    /// JSON that this store does not take: duplicate keys, numbers beyond 64 bits, nesting past `MAX_DEPTH`.
    #[error("{pointer:?}: {reason}")]
    Refused { pointer: String, reason: String },
}

const OUT_OF_RANGE: &str = "a number beyond 64 bits";

/// Reads one JSON text and nothing after it. Of the numbers, those with fraction or exponent become floats,
/// all others integers (`-0` is 0).
///
/// # Errors
/// As told in [`JsonError`].
pub fn parse_json(text: &[u8]) -> Result<Value, JsonError> {
    parse_json_around(text, 0)
}

/// The same, of a text that stands `levels` around the values that are limited in depth.
///
/// # Errors
/// As told in [`JsonError`].
pub fn parse_json_around(text: &[u8], levels: usize) -> Result<Value, JsonError> {
    let numbers = Numbers { text, next: 0 };
    let mut reader = Reader { numbers, left: MAX_DEPTH + levels, path: Vec::new(), refusal: None };
    let mut parser = serde_json::Deserializer::from_slice(text);
    let read = Seed(&mut reader).deserialize(&mut parser);
    let error = match read.and_then(|value| parser.end().map(|()| value)) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let refusal = reader.refusal.or_else(|| {
        // serde_json tells this from bad syntax in words only.
        error.to_string().starts_with("number out of range").then(|| OUT_OF_RANGE.to_owned())
    });
    Err(match refusal {
        Some(reason) => {
            JsonError::Refused { pointer: reader.path.iter().rev().map(String::as_str).collect(), reason }
        }
        None => JsonError::Syntax(error.to_string()),
    })
}

/// One step of a JSON pointer: `/`, and the key with `~` and `/` escaped.
pub(super) fn step(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

struct Reader<'a> {
    numbers: Numbers<'a>,
    /// So many objects and lists may be opened within those that are.
    left: usize,
    /// After an error: the steps to it, the innermost first.
    path: Vec<String>,
    refusal: Option<String>,
}

impl Reader<'_> {
    fn refuse<E: Error>(&mut self, reason: String) -> E {
        self.refusal = Some(reason);
        E::custom("refused")
    }

    fn open<E: Error>(&mut self) -> Result<(), E> {
        let Some(left) = self.left.checked_sub(1) else {
            return Err(self.refuse(format!("nested more than {MAX_DEPTH} levels deep")));
        };
        self.left = left;
        Ok(())
    }
}

/// The number tokens of a JSON text, one at a time, in step with the parser. Where the text is not JSON
/// they are anything, but there the parser stops before it asks for one.
struct Numbers<'a> {
    text: &'a [u8],
    next: usize,
}

impl<'a> Numbers<'a> {
    fn next(&mut self) -> &'a [u8] {
        let mut in_string = false;
        while let Some(&byte) = self.text.get(self.next) {
            match byte {
                b'"' => in_string = !in_string,
                b'\\' if in_string => self.next += 1,
                b'-' | b'0'..=b'9' if !in_string => {
                    let rest = &self.text[self.next..];
                    let more = |b: &u8| matches!(b, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                    let length = rest.iter().take_while(|b| more(b)).count();
                    self.next += length;
                    return &rest[..length];
                }
                _ => {}
            }
            self.next += 1;
        }
        &[]
    }
}

struct Seed<'r, 'a>(&'r mut Reader<'a>);

impl<'de> DeserializeSeed<'de> for Seed<'_, '_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, parser: D) -> Result<Value, D::Error> {
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        self.0.numbers.next();
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        self.0.numbers.next();
        Ok(value.into())
    }

    fn visit_f64<E: Error>(self, rounded: f64) -> Result<Value, E> {
        let token = str::from_utf8(self.0.numbers.next()).unwrap_or_default();
        if token == "-0" {
            return Ok(0.into());
        }
        if !token.contains(['.', 'e', 'E']) {
            return Err(self.0.refuse("an integer beyond 64 bits".to_owned()));
        }
        // serde_json may be off by the last bit.
        let exact = token.parse().unwrap_or(rounded);
        Number::from_f64(exact).map(Value::Number).ok_or_else(|| self.0.refuse(OUT_OF_RANGE.to_owned()))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value, A::Error> {
        let reader = self.0;
        reader.open()?;
        let mut list = Vec::new();
        loop {
            match elements.next_element_seed(Seed(reader)) {
                Ok(Some(value)) => list.push(value),
                Ok(None) => break,
                Err(error) => {
                    reader.path.push(format!("/{}", list.len()));
                    return Err(error);
                }
            }
        }
        reader.left += 1;
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let reader = self.0;
        reader.open()?;
        let mut map = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            let value = if map.contains_key(&key) {
                Err(reader.refuse("the second member with this key".to_owned()))
            } else {
                members.next_value_seed(Seed(reader))
            };
            match value {
                Ok(value) => map.insert(key, value),
                Err(error) => {
                    reader.path.push(step(&key));
                    return Err(error);
                }
            };
        }
        reader.left += 1;
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn refused(text: &str) -> (String, String) {
        match parse_json(text.as_bytes()) {
            Err(JsonError::Refused { pointer, reason }) => (pointer, reason),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn syntax(text: impl AsRef<[u8]>) -> String {
        match parse_json(text.as_ref()) {
            Err(JsonError::Syntax(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn values_are_read_as_they_are() {
        let text = r#" {"a":[1,-2,1.0,"x\n\ud83d\ude00",true,false,null,{}],"":{"b":[]}} "#;
        let value = json!({"a": [1, -2, 1.0, "x\n😀", true, false, null, {}], "": {"b": []}});
        assert_eq!(parse_json(text.as_bytes()), Ok(value));
        assert_eq!(parse_json(b"7"), Ok(json!(7)));
    }

    #[test]
    fn integers_up_to_64_bits_are_exact_and_no_floats() {
        for text in ["9223372036854775807", "-9223372036854775808", "18446744073709551615", "0"] {
            let value = parse_json(text.as_bytes()).unwrap();
            assert_eq!(value.to_string(), text);
            assert!(!value.is_f64());
        }
        assert_eq!(parse_json(b"[-0, 1]"), Ok(json!([0, 1])));
        assert!(parse_json(b"-0.0").unwrap().is_f64());
        assert!(parse_json(b"1e2").unwrap().is_f64());
        assert_eq!(parse_json(b"1e30"), Ok(json!(1e30)));
    }

    #[test]
    fn integers_beyond_64_bits_are_refused_where_they_are() {
        for number in ["18446744073709551616", "-9223372036854775809", &"9".repeat(400), &"1".repeat(60)] {
            let text = format!(r#"{{"-1 \" [2":[1.5,3,-0,"4",{{"a~/b":{number}}}]}}"#);
            assert_eq!(refused(&text).0, r#"/-1 " [2/4/a~0~1b"#, "{number}");
        }
        assert_eq!(refused("[1e400]").0, "/0");
        assert_eq!(refused("18446744073709551616").0, "");
    }

    #[test]
    fn equal_keys_are_refused_however_they_are_written() {
        assert_eq!(refused(r#"{"x":{"a/b":1,"c":2,"\u0061\/b":3}}"#).0, "/x/a~1b");
        assert!(parse_json(r#"{"x":{"a":1},"a":{"x":1}}"#.as_bytes()).is_ok());
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse_json(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(refused(&nested(MAX_DEPTH + 1)).0, "/0".repeat(MAX_DEPTH));
        assert_eq!(refused(&"[".repeat(1_000_000)).0, "/0".repeat(MAX_DEPTH));
        assert_eq!(refused(&"{\"a\":".repeat(200)).0, "/a".repeat(MAX_DEPTH));
        // Side by side is not nested.
        assert!(parse_json(format!("[{}]", vec!["[[]]"; 200].join(",")).as_bytes()).is_ok());
    }

    #[test]
    fn bad_syntax_is_told_with_line_and_column() {
        assert!(syntax("{\"a\":1,\n \"b\": x}").contains("line 2 column 7"));
        for text in [
            "",
            " ",
            "{",
            "[1,]",
            "{\"a\":1,}",
            "01",
            "+1",
            "1.",
            ".5",
            "NaN",
            "[1] 2",
            "'a'",
            "\"\t\"",
            "tru",
        ] {
            assert!(syntax(text).contains("line"), "{text}");
        }
        assert!(syntax(b"[\"\xff\"]").contains("column"));
        assert!(syntax(r#"["\ud800"]"#).contains("column"));
        assert!(syntax(r#"["\ude00"]"#).contains("column"));
        assert!(syntax("\u{feff}{}").contains("column"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(value in crate::crdt::arbitrary::value()) {
            prop_assert_eq!(parse_json(value.to_string().as_bytes()), Ok(value));
        }

        #[test]
        fn anything_is_answered(text in any::<Vec<u8>>()) {
            let ours = parse_json(&text);
            let theirs: Result<Value, _> = serde_json::from_slice(&text);
            prop_assert!(ours.is_err() || theirs.is_ok());
        }
    }
}
