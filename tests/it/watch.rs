//! `syncline doc watch`, and the feed over a real connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::client::OPS;
use crate::cluster::{Cluster, Master, Replica};

/// Ends with the test.
struct Watcher(Child, BufReader<ChildStdout>);

impl Watcher {
    fn start(cluster: &Cluster, node: &str, args: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        command.args(["doc", "--node", &format!("http://{}", cluster.at(node)), "watch"]).args(args);
        let mut child = command.stdout(Stdio::piped()).spawn().expect("a process");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        Self(child, output)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert_ne!(self.1.read_line(&mut line).expect("a line"), 0, "it has ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_document_is_watched_on_a_replica_while_it_is_written_on_a_master() {
    let cluster = Cluster::start(&[("a", Master), ("r", Replica)], &[("r", "a")]);
    let mut master = cluster.client("a");
    master.put("/v1/docs/lists/x", &json!({"n": 1})).expect(201);
    cluster.converge(&["a", "r"]);
    let mut people = Watcher::start(&cluster, "r", &["lists/x"]);
    assert!(people.line().starts_with("lists/x "));
    assert_eq!(people.line(), "  n: 1");
    let mut program = Watcher::start(&cluster, "r", &["lists/", "--json"]);
    let frame = |line: String| serde_json::from_str::<Value>(&line).expect("JSON");
    let kinds: Vec<Value> = (0..3).map(|_| frame(program.line())["type"].clone()).collect();
    assert_eq!(kinds, ["subscribed", "snapshot", "up-to-date"]);
    let ops = json!([{"op": "put", "path": "/n", "value": 2}]);
    master.ask("PATCH", "/v1/docs/lists/x", &[("Content-Type", OPS)], ops.to_string()).expect(200);
    assert_eq!(frame(program.line())["patch"], ops);
    assert!(people.line().starts_with("lists/x "));
    assert_eq!(people.line(), "  /n = 2");
}

#[test]
fn what_cannot_be_watched_ends_with_a_reason() {
    let cluster = Cluster::single();
    let id = "x".repeat(600);
    let node = format!("http://{}", cluster.at("a"));
    let watch = |node: &str, what: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
        let output = command.args(["doc", "--node", node, "watch", what]).output().expect("a process");
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: "));
        output.status.code()
    };
    assert_eq!(watch(&node, &id), Some(2));
    assert_eq!(watch("http://127.0.0.1:9", "x"), Some(4));
}

#[test]
fn a_feed_that_does_not_end_is_ended_when_the_node_stops() {
    let mut cluster = Cluster::single();
    cluster.client("a").put("/v1/docs/x", &json!({})).expect(201);
    let mut socket = TcpStream::connect(cluster.at("a")).expect("a connection");
    socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
    let get = "GET /v1/changes?feed=sse HTTP/1.1\r\nhost: localhost\r\n\r\n";
    socket.write_all(get.as_bytes()).expect("sent");
    let (mut heard, mut buffer) = (String::new(), [0; 4_096]);
    while !heard.contains("event: up-to-date") {
        let n = socket.read(&mut buffer).expect("more");
        assert_ne!(n, 0, "{heard}");
        heard.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(heard.starts_with("HTTP/1.1 200") && heard.contains("event: notify"), "{heard}");
    let (status, _) = cluster.terminate("a");
    assert!(status.success());
    let mut rest = String::new();
    socket.read_to_string(&mut rest).expect("an end");
    // The chunk of no bytes: it has ended in order.
    assert!(rest.ends_with("0\r\n\r\n"), "{rest:?}");
    assert!(!cluster.log("a").contains("not answered"), "{}", cluster.log("a"));
}
