//! When the log is cut off, and where: what every known node has on its disk may go, and so may what is too much.

use std::collections::VecDeque;

use crate::base::{Bounds, Bug, Lsn, Millis, VersionVector, planted};
use crate::replication::Core;
use crate::store::{Store, StoreError};

/// Between two looks, in milliseconds.
const LOOK_MS: u64 = 1_000;

pub(super) struct Trim {
    /// The log is cut off at marks, where its vector is known.
    marks: VecDeque<(Lsn, VersionVector)>,
    /// Marks up to here may name less than documents had there: a repair brings documents first, and then the vector.
    ahead: Lsn,
    /// The first LSN that the log has, or would have.
    pub first: Lsn,
    looked: Millis,
    keep: u64,
    most: u64,
    mark_every: u64,
    mark_least: u64,
}

/// What is to be done with the next commit.
#[derive(Default)]
pub(super) struct Look {
    /// Below which LSN the log should go, and the floor that it has then.
    pub cut: Option<(Lsn, VersionVector)>,
    /// A mark should be made: too much has come since the last one.
    pub mark: bool,
}

impl Trim {
    pub fn new(bounds: Bounds, first: Lsn, marks: Vec<(Lsn, VersionVector)>) -> Self {
        let Bounds { log_keep: keep, log_most: most, mark_every, mark_least, .. } = bounds;
        // A repair may have been under way when the node was stopped.
        let ahead = marks.last().map_or(Lsn(0), |(lsn, _)| *lsn);
        Self { marks: marks.into(), ahead, first, looked: Millis(0), keep, most, mark_every, mark_least }
    }

    /// Documents have more at that place in the log than the vector names, or had until there.
    pub fn is_ahead(&mut self, lsn: Lsn) {
        self.ahead = self.ahead.max(lsn);
    }

    /// Is it time for a look?
    pub fn is_time(&mut self, now: Millis) -> bool {
        let is_time = now.since(self.looked) >= LOOK_MS;
        if is_time {
            self.looked = now;
        }
        is_time
    }

    /// How does the log stand to what is to be kept of it?
    pub fn look(&self, store: &dyn Store, core: &Core) -> Result<Look, StoreError> {
        let all = store.log_bytes(Lsn(u64::MAX))?;
        if all <= self.keep {
            return Ok(Look::default());
        }
        let marked = self.marks.back().map_or(self.first, |(lsn, _)| *lsn);
        let is_far = core.log_head().0.saturating_sub(marked.0) >= self.mark_least;
        let mark = is_far && all.saturating_sub(store.log_bytes(marked)?) > self.keep;
        // The last entry stays, since the next start learns its LSN from it.
        let needed = core.needed_log().min(core.log_head());
        let stable = core.stable();
        let (mut cut, mut gone) = (None, 0);
        for (lsn, vector) in self.marks.iter().take_while(|(lsn, _)| *lsn <= needed) {
            let left = all.saturating_sub(gone);
            if left <= self.keep || (left <= self.most && !stable.covers(vector)) {
                break;
            }
            cut = Some((*lsn, vector.clone()));
            gone = store.log_bytes(*lsn)?;
        }
        Ok(Look { cut, mark })
    }

    /// Where a commit is marked that takes the LSNs from `first` to `last`, if any: now and then, and at its end where
    /// that is wanted.
    pub fn places(&self, first: Lsn, last: Lsn, at_end: bool) -> Vec<Lsn> {
        let is_marked = |lsn: &u64| lsn.is_multiple_of(self.mark_every) && !(at_end && *lsn == last.0);
        let places = (first.0..=last.0).filter(is_marked).chain(at_end.then_some(last.0));
        places.map(Lsn).collect()
    }

    /// Does every known node say that it has all that the log has up to that place?
    pub fn is_stable(&self, core: &Core, lsn: Lsn) -> bool {
        if planted(Bug::DropTooEarly) {
            return true;
        }
        let stable = core.whole();
        let mut above = self.marks.iter().filter(|(mark, _)| *mark >= lsn && *mark > self.ahead);
        core.is_complete()
            && (stable.covers(core.vector()) || above.next().is_some_and(|(_, vector)| stable.covers(vector)))
    }

    /// A commit is on disk.
    pub fn committed(&mut self, marks: Vec<(Lsn, VersionVector)>, trimmed: Option<Lsn>) {
        self.marks.extend(marks);
        if let Some(trimmed) = trimmed {
            self.first = trimmed;
            // That at the place itself would be of no use a second time.
            self.marks.retain(|(lsn, _)| *lsn > trimmed);
        }
    }
}
