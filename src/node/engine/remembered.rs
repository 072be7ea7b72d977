//! What is on disk of what other nodes have said of themselves, so that a start forgets nobody.
//!
//! Documents are dropped, and incarnations closed, when every known node has said that it holds what goes. So a node
//! is on disk with the first thing that was taken from it, or from anybody who knew it: a cluster of which each node
//! remembers all whom it has met cannot overlook one that is away.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::base::{Millis, NodeId};
use crate::replication::{Core, KnownNode};
use crate::wire::{Known, NodeInfo};

/// That a node was heard of again is written after so long, in milliseconds, if it says nothing new: one that is idle
/// is not to be taken for one that is gone.
const REFRESH_MS: u64 = 3_600_000;

#[derive(Default)]
pub(super) struct Remembered {
    kept: BTreeMap<NodeId, KnownNode>,
    /// What the commit under way changes; None where a node is forgotten.
    staged: Vec<(NodeId, Option<KnownNode>)>,
    /// It is time to write what has changed.
    is_due: bool,
    /// How often the core had met a node when that was last staged.
    met: u64,
}

impl Remembered {
    /// From what is on disk.
    pub fn new(now: Millis, unix: Millis, rows: &[(NodeId, Bytes)]) -> Self {
        let mut kept = BTreeMap::new();
        for (node, bytes) in rows {
            match Known::from_bytes(bytes) {
                Ok(Known { info, said }) => {
                    let said = Millis(now.0.saturating_sub(unix.since(said)));
                    kept.insert(*node, KnownNode { info, said });
                }
                Err(error) => tracing::warn!(%node, %error, "what was known of a node cannot be read"),
            }
        }
        let met = kept.len() as u64;
        Self { kept, met, ..Self::default() }
    }

    /// What the core is to begin with.
    pub fn told(&self, now: Millis) -> Vec<NodeInfo> {
        let aged = |row: &KnownNode| NodeInfo { age_ms: now.since(row.said), ..row.info.clone() };
        self.kept.values().map(aged).collect()
    }

    /// The time has come for a look at whether something has changed.
    pub fn look(&mut self, core: &Core) {
        self.is_due = core.others().any(|row| self.is_news(row)) || self.gone(core).next().is_some();
    }

    /// Is there something to be written? That a node was met is noted at once, everything else at a look.
    pub fn has_news(&self, core: &Core) -> bool {
        self.is_due || core.met() != self.met
    }

    /// What the commit under way has to write.
    pub fn stage(&mut self, now: Millis, unix: Millis, core: &Core) -> Vec<(NodeId, Bytes)> {
        if !self.has_news(core) {
            return Vec::new();
        }
        let news = core.others().filter(|row| self.is_news(row));
        let news = news.map(|row| (row.info.node, Some(row.clone())));
        self.staged = news.chain(self.gone(core).map(|node| (node, None))).collect();
        self.met = core.met();
        self.is_due = false;
        let written = |row: &KnownNode| {
            let said = Millis(unix.0.saturating_sub(now.since(row.said)));
            Known { info: row.info.clone(), said }.to_bytes().into()
        };
        // No bytes: the row goes.
        self.staged.iter().map(|(node, row)| (*node, row.as_ref().map_or_else(Bytes::new, written))).collect()
    }

    /// The commit is on disk.
    pub fn committed(&mut self) {
        for (node, row) in self.staged.drain(..) {
            match row {
                Some(row) => self.kept.insert(node, row),
                None => self.kept.remove(&node),
            };
        }
    }

    /// Nothing of the commit is on disk.
    pub fn failed(&mut self) {
        self.is_due |= !self.staged.is_empty();
        self.staged.clear();
    }

    /// Whom the core has forgotten.
    fn gone(&self, core: &Core) -> impl Iterator<Item = NodeId> {
        self.kept.keys().filter(|node| !core.knows(node)).copied()
    }

    fn is_news(&self, row: &KnownNode) -> bool {
        self.kept.get(&row.info.node).is_none_or(|kept| {
            let is_same = NodeInfo {
                stamp: row.info.stamp,
                age_ms: row.info.age_ms,
                links: row.info.links.clone(),
                ..kept.info.clone()
            } == row.info;
            !is_same || row.said.since(kept.said) >= REFRESH_MS
        })
    }
}
