//! Whole sets of documents: exported from one cluster, imported into another, over the command line.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::cluster::{Cluster, Master, Replica};

fn doc(cluster: &Cluster, node: &str, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.args(["doc", "--node", &format!("http://{}", cluster.at(node))]).args(args);
    command.output().expect("a process")
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn name(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

#[test]
fn what_is_exported_from_one_cluster_and_imported_into_another_is_equal() {
    let from = Cluster::start(&[("a", Master), ("r", Replica)], &[("r", "a")]);
    let mut client = from.client("a");
    let line = |n: usize| {
        let note = format!("note {n} — \"quoted\"");
        let put =
            json!({"n": n, "note": {"$text": note}, "views": {"$counter": n}, "$$x": [null, {"y": 1.5}]});
        json!({"id": format!("set/{n:04}/ü ?"), "put": put}).to_string()
    };
    let count = 2_500;
    let lines: String = (0..count).map(|n| line(n) + "\n").collect();
    let answer = client.ask("PUT", "/v1/docs/other", &[("Content-Type", "application/json")], "{}");
    answer.expect(201);
    let file = from.path().join("lines");
    std::fs::write(&file, &lines).expect("a file");
    let done = doc(&from, "a", &["import", name(&file)]);
    assert_eq!(
        (done.status.code(), text(&done.stdout)),
        (Some(0), format!("{count} created, 0 there before, 0 failed\n"))
    );
    from.converge(&["a", "r"]);

    let exported = from.path().join("exported");
    let done = doc(&from, "r", &["export", "set/", "--output", name(&exported), "--progress"]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains(&format!("{count} documents, ")), "{}", text(&done.stderr));
    let to = Cluster::single();
    let done = doc(&to, "a", &["import", name(&exported)]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    // Again, as after an import that broke off: nothing changes.
    let before = to.standing("a");
    let done = doc(&to, "a", &["import", name(&exported)]);
    assert_eq!(
        (done.status.code(), text(&done.stdout)),
        (Some(0), format!("0 created, {count} there before, 0 failed\n"))
    );
    assert_eq!(to.standing("a"), before);

    let again = doc(&to, "a", &["export"]);
    assert!(again.status.success(), "{}", text(&again.stderr));
    assert_eq!(text(&again.stdout), std::fs::read_to_string(&exported).expect("a file"));
    let parse =
        |text: &str| text.lines().map(|l| serde_json::from_str(l).expect("JSON")).collect::<Vec<Value>>();
    assert_eq!(parse(&text(&again.stdout)), parse(&lines));
}

#[test]
fn a_line_that_is_refused_does_not_stop_the_others() {
    let cluster = Cluster::single();
    let file = cluster.path().join("lines");
    let lines = "{\"id\": \"a\", \"put\": {\"n\": 1}}\n{\"id\": \"b\", \"put\": {\"n\": {\"$bad\": 1}}}\n{\"id\":\n\
                 {\"id\": \"c\", \"put\": {\"n\": 1}}\n";
    std::fs::write(&file, lines).expect("a file");
    let done = doc(&cluster, "a", &["import", name(&file)]);
    assert_eq!(done.status.code(), Some(1));
    assert_eq!(text(&done.stdout), "2 created, 0 there before, 2 failed\n");
    let said = text(&done.stderr);
    assert!(said.contains("line 2 (b): ") && said.contains("(at /put/n/$bad)"), "{said}");
    assert!(said.contains("line 3: ") && said.ends_with("error: 2 of 4 lines failed\n"), "{said}");
    for id in ["a", "c"] {
        cluster.client("a").get(&format!("/v1/docs/{id}")).expect(200);
    }
    cluster.client("a").get("/v1/docs/b").expect(404);
    let missing = doc(&cluster, "a", &["import", name(&cluster.path().join("missing"))]);
    assert_eq!(missing.status.code(), Some(2), "{}", text(&missing.stderr));
}

#[test]
fn a_replica_takes_no_import() {
    let cluster = Cluster::start(&[("a", Master), ("r", Replica)], &[("r", "a")]);
    let file = cluster.path().join("lines");
    std::fs::write(&file, "{\"id\": \"a\", \"put\": {}}\n").expect("a file");
    let refused = doc(&cluster, "r", &["import", name(&file)]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stderr));
    assert!(doc(&cluster, "a", &["import", name(&file)]).status.success());
}
