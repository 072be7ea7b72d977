//! JSON Patch (RFC 6902) as it makes sense of CRDTs: values are written by their difference, and what is moved
//! or copied stays what it is, a text, a counter, a time.

use std::collections::VecDeque;

use automerge::transaction::Transactable;
use automerge::{ObjId, ObjType, ROOT, ScalarValueRef};
use serde::Deserialize;
use serde_json::Value;

use super::assign::Editor;
use super::edit::{ABSENT, EditError, Found, Place, listed, unescaped};
use super::tree::{Body, Item, Tree};
use super::typed::Node;
use crate::base::limits::{MAX_COPIED_BYTES, MAX_DEPTH};

/// One operation. Pointers lead through the document as it reads: a key that begins with `$` has two there.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(tag = "op", rename_all = "lowercase")]
pub enum PatchOp {
    Add { path: String, value: Value },
    Remove { path: String },
    Replace { path: String, value: Value },
    Move { from: String, path: String },
    Copy { from: String, path: String },
    Test { path: String, value: Value },
}

impl PatchOp {
    /// What is written or compared, where the operation itself says it.
    pub(super) fn value(&self) -> Option<&Value> {
        match self {
            PatchOp::Add { value, .. } | PatchOp::Replace { value, .. } | PatchOp::Test { value, .. } => {
                Some(value)
            }
            PatchOp::Remove { .. } | PatchOp::Move { .. } | PatchOp::Copy { .. } => None,
        }
    }

    fn pointers(&self) -> [Option<(&'static str, &str)>; 2] {
        match self {
            PatchOp::Add { path, .. }
            | PatchOp::Remove { path }
            | PatchOp::Replace { path, .. }
            | PatchOp::Test { path, .. } => [Some(("path", path)), None],
            PatchOp::Move { from, path } | PatchOp::Copy { from, path } => {
                [Some(("from", from)), Some(("path", path))]
            }
        }
    }
}

/// Reads a JSON patch. Members that an operation does not need are passed over, as the RFC wants it.
///
/// # Errors
/// `Refused`, with the pointer of what is at fault.
pub fn parse_json_patch(value: &Value) -> Result<Vec<PatchOp>, EditError> {
    let ops: Vec<PatchOp> = listed(value)?;
    for (i, op) in ops.iter().enumerate() {
        for (member, pointer) in op.pointers().into_iter().flatten() {
            if let Err(reason) = well_formed(pointer) {
                return Err(EditError::refused(format!("/{i}/{member}"), reason));
            }
        }
    }
    Ok(ops)
}

fn well_formed(pointer: &str) -> Result<(), &'static str> {
    let mut steps = pointer.split('/');
    if steps.next() != Some("") {
        return Err("a JSON pointer is empty, or has a / before each step");
    }
    for step in steps {
        if unescaped(step).is_none() {
            return Err("in a JSON pointer, ~ is written ~0 and / is written ~1");
        }
        if step.starts_with('$') && !step.starts_with("$$") {
            return Err("a key that begins with $ reads with $$, and texts and counters have nothing inside");
        }
    }
    Ok(())
}

/// What the first pass of a patch has moved and copied, for the second: there, what is created is in place
/// from the beginning, so that the document reads otherwise.
#[derive(Default)]
pub(super) struct Taken {
    values: VecDeque<Node<'static>>,
    /// Of the JSON, about.
    bytes: usize,
}

impl<T: Transactable> Editor<'_, T> {
    pub fn patch(&mut self, ops: &[PatchOp]) -> Result<(), EditError> {
        ops.iter().enumerate().try_for_each(|(i, op)| {
            // Nothing reads what the last operation makes.
            self.only_told = i + 1 == ops.len();
            self.patch_by(op)
        })
    }

    fn patch_by(&mut self, op: &PatchOp) -> Result<(), EditError> {
        let read = |path, value| Node::read(value, level(path)).map_err(|e| e.under(path));
        match op {
            PatchOp::Add { path, value } => {
                let node = read(path, value)?;
                self.add(path, &node)
            }
            PatchOp::Replace { path, value } => {
                let node = read(path, value)?;
                match self.at(path)? {
                    Place::Member { there: None, .. } | Place::Element { there: None, .. } => {
                        Err(EditError::refused(path, ABSENT))
                    }
                    place => self.set(place, &node),
                }
            }
            PatchOp::Remove { path } => {
                let place = self.at(path)?;
                self.remove(path, place)
            }
            PatchOp::Copy { from, path } => {
                let place = self.at(from)?;
                let node = self.taken(from, &place, level(path))?;
                self.add(path, &node)?;
                self.keep(node);
                Ok(())
            }
            PatchOp::Move { from, path } => {
                let place = self.at(from)?;
                if path.strip_prefix(from.as_str()).is_some_and(|rest| rest.starts_with('/')) {
                    return Err(EditError::refused(path, format!("is inside of {from:?}, which is to move")));
                }
                let node = self.taken(from, &place, level(path))?;
                if from != path {
                    self.remove(from, place)?;
                    self.add(path, &node)?;
                }
                self.keep(node);
                Ok(())
            }
            // The first pass has seen to it, on the document as it was.
            PatchOp::Test { .. } if self.second => Ok(()),
            PatchOp::Test { path, value } => {
                let node = Node::read(value, 1).map_err(|e| e.under(path))?;
                match self.at(path) {
                    Ok(place) if self.reads_as(&place, &node) => Ok(()),
                    Ok(_) | Err(EditError::Refused { .. }) => {
                        Err(EditError::TestFailed { pointer: path.clone() })
                    }
                    Err(failed) => Err(failed),
                }
            }
        }
    }

    /// Members are set, elements inserted.
    fn add(&mut self, path: &str, node: &Node) -> Result<(), EditError> {
        match self.at(path)? {
            Place::Element { list, index, .. } => self.splice(&list, index, 0, std::slice::from_ref(node)),
            place => self.set(place, node),
        }
    }

    fn at(&self, path: &str) -> Result<Place, EditError> {
        let place = self.find(&path.replace("/$$", "/$"));
        place.map_err(|error| match error {
            EditError::Refused { reason, .. } => EditError::refused(path, reason),
            other => other,
        })
    }

    /// The value at `from`, of its type, to be written at this level.
    fn taken(&mut self, from: &str, place: &Place, level: usize) -> Result<Node<'static>, EditError> {
        if self.second {
            let first = self.cx.taken.values.pop_front();
            return first.ok_or_else(|| EditError::Failed { reason: "a value taken only now".to_owned() });
        }
        let (bytes, value) = match object(place) {
            None => return Err(EditError::refused(from, ABSENT)),
            Some(Content::Scalar(scalar)) => (weight(&scalar), Node::shown(&scalar, true).into_owned()),
            Some(Content::Object(kind, id)) => {
                let tree = Tree::read(self.tx, id, kind, None);
                if level + height(&tree) > MAX_DEPTH + 1 {
                    let reason = format!("would be more than {MAX_DEPTH} levels deep in the document");
                    return Err(EditError::refused(from, reason));
                }
                (tree_weight(&tree), tree.value())
            }
        };
        self.cx.taken.bytes += bytes;
        if self.cx.taken.bytes > MAX_COPIED_BYTES {
            let reason = format!("the patch moves and copies more than {MAX_COPIED_BYTES} bytes");
            return Err(EditError::refused(from, reason));
        }
        Ok(value)
    }

    fn keep(&mut self, node: Node<'static>) {
        if !self.second {
            self.cx.taken.values.push_back(node);
        }
    }

    /// RFC 6902, 4.6, of the plain reading; what reads so with its types does too.
    fn reads_as(&self, place: &Place, node: &Node) -> bool {
        match object(place) {
            None => false,
            Some(Content::Scalar(scalar)) => scalar_equals(&scalar, node),
            // Before the object is read.
            Some(Content::Object(kind, _)) if !may_equal(kind, node) => false,
            Some(Content::Object(kind, id)) => equals(&Tree::read(self.tx, id, kind, None), 0, node),
        }
    }
}

enum Content<'p> {
    Scalar(ScalarValueRef<'static>),
    Object(ObjType, &'p ObjId),
}

fn object(place: &Place) -> Option<Content<'_>> {
    let there = match place {
        Place::Root => return Some(Content::Object(ObjType::Map, &ROOT)),
        Place::Member { there, .. } | Place::Element { there, .. } => there.as_ref()?,
    };
    Some(match there {
        Found::Scalar(scalar) => Content::Scalar(scalar.clone().into()),
        Found::Object(kind, id) => Content::Object(*kind, id),
    })
}

/// Of what is at a path; the root's is 1.
fn level(path: &str) -> usize {
    path.matches('/').count() + 1
}

fn may_equal(kind: ObjType, node: &Node) -> bool {
    match kind {
        ObjType::Map | ObjType::Table => matches!(node, Node::Map(_)),
        ObjType::List => matches!(node, Node::List(_)),
        ObjType::Text => matches!(node, Node::Str(_) | Node::Text(_)),
    }
}

/// Goes as deep as the value, which is bounded.
fn equals(tree: &Tree, index: usize, node: &Node) -> bool {
    let same = |item: &Item, node| match item {
        Item::Scalar(scalar) => scalar_equals(scalar, node),
        Item::Object(index) => equals(tree, *index, node),
    };
    match (&tree.objects[index].body, node) {
        (Body::Text(text), Node::Str(wanted) | Node::Text(wanted)) => text == wanted,
        (Body::List(elements), Node::List(wanted)) => {
            elements.len() == wanted.len() && elements.iter().zip(wanted).all(|(item, node)| same(item, node))
        }
        (Body::Map(members), Node::Map(wanted)) => {
            let mut pairs = members.iter().zip(wanted);
            members.len() == wanted.len()
                && pairs.all(|((key, item), (name, node))| key == name && same(item, node))
        }
        _ => false,
    }
}

fn scalar_equals(scalar: &ScalarValueRef, node: &Node) -> bool {
    let plain = Node::shown(scalar, false);
    match (whole(&plain), whole(node)) {
        (Some(here), Some(wanted)) => here == wanted,
        _ => plain == *node || Node::shown(scalar, true) == *node,
    }
}

/// Numbers are compared by their value: 1 is 1.0.
fn whole(node: &Node) -> Option<i128> {
    match node {
        Node::Int(n) => Some(i128::from(*n)),
        Node::Uint(n) => Some(i128::from(*n)),
        Node::Float(n) if n.fract() == 0.0 && n.abs() < 1e30 => Some(*n as i128),
        _ => None,
    }
}

/// Levels of maps and lists. Without recursion: a document may be nested as deep as it likes.
fn height(tree: &Tree) -> usize {
    let mut levels = vec![1; tree.objects.len()];
    let mut height = 0;
    // What is in an object comes after it.
    for (index, object) in tree.objects.iter().enumerate() {
        let level = levels[index];
        if !matches!(object.body, Body::Text(_)) {
            height = height.max(level);
        }
        let mut note = |item: &Item| {
            if let Item::Object(inner) = item {
                levels[*inner] = level + 1;
            }
        };
        match &object.body {
            Body::Map(members) => members.iter().for_each(|(_, item)| note(item)),
            Body::List(elements) => elements.iter().for_each(note),
            Body::Text(_) => {}
        }
    }
    height
}

/// Bytes of JSON, about, and not less than it costs to keep.
fn weight(scalar: &ScalarValueRef) -> usize {
    const ITEM: usize = 16;
    ITEM + match scalar {
        ScalarValueRef::Str(text) => text.len(),
        ScalarValueRef::Bytes(bytes) | ScalarValueRef::Unknown { bytes, .. } => bytes.len(),
        _ => 0,
    }
}

fn tree_weight(tree: &Tree) -> usize {
    let item = |item: &Item| match item {
        Item::Scalar(scalar) => weight(scalar),
        Item::Object(_) => 0,
    };
    let object = |body: &Body| match body {
        Body::Map(members) => members.iter().map(|(key, member)| key.len() + item(member)).sum(),
        Body::List(elements) => elements.iter().map(item).sum(),
        Body::Text(text) => text.len(),
    };
    tree.objects.iter().map(|found| weight(&ScalarValueRef::Null) + object(&found.body)).sum()
}

#[cfg(test)]
mod tests;
