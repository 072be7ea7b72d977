//! What must hold: at every moment, and when faults have ended.

mod acknowledged;
mod bounded;
mod causes;
mod converged;
mod heads;
mod history;
mod replicas;
mod silent;
mod unique;
mod values;

use syncline::store::Store;
use syncline::wire::Entry;

use crate::node::Node;

pub type Checked = Result<(), Failure>;

/// An invariant that was broken, in which run and when.
#[derive(Clone, Debug)]
pub struct Failure {
    pub invariant: &'static str,
    pub what: String,
    pub seed: u64,
    /// Virtual milliseconds.
    pub at: u64,
}

impl Failure {
    pub fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, what, seed: 0, at: 0 }
    }
}

pub struct Checks {
    pub history: history::History,
    pub acknowledged: acknowledged::Acknowledged,
    pub bounded: bounded::Bounded,
    pub converged: converged::Converged,
    pub silent: silent::Silent,
    pub unique: unique::Unique,
    pub values: values::Values,
}

impl Checks {
    pub fn new(nodes: usize) -> Self {
        Self {
            history: history::History::new(nodes),
            acknowledged: acknowledged::Acknowledged::default(),
            bounded: bounded::Bounded::default(),
            converged: converged::Converged::default(),
            silent: silent::Silent,
            unique: unique::Unique::default(),
            values: values::Values::default(),
        }
    }

    /// Looks at what a node's log has got since the last look.
    pub fn look(&mut self, node: usize, store: &dyn Store, nodes: &[Node]) -> Checked {
        let fails = |e: &dyn std::fmt::Display| Failure::new("log", format!("node {node}: {e}"));
        let from = self.history.logs[node].next();
        let mut bytes = 0;
        for (lsn, line) in store.log(from, usize::MAX).map_err(|e| fails(&e))? {
            let entry = Entry::from_bytes(&line).map_err(|e| fails(&e))?;
            if lsn != self.history.logs[node].next() {
                return Err(fails(&format!("LSN {lsn:?} comes after a gap")));
            }
            bytes += line.len();
            self.unique.entry(&entry, &line)?;
            replicas::entry(&entry, nodes)?;
            causes::entry(&mut self.history, node, nodes[node].id, &entry)?;
            self.history.add(node, lsn, &entry);
        }
        self.bounded.committed(node, bytes);
        heads::look(node, nodes)
    }

    /// A node's data have been replaced by its backup.
    pub fn restored(&mut self, node: usize, store: &dyn Store) -> Checked {
        let found = store.recover().map_err(|e| Failure::new("restore", e.to_string()))?;
        self.acknowledged.lost(&mut self.history, node, found.last_lsn);
        Ok(())
    }

    /// Faults have ended, and all are equal.
    pub fn finish(&mut self, nodes: &mut [Node]) -> Checked {
        heads::finish(nodes)?;
        self.acknowledged.finish(nodes)?;
        self.values.finish(nodes)
    }
}
