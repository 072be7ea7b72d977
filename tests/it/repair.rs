//! What logs do not reach is repaired by digest: nodes that were away, new ones, and those below a repaired parent.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Master, Replica, eventually};

/// A log that is cut off as soon as it may be.
pub const SHORT_LOG: &[&str] = &["--log-keep", "0", "--log-most", "64KiB"];

/// Puts documents, many in a request. The answer comes in chunks, a line a document.
pub fn bulk(at: SocketAddr, docs: std::ops::Range<usize>, value: impl Fn(usize) -> Value) {
    for start in docs.clone().step_by(5_000) {
        let end = docs.end.min(start + 5_000);
        let lines =
            (start..end).map(|n| json!({"id": format!("d/{n:05}"), "put": value(n)}).to_string() + "\n");
        let lines: String = lines.collect();
        let head = format!(
            "POST /v1/bulk HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\n\
             Content-Length: {}\r\n\r\n",
            lines.len()
        );
        let mut socket = TcpStream::connect(at).expect("a connection");
        let mut writer = socket.try_clone().expect("a second handle");
        let write = std::thread::spawn(move || writer.write_all((head + &lines).as_bytes()));
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        write.join().expect("a writer").expect("all written");
        let done = answer.matches("\"status\":20").count();
        assert_eq!(done, end - start, "{}", &answer[..answer.len().min(1_000)]);
    }
}

pub fn first_lsn(cluster: &Cluster, name: &str) -> u64 {
    let answer = cluster.client(name).get("/metrics").expect(200);
    let metrics = String::from_utf8_lossy(&answer.body);
    let line = metrics.lines().find_map(|line| line.strip_prefix("syncline_log_first "));
    line.and_then(|number| number.parse().ok()).expect("the log's first LSN")
}

pub fn was_repaired(cluster: &Cluster, name: &str) -> bool {
    cluster.log(name).contains("repaired by digest")
}

fn get(cluster: &Cluster, name: &str, doc: usize) -> Value {
    cluster.client(name).get(&format!("/v1/docs/d/{doc:05}")).expect(200).json()
}

#[test]
fn a_node_that_was_away_while_others_trimmed_their_logs_is_repaired_in_both_directions() {
    let nodes = [("a", Master), ("b", Master), ("r", Replica), ("s", Replica)];
    let mut cluster = Cluster::prepare(&nodes, &[("b", "a"), ("r", "b"), ("s", "r")]);
    for (name, _) in nodes {
        cluster.arguments(name, SHORT_LOG);
        cluster.launch(name);
    }
    bulk(cluster.at("a"), 0..20_000, |n| json!({"n": n, "by": "a"}));
    cluster.converge(&["a", "b", "r", "s"]);
    cluster.link("b", "a").cut();
    bulk(cluster.at("a"), 0..5_000, |n| json!({"n": n, "by": "a", "again": true}));
    // On the other side: the same documents, others, and a new one, below which r and s hang.
    for n in [0, 4_999, 7_000] {
        cluster.client("b").patch(&format!("/v1/docs/d/{n:05}"), &json!({"b": n})).expect(200);
    }
    bulk(cluster.at("b"), 20_000..20_300, |n| json!({"n": n, "by": "b"}));
    cluster.converge(&["b", "r", "s"]);
    eventually("a's log is cut off", || (first_lsn(&cluster, "a") > 20_000).then_some(()));
    // Nor does it have them in memory any more.
    cluster.kill("a");
    cluster.launch("a");
    assert!(!was_repaired(&cluster, "b") && !was_repaired(&cluster, "s"));

    cluster.link("b", "a").mend();
    // While it is repaired both sides go on.
    for n in 0..200 {
        let name = if n % 2 == 0 { "a" } else { "b" };
        let path = format!("/v1/docs/d/{:05}", n * 97);
        cluster.client(name).patch(&path, &json!({format!("late{n}"): n})).expect(200);
    }
    cluster.converge(&["a", "b", "r", "s"]);
    // Those below it were linked all the while, and no log had this for them.
    for name in ["b", "r", "s"] {
        eventually("it tells of its repair", || was_repaired(&cluster, name).then_some(()));
    }
    for name in ["a", "b", "r", "s"] {
        assert_eq!(get(&cluster, name, 4_998)["again"], true);
        assert_eq!(get(&cluster, name, 4_999)["b"], 4_999);
        assert_eq!(get(&cluster, name, 7_000), json!({"n": 7_000, "by": "a", "b": 7_000}));
        assert_eq!(get(&cluster, name, 20_299)["by"], "b");
        for n in [0, 1, 198, 199] {
            assert_eq!(get(&cluster, name, n * 97)[format!("late{n}")], n);
        }
    }
}

#[test]
fn a_new_node_is_ready_when_it_has_what_its_source_had() {
    let mut cluster = Cluster::prepare(&[("a", Master), ("new", Replica)], &[("new", "a")]);
    cluster.arguments("a", SHORT_LOG);
    cluster.launch("a");
    bulk(cluster.at("a"), 0..20_000, |n| json!({"n": n}));
    eventually("a's log is cut off", || (first_lsn(&cluster, "a") > 8_000).then_some(()));
    cluster.launch("new");
    let ready = || cluster.client("new").get("/readyz").status == 200;
    eventually("it is ready", || ready().then_some(()));
    for n in (0..20_000).step_by(1_111) {
        assert_eq!(get(&cluster, "new", n), json!({"n": n}));
    }
    cluster.converge(&["a", "new"]);
    eventually("it tells of its repair", || was_repaired(&cluster, "new").then_some(()));
    // From here on it is a node like any other.
    cluster.client("a").patch("/v1/docs/d/00001", &json!({"later": true})).expect(200);
    cluster.converge(&["a", "new"]);
    assert_eq!(get(&cluster, "new", 1), json!({"n": 1, "later": true}));
}

#[test]
fn what_was_deleted_long_ago_is_dropped_everywhere_and_what_is_written_to_it_later_comes_back_whole() {
    let nodes = [("a", Master), ("b", Master), ("r", Replica)];
    let mut cluster = Cluster::prepare(&nodes, &[("b", "a"), ("r", "a")]);
    for (name, _) in nodes {
        cluster.arguments(name, &["--keep-deleted", "1s"]);
        cluster.launch(name);
    }
    bulk(cluster.at("a"), 0..50, |n| json!({"n": n}));
    cluster.converge(&["a", "b", "r"]);
    for n in 0..50 {
        cluster.client("b").ask("DELETE", &format!("/v1/docs/d/{n:05}"), &[], "").expect(204);
    }
    let gone = |name: &str, n: usize| {
        let status = cluster.client(name).get(&format!("/v1/docs/d/{n:05}")).status;
        assert!(status == 410 || status == 404 || status == 200, "{status}");
        status == 404
    };
    for name in ["a", "b", "r"] {
        eventually("all are dropped", || (0..50).all(|n| gone(name, n)).then_some(()));
    }
    // Under the same id another document begins, on whichever master.
    for (name, n) in [("a", 1), ("b", 2)] {
        let answer = cluster.client(name).patch(&format!("/v1/docs/d/{n:05}"), &json!({"new": name}));
        answer.expect(201);
    }
    cluster.converge(&["a", "b", "r"]);
    for name in ["a", "b", "r"] {
        assert_eq!(get(&cluster, name, 1), json!({"new": "a"}));
        assert_eq!(get(&cluster, name, 2), json!({"new": "b"}));
    }
}

#[test]
fn nobody_who_is_away_is_forgotten_by_those_who_start_anew_nor_by_new_ones() {
    let nodes = [("a", Master), ("b", Master), ("away", Master), ("new", Master)];
    let mut cluster = Cluster::prepare(&nodes, &[("b", "a"), ("away", "a"), ("new", "a")]);
    for (name, _) in nodes {
        cluster.arguments(name, &["--keep-deleted", "1s"]);
    }
    for name in ["a", "b", "away"] {
        cluster.launch(name);
    }
    bulk(cluster.at("a"), 0..2, |n| json!({"n": n}));
    cluster.converge(&["a", "b", "away"]);
    cluster.kill("away");
    cluster.client("b").ask("DELETE", "/v1/docs/d/00000", &[], "").expect(204);
    cluster.converge(&["a", "b"]);
    for name in ["a", "b"] {
        assert!(cluster.terminate(name).0.success());
    }
    for name in ["a", "b", "new"] {
        cluster.launch(name);
    }
    cluster.converge(&["a", "b", "new"]);
    for name in ["a", "b", "new"] {
        let view = eventually("it knows of all", || {
            let view = cluster.client(name).get("/v1/cluster").expect(200).json();
            let names = view["nodes"].as_array().expect("nodes").iter().map(|row| row["name"].clone());
            let mut names: Vec<Value> = names.collect();
            names.sort_by_key(Value::to_string);
            (names == ["a", "away", "b", "new"]).then_some(view)
        });
        let is_away = |row: &&Value| row["name"] == "away";
        let row = view["nodes"].as_array().and_then(|rows| rows.iter().find(is_away)).expect("a row");
        assert!(row["converged"] == false && row["behind"].as_u64() >= Some(1), "{view}");
    }
    let is_parted = |name: &str| cluster.client(name).get("/v1/cluster").json()["state"] == "partitioned";
    for name in ["a", "b", "new"] {
        // That takes ten seconds, in which the document would be dropped, were it not for the one that is away.
        eventually("it is told that one is away", || is_parted(name).then_some(()));
        cluster.client(name).get("/v1/docs/d/00000").expect(410);
    }
    cluster.launch("away");
    cluster.converge(&["a", "b", "away", "new"]);
    for name in ["a", "b", "away", "new"] {
        let dropped = || cluster.client(name).get("/v1/docs/d/00000").status == 404;
        eventually("it is dropped", || dropped().then_some(()));
    }
}
