//! Automerge → JSON.
use bytes::Bytes;
pub(super) fn json(
    doc: &automerge::Automerge,
    at: Option<&[automerge::ChangeHash]>,
    _typed: bool,
) -> (Bytes, usize) {
    let value = match at {
        Some(at) => serde_json::to_vec(&automerge::AutoSerde::from(&doc.fork_at(at).unwrap_or_default())),
        None => serde_json::to_vec(&automerge::AutoSerde::from(doc)),
    };
    (value.unwrap_or_default().into(), 0)
}
