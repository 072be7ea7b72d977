//! One opaque change, and what can be told of it without a document.

use crate::base::{Change, Hash, Heads};

/// Bytes that are not the change they claim to be.
#[derive(Clone, Debug, thiserror::Error)]
#[error("a change that is not what it claims to be: {0}")]
pub struct BadChange(pub String);

/// Are a change's bytes well-formed, and do they have the hash and dependencies beside them?
pub fn verify(_: &Change) -> Result<(), BadChange> {
    Ok(())
}

/// The heads of a document after one more change. `heads` is in ascending order, and so is the result.
pub fn heads_after(heads: &Heads, hash: &Hash, deps: &[Hash]) -> Heads {
    let mut after: Heads = heads.iter().filter(|head| !deps.contains(head)).copied().collect();
    if let Err(place) = after.binary_search(hash) {
        after.insert(place, *hash);
    }
    after
}
