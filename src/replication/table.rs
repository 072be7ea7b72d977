//! The table of known nodes: what each says of itself, passed on by heartbeats.

use std::collections::BTreeMap;

use crate::base::limits::MAX_KNOWN_NODES;
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
}

impl Table {
    /// Takes a row if it is newer than the one here.
    pub fn learn(&mut self, now: Millis, info: NodeInfo) {
        let full = self.rows.len() >= MAX_KNOWN_NODES;
        let said = Millis(now.0.saturating_sub(info.age_ms));
        match self.rows.get_mut(&info.node) {
            Some(row) if info.stamp > row.info.stamp => *row = KnownNode { info, said },
            Some(_) => {}
            None if full => {}
            None => {
                self.rows.insert(info.node, KnownNode { info, said });
            }
        }
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
