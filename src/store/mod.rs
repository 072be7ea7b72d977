//! What a node keeps on disk: the contract of a store, RocksDB, and an in-memory model for tests.
//!
//! # Layout
//!
//! A store holds five things, of which a [`Commit`] may write any at once:
//!
//! - the **log**: one encoded entry per LSN, in the order in which this node committed. Links and readers
//!   that are behind read it;
//! - **marks**: at some LSNs the version vector after that entry, so that a reader of the log can start
//!   near what it lacks instead of at the beginning. The **floor** is the vector below which the log cannot
//!   serve at all;
//! - per document a **record** (enough to list, compare and accept changes), a **snapshot** (what has been
//!   folded) and a **tail** (changes, by the LSN of the entry that brought them, that are not folded yet).
//!   Snapshot and tail together are the document;
//! - the **vector** and digest: what this node has;
//! - single **facts**: who this node is, which incarnation it last began, what it knows of others.
//!
//! The store understands none of it. It does not compute heads, does not compare vectors, does not check
//! that an LSN is new or that a record agrees with its tail: the committer, the only writer, answers for
//! that. What it is handed it gives back unchanged.
//!
//! # Durability
//!
//! [`Store::commit`] returns `Ok` when the commit is on the disk, and not before; so a caller may answer,
//! acknowledge or send whatever hangs on it at once. A commit is atomic: readers and restarts see all of
//! it or nothing. Commits are ordered: who sees one sees all before it. Readers see a commit only when it
//! is durable, so nothing that was ever read is lost in a crash. Within a commit a later item replaces an
//! earlier one of the same key; trimming and drops take effect first, and folds before tails are written.
//!
//! There is one writer. Commits from several threads are safe, and ordered in some way, but each pays for
//! its own fsync: gathering is the committer's task. Reads may come from any number of threads, never wait
//! for a commit, and each single read shows one moment; two reads may show two. So whoever loads a document
//! asks for the [`Whole`] of it: between reads of snapshot and tail it may be folded or dropped.
//!
//! # Crash
//!
//! After a crash, or a loss of power, all commits that returned `Ok` are there, and of the one that was
//! under way all or nothing. A commit that failed has an unknown outcome until the next start: no reader
//! of this process sees it, yet the next start may find it, whole. After a failure the store may refuse
//! every further commit until it is opened again (RocksDB does, when its log could not be written);
//! reads go on. So after [`StoreError::Full`] too: free the disk, then restart. A store that does take a
//! further commit has dropped the failed one for good, so its LSNs may be used again.
//!
//! A disk that acknowledges an fsync and then forgets it breaks all of this, and nothing here notices
//! beyond what checksums and the manifest's list of logs reveal at the next start.
//!
//! # Damage
//!
//! What was written carries checksums. A read of damaged data fails with [`StoreError::Damaged`], which
//! names what was read; it never gives other bytes than those written. A log cut short by a crash is
//! repaired at the start by dropping what comes after the last whole commit.
//!
//! # Garbage
//!
//! A commit that folds names the changes that leave the tail, and brings the record that says so. One that
//! trims the log must keep the last entry or a mark above it, since the next start learns its last LSN from them; readers from
//! below find the first that is left, and are not told what they missed: the floor, which the same commit
//! raises, tells who must not ask. What has left takes no room for long: a store gives it back by itself, the
//! files of a trimmed log at once. LSNs that no commit used are skipped by readers of the log.

#[cfg(test)]
mod conformance;
mod encoding;
mod families;
mod keys;
mod memory;
mod record;
mod rocks;

pub use memory::{MemoryStore, Outcome};
pub use record::{
    Commit, FamilyFigures, Fold, Incarnation, LogItem, MetaKey, Record, Recovered, StoreError, StoreFigures,
    TailItem, Whole,
};
pub use rocks::{FORMAT, Found, RocksStore};

use bytes::Bytes;

use crate::base::{Change, DocId, Lsn, VersionVector};

/// What every store promises; the module's own text tells the whole. All calls block.
pub trait Store: Send + Sync + 'static {
    /// Everything that a start needs. Called once, before anything else.
    fn recover(&self) -> Result<Recovered, StoreError>;

    /// Writes all of `commit` or nothing, and returns when it is on disk. Readers see it only then.
    ///
    /// # Errors
    /// [`StoreError::Full`] or [`StoreError::Failed`]: the outcome is unknown until the next start.
    fn commit(&self, commit: &Commit) -> Result<(), StoreError>;

    /// None where no commit ever named the document, or it was dropped since.
    fn record(&self, doc: &DocId) -> Result<Option<Record>, StoreError>;

    /// At most `limit` records whose id begins with `prefix` and is above `after`, in ascending order of
    /// id bytes.
    fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(DocId, Record)>, StoreError>;

    /// The changes of a document's tail that were committed above `after`, in order of LSN, and within an
    /// LSN in the order in which they were written.
    fn tail(&self, doc: &DocId, after: Lsn) -> Result<Vec<(Lsn, Change)>, StoreError>;

    /// The document's folded part, as Automerge's save; None where nothing was folded.
    fn snapshot(&self, doc: &DocId) -> Result<Option<Bytes>, StoreError>;

    /// The record with all changes of the document, as of one moment; None where there is no record.
    fn whole(&self, doc: &DocId) -> Result<Option<Whole>, StoreError>;

    /// Encoded entries from `from` on in order of LSN, skipping none that are there: at least one where
    /// there is any, then as many as fit into `max_bytes` altogether.
    fn log(&self, from: Lsn, max_bytes: usize) -> Result<Vec<(Lsn, Bytes)>, StoreError>;

    /// The LSN after the last mark of which `fits` says yes, or the first LSN of the log (1 where it is
    /// empty). Reading from there misses nothing that the vector asked about lacks, if it covers the floor.
    fn seek(&self, fits: &dyn Fn(&VersionVector) -> bool) -> Result<Lsn, StoreError>;

    /// All marks that are left, in order of LSN.
    fn marks(&self) -> Result<Vec<(Lsn, VersionVector)>, StoreError>;

    /// About how many bytes the log takes below that LSN. Reads no data.
    fn log_bytes(&self, below: Lsn) -> Result<u64, StoreError>;

    /// Gives back what room it can of what has left, where that is much. Takes as long as it takes to write anew what
    /// stays; reads and commits go on. To be called when there is nothing else to do.
    fn tidy(&self) -> Result<(), StoreError> {
        Ok(())
    }

    /// How it stands, where it has anything to tell. Reads no data.
    fn figures(&self) -> Option<StoreFigures> {
        None
    }
}
