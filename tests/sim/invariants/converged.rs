//! When faults have ended all nodes get equal vectors and digests, within a bounded time.

use syncline::base::{Origin, VersionVector};
use syncline::replication::Core;

use super::{Checked, Failure};
use crate::node::Node;

#[derive(Default)]
pub struct Converged {
    /// Milliseconds that it took.
    pub took: u64,
}

impl Converged {
    /// Are all equal, with nothing under way?
    pub fn look(&self, nodes: &[Node]) -> bool {
        let cores: Vec<&Core> = cores(nodes).collect();
        let Some(first) = cores.first() else { return false };
        let idle = |node: &Node| node.process.as_ref().is_some_and(|p| !p.engine.has_pending());
        let equal = |core: &&Core| core.vector() == first.vector() && core.digest() == first.digest();
        cores.len() == nodes.len() && nodes.iter().all(idle) && cores.iter().all(equal)
    }

    /// In the end vectors name no incarnation that has ended, where all nodes that ever were are still there.
    pub fn finish(&self, nodes: &[Node]) -> Checked {
        let Some(first) = cores(nodes).next().filter(|_| nodes.iter().all(|node| node.formerly.is_empty()))
        else {
            return Ok(());
        };
        // A copy from before the last start has begun one of the same number, which the next start will close.
        let is_present = |origin: &Origin| {
            let mut all = cores(nodes).map(|core| core.identity().origin);
            all.any(|now| now.node == origin.node && now.incarnation <= origin.incarnation)
        };
        match first.vector().iter().find(|(origin, _)| !is_present(origin)) {
            None => Ok(()),
            Some((origin, _)) => Err(Failure::new("converged", format!("vectors still name {origin:?}"))),
        }
    }

    pub fn why(&self, nodes: &[Node], within: u64) -> Failure {
        let mut all = VersionVector::new();
        for core in cores(nodes) {
            all.merge(core.vector());
        }
        let mut what = format!("not within {within} ms:");
        for (n, node) in nodes.iter().enumerate() {
            what += &match &node.process {
                Some(process) => {
                    let core = process.engine.core();
                    let (lacks, held) = (all.above(core.vector()), core.held_bytes());
                    let (broken, repair) = (process.engine.broken(), core.repairing());
                    let digest = u128::from_be_bytes(core.digest());
                    format!(
                        "\n  node {n} lacks {lacks:?}, has digest {digest:032x}, holds back {held} bytes, broken: \
                         {broken:?}, repair: {repair:?}"
                    )
                }
                None => format!("\n  node {n} is down"),
            };
        }
        Failure::new("converged", what)
    }
}

fn cores(nodes: &[Node]) -> impl Iterator<Item = &Core> {
    nodes.iter().filter_map(|node| node.process.as_ref()).map(|process| process.engine.core())
}
