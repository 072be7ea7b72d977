//! When faults have ended all nodes get equal vectors and digests, within a bounded time.

use syncline::base::VersionVector;
use syncline::replication::Core;

use super::Failure;
use crate::node::Node;

#[derive(Default)]
pub struct Converged {
    /// Milliseconds that it took.
    pub took: u64,
}

impl Converged {
    /// Are all equal, with nothing under way?
    pub fn look(&self, nodes: &[Node]) -> Result<bool, Failure> {
        let cores: Vec<&Core> = cores(nodes).collect();
        let Some(first) = cores.first() else { return Ok(false) };
        let idle = |node: &Node| node.process.as_ref().is_some_and(|p| !p.engine.has_pending());
        let equal = |core: &&Core| core.vector() == first.vector();
        if cores.len() < nodes.len() || !nodes.iter().all(idle) || !cores.iter().all(equal) {
            return Ok(false);
        }
        if cores.iter().any(|core| core.digest() != first.digest()) {
            return Err(Failure::new("converged", "vectors are equal and digests are not".into()));
        }
        Ok(true)
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
                    let broken = process.engine.broken();
                    format!("\n  node {n} lacks {lacks:?}, holds back {held} bytes, broken: {broken:?}")
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
