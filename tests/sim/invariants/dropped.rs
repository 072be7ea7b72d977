//! A document is dropped only when every node that is known had its deletion on disk, and then it is gone everywhere, or
//! back whole everywhere.

use std::collections::BTreeSet;

use syncline::base::{DocId, Hash, NodeId};

use super::history::History;
use super::{Checked, Failure};
use crate::node::Node;

#[derive(Default)]
pub struct Dropped {
    /// Documents, and all of which they consisted then, but for what had been dropped before.
    dropped: Vec<(DocId, BTreeSet<Hash>)>,
}

impl Dropped {
    /// A node has decided to drop a document with these heads, and knows of these others.
    pub fn decided(
        &mut self,
        history: &History,
        node: usize,
        nodes: &[Node],
        known: &[NodeId],
        doc: &DocId,
        heads: &[Hash],
    ) -> Checked {
        // What was dropped before is on some nodes and not on others, whatever their vectors name.
        let heads: Vec<&Hash> = heads.iter().filter(|hash| !history.dropped.contains(*hash)).collect();
        for id in known {
            if let Some(hash) = heads.iter().find(|hash| !history.has_had(*id, nodes, doc, hash)) {
                let what = format!("node {node} drops {doc:?}, and {id} never had its deletion {hash:?}");
                return Err(Failure::new("dropped", what));
            }
        }
        let stored = history.nodes[node].docs.get(doc);
        let changes = stored.into_iter().flat_map(|stored| stored.changes.difference(&history.dropped));
        self.dropped.push((doc.clone(), changes.copied().collect()));
        Ok(())
    }

    /// All nodes have the same heads, and whatever these hang on; so one is like another.
    pub fn finish(&self, history: &History) -> Checked {
        for (doc, changes) in &self.dropped {
            let Some(stored) = history.nodes.first().and_then(|disk| disk.docs.get(doc)) else { continue };
            // Those that masters make alike may have been made again.
            let back = changes.iter().filter(|hash| !history.is_made_twice(hash));
            let (there, gone): (Vec<&Hash>, Vec<&Hash>) =
                back.partition(|hash| stored.changes.contains(*hash));
            // Whoever was brought back from a backup brings back what that has of a document, be it a part: nobody can know
            // whether the rest was dropped or has yet to come.
            let is_of_backup = there.iter().all(|hash| history.brought_back.contains(*hash));
            if let (Some(there), Some(gone), false) = (there.first(), gone.first(), is_of_backup) {
                let what = format!("{doc:?} was dropped, and is back with {there:?} and without {gone:?}");
                return Err(Failure::new("dropped", what));
            }
        }
        Ok(())
    }
}
