//! Where one reader is in what has changed, and what it comes to next: documents in order of their ids to begin
//! with, then the log where it is far behind, then what the hub keeps of the last commits.

use std::sync::Arc;

use bytes::Bytes;

use super::hub::{Head, Hub};
use super::{Since, Target};
use crate::base::limits::FRAME_TARGET_BYTES;
use crate::base::{DocId, Lsn, VersionVector};
use crate::node::NodeError;
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
    pub fn begin(hub: &Hub, store: &dyn Store, since: &Since, paged: bool) -> Result<Self, NodeError> {
        let at = |head: Head, listing| {
            let Head { lsn, vector } = head;
            Self { lsn, vector, listing, in_log: false, paged }
        };
        Ok(match since {
            Since::Now => at(hub.head(), None),
            Since::Beginning | Since::Version(_) => at(hub.head(), Some(Listing { after: None })),
            Since::Cursor(Cursor { vector, listed }) => {
                let listing = listed.clone().map(|after| Listing { after: Some(after) });
                if let Some(head) = hub.place_of(vector) {
                    return Ok(at(head, listing));
                }
                let start = store.seek(&|mark| vector.covers(mark))?;
                let lsn = Lsn(start.0.saturating_sub(1));
                Self { lsn, vector: Arc::new(vector.clone()), listing, in_log: true, paged }
            }
        })
    }

    /// The reader has been told of all that was given.
    pub fn cursor(&self) -> Cursor {
        let listed = self.listing.as_ref().map(|listing| listing.after.clone().unwrap_or_default());
        Cursor { vector: (*self.vector).clone(), listed }
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
            let reached = !more && self.lsn == hub.head().lsn;
            return Ok(Batch { docs, reached, listed: true, gap: false });
        }
        if !self.in_log
            && (!self.paged || self.lsn == hub.head().lsn)
            && let Some((docs, head, reached)) = hub.after(self.lsn, most, target)
        {
            // The log may have told of more already.
            if head.lsn > self.lsn {
                (self.lsn, self.vector) = (head.lsn, head.vector);
            }
            return Ok(Batch { docs, reached, listed: false, gap: false });
        }
        self.in_log = true;
        let head = hub.head();
        let entries = tokio::task::block_in_place(|| store.log(self.lsn.next(), FRAME_TARGET_BYTES))?;
        let (mut docs, mut gap) = (Vec::new(), false);
        for (lsn, bytes) in &entries {
            if docs.len() >= most {
                break;
            }
            self.lsn = *lsn;
            gap |= !self.take(bytes, target, &mut docs);
        }
        // Of the last entries there may be none where LSNs were skipped.
        let reached = self.lsn >= head.lsn || entries.is_empty();
        gap |= reached && !self.vector.covers(&head.vector);
        self.in_log = !reached;
        Ok(Batch { docs, reached, listed: false, gap })
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
        entry.counter <= known + 1
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
        (store, Hub::new(last, vector(entries)))
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
                assert!(walk.cursor().vector.covers(&hub.head().vector));
                return Some(docs);
            }
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
        log.1 = Hub::new(Lsn(7), vector(&[(1, 4), (2, 3), (3, 1)]));
        assert_eq!(told(&log, &[(1, 2), (2, 2), (3, 1)]), names(&["1/3", "2/3", "1/4"]));
        assert_eq!(told(&log, &[(1, 2), (2, 2)]), None);
    }
}
