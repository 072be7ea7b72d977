//! The cluster as this node sees it.

use super::engine::Engine;
use super::shared::Shared;
use super::{ClusterState, ClusterView, NodeRow, RepairView};
use crate::base::limits::LINK_DEAD_MS;
use crate::base::{Millis, NodeId, Role, VersionVector};
use crate::replication::Core;

pub(super) fn cluster(engine: &Engine, now: Millis, shared: &Shared) -> ClusterView {
    let core = engine.core();
    let me = core.identity();
    let known = core.known(now);
    let name_of = |node: &NodeId| {
        let row = known.iter().find(|(row, _)| row.info.node == *node);
        if *node == me.node {
            me.name.clone()
        } else {
            row.map_or(node.to_string(), |(row, _)| row.info.name.clone())
        }
    };
    let mut nodes: Vec<NodeRow> = known
        .iter()
        .map(|(row, standing)| NodeRow {
            id: row.info.node.to_string(),
            name: row.info.name.clone(),
            role: row.info.role.to_string(),
            url: row.info.url.clone(),
            incarnation: row.info.origin.incarnation,
            vector: vector(&row.info.vector),
            closed: closed(&row.info.vector),
            digest: hex(&row.info.digest),
            links: row.info.links.iter().map(name_of).collect(),
            behind: standing.behind,
            behind_ms: standing.behind_ms,
            ahead: standing.ahead,
            heard_ms: now.since(row.said),
            converged: row.info.vector == *core.vector() && row.info.digest == core.digest(),
        })
        .collect();
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let state = state(&nodes, me.url.as_deref(), shared.has_peers());
    nodes.insert(
        0,
        NodeRow {
            id: me.node.to_string(),
            name: me.name.clone(),
            role: me.role.to_string(),
            url: me.url.clone(),
            incarnation: me.origin.incarnation,
            vector: vector(core.vector()),
            closed: closed(core.vector()),
            digest: hex(&core.digest()),
            links: core.linked().map(|(hello, _)| hello.name.clone()).collect(),
            behind: 0,
            behind_ms: 0,
            ahead: 0,
            heard_ms: 0,
            converged: true,
        },
    );
    let repair = repair(core, now);
    let fenced = engine.fenced().iter().map(|doc| doc.as_str().to_owned()).collect();
    let damage = shared.metrics.damage();
    ClusterView {
        cluster: me.cluster.clone(),
        node: me.node.to_string(),
        state,
        repair,
        damage,
        fenced,
        nodes,
    }
}

/// How far this node's repair is, where it is being repaired.
pub(super) fn repair(core: &Core, now: Millis) -> Option<RepairView> {
    let state = core.repairing()?;
    let from = core.links(now).find(|link| link.id == state.link).map(|link| link.hello.name.clone());
    let elapsed_ms = now.since(state.begun);
    let left = state.documents.saturating_sub(state.done);
    // Before a second has passed, or a document has come, there is nothing to reckon from.
    let left_ms =
        (state.done > 0 && elapsed_ms >= 1_000).then(|| elapsed_ms.saturating_mul(left) / state.done);
    let from = from.unwrap_or_default();
    let (documents, done, bytes) = (state.documents, state.done.min(state.documents), state.bytes);
    Some(RepairView { from, documents, done, bytes, elapsed_ms, left_ms })
}

/// Tells everybody what has changed: may this node be used, and where are the masters?
pub(super) fn publish(engine: &Engine, now: Millis, shared: &Shared) {
    let core = engine.core();
    let has = |vector: &VersionVector| core.vector().covers(vector) && core.vector().closes(vector);
    if !shared.is_caught_up() && core.linked().any(|(hello, _)| has(&hello.vector)) {
        shared.set_caught_up();
    }
    let known = core.known(now);
    let alive = known.into_iter().filter(|(row, _)| now.since(row.said) < LINK_DEAD_MS);
    let masters = alive.filter(|(row, _)| row.info.role == Role::Master).filter_map(|(row, _)| row.info.url);
    shared.set_masters(masters.collect());
}

fn state(others: &[NodeRow], own_url: Option<&str>, has_peers: bool) -> ClusterState {
    let (alive, silent): (Vec<_>, Vec<_>) = others.iter().partition(|row| row.heard_ms < LINK_DEAD_MS);
    // Where another answers at its address by now, it has been replaced, as after the loss of its disk.
    let answers = |url: &str| own_url == Some(url) || alive.iter().any(|row| row.url.as_deref() == Some(url));
    if others.is_empty() && has_peers {
        ClusterState::Unknown
    } else if silent.iter().any(|row| !row.url.as_deref().is_some_and(answers)) {
        ClusterState::Partitioned
    } else if alive.iter().all(|row| row.converged) {
        ClusterState::Converged
    } else {
        ClusterState::Converging
    }
}

fn vector(vector: &VersionVector) -> Vec<(String, u64)> {
    vector.iter().map(|(origin, counter)| (origin.to_string(), counter)).collect()
}

fn closed(vector: &VersionVector) -> Vec<(String, u32)> {
    vector.closed().map(|(node, number)| (node.to_string(), number)).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(url: Option<&str>, heard_ms: u64, converged: bool) -> NodeRow {
        NodeRow {
            id: String::new(),
            name: String::new(),
            role: String::new(),
            url: url.map(str::to_owned),
            incarnation: 1,
            vector: Vec::new(),
            closed: Vec::new(),
            digest: String::new(),
            links: Vec::new(),
            behind: 0,
            behind_ms: 0,
            ahead: 0,
            heard_ms,
            converged,
        }
    }

    #[test]
    fn a_silent_node_parts_the_cluster_unless_another_answers_at_its_address() {
        let (a, b, silent) = (Some("http://a"), Some("http://b"), LINK_DEAD_MS);
        let told = |others: &[NodeRow]| state(others, a, true);
        assert_eq!(told(&[]), ClusterState::Unknown);
        assert_eq!(told(&[row(b, 0, true), row(None, 0, true)]), ClusterState::Converged);
        assert_eq!(told(&[row(b, 0, true), row(None, 0, false)]), ClusterState::Converging);
        for gone in [None, b, Some("http://c")] {
            assert_eq!(told(&[row(gone, silent, true)]), ClusterState::Partitioned);
            assert_eq!(state(&[row(gone, silent, true)], None, false), ClusterState::Partitioned);
        }
        assert_eq!(told(&[row(b, 0, true), row(b, silent, false)]), ClusterState::Converged);
        assert_eq!(told(&[row(a, silent, false)]), ClusterState::Converged);
        assert_eq!(
            told(&[row(b, 0, true), row(b, silent, true), row(None, silent, true)]),
            ClusterState::Partitioned
        );
    }
}
