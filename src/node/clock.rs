//! The only reader of clocks and entropy.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::NodeError;
use super::engine::Dice;
use crate::base::limits::FORGET_NODE_MS;
use crate::base::{Millis, NodeId};

/// The node's start, in milliseconds of its own time: what was said before it has its place there, too, as long as it
/// matters.
const START_MS: u64 = 2 * FORGET_NODE_MS;

/// Time that never goes back, and that of the day.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    start: Instant,
}

impl Clock {
    pub fn start() -> Self {
        Self { start: Instant::now() }
    }

    pub fn now(self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)).plus(START_MS)
    }

    pub fn unix(self) -> Millis {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

pub(super) fn draw() -> Result<Dice, NodeError> {
    let mut bytes = [0; 12];
    getrandom::fill(&mut bytes)
        .map_err(|e| NodeError::Storage { reason: format!("the system gives no random numbers: {e}") })?;
    let [n0, n1, n2, n3, n4, n5, n6, n7, r0, r1, r2, r3] = bytes;
    Ok(Dice { node: NodeId([n0, n1, n2, n3, n4, n5, n6, n7]), random: u32::from_be_bytes([r0, r1, r2, r3]) })
}
