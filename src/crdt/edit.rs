//! What writers ask for, as operations on an open transaction.

use std::time::Instant;

use automerge::transaction::Transactable;
use automerge::{AutomergeError, ObjId, ObjType, Prop, ROOT, ScalarValue};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa::ToSchema;

use super::assign::{Editor, signed};
use super::json::step;
use super::json_patch::{PatchOp, Taken};
use super::typed::Node;
use crate::base::limits::MAX_OPS;

/// What a write does to a document.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Replace the whole by the smallest set of operations. The value is an object.
    Put(Value),
    /// RFC 7396. The value is an object.
    MergePatch(Value),
    /// In this order; positions and paths refer to what the operations before have made.
    Ops(Vec<Op>),
    /// Delete the version on which it is made. Concurrent edits bring the document back.
    Delete,
    /// RFC 6902, likewise in this order.
    JsonPatch(Vec<PatchOp>),
}

impl Edit {
    /// Does it touch little, however large the document is? A change of a few fields or letters costs the same
    /// in any document; what has to be compared with the document does not.
    pub fn is_small(&self) -> bool {
        const FEW: usize = 64;
        const SHORT: usize = 1 << 10;
        let short = |value: &Value| match value {
            Value::String(text) => text.len() <= SHORT,
            Value::Array(_) | Value::Object(_) => false,
            _ => true,
        };
        match self {
            Edit::Delete => true,
            Edit::Put(_) => false,
            Edit::MergePatch(Value::Object(members)) => members.len() <= FEW && members.values().all(short),
            Edit::MergePatch(_) => false,
            Edit::Ops(ops) => ops.len() <= FEW && !ops.iter().any(|op| matches!(op, Op::TextUpdate { .. })),
            Edit::JsonPatch(ops) => {
                let small =
                    |op: &PatchOp| matches!(op, PatchOp::Remove { .. }) || op.value().is_some_and(short);
                ops.len() <= FEW && ops.iter().all(small)
            }
        }
    }
}

/// One typed operation. `path` is a JSON pointer (RFC 6901); positions count Unicode code points.
#[derive(Clone, PartialEq, Debug, Deserialize, ToSchema)]
#[serde(tag = "op", deny_unknown_fields)]
pub enum Op {
    #[serde(rename = "put")]
    Put { path: String, value: Value },
    #[serde(rename = "delete")]
    Delete { path: String },
    #[serde(rename = "increment")]
    Increment { path: String, by: i64 },
    #[serde(rename = "text.splice")]
    TextSplice {
        path: String,
        pos: usize,
        #[serde(default)]
        delete: usize,
        #[serde(default)]
        insert: String,
    },
    #[serde(rename = "text.update")]
    TextUpdate { path: String, value: String },
    #[serde(rename = "list.insert")]
    ListInsert { path: String, index: usize, value: Value },
    #[serde(rename = "list.delete")]
    ListDelete { path: String, index: usize, count: usize },
}

/// Why an edit was not made. Nothing of it is in the document then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EditError {
    /// It does not fit the document, or is outside the mapping. `pointer` is a JSON pointer into the
    /// request's value or the path of the operation that failed.
    #[error("{pointer:?}: {reason}")]
    Refused { pointer: String, reason: String },
    /// A test of a JSON patch: what is at `pointer` is not what was expected there.
    #[error("{pointer:?} does not read as the test expects")]
    TestFailed { pointer: String },
    /// A fault of ours or of Automerge's; the document in memory is thrown away.
    #[error("the edit failed: {reason}")]
    Failed { reason: String },
}

impl EditError {
    pub(super) fn refused(pointer: impl Into<String>, reason: impl Into<String>) -> Self {
        EditError::Refused { pointer: pointer.into(), reason: reason.into() }
    }

    /// The same, seen from further out.
    pub(super) fn under(self, outer: &str) -> Self {
        match self {
            EditError::Refused { pointer, reason } => {
                EditError::Refused { pointer: format!("{outer}{pointer}"), reason }
            }
            other => other,
        }
    }
}

impl From<AutomergeError> for EditError {
    fn from(error: AutomergeError) -> Self {
        EditError::Failed { reason: error.to_string() }
    }
}

/// Reads a request of typed operations: a JSON list of objects with `op` and its members. All must be there
/// but `delete` and `insert`, which are 0 and empty else.
///
/// # Errors
/// `Refused`, with the pointer of the operation at fault, for anything else; unknown operations and members
/// too.
pub fn parse_ops(value: &Value) -> Result<Vec<Op>, EditError> {
    listed(value)
}

/// Reads a JSON list of operations.
pub(super) fn listed<O: DeserializeOwned>(value: &Value) -> Result<Vec<O>, EditError> {
    let Value::Array(ops) = value else {
        return Err(EditError::refused("", "operations are a JSON list"));
    };
    if ops.len() > MAX_OPS {
        return Err(EditError::refused("", format!("more than {MAX_OPS} operations")));
    }
    let read = |(i, op): (usize, &Value)| {
        if !op.is_object() {
            return Err(EditError::refused(format!("/{i}"), "an operation is a JSON object"));
        }
        O::deserialize(op).map_err(|e| EditError::refused(format!("/{i}"), e.to_string()))
    };
    ops.iter().enumerate().map(read).collect()
}

/// What [`perform`] is told and finds out.
#[derive(Default)]
pub(super) struct Context {
    /// Differences of texts and lists may search until then; None: as long as they need.
    pub deadline: Option<Instant>,
    /// Plain strings become texts, as automerge-repo's clients expect.
    pub strings_are_text: bool,
    /// Objects and counters that were created under an absent key of a map which was there before this
    /// transaction, or is itself in this list: outer ones first.
    pub created: Vec<Creation>,
    pub taken: Taken,
}

/// An object or counter that every master would create alike.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Creation {
    /// The map.
    pub parent: Parent,
    pub key: String,
    pub kind: Kind,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Parent {
    /// Was there before the transaction.
    Existing(ObjId),
    /// The creation at this index of the list.
    Created(usize),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Object(ObjType),
    /// With value 0; what it is to count is then an increment.
    Counter,
}

/// Performs `edit` on an open transaction. On an error the caller rolls the transaction back.
///
/// Where `cx.created` is not empty afterwards, the transaction is half done: the caller rolls back too, makes
/// these creations by changes that every master would make alike, and calls again with the same `cx`. What
/// was created is there then, and is filled; what could not be derived is made in the transaction.
///
/// # Errors
/// See [`EditError`].
pub(super) fn perform<T: Transactable>(tx: &mut T, edit: &Edit, cx: &mut Context) -> Result<(), EditError> {
    let mut editor = Editor::new(tx, cx);
    match edit {
        // Made without a transaction: see `deletion`.
        Edit::Delete => Ok(()),
        Edit::Put(value) => match Node::read(value, 1)? {
            Node::Map(members) => editor.put_root(&members),
            _ => Err(no_object()),
        },
        Edit::MergePatch(patch) => match Node::read(patch, 1)? {
            Node::Map(members) => editor.merge(&ROOT, &members),
            _ => Err(no_object()),
        },
        Edit::Ops(ops) => {
            editor.await_created()?;
            ops.iter().enumerate().try_for_each(|(i, op)| {
                editor.only_told = matches!(op, Op::Put { .. }) && i + 1 == ops.len();
                editor.perform(op)
            })
        }
        Edit::JsonPatch(ops) => {
            editor.await_created()?;
            editor.patch(ops)
        }
    }
}

fn no_object() -> EditError {
    EditError::refused("", "a document is a JSON object")
}

/// Where an operation's path leads.
pub(super) enum Place {
    Root,
    Member {
        map: ObjId,
        key: String,
        there: Option<Found>,
    },
    /// `there` is None just past the end.
    Element {
        list: ObjId,
        index: usize,
        there: Option<Found>,
    },
}

pub(super) enum Found {
    Scalar(ScalarValue),
    Object(ObjType, ObjId),
}

impl Found {
    fn words(&self) -> &'static str {
        match self {
            Found::Object(ObjType::Map | ObjType::Table, _) => "an object",
            Found::Object(ObjType::List, _) => "a list",
            Found::Object(ObjType::Text, _) => "a text",
            Found::Scalar(ScalarValue::Str(_)) => "a plain string",
            Found::Scalar(ScalarValue::Counter(_)) => "a counter",
            Found::Scalar(ScalarValue::Boolean(_)) => "a boolean",
            Found::Scalar(ScalarValue::Null) => "null",
            Found::Scalar(ScalarValue::Timestamp(_)) => "a timestamp",
            Found::Scalar(ScalarValue::Bytes(_) | ScalarValue::Unknown { .. }) => "bytes",
            Found::Scalar(ScalarValue::Int(_) | ScalarValue::Uint(_) | ScalarValue::F64(_)) => {
                "a plain number"
            }
        }
    }
}

impl Op {
    fn path(&self) -> &str {
        match self {
            Op::Put { path, .. }
            | Op::Delete { path }
            | Op::Increment { path, .. }
            | Op::TextSplice { path, .. }
            | Op::TextUpdate { path, .. }
            | Op::ListInsert { path, .. }
            | Op::ListDelete { path, .. } => path,
        }
    }
}

impl<T: Transactable> Editor<'_, T> {
    fn perform(&mut self, op: &Op) -> Result<(), EditError> {
        let path = op.path();
        // The level of what is at the path: a slash for each above it, and the root.
        let level = path.matches('/').count() + 1;
        let read = |value, level| Node::read(value, level).map_err(|e| e.under(path));
        let refuse = |reason: String| Err(EditError::refused(path, reason));
        let place = self.find(path)?;
        if let Place::Member { map, key, .. } = &place {
            self.reach(map, key);
        }
        match op {
            Op::Put { value, .. } => self.set(place, &read(value, level)?),
            Op::Delete { .. } => self.remove(path, place),
            Op::Increment { by, .. } => match place {
                Place::Member { map, key, there: None } => self.create(&map, &key, &Node::Counter(*by)),
                Place::Member { map, key, there: Some(found) } => {
                    self.increment(path, &map, key.into(), &found, *by)
                }
                Place::Element { list, index, there: Some(found) } => {
                    self.increment(path, &list, index.into(), &found, *by)
                }
                Place::Root => refuse("the document is no counter".to_owned()),
                Place::Element { .. } => refuse(ABSENT.to_owned()),
            },
            Op::TextSplice { pos, delete, insert, .. } => {
                let text = self.find_object(path, place, ObjType::Text)?;
                let length = self.tx.length(&text);
                if pos.checked_add(*delete).is_none_or(|end| end > length) {
                    return refuse(format!("position {pos} and {delete} to delete, in a text of {length}"));
                }
                Ok(self.tx.splice_text(&text, *pos, signed(*delete)?, insert)?)
            }
            Op::TextUpdate { value, .. } => {
                let text = self.find_object(path, place, ObjType::Text)?;
                let old = self.tx.text(&text)?;
                self.update_text(&text, &old, value)
            }
            Op::ListInsert { index, value, .. } => {
                let node = read(value, level + 1)?;
                let list = self.find_object(path, place, ObjType::List)?;
                let length = self.tx.length(&list);
                if *index > length {
                    return refuse(format!("index {index} in a list of {length}"));
                }
                self.splice(&list, *index, 0, &[node])
            }
            Op::ListDelete { index, count, .. } => {
                let list = self.find_object(path, place, ObjType::List)?;
                let length = self.tx.length(&list);
                if index.checked_add(*count).is_none_or(|end| end > length) {
                    return refuse(format!("index {index} and {count} to delete, in a list of {length}"));
                }
                self.splice(&list, *index, *count, &[])
            }
        }
    }

    /// Over what is there; just past the end of a list, as a further element.
    pub fn set(&mut self, place: Place, node: &Node) -> Result<(), EditError> {
        match (place, node) {
            (Place::Root, Node::Map(members)) => self.put_root(members),
            (Place::Root, _) => Err(no_object()),
            (Place::Member { map, key, .. }, node) => self.put_member(&map, &key, node),
            (Place::Element { list, index, there: Some(_) }, node) => self.put_element(&list, index, node),
            (Place::Element { list, index, there: None }, node) => {
                self.splice(&list, index, 0, std::slice::from_ref(node))
            }
        }
    }

    pub fn remove(&mut self, path: &str, place: Place) -> Result<(), EditError> {
        let reason = match place {
            Place::Member { map, key, there: Some(_) } => return self.delete_member(&map, &key),
            Place::Element { list, index, there: Some(_) } => return self.splice(&list, index, 1, &[]),
            Place::Root => "the document itself cannot be deleted by an operation",
            Place::Member { .. } | Place::Element { .. } => ABSENT,
        };
        Err(EditError::refused(path, reason))
    }

    fn increment(
        &mut self,
        path: &str,
        parent: &ObjId,
        prop: Prop,
        found: &Found,
        by: i64,
    ) -> Result<(), EditError> {
        let Found::Scalar(ScalarValue::Counter(counter)) = found else {
            let reason = format!("is {}: put {{\"$counter\": n}} there first", found.words());
            return Err(EditError::refused(path, reason));
        };
        if i64::from(counter).checked_add(by).is_none() {
            return Err(EditError::refused(path, "the counter would leave 64 bits"));
        }
        if by != 0 {
            self.tx.increment(parent, prop, by)?;
        }
        Ok(())
    }

    /// The text or list at a place; one is created under an absent key.
    fn find_object(&mut self, path: &str, place: Place, kind: ObjType) -> Result<ObjId, EditError> {
        let (empty, word) = match kind {
            ObjType::Text => (Node::Text("".into()), "text"),
            _ => (Node::List(Vec::new()), "list"),
        };
        let found = match place {
            Place::Member { map, key, there: None } => {
                self.create(&map, &key, &empty)?;
                self.look(&map, key)?
            }
            Place::Member { there, .. } | Place::Element { there, .. } => there,
            Place::Root => Some(Found::Object(ObjType::Map, ROOT)),
        };
        match found {
            Some(Found::Object(found, id)) if found == kind => Ok(id),
            Some(Found::Scalar(ScalarValue::Str(_))) if kind == ObjType::Text => Err(EditError::refused(
                path,
                "is a plain string: put the whole string, or put {\"$text\": …} there first",
            )),
            Some(found) => Err(EditError::refused(path, format!("is {}, not a {word}", found.words()))),
            None => Err(EditError::refused(path, ABSENT)),
        }
    }

    fn look(&self, parent: &ObjId, prop: impl Into<Prop>) -> Result<Option<Found>, EditError> {
        Ok(self.tx.get(parent, prop)?.map(|(value, id)| match value {
            automerge::Value::Object(kind) => Found::Object(kind, id),
            automerge::Value::Scalar(scalar) => Found::Scalar(scalar.into_owned()),
        }))
    }

    /// Follows a JSON pointer. All but its last step must be there.
    pub fn find(&self, path: &str) -> Result<Place, EditError> {
        if path.is_empty() {
            return Ok(Place::Root);
        }
        let Some(steps) = path.strip_prefix('/') else {
            return Err(EditError::refused(
                path,
                "a path is a JSON pointer: empty, or with a / before each step",
            ));
        };
        let refuse = |reason: &str| Err(EditError::refused(path, reason));
        let mut steps = steps.split('/').peekable();
        let (mut parent, mut kind) = (ROOT, ObjType::Map);
        let mut walked = String::new();
        while let Some(written) = steps.next() {
            let last = steps.peek().is_none();
            let Some(key) = unescaped(written) else {
                return refuse("in a path, ~ is written ~0 and / is written ~1");
            };
            let place = match kind {
                ObjType::Table if last => {
                    return refuse(&format!("{walked:?} is a table, which can only be replaced"));
                }
                ObjType::Map | ObjType::Table => {
                    Place::Member { there: self.look(&parent, key.as_str())?, map: parent, key }
                }
                ObjType::List => {
                    let length = self.tx.length(&parent);
                    let index = if key == "-" { Some(length) } else { list_index(&key) };
                    match index {
                        Some(index) if index <= length => {
                            Place::Element { there: self.look(&parent, index)?, list: parent, index }
                        }
                        Some(_) => return refuse(&format!("{walked:?} is a list of {length}")),
                        None => return refuse(&format!("{walked:?} is a list; {key:?} is no index")),
                    }
                }
                ObjType::Text => {
                    return refuse(&format!("{walked:?} is a text; use text.splice and text.update"));
                }
            };
            walked.push_str(&step(match &place {
                Place::Member { key, .. } => key,
                _ => written,
            }));
            if last {
                return Ok(place);
            }
            match place {
                Place::Member { there: Some(Found::Object(inner, id)), .. }
                | Place::Element { there: Some(Found::Object(inner, id)), .. } => {
                    (parent, kind) = (id, inner)
                }
                Place::Member { there: Some(found), .. } | Place::Element { there: Some(found), .. } => {
                    return refuse(&format!("{walked:?} is {}, and has nothing in it", found.words()));
                }
                _ => return refuse(&format!("{walked:?} is not there")),
            }
        }
        Ok(Place::Root)
    }
}

pub(super) const ABSENT: &str = "nothing is there";

/// A step of a JSON pointer, as it is meant.
pub(super) fn unescaped(written: &str) -> Option<String> {
    let mut parts = written.split('~');
    let mut key = parts.next()?.to_owned();
    for part in parts {
        key.push(match part.as_bytes().first()? {
            b'0' => '~',
            b'1' => '/',
            _ => return None,
        });
        key.push_str(&part[1..]);
    }
    Some(key)
}

/// Decimal, without leading zeros.
fn list_index(step: &str) -> Option<usize> {
    let plain = step == "0" || !step.starts_with(['0', '+']);
    if plain { step.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
