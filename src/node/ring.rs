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
