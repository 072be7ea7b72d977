//! Request headers read, answer headers written: versions, tags, conditions, authors.

use axum::http::header::{IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use super::problem::{MALFORMED, Problem};
use crate::base::limits::{MAX_AUTHOR_BYTES, MAX_VERSION_HASHES};
use crate::base::{Hash, Heads, canonical_heads, version_digest};
use crate::node::{Condition, Form, Tags};

pub(super) const VERSION: HeaderName = HeaderName::from_static("version");
pub(super) const CURRENT_VERSION: HeaderName = HeaderName::from_static("current-version");
pub(super) const PARENTS: HeaderName = HeaderName::from_static("parents");
pub(super) const AUTHOR: HeaderName = HeaderName::from_static("author");
pub(super) const CONFLICTS: HeaderName = HeaderName::from_static("conflicts");
pub(super) const ACCEPT_PATCH: HeaderName = HeaderName::from_static("accept-patch");
pub(super) const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");

/// Quoted hashes with commas between, as in a header and in JSON's lists. Written by hand: two of these go
/// out with every write.
pub(super) fn push_version(out: &mut String, heads: &[Hash], comma: &str) {
    for (i, head) in heads.iter().enumerate() {
        if i > 0 {
            out.push_str(comma);
        }
        out.push('"');
        push_hex(out, &head.0);
        out.push('"');
    }
}

/// A version as a header's value. Of an absent document it is empty.
pub(super) fn version(heads: &[Hash]) -> HeaderValue {
    let mut text = String::with_capacity(68 * heads.len());
    push_version(&mut text, heads, ", ");
    value(text)
}

/// Reads a version: quoted hashes with commas between; the quotes may be left out.
///
/// # Errors
/// What is wrong, in words.
pub(super) fn parse_version(text: &str) -> Result<Heads, String> {
    let mut hashes = Vec::new();
    for item in items(text) {
        if hashes.len() == MAX_VERSION_HASHES {
            return Err(format!("names more than {MAX_VERSION_HASHES} hashes"));
        }
        let bare = item.strip_prefix('"').and_then(|item| item.strip_suffix('"')).unwrap_or(item);
        let hash = hex(bare).ok_or("is not a comma-separated list of quoted hashes of 64 hex digits")?;
        hashes.push(Hash(hash));
    }
    Ok(canonical_heads(hashes))
}

/// The version that the caller wrote at. An empty list is the version of a document that was not there.
pub(super) fn parents(headers: &HeaderMap) -> Result<Option<Heads>, Problem> {
    let Some(text) = list(headers, &PARENTS)? else { return Ok(None) };
    parse_version(&text).map(Some).map_err(|why| bad(&PARENTS, &why))
}

/// The strong tag of one representation of a version.
pub(super) fn etag(heads: &[Hash], form: Form) -> HeaderValue {
    let mut text = String::with_capacity(36);
    text.push('"');
    push_hex(&mut text, &version_digest(heads));
    text.push_str(match form {
        Form::Json => "-j\"",
        Form::TypedJson => "-t\"",
        Form::Automerge => "-a\"",
    });
    value(text)
}

/// What must hold of the version here. The tag of any representation stands for its version.
pub(super) fn condition(headers: &HeaderMap) -> Result<Condition, Problem> {
    let read = |name: HeaderName| {
        let (mut list, mut count) = (Vec::new(), 0);
        let asked = each_tag(headers, &name, |tag| {
            count += 1;
            // Only strong tags match where `If-Match` compares. A tag that is none of ours is of no version.
            if name == IF_NONE_MATCH || !tag.is_weak {
                list.extend(tag.digest().filter(|_| count <= MAX_VERSION_HASHES));
            }
        })?;
        match asked {
            None => Ok(None),
            Some(Asked::Any) => Ok(Some(Tags::Any)),
            Some(Asked::Listed) if count > MAX_VERSION_HASHES => {
                Err(bad(&name, &format!("names more than {MAX_VERSION_HASHES} tags")))
            }
            Some(Asked::Listed) => Ok(Some(Tags::These(list))),
        }
    };
    Ok(Condition { if_match: read(IF_MATCH)?, if_none_match: read(IF_NONE_MATCH)? })
}

/// The tag of the same representation, compressed.
pub(super) fn compressed_etag(etag: &HeaderValue) -> HeaderValue {
    let plain = etag.to_str().unwrap_or_default();
    value(format!("{}{COMPRESSED}", plain.strip_suffix('"').unwrap_or(plain)))
}

/// What stands at the end of the tag of a compressed representation, instead of the quote.
const COMPRESSED: &str = "z\"";

/// Which of the tags in this header of a read is one of the representation, plain or compressed: whether to
/// compress is ours to choose, so whichever the caller has is the one that is selected. `*` stands for the
/// plain one. `None` where the header is not there, `Some(None)` where none fits.
///
/// `If-Match` compares strongly, `If-None-Match` weakly.
pub(super) fn named(
    headers: &HeaderMap,
    name: &HeaderName,
    etag: &HeaderValue,
) -> Result<Option<Option<HeaderValue>>, Problem> {
    let mut found = None;
    let asked = each_tag(headers, name, |tag| {
        if found.is_none() && (name == IF_NONE_MATCH || !tag.is_weak) {
            found = tag.of(etag);
        }
    })?;
    Ok(match asked {
        None => None,
        Some(Asked::Any) => Some(Some(etag.clone())),
        Some(Asked::Listed) => Some(found),
    })
}

/// Who wrote it, where the caller says.
pub(super) fn author(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(author) = one(headers, &AUTHOR)? else { return Ok(None) };
    if author.len() > MAX_AUTHOR_BYTES {
        return Err(bad(&AUTHOR, &format!("has at most {MAX_AUTHOR_BYTES} bytes")));
    }
    let author = std::str::from_utf8(author.as_bytes()).map_err(|_| bad(&AUTHOR, "is not UTF-8"))?;
    Ok(Some(author.to_owned()).filter(|author| !author.is_empty()))
}

/// A header that may be there once.
pub(super) fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a HeaderValue>, Problem> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err(bad(name, "is there twice")),
        None => Ok(first),
    }
}

pub(super) fn bad(name: &HeaderName, why: &str) -> Problem {
    Problem::new(&MALFORMED, format!("the header `{name}` {why}")).with("header", name.as_str())
}

/// All lines of a list header as one text.
fn list(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, Problem> {
    let mut text: Option<String> = None;
    for line in headers.get_all(name) {
        let line = line.to_str().map_err(|_| bad(name, "has characters beyond ASCII"))?;
        match &mut text {
            None => text = Some(line.to_owned()),
            Some(text) => text.extend([",", line]),
        }
    }
    Ok(text)
}

/// No item that we know has a comma inside its quotes.
fn items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(|item| item.trim_matches([' ', '\t'])).filter(|item| !item.is_empty())
}

/// What a header of tags names: `*`, or those that are listed; there may be none.
enum Asked {
    Any,
    Listed,
}

/// One tag of a list, with its quotes.
struct Tag<'h> {
    quoted: &'h [u8],
    is_weak: bool,
}

impl Tag<'_> {
    /// Of the version, where it is a tag of ours.
    fn digest(&self) -> Option<[u8; 16]> {
        let text = std::str::from_utf8(self.quoted).ok()?.trim_matches('"');
        let (digest, form) = text.rsplit_once('-')?;
        matches!(form, "j" | "jz" | "t" | "tz" | "a").then(|| hex(digest))?
    }

    /// As the tag of the representation that has `etag`, plain or compressed.
    fn of(&self, etag: &HeaderValue) -> Option<HeaderValue> {
        let end = self.quoted.strip_prefix(etag.as_bytes().strip_suffix(b"\"")?)?;
        match end {
            b"\"" => Some(etag.clone()),
            _ if end == COMPRESSED.as_bytes() => Some(compressed_etag(etag)),
            _ => None,
        }
    }
}

/// Tells all tags of a header, by the grammar of RFC 9110, 8.8.3 and 13.1: they may hold commas and other than
/// ASCII, and `*` stands alone. None where the header is not there.
fn each_tag<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    mut tell: impl FnMut(Tag<'h>),
) -> Result<Option<Asked>, Problem> {
    let malformed = || bad(name, "is not a list of quoted tags, or *");
    let (mut any, mut listed, mut is_there) = (false, false, false);
    for line in headers.get_all(name) {
        is_there = true;
        let mut rest = line.as_bytes();
        loop {
            rest = rest.trim_ascii_start();
            let Some(first) = rest.first() else { break };
            if *first == b',' {
                rest = &rest[1..];
                continue;
            }
            if any {
                return Err(malformed());
            }
            if *first == b'*' {
                any = true;
                rest = &rest[1..];
            } else {
                let strong = rest.strip_prefix(b"W/").unwrap_or(rest);
                let inside = strong.strip_prefix(b"\"").ok_or_else(malformed)?;
                let end = inside.iter().position(|byte| *byte == b'"').ok_or_else(malformed)?;
                let (quoted, after) = strong.split_at(end + 2);
                tell(Tag { quoted, is_weak: strong.len() < rest.len() });
                listed = true;
                rest = after;
            }
            if any && listed || rest.trim_ascii_start().first().is_some_and(|next| *next != b',') {
                return Err(malformed());
            }
        }
    }
    Ok(match (is_there, any) {
        (false, _) => None,
        (true, true) => Some(Asked::Any),
        (true, false) => Some(Asked::Listed),
    })
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(DIGITS[usize::from(byte >> 4)]));
        out.push(char::from(DIGITS[usize::from(byte & 15)]));
    }
}

/// Lower case only: a version is an opaque text, and has one form.
fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let mut out = [0; N];
    if pairs.len() != N {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// Of a text that is visible ASCII.
fn value(text: String) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let lines = lines.iter().map(|line| (name.clone(), HeaderValue::from_str(line).expect("a value")));
        lines.collect()
    }

    fn heads(bytes: &[u8]) -> Heads {
        canonical_heads(bytes.iter().map(|byte| Hash([*byte; 32])))
    }

    #[test]
    fn a_version_comes_back_from_its_header() {
        for heads in [heads(&[]), heads(&[7]), heads(&[1, 0xab, 255])] {
            let text = version(&heads);
            let headers: HeaderMap = [(PARENTS, text)].into_iter().collect();
            assert_eq!(parents(&headers).expect("well-formed"), Some(heads));
        }
        assert_eq!(parents(&HeaderMap::new()).expect("absent"), None);
    }

    #[test]
    fn a_version_is_read_without_quotes_in_any_order_and_over_several_lines() {
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        assert_eq!(parse_version(&format!("{two} ,\"{one}\"")), Ok(heads(&[1, 2])));
        let lines = with(&PARENTS, &[&format!("\"{two}\""), &format!("\"{one}\"")]);
        assert_eq!(parents(&lines).expect("two lines"), Some(heads(&[1, 2])));
    }

    #[test]
    fn bad_versions_are_refused() {
        let good = "ab".repeat(32);
        assert!(parse_version(&good).is_ok());
        for text in ["x", &good[1..], &good.to_uppercase(), &format!("\"{good}"), &format!("+{}", &good[1..])]
        {
            assert!(parse_version(text).is_err(), "{text}");
        }
        let many = |n| vec![good.as_str(); n].join(",");
        assert!(parse_version(&many(MAX_VERSION_HASHES)).is_ok());
        assert!(parse_version(&many(MAX_VERSION_HASHES + 1)).is_err());
    }

    #[test]
    fn the_tag_of_any_representation_names_the_version() {
        let digest = version_digest(&heads(&[3]));
        for form in [Form::Json, Form::TypedJson, Form::Automerge] {
            let headers: HeaderMap = [(IF_MATCH, etag(&heads(&[3]), form))].into_iter().collect();
            let read = condition(&headers).expect("well-formed");
            assert_eq!(read, Condition { if_match: Some(Tags::These(vec![digest])), if_none_match: None });
        }
        let packed = compressed_etag(&etag(&heads(&[3]), Form::TypedJson));
        let read = condition(&[(IF_MATCH, packed)].into_iter().collect()).expect("well-formed");
        assert_eq!(read.if_match, Some(Tags::These(vec![digest])));
        assert_ne!(etag(&heads(&[3]), Form::Json), etag(&heads(&[3]), Form::Automerge));
    }

    #[test]
    fn weak_and_foreign_tags_never_match_strongly() {
        let tag = etag(&heads(&[3]), Form::Json);
        let weak = format!("W/{}", tag.to_str().expect("ASCII"));
        let read = |name, text: &str| condition(&with(&name, &[text])).expect("well-formed");
        assert_eq!(read(IF_MATCH, &weak).if_match, Some(Tags::These(vec![])));
        assert_eq!(read(IF_MATCH, "\"other\", \"x-j\"").if_match, Some(Tags::These(vec![])));
        assert!(
            matches!(read(IF_NONE_MATCH, &weak).if_none_match, Some(Tags::These(list)) if list.len() == 1)
        );
        assert_eq!(read(IF_NONE_MATCH, "*").if_none_match, Some(Tags::Any));
    }

    #[test]
    fn a_list_of_tags_is_read_by_its_grammar() {
        let tags = [1, 2].map(|n| etag(&heads(&[n]), Form::Json));
        let [one, two] = tags.each_ref().map(|tag| tag.to_str().expect("ASCII"));
        let digests = [1, 2].map(|n| version_digest(&heads(&[n])));
        let read = |lines: &[&str]| {
            let read = condition(&with(&IF_MATCH, lines)).ok()?.if_match?;
            // A reader's tags are read alike.
            let found = named(&with(&IF_MATCH, lines), &IF_MATCH, &tags[1]).expect("alike").expect("there");
            assert_eq!(found.is_some(), read.matches(Some(digests[1])));
            Some(read)
        };
        let both = Some(Tags::These(digests.to_vec()));
        assert_eq!(read(&[&format!("{one}, {two}")]), both);
        assert_eq!(read(&[&format!(" ,{one},,\t{two} ,")]), both);
        assert_eq!(read(&[one, two]), both);
        // What is inside of others' tags is theirs.
        assert_eq!(read(&[&format!("\"a,b\", \"*\",{one},\"\", \"W/\", W/\",\",{two}")]), both);
        assert_eq!(read(&[""]), Some(Tags::These(Vec::new())));
        assert_eq!(read(&[" * "]), Some(Tags::Any));
        let beyond = HeaderValue::from_bytes(b"\"\xe9\xff\"").expect("a value");
        let beyond: HeaderMap = [(IF_NONE_MATCH, beyond)].into_iter().collect();
        assert_eq!(condition(&beyond).expect("a tag").if_none_match, Some(Tags::These(Vec::new())));
        let bare = one.trim_matches('"');
        let cases = [
            &[bare][..],
            &[&one[1..]],
            &[&one[..one.len() - 1]],
            &[&format!("{one} {two}")],
            &[&format!("w/{one}")],
            &[&format!("W/ {one}")],
            &[&format!("*, {one}")],
            &[one, "*"],
            &["*", "*"],
            &["**"],
        ];
        for lines in cases {
            for name in [IF_MATCH, IF_NONE_MATCH] {
                assert!(condition(&with(&name, lines)).is_err(), "{lines:?}");
                assert!(named(&with(&name, lines), &name, &tags[0]).is_err(), "{lines:?}");
            }
        }
        let many = |n| vec![one; n].join(",");
        assert!(read(&[&many(MAX_VERSION_HASHES)]).is_some());
        assert!(condition(&with(&IF_MATCH, &[&many(MAX_VERSION_HASHES + 1)])).is_err());
    }

    #[test]
    fn a_readers_tags_name_a_representation_plain_or_compressed() {
        let tag = etag(&heads(&[3]), Form::Json);
        let text = tag.to_str().expect("ASCII");
        let packed = compressed_etag(&tag);
        assert_eq!(packed.to_str().expect("ASCII"), text.replace("-j", "-jz"));
        let packed = packed.to_str().expect("ASCII");
        let ask = |name, line: &str| {
            let found = named(&with(&name, &[line]), &name, &tag).expect("well-formed").expect("it is there");
            found.map(|tag| tag.to_str().expect("ASCII").to_owned())
        };
        for name in [IF_MATCH, IF_NONE_MATCH] {
            assert_eq!(ask(name.clone(), text).as_deref(), Some(text));
            assert_eq!(ask(name.clone(), &format!("\"x\", {packed}")).as_deref(), Some(packed));
            assert_eq!(ask(name.clone(), "*").as_deref(), Some(text));
            for other in ["\"x\"", "", &text.replace("-j", "-t"), &text.replace("-j", "-jx")] {
                assert_eq!(ask(name.clone(), other), None, "{other}");
            }
        }
        assert_eq!(ask(IF_NONE_MATCH, &format!("W/{text}")).as_deref(), Some(text));
        assert_eq!(ask(IF_MATCH, &format!("W/{text}")), None);
        assert_eq!(named(&HeaderMap::new(), &IF_MATCH, &tag).expect("absent"), None);
    }

    #[test]
    fn an_author_is_short_utf_8_said_once() {
        let bytes = |bytes: &[u8]| {
            let value = HeaderValue::from_bytes(bytes).expect("a value");
            author(&[(AUTHOR, value)].into_iter().collect())
        };
        assert_eq!(bytes("Zoë".as_bytes()).expect("UTF-8").as_deref(), Some("Zoë"));
        assert_eq!(bytes(b"").expect("empty"), None);
        assert!(bytes(&[b'x'; MAX_AUTHOR_BYTES]).is_ok());
        assert!(bytes(&[b'x'; MAX_AUTHOR_BYTES + 1]).is_err());
        assert!(bytes(&[0xff, 0xfe]).is_err());
        assert!(author(&with(&AUTHOR, &["a", "b"])).is_err());
    }
}
