//! The node's store, watched: every commit is timed, and damage is told.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use tracing::error;

use super::Metrics;
use crate::base::{Change, DocId, Lsn, VersionVector};
use crate::store::{Commit, Record, Recovered, Store, StoreError, StoreFigures, Whole};

/// See the module.
pub(super) struct Watched {
    pub store: Arc<dyn Store>,
    pub metrics: Arc<Metrics>,
}

impl Watched {
    /// What is damaged is told, each time: whoever reads the log sees how much there is of it.
    fn seen<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error @ StoreError::Damaged { .. }) = &result {
            self.metrics.damage.add(1);
            self.metrics.first_damage.get_or_init(|| error.to_string());
            error!(%error, "stored data is damaged: stop this node and start it with --repair");
        }
        result
    }
}

impl Store for Watched {
    fn commit(&self, commit: &Commit) -> Result<(), StoreError> {
        let start = Instant::now();
        let done = self.store.commit(commit);
        self.metrics.fsyncs.add_time(start.elapsed());
        self.seen(done)
    }

    fn recover(&self) -> Result<Recovered, StoreError> {
        self.seen(self.store.recover())
    }

    fn record(&self, doc: &DocId) -> Result<Option<Record>, StoreError> {
        self.seen(self.store.record(doc))
    }

    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(DocId, Record)>, StoreError> {
        self.seen(self.store.list(prefix, after, limit))
    }

    fn tail(&self, doc: &DocId, after: Lsn) -> Result<Vec<(Lsn, Change)>, StoreError> {
        self.seen(self.store.tail(doc, after))
    }

    fn snapshot(&self, doc: &DocId) -> Result<Option<Bytes>, StoreError> {
        self.seen(self.store.snapshot(doc))
    }

    fn whole(&self, doc: &DocId) -> Result<Option<Whole>, StoreError> {
        self.seen(self.store.whole(doc))
    }

    fn log(&self, from: Lsn, max_bytes: usize) -> Result<Vec<(Lsn, Bytes)>, StoreError> {
        self.seen(self.store.log(from, max_bytes))
    }

    fn seek(&self, fits: &dyn Fn(&VersionVector) -> bool) -> Result<Lsn, StoreError> {
        self.seen(self.store.seek(fits))
    }

    fn marks(&self) -> Result<Vec<(Lsn, VersionVector)>, StoreError> {
        self.seen(self.store.marks())
    }

    fn log_bytes(&self, below: Lsn) -> Result<u64, StoreError> {
        self.seen(self.store.log_bytes(below))
    }

    fn tidy(&self) -> Result<(), StoreError> {
        self.seen(self.store.tidy())
    }

    fn figures(&self) -> Option<StoreFigures> {
        self.store.figures()
    }
}
