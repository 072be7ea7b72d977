//! A document's version as people see it: its heads as text, and their short digest.

use super::{Hash, Heads};

/// The digest of a version, of which an `ETag` is made: the first 16 bytes of BLAKE3 over the sorted heads.
pub fn version_digest(heads: &[Hash]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new();
    for head in heads {
        hasher.update(&head.0);
    }
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    digest
}

/// Sorted, without repeats: the form in which heads are kept and compared.
pub fn canonical_heads(hashes: impl IntoIterator<Item = Hash>) -> Heads {
    let mut heads: Heads = hashes.into_iter().collect();
    heads.sort_unstable();
    heads.dedup();
    heads
}

/// The heads of a set of changes, each with its dependencies: those that no other of the set depends on. In no
/// order.
pub fn heads_of(changes: impl Iterator<Item = (Hash, Heads)> + Clone) -> Vec<Hash> {
    let inner: std::collections::HashSet<Hash> = changes.clone().flat_map(|(_, deps)| deps).collect();
    changes.map(|(hash, _)| hash).filter(|hash| !inner.contains(hash)).collect()
}
