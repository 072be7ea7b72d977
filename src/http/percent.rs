//! Percent-encoding of ids in paths and queries. Read strictly: an id must not have two meanings.

use std::borrow::Cow;

use super::problem::{MALFORMED, Problem};

const HEX: &[u8; 16] = b"0123456789ABCDEF";

/// # Errors
/// `MALFORMED` where a `%` is not followed by two hex digits, or what comes out is not UTF-8.
pub(super) fn decode(text: &str) -> Result<Cow<'_, str>, Problem> {
    let Some(first) = text.find('%') else { return Ok(Cow::Borrowed(text)) };
    let mut out = Vec::with_capacity(text.len());
    out.extend_from_slice(&text.as_bytes()[..first]);
    let mut rest = &text.as_bytes()[first..];
    while let Some((&byte, after)) = rest.split_first() {
        if byte != b'%' {
            out.push(byte);
            rest = after;
            continue;
        }
        let [high, low, ..] = *after else { return Err(malformed(text)) };
        let (Some(high), Some(low)) = (digit(high), digit(low)) else { return Err(malformed(text)) };
        out.push(high << 4 | low);
        rest = &after[2..];
    }
    String::from_utf8(out).map(Cow::Owned).map_err(|_| malformed(text))
}

/// So that it may stand in a path or in a query's value. Slashes stay.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(HEX[usize::from(byte >> 4)]));
            out.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
    out
}

fn digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

fn malformed(text: &str) -> Problem {
    let shown: String = text.chars().take(80).collect();
    Problem::new(&MALFORMED, format!("{shown:?} is not percent-encoded UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_encoded_is_decoded() {
        for text in ["", "plain", "a b/ü/%/+&=?#", "日本", "\u{1}"] {
            let encoded = encode(text);
            assert!(encoded.is_ascii() && !encoded.contains([' ', '&', '+', '?', '#']), "{encoded}");
            assert_eq!(decode(&encoded).expect("well-formed"), text);
        }
        assert_eq!(decode("%c3%BC%2f").expect("either case"), "ü/");
    }

    #[test]
    fn bad_encoding_is_refused() {
        for text in ["%", "%4", "a%zz", "%ff", "%+1", "%c3"] {
            assert!(decode(text).is_err(), "{text}");
        }
        assert_eq!(decode("%41").expect("good"), "A");
    }
}
