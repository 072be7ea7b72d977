//! Holes: documents of which changes are missing here that this node's vector names.
//!
//! A change whose entry fits may hang on what is not here of its document, if that was dropped, or came to its origin
//! by a repair. It is left out, and the document fetched from the link that brought it. That fetch may break off, or
//! find nothing, as the other end waits for the document itself. So a hole is kept on disk, with the entry that made
//! it, until what was left out is here; and until then the document is asked for over one link after the other. The
//! same is done where somebody who repairs this node cannot read a document, as what is stored of it is damaged there.

use std::collections::BTreeMap;
use std::ops::Bound;

use crate::base::limits::{MAX_HOLES, MAX_MISSING_HEADS};
use crate::base::{Change, DocId, Hash, Heads, Millis};
use crate::crdt::{folded_hashes, heads_after};

/// Between two looks, in milliseconds.
const LOOK_MS: u64 = 1_000;

/// Documents asked for at a look.
const PAGE: usize = 256;

#[derive(Default)]
pub(super) struct Holes {
    /// Of each the heads of what was left out, as on disk.
    kept: BTreeMap<DocId, Heads>,
    /// The same where the commit under way changes it; nothing is missing any more where that is empty.
    staged: BTreeMap<DocId, Heads>,
    looked: Millis,
    /// Where the next look goes on.
    after: Option<DocId>,
}

impl Holes {
    pub fn new(kept: Vec<(DocId, Heads)>) -> Self {
        Self { kept: kept.into_iter().collect(), ..Self::default() }
    }

    /// Is all here that the vector names, and on disk?
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty() && self.staged.values().all(|missing| missing.is_empty())
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Changes of a document were left out, and others came, in this order; those of `gone` are missed no longer.
    pub fn note(&mut self, doc: &DocId, left_out: &[Change], new: &[Change], gone: &[Hash]) {
        if left_out.is_empty() && self.kept.is_empty() && self.staged.is_empty() {
            return;
        }
        self.change(doc, |missing| {
            for change in left_out {
                *missing = heads_after(missing, &change.hash, &change.deps);
            }
            missing.retain(|hash| !gone.contains(hash) && new.iter().all(|change| change.hash != *hash));
            missing.truncate(MAX_MISSING_HEADS);
        });
    }

    /// These heads of a document are missing, as whoever has them cannot give what they name.
    pub fn note_unreadable(&mut self, doc: &DocId, heads: &[Hash]) {
        self.change(doc, |missing| {
            missing.extend(heads.iter().copied());
            missing.sort_unstable();
            missing.dedup();
            missing.truncate(MAX_MISSING_HEADS);
        });
    }

    /// A folded history of the document has come.
    pub fn note_folded(&mut self, doc: &DocId, snapshot: &[u8]) {
        if self.is_empty() || self.missing(doc).is_none_or(|missing| missing.is_empty()) {
            return;
        }
        // What does not load tells nothing: the document is asked for again.
        if let Ok(here) = folded_hashes(snapshot) {
            self.change(doc, |missing| missing.retain(|hash| !here.contains(hash)));
        }
    }

    fn missing(&self, doc: &DocId) -> Option<&Heads> {
        self.staged.get(doc).or_else(|| self.kept.get(doc))
    }

    fn change(&mut self, doc: &DocId, change: impl FnOnce(&mut Heads)) {
        let before = self.missing(doc).cloned().unwrap_or_default();
        let mut missing = before.clone();
        change(&mut missing);
        let is_full = || self.kept.len() + self.staged.len() >= MAX_HOLES;
        if missing != before && !(before.is_empty() && is_full()) {
            self.staged.insert(doc.clone(), missing);
        }
    }

    /// Nothing is missing any more, whatever was.
    pub fn fill(&mut self) {
        self.staged = self.kept.keys().map(|doc| (doc.clone(), Heads::new())).collect();
    }

    pub fn has_staged(&self) -> bool {
        !self.staged.is_empty()
    }

    /// What the commit under way has to write.
    pub fn staged(&self) -> Vec<(DocId, Heads)> {
        self.staged.iter().map(|(doc, missing)| (doc.clone(), missing.clone())).collect()
    }

    /// The commit is on disk.
    pub fn committed(&mut self) {
        for (doc, missing) in std::mem::take(&mut self.staged) {
            match missing.is_empty() {
                true => self.kept.remove(&doc),
                false => self.kept.insert(doc, missing),
            };
        }
    }

    /// Nothing of the commit is on disk.
    pub fn failed(&mut self) {
        self.staged.clear();
    }

    /// The documents that are to be asked for now: some at each look, all of them in turn.
    pub fn due(&mut self, now: Millis) -> Vec<DocId> {
        if self.kept.is_empty() || now.since(self.looked) < LOOK_MS {
            return Vec::new();
        }
        self.looked = now;
        let from = self.after.take().map_or(Bound::Unbounded, Bound::Excluded);
        let page: Vec<DocId> =
            self.kept.range((from, Bound::Unbounded)).take(PAGE).map(|(doc, _)| doc.clone()).collect();
        self.after = page.last().filter(|_| page.len() == PAGE).cloned();
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(n: usize) -> DocId {
        DocId::new(&format!("d{n:04}")).unwrap()
    }

    fn change(n: u8, deps: &[u8]) -> Change {
        let deps = deps.iter().map(|dep| Hash([*dep; 32])).collect();
        Change { hash: Hash([n; 32]), deps, bytes: bytes::Bytes::new() }
    }

    fn missing(holes: &Holes) -> Vec<u8> {
        holes.kept.values().flatten().map(|hash| hash.0[0]).collect()
    }

    #[test]
    fn a_hole_is_there_from_the_first_change_left_out_until_the_last_has_come() {
        let mut holes = Holes::default();
        let all = [change(2, &[1]), change(3, &[2]), change(4, &[1]), change(5, &[1])];
        holes.note(&doc(0), &all, &[], &[]);
        assert!(!holes.is_empty());
        holes.committed();
        assert_eq!(missing(&holes), [3, 4, 5]);
        holes.note(&doc(0), &[], &[change(1, &[]), change(3, &[2])], &[]);
        // Not on disk.
        holes.failed();
        assert_eq!(missing(&holes), [3, 4, 5]);
        holes.note(&doc(0), &[], &[change(3, &[2]), change(4, &[1])], &[]);
        holes.note(&doc(1), &[], &[change(5, &[1])], &[]);
        holes.committed();
        assert_eq!(missing(&holes), [5]);
        // It was dropped elsewhere.
        holes.note(&doc(0), &[], &[], &[Hash([5; 32])]);
        assert_eq!(holes.staged(), [(doc(0), Heads::new())]);
        // Until that is on disk.
        assert!(!holes.is_empty());
        holes.committed();
        assert!(holes.is_empty());
    }

    #[test]
    fn all_are_asked_for_in_turn_and_no_sooner_than_after_a_second() {
        let kept = (0..PAGE + 2).map(|n| (doc(n), Heads::from_slice(&[Hash([1; 32])]))).collect();
        let mut holes = Holes::new(kept);
        assert_eq!(holes.due(Millis(LOOK_MS)).len(), PAGE);
        assert_eq!(holes.due(Millis(2 * LOOK_MS - 1)), []);
        assert_eq!(holes.due(Millis(2 * LOOK_MS)), [doc(PAGE), doc(PAGE + 1)]);
        assert_eq!(holes.due(Millis(3 * LOOK_MS))[0], doc(0));
    }

    #[test]
    fn no_more_are_noted_than_there_may_be() {
        let mut holes = Holes::default();
        for n in 0..MAX_HOLES + 3 {
            holes.note(&doc(n), &[change(2, &[1])], &[], &[]);
        }
        holes.committed();
        assert_eq!(holes.kept.len(), MAX_HOLES);
        let many: Vec<Change> = (2..=255).map(|n| change(n, &[1])).collect();
        holes.note(&doc(0), &many, &[], &[]);
        assert_eq!(holes.staged()[0].1.len(), MAX_MISSING_HEADS);
    }
}
