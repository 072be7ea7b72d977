//! The heads on record are those of the changes that are stored, at every moment. So where vectors and documents are
//! equal heads are, too, and so must be the digests.

use std::collections::BTreeMap;

use syncline::base::{Hash, canonical_heads};
use syncline::crdt::{changes_beyond, is_deletion};
use syncline::store::{Store, StoreError};

use super::history::{History, OnDisk, Stored};
use super::{Checked, Failure};
use crate::node::Node;

/// A document, as it is recorded.
pub fn document(node: usize, doc: &syncline::base::DocId, stored: &Stored, store: &dyn Store) -> Checked {
    let record = store.record(doc).map_err(fails)?.unwrap_or_default();
    if record.heads != stored.heads || record.changes != stored.changes.len() as u64 {
        let what = format!(
            "node {node}, {doc:?}: {:?} of {} are recorded, {:?} of {} are stored",
            record.heads,
            record.changes,
            stored.heads,
            stored.changes.len()
        );
        return Err(Failure::new("heads", what));
    }
    Ok(())
}

/// A node has committed: it is compared with all others that have as much.
pub fn look(node: usize, history: &History, nodes: &[Node]) -> Checked {
    let Some(mine) = &nodes[node].process else { return Ok(()) };
    let core = mine.engine.core();
    for (other, at) in nodes.iter().enumerate().filter(|(other, _)| *other != node) {
        let Some(theirs) = at.process.as_ref().map(|process| process.engine.core()) else { continue };
        if theirs.vector() != core.vector() {
            continue;
        }
        let (here, there) = (heads(&history.nodes[node]), heads(&history.nodes[other]));
        if (here == there) != (theirs.digest() == core.digest()) {
            let same = if here == there { "the same documents" } else { "documents that differ" };
            let what = format!("nodes {node} and {other} have {same}, which their digests do not say");
            return Err(Failure::new("heads", what));
        }
    }
    Ok(())
}

fn heads(disk: &OnDisk) -> BTreeMap<&str, &[Hash]> {
    disk.docs.iter().map(|(doc, stored)| (doc.as_str(), stored.heads.as_slice())).collect()
}

/// The disks hold what was seen of them, and the deletions on record are those of the heads that are.
pub fn finish(history: &History, nodes: &[Node]) -> Checked {
    for (node, at) in nodes.iter().enumerate() {
        let found = OnDisk::read(&at.store)?;
        if heads(&found) != heads(&history.nodes[node]) {
            return Err(Failure::new(
                "heads",
                format!("node {node} has other documents than it was seen to get"),
            ));
        }
        for (doc, stored) in &found.docs {
            document(node, doc, stored, &at.store)?;
            let Some(whole) = at.store.whole(doc).map_err(fails)? else { continue };
            let tail = whole.tail.into_iter().map(|(_, change)| change).collect();
            let all = changes_beyond(whole.snapshot.as_deref(), tail, &[]);
            let all = all.map_err(|e| Failure::new("heads", format!("node {node}, {doc:?}: {e}")))?;
            let deletes =
                all.iter().filter(|change| stored.heads.contains(&change.hash) && is_deletion(change));
            let deletes = canonical_heads(deletes.map(|change| change.hash));
            let recorded = canonical_heads(whole.record.deletions);
            if deletes != recorded {
                let what =
                    format!("node {node}, {doc:?}: {recorded:?} are recorded as deletions, not {deletes:?}");
                return Err(Failure::new("heads", what));
            }
        }
    }
    Ok(())
}

fn fails(error: StoreError) -> Failure {
    Failure::new("heads", error.to_string())
}
