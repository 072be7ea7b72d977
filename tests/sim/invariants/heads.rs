//! Equal vectors mean equal heads of every document, at every moment.

use std::collections::BTreeMap;

use syncline::base::{DocId, Hash, Heads, Lsn, canonical_heads};
use syncline::crdt::is_deletion;
use syncline::store::Store;

use super::{Checked, Failure};
use crate::node::Node;

/// A node has committed: it is compared with all others that have as much.
pub fn look(node: usize, nodes: &[Node]) -> Checked {
    let Some(mine) = &nodes[node].process else { return Ok(()) };
    let core = mine.engine.core();
    for (other, at) in nodes.iter().enumerate().filter(|(other, _)| *other != node) {
        let Some(theirs) = at.process.as_ref().map(|process| process.engine.core()) else { continue };
        if theirs.vector() != core.vector() {
            continue;
        }
        let (here, there) = (heads(&nodes[node])?, heads(at)?);
        if here != there || theirs.digest() != core.digest() {
            let differ = here.iter().find(|(doc, heads)| there.get(*doc) != Some(*heads));
            let what = format!("nodes {node} and {other} have equal vectors, and differ in {differ:?}");
            return Err(Failure::new("heads", what));
        }
    }
    Ok(())
}

/// The heads are those of the changes that are stored.
pub fn finish(nodes: &[Node]) -> Checked {
    for (node, at) in nodes.iter().enumerate() {
        for (doc, heads) in heads(at)? {
            let tail = at.store.tail(&doc, Lsn(0)).map_err(|e| Failure::new("heads", e.to_string()))?;
            let named: Vec<Hash> = tail.iter().flat_map(|(_, change)| change.deps.iter().copied()).collect();
            let hashes = tail.iter().map(|(_, change)| change.hash);
            let found = canonical_heads(hashes.filter(|hash| !named.contains(hash)));
            if found != heads {
                let what = format!("node {node}, {doc:?}: {heads:?} are recorded, {found:?} are stored");
                return Err(Failure::new("heads", what));
            }
            let record = at.store.record(&doc).map_err(|e| Failure::new("heads", e.to_string()))?;
            let deletes = tail.iter().map(|(_, change)| change).filter(|change| is_deletion(change));
            let found =
                canonical_heads(deletes.map(|change| change.hash).filter(|hash| heads.contains(hash)));
            let deletions = canonical_heads(record.unwrap_or_default().deletions);
            if found != deletions {
                let what =
                    format!("node {node}, {doc:?}: {deletions:?} are recorded as deletions, not {found:?}");
                return Err(Failure::new("heads", what));
            }
        }
    }
    Ok(())
}

fn heads(node: &Node) -> Result<BTreeMap<DocId, Heads>, Failure> {
    let records = node.store.list("", None, usize::MAX);
    let records = records.map_err(|e| Failure::new("heads", e.to_string()))?;
    Ok(records.into_iter().map(|(doc, record)| (doc, record.heads)).collect())
}
