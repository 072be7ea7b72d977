//! How a core stands, for whoever asks.

use std::collections::BTreeMap;

use super::{Core, Identity, LinkState, first_row};
use crate::base::{Lsn, Millis, NodeId, Origin, Shift, VersionVector};
use crate::replication::lag::Standing;
use crate::replication::repair::RepairState;
use crate::replication::table::KnownNode;
use crate::wire::Hello;

impl Core {
    /// What is on disk.
    pub fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// What is on disk, and what will be with the commit under way.
    pub fn staged(&self) -> &VersionVector {
        &self.staged
    }

    pub fn identity(&self) -> &Identity {
        &self.me
    }

    pub fn digest(&self) -> [u8; 16] {
        self.digest
    }

    /// Of all documents with the commit under way.
    pub fn staged_digest(&self) -> [u8; 16] {
        self.documents.total()
    }

    /// A document's heads change with the commit under way.
    pub fn shift(&mut self, shift: Shift) {
        self.documents.apply(shift);
        self.shifts.push(shift);
    }

    /// Documents with the commit under way, deleted ones among them.
    pub fn documents(&self) -> u64 {
        self.documents.documents()
    }

    /// Below this the log cannot serve, on disk.
    pub fn floor(&self) -> &VersionVector {
        &self.floor
    }

    /// The same with the commit under way.
    pub fn staged_floor(&self) -> &VersionVector {
        &self.staged_floor
    }

    /// The log below is to go with the commit under way: it cannot serve below `floor` then.
    pub fn raise_floor(&mut self, floor: &VersionVector) {
        self.staged_floor.merge(floor);
    }

    /// Must all be compared by digest?
    pub fn is_untrusted(&self) -> bool {
        self.untrusted
    }

    /// Are changes missing here that the vector names? Others are told so, as nothing may be dropped for good that a
    /// known node has yet to get.
    pub fn lack(&mut self, lacks: bool) {
        self.lacks = lacks;
    }

    pub fn lacks(&self) -> bool {
        self.lacks
    }

    /// Documents may have more than the vector names, until it names all of this: parts of documents come as they are at
    /// the other end. With the commit under way.
    pub fn staged_ahead(&self) -> &VersionVector {
        const NOTHING: &VersionVector = &VersionVector::new();
        if self.staged.covers(&self.ahead) && self.staged.closes(&self.ahead) { NOTHING } else { &self.ahead }
    }

    /// Does that node say that it has all that its vector names?
    pub fn is_whole(&self, node: &NodeId) -> bool {
        self.table.row(node).is_none_or(|row| !row.info.lacks)
    }

    /// How far this node's repair is, where it is being repaired.
    pub fn repairing(&self) -> Option<RepairState> {
        self.repair.as_ref().map(|repairing| repairing.state)
    }

    /// How many repairs of this node have come to their end since the start, and of the last of them how it went and
    /// when it ended.
    pub fn repairs(&self) -> (u64, Option<(RepairState, Millis)>) {
        (self.repairs, self.last_repair)
    }

    /// Of every known node but this one what is known to be on its disk.
    pub fn acknowledged(&self) -> impl Iterator<Item = (NodeId, &VersionVector)> {
        self.others().map(|row| (row.info.node, &row.info.vector))
    }

    /// What every known node but this one has said of itself.
    pub fn others(&self) -> impl Iterator<Item = &KnownNode> {
        self.table.rows().filter(|row| row.info.node != self.me.node)
    }

    /// How often a node has come to be known that was not known before.
    pub fn met(&self) -> u64 {
        self.table.met
    }

    /// Is that node known, by its own words or those of others?
    pub fn knows(&self, node: &NodeId) -> bool {
        self.table.row(node).is_some()
    }

    /// What every known node is known to have on its disk.
    pub fn stable(&self) -> VersionVector {
        let mut stable = self.vector.clone();
        for (node, vector) in self.acknowledged() {
            let links = self.links.values().filter(|link| link.node() == Some(node));
            let linked =
                |origin: &Origin| links.clone().map(|link| link.vector.get(origin)).max().unwrap_or(0);
            let least = |(o, counter): (Origin, u64)| (o, counter.min(vector.get(&o).max(linked(&o))));
            stable = stable.iter().map(least).collect();
        }
        stable
    }

    /// What every known node says of itself to have on its disk, at a moment when it lacked nothing of that.
    pub fn whole(&self) -> VersionVector {
        let mut whole = self.vector.clone();
        for (node, vector) in self.acknowledged() {
            let has = |origin: &Origin| if self.is_whole(&node) { vector.get(origin) } else { 0 };
            whole = whole.iter().map(|(origin, counter)| (origin, counter.min(has(&origin)))).collect();
        }
        whole
    }

    /// The last LSN on disk.
    pub fn log_head(&self) -> Lsn {
        self.log_head
    }

    /// Bytes of entries that wait for their causes.
    pub fn held_bytes(&self) -> usize {
        self.hold.bytes()
    }

    /// The nodes that it is linked with now, and what is known to be on their disks.
    pub fn linked(&self) -> impl Iterator<Item = (&Hello, &VersionVector)> {
        self.links.values().filter_map(|link| Some((link.hello.as_ref()?, &link.vector)))
    }

    /// Its links whose other ends have said who they are.
    pub fn links(&self, now: Millis) -> impl Iterator<Item = LinkState<'_>> {
        self.links.iter().filter_map(move |(id, link)| {
            Some(LinkState {
                id: *id,
                hello: link.hello.as_ref()?,
                standing: self.lag.standing(now, &self.vector, &link.vector),
                in_flight: link.in_flight,
            })
        })
    }

    /// All nodes that it knows of but itself, and how they stand to it.
    pub fn known(&self, now: Millis) -> Vec<(KnownNode, Standing)> {
        let mut known: BTreeMap<NodeId, KnownNode> =
            self.table.rows().map(|row| (row.info.node, row.clone())).collect();
        // Links know better what is there than a row that was said a while ago.
        for link in self.links.values() {
            let Some(hello) = &link.hello else { continue };
            let row = known
                .entry(hello.node)
                .or_insert_with(|| KnownNode { info: first_row(hello), said: link.up });
            row.said = row.said.max(link.heard);
            row.info.vector.merge(&link.vector);
        }
        known.remove(&self.me.node);
        known.into_values().map(|row| self.stand(now, row)).collect()
    }

    fn stand(&self, now: Millis, row: KnownNode) -> (KnownNode, Standing) {
        let standing = self.lag.standing(now, &self.vector, &row.info.vector);
        (row, standing)
    }
}
