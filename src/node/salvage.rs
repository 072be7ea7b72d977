//! What can be read of a damaged data folder, brought into a new one.
//!
//! Of each document those changes are kept that are sound and hang on nothing that is lost. The log stays behind, and
//! the vector with it: nothing says any more what of each origin is here, so that the node compares everything with
//! the others when it starts, and gets from them what was lost.

use std::collections::BTreeSet;

use bytes::Bytes;
use rustc_hash::FxHashSet;

use super::verify::{heads, readable};
use crate::base::{Change, Digest, DocId, Hash, Lsn, Millis, NodeId, Shift, VersionVector};
use crate::crdt::{changes_beyond, verify as verify_change};
use crate::store::{
    Commit, Fold, Found, Incarnation, MetaKey, Record, Recovered, RocksStore, Store, StoreError, TailItem,
};

/// Bytes of documents brought over in one commit.
const COMMIT_BYTES: usize = 8 << 20;

/// What has come over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Salvaged {
    pub documents: u64,
    pub changes: u64,
    pub bytes: u64,
    /// Documents of which something could not be read, and how much where that is known.
    pub incomplete: u64,
    pub lost_changes: u64,
    /// The node is another one than before, as it could not be read who it was.
    pub renamed: bool,
}

/// Brings all that can be read `from` one folder into the empty `to`. `unix` is when.
///
/// # Errors
/// When the new folder cannot be written.
pub fn salvage(
    from: &RocksStore,
    to: &RocksStore,
    unix: Millis,
    told: &mut dyn FnMut(&Salvaged),
) -> Result<Salvaged, StoreError> {
    let mut docs = BTreeSet::new();
    from.read_all(&mut |found| {
        if let Found::Item { doc: Some(doc), .. } = found {
            docs.insert(doc);
        }
    })?;
    let mut done = Salvaged::default();
    let (mut lsn, mut digest) = (Lsn(0), Digest::new());
    let (mut commit, mut bytes) = (Commit::default(), 0);
    for doc in docs {
        let Some(kept) = document(from, &doc, unix, &mut done) else { continue };
        lsn = lsn.next();
        digest.apply(Shift::new(&doc, &[], &kept.record.heads));
        done.documents += 1;
        done.changes += kept.record.changes;
        bytes += kept.bytes();
        done.bytes += kept.bytes() as u64;
        kept.add_to(&mut commit, doc, lsn);
        if bytes >= COMMIT_BYTES {
            to.commit(&commit)?;
            (commit, bytes) = (Commit::default(), 0);
        }
        told(&done);
    }
    let (identity, known, renamed) = identity(from);
    done.renamed = renamed;
    (commit.meta, commit.known) = (identity, known);
    commit.meta.push(MetaKey::Untrusted(true));
    commit.vector = Some((VersionVector::new(), digest.total()));
    // So that no LSN is used again.
    commit.marks = vec![(lsn, VersionVector::new())];
    to.commit(&commit)?;
    told(&done);
    Ok(done)
}

/// Who this node is, and whom it knows. Where it is not known how far its incarnations went it becomes another node: no
/// origin may ever be used twice.
fn identity(from: &RocksStore) -> (Vec<MetaKey>, Vec<(NodeId, Bytes)>, bool) {
    let Recovered { node, cluster, incarnation, known, .. } = from.identity().unwrap_or_default();
    let (Some(node), Some(Incarnation { number, random })) = (node, incarnation) else {
        return (Vec::new(), known, true);
    };
    let mut facts = vec![MetaKey::Node(node), MetaKey::Incarnation(Incarnation { number, random })];
    facts.extend(cluster.map(MetaKey::Cluster));
    (facts, known, false)
}

/// What is kept of a document.
struct Kept {
    record: Record,
    snapshot: Option<bytes::Bytes>,
    tail: Vec<Change>,
}

impl Kept {
    fn bytes(&self) -> usize {
        let tail: usize = self.tail.iter().map(|change| change.bytes.len()).sum();
        tail + self.snapshot.as_ref().map_or(0, bytes::Bytes::len)
    }

    fn add_to(self, commit: &mut Commit, doc: DocId, lsn: Lsn) {
        if let Some(snapshot) = self.snapshot {
            commit.folds.push(Fold { doc: doc.clone(), snapshot, folded: Vec::new() });
        }
        if !self.tail.is_empty() {
            commit.tail.push(TailItem { doc: doc.clone(), lsn, changes: self.tail });
        }
        commit.records.push((doc, Record { last_lsn: lsn, ..self.record }));
    }
}

fn document(from: &RocksStore, doc: &DocId, unix: Millis, done: &mut Salvaged) -> Option<Kept> {
    let record = from.record(doc).ok().flatten();
    let snapshot = readable(from.snapshot(doc).ok().flatten());
    let (tail, all_read) = from.readable_tail(doc);
    let (snapshot, folded) = snapshot.unzip();
    let folded = folded.unwrap_or_default();
    let mut held: FxHashSet<Hash> = folded.iter().copied().collect();
    let mut waiting: Vec<Change> = tail.into_iter().filter(|change| verify_change(change).is_ok()).collect();
    let mut kept = Vec::new();
    // Causes come first, mostly.
    loop {
        let (fit, rest): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|change| change.deps.iter().all(|dep| held.contains(dep)));
        waiting = rest;
        if fit.is_empty() {
            break;
        }
        kept.extend(fit.into_iter().filter(|change| held.insert(change.hash)));
    }
    let expected = record.as_ref().map(|record| record.changes);
    let lost = expected.unwrap_or_default().saturating_sub(held.len() as u64);
    if lost > 0 || !all_read || !waiting.is_empty() || expected.is_none() {
        done.incomplete += 1;
        done.lost_changes += lost.max(waiting.len() as u64);
    }
    if held.is_empty() {
        return None;
    }
    let all = changes_beyond(snapshot.as_deref(), kept.clone(), &[]).ok()?;
    let (heads, deletions) = heads(&all);
    let tail_bytes = kept.iter().map(|change| change.bytes.len() as u64).sum();
    let before = record.unwrap_or_else(|| Record { created: unix, modified: unix, ..Record::default() });
    let record = Record {
        heads,
        deletions,
        changes: held.len() as u64,
        bytes: all.iter().map(|change| change.bytes.len() as u64).sum(),
        folded: folded.len() as u64,
        tail_bytes,
        // A sound copy of what it was fenced for comes with the rest.
        fenced: None,
        ..before
    };
    Some(Kept { record, snapshot, tail: kept })
}
