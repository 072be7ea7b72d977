//! What was left out of a document comes, however steadily writes go on: vectors need not get equal for it.

use syncline::base::{DocId, Hash, Heads};
use syncline::store::Store;

use super::Failure;
use super::history::History;
use crate::node::Node;

/// Within so many milliseconds after the end of faults: dead links are found after 10 s, the next try to reach a node
/// comes after 6 s at most, and then a document is asked for every second, over one link after the other.
pub const WITHIN_MS: u64 = 40_000;

/// A document of which something is missing on a node, and a node that has what is missing: what nobody has any more
/// cannot come.
pub fn open(history: &History, nodes: &[Node]) -> Result<Option<(usize, DocId)>, Failure> {
    for (n, node) in nodes.iter().enumerate() {
        let found = node.store.recover().map_err(|e| Failure::new("holes", format!("node {n}: {e}")))?;
        let is_somewhere = |doc: &DocId, missing: &Heads| {
            let has = |hash: &Hash| {
                let all = history.nodes.iter().filter_map(|disk| disk.docs.get(doc));
                all.into_iter().any(|stored| stored.changes.contains(hash))
            };
            missing.iter().any(has)
        };
        if let Some((doc, _)) = found.holes.into_iter().find(|(doc, missing)| is_somewhere(doc, missing)) {
            return Ok(Some((n, doc)));
        }
    }
    Ok(None)
}
