//! Data folders that were copied: nothing is written under one name twice, and nothing is lost.

use std::path::Path;

use serde_json::json;

use crate::cluster::{Cluster, Master, eventually};

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("a file");
        if entry.file_type().expect("its type").is_dir() {
            copy(&entry.path(), &to.join(entry.file_name()));
        } else {
            std::fs::copy(entry.path(), to.join(entry.file_name())).expect("a copied file");
        }
    }
}

fn id(cluster: &Cluster, name: &str) -> String {
    let view = cluster.client(name).get("/v1/cluster").expect(200).json();
    view["node"].as_str().expect("an id").to_owned()
}

#[test]
fn a_copied_folder_beside_its_original_becomes_a_node_of_its_own() {
    let nodes = [("a", Master), ("twin", Master), ("c", Master)];
    let mut cluster = Cluster::prepare(&nodes, &[("a", "c"), ("twin", "c")]);
    cluster.launch("c");
    cluster.launch("a");
    for n in 0..50 {
        cluster.client("a").patch("/v1/docs/shared", &json!({(format!("before{n}")): n})).expect(if n == 0 {
            201
        } else {
            200
        });
    }
    cluster.converge(&["a", "c"]);
    cluster.kill("a");
    copy(cluster.data("a"), cluster.data("twin"));
    // Both begin alone, as the same node, and go on with the same document.
    cluster.link("a", "c").cut();
    cluster.link("twin", "c").cut();
    for name in ["a", "twin"] {
        cluster.launch(name);
        for n in 0..50 {
            cluster.client(name).patch("/v1/docs/shared", &json!({(format!("{name}{n}")): n})).expect(200);
        }
    }
    assert_eq!(id(&cluster, "a"), id(&cluster, "twin"));
    cluster.link("a", "c").mend();
    cluster.link("twin", "c").mend();
    eventually("one of them is another node", || (id(&cluster, "a") != id(&cluster, "twin")).then_some(()));
    for name in ["a", "twin"] {
        // Where the incarnation has just ended, the write is to be made again.
        eventually("a write", || {
            let answer =
                cluster.client(name).patch("/v1/docs/shared", &json!({(format!("{name} after")): 1}));
            (answer.status == 200).then_some(())
        });
    }
    cluster.converge(&["a", "twin", "c"]);
    let shared = cluster.client("c").get("/v1/docs/shared").expect(200).json();
    for n in 0..50 {
        for name in ["before", "a", "twin"] {
            assert_eq!(shared[format!("{name}{n}")], n, "{name}{n}");
        }
    }
    assert_eq!((&shared["a after"], &shared["twin after"]), (&json!(1), &json!(1)));
}

#[test]
fn an_old_copy_in_the_place_of_its_original_begins_above_all_that_others_have_seen() {
    let mut cluster = Cluster::prepare(&[("a", Master), ("b", Master)], &[("b", "a")]);
    cluster.launch("a");
    cluster.launch("b");
    cluster.client("b").patch("/v1/docs/d", &json!({"old": 1})).expect(201);
    cluster.converge(&["a", "b"]);
    cluster.kill("b");
    let backup = cluster.path().join("backup");
    copy(cluster.data("b"), &backup);
    for start in 0..4 {
        cluster.launch("b");
        cluster.client("b").patch("/v1/docs/d", &json!({(format!("start{start}")): 1})).expect(200);
        cluster.converge(&["a", "b"]);
        cluster.kill("b");
    }
    std::fs::remove_dir_all(cluster.data("b")).expect("a folder that is gone");
    copy(&backup, cluster.data("b"));
    cluster.link("b", "a").cut();
    cluster.launch("b");
    // Before anybody tells it.
    cluster.client("b").patch("/v1/docs/d", &json!({"alone": 1})).expect(200);
    cluster.link("b", "a").mend();
    cluster.converge(&["a", "b"]);
    eventually("a write", || {
        (cluster.client("b").patch("/v1/docs/d", &json!({"after": 1})).status == 200).then_some(())
    });
    cluster.converge(&["a", "b"]);
    let view = cluster.client("b").get("/v1/cluster").expect(200).json();
    assert!(view["nodes"][0]["incarnation"].as_u64().expect("a number") > 5, "{view}");
    for name in ["a", "b"] {
        let document = cluster.client(name).get("/v1/docs/d").expect(200).json();
        for field in ["old", "start0", "start1", "start2", "start3", "alone", "after"] {
            assert_eq!(document[field], 1, "{field} at {name}: {document}");
        }
    }
}
