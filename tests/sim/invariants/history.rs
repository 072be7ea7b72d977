//! What every node's log holds, and what each entry's origin held when it made it: known to the harness alone.

use std::collections::BTreeMap;
use std::rc::Rc;

use syncline::base::{Hash, Lsn, Origin, VersionVector};
use syncline::wire::Entry;

#[derive(Default)]
pub struct History {
    pub logs: Vec<Log>,
    pub made: BTreeMap<(Origin, u64), Made>,
}

/// One node's log, as far as it was looked at.
#[derive(Default)]
pub struct Log {
    pub lines: Vec<(Lsn, (Origin, u64))>,
    pub vector: VersionVector,
}

pub struct Made {
    /// What its origin's log held before it.
    pub held: Rc<VersionVector>,
    pub hashes: Vec<Hash>,
}

impl History {
    pub fn new(nodes: usize) -> Self {
        Self { logs: (0..nodes).map(|_| Log::default()).collect(), made: BTreeMap::new() }
    }

    /// A node has started: all of its log is looked at again.
    pub fn forget(&mut self, node: usize) {
        self.logs[node] = Log::default();
    }

    pub fn add(&mut self, node: usize, lsn: Lsn, entry: &Entry) {
        let log = &mut self.logs[node];
        log.lines.push((lsn, (entry.origin, entry.counter)));
        log.vector.raise(entry.origin, entry.counter);
    }

    pub fn entries(&self) -> usize {
        self.made.len()
    }
}

impl Log {
    pub fn next(&self) -> Lsn {
        self.lines.last().map_or(Lsn(1), |(lsn, _)| lsn.next())
    }
}
