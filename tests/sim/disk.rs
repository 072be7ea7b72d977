//! A node's disk as its engine sees it: the in-memory store, which answers before the fsync where that bug is planted.

use bytes::Bytes;
use syncline::base::{Bug, Change, DocId, Lsn, VersionVector, planted};
use syncline::store::{Commit, MemoryStore, Record, Recovered, Store, StoreError, Whole};

#[derive(Clone)]
pub struct Disk(pub MemoryStore);

impl Store for Disk {
    fn recover(&self) -> Result<Recovered, StoreError> {
        self.0.recover()
    }

    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        if planted(Bug::AcknowledgeBeforeFsync) {
            return self.0.commit_unsynced(commit);
        }
        self.0.commit(commit)
    }

    fn record(&self, doc: &DocId) -> Result<Option<Record>, StoreError> {
        self.0.record(doc)
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(DocId, Record)>, StoreError> {
        self.0.list(prefix, after, limit)
    }

    fn tail(&self, doc: &DocId, after: Lsn) -> Result<Vec<(Lsn, Change)>, StoreError> {
        self.0.tail(doc, after)
    }

    fn snapshot(&self, doc: &DocId) -> Result<Option<Bytes>, StoreError> {
        self.0.snapshot(doc)
    }

    fn whole(&self, doc: &DocId) -> Result<Option<Whole>, StoreError> {
        self.0.whole(doc)
    }

    fn log(&self, from: Lsn, max_bytes: usize) -> Result<Vec<(Lsn, Bytes)>, StoreError> {
        self.0.log(from, max_bytes)
    }

    fn seek(&self, fits: &dyn Fn(&VersionVector) -> bool) -> Result<Lsn, StoreError> {
        self.0.seek(fits)
    }

    fn marks(&self) -> Result<Vec<(Lsn, VersionVector)>, StoreError> {
        self.0.marks()
    }

    fn log_bytes(&self, below: Lsn) -> Result<u64, StoreError> {
        self.0.log_bytes(below)
    }
}
