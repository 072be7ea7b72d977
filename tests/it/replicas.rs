//! Replicas: read-only, and yet nothing that they have is lost with their master.

use serde_json::json;

use crate::client::{MERGE_PATCH, OPS};
use crate::cluster::{Cluster, Master, Replica, eventually};

#[test]
fn a_replica_answers_writes_with_403_and_names_the_masters() {
    let cluster = Cluster::start(&[("a", Master), ("r", Replica)], &[("r", "a")]);
    cluster.client("a").put("/v1/docs/x", &json!({"n": 1})).expect(201);
    let before = cluster.converge(&["a", "r"]);
    let mut replica = cluster.client("r");
    let master = format!("http://{}", cluster.at("a"));
    eventually("the replica knows its master", || {
        let answer = replica.put("/v1/docs/x", &json!({"n": 2})).expect(403);
        assert_eq!(answer.problem(), "read-only");
        String::from_utf8_lossy(&answer.body).contains(&master).then_some(())
    });
    let writes = [
        ("PUT", "/v1/docs/new", "application/json", "{}"),
        ("PATCH", "/v1/docs/x", MERGE_PATCH, r#"{"n":3}"#),
        ("PATCH", "/v1/docs/x", OPS, r#"[{"op":"delete","path":"/n"}]"#),
        ("POST", "/v1/docs/x/changes", "application/vnd.automerge", "x"),
    ];
    for (method, path, kind, body) in writes {
        let answer = replica.ask(method, path, &[("Content-Type", kind)], body).expect(403);
        assert_eq!(answer.problem(), "read-only", "{method} {path}");
    }
    assert_eq!(replica.get("/v1/docs/x").expect(200).json(), json!({"n": 1}));
    replica.get("/v1/docs/new").expect(404);
    assert_eq!(cluster.standing("r"), before);
}

#[test]
fn what_a_replica_has_and_its_new_upstream_lacks_flows_up() {
    // `b` is another master, to which nobody but the replica is linked.
    let mut cluster = Cluster::prepare(
        &[("a", Master), ("b", Master), ("r", Replica), ("below", Replica)],
        &[("r", "a"), ("r", "b"), ("below", "r")],
    );
    for node in ["a", "r", "below"] {
        cluster.launch(node);
    }
    let mut master = cluster.client("a");
    for n in 0..100 {
        master.put(&format!("/v1/docs/{}", n % 10), &json!({"n": n})).expect(if n < 10 { 201 } else { 200 });
    }
    let all = cluster.converge(&["a", "r", "below"]);
    cluster.kill("a");
    cluster.link("r", "a").cut();
    cluster.launch("b");
    assert_eq!(cluster.converge(&["b", "r", "below"]), all);
    assert_eq!(cluster.client("b").get("/v1/docs/7").expect(200).json(), json!({"n": 97}));
    // And down again goes what is written there.
    cluster.client("b").put("/v1/docs/7", &json!({"n": "new"})).expect(200);
    cluster.converge(&["b", "r", "below"]);
    assert_eq!(cluster.client("below").get("/v1/docs/7").expect(200).json(), json!({"n": "new"}));
}

#[test]
fn masters_joined_only_through_others_converge() {
    let cluster = Cluster::start(&[("a", Master), ("b", Master), ("c", Master)], &[("b", "a"), ("c", "b")]);
    for (name, n) in [("a", 1), ("b", 2), ("c", 3)] {
        let answer = cluster.client(name).patch("/v1/docs/x", &json!({(name): n}));
        // Another's write may have come already.
        assert!([200, 201].contains(&answer.status), "{}", String::from_utf8_lossy(&answer.body));
    }
    cluster.converge(&["a", "b", "c"]);
    for name in ["a", "b", "c"] {
        let document = cluster.client(name).get("/v1/docs/x").expect(200).json();
        assert_eq!(document, json!({"a": 1, "b": 2, "c": 3}), "{name}");
    }
}
