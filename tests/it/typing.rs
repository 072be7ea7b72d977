//! Recorded typing sessions of real people, replayed over REST: letter for letter the same everywhere.

use serde_json::json;

use crate::client::{Answer, Client, OPS};
use crate::cluster::{Cluster, Master, Replica};
use crate::recorded::{Session, operations};

const PATH: &str = "/v1/docs/session";

/// Of so many transactions after each other one is followed by a cut.
const CUT_EVERY: usize = 3_000;

fn text(client: &mut Client) -> String {
    let document = client.get(PATH).expect(200).json();
    document["text"].as_str().expect("a text").to_owned()
}

#[test]
fn two_people_typing_on_two_masters_come_out_letter_for_letter_on_four_nodes() {
    let Some(session) = Session::load("friendsforever") else { return };
    let nodes = ["a", "b", "r", "s"];
    let cluster = Cluster::start(
        &[("a", Master), ("b", Master), ("r", Replica), ("s", Replica)],
        &[("a", "b"), ("r", "b"), ("s", "r")],
    );
    let link = cluster.link("a", "b");
    // By agent: each has a master of their own.
    let mut masters = [cluster.client("a"), cluster.client("b")];
    let root = masters[0].put(PATH, &json!({"text": {"$text": ""}})).expect(201).version();
    let mut versions: Vec<String> = Vec::with_capacity(session.txns.len());
    let (mut cuts, mut is_cut) = (0, false);
    for (n, transaction) in session.txns.iter().enumerate() {
        if n % CUT_EVERY == CUT_EVERY - 1 {
            link.cut();
            is_cut = true;
        }
        let parents = match &*transaction.parents {
            [] => root.clone(),
            parents => parents.iter().map(|parent| &*versions[*parent]).collect::<Vec<_>>().join(", "),
        };
        let body = operations([transaction]);
        let mut write = |wait: &str| -> Answer {
            let headers = [("Content-Type", OPS), ("Parents", &*parents), ("Prefer", wait)];
            masters[transaction.agent].ask("PATCH", PATH, &headers, &body)
        };
        let mut answer = write(if is_cut { "wait=0" } else { "wait=5" });
        if is_cut && answer.status == 503 {
            assert_eq!(answer.problem(), "not-yet-converged");
            link.mend();
            (cuts, is_cut) = (cuts + 1, false);
            answer = write("wait=5");
        }
        // Nodes find each other again within seconds, and a busy machine takes its time.
        for _ in 0..10 {
            if answer.status == 503 && answer.problem() == "not-yet-converged" {
                answer = write("wait=5");
            }
        }
        versions.push(answer.expect(200).version());
    }
    link.mend();
    assert!(cuts >= 5, "only {cuts} times was a version missing while the link was cut");
    cluster.converge(&nodes);
    for node in nodes {
        assert!(text(&mut cluster.client(node)) == session.end_content, "another text on {node}");
    }
}

#[test]
fn a_paper_typed_into_one_master_comes_out_letter_for_letter_on_the_other() {
    let Some(session) = Session::load("automerge-paper") else { return };
    let cluster = Cluster::start(&[("a", Master), ("b", Master)], &[("b", "a")]);
    let mut author = cluster.client("a");
    author.put(PATH, &json!({"text": {"$text": ""}})).expect(201);
    for batch in session.txns.chunks(100) {
        author.ask("PATCH", PATH, &[("Content-Type", OPS)], operations(batch)).expect(200);
    }
    cluster.converge(&["a", "b"]);
    for node in ["a", "b"] {
        assert!(text(&mut cluster.client(node)) == session.end_content, "another text on {node}");
    }
}
