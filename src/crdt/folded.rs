//! Folded histories, as they are stored and sent: Automerge's save of a set of changes.

use automerge::{Automerge, ReadDoc};
use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};

use super::change::{guarded, opaque};
use super::{Document, LoadError, chunk};
use crate::base::{Change, Hash, Heads};

/// The heads of a folded history, and the number of its changes. Its bytes are whole; no operation of it is looked at.
///
/// # Errors
/// When it is not what was saved.
pub fn folded_outline(snapshot: &[u8]) -> Result<(Heads, u64), LoadError> {
    let (heads, changes) = chunk::document_outline(snapshot).map_err(LoadError)?;
    let mut heads: Heads = heads.into_iter().map(Hash).collect();
    heads.sort_unstable();
    Ok((heads, changes))
}

/// The hashes of all changes in it.
///
/// # Errors
/// When it does not load.
pub fn folded_hashes(snapshot: &[u8]) -> Result<Vec<Hash>, LoadError> {
    let document = load(snapshot)?;
    let hashes = || document.get_changes_meta(&[]).iter().map(|meta| Hash(meta.hash.0)).collect();
    guarded(hashes).map_err(LoadError)
}

/// The changes of a document that somebody lacks who has all that `have` names, causes first. What `have` names and
/// is not here says nothing.
///
/// # Errors
/// When the folded history does not load.
pub fn changes_beyond(
    snapshot: Option<&[u8]>,
    tail: Vec<Change>,
    have: &[Hash],
) -> Result<Vec<Change>, LoadError> {
    let mut all = match snapshot {
        Some(snapshot) => {
            let document = load(snapshot)?;
            guarded(|| document.get_changes(&[]).iter().map(opaque).collect::<Vec<_>>()).map_err(LoadError)?
        }
        None => Vec::new(),
    };
    all.extend(tail);
    let all = causes_first(all);
    let place: FxHashMap<Hash, usize> = all.iter().enumerate().map(|(n, change)| (change.hash, n)).collect();
    let mut held = FxHashSet::default();
    let mut open: Vec<usize> = have.iter().filter_map(|hash| place.get(hash).copied()).collect();
    while let Some(at) = open.pop() {
        if held.insert(at) {
            let deps = all.get(at).map(|change| change.deps.as_slice()).unwrap_or_default();
            open.extend(deps.iter().filter_map(|dep| place.get(dep).copied()));
        }
    }
    let beyond = all.into_iter().enumerate().filter(|(n, _)| !held.contains(n)).map(|(_, change)| change);
    Ok(beyond.collect())
}

/// Changes in an order in which each comes after those among them that it hangs on; else as they are. In a tail they
/// may stand otherwise: what was folded, and has lost since against a change with its sequence number, comes back to the
/// tail after what hangs on it.
pub fn causes_first(changes: Vec<Change>) -> Vec<Change> {
    let mut open: FxHashSet<Hash> = changes.iter().map(|change| change.hash).collect();
    let (mut sorted, mut left) = (Vec::with_capacity(changes.len()), changes);
    loop {
        let before = left.len();
        let mut later = Vec::new();
        for change in left {
            if change.deps.iter().any(|dep| open.contains(dep)) {
                later.push(change);
            } else {
                open.remove(&change.hash);
                sorted.push(change);
            }
        }
        if later.is_empty() || later.len() == before {
            sorted.append(&mut later);
            return sorted;
        }
        left = later;
    }
}

/// A snapshot, and what has to come back from it before it may take the place of anything.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub bytes: Bytes,
    /// Changes in it, and their heads.
    pub changes: u64,
    heads: Heads,
}

impl Document {
    /// All changes that are shown, as one snapshot.
    ///
    /// # Errors
    /// When Automerge fails over it.
    pub fn fold(&self) -> Result<Snapshot, LoadError> {
        let bytes = guarded(|| self.doc.save()).map_err(LoadError)?;
        let changes = self.doc.stats().num_changes;
        Ok(Snapshot { bytes: bytes.into(), changes, heads: self.applied_heads() })
    }

    /// The changes that are kept and not shown, of which no snapshot has any.
    pub fn unshown(&self) -> impl Iterator<Item = Change> {
        self.left_out.values().map(opaque)
    }
}

impl Snapshot {
    /// Reads it back. Heads name all that is before them by hash, so equal heads are equal changes.
    ///
    /// # Errors
    /// When other changes come back than went in.
    pub fn check(&self) -> Result<(), LoadError> {
        let back = load(&self.bytes)?;
        let heads: Heads = back.get_heads().into_iter().map(|head| Hash(head.0)).collect();
        if heads == self.heads && back.stats().num_changes == self.changes {
            return Ok(());
        }
        Err(LoadError("its snapshot does not give it back".into()))
    }
}

fn load(snapshot: &[u8]) -> Result<Automerge, LoadError> {
    let load = || Automerge::load(snapshot).map_err(|e| e.to_string());
    guarded(load).unwrap_or_else(Err).map_err(LoadError)
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use automerge::{ActorId, ROOT};

    use super::*;
    use crate::base::DocId;
    use crate::crdt::{Edit, parse_json};

    /// A history of one actor with as many changes.
    fn history(changes: i64) -> Automerge {
        let mut doc = Automerge::new().with_actor(ActorId::from([1; 16]));
        for n in 0..changes {
            let mut tx = doc.transaction();
            tx.put(ROOT, "n", n).unwrap();
            tx.commit();
        }
        doc
    }

    #[test]
    fn heads_and_changes_are_told_without_the_document_and_damage_is_seen() {
        let doc = history(50);
        let saved = doc.save();
        let heads: Heads = doc.get_heads().iter().map(|head| Hash(head.0)).collect();
        assert_eq!(folded_outline(&saved).unwrap(), (heads, 50));
        assert_eq!(folded_hashes(&saved).unwrap().len(), 50);
        for place in 0..saved.len() {
            let mut bytes = saved.clone();
            bytes[place] ^= 1;
            assert!(folded_outline(&bytes).is_err(), "byte {place}");
        }
    }

    #[test]
    fn the_changes_of_many_actors_are_counted_too_where_their_column_is_compressed() {
        let mut doc = history(1);
        for n in 0..3_000_u32 {
            let mut actor = [7; 16];
            actor[n as usize % 2] = (n % 251) as u8;
            doc.set_actor(ActorId::from(actor));
            let mut tx = doc.transaction();
            tx.put(ROOT, "n", i64::from(n) + 1).unwrap();
            tx.commit();
            if [0, 9, 299, 2_999].contains(&n) {
                assert_eq!(folded_outline(&doc.save()).unwrap().1, u64::from(n) + 2);
                assert_eq!(folded_outline(&doc.save_nocompress()).unwrap().1, u64::from(n) + 2);
            }
        }
    }

    #[test]
    fn somebody_who_has_a_part_is_given_the_rest_only() {
        let doc = history(10);
        let all: Vec<Change> = doc.get_changes(&[]).iter().map(opaque).collect();
        let saved = history(6).save();
        let beyond = |have: &[Hash]| {
            let rest = changes_beyond(Some(&saved), all[6..].to_vec(), have).unwrap();
            rest.iter()
                .map(|change| all.iter().position(|c| c.hash == change.hash).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(beyond(&[]), (0..10).collect::<Vec<_>>());
        assert_eq!(beyond(&[all[3].hash]), [4, 5, 6, 7, 8, 9]);
        assert_eq!(beyond(&[all[8].hash, Hash([9; 32])]), [9]);
        assert_eq!(beyond(&[all[9].hash]), [0; 0]);
    }

    #[test]
    fn what_stands_before_its_causes_is_given_after_them() {
        let all: Vec<Change> = history(6).get_changes(&[]).iter().map(opaque).collect();
        let order = |places: &[usize]| -> Vec<usize> {
            let tail = places.iter().map(|n| all[*n].clone()).collect();
            let sorted = changes_beyond(None, tail, &[]).unwrap();
            sorted.iter().map(|change| all.iter().position(|c| c.hash == change.hash).unwrap()).collect()
        };
        assert_eq!(order(&[0, 3, 1, 2, 5, 4]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(order(&[2, 3, 4]), [2, 3, 4]);
    }

    fn written(puts: &[&str]) -> (Document, Vec<Change>) {
        let mut document = Document::load([1; 16], DocId::new("d").unwrap(), None, &[]).unwrap();
        let mut all = Vec::new();
        for put in puts {
            let edit = Edit::Put(parse_json(put.as_bytes()).unwrap());
            all.extend(document.edit(&edit, None, Some("me"), 1, None).unwrap().changes);
        }
        (document, all)
    }

    #[test]
    fn a_snapshot_gives_back_every_change() {
        let (document, changes) = written(&[r#"{"a": 1}"#, r#"{"a": {"$text": "x"}}"#, r#"{"b": [1, 2]}"#]);
        let snapshot = document.fold().unwrap();
        snapshot.check().unwrap();
        let mut hashes = folded_hashes(&snapshot.bytes).unwrap();
        let mut expected: Vec<Hash> = changes.iter().map(|change| change.hash).collect();
        hashes.sort_unstable();
        expected.sort_unstable();
        assert_eq!((hashes, snapshot.changes), (expected, changes.len() as u64));
        let again = Document::load([2; 16], DocId::new("d").unwrap(), Some(&snapshot.bytes), &[]).unwrap();
        assert_eq!(again.json(None, true).unwrap().body, document.json(None, true).unwrap().body);
    }

    #[test]
    fn a_snapshot_of_something_else_is_found_out() {
        let ours = written(&[r#"{"a": 1}"#]).0.fold().unwrap();
        let other = written(&[r#"{"a": 2}"#]).0.fold().unwrap();
        assert!(Snapshot { bytes: other.bytes, ..ours.clone() }.check().is_err());
        assert!(Snapshot { bytes: ours.bytes.slice(..ours.bytes.len() - 1), ..ours }.check().is_err());
        assert!(folded_hashes(b"nothing").is_err());
    }
}
