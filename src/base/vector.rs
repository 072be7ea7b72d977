//! Version vectors: what a node has of every origin.

use std::collections::BTreeMap;
use std::fmt;

use super::{NodeId, Origin};

/// Origin → highest counter held, without gaps. An origin that is absent counts as 0.
///
/// A node's incarnations that have ended leave it once every known node holds all of them: of that node only the
/// number is kept up to which all incarnations are *closed*, and these count as held whatever the counter.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct VersionVector {
    counters: BTreeMap<Origin, u64>,
    closed: BTreeMap<NodeId, u32>,
}

impl VersionVector {
    pub const fn new() -> Self {
        Self { counters: BTreeMap::new(), closed: BTreeMap::new() }
    }

    pub fn get(&self, origin: &Origin) -> u64 {
        if self.is_closed(origin) {
            return u64::MAX;
        }
        self.counters.get(origin).copied().unwrap_or(0)
    }

    /// Is the origin one of a node's incarnations that are closed?
    pub fn is_closed(&self, origin: &Origin) -> bool {
        self.closed.get(&origin.node).is_some_and(|closed| origin.incarnation <= *closed)
    }

    /// Raises one origin's counter; never lowers it. Says whether it moved.
    pub fn raise(&mut self, origin: Origin, counter: u64) -> bool {
        if counter <= self.get(&origin) {
            return false;
        }
        self.counters.insert(origin, counter);
        true
    }

    /// All incarnations of a node up to that number are closed. Says whether that is news.
    pub fn close(&mut self, node: NodeId, incarnation: u32) -> bool {
        let closed = self.closed.entry(node).or_insert(0);
        if *closed >= incarnation {
            return false;
        }
        *closed = incarnation;
        self.counters.retain(|origin, _| origin.node != node || origin.incarnation > incarnation);
        true
    }

    /// Pointwise maximum. Says whether anything moved.
    pub fn merge(&mut self, other: &VersionVector) -> bool {
        let closed = other.closed().fold(false, |moved, (node, number)| self.close(node, number) || moved);
        other.iter().fold(closed, |moved, (origin, counter)| self.raise(origin, counter) || moved)
    }

    /// Pointwise minimum: what both hold.
    pub fn meet(&self, other: &VersionVector) -> VersionVector {
        let lower = |node: &NodeId, number: u32| Some(number.min(*other.closed.get(node)?));
        let closed = self.closed().filter_map(|(node, number)| Some((node, lower(&node, number)?)));
        let mut both = Self { counters: BTreeMap::new(), closed: closed.collect() };
        for (origin, counter) in self.iter().chain(other.iter()) {
            both.raise(origin, counter.min(self.get(&origin)).min(other.get(&origin)));
        }
        both
    }

    /// Does this hold all entries that `other` names?
    pub fn covers(&self, other: &VersionVector) -> bool {
        other.iter().all(|(origin, counter)| counter <= self.get(&origin))
    }

    /// Has this closed all that `other` has?
    pub fn closes(&self, other: &VersionVector) -> bool {
        other.closed().all(|(node, number)| self.closed.get(&node).is_some_and(|closed| *closed >= number))
    }

    /// What of `self` is above `earlier`.
    pub fn above(&self, earlier: &VersionVector) -> VersionVector {
        let risen =
            |node: &NodeId, number: u32| earlier.closed.get(node).is_none_or(|closed| *closed < number);
        Self {
            counters: self.iter().filter(|(origin, counter)| *counter > earlier.get(origin)).collect(),
            closed: self.closed().filter(|(node, number)| risen(node, *number)).collect(),
        }
    }

    /// How many counters `other` lacks of what this holds.
    pub fn missing_in(&self, other: &VersionVector) -> u64 {
        self.iter().map(|(origin, counter)| counter.saturating_sub(other.get(&origin))).sum()
    }

    /// Counters in ascending order of origin.
    pub fn iter(&self) -> impl Iterator<Item = (Origin, u64)> + '_ {
        self.counters.iter().map(|(origin, counter)| (*origin, *counter))
    }

    /// Of nodes the number up to which their incarnations are closed.
    pub fn closed(&self) -> impl Iterator<Item = (NodeId, u32)> + '_ {
        self.closed.iter().map(|(node, number)| (*node, *number))
    }

    /// How many origins and nodes it names.
    pub fn len(&self) -> usize {
        self.counters.len() + self.closed.len()
    }

    pub fn is_empty(&self) -> bool {
        self.counters.is_empty() && self.closed.is_empty()
    }
}

impl FromIterator<(Origin, u64)> for VersionVector {
    /// Repeated origins keep the highest counter; zeros are left out.
    fn from_iter<T: IntoIterator<Item = (Origin, u64)>>(iter: T) -> Self {
        let mut vector = Self::new();
        for (origin, counter) in iter {
            vector.raise(origin, counter);
        }
        vector
    }
}

impl fmt::Debug for VersionVector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let closed = self.closed.iter().map(|(node, number)| (format!("{node}, up to {number}"), "closed"));
        f.debug_map().entries(self.counters.iter()).entries(closed).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeId;

    #[test]
    fn what_two_hold_is_below_both() {
        let of = |of: &[(u8, u64)]| of.iter().map(|(n, counter)| (origin(*n), *counter)).collect();
        let (mut a, b): (VersionVector, VersionVector) = (of(&[(1, 5), (2, 2)]), of(&[(1, 3), (3, 4)]));
        assert_eq!(a.meet(&b), of(&[(1, 3)]));
        assert_eq!(b.meet(&a), a.meet(&b));
        // What is closed counts as held whatever the counter.
        a.close(NodeId([3; 8]), 1);
        assert_eq!(a.meet(&b), of(&[(1, 3), (3, 4)]));
        assert_eq!(a.meet(&a), a);
    }

    fn origin(n: u8) -> Origin {
        Origin { node: NodeId([n; 8]), incarnation: 1, random: 0 }
    }

    #[test]
    fn merging_takes_the_highest_of_both() {
        let mut a: VersionVector = [(origin(1), 5), (origin(2), 1)].into_iter().collect();
        let b: VersionVector = [(origin(2), 3), (origin(3), 2)].into_iter().collect();
        assert!(!a.covers(&b));
        assert_eq!(b.missing_in(&a), 4);
        assert!(a.merge(&b));
        assert!(!a.merge(&b));
        assert!(a.covers(&b));
        assert_eq!(a.above(&b), [(origin(1), 5)].into_iter().collect());
    }

    #[test]
    fn closed_incarnations_count_as_held_and_take_no_room() {
        let old = |incarnation: u32| Origin { incarnation, ..origin(1) };
        let mut a: VersionVector = (1..=1_000).map(|n| (old(n), 7)).collect();
        let b: VersionVector = [(old(3), 9), (old(1_000), 7), (origin(2), 1)].into_iter().collect();
        assert!(a.close(NodeId([1; 8]), 999) && !a.close(NodeId([1; 8]), 500));
        assert_eq!(a.len(), 2);
        assert!(a.covers(&[(old(3), 9), (old(1_000), 7)].into_iter().collect()));
        assert!(!a.covers(&b) && !a.covers(&[(old(1_000), 8)].into_iter().collect()));
        assert!(!a.raise(old(999), 10) && a.closes(&b) && !b.closes(&a));
        let mut b = b;
        assert_eq!(a.above(&b).len(), 1);
        assert!(b.merge(&a) && !b.merge(&a));
        assert_eq!(
            b,
            [(origin(2), 1)].into_iter().fold(a.clone(), |mut all, (o, n)| {
                all.raise(o, n);
                all
            })
        );
    }
}
