//! Those limits of a node's memory that the simulator makes small, so that it gets to them.

use super::limits::{
    HOLD_BYTES, LINK_WINDOW_BYTES, LOG_KEEP_BYTES, LOG_MOST_BYTES, MARK_EVERY, MARK_LEAST, RING_BYTES,
};

/// How much a node keeps in memory for others, and how often its log is marked. What ships takes the default.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// See [`LINK_WINDOW_BYTES`].
    pub window: usize,
    /// See [`HOLD_BYTES`].
    pub hold: usize,
    /// See [`RING_BYTES`].
    pub ring: usize,
    /// See [`MARK_EVERY`].
    pub mark_every: u64,
    /// See [`MARK_LEAST`].
    pub mark_least: u64,
    /// See [`LOG_KEEP_BYTES`].
    pub log_keep: u64,
    /// See [`LOG_MOST_BYTES`].
    pub log_most: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            window: LINK_WINDOW_BYTES,
            hold: HOLD_BYTES,
            ring: RING_BYTES,
            mark_every: MARK_EVERY,
            mark_least: MARK_LEAST,
            log_keep: LOG_KEEP_BYTES,
            log_most: LOG_MOST_BYTES,
        }
    }
}
