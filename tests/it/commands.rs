//! `syncline doc` as people and scripts call it.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::json;

use crate::bulk::text;
use crate::cluster::Cluster;

fn doc(cluster: &Cluster, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.args(["doc", "--node", &format!("http://{}", cluster.at("a"))]).args(args);
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().expect("a process");
    child.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("a reader");
    child.wait_with_output().expect("an end")
}

#[test]
fn a_patch_is_what_it_is_said_to_be_and_may_come_from_standard_input() {
    let cluster = Cluster::single();
    let run = |args: &[&str], input: &str| {
        let done = doc(&cluster, args, input);
        (done.status.code(), text(&done.stdout) + &text(&done.stderr))
    };
    let json_patch =
        r#"[{"op": "test", "path": "/n", "value": 1}, {"op": "move", "from": "/t", "path": "/to"}]"#;
    let (code, said) = run(&["patch", "p", "--json-patch"], json_patch);
    assert!(code == Some(3) && said.contains("no such document"), "{said}");
    let (code, said) = run(&["patch", "p"], r#"{"n": 1, "t": {"$text": "x"}, "x": null}"#);
    assert!(code == Some(0) && said.starts_with("created p, version "), "{said}");
    let (code, said) = run(&["patch", "p", "-", "--json-patch"], json_patch);
    assert!(code == Some(0) && said.starts_with("wrote p, version "), "{said}");
    let ops = r#"[{"op": "text.splice", "path": "/to", "pos": 1, "insert": "y"}]"#;
    assert_eq!(run(&["patch", "p", "--ops"], ops).0, Some(0));
    let list = run(&["list", "--values", "--typed"], "").1;
    let row: serde_json::Value = serde_json::from_str(&list).expect("a line of JSON");
    assert_eq!(row["value"], json!({"n": 1, "to": {"$text": "xy"}}));
    // A test that fails changes nothing.
    let (code, said) = run(&["patch", "p", "--json-patch"], &json_patch.replace("1}", "2}"));
    assert!(code == Some(1) && said.contains("/n"), "{said}");
    assert_eq!(run(&["list", "--values", "--typed"], "").1, list);
    // What cannot be meant is a fault of the call.
    assert_eq!(run(&["patch", "p", "--json-patch", "--ops"], "[]").0, Some(2));
    assert_eq!(run(&["list", "--typed"], "").0, Some(2));
}
