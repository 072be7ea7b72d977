//! Version vectors: what a node has of every origin.

use std::collections::BTreeMap;
use std::fmt;

use super::Origin;

/// Origin → highest counter held, without gaps. An origin that is absent counts as 0.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct VersionVector(BTreeMap<Origin, u64>);

impl VersionVector {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn get(&self, origin: &Origin) -> u64 {
        self.0.get(origin).copied().unwrap_or(0)
    }

    /// Raises one origin's counter; never lowers it. Says whether it moved.
    pub fn raise(&mut self, origin: Origin, counter: u64) -> bool {
        if counter <= self.get(&origin) {
            return false;
        }
        self.0.insert(origin, counter);
        true
    }

    /// Pointwise maximum. Says whether anything moved.
    pub fn merge(&mut self, other: &VersionVector) -> bool {
        other.iter().fold(false, |moved, (origin, counter)| self.raise(origin, counter) || moved)
    }

    /// Does this hold all that `other` names?
    pub fn covers(&self, other: &VersionVector) -> bool {
        other.iter().all(|(origin, counter)| counter <= self.get(&origin))
    }

    /// The entries of `self` that are above `earlier`.
    pub fn above(&self, earlier: &VersionVector) -> VersionVector {
        Self(self.iter().filter(|(origin, counter)| *counter > earlier.get(origin)).collect())
    }

    /// How many counters `other` lacks of what this holds.
    pub fn missing_in(&self, other: &VersionVector) -> u64 {
        self.iter().map(|(origin, counter)| counter.saturating_sub(other.get(&origin))).sum()
    }

    /// In ascending order of origin.
    pub fn iter(&self) -> impl Iterator<Item = (Origin, u64)> + '_ {
        self.0.iter().map(|(origin, counter)| (*origin, *counter))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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
        f.debug_map().entries(self.0.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::NodeId;

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
}
