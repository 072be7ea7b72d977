//! No change enters the cluster at a replica.

use syncline::base::Role;
use syncline::wire::Entry;

use super::{Checked, Failure};
use crate::node::Node;

pub fn entry(entry: &Entry, nodes: &[Node]) -> Checked {
    match nodes.iter().find(|node| node.is(entry.origin.node)).map(|node| node.role) {
        Some(Role::Master) => Ok(()),
        Some(Role::Replica) => {
            Err(Failure::new("replicas", format!("{:?}:{} is of a replica", entry.origin, entry.counter)))
        }
        None => Err(Failure::new("replicas", format!("{:?} is of nobody", entry.origin))),
    }
}
