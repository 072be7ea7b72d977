//! What was acknowledged to a client is in the end on every node, unless its last holder has lost it, or its document
//! was deleted and dropped.

use std::collections::BTreeSet;

use syncline::base::Hash;

use super::history::History;
use super::{Checked, Failure};
use crate::node::Written;

#[derive(Default)]
pub struct Acknowledged {
    answered: Vec<(usize, Written)>,
}

impl Acknowledged {
    pub fn answered(&mut self, node: usize, written: Written) {
        self.answered.push((node, written));
    }

    pub fn count(&self) -> usize {
        self.answered.len()
    }

    pub fn finish(&self, history: &History) -> Checked {
        for (n, disk) in history.nodes.iter().enumerate() {
            let held: BTreeSet<Hash> =
                disk.docs.values().flat_map(|stored| stored.changes.iter().copied()).collect();
            let may_be_gone =
                |hash: &Hash| history.lost_changes.contains(hash) || history.dropped.contains(hash);
            for (at, Written { doc, changes }) in &self.answered {
                let gone = changes
                    .iter()
                    .map(|change| change.hash)
                    .find(|hash| !held.contains(hash) && !may_be_gone(hash));
                if let Some(hash) = gone {
                    let what = format!("{hash:?} of {doc:?}, answered at node {at}, is not on node {n}");
                    return Err(Failure::new("acknowledged", what));
                }
            }
        }
        Ok(())
    }
}
