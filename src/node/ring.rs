//! The last commits, kept in memory in the form in which links send them.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::limits::FRAME_TARGET_BYTES;
use crate::base::{Lsn, VersionVector};
use crate::replication::ReadFrom;
use crate::wire::Segment;

/// Bytes that one read gives at most, beyond its first batch.
const READ_BYTES: usize = 4 * FRAME_TARGET_BYTES;

pub(super) struct Ring {
    batches: VecDeque<Batch>,
    bytes: usize,
    most: usize,
    /// What the log holds before the first batch.
    base: VersionVector,
}

struct Batch {
    first: Lsn,
    last: Lsn,
    segments: Vec<Arc<Segment>>,
    bytes: usize,
}

impl Ring {
    /// It keeps `most` bytes, or its last batch.
    pub fn new(most: usize, base: VersionVector) -> Self {
        Self { batches: VecDeque::new(), bytes: 0, most, base }
    }

    pub fn push(&mut self, first: Lsn, last: Lsn, segments: Vec<Arc<Segment>>) {
        let bytes = segments.iter().map(|segment| segment.size()).sum();
        self.bytes += bytes;
        self.batches.push_back(Batch { first, last, segments, bytes });
        while self.bytes > self.most && self.batches.len() > 1 {
            let Some(gone) = self.batches.pop_front() else { break };
            self.bytes -= gone.bytes;
            for segment in &gone.segments {
                self.base.raise(segment.origin, segment.last);
            }
        }
    }

    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What there is from a place on, and the LSN after it; None where the ring does not reach back so far.
    pub fn read(&self, from: &ReadFrom) -> Option<(Vec<Arc<Segment>>, Lsn)> {
        let start = match from {
            ReadFrom::At(lsn) => {
                let start = self.batches.partition_point(|batch| batch.last < *lsn);
                if self.batches.front()?.first > *lsn {
                    return None;
                }
                start
            }
            ReadFrom::Seek(sent)
                if sent.iter().all(|(origin, counter)| self.base.get(origin) <= *counter) =>
            {
                0
            }
            ReadFrom::Seek(_) => return None,
        };
        let mut found = Vec::new();
        let mut bytes = 0;
        let mut next = self.batches.get(start)?.first;
        for batch in self.batches.iter().skip(start) {
            for segment in &batch.segments {
                let is_new = match from {
                    ReadFrom::At(_) => true,
                    ReadFrom::Seek(sent) => {
                        sent.get(&segment.origin).is_some_and(|counter| segment.last > *counter)
                    }
                };
                if is_new {
                    bytes += segment.size();
                    found.push(segment.clone());
                }
            }
            next = batch.last.next();
            if bytes >= READ_BYTES {
                break;
            }
        }
        Some((found, next))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::base::{DocId, NodeId, Origin};
    use crate::wire::{Entry, segments};

    fn origin(n: u8) -> Origin {
        Origin { node: NodeId([n; 8]), incarnation: 1, random: 0 }
    }

    /// A ring to which origin 1 has committed five entries, one a commit, and that keeps the last two or three.
    fn ring() -> Ring {
        let mut ring = Ring::new(250, VersionVector::new());
        for counter in 1..=5 {
            let (held, changes) = (VersionVector::new(), Vec::new());
            let doc = DocId::new(&"x".repeat(60)).unwrap();
            let entry = Entry { origin: origin(1), counter, held, doc, changes, drops: None };
            ring.push(Lsn(counter), Lsn(counter), segments(&[entry.to_bytes().into()]));
        }
        ring
    }

    fn sought(ring: &Ring, of: &[(u8, u64)]) -> Option<Vec<u64>> {
        let sent: BTreeMap<Origin, u64> = of.iter().map(|(n, counter)| (origin(*n), *counter)).collect();
        let (segments, next) = ring.read(&ReadFrom::Seek(sent))?;
        assert_eq!(next, Lsn(6));
        Some(segments.iter().map(|segment| segment.first).collect())
    }

    #[test]
    fn what_was_let_go_is_not_read_as_if_it_were_not_there() {
        let ring = ring();
        assert!(ring.bytes() <= 250 && ring.batches.len() == 2, "{} bytes", ring.bytes());
        assert_eq!(sought(&ring, &[(1, 3)]), Some(vec![4, 5]));
        assert_eq!(sought(&ring, &[(1, 4)]), Some(vec![5]));
        assert_eq!(sought(&ring, &[(1, 2)]), None);
        // Of this origin the asker has nothing at all.
        assert_eq!(sought(&ring, &[(1, 0)]), None);
        // Another origin than is here, and one that is not wanted.
        assert_eq!(sought(&ring, &[(2, 0)]), Some(vec![]));
    }

    #[test]
    fn a_place_in_the_log_is_read_from_on() {
        let ring = ring();
        let at = |lsn| ring.read(&ReadFrom::At(Lsn(lsn))).map(|(segments, next)| (segments.len(), next.0));
        assert_eq!((at(3), at(4), at(5)), (None, Some((2, 6)), Some((1, 6))));
        // Beyond the last commit the store answers that there is nothing.
        assert_eq!(at(6), None);
    }
}
