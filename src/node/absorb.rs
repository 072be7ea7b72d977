//! What an entry does to its document's record: which of its changes are new, and the heads after them.
//! The document itself is not looked into.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::base::{Change, DocId, Hash, Lsn};
use crate::crdt::heads_after;
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
