//! Traffic falls silent: when all are equal only heartbeats are sent, and tries to dial a second link.

use super::{Checked, Failure};

/// Milliseconds after the end of faults within which dead links are found and made anew, and incarnations that have
/// ended are closed: the last start may have been at that end, 10 s later all must have said that they have what was
/// before it, and word of it takes 2 s from node to node.
const LINKS_MS: u64 = 32_000;

/// Milliseconds after all are equal within which sources are chosen for the last time.
const SOURCES_MS: u64 = 6_000;

/// For so long, in milliseconds, silence is listened to.
const LISTEN_MS: u64 = 2_000;

/// A node that goes on as another, or as another incarnation, ends its links, and is linked again within this, in
/// milliseconds; then sources are chosen for the last time. It does so by the time at which silence would have fallen.
const RENEWED_MS: u64 = 7_000 + SOURCES_MS;

#[derive(Default)]
pub struct Silent {
    renewed: u64,
}

impl Silent {
    /// A node has begun another incarnation without being started.
    pub fn renewed(&mut self, now: u64) {
        self.renewed = now;
    }

    /// When silence must have fallen, as far as is known by now.
    pub fn begins(&self, mended: u64, equal: u64) -> u64 {
        (mended + LINKS_MS).max(equal + SOURCES_MS).max(self.renewed + RENEWED_MS)
    }

    pub fn lasts(&self) -> u64 {
        LISTEN_MS
    }

    pub fn look(&self, frames: u64) -> Checked {
        if frames == 0 {
            return Ok(());
        }
        Err(Failure::new("silent", format!("{frames} frames in {LISTEN_MS} ms although all are equal")))
    }
}
