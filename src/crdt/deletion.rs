//! Deletion: an empty change on top of a version, marked in its message. It has a hash and travels like any
//! other change. A document is deleted when every head is such a change; a concurrent edit is another head, and
//! so the document is back, whole.

use std::num::NonZeroU64;

use automerge::{ActorId, Automerge, ChangeHash, ExpandedChange};

use super::change::parse;
use crate::base::Change;

/// A deletion's bytes hold this, and are no more than that: most other changes need not be parsed.
const MARK: &[u8] = b"\"deleted\":true";
const MOST_BYTES: usize = 4 << 10;

/// The message of a change that deletes, as JSON like all messages of ours.
pub(super) fn message(author: Option<&str>) -> String {
    match author {
        Some(author) => serde_json::json!({"author": author, "deleted": true}).to_string(),
        None => serde_json::json!({"deleted": true}).to_string(),
    }
}

/// Is it a deletion?
pub fn is_deletion(change: &Change) -> bool {
    let bytes = &change.bytes;
    bytes.len() <= MOST_BYTES
        && bytes.windows(MARK.len()).any(|window| window == MARK)
        && parse(bytes).is_ok_and(|change| change.is_empty() && is_marked(change.message()))
}

/// Is every one of these heads a deletion? Without heads nothing is deleted.
pub(super) fn is_deleted(doc: &Automerge, heads: &[ChangeHash]) -> bool {
    let deletes = |head| {
        doc.get_change_meta_by_hash(head)
            .is_some_and(|meta| meta.max_op < meta.start_op && is_marked(meta.message.as_deref()))
    };
    !heads.is_empty() && heads.iter().all(deletes)
}

/// The change that deletes a version. Its actor is the writer's and that version's, since the writer's own
/// sequence of changes may have gone on elsewhere since.
pub(super) fn delete(
    doc: &Automerge,
    writer: &ActorId,
    version: &[ChangeHash],
    author: Option<&str>,
    time: i64,
) -> Option<automerge::Change> {
    let max_op = |head| doc.get_change_meta_by_hash(head).map_or(0, |meta| meta.max_op);
    let start_op = NonZeroU64::new(version.iter().map(max_op).max()? + 1)?;
    let mut hasher = blake3::Hasher::new();
    for head in version {
        hasher.update(&head.0);
    }
    let suffix: [u8; 8] = *hasher.finalize().as_bytes().first_chunk()?;
    let change = ExpandedChange {
        operations: Vec::new(),
        actor_id: ActorId::from([writer.to_bytes(), &suffix].concat()),
        hash: None,
        seq: 1,
        start_op,
        time,
        message: Some(message(author)),
        deps: version.to_vec(),
        extra_bytes: Vec::new(),
        author: None,
    };
    Some(change.into())
}

pub(super) fn is_marked(message: Option<&str>) -> bool {
    let parsed = message.and_then(|message| serde_json::from_str::<serde_json::Value>(message).ok());
    parsed.is_some_and(|message| message.get("deleted") == Some(&serde_json::Value::Bool(true)))
}
