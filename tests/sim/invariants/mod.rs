//! What must hold: at every moment, and when faults have ended.

mod acknowledged;
mod bounded;
mod causes;
mod converged;
mod covers;
mod dropped;
mod heads;
pub mod history;
pub mod holes;
mod log;
mod replicas;
mod silent;
mod unique;
mod values;

use std::collections::BTreeMap;

use syncline::base::{DocId, VersionVector};
use syncline::replication::Core;
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
    pub dropped: dropped::Dropped,
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
            dropped: dropped::Dropped::default(),
            silent: silent::Silent::default(),
            unique: unique::Unique::default(),
            values: values::Values::default(),
        }
    }

    /// Looks at what a node's disk has got since the last look. `touched` are the documents of which something has
    /// changed, and whether more than their tails; `needed` is what those had whom the node repairs when it began.
    pub fn look(
        &mut self,
        node: usize,
        nodes: &[Node],
        store: &dyn Store,
        core: &Core,
        touched: impl Iterator<Item = (DocId, bool)>,
        needed: &[VersionVector],
    ) -> Checked {
        let fails = |e: &dyn std::fmt::Display| Failure::new("log", format!("node {node}: {e}"));
        let (id, history) = (nodes[node].id, &mut self.history);
        history.fresh.clear();
        // A commit may touch a document, drop it, and bring it anew: then only what came last is to be seen of it.
        let mut all: BTreeMap<DocId, bool> = BTreeMap::new();
        touched.for_each(|(doc, anew)| *all.entry(doc).or_default() |= anew);
        for (doc, anew) in all {
            history.read(node, id, store, &doc, anew)?;
            let stored = history.nodes[node].docs.get(&doc);
            heads::document(node, &doc, stored.unwrap_or(&history::Stored::default()), store)?;
        }
        let found = store.recover().map_err(|e| fails(&e))?;
        let before = history.nodes[node].vector.clone();
        if found.vector != *core.vector() || !found.vector.covers(&before) || !found.vector.closes(&before) {
            return Err(fails(&format!("{:?} is on disk, {before:?} was before", found.vector)));
        }
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for (lsn, line) in store.log(history.nodes[node].last.next(), usize::MAX).map_err(|e| fails(&e))? {
            let entry = Entry::from_bytes(&line).map_err(|e| fails(&e))?;
            bytes += line.len();
            self.unique.entry(&entry, &line)?;
            replicas::entry(&entry, nodes)?;
            history.nodes[node].lines.push_back((lsn, (entry.origin, entry.counter)));
            entries.push(entry);
        }
        history.nodes[node].last = found.last_lsn;
        let mut growth = causes::Growth::new(&before, &found.vector, &entries);
        for entry in &entries {
            causes::entry(history, node, id, entry, &mut growth)?;
        }
        log::gaps(node, core, &growth)?;
        log::trimmed(node, &mut history.nodes[node], found.first_lsn, core, needed)?;
        let risen = history.between(&before, &found.vector);
        history.nodes[node].vector = found.vector;
        covers::look(history, node, &risen, &entries, &found.holes)?;
        self.bounded.committed(node, bytes);
        heads::look(node, history, nodes)
    }

    /// Faults have ended, and all are equal.
    pub fn finish(&mut self, nodes: &mut [Node]) -> Checked {
        heads::finish(&self.history, nodes)?;
        self.converged.finish(nodes)?;
        self.acknowledged.finish(&self.history)?;
        self.dropped.finish(&self.history)?;
        self.values.finish(nodes)
    }
}
