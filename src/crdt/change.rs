//! One opaque change, and what can be told of it without a document.

use automerge::ChangeHash;
use bytes::Bytes;

use super::chunk::{self, Kind};
use crate::base::{Change, Hash, Heads};

/// Bytes that are not the change they claim to be.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a change that is not what it claims to be: {0}")]
pub struct BadChange(pub String);

/// Are a change's bytes well-formed, and do they have the hash and dependencies beside them? Automerge's own
/// parser does not ask.
///
/// # Errors
/// What is wrong with it.
pub fn verify(change: &Change) -> Result<(), BadChange> {
    let parsed = parse(&change.bytes).map_err(BadChange)?;
    if Hash(parsed.hash().0) != change.hash {
        return Err(BadChange(format!("its bytes have the hash {}", parsed.hash())));
    }
    let same = parsed.deps().len() == change.deps.len()
        && parsed.deps().iter().zip(&change.deps).all(|(a, b)| a.0 == b.0);
    if same { Ok(()) } else { Err(BadChange("its bytes name other dependencies".into())) }
}

/// The heads of a document after one more change. `heads` is in ascending order, and so is the result.
pub fn heads_after(heads: &Heads, hash: &Hash, deps: &[Hash]) -> Heads {
    let mut after: Heads = heads.iter().filter(|head| !deps.contains(head)).copied().collect();
    if let Err(place) = after.binary_search(hash) {
        after.insert(place, *hash);
    }
    after
}

/// Reads one change chunk, with all its operations.
pub(super) fn parse(bytes: &[u8]) -> Result<automerge::Change, String> {
    let chunks = chunk::split(bytes)?;
    let [chunk] = chunks.as_slice() else { return Err("not one change".into()) };
    if chunk.kind != Kind::Change {
        return Err("a document, where a change was expected".into());
    }
    let change = read(chunk.bytes)?;
    if change.hash().0[..4] != chunk.checksum {
        return Err("its checksum does not match".into());
    }
    Ok(change)
}

/// Automerge's parser, whose faults are ours to catch.
pub(super) fn read(bytes: &[u8]) -> Result<automerge::Change, String> {
    let read = || automerge::Change::try_from(bytes).map_err(|e| e.to_string());
    guarded(read).unwrap_or_else(|panic| Err(format!("Automerge panics over it: {panic}")))
}

/// A change as it is stored and sent. Uncompressed: the log and the links compress many at once, and better.
pub(super) fn opaque(change: &automerge::Change) -> Change {
    Change {
        hash: Hash(change.hash().0),
        deps: change.deps().iter().map(|dep| Hash(dep.0)).collect(),
        bytes: Bytes::copy_from_slice(change.raw_bytes()),
    }
}

pub(super) fn native(hashes: &[Hash]) -> Vec<ChangeHash> {
    hashes.iter().map(|hash| ChangeHash(hash.0)).collect()
}

/// Runs what may panic inside Automerge; gives the panic's message. What it worked on is in an unknown state
/// then. The panic has been printed by the hook already.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned()
    })
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use automerge::{ActorId, Automerge, ROOT};

    use super::*;

    fn sample() -> Change {
        let mut doc = Automerge::new().with_actor(ActorId::from([1; 16]));
        for n in 0..2 {
            let mut tx = doc.transaction();
            tx.put(ROOT, "n", n).unwrap();
            tx.commit();
        }
        opaque(&doc.get_changes(&[]).pop().unwrap())
    }

    #[test]
    fn a_change_is_what_its_bytes_say() {
        let good = sample();
        assert_eq!(verify(&good), Ok(()));
        let other_hash = Change { hash: Hash([0; 32]), ..good.clone() };
        assert!(verify(&other_hash).unwrap_err().0.contains("hash"));
        let other_deps = Change { deps: Heads::new(), ..good.clone() };
        assert!(verify(&other_deps).unwrap_err().0.contains("dependencies"));
        for place in 0..good.bytes.len() {
            let mut bytes = good.bytes.to_vec();
            bytes[place] ^= 1;
            assert!(verify(&Change { bytes: bytes.into(), ..good.clone() }).is_err(), "byte {place}");
        }
    }

    #[test]
    fn a_change_takes_the_place_of_its_dependencies_among_the_heads() {
        let [a, b, c] = [1, 2, 3].map(|n| Hash([n; 32]));
        let heads = heads_after(&Heads::from_slice(&[a, c]), &b, &[c]);
        assert_eq!(heads.as_slice(), [a, b]);
        assert_eq!(heads_after(&heads, &b, &[c]).as_slice(), [a, b]);
    }
}
