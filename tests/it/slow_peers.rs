//! A peer that is dead or takes nothing slows nobody else.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Cluster, Master, Replica};

/// More than fits into sockets, windows and rings together: 1,000 documents of 64 kB that hardly compress.
const DOCUMENTS: usize = 1_000;

fn document(rng: &mut fastrand::Rng) -> serde_json::Value {
    let text: String = std::iter::repeat_with(|| rng.alphanumeric()).take(64 << 10).collect();
    json!({ "text": text })
}

#[test]
fn a_peer_that_stops_reading_slows_no_other() {
    let cluster = Cluster::start(
        &[("a", Master), ("b", Master), ("c", Master), ("r", Replica)],
        &[("b", "a"), ("c", "a"), ("r", "a")],
    );
    let mut client = cluster.client("a");
    client.put("/v1/docs/first", &json!({})).expect(201);
    cluster.converge(&["a", "b", "c", "r"]);
    for node in ["b", "r"] {
        cluster.link(node, "a").stall();
    }
    let mut rng = fastrand::Rng::with_seed(1);
    let mut slowest = Duration::ZERO;
    for n in 0..DOCUMENTS {
        let document = document(&mut rng);
        let start = Instant::now();
        client.put(&format!("/v1/docs/{n}"), &document).expect(201);
        slowest = slowest.max(start.elapsed());
    }
    // Whoever reads has all of it while the others have nothing of it.
    let all = cluster.converge(&["a", "c"]);
    for node in ["b", "r"] {
        assert_ne!(cluster.standing(node), all, "{node} was to take nothing");
    }
    // Not a measurement: a writer that waited for a peer would wait until it is given up.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    for node in ["b", "r"] {
        cluster.link(node, "a").resume();
    }
    assert_eq!(cluster.converge(&["a", "b", "c", "r"]), all);
}

#[test]
fn a_dead_peer_slows_no_other() {
    let mut cluster =
        Cluster::start(&[("a", Master), ("b", Master), ("c", Master)], &[("b", "a"), ("c", "a"), ("c", "b")]);
    cluster.converge(&["a", "b", "c"]);
    cluster.kill("b");
    let mut client = cluster.client("a");
    for n in 0..500 {
        client.patch("/v1/docs/x", &json!({(n.to_string()): n})).expect(if n == 0 { 201 } else { 200 });
    }
    let all = cluster.converge(&["a", "c"]);
    cluster.launch("b");
    assert_eq!(cluster.converge(&["a", "b", "c"]), all);
}
