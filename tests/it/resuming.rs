//! Cursors from before logs were cut off and nodes repaired: whoever comes back with one, to whichever node, ends with
//! what it shows.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Master, Replica, eventually};
use crate::repair::{SHORT_LOG, bulk, first_lsn, was_repaired};
use crate::subscriber::{Subscriber, Told};

const DOCS: usize = 2_000;

/// All documents as a node gives them, by id, with their versions.
fn shown(cluster: &Cluster, name: &str) -> BTreeMap<String, (Value, Value)> {
    let (mut all, mut after) = (BTreeMap::new(), String::new());
    loop {
        let page = cluster.client(name).get(&format!("/v1/docs?include=value&limit=1000&after={after}"));
        let page = page.expect(200).json();
        for row in page["documents"].as_array().expect("rows") {
            let id = row["id"].as_str().expect("an id").to_owned();
            all.insert(id, (row["version"].clone(), row["value"].clone()));
        }
        match page["next"].as_str() {
            Some(next) => after = next.replace('/', "%2F"),
            None => return all,
        }
    }
}

/// Goes on from what was told until that is all; forgets it where it must. Says how often that was, and how many
/// documents it was told of at last.
fn go_on(cluster: &Cluster, name: &str, target: &Value, told: &mut Told) -> (usize, usize) {
    let mut refetched = 0;
    loop {
        let mut subscriber = Subscriber::greeted(cluster.at(name));
        let since = told.cursor.as_ref().map(|cursor| json!(cursor));
        subscriber.subscribe("1", target, "value", since.as_ref());
        let mut documents = 0;
        loop {
            let frame = subscriber.hear().unwrap_or_else(|closed| panic!("closed: {closed:?}"));
            if !told.take(&frame) {
                break;
            }
            match frame["type"].as_str() {
                Some("snapshot" | "deleted") => documents += 1,
                Some("up-to-date") => return (refetched, documents),
                _ => {}
            }
        }
        refetched += 1;
        *told = Told::default();
    }
}

#[test]
fn whoever_comes_back_after_logs_were_cut_off_and_nodes_repaired_ends_with_what_there_is() {
    let nodes = [("a", Master), ("b", Master), ("r", Replica)];
    let mut cluster = Cluster::prepare(&nodes, &[("b", "a"), ("r", "b")]);
    for (name, _) in nodes {
        cluster.arguments(name, SHORT_LOG);
        cluster.launch(name);
    }
    bulk(cluster.at("a"), 0..DOCS, |n| json!({"n": n}));
    cluster.converge(&["a", "b", "r"]);
    let (all, one) = (json!({"all": true}), json!({"doc": "d/00001"}));
    let (mut had, mut had_one) = (Told::default(), Told::default());
    go_on(&cluster, "a", &all, &mut had);
    go_on(&cluster, "a", &one, &mut had_one);
    assert_eq!(had.documents, shown(&cluster, "a"));

    cluster.link("b", "a").cut();
    bulk(cluster.at("a"), 0..DOCS, |n| json!({"n": n, "by": "a"}));
    cluster.client("a").ask("DELETE", "/v1/docs/d/00002", &[], "").expect(204);
    for n in [1, 3, DOCS] {
        cluster.client("b").patch(&format!("/v1/docs/d/{n:05}"), &json!({"b": n})).expect(if n == DOCS {
            201
        } else {
            200
        });
    }
    eventually("a's log is cut off", || (first_lsn(&cluster, "a") > DOCS as u64).then_some(()));
    // Nor does it have that in memory any more.
    cluster.kill("a");
    cluster.launch("a");
    cluster.link("b", "a").mend();
    cluster.converge(&["a", "b", "r"]);
    for name in ["b", "r"] {
        eventually("it tells of its repair", || was_repaired(&cluster, name).then_some(()));
    }

    for name in ["a", "b", "r"] {
        let (mut told, now) = (had.clone(), shown(&cluster, name));
        go_on(&cluster, name, &all, &mut told);
        assert_eq!(now.len(), DOCS);
        assert!(told.documents == now, "{name} shows other documents than it has told of");
        // One document is told as it is.
        let mut told = had_one.clone();
        assert_eq!(go_on(&cluster, name, &one, &mut told), (0, 1));
        assert_eq!(told.value("d/00001"), now.get("d/00001").map(|(_, value)| value));
    }
    // From here on cursors are good again, everywhere, and nothing comes twice.
    let mut told = Told::default();
    go_on(&cluster, "b", &all, &mut told);
    let is_told = |name: &str, told: &mut Told, documents: usize| {
        // A comparison of all that nodes have may end just then.
        let (refetched, found) = go_on(&cluster, name, &all, told);
        assert!(refetched > 0 || found == documents, "at {name}: {found}");
    };
    for name in ["a", "b", "r"] {
        is_told(name, &mut told, 0);
    }
    cluster.client("a").patch("/v1/docs/d/00003", &json!({"later": true})).expect(200);
    cluster.converge(&["a", "b", "r"]);
    for name in ["a", "b", "r"] {
        let mut told = told.clone();
        is_told(name, &mut told, 1);
        assert!(told.documents == shown(&cluster, name));
    }
}
