//! Nodes killed at random while others write: nothing acknowledged is lost, and all are equal in the end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::client::{Client, OPS};
use crate::cluster::{Cluster, Master, Replica};

const RUN: Duration = Duration::from_secs(30);

/// From one kill to the next, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 1_000..3_000;

/// Between two writes of one writer: the machine runs other tests too.
const BREATH: Duration = Duration::from_millis(3);

/// Shared by all writers, so that most changes are concurrent.
const DOCUMENTS: usize = 20;

const NODES: [&str; 5] = ["a", "b", "c", "r", "s"];

/// Document → keys whose write was answered with success.
type Acknowledged = BTreeMap<usize, Vec<String>>;

#[test]
fn nothing_acknowledged_is_lost_while_nodes_are_killed() {
    let seed = fastrand::u64(..);
    eprintln!("seed {seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut cluster = Cluster::start(
        &[("a", Master), ("b", Master), ("c", Master), ("r", Replica), ("s", Replica)],
        &[("a", "b"), ("b", "c"), ("c", "a"), ("r", "a"), ("r", "b"), ("s", "r")],
    );
    let mut creator = cluster.client("a");
    for document in 0..DOCUMENTS {
        let empty = json!({"count": {"$counter": 0}, "keys": {}});
        creator.put(&format!("/v1/docs/shared/{document}"), &empty).expect(201);
    }
    cluster.converge(&NODES);
    let places: Vec<Mutex<SocketAddr>> = NODES[..3].iter().map(|name| Mutex::new(cluster.at(name))).collect();
    let done = AtomicBool::new(false);
    let (acknowledged, kills) = thread::scope(|scope| {
        let writers: Vec<_> = places
            .iter()
            .enumerate()
            .flat_map(|(n, place)| [(2 * n, place), (2 * n + 1, place)])
            .map(|(writer, place)| {
                let (rng, done) = (rng.fork(), &done);
                scope.spawn(move || write(writer, place, rng, done))
            })
            .collect();
        let end = Instant::now() + RUN;
        let mut kills = 0;
        loop {
            thread::sleep(Duration::from_millis(rng.u64(PAUSE_MS)));
            if Instant::now() >= end {
                break;
            }
            let n = rng.usize(..NODES.len());
            cluster.kill(NODES[n]);
            // Half of the time others go on for a while before it comes back.
            thread::sleep(Duration::from_millis(if rng.bool() { rng.u64(..1_000) } else { 0 }));
            cluster.launch(NODES[n]);
            if let Some(place) = places.get(n) {
                *place.lock().expect("an address") = cluster.at(NODES[n]);
            }
            kills += 1;
        }
        done.store(true, Ordering::Relaxed);
        let mut all = Acknowledged::new();
        for writer in writers {
            for (document, keys) in writer.join().expect("a writer") {
                all.entry(document).or_default().extend(keys);
            }
        }
        (all, kills)
    });
    cluster.converge(&NODES);
    let count: usize = acknowledged.values().map(Vec::len).sum();
    eprintln!("{kills} kills, {count} writes acknowledged");
    assert!(kills >= 5 && count >= 1_000, "too little has happened: {kills} kills, {count} writes");
    let mut first: BTreeMap<usize, Value> = BTreeMap::new();
    for name in NODES {
        let mut client = cluster.client(name);
        for (document, keys) in &acknowledged {
            let value = client.get(&format!("/v1/docs/shared/{document}")).expect(200).json();
            let there = value["keys"].as_object().expect("the keys");
            let lost: Vec<_> = keys.iter().filter(|key| !there.contains_key(*key)).collect();
            assert!(lost.is_empty(), "{name} has lost {lost:?} of document {document}");
            // Key and increment came in one change: all of it or nothing, and once.
            assert_eq!(value["count"], there.len(), "{name}, document {document}");
            assert_eq!(first.entry(*document).or_insert_with(|| value.clone()), &value, "{name}");
        }
    }
}

/// Writes to one master wherever it is, until `done`. A write of unknown outcome is not tried again.
fn write(
    writer: usize,
    place: &Mutex<SocketAddr>,
    mut rng: fastrand::Rng,
    done: &AtomicBool,
) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    let mut at = *place.lock().expect("an address");
    let mut client = Client::new(at);
    for n in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(BREATH);
        let now = *place.lock().expect("an address");
        if now != at {
            (at, client) = (now, Client::new(now));
        }
        let (document, key) = (rng.usize(..DOCUMENTS), format!("{writer}-{n}"));
        let ops = json!([
            {"op": "increment", "path": "/count", "by": 1},
            {"op": "put", "path": format!("/keys/{key}"), "value": n},
        ]);
        let path = format!("/v1/docs/shared/{document}");
        let answer = client.send("PATCH", &path, &[("Content-Type", OPS)], ops.to_string().as_bytes());
        match answer {
            Ok(answer) if answer.status < 300 => acknowledged.entry(document).or_default().push(key),
            Ok(answer) => assert!(answer.status >= 500, "{}: {}", answer.status, answer.problem()),
            // Killed before, under or after it.
            Err(_) => {}
        }
    }
    acknowledged
}
