//! For how long another node has lacked what this one has: measured here, on one clock.

use std::collections::VecDeque;

use crate::base::{Millis, VersionVector};

/// A vector is remembered at most this often.
const EVERY_MS: u64 = 100;
/// At most so many are remembered; past it every second one is forgotten, so that long lags are told
/// less finely.
const MOST: usize = 512;

/// How another node's vector compares with this node's.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Standing {
    /// Changes here that it lacks, and since when it has lacked the oldest of them.
    pub behind: u64,
    pub behind_ms: u64,
    /// Changes there that this node lacks.
    pub ahead: u64,
}

/// What this node held at moments of its past.
#[derive(Default)]
pub(super) struct Lag {
    past: VecDeque<(Millis, VersionVector)>,
}

impl Lag {
    /// `vector` is what the node holds from `now` on.
    pub fn note(&mut self, now: Millis, vector: &VersionVector) {
        match self.past.back_mut() {
            // A later vector of the same tenth of a second replaces it: a lag is told at most so much too short.
            Some((at, last)) if now.since(*at) < EVERY_MS => *last = vector.clone(),
            _ => self.past.push_back((now, vector.clone())),
        }
        if self.past.len() > MOST {
            let mut keep = false;
            self.past.retain(|_| {
                keep = !keep;
                keep
            });
        }
    }

    pub fn standing(&self, now: Millis, ours: &VersionVector, theirs: &VersionVector) -> Standing {
        let behind = ours.missing_in(theirs);
        let since = self.past.iter().find(|(_, vector)| !theirs.covers(vector)).map(|(at, _)| *at);
        let behind_ms = if behind == 0 { 0 } else { since.map_or(0, |at| now.since(at)) };
        Standing { behind, behind_ms, ahead: theirs.missing_in(ours) }
    }
}
