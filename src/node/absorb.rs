//! What an entry does to its document's record: which of its changes are new, and the heads after them.
//! The document itself is not looked into.

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::base::{Change, DocId, Hash, Lsn};
use crate::crdt::{folded_hashes, heads_after, is_deletion};
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
    known: FxHashMap<DocId, Known>,
    hashes: usize,
}

/// The first halves of hashes of a document's changes.
#[derive(Default)]
struct Known {
    hashes: FxHashSet<u128>,
    /// Those of its folded history are among them.
    whole: bool,
}

/// What the commit under way does.
pub(super) struct Staged<'a> {
    /// It adds these to tails.
    pub tail: &'a [TailItem],
    /// It brings this folded history of the document.
    pub snapshot: Option<&'a Bytes>,
    /// It has dropped the document: what the store has of it is not to be seen.
    pub dropped: bool,
}

/// What became of an entry's changes.
pub(super) struct Absorbed {
    /// Those that are new to the document.
    pub new: Vec<Change>,
    /// Those that hang on changes that are not here.
    pub left_out: Vec<Change>,
}

/// How a change stands to its document.
enum Fit {
    Known,
    New,
    Lacks,
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

    /// A document is there no more, or another one than before.
    pub fn forget(&mut self, doc: &DocId) {
        self.young.remove(doc);
        self.old.remove(doc);
        if let Some(known) = self.known.remove(doc) {
            self.hashes = self.hashes.saturating_sub(known.hashes.len());
        }
    }

    /// Adds the changes that are new to `record`, and gives them. Causes come first. What hangs on changes that are
    /// not here is not added. `staged` is what the commit under way does to documents, which the store does not have
    /// yet.
    pub fn absorb(
        &mut self,
        store: &dyn Store,
        doc: &DocId,
        record: &mut Record,
        changes: &[Change],
        lsn: Lsn,
        staged: &Staged<'_>,
    ) -> Result<Absorbed, StoreError> {
        let mut absorbed = Absorbed { new: Vec::with_capacity(changes.len()), left_out: Vec::new() };
        for change in changes {
            // Were it held already, its dependencies would not be heads.
            let on_top = !change.deps.is_empty() && change.deps.iter().all(|dep| record.heads.contains(dep));
            if !on_top {
                let is_first = record.changes == 0 && change.deps.is_empty();
                match is_first
                    .then_some(Fit::New)
                    .map_or_else(|| self.fit(store, doc, record, change, staged, &absorbed.new), Ok)?
                {
                    Fit::Known => continue,
                    // A fenced document has lost what its next changes hang on, and is told of already.
                    Fit::Lacks if record.fenced.is_none() => {
                        absorbed.left_out.push(change.clone());
                        continue;
                    }
                    Fit::Lacks | Fit::New => {}
                }
            }
            record.heads = heads_after(&record.heads, &change.hash, &change.deps);
            record.deletions.retain(|head| record.heads.contains(head));
            if is_deletion(change) {
                record.deletions.push(change.hash);
            }
            record.changes += 1;
            record.bytes += change.bytes.len() as u64;
            record.tail_bytes += change.bytes.len() as u64;
            record.last_lsn = lsn;
            if let Some(known) = self.known.get_mut(doc)
                && known.hashes.insert(half(&change.hash))
            {
                self.hashes += 1;
            }
            absorbed.new.push(change.clone());
        }
        Ok(absorbed)
    }

    /// Is any of these heads of a document not here?
    pub fn lacks(
        &mut self,
        store: &dyn Store,
        doc: &DocId,
        record: &Record,
        heads: &[Hash],
        staged: &Staged<'_>,
    ) -> Result<bool, StoreError> {
        let unknown: Vec<&Hash> = heads.iter().filter(|head| !record.heads.contains(head)).collect();
        if unknown.is_empty() || record.changes == 0 {
            return Ok(!unknown.is_empty());
        }
        let lacks = |known: &Known| !unknown.iter().all(|head| known.hashes.contains(&half(head)));
        if !lacks(self.known(store, doc, staged, &[])?) {
            return Ok(false);
        }
        Ok(record.folded > 0 && lacks(self.known_whole(store, doc, staged)?) || record.folded == 0)
    }

    /// How a change that is not on top of the heads stands to its document.
    fn fit(
        &mut self,
        store: &dyn Store,
        doc: &DocId,
        record: &Record,
        change: &Change,
        staged: &Staged<'_>,
        new: &[Change],
    ) -> Result<Fit, StoreError> {
        if record.changes == 0 {
            return Ok(Fit::Lacks);
        }
        let judge = |known: &Known| {
            if known.hashes.contains(&half(&change.hash)) {
                return Some(Fit::Known);
            }
            let held = |dep: &&Hash| known.hashes.contains(&half(dep));
            if change.deps.iter().all(|dep| held(&dep)) && (known.whole || !change.deps.is_empty()) {
                return Some(Fit::New);
            }
            known.whole.then_some(Fit::Lacks)
        };
        let known = self.known(store, doc, staged, new)?;
        known.whole |= record.folded == 0;
        // What is folded has all its causes folded too: a change of which one cause is in the tail is itself in the
        // tail, or new. What hangs wholly on folded history is looked for there.
        if let Some(fit) = judge(known) {
            return Ok(fit);
        }
        let known = self.known_whole(store, doc, staged)?;
        Ok(judge(known).unwrap_or(Fit::Lacks))
    }

    /// What is known of a document's changes: at least those of its tail.
    fn known(
        &mut self,
        store: &dyn Store,
        doc: &DocId,
        staged: &Staged<'_>,
        new: &[Change],
    ) -> Result<&mut Known, StoreError> {
        if !self.known.contains_key(doc) {
            if self.hashes > HASHES {
                self.known.clear();
                self.hashes = 0;
            }
            let tail = if staged.dropped { Vec::new() } else { store.tail(doc, Lsn(0))? };
            let items = staged.tail.iter().filter(|item| item.doc == *doc).flat_map(|item| &item.changes);
            let all = tail.iter().map(|(_, change)| change).chain(items).chain(new);
            let hashes: FxHashSet<u128> = all.map(|change| half(&change.hash)).collect();
            self.hashes += hashes.len();
            self.known.insert(doc.clone(), Known { hashes, whole: false });
        }
        Ok(self.known.entry(doc.clone()).or_default())
    }

    /// The same, with what is folded.
    fn known_whole(
        &mut self,
        store: &dyn Store,
        doc: &DocId,
        staged: &Staged<'_>,
    ) -> Result<&mut Known, StoreError> {
        let known = self.known.entry(doc.clone()).or_default();
        if !known.whole {
            let snapshot = match staged.snapshot {
                Some(snapshot) => Some(snapshot.clone()),
                None if staged.dropped => None,
                None => store.snapshot(doc)?,
            };
            if let Some(snapshot) = snapshot {
                let folded = folded_hashes(&snapshot).map_err(|fault| StoreError::Damaged {
                    operation: "read",
                    subject: format!("the snapshot of {doc}"),
                    reason: fault.to_string(),
                })?;
                let before = known.hashes.len();
                known.hashes.extend(folded.iter().map(half));
                self.hashes += known.hashes.len() - before;
            }
            known.whole = true;
        }
        Ok(known)
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
            let in_commit = Staged { tail: &staged, snapshot: None, dropped: false };
            let Absorbed { new, .. } =
                records.absorb(&store, &doc, &mut record, entry, lsn, &in_commit).unwrap();
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

    #[test]
    fn what_hangs_on_changes_that_are_not_here_is_left_out() {
        let entries: [&[Change]; 4] =
            [&[change(2, &[1])], &[change(1, &[])], &[change(3, &[1, 9])], &[change(2, &[1])]];
        assert_eq!(absorb(&entries), (vec![vec![], vec![1], vec![], vec![2]], vec![2]));
    }
}
