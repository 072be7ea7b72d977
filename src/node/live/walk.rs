//! Where one reader is in what has changed, and what it comes to next: documents in order of their ids to begin
//! with, then the log where it is far behind, then what the hub keeps of the last commits.

use std::cell::Cell;
use std::sync::Arc;

use bytes::Bytes;

use super::hub::{Head, Hub};
use super::{Since, Target};
use crate::base::limits::FRAME_TARGET_BYTES;
use crate::base::{Bug, DocId, Lsn, VersionVector, planted};
use crate::store::{Store, StoreError};
use crate::wire::{Cursor, Entry};

/// See the module.
pub(super) struct Walk {
    /// The reader has been told of all up to here, but for what is still to be listed.
    lsn: Lsn,
    /// The same, in words that other nodes understand; or more than that, where it was told elsewhere.
    vector: Arc<VersionVector>,
    /// To be listed: documents after this id.
    listing: Option<Listing>,
    /// What the hub keeps does not reach back to `lsn`, or has what the reader was told elsewhere.
    in_log: bool,
    /// The reader was told of all documents as they are here, and of each commit since. Else there may be something
    /// that a repair brought before its end, when the vector comes to name it, and that the reader has not.
    whole: bool,
    /// So often had something come that is in no log.
    merges: u64,
    /// Where the reader has read the log, some of what has come is not in it.
    skipped: bool,
    /// Not more documents are wanted than asked for, so that what the hub keeps, by commits, will not do.
    paged: bool,
}

struct Listing {
    after: Option<String>,
}

/// Documents to tell of.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Batch {
    pub docs: Vec<DocId>,
    /// When these are told, all is, up to what was on disk when this was asked for.
    pub reached: bool,
    /// Deleted ones are of no interest: the reader has never heard of any.
    pub listed: bool,
    /// The log does not have all that the reader lacks: it was trimmed, or things came otherwise. Nothing more
    /// can be said.
    pub gap: bool,
}

impl Walk {
    /// # Errors
    /// When storage fails.
    pub fn begin(hub: &Hub, store: &dyn Store, since: &Since, paged: bool) -> Result<Self, StoreError> {
        let at = |head: Head, listing| {
            let (whole, skipped) = (true, false);
            let Head { lsn, vector, merges } = head;
            Self { lsn, vector, merges, listing, in_log: false, whole, skipped, paged }
        };
        Ok(match since {
            Since::Now => at(hub.head(), None),
            Since::Beginning | Since::Version(_) => at(hub.head(), Some(Listing { after: None })),
            Since::Cursor(Cursor { vector, listed }) => {
                let listing = listed.clone().map(|after| Listing { after: Some(after) });
                if let Some(head) = hub.place_of(vector) {
                    return Ok(Self { whole: false, ..at(head, listing) });
                }
                let found = Cell::new(false);
                let fits = |mark: &VersionVector| {
                    // What is closed is named by no counter.
                    let fits = vector.covers(mark) && vector.closes(mark);
                    found.set(found.get() || fits);
                    fits
                };
                let lsn = Lsn(store.seek(&fits)?.0.saturating_sub(1));
                // What was below was cut off, or came otherwise.
                let skipped = lsn > Lsn(0) && !found.get();
                let (vector, merges) = (Arc::new(vector.clone()), hub.head().merges);
                Self { lsn, vector, merges, listing, in_log: true, whole: false, skipped, paged }
            }
        })
    }

    /// Does the cursor name all that the reader has been told of the log?
    pub fn is_whole(&self, hub: &Hub) -> bool {
        hub.is_whole(self.lsn)
    }

    /// The reader has been told of all that was given.
    pub fn cursor(&self, hub: &Hub) -> Cursor {
        let listed = self.listing.as_ref().map(|listing| listing.after.clone().unwrap_or_default());
        Cursor { vector: hub.whole(self.lsn, &self.vector), listed }
    }

    /// What comes next: about `most` documents, each perhaps several times; where it is paged, never more. To be
    /// asked for when all before is told.
    ///
    /// # Errors
    /// When storage fails.
    pub fn next(
        &mut self,
        hub: &Hub,
        store: &dyn Store,
        target: &Target,
        most: usize,
    ) -> Result<Batch, StoreError> {
        if let Some(listing) = &mut self.listing {
            let (docs, more) = listing.next(store, target, most)?;
            if !more {
                self.listing = None;
            }
            // Whoever came with a cursor may lack what is in no log: that is found when it is read.
            let reached = !more && !self.in_log && self.lsn == hub.head().lsn;
            return Ok(Batch { docs, reached, listed: true, gap: false });
        }
        if !self.in_log
            && (!self.paged || self.lsn == hub.head().lsn)
            && let Some((docs, head, reached)) = hub.after(self.lsn, most, target)
        {
            let gap = !self.whole && head.merges > self.merges;
            self.merges = head.merges;
            // The log may have told of more already.
            if head.lsn >= self.lsn {
                self.lsn = head.lsn;
                match self.whole {
                    true => self.vector = head.vector,
                    false => drop(Arc::make_mut(&mut self.vector).merge(&head.vector)),
                }
            }
            return Ok(Batch { docs, reached, listed: false, gap });
        }
        (self.in_log, self.whole) = (true, false);
        let head = hub.head();
        let entries = tokio::task::block_in_place(|| store.log(self.lsn.next(), FRAME_TARGET_BYTES))?;
        let (mut docs, mut gap) = (Vec::new(), false);
        for (lsn, bytes) in &entries {
            if docs.len() >= most {
                break;
            }
            self.skipped |= *lsn > self.lsn.next();
            self.lsn = *lsn;
            gap |= !self.take(bytes, target, &mut docs);
        }
        // Of the last entries there may be none where LSNs were skipped.
        let reached = self.lsn >= head.lsn || entries.is_empty();
        self.skipped |= reached && self.lsn < head.lsn;
        gap |= reached && !self.has_all(&head);
        gap &= !planted(Bug::SkipGaps);
        if reached && !gap {
            Arc::make_mut(&mut self.vector).merge(&head.vector);
        }
        self.in_log = !reached;
        if reached {
            // What else has come up to there has no entries: when it is named, or whole, that is noticed.
            self.lsn = self.lsn.max(head.lsn);
        }
        Ok(Batch { docs, reached, listed: false, gap })
    }

    /// Is all told that was on disk then? What is closed is named by no counter: that the reader has it is known where
    /// that was closed already, or where all came by the log since.
    fn has_all(&self, head: &Head) -> bool {
        self.vector.covers(&head.vector)
            && (!self.skipped || self.vector.closes(&head.vector))
            && head.merges == self.merges
    }

    /// False where it is not its origin's next after what the reader has.
    fn take(&mut self, bytes: &Bytes, target: &Target, docs: &mut Vec<DocId>) -> bool {
        // What is no entry was committed by nobody; a link that sends it would say so.
        let Ok(entry) = Entry::from_bytes(bytes) else { return true };
        let known = self.vector.get(&entry.origin);
        if entry.counter > known {
            Arc::make_mut(&mut self.vector).raise(entry.origin, entry.counter);
            if target.takes(&entry.doc) {
                docs.push(entry.doc);
            }
        }
        entry.counter <= known.saturating_add(1)
    }
}

impl Listing {
    fn next(
        &mut self,
        store: &dyn Store,
        target: &Target,
        most: usize,
    ) -> Result<(Vec<DocId>, bool), StoreError> {
        let prefix = match target {
            Target::Doc(doc) => return Ok((vec![doc.clone()], false)),
            Target::Prefix(prefix) => prefix,
        };
        let after = self.after.as_deref().filter(|after| !after.is_empty());
        let rows = tokio::task::block_in_place(|| store.list(prefix, after, most))?;
        let more = rows.len() == most;
        if let Some((last, _)) = rows.last() {
            self.after = Some(last.to_string());
        }
        let there = rows.into_iter().filter(|(_, record)| !record.is_absent());
        Ok((there.map(|(doc, _)| doc).collect(), more))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Change, Hash, Heads, NodeId, Origin};
    use crate::store::{Commit, LogItem, MemoryStore};

    fn origin(n: u8) -> Origin {
        Origin { node: NodeId([n; 8]), incarnation: 1, random: 0 }
    }

    fn vector(of: &[(u8, u64)]) -> VersionVector {
        of.iter().map(|(n, counter)| (origin(*n), *counter)).collect()
    }

    /// A log of entries by these origins with these counters, each of a document of that name, from an LSN on.
    fn log(first: u64, entries: &[(u8, u64)]) -> (MemoryStore, Hub) {
        let store = MemoryStore::new();
        let item = |(lsn, (n, counter)): (u64, &(u8, u64))| {
            let doc = DocId::new(&format!("{n}/{counter}")).unwrap();
            let change = Change { hash: Hash::default(), deps: Heads::new(), bytes: Bytes::new() };
            let (held, changes) = (VersionVector::new(), vec![change]);
            let entry = Entry { origin: origin(*n), counter: *counter, held, doc, changes, drops: None };
            LogItem { lsn: Lsn(lsn), bytes: entry.to_bytes().into() }
        };
        let log = (first..).zip(entries).map(item).collect::<Vec<_>>();
        let last = log.last().map_or(Lsn(0), |item| item.lsn);
        store.commit(&Commit { log, ..Commit::default() }).unwrap();
        (store, Hub::new(last, vector(entries), true))
    }

    /// Documents that a reader who has this is told of; None where it cannot be.
    fn told(log: &(MemoryStore, Hub), has: &[(u8, u64)]) -> Option<Vec<String>> {
        let (store, hub) = log;
        let cursor = Cursor { vector: vector(has), listed: None };
        let mut walk = Walk::begin(hub, store, &Since::Cursor(cursor), false).unwrap();
        let mut docs = Vec::new();
        loop {
            let batch = walk.next(hub, store, &Target::Prefix(String::new()), 2).unwrap();
            if batch.gap {
                return None;
            }
            docs.extend(batch.docs.iter().map(DocId::to_string));
            if batch.reached {
                assert!(walk.cursor(hub).vector.covers(&hub.head().vector));
                return Some(docs);
            }
        }
    }

    /// The same of who has begun already, and goes on to the end.
    fn goes_on(walk: &mut Walk, (store, hub): &(MemoryStore, Arc<Hub>)) -> Option<Vec<String>> {
        let mut docs = Vec::new();
        loop {
            let batch = walk.next(hub, store, &Target::Prefix(String::new()), 9).unwrap();
            if batch.gap {
                return None;
            }
            docs.extend(batch.docs.iter().map(DocId::to_string));
            if batch.reached {
                return Some(docs);
            }
        }
    }

    #[test]
    fn who_came_while_a_repair_was_under_way_does_not_go_on_when_it_ends() {
        let (store, hub) = log(1, &[(1, 1)]);
        let (log, doc) = ((store, Arc::new(hub)), || [DocId::new("repaired").unwrap()].into_iter());
        let _ear = log.1.listen(Target::Prefix(String::new()), Arc::default());
        let begin = |since: Since| Walk::begin(&log.1, &log.0, &since, false).unwrap();
        let cursor = || Since::Cursor(Cursor { vector: vector(&[(1, 1)]), listed: None });
        let mut all = begin(Since::Now);
        log.1.committed(Lsn(2), &vector(&[(1, 1)]), false, true, doc());
        let mut some = begin(cursor());
        assert_eq!(goes_on(&mut all, &log), names(&["repaired"]));
        assert_eq!(goes_on(&mut some, &log), names(&[]));
        log.1.committed(Lsn(2), &vector(&[(1, 1), (2, 9)]), true, true, [].into_iter());
        assert_eq!(goes_on(&mut all, &log), names(&[]));
        assert_eq!(all.cursor(&log.1).vector, vector(&[(1, 1), (2, 9)]));
        assert_eq!(goes_on(&mut some, &log), None);
    }

    #[test]
    fn what_is_closed_by_now_is_told_where_the_log_has_it_and_not_taken_for_known() {
        let mut closed = vector(&[(2, 1)]);
        closed.close(origin(1).node, 1);
        let has = |counter| Since::Cursor(Cursor { vector: vector(&[(1, counter)]), listed: None });
        let commit = |store: &MemoryStore| {
            let marks = vec![(Lsn(4), closed.clone())];
            store.commit(&Commit { marks, ..Commit::default() }).unwrap();
        };
        // What went before the log, or came after it in no log, may be what is closed.
        for (first, after, told) in [(1, 0, names(&["1/2", "2/1"])), (2, 0, None), (1, 2, None)] {
            let (store, _) = log(first, &[(1, 1), (1, 2), (2, 1)]);
            commit(&store);
            let log = (store, Arc::new(Hub::new(Lsn(first + 2 + after), closed.clone(), true)));
            let mut walk = Walk::begin(&log.1, &log.0, &has(1), false).unwrap();
            assert_eq!(goes_on(&mut walk, &log), told);
        }
    }

    fn names(of: &[&str]) -> Option<Vec<String>> {
        Some(of.iter().map(|&name| name.to_owned()).collect())
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_reader_is_told_what_it_lacks_of_each_origin() {
        let log = log(1, &[(1, 1), (2, 1), (1, 2), (2, 2), (1, 3)]);
        assert_eq!(told(&log, &[]), names(&["1/1", "2/1", "1/2", "2/2", "1/3"]));
        assert_eq!(told(&log, &[(1, 2), (2, 1)]), names(&["2/2", "1/3"]));
        assert_eq!(told(&log, &[(2, 2), (1, 1)]), names(&["1/2", "1/3"]));
        assert_eq!(told(&log, &[(1, 3), (2, 2)]), names(&[]));
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_the_log_no_longer_has_is_noticed() {
        // Of the first two entries of either origin nothing is left; of a third origin nothing at all.
        let mut log = log(5, &[(1, 3), (2, 3), (1, 4)]);
        assert_eq!(told(&log, &[(1, 2), (2, 2)]), names(&["1/3", "2/3", "1/4"]));
        assert_eq!(told(&log, &[(1, 1), (2, 2)]), None);
        assert_eq!(told(&log, &[(1, 3)]), None);
        log.1 = Hub::new(Lsn(7), vector(&[(1, 4), (2, 3), (3, 1)]), true);
        assert_eq!(told(&log, &[(1, 2), (2, 2), (3, 1)]), names(&["1/3", "2/3", "1/4"]));
        assert_eq!(told(&log, &[(1, 2), (2, 2)]), None);
    }
}
