//! No log shows an effect before its cause, across documents, and none has a gap. What an origin held when it
//! made an entry is taken from that origin's own log, not from what the entry says of it.

use std::rc::Rc;

use syncline::base::NodeId;
use syncline::wire::Entry;

use super::history::{History, Made};
use super::{Checked, Failure};

pub fn entry(history: &mut History, node: usize, id: NodeId, entry: &Entry) -> Checked {
    let key = (entry.origin, entry.counter);
    let before = &history.logs[node].vector;
    let fails = |what: String| Failure::new("causes", format!("node {node}, {:?}:{}: {what}", key.0, key.1));
    if before.get(&key.0) + 1 != key.1 {
        return Err(fails(format!("comes after {}", before.get(&key.0))));
    }
    match history.made.get(&key) {
        Some(made) if before.covers(&made.held) => Ok(()),
        Some(made) => Err(fails(format!("hangs on {:?}, of which it has less", made.held.above(before)))),
        None if key.0.node == id => {
            let hashes = entry.changes.iter().map(|change| change.hash).collect();
            let held = Rc::new(before.clone());
            history.made.insert(key, Made { held, hashes });
            Ok(())
        }
        None => Err(fails("its origin has never had it on disk".into())),
    }
}
