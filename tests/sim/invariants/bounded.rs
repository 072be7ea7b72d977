//! Buffers stay within their limits: entries held back, messages on their way to a socket, commits kept in memory.

use std::collections::BTreeMap;

use syncline::base::Bounds;
use syncline::base::limits::FRAME_TARGET_BYTES;

use super::{Checked, Failure};
use crate::net::Net;
use crate::node::Process;

/// Weight of messages other than entries that may wait for a socket: some tens of wishes and acknowledgements.
const SMALL: usize = 64 * 100;

#[derive(Default)]
pub struct Bounded {
    /// Bytes of the largest commit of each node: one may be over the limit, else nothing large would ever pass.
    largest: BTreeMap<usize, usize>,
}

impl Bounded {
    pub fn committed(&mut self, node: usize, bytes: usize) {
        let largest = self.largest.entry(node).or_default();
        *largest = (*largest).max(2 * bytes);
    }

    pub fn look(&self, node: usize, bounds: &Bounds, process: Option<&Process>, net: &Net) -> Checked {
        let Some(process) = process else { return Ok(()) };
        let fails = |what: String| Err(Failure::new("bounded", format!("node {node}: {what}")));
        let largest = self.largest.get(&node).copied().unwrap_or(0);
        let held = process.engine.core().held_bytes();
        if held > bounds.hold {
            return fails(format!("{held} bytes held back, {} allowed", bounds.hold));
        }
        let ring = process.engine.ring_bytes();
        if ring > bounds.ring + largest {
            return fails(format!("{ring} bytes in the ring, {} allowed", bounds.ring));
        }
        for (conn, side) in process.links.values() {
            let outstanding = net.conns[*conn].ends[*side].outstanding;
            if outstanding > bounds.window + largest + 4 * FRAME_TARGET_BYTES + SMALL {
                return fails(format!("{outstanding} bytes wait for a socket, {} allowed", bounds.window));
            }
        }
        Ok(())
    }
}
