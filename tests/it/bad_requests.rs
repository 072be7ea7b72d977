//! Requests that no node can take: each gets a clear error, and nothing stored is harmed.

use serde_json::{Value, json};

use crate::client::{Client, MERGE_PATCH, OPS};
use crate::cluster::Cluster;

const JSON: &str = "application/json";

/// A node with one document, that is looked at again at the end.
struct Guarded {
    cluster: Cluster,
    client: Client,
    before: Value,
}

impl Guarded {
    fn start() -> Self {
        let cluster = Cluster::single();
        let mut client = cluster.client("a");
        let before = json!({"a": {"b": 1}, "list": [1, 2, 3], "note": "as it was"});
        client.put("/v1/docs/kept", &before).expect(201);
        Self { cluster, client, before }
    }

    #[track_caller]
    fn refused(&mut self, method: &str, path: &str, kind: &str, body: &[u8], status: u16, problem: &str) {
        let answer = self.client.ask(method, path, &[("Content-Type", kind)], body);
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        assert_eq!((answer.status, &*answer.problem()), (status, problem), "{method} {path} {shown}");
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.cluster.client("a").get("/v1/docs/kept").expect(200).json(), self.before);
        }
    }
}

fn nested(levels: usize) -> String {
    format!("{{\"a\":{}1{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1))
}

#[test]
fn what_is_not_json_is_refused() {
    let mut node = Guarded::start();
    for body in [&b""[..], b"{", b"{\"a\":}", b"{\"a\":1}x", b"{'a':1}", b"{\"a\":\"\xff\"}", b"{\"a\":01}"] {
        node.refused("PUT", "/v1/docs/kept", JSON, body, 400, "not-json");
        node.refused("PATCH", "/v1/docs/kept", MERGE_PATCH, body, 400, "not-json");
        node.refused("PATCH", "/v1/docs/kept", OPS, body, 400, "not-json");
    }
}

#[test]
fn json_outside_the_mapping_is_refused_with_the_place_of_the_fault() {
    let mut node = Guarded::start();
    let faults = [
        (r#"{"a":{"x":1,"x":2}}"#, "/a/x"),
        (r#"{"a":[1,18446744073709551616]}"#, "/a/1"),
        (r#"{"a":-9223372036854775809}"#, "/a"),
    ];
    for (body, pointer) in faults {
        for (method, kind) in [("PUT", JSON), ("PATCH", MERGE_PATCH)] {
            let answer = node.client.ask(method, "/v1/docs/kept", &[("Content-Type", kind)], body);
            assert_eq!(answer.status, 422, "{body}");
            assert!(String::from_utf8_lossy(&answer.body).contains(pointer), "{body}: {answer:?}");
        }
    }
    for root in ["[]", "1", "\"text\"", "null", "true"] {
        node.refused("PUT", "/v1/docs/kept", JSON, root.as_bytes(), 422, "refused");
    }
    // The largest that fits has a place.
    let edge = r#"{"most":18446744073709551615,"least":-9223372036854775808}"#;
    node.client.ask("PUT", "/v1/docs/edge", &[("Content-Type", JSON)], edge).expect(201);
    let read = node.client.get("/v1/docs/edge").expect(200).json();
    assert_eq!(read, json!({"most": u64::MAX, "least": i64::MIN}));
}

#[test]
fn nesting_past_the_limit_is_refused_and_below_it_is_taken() {
    let mut node = Guarded::start();
    for levels in [102, 5_000, 1_000_000] {
        node.refused("PUT", "/v1/docs/deep", JSON, nested(levels).as_bytes(), 422, "refused");
        node.refused("PATCH", "/v1/docs/deep", MERGE_PATCH, nested(levels).as_bytes(), 422, "refused");
    }
    let answer = node.client.ask("PUT", "/v1/docs/deep", &[("Content-Type", JSON)], nested(99));
    answer.expect(201);
    assert_eq!(node.client.get("/v1/docs/deep").expect(200).body, nested(99).into_bytes());
}

#[test]
fn a_body_past_the_limit_is_refused_and_below_it_is_taken() {
    let mut node = Guarded::start();
    let text = |bytes: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(bytes));
    node.refused("PUT", "/v1/docs/large", JSON, text(9 << 20).as_bytes(), 413, "too-large");
    node.refused("PATCH", "/v1/docs/large", MERGE_PATCH, text(9 << 20).as_bytes(), 413, "too-large");
    node.refused(
        "POST",
        "/v1/docs/large/changes",
        "application/octet-stream",
        &vec![0; 9 << 20],
        413,
        "too-large",
    );
    node.client.ask("PUT", "/v1/docs/large", &[("Content-Type", JSON)], text(7 << 20)).expect(201);
}

#[test]
fn ids_outside_the_limits_are_refused() {
    let mut node = Guarded::start();
    let long = "x".repeat(513);
    for id in ["", "a%00b", "a%0Ab", "%7F", "%C2%85", &long] {
        for (method, kind) in [("PUT", JSON), ("PATCH", MERGE_PATCH)] {
            let answer = node.client.ask(method, &format!("/v1/docs/{id}"), &[("Content-Type", kind)], "{}");
            assert!(
                matches!(answer.status, 404 | 405 | 422) && !answer.problem().is_empty(),
                "{id}: {answer:?}"
            );
        }
    }
    node.refused("PUT", &format!("/v1/docs/{long}"), JSON, b"{}", 422, "bad-id");
    node.refused("PUT", "/v1/docs/a%0Ab", JSON, b"{}", 422, "bad-id");
    node.refused("PUT", "/v1/docs/%zz", JSON, b"{}", 400, "malformed");
    let longest = "x".repeat(512);
    node.client.ask("PUT", &format!("/v1/docs/{longest}"), &[("Content-Type", JSON)], "{}").expect(201);
}

#[test]
fn an_unknown_media_type_is_answered_with_those_that_are_taken() {
    let mut node = Guarded::start();
    let answer =
        node.client.ask("PATCH", "/v1/docs/kept", &[("Content-Type", "text/plain")], "x").expect(415);
    assert_eq!(answer.problem(), "unsupported-media-type");
    let taken = answer.header("Accept-Patch").expect("a list");
    assert!(taken.contains(MERGE_PATCH) && taken.contains(OPS), "{taken}");
    node.refused("PATCH", "/v1/docs/kept", "application/xml", b"<a/>", 415, "unsupported-media-type");
    node.client.ask("PATCH", "/v1/docs/kept", &[], "{}").expect(415);
    node.refused("PUT", "/v1/docs/kept", "text/plain", b"{}", 415, "unsupported-media-type");
    let accept = [("Accept", "text/html")];
    assert_eq!(node.client.ask("GET", "/v1/docs/kept", &accept, "").expect(406).problem(), "not-acceptable");
}

#[test]
fn operations_that_do_not_fit_the_document_change_nothing() {
    let mut node = Guarded::start();
    let ops = [
        json!([{"op": "put", "path": "/a/none/b", "value": 1}]),
        json!([{"op": "delete", "path": "/none"}]),
        json!([{"op": "list.insert", "path": "/list", "index": 4, "value": 1}]),
        json!([{"op": "list.delete", "path": "/list", "index": 2, "count": 2}]),
        json!([{"op": "text.splice", "path": "/a", "pos": 0, "insert": "x"}]),
        json!([{"op": "increment", "path": "/a/b", "by": 1.5}]),
        json!([{"op": "put", "path": "no pointer", "value": 1}]),
        json!([{"op": "unknown", "path": "/a"}]),
        json!([{"op": "put", "path": "/a"}]),
        json!({"op": "delete", "path": "/a"}),
        json!([1]),
        // All of a request or nothing: the first of these would fit.
        json!([{"op": "put", "path": "/new", "value": 1}, {"op": "delete", "path": "/none"}]),
    ];
    for ops in ops {
        node.refused("PATCH", "/v1/docs/kept", OPS, ops.to_string().as_bytes(), 422, "refused");
    }
}

#[test]
fn versions_that_are_not_there_are_told_as_such() {
    let mut node = Guarded::start();
    let unknown = format!("\"{}\"", "ab".repeat(32));
    let answer = node.client.get(&format!("/v1/docs/kept?at={}", "ab".repeat(32))).expect(404);
    assert_eq!(answer.problem(), "version-not-found");
    let headers = [("Content-Type", MERGE_PATCH), ("Parents", &*unknown), ("Prefer", "wait=0")];
    let answer = node.client.ask("PATCH", "/v1/docs/kept", &headers, r#"{"x":1}"#).expect(503);
    assert_eq!(answer.problem(), "not-yet-converged");
    assert!(answer.header("Retry-After").is_some());
    for parents in ["nonsense", "\"\u{1}\"", "\"abc"] {
        let headers = [("Content-Type", MERGE_PATCH), ("Parents", parents)];
        let answer = node.client.send("PATCH", "/v1/docs/kept", &headers, br#"{"x":1}"#).expect("an answer");
        assert_eq!(answer.status, 400, "{parents}");
    }
    node.client.get("/v1/docs/kept?at=nonsense").expect(400);
    node.client.get("/v1/docs/none").expect(404);
    let stale = [("Content-Type", JSON), ("If-Match", &*unknown)];
    assert_eq!(
        node.client.ask("PUT", "/v1/docs/kept", &stale, "{}").expect(412).problem(),
        "precondition-failed"
    );
}

#[test]
fn requests_that_a_web_page_could_forge_are_refused() {
    let mut node = Guarded::start();
    let foreign = [("Content-Type", JSON), ("Origin", "https://evil.example")];
    node.client.ask("PUT", "/v1/docs/kept", &foreign, "{}").expect(403);
    let at = node.cluster.at("a");
    let mut rebound = Client::named(at, "evil.example");
    assert_eq!(rebound.get("/v1/docs/kept").expect(403).problem(), "host-not-allowed");
}

#[test]
fn without_the_right_token_nothing_is_read_or_written() {
    let mut cluster = Cluster::prepare(&[("a", crate::cluster::Master)], &[]);
    let tokens = cluster.path().join("tokens");
    std::fs::write(&tokens, "reader-secret-0123456789 read\nwriter-secret-0123456789 read,write\n")
        .expect("a file");
    cluster.arguments("a", &["--token-file", tokens.to_str().expect("a path")]);
    cluster.launch("a");
    let mut client = cluster.client("a");
    let put = |client: &mut Client, token: Option<&str>| {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("Content-Type", JSON)];
        headers.extend(bearer.as_deref().map(|bearer| ("Authorization", bearer)));
        client.ask("PUT", "/v1/docs/x", &headers, "{}").status
    };
    assert_eq!(put(&mut client, None), 401);
    assert_eq!(put(&mut client, Some("wrong")), 401);
    assert_eq!(put(&mut client, Some("reader-secret-0123456789")), 403);
    assert_eq!(put(&mut client, Some("writer-secret-0123456789")), 201);
    client.get("/v1/docs/x").expect(401);
    client.ask("GET", "/v1/docs/x", &[("Authorization", "Bearer reader-secret-0123456789")], "").expect(200);
}
