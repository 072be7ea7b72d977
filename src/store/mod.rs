//! What a node keeps on disk: the trait with its contract, RocksDB, and an in-memory model for tests.

mod record;

pub use record::{Commit, Incarnation, LogItem, MetaKey, Record, Recovered, StoreError, TailItem};

use bytes::Bytes;

use crate::base::{Change, DocId, Lsn, VersionVector};

/// The contract of a store. (To be told in prose: layout, durability, crash, garbage.)
pub trait Store: Send + Sync + 'static {
    /// Everything that a start needs. Called once, before anything else.
    fn recover(&self) -> Result<Recovered, StoreError>;

    /// Writes all of `commit` or nothing, and returns when it is on disk. Readers see it only then.
    fn commit(&self, commit: &Commit) -> Result<(), StoreError>;

    fn record(&self, doc: &DocId) -> Result<Option<Record>, StoreError>;

    /// Records whose id begins with `prefix` and is above `after`, in ascending order of id bytes.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(DocId, Record)>, StoreError>;

    /// The changes of a document's tail that were committed above `after`, in order of LSN.
    fn tail(&self, doc: &DocId, after: Lsn) -> Result<Vec<(Lsn, Change)>, StoreError>;

    /// The document's folded part, as Automerge's save.
    fn snapshot(&self, doc: &DocId) -> Result<Option<Bytes>, StoreError>;

    /// Encoded entries from `from` on, at least one where there is any, then up to `max_bytes`.
    fn log(&self, from: Lsn, max_bytes: usize) -> Result<Vec<(Lsn, Bytes)>, StoreError>;

    /// The LSN after the last mark of which `fits` says yes, or the first LSN of the log.
    fn seek(&self, fits: &dyn Fn(&VersionVector) -> bool) -> Result<Lsn, StoreError>;
}
