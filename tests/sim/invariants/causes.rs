//! No log shows an effect before its cause, across documents: an entry is committed when what is on disk covers what
//! its origin had when it made it. That is taken from the origin's own disk, not from what the entry says of it.

use syncline::base::{NodeId, Origin, VersionVector};
use syncline::wire::Entry;

use super::history::History;
use super::{Checked, Failure};

/// What a commit adds to what a node has: entry by entry, and all at once where a repair ends with it.
pub struct Growth {
    /// What there was before it, with the entries of it that were looked at.
    pub counted: VersionVector,
    /// What a repair brought.
    pub repaired: VersionVector,
    after: VersionVector,
}

impl Growth {
    pub fn new(before: &VersionVector, after: &VersionVector, entries: &[Entry]) -> Self {
        let mut repaired = VersionVector::new();
        let mut logged = before.clone();
        for Entry { origin, counter, .. } in entries {
            // Those before it came otherwise.
            if *counter > logged.get(origin).saturating_add(1) {
                repaired.raise(*origin, counter - 1);
            }
            logged.raise(*origin, *counter);
        }
        for (origin, counter) in after.iter().filter(|(origin, counter)| *counter > logged.get(origin)) {
            repaired.raise(origin, counter);
        }
        Self { counted: before.clone(), repaired, after: after.clone() }
    }

    fn get(&self, origin: &Origin) -> u64 {
        self.counted.get(origin).max(self.repaired.get(origin))
    }

    fn covers(&self, held: &VersionVector) -> bool {
        held.iter().all(|(origin, counter)| counter <= self.get(&origin) || self.after.is_closed(&origin))
    }
}

pub fn entry(history: &mut History, node: usize, id: NodeId, entry: &Entry, growth: &mut Growth) -> Checked {
    let key = (entry.origin, entry.counter);
    let fails = |what: String| Failure::new("causes", format!("node {node}, {:?}:{}: {what}", key.0, key.1));
    let have = growth.counted.get(&key.0);
    if have.saturating_add(1) != key.1 && growth.repaired.get(&key.0).saturating_add(1) != key.1 {
        return Err(fails(format!("comes after {have}")));
    }
    match history.made.get(&key) {
        Some(made) if growth.covers(&made.held) => {}
        Some(made) => {
            let lacks: Vec<_> =
                made.held.iter().filter(|(origin, counter)| *counter > growth.get(origin)).collect();
            return Err(fails(format!("hangs on {lacks:?}, of which it has less")));
        }
        None if key.0.node == id => history.make(entry, growth.counted.clone()),
        None => return Err(fails("its origin has never had it on disk".into())),
    }
    growth.counted.raise(key.0, key.1);
    Ok(())
}
