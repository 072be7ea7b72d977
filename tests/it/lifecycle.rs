//! Starts, stops, and data folders.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::cluster::{Cluster, Master, Replica, eventually};

/// As told in `docs/operations.md`; and a little for a busy machine.
const STOP: Duration = Duration::from_millis(5_000 + 500);

#[test]
fn a_node_without_peers_is_ready_at_once() {
    let cluster = Cluster::single();
    let mut client = cluster.client("a");
    client.get("/livez").expect(200);
    client.get("/readyz").expect(200);
}

#[test]
fn a_node_is_ready_once_it_has_caught_up_with_a_peer() {
    let mut cluster =
        Cluster::prepare(&[("a", Master), ("b", Master), ("r", Replica)], &[("b", "a"), ("r", "b")]);
    cluster.launch("b");
    cluster.launch("r");
    for name in ["b", "r"] {
        cluster.client(name).get("/livez").expect(200);
    }
    let waiting = cluster.client("b").get("/readyz").expect(503);
    assert!(String::from_utf8_lossy(&waiting.body).contains("peer"), "{waiting:?}");
    // It takes writes all the same: no master needs another's consent.
    cluster.client("b").put("/v1/docs/x", &json!({})).expect(201);
    cluster.launch("a");
    for name in ["b", "r"] {
        let mut client = cluster.client(name);
        eventually("readiness", || (client.get("/readyz").status == 200).then_some(()));
    }
}

#[test]
fn a_stop_under_load_is_orderly_quick_and_loses_nothing() {
    let mut cluster = Cluster::start(&[("a", Master), ("b", Master)], &[("b", "a")]);
    let at = cluster.at("a");
    let stopped = AtomicBool::new(false);
    let (ended, acknowledged) = thread::scope(|scope| {
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let stopped = &stopped;
                scope.spawn(move || {
                    let mut client = crate::client::Client::new(at);
                    let mut acknowledged = Vec::new();
                    while !stopped.load(Ordering::Relaxed) {
                        let key = format!("{writer}-{}", acknowledged.len());
                        let patch = json!({(&*key): 1}).to_string();
                        let path = format!("/v1/docs/{writer}");
                        let headers = [("Content-Type", crate::client::MERGE_PATCH)];
                        match client.send("PATCH", &path, &headers, patch.as_bytes()) {
                            Ok(answer) if answer.status < 300 => acknowledged.push(key),
                            // From here on it takes no more.
                            _ => break,
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        let mut client = cluster.client("a");
        eventually("some load", || {
            let document = client.get("/v1/docs/0");
            (document.status == 200 && document.json().as_object()?.len() > 100).then_some(())
        });
        let ended = cluster.terminate("a");
        stopped.store(true, Ordering::Relaxed);
        let acknowledged: Vec<String> =
            writers.into_iter().flat_map(|writer| writer.join().expect("a writer")).collect();
        (ended, acknowledged)
    });
    let (status, time) = ended;
    assert!(status.success(), "{status}");
    assert!(time < STOP, "{time:?}");
    cluster.launch("a");
    cluster.converge(&["a", "b"]);
    for name in ["a", "b"] {
        let mut client = cluster.client(name);
        for writer in 0..8 {
            let document = client.get(&format!("/v1/docs/{writer}")).expect(200).json();
            let mine = |key: &&String| key.starts_with(&format!("{writer}-"));
            let lost: Vec<_> =
                acknowledged.iter().filter(mine).filter(|key| document.get(&***key).is_none()).collect();
            assert!(lost.is_empty(), "{name} lost {lost:?}");
        }
    }
}

#[test]
fn what_was_acknowledged_is_there_after_a_crash() {
    let mut cluster = Cluster::single();
    let mut client = cluster.client("a");
    let mut versions = Vec::new();
    for n in 0..200 {
        versions.push(client.patch(&format!("/v1/docs/{}", n % 7), &json!({(n.to_string()): n})).version());
    }
    let documents = |cluster: &Cluster| {
        let mut client = cluster.client("a");
        (0..7).map(|n| client.get(&format!("/v1/docs/{n}")).expect(200).json()).collect::<Vec<_>>()
    };
    let (before, digest) = (documents(&cluster), cluster.standing("a").digest);
    for _ in 0..3 {
        cluster.kill("a");
        cluster.launch("a");
        assert_eq!(documents(&cluster), before);
        assert_eq!(cluster.standing("a").digest, digest);
    }
    // The versions of before are still known, and what is written now builds on them.
    let mut client = cluster.client("a");
    for (n, version) in versions.iter().enumerate() {
        let path = format!("/v1/docs/{}?at={}", n % 7, version.trim_matches('"'));
        assert_eq!(client.get(&path).expect(200).json()[n.to_string()], n);
    }
    client.patch("/v1/docs/0", &json!({"new": true})).expect(200);
}

#[test]
fn a_data_folder_in_use_is_refused() {
    let cluster = Cluster::single();
    cluster.client("a").put("/v1/docs/x", &json!({"n": 1})).expect(201);
    let said = cluster.refuses_to_start("a");
    assert!(said.contains("in use"), "{said}");
    assert_eq!(cluster.client("a").get("/v1/docs/x").expect(200).json(), json!({"n": 1}));
}

#[test]
fn a_data_folder_of_a_newer_format_is_refused_and_left_as_it_is() {
    let mut cluster = Cluster::single();
    cluster.client("a").put("/v1/docs/x", &json!({"n": 1})).expect(201);
    assert!(cluster.terminate("a").0.success());
    let set_format = |format: u32| {
        let options = rocksdb::Options::default();
        let folder = cluster.data("a");
        let names = rocksdb::DB::list_cf(&options, folder).expect("families");
        let db = rocksdb::DB::open_cf(&options, folder, names).expect("a store");
        let value = minicbor::to_vec(format).expect("a number");
        db.put_cf(db.cf_handle("meta").expect("a family"), "format", value).expect("a write");
    };
    set_format(syncline::store::FORMAT + 1);
    let said = cluster.refuses_to_start("a");
    assert!(said.contains("newer"), "{said}");
    set_format(syncline::store::FORMAT);
    cluster.launch("a");
    assert_eq!(cluster.client("a").get("/v1/docs/x").expect(200).json(), json!({"n": 1}));
}

#[test]
fn a_data_folder_of_another_cluster_is_refused() {
    let mut cluster = Cluster::single();
    assert!(cluster.terminate("a").0.success());
    cluster.arguments("a", &["--cluster", "another"]);
    let said = cluster.refuses_to_start("a");
    assert!(said.contains("another") && said.contains("--cluster"), "{said}");
    cluster.arguments("a", &[]);
    cluster.launch("a");
}
