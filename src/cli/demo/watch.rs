//! The demo's last line: do all nodes have the same at this moment?

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::super::cluster::duration;
use super::super::output::{Failure, print, to_terminal};
use super::people::Told;
use crate::node::{Node, NodeRow};

/// Between two looks, in milliseconds: on a terminal, and where each look stays as a line.
const LOOK_MS: u64 = 250;
const LINE_MS: u64 = 3_000;

/// Columns of the narrowest usual terminal, less the cursor: a longer line could not be written over.
const WIDTH: usize = 79;

/// Shows how the nodes stand, again and again: on a terminal in one place, else a line each time.
pub(super) async fn show(nodes: &[(String, Node)], told: &Told) -> Result<(), Failure> {
    let start = Instant::now();
    let (in_place, pause) = if to_terminal() { (true, LOOK_MS) } else { (false, LINE_MS) };
    loop {
        sleep(Duration::from_millis(pause)).await;
        let mut rows = Vec::new();
        for (name, node) in nodes {
            let view = node.cluster().await.map_err(|e| Failure::refused(format!("{name}: {e}")))?;
            rows.extend(view.nodes.into_iter().next());
        }
        let age = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
        let line: String = format!("{:>6}  {}  {}", duration(age), standing(&rows), told.last())
            .chars()
            .take(WIDTH)
            .collect();
        print(if in_place { format!("\r\x1b[2K{line}") } else { format!("{line}\n") })?;
    }
}

/// What each node says of itself, compared here: no heartbeat lies between.
fn standing(rows: &[NodeRow]) -> String {
    let mut all: BTreeMap<&str, u64> = BTreeMap::new();
    for (origin, counter) in rows.iter().flat_map(|row| &row.vector) {
        let highest = all.entry(origin).or_default();
        *highest = (*highest).max(*counter);
    }
    let total: u64 = all.values().sum();
    let late: Vec<String> = rows
        .iter()
        .map(|row| (&row.name, total - row.vector.iter().map(|(_, counter)| counter).sum::<u64>()))
        .filter(|(_, lacks)| *lacks > 0)
        .map(|(name, lacks)| format!("{name} lacks {lacks}"))
        .collect();
    let same = rows.windows(2).all(|pair| matches!(pair, [a, b] if a.digest == b.digest));
    match (&*late, same) {
        ([], true) => format!("converged   {} nodes have the same {total} changes", rows.len()),
        ([], false) => format!("DIVERGED    the same {total} changes, and different documents"),
        (late, _) => format!("converging  {} of {total} changes", late.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, vector: &[(&str, u64)], digest: &str) -> NodeRow {
        NodeRow {
            id: name.into(),
            name: name.into(),
            role: "master".into(),
            url: None,
            incarnation: 1,
            vector: vector.iter().map(|(origin, counter)| ((*origin).to_owned(), *counter)).collect(),
            closed: Vec::new(),
            digest: digest.into(),
            links: Vec::new(),
            behind: 0,
            behind_ms: 0,
            ahead: 0,
            heard_ms: 0,
            converged: true,
        }
    }

    #[test]
    fn nodes_are_compared_with_what_any_of_them_has() {
        let (a, b) = (row("a", &[("x", 3), ("y", 1)], "d"), row("b", &[("x", 3), ("y", 1)], "d"));
        assert_eq!(standing(&[a.clone(), b]), "converged   2 nodes have the same 4 changes");
        let late = row("b", &[("x", 1), ("y", 2)], "e");
        assert_eq!(standing(&[a.clone(), late]), "converging  a lacks 1, b lacks 2 of 5 changes");
        let other = row("b", &[("x", 3), ("y", 1)], "e");
        assert!(standing(&[a, other]).starts_with("DIVERGED"));
    }
}
