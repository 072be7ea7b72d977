//! The in-memory model of a store: the same contract, and a disk that fails when told to.
//!
//! The model is exact about what readers see and what a crash leaves, and knows nothing of files. It is
//! for the simulator and for tests; a node that runs on it forgets everything when its process ends.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::Store;
use super::record::{Commit, MetaKey, Record, Recovered, StoreError, Whole};
use crate::base::{Change, DocId, Heads, Lsn, NodeId, VersionVector};

/// A handle on a modelled disk; clones share it.
#[derive(Clone, Default)]
pub struct MemoryStore(Arc<Mutex<Disk>>);

/// What the next start finds of a commit that failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Nothing: it never reached the disk.
    Lost,
    /// All of it: it reached the disk, and only the fsync's answer was lost.
    Kept,
}

type Judge = Box<dyn FnMut(&Commit) -> bool + Send>;

#[derive(Default)]
struct Disk {
    /// What survives a crash.
    durable: Tables,
    /// What readers see, where that may be more; kept from the first unsynced commit on.
    seen: Option<Tables>,
    /// Commits that `seen` has and `durable` lacks, in order.
    unsynced: Vec<Commit>,
    fail_next: usize,
    fail_when: Option<Judge>,
    break_next: Option<Outcome>,
    /// Refuses every commit until the next start, which finds what is in `kept`.
    broken: bool,
    kept: Option<Commit>,
    /// Bytes of entries, changes and snapshots that fit; any number where None.
    room: Option<usize>,
    /// Another handle has taken the disk over.
    closed: bool,
}

#[derive(Clone, Default)]
struct Tables {
    log: BTreeMap<Lsn, Bytes>,
    marks: BTreeMap<Lsn, VersionVector>,
    tails: FxHashMap<DocId, BTreeMap<Lsn, Vec<Change>>>,
    snapshots: FxHashMap<DocId, Bytes>,
    records: BTreeMap<DocId, Record>,
    known: BTreeMap<NodeId, Bytes>,
    holes: BTreeMap<DocId, Heads>,
    /// All but these two, and the LSNs, which the log tells.
    facts: Recovered,
}

impl MemoryStore {
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes `commit` so that readers see it, but not to disk: a crash before the next [`sync`] loses it.
    /// The contract has no such call. It is for putting the bug "acknowledged before the fsync" back.
    ///
    /// [`sync`]: MemoryStore::sync
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn commit_unsynced(&self, commit: &Commit) -> Result<(), StoreError> {
        let disk = &mut *self.disk();
        disk.admit(commit)?;
        disk.seen.get_or_insert_with(|| disk.durable.clone()).apply(commit);
        disk.unsynced.push(commit.clone());
        Ok(())
    }

    /// Brings all commits that were not synced to disk.
    ///
    /// # Errors
    /// When the store is broken or closed; what was not synced stays so.
    pub fn sync(&self) -> Result<(), StoreError> {
        let mut disk = self.disk();
        disk.usable("sync")?;
        disk.sync();
        Ok(())
    }

    /// Commits that are not on disk.
    pub fn unsynced(&self) -> usize {
        self.disk().unsynced.len()
    }

    /// Power fails: all commits that were not synced are gone.
    pub fn crash(&self) {
        self.crash_keeping(0);
    }

    /// Power fails, and the first `kept` of the commits that were not synced had reached the disk anyway.
    pub fn crash_keeping(&self, kept: usize) {
        let disk = &mut *self.disk();
        let unsynced = std::mem::take(&mut disk.unsynced);
        unsynced.iter().take(kept).for_each(|commit| disk.durable.apply(commit));
        disk.seen = None;
        disk.kept = None;
    }

    /// The process ends and starts again: a handle on what readers saw, and on what a broken commit left.
    /// Faults are mended and a full disk is emptied. Every other handle is closed. Nothing is copied.
    #[must_use]
    pub fn restart(&self) -> MemoryStore {
        let disk = &mut *self.disk();
        disk.sync();
        if let Some(kept) = disk.kept.take() {
            disk.durable.apply(&kept);
        }
        let durable = std::mem::take(&mut disk.durable);
        *disk = Disk { closed: true, ..Disk::default() };
        Self(Arc::new(Mutex::new(Disk { durable, ..Disk::default() })))
    }

    /// A backup, or a copied folder: another disk with all that is durable on this one now.
    #[must_use]
    pub fn copy(&self) -> MemoryStore {
        let durable = self.disk().durable.clone();
        Self(Arc::new(Mutex::new(Disk { durable, ..Disk::default() })))
    }

    /// The next `commits` commits fail, and nothing of them is ever found. Those after them succeed.
    pub fn fail_next(&self, commits: usize) {
        self.disk().fail_next = commits;
    }

    /// Commits of which `judge` says yes fail as by [`MemoryStore::fail_next`], until the next start. It
    /// must not call the store.
    pub fn fail_when(&self, judge: impl FnMut(&Commit) -> bool + Send + 'static) {
        self.disk().fail_when = Some(Box::new(judge));
    }

    /// The next commit fails, and with it all until the next start, as with RocksDB. `outcome` says
    /// whether a restart finds it; a crash loses it either way.
    pub fn break_next(&self, outcome: Outcome) {
        self.disk().break_next = Some(outcome);
    }

    /// The disk has room for `max_bytes` of entries, changes and snapshots, those that are there included.
    /// Commits past it find it full and write nothing; later ones that fit succeed. What a commit takes away
    /// makes room for those after it.
    pub fn fill(&self, max_bytes: usize) {
        self.disk().room = (max_bytes < usize::MAX).then_some(max_bytes);
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        // No code panics while it holds the lock but a test's own judge; the disk is whole then.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<T, StoreError> {
        let disk = self.disk();
        if disk.closed {
            return Err(failed("read", "it was closed by a restart"));
        }
        Ok(read(disk.seen.as_ref().unwrap_or(&disk.durable)))
    }
}

impl Disk {
    /// Does the disk take this commit?
    fn admit(&mut self, commit: &Commit) -> Result<(), StoreError> {
        self.usable("commit")?;
        if let Some(outcome) = self.break_next.take() {
            self.broken = true;
            self.kept = (outcome == Outcome::Kept).then(|| commit.clone());
            return Err(failed("commit", "broken on demand"));
        }
        if self.fail_next > 0 {
            self.fail_next -= 1;
            return Err(failed("commit", "failed on demand"));
        }
        if self.fail_when.as_mut().is_some_and(|judge| judge(commit)) {
            return Err(failed("commit", "failed on demand"));
        }
        let used = || self.seen.as_ref().unwrap_or(&self.durable).bytes();
        if self.room.is_some_and(|room| used().saturating_add(size(commit)) > room) {
            return Err(StoreError::Full { operation: "commit" });
        }
        Ok(())
    }

    fn usable(&self, operation: &'static str) -> Result<(), StoreError> {
        match (self.closed, self.broken) {
            (true, _) => Err(failed(operation, "it was closed by a restart")),
            (_, true) => Err(failed(operation, "it broke, and was not opened again since")),
            _ => Ok(()),
        }
    }

    fn sync(&mut self) {
        self.unsynced.drain(..).for_each(|commit| self.durable.apply(&commit));
    }
}

impl Tables {
    fn apply(&mut self, commit: &Commit) {
        if let Some(first) = commit.trim {
            self.log = self.log.split_off(&first);
            self.marks = self.marks.split_off(&first);
        }
        for doc in &commit.drops {
            self.records.remove(doc);
            self.snapshots.remove(doc);
            self.tails.remove(doc);
        }
        self.log.extend(commit.log.iter().map(|item| (item.lsn, item.bytes.clone())));
        for fold in &commit.folds {
            self.snapshots.insert(fold.doc.clone(), fold.snapshot.clone());
            if let Some(tail) = self.tails.get_mut(&fold.doc) {
                fold.folded.iter().for_each(|lsn| drop(tail.remove(lsn)));
            }
        }
        for item in &commit.tail {
            self.tails.entry(item.doc.clone()).or_default().insert(item.lsn, item.changes.clone());
        }
        self.records.extend(commit.records.iter().cloned());
        self.marks.extend(commit.marks.iter().cloned());
        if let Some((vector, digest)) = &commit.vector {
            self.facts.vector.clone_from(vector);
            self.facts.digest = *digest;
        }
        if let Some(floor) = &commit.floor {
            self.facts.floor.clone_from(floor);
        }
        self.known.extend(commit.known.iter().cloned());
        self.known.retain(|_, row| !row.is_empty());
        self.holes.extend(commit.holes.iter().cloned());
        self.holes.retain(|_, missing| !missing.is_empty());
        for fact in &commit.meta {
            match fact {
                MetaKey::Node(node) => self.facts.node = Some(*node),
                MetaKey::Cluster(cluster) => self.facts.cluster = Some(cluster.clone()),
                MetaKey::Incarnation(incarnation) => self.facts.incarnation = Some(*incarnation),
                MetaKey::Untrusted(untrusted) => self.facts.untrusted = *untrusted,
                MetaKey::Ahead(vector) => self.facts.ahead.clone_from(vector),
            }
        }
    }

    fn tail(&self, doc: &DocId, after: Lsn) -> Vec<(Lsn, Change)> {
        let items = self.tails.get(doc).into_iter();
        let items = items.flat_map(|tail| tail.range((Bound::Excluded(after), Bound::Unbounded)));
        items.flat_map(|(lsn, changes)| changes.iter().map(|change| (*lsn, change.clone()))).collect()
    }

    /// Of entries, changes and snapshots.
    fn bytes(&self) -> usize {
        let log: usize = self.log.values().map(Bytes::len).sum();
        let tails = self.tails.values().flat_map(BTreeMap::values).flatten();
        let tails: usize = tails.map(|change| change.bytes.len()).sum();
        log + tails + self.snapshots.values().map(Bytes::len).sum::<usize>()
    }
}

impl Store for MemoryStore {
    fn recover(&self) -> Result<Recovered, StoreError> {
        self.read(|tables| {
            let last = |lsn: Option<&Lsn>| lsn.copied().unwrap_or_default();
            let last_lsn = last(tables.log.keys().next_back()).max(last(tables.marks.keys().next_back()));
            Recovered {
                known: tables.known.iter().map(|(node, row)| (*node, row.clone())).collect(),
                holes: tables.holes.iter().map(|(doc, missing)| (doc.clone(), missing.clone())).collect(),
                first_lsn: tables.log.first_key_value().map_or(last_lsn.next(), |(lsn, _)| *lsn),
                last_lsn,
                ..tables.facts.clone()
            }
        })
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let mut disk = self.disk();
        disk.admit(commit)?;
        // One fsync covers all that was written before it.
        disk.sync();
        if let Some(seen) = &mut disk.seen {
            seen.apply(commit);
        }
        disk.durable.apply(commit);
        Ok(())
    }

    fn record(&self, doc: &DocId) -> Result<Option<Record>, StoreError> {
        self.read(|tables| tables.records.get(doc).cloned())
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(DocId, Record)>, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.read(|tables| {
            let from = tables.records.range::<str, _>((start, Bound::Unbounded));
            let under = from.take_while(|(doc, _)| doc.as_str().starts_with(prefix));
            under.take(limit).map(|(doc, record)| (doc.clone(), record.clone())).collect()
        })
    }

    fn tail(&self, doc: &DocId, after: Lsn) -> Result<Vec<(Lsn, Change)>, StoreError> {
        self.read(|tables| tables.tail(doc, after))
    }

    fn snapshot(&self, doc: &DocId) -> Result<Option<Bytes>, StoreError> {
        self.read(|tables| tables.snapshots.get(doc).cloned())
    }

    fn whole(&self, doc: &DocId) -> Result<Option<Whole>, StoreError> {
        self.read(|tables| {
            let record = tables.records.get(doc)?.clone();
            let snapshot = tables.snapshots.get(doc).cloned();
            Some(Whole { record, snapshot, tail: tables.tail(doc, Lsn(0)) })
        })
    }

    fn log(&self, from: Lsn, max_bytes: usize) -> Result<Vec<(Lsn, Bytes)>, StoreError> {
        self.read(|tables| {
            let mut found = Vec::new();
            let mut bytes = 0_usize;
            for (lsn, entry) in tables.log.range(from..) {
                bytes = bytes.saturating_add(entry.len());
                if !found.is_empty() && bytes > max_bytes {
                    break;
                }
                found.push((*lsn, entry.clone()));
            }
            found
        })
    }

    fn seek(&self, fits: &dyn Fn(&VersionVector) -> bool) -> Result<Lsn, StoreError> {
        self.read(|tables| {
            let first = tables.log.first_key_value().map_or(Lsn(1), |(lsn, _)| *lsn);
            let mark = tables.marks.iter().rev().find(|(_, vector)| fits(vector));
            mark.map_or(first, |(lsn, _)| Lsn(lsn.0.saturating_add(1)).max(first))
        })
    }

    fn marks(&self) -> Result<Vec<(Lsn, VersionVector)>, StoreError> {
        self.read(|tables| tables.marks.iter().map(|(lsn, vector)| (*lsn, vector.clone())).collect())
    }

    fn log_bytes(&self, below: Lsn) -> Result<u64, StoreError> {
        self.read(|tables| tables.log.range(..below).map(|(_, entry)| entry.len() as u64).sum())
    }
}

/// Bytes that it adds of entries, changes and snapshots.
fn size(commit: &Commit) -> usize {
    let log: usize = commit.log.iter().map(|item| item.bytes.len()).sum();
    let changes = commit.tail.iter().flat_map(|item| &item.changes);
    let snapshots: usize = commit.folds.iter().map(|fold| fold.snapshot.len()).sum();
    log + changes.map(|change| change.bytes.len()).sum::<usize>() + snapshots
}

fn failed(operation: &'static str, reason: &str) -> StoreError {
    StoreError::Failed { operation, subject: "in memory".to_owned(), reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::LogItem;

    fn entry(lsn: u64) -> Commit {
        let bytes = vec![0; 10].into();
        Commit { log: vec![LogItem { lsn: Lsn(lsn), bytes }], ..Commit::default() }
    }

    fn last(store: &MemoryStore) -> u64 {
        store.recover().unwrap().last_lsn.0
    }

    #[test]
    fn a_crash_loses_what_was_not_synced_and_only_that() {
        let store = MemoryStore::new();
        store.commit(&entry(1)).unwrap();
        store.commit_unsynced(&entry(2)).unwrap();
        store.sync().unwrap();
        store.commit_unsynced(&entry(3)).unwrap();
        store.commit_unsynced(&entry(4)).unwrap();
        assert_eq!((last(&store), store.unsynced()), (4, 2));
        assert_eq!(last(&store.copy()), 2);
        store.crash();
        assert_eq!((last(&store), last(&store.restart())), (2, 2));
    }

    #[test]
    fn a_crash_may_keep_the_first_of_what_was_not_synced() {
        let store = MemoryStore::new();
        (1..=3).for_each(|lsn| store.commit_unsynced(&entry(lsn)).unwrap());
        store.crash_keeping(2);
        assert_eq!(last(&store.restart()), 2);
    }

    #[test]
    fn a_synced_commit_syncs_those_before_it() {
        let store = MemoryStore::new();
        store.commit_unsynced(&entry(1)).unwrap();
        store.commit(&entry(2)).unwrap();
        store.commit_unsynced(&entry(3)).unwrap();
        store.crash();
        let log = store.log(Lsn(0), usize::MAX).unwrap();
        assert_eq!(log.into_iter().map(|(lsn, _)| lsn.0).collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn a_restart_without_a_crash_keeps_what_was_seen_and_closes_the_old_handle() {
        let store = MemoryStore::new();
        store.commit_unsynced(&entry(1)).unwrap();
        let next = store.restart();
        assert_eq!(last(&next), 1);
        assert!(matches!(store.commit(&entry(2)), Err(StoreError::Failed { .. })));
        assert!(store.recover().is_err());
        next.commit(&entry(2)).unwrap();
    }

    #[test]
    fn commits_fail_on_demand_and_leave_nothing() {
        let store = MemoryStore::new();
        store.fail_next(2);
        store.fail_when(|commit| commit.log.iter().any(|item| item.lsn == Lsn(4)));
        let done: Vec<_> = (1..=5).filter(|lsn| store.commit(&entry(*lsn)).is_ok()).collect();
        assert_eq!(done, [3, 5]);
        let log = store.restart().log(Lsn(0), usize::MAX).unwrap();
        assert_eq!(log.into_iter().map(|(lsn, _)| lsn.0).collect::<Vec<_>>(), [3, 5]);
    }

    #[test]
    fn a_broken_store_refuses_commits_until_its_next_start() {
        for (outcome, crash, found) in
            [(Outcome::Lost, false, 1), (Outcome::Kept, false, 2), (Outcome::Kept, true, 1)]
        {
            let store = MemoryStore::new();
            store.commit(&entry(1)).unwrap();
            store.break_next(outcome);
            assert!(store.commit(&entry(2)).is_err());
            assert!(store.commit(&entry(3)).is_err());
            assert_eq!(last(&store), 1);
            if crash {
                store.crash();
            }
            let store = store.restart();
            assert_eq!(last(&store), found, "{outcome:?}, crash: {crash}");
            store.commit(&entry(3)).unwrap();
        }
    }

    #[test]
    fn a_full_disk_takes_only_what_fits() {
        let store = MemoryStore::new();
        store.fill(25);
        store.commit(&entry(1)).unwrap();
        store.commit(&entry(2)).unwrap();
        assert_eq!(store.commit(&entry(3)), Err(StoreError::Full { operation: "commit" }));
        assert_eq!(last(&store), 2);
        store.fill(30);
        store.commit(&entry(3)).unwrap();
        store.fill(35);
        assert!(store.commit(&entry(4)).is_err());
        store.commit(&Commit { trim: Some(Lsn(2)), ..Commit::default() }).unwrap();
        store.commit(&entry(4)).unwrap();
    }
}
