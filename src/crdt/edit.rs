//! What writers ask for, as operations on an open transaction.

use std::time::Instant;

use automerge::transaction::Transactable;
use automerge::{ObjId, ObjType};
use serde_json::Value;

/// What a write does to a document.
#[derive(Clone, Debug)]
pub enum Edit {
    /// Replace the whole by the smallest set of operations. The value is an object.
    Put(Value),
    /// RFC 7396. The value is an object.
    MergePatch(Value),
    /// In this order; positions and paths refer to what the operations before have made.
    Ops(Vec<Op>),
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
            Edit::Put(_) => false,
            Edit::MergePatch(Value::Object(members)) => members.len() <= FEW && members.values().all(short),
            Edit::MergePatch(_) => false,
            Edit::Ops(ops) => ops.len() <= FEW && !ops.iter().any(|op| matches!(op, Op::TextUpdate { .. })),
        }
    }
}

/// One typed operation. `path` is a JSON pointer (RFC 6901); positions count Unicode code points.
#[derive(Clone, PartialEq, Debug)]
pub enum Op {
    Put { path: String, value: Value },
    Delete { path: String },
    Increment { path: String, by: i64 },
    TextSplice { path: String, pos: usize, delete: usize, insert: String },
    TextUpdate { path: String, value: String },
    ListInsert { path: String, index: usize, value: Value },
    ListDelete { path: String, index: usize, count: usize },
}

/// Why an edit was not made. Nothing of it is in the document then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum EditError {
    /// It does not fit the document, or is outside the mapping. `pointer` is a JSON pointer into the
    /// request's value or the path of the operation that failed.
    #[error("{pointer:?}: {reason}")]
    Refused { pointer: String, reason: String },
    /// A fault of ours or of Automerge's; the document in memory is thrown away.
    #[error("the edit failed: {reason}")]
    Failed { reason: String },
}

/// Reads a request of typed operations: a JSON list of objects with `op` and its members.
///
/// # Errors
/// `Refused`, with the pointer of the fault, for anything else; unknown operations and members too.
pub fn parse_ops(value: &Value) -> Result<Vec<Op>, EditError> {
    let _ = value;
    Ok(Vec::new())
}

/// What [`perform`] is told and finds out.
pub(super) struct Context {
    /// Differences of texts and lists may search until then; None: as long as they need.
    pub deadline: Option<Instant>,
    /// Plain strings become texts, as automerge-repo's clients expect.
    pub strings_are_text: bool,
    /// Objects and counters that were created under an absent key of a map which was there before this
    /// transaction, or is itself in this list: outer ones first.
    pub created: Vec<Creation>,
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
pub(super) fn perform<T: Transactable>(tx: &mut T, edit: &Edit, cx: &mut Context) -> Result<(), EditError> {
    let _ = (tx, edit, cx);
    Ok(())
}
