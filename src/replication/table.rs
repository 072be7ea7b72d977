//! The table of known nodes: what each says of itself, passed on by heartbeats, and kept across restarts.

use std::collections::BTreeMap;

use crate::base::limits::{FORGET_NODE_MS, MAX_KNOWN_NODES};
use crate::base::{Millis, NodeId, Origin};
use crate::wire::NodeInfo;

/// A row, and when it was said.
#[derive(Clone, Debug)]
pub struct KnownNode {
    pub info: NodeInfo,
    pub said: Millis,
}

#[derive(Default)]
pub(super) struct Table {
    rows: BTreeMap<NodeId, KnownNode>,
    /// How often a node was put here that was not here before.
    pub met: u64,
}

impl Table {
    /// Takes a row if it is newer than the one here, and not so old that its node is forgotten.
    pub fn learn(&mut self, now: Millis, info: NodeInfo) {
        let refused = self.is_full() || info.age_ms >= FORGET_NODE_MS;
        let said = Millis(now.0.saturating_sub(info.age_ms));
        match self.rows.get_mut(&info.node) {
            Some(row) if info.stamp > row.info.stamp => *row = KnownNode { info, said },
            Some(_) => {}
            None if refused => {}
            None => {
                self.rows.insert(info.node, KnownNode { info, said });
                self.met += 1;
            }
        }
    }

    /// Nodes may have been met that it has no room for.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= MAX_KNOWN_NODES
    }

    /// Leaves out those that have not been heard of for too long.
    pub fn forget(&mut self, now: Millis) {
        self.rows.retain(|_, row| now.since(row.said) < FORGET_NODE_MS);
    }

    pub fn rows(&self) -> impl Iterator<Item = &KnownNode> {
        self.rows.values()
    }

    pub fn row(&self, node: &NodeId) -> Option<&KnownNode> {
        self.rows.get(node)
    }

    /// Rows of which `told` has no word as late as this; notes them there.
    pub fn untold(&self, now: Millis, told: &mut BTreeMap<NodeId, u64>) -> Vec<NodeInfo> {
        let mut rows = Vec::new();
        for row in self.rows.values() {
            if told.get(&row.info.node).is_none_or(|seen| *seen < row.info.stamp) {
                told.insert(row.info.node, row.info.stamp);
                rows.push(NodeInfo { age_ms: now.since(row.said), ..row.info.clone() });
            }
        }
        rows
    }
}

/// The stamp before an incarnation's first word: above all that the incarnations before it have said. One that
/// began from a backup is numbered like another; it is told what that one said last, and goes on above it.
pub(super) fn first_stamp(origin: &Origin) -> u64 {
    u64::from(origin.incarnation) << 32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Role, VersionVector};

    fn row(n: u16, stamp: u64, age_ms: u64) -> NodeInfo {
        let [a, b] = n.to_be_bytes();
        let node = NodeId([a, b, 0, 0, 0, 0, 0, 0]);
        NodeInfo {
            node,
            name: String::new(),
            role: Role::Master,
            url: None,
            origin: Origin { node, incarnation: 1, random: 1 },
            stamp,
            age_ms,
            vector: VersionVector::new(),
            digest: [0; 16],
            links: Vec::new(),
            lacks: false,
        }
    }

    #[test]
    fn the_last_word_counts_and_nobody_is_known_for_ever() {
        let (mut table, now) = (Table::default(), Millis(2 * FORGET_NODE_MS));
        table.learn(now, row(1, 5, FORGET_NODE_MS - 10));
        table.learn(now, row(2, 5, FORGET_NODE_MS));
        table.learn(now, row(1, 4, 0));
        assert_eq!((table.rows().count(), table.met), (1, 1));
        table.forget(now.plus(9));
        assert_eq!(table.rows().count(), 1);
        table.forget(now.plus(10));
        assert_eq!(table.rows().count(), 0);
        table.learn(now, row(1, 4, 0));
        assert_eq!((table.rows().count(), table.met), (1, 2));
    }

    #[test]
    fn of_more_nodes_than_there_is_room_for_none_is_forgotten_for_another() {
        let mut table = Table::default();
        for n in 0..=MAX_KNOWN_NODES as u16 {
            assert_eq!(table.is_full(), usize::from(n) >= MAX_KNOWN_NODES);
            table.learn(Millis(1), row(n, 1, 0));
        }
        assert_eq!(table.rows().count(), MAX_KNOWN_NODES);
        table.learn(Millis(2), row(0, 2, 0));
        assert_eq!(table.rows().next().unwrap().said, Millis(2));
    }
}
