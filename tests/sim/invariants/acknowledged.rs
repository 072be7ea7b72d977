//! What was acknowledged to a client is in the end on every node, unless its last holder has lost it.

use std::collections::BTreeSet;

use syncline::base::{Hash, Lsn};
use syncline::store::Store;

use super::history::History;
use super::{Checked, Failure};
use crate::node::{Node, Written};

#[derive(Default)]
pub struct Acknowledged {
    answered: Vec<(usize, Written)>,
    /// Changes that nobody had any more at some moment.
    lost: BTreeSet<Hash>,
}

impl Acknowledged {
    pub fn answered(&mut self, node: usize, written: Written) {
        self.answered.push((node, written));
    }

    pub fn count(&self) -> usize {
        self.answered.len()
    }

    /// A node has lost what its log held above `last`.
    pub fn lost(&mut self, history: &mut History, node: usize, last: Lsn) {
        let hashes = |lines: &[(Lsn, _)]| -> BTreeSet<Hash> {
            let made = lines.iter().filter_map(|(_, key)| history.made.get(key));
            made.flat_map(|made| made.hashes.iter().copied()).collect()
        };
        let kept = history.logs[node].lines.partition_point(|(lsn, _)| *lsn <= last);
        let mut lost = hashes(&history.logs[node].lines[kept..]);
        for (other, log) in history.logs.iter().enumerate() {
            let held = hashes(if other == node { &log.lines[..kept] } else { &log.lines });
            lost.retain(|hash| !held.contains(hash));
        }
        self.lost.extend(lost);
        history.logs[node].lines.truncate(kept);
    }

    pub fn finish(&self, nodes: &[Node]) -> Checked {
        for (n, node) in nodes.iter().enumerate() {
            let mut held: BTreeSet<Hash> = BTreeSet::new();
            let fails = |e: syncline::store::StoreError| Failure::new("acknowledged", e.to_string());
            for (doc, _) in node.store.list("", None, usize::MAX).map_err(fails)? {
                let tail = node.store.tail(&doc, Lsn(0)).map_err(fails)?;
                held.extend(tail.into_iter().map(|(_, change)| change.hash));
            }
            for (at, written) in &self.answered {
                let hashes = written.changes.iter().map(|change| change.hash);
                let gone = hashes.filter(|hash| !held.contains(hash)).find(|hash| !self.lost.contains(hash));
                if let Some(hash) = gone {
                    let doc = &written.doc;
                    let what = format!("{hash:?} of {doc:?}, answered at node {at}, is not on node {n}");
                    return Err(Failure::new("acknowledged", what));
                }
            }
        }
        Ok(())
    }
}
