//! What an entry does to its document's record: which of its changes are new, and the heads after them.
//! The document itself is not looked into.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::base::{Change, DocId, Hash, Lsn};
use crate::crdt::{heads_after, is_deletion};
use crate::store::{Record, Store, StoreError, TailItem};

/// Records kept in memory, per generation of the cache.
const RECORDS: usize = 65_536;

/// Hashes of documents' changes kept in memory.
const HASHES: usize = 1 << 20;

/// Records as they are with all that is staged, and what was looked up for them.
pub(super) struct Records {
    young: FxHashMap<DocId, Record>,
    /// The generation before: a hit moves a record back to the young ones, the rest is forgotten when those are full.
    old: FxHashMap<DocId, Record>,
    /// Of documents with concurrent changes: the first halves of all their changes' hashes.
    known: FxHashMap<DocId, FxHashSet<u128>>,
    hashes: usize,
}

impl Records {
    pub fn new() -> Self {
        Self {
            young: FxHashMap::default(),
            old: FxHashMap::default(),
            known: FxHashMap::default(),
            hashes: 0,
        }
    }

    /// Forgets everything: after a failed commit the store alone is right.
    pub fn clear(&mut self) {
        *self = Self::new();
    }

    /// The record with all that is staged; an empty one where there is none.
    pub fn get(&mut self, store: &dyn Store, doc: &DocId) -> Result<Record, StoreError> {
        if let Some(record) = self.young.get(doc) {
            return Ok(record.clone());
        }
        let record = match self.old.remove(doc) {
            Some(record) => record,
            None => store.record(doc)?.unwrap_or_default(),
        };
        self.put(doc.clone(), record.clone());
        Ok(record)
    }

    pub fn put(&mut self, doc: DocId, record: Record) {
        if self.young.len() >= RECORDS {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(doc, record);
    }

    /// Adds the changes that are new to `record`, and gives them. Causes come first. `staged` is what the
    /// commit under way adds to tails, which the store does not have yet.
    #[allow(clippy::too_many_arguments)]
    pub fn absorb(
        &mut self,
        store: &dyn Store,
        doc: &DocId,
        record: &mut Record,
        changes: &[Change],
        lsn: Lsn,
        staged: &[TailItem],
    ) -> Result<Vec<Change>, StoreError> {
        let mut new = Vec::with_capacity(changes.len());
        for change in changes {
            // Were it held already, its dependencies would not be heads.
            let on_top = !change.deps.is_empty() && change.deps.iter().all(|dep| record.heads.contains(dep));
            let is_new =
                on_top || record.changes == 0 || !self.is_known(store, doc, &change.hash, staged, &new)?;
            if !is_new {
                continue;
            }
            record.heads = heads_after(&record.heads, &change.hash, &change.deps);
            record.deletions.retain(|head| record.heads.contains(head));
            if is_deletion(change) {
                record.deletions.push(change.hash);
            }
            record.changes += 1;
            record.bytes += change.bytes.len() as u64;
            record.last_lsn = lsn;
            if let Some(known) = self.known.get_mut(doc)
                && known.insert(half(&change.hash))
            {
                self.hashes += 1;
            }
            new.push(change.clone());
        }
        Ok(new)
    }

    fn is_known(
        &mut self,
        store: &dyn Store,
        doc: &DocId,
        hash: &Hash,
        staged: &[TailItem],
        new: &[Change],
    ) -> Result<bool, StoreError> {
        if !self.known.contains_key(doc) {
            if self.hashes > HASHES {
                self.known.clear();
                self.hashes = 0;
            }
            let tail = store.tail(doc, Lsn(0))?;
            let staged = staged.iter().filter(|item| item.doc == *doc).flat_map(|item| &item.changes);
            let all = tail.iter().map(|(_, change)| change).chain(staged).chain(new);
            let known: FxHashSet<u128> = all.map(|change| half(&change.hash)).collect();
            self.hashes += known.len();
            self.known.insert(doc.clone(), known);
        }
        Ok(self.known.get(doc).is_some_and(|known| known.contains(&half(hash))))
    }
}

fn half(hash: &Hash) -> u128 {
    hash.0.first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Heads;
    use crate::store::MemoryStore;

    fn change(n: u8, deps: &[u8]) -> Change {
        let deps: Heads = deps.iter().map(|dep| Hash([*dep; 32])).collect();
        Change { hash: Hash([n; 32]), deps, bytes: vec![n].into() }
    }

    /// Absorbs each entry after the one before, all in one commit. Gives what was new in each, and the heads.
    fn absorb(entries: &[&[Change]]) -> (Vec<Vec<u8>>, Vec<u8>) {
        let (mut records, store, doc) = (Records::new(), MemoryStore::new(), DocId::new("d").unwrap());
        let (mut record, mut staged, mut all) = (Record::default(), Vec::new(), Vec::new());
        for (lsn, entry) in (1..).map(Lsn).zip(entries) {
            let new = records.absorb(&store, &doc, &mut record, entry, lsn, &staged).unwrap();
            all.push(new.iter().map(|change| change.hash.0[0]).collect());
            staged.push(TailItem { doc: doc.clone(), lsn, changes: new });
        }
        (all, record.heads.iter().map(|head| head.0[0]).collect())
    }

    #[test]
    fn a_change_that_comes_again_is_not_new() {
        let (one, two) = (change(1, &[]), change(2, &[1]));
        let both = [one.clone(), two.clone()];
        assert_eq!(
            absorb(&[&both, std::slice::from_ref(&one), std::slice::from_ref(&two)]),
            (vec![vec![1, 2], vec![], vec![]], vec![2])
        );
        assert_eq!(absorb(&[&[one.clone(), one.clone()], &[two]]), (vec![vec![1], vec![2]], vec![2]));
    }

    #[test]
    fn concurrent_changes_are_heads_until_something_joins_them() {
        let entries: [&[Change]; 4] =
            [&[change(1, &[])], &[change(2, &[1])], &[change(3, &[1])], &[change(3, &[1])]];
        assert_eq!(absorb(&entries), (vec![vec![1], vec![2], vec![3], vec![]], vec![2, 3]));
        let joined: [&[Change]; 4] =
            [entries[0], entries[1], entries[2], &[change(2, &[1]), change(4, &[2, 3])]];
        assert_eq!(absorb(&joined), (vec![vec![1], vec![2], vec![3], vec![4]], vec![4]));
    }

    #[test]
    fn what_was_made_on_nothing_joins_what_is_there() {
        assert_eq!(absorb(&[&[change(5, &[])], &[change(1, &[])]]), (vec![vec![5], vec![1]], vec![1, 5]));
    }
}
