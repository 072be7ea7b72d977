//! A document as JSON.

use automerge::{Automerge, ChangeHash, ObjId, ObjType, ROOT, Value};
use bytes::Bytes;
use serde::Serialize;

use super::tree::{Body, Item, Tree};
use super::typed::{Node, time_text};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

/// Compact JSON of the document, now or `at` a version that it has, with keys in ascending byte order; and
/// how many members and elements of what it shows have more than one value.
pub(super) fn json(doc: &Automerge, at: Option<&[ChangeHash]>, typed: bool) -> (Bytes, usize) {
    let tree = Tree::read(doc, &ROOT, ObjType::Map, at);
    (Writer { out: Vec::with_capacity(64 * tree.objects.len()), typed }.write(&tree).into(), tree.conflicts)
}

/// As [`json`], of one value; `id` is that of the object where it is one.
pub(super) fn value(
    doc: &Automerge,
    id: &ObjId,
    value: &Value<'_>,
    at: Option<&[ChangeHash]>,
    typed: bool,
) -> Bytes {
    let mut writer = Writer { out: Vec::new(), typed };
    match value {
        Value::Object(kind) => return writer.write(&Tree::read(doc, id, *kind, at)).into(),
        Value::Scalar(scalar) => writer.scalar(&Node::shown(&scalar.clone().into_owned().into(), typed)),
    }
    writer.out.into()
}

struct Writer {
    out: Vec<u8>,
    typed: bool,
}

impl Writer {
    /// Without recursion: a document may be nested as deep as it likes.
    fn write(mut self, tree: &Tree) -> Vec<u8> {
        // Objects that are being written, and how many of each one's items have been.
        let mut open = vec![(0, 0)];
        while let Some((index, written)) = open.last_mut() {
            let (index, next) = (*index, *written);
            *written += 1;
            let item = match &tree.objects[index].body {
                Body::Text(text) => {
                    self.text(text);
                    open.pop();
                    continue;
                }
                Body::Map(members) => {
                    self.between(next, members.len(), b"{}");
                    members.get(next).map(|(key, item)| {
                        self.key(key);
                        item
                    })
                }
                Body::List(elements) => {
                    self.between(next, elements.len(), b"[]");
                    elements.get(next)
                }
            };
            match item {
                None => drop(open.pop()),
                Some(Item::Object(child)) => open.push((*child, 0)),
                Some(Item::Scalar(scalar)) => self.scalar(&Node::shown(scalar, self.typed)),
            }
        }
        self.out
    }

    /// What stands before the item at `next`, or after the last.
    fn between(&mut self, next: usize, length: usize, brackets: &[u8; 2]) {
        if next == 0 {
            self.out.push(brackets[0]);
        }
        if next == length {
            self.out.push(brackets[1]);
        } else if next > 0 {
            self.out.push(b',');
        }
    }

    fn key(&mut self, key: &str) {
        if key.starts_with('$') {
            self.put(&format!("${key}"));
        } else {
            self.put(key);
        }
        self.out.push(b':');
    }

    fn text(&mut self, text: &str) {
        if self.typed { self.word("$text", text) } else { self.put(text) }
    }

    fn scalar(&mut self, scalar: &Node) {
        match scalar {
            Node::Bool(value) => self.put(value),
            Node::Int(n) => self.put(n),
            Node::Uint(n) => self.put(n),
            Node::Float(n) => self.put(n),
            Node::Str(text) => self.put(text.as_ref()),
            Node::Counter(n) => self.word("$counter", n),
            Node::Timestamp(ms) => self.word("$timestamp", &time_text(*ms)),
            Node::Bytes(bytes) => self.word("$bytes", &BASE64.encode(bytes)),
            Node::Null | Node::Text(_) | Node::Map(_) | Node::List(_) => self.out.extend_from_slice(b"null"),
        }
    }

    fn word(&mut self, word: &str, value: &(impl Serialize + ?Sized)) {
        self.out.push(b'{');
        self.put(word);
        self.out.push(b':');
        self.put(value);
        self.out.push(b'}');
    }

    fn put(&mut self, value: &(impl Serialize + ?Sized)) {
        // Strings and numbers into memory: neither can fail.
        let _infallible = serde_json::to_writer(&mut self.out, value);
    }
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use automerge::{ActorId, ReadDoc, ScalarValue, TextEncoding};
    use serde_json::{Value, json};

    use super::*;

    fn new(actor: u8) -> Automerge {
        Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(ActorId::from([actor; 16]))
    }

    fn text(doc: &Automerge, typed: bool) -> String {
        String::from_utf8(json(doc, None, typed).0.to_vec()).unwrap()
    }

    /// The same document with a text in it, for which the root is read by itself.
    fn with_text(doc: &Automerge) -> Automerge {
        let mut doc = doc.fork().with_actor(ActorId::from([9; 16]));
        let mut tx = doc.transaction();
        tx.put_object(ROOT, "~text", ObjType::Text).unwrap();
        tx.commit();
        doc
    }

    #[test]
    fn an_empty_document_is_an_empty_object() {
        assert_eq!(text(&new(1), false), "{}");
        assert_eq!(text(&with_text(&new(1)), false), r#"{"~text":""}"#);
    }

    #[test]
    fn keys_are_in_the_order_of_their_bytes() {
        let mut doc = new(1);
        let keys = ["b", "a", "", "aa", "é", "Z", "$", "$$x", "😀", "\u{ffff}", "\"\n"];
        let mut tx = doc.transaction();
        let inner = tx.put_object(ROOT, "m", ObjType::Map).unwrap();
        for key in keys {
            tx.put(&inner, key, 1).unwrap();
        }
        tx.commit();
        let mut other = doc.fork().with_actor(ActorId::from([2; 16]));
        let mut tx = other.transaction();
        tx.put(&inner, "ab", 2).unwrap();
        tx.commit();
        doc.merge(&mut other).unwrap();
        let inner = r#"{"":1,"\"\n":1,"$$":1,"$$$x":1,"Z":1,"a":1,"aa":1,"ab":2,"b":1,"é":1,"￿":1,"😀":1}"#;
        assert_eq!(text(&doc, false), format!(r#"{{"m":{inner}}}"#));
        assert_eq!(text(&with_text(&doc), false), format!(r#"{{"m":{inner},"~text":""}}"#));
    }

    #[test]
    fn what_json_cannot_say_is_said_as_well_as_it_can() {
        let mut doc = new(1);
        let mut tx = doc.transaction();
        let list = tx.put_object(ROOT, "l", ObjType::List).unwrap();
        let values = [
            ScalarValue::F64(f64::NAN),
            ScalarValue::F64(f64::INFINITY),
            ScalarValue::F64(1.0),
            ScalarValue::Uint(u64::MAX),
            ScalarValue::Timestamp(0),
            ScalarValue::Timestamp(i64::MAX),
            ScalarValue::Bytes(vec![0, 255]),
            ScalarValue::Unknown { type_code: 15, bytes: vec![1] },
            ScalarValue::counter(-1),
            ScalarValue::Null,
        ];
        tx.splice(&list, 0, 0, values).unwrap();
        tx.commit();
        let plain = r#"{"l":[null,null,1.0,18446744073709551615,"1970-01-01T00:00:00Z",9223372036854775807,"AP8=","AQ==",-1,null]}"#;
        assert_eq!(text(&doc, false), plain);
        let typed = r#"{"l":[null,null,1.0,18446744073709551615,{"$timestamp":"1970-01-01T00:00:00Z"},9223372036854775807,{"$bytes":"AP8="},{"$bytes":"AQ=="},{"$counter":-1},null]}"#;
        assert_eq!(text(&doc, true), typed);
    }

    #[test]
    fn conflicts_are_counted_wherever_they_show() {
        let mut doc = new(1);
        let mut tx = doc.transaction();
        let list = tx.put_object(ROOT, "l", ObjType::List).unwrap();
        let inner = tx.insert_object(&list, 0, ObjType::Map).unwrap();
        tx.insert(&list, 1, "x").unwrap();
        tx.commit();
        let mut other = doc.fork().with_actor(ActorId::from([2; 16]));
        for (doc, n) in [(&mut doc, 1), (&mut other, 2)] {
            let mut tx = doc.transaction();
            tx.put(ROOT, "k", n).unwrap();
            tx.put(&list, 1, n).unwrap();
            tx.put(&inner, "i", n).unwrap();
            // Of two objects under one key only one shows, and what is in it.
            let object = tx.put_object(ROOT, "o", ObjType::Map).unwrap();
            tx.put(&object, "in", n).unwrap();
            tx.commit();
        }
        let before = doc.get_heads();
        doc.merge(&mut other).unwrap();
        let shows = json!({"k": 2, "l": [{"i": 2}, 2], "o": {"in": 2}});
        for doc in [&doc, &with_text(&doc)] {
            let (body, conflicts) = json(doc, None, false);
            assert_eq!(conflicts, 4);
            let mut value: Value = serde_json::from_slice(&body).unwrap();
            value.as_object_mut().unwrap().remove("~text");
            assert_eq!(value, shows);
            assert_eq!(json(doc, Some(&before), false).1, 0);
        }
    }

    #[test]
    fn what_is_beside_a_text_reads_as_without_it() {
        let mut doc = new(1);
        let mut tx = doc.transaction();
        for key in ["a", "b", "c"] {
            let list = tx.put_object(ROOT, key, ObjType::List).unwrap();
            for n in 0..3 {
                let map = tx.insert_object(&list, n, ObjType::Map).unwrap();
                tx.put(&map, "n", n as i64).unwrap();
                let inner = tx.put_object(&map, "l", ObjType::List).unwrap();
                tx.insert(&inner, 0, key).unwrap();
            }
        }
        tx.commit();
        let plain = text(&doc, false);
        let before = doc.get_heads();
        // A text deep in the last list but one element: all before it has been read in vain.
        let mut tx = doc.transaction();
        let (_, list) = tx.get(ROOT, "b").unwrap().unwrap();
        let (_, map) = tx.get(&list, 2).unwrap().unwrap();
        let (_, inner) = tx.get(&map, "l").unwrap().unwrap();
        let letters = tx.insert_object(&inner, 1, ObjType::Text).unwrap();
        tx.splice_text(&letters, 0, 0, "x").unwrap();
        tx.commit();
        let (head, tail) = plain.rsplit_once(r#"["b"]"#).unwrap();
        let with = format!(r#"{head}["b","x"]{tail}"#);
        assert_eq!(text(&doc, false), with);
        assert_eq!(text(&with_text(&doc), false), format!(r#"{},"~text":""}}"#, with.trim_end_matches('}')));
        assert_eq!(json(&doc, Some(&before), false).0, plain);
    }

    #[test]
    fn no_depth_overflows_the_stack() {
        let deep = 20_000;
        let mut doc = new(1);
        let mut tx = doc.transaction();
        let mut inner = ROOT;
        for _ in 0..deep {
            inner = tx.put_object(&inner, "m", ObjType::Map).unwrap();
        }
        tx.commit();
        assert_eq!(json(&doc, None, false).0.len(), deep * 5 + deep + 2);
        assert_eq!(json(&with_text(&doc), None, false).0.len(), deep * 5 + deep + 2 + 11);
    }

    #[test]
    fn nor_does_a_block_in_a_text() {
        let mut doc = new(1);
        let mut tx = doc.transaction();
        let letters = tx.put_object(ROOT, "t", ObjType::Text).unwrap();
        tx.splice_text(&letters, 0, 0, "ab").unwrap();
        let mut inner = tx.split_block(&letters, 1).unwrap();
        for _ in 0..20_000 {
            inner = tx.put_object(&inner, "m", ObjType::Map).unwrap();
        }
        tx.commit();
        assert_eq!(text(&doc, false), "{\"t\":\"a\u{fffc}b\"}");
        assert_eq!(text(&doc, true), "{\"t\":{\"$text\":\"a\u{fffc}b\"}}");
    }
}
