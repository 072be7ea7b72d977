//! A document as JSON.

use automerge::{Automerge, ChangeHash, ObjType, ROOT};
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
