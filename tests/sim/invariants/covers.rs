//! What a node's vector names is in its documents, at every moment.
//!
//! There are exceptions, each of which must be over at the end: a document that was dropped, and what hangs on it; and
//! what hangs on a change that its origin had by a repair only. The node leaves such a change out, and fetches the
//! document. And whoever was brought back from a backup may close an incarnation of its own without knowing who else has
//! more of it; digests tell, later.

use syncline::base::{DocId, Hash, Heads};
use syncline::wire::Entry;

use super::history::{History, Key, Made};
use super::{Checked, Failure};

/// Looks at what a node's vector has just got; `holes` are the documents of which it has noted that something is
/// missing.
pub fn look(
    history: &mut History,
    node: usize,
    entries: &[Key],
    log: &[Entry],
    holes: &[(DocId, Heads)],
) -> Checked {
    let place = |key: &Key| log.iter().position(|entry| (entry.origin, entry.counter) == *key);
    let logged = |key: &Key| place(key).is_some();
    let came_before = |key: &Key, hash: &Hash| {
        let upto = log.iter().take(place(key).map_or(0, |place| place + 1));
        upto.flat_map(|entry| &entry.changes).any(|change| change.hash == *hash)
    };
    for key in entries.iter().filter(|key| !history.lost.contains(*key)) {
        let Some(Made { doc, changes, .. }) = history.made.get(key) else { continue };
        let stored = history.nodes[node].docs.get(doc);
        let stored = |hash: &Hash| stored.is_some_and(|stored| stored.changes.contains(hash));
        let is_closed =
            history.nodes[node].vector.is_closed(&key.0) && history.replaced.contains(&key.0.node);
        let mut left_out = Vec::new();
        for (hash, deps) in changes.iter().filter(|(hash, _)| !stored(hash)) {
            let is_excused = is_closed || history.astray.contains(hash) || history.dropped.contains(hash);
            // What it hangs on may have come after it, in the same commit.
            let waits_for =
                |dep: &Hash| !stored(dep) || (history.fresh.contains(dep) && !came_before(key, dep));
            let hangs = || history.dropped_docs.contains(doc) || deps.iter().any(waits_for);
            let waits = logged(key) && hangs();
            if !is_excused && !waits {
                let what = format!("node {node} has {:?}:{}, and not its {hash:?} of {doc:?}", key.0, key.1);
                return Err(Failure::new("covers", what));
            }
            // What its own log names and its documents lack it must ask for, unless that was dropped.
            let is_dropped = || log.iter().any(|entry| entry.doc == *doc && entry.drops.is_some());
            let is_noted = || holes.iter().any(|(hole, _)| hole == doc);
            if logged(key) && !history.dropped.contains(hash) && !is_noted() && !is_dropped() {
                let what = format!(
                    "node {node} has {:?}:{} in its log, lacks its {hash:?} of {doc:?}, and has not noted it",
                    key.0, key.1
                );
                return Err(Failure::new("covers", what));
            }
            left_out.push(*hash);
        }
        history.astray.extend(left_out);
    }
    Ok(())
}
