//! What holds of every answer: methods, preferences, conditions, request ids, compression.

use std::io::Read;

use automerge::transaction::Transactable;
use automerge::{Automerge, ROOT};
use serde_json::{Value, json};

use super::{Answer, Site, call, site};

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");

fn long() -> Value {
    json!({"long": "so long ".repeat(200)})
}

impl Site {
    async fn get_with(&self, path: &str, name: &str, value: &str) -> Answer {
        self.ask(call("GET", path, &[(name, value)], "")).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn options_tells_what_every_route_takes() {
    let site = site();
    let cases = [
        ("/v1/docs/a", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("/v1/docs/a/changes", "GET, HEAD, POST, OPTIONS"),
        ("/v1/docs", "GET, HEAD, OPTIONS"),
        ("/v1/docs/a/history", "GET, HEAD, OPTIONS"),
        ("/v1/docs/a/conflicts", "GET, HEAD, OPTIONS"),
        ("/v1/bulk", "POST, OPTIONS"),
        ("/openapi.json", "GET, HEAD, OPTIONS"),
        ("/docs", "GET, HEAD, OPTIONS"),
        ("/v1/cluster", "GET, HEAD, OPTIONS"),
        ("/livez", "GET, HEAD, OPTIONS"),
        ("/readyz", "GET, HEAD, OPTIONS"),
        // The node as a whole.
        ("*", "GET, HEAD, PUT, PATCH, POST, DELETE, OPTIONS"),
    ];
    for (path, allowed) in cases {
        let answer = site.ask(call("OPTIONS", path, &[], "")).await.ok(204);
        assert_eq!(answer.header("allow"), allowed, "{path}");
        assert!(answer.body.is_empty() && !answer.headers.contains_key("content-type"), "{path}");
        let other = site.ask(call("TRACE", path, &[], "")).await;
        other.problem(405, "method-not-allowed");
        assert_eq!(other.header("allow"), allowed, "{path}");
    }
    let patches =
        "application/merge-patch+json, application/json-patch+json, application/vnd.syncline.ops+json";
    let document = site.ask(call("OPTIONS", "/v1/docs/a", &[], "")).await;
    assert_eq!(document.header("accept-patch"), patches);
    let changes = site.ask(call("OPTIONS", "/v1/docs/a/changes", &[], "")).await;
    assert_eq!(changes.header("accept-post"), "application/vnd.automerge");
    let bulk = site.ask(call("OPTIONS", "/v1/bulk", &[], "")).await;
    assert_eq!(bulk.header("accept-post"), "application/x-ndjson");
    site.ask(call("OPTIONS", "/nothing", &[], "")).await.problem(404, "no-such-resource");
    site.ask(call("OPTIONS", "/v1/docs/", &[], "")).await.problem(422, "bad-id");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_is_get_without_the_body_on_every_route() {
    let site = site();
    site.put("/v1/docs/a", &long().to_string()).await.ok(201);
    for path in ["/v1/docs/a", "/v1/docs", "/v1/cluster", "/livez", "/readyz", "/v1/docs/none", "/nothing"] {
        let get = site.get(path).await;
        let head = site.ask(call("HEAD", path, &[("accept-encoding", "gzip")], "")).await;
        assert!(head.body.is_empty(), "{path}");
        assert_eq!(head.status, get.status, "{path}");
        for name in ["content-type", "etag", "version", "cache-control"] {
            assert_eq!(head.headers.get(name), get.headers.get(name), "{path}: {name}");
        }
        assert!(!head.headers.contains_key("content-encoding"), "{path}");
        // A problem names the request, and no two have the same id; the cluster's times pass.
        if get.status.is_success() && path != "/v1/cluster" {
            assert_eq!(head.header("content-length"), get.body.len().to_string(), "{path}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_answers_with_the_document_where_that_is_preferred() {
    let site = site();
    let prefer = ("prefer", "return=representation");
    let created = site.ask(call("PUT", "/v1/docs/a%20b", &[JSON, prefer], r#"{"a": {"$counter": 1}}"#)).await;
    let patched = site.ask(call("PATCH", "/v1/docs/a%20b", &[MERGE, prefer], r#"{"b": 2}"#)).await.ok(200);
    let created = created.ok(201);
    assert_eq!(created.header("location"), "/v1/docs/a%20b");
    assert_eq!((created.json(), patched.json()), (json!({"a": 1}), json!({"a": 1, "b": 2})));
    for answer in [&created, &patched] {
        assert_eq!(answer.header("preference-applied"), "return=representation");
        assert_eq!(answer.header("content-location"), "/v1/docs/a%20b");
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("version"), answer.header("current-version"));
    }
    let read = site.get("/v1/docs/a%20b").await;
    assert_eq!(read.header("etag"), patched.header("etag"));
    assert_eq!(read.body, patched.body);
    // What others wrote since is in it, and in the version that goes with it.
    let headers = [MERGE, prefer, ("parents", created.header("version"))];
    let merged = site.ask(call("PATCH", "/v1/docs/a%20b", &headers, r#"{"c": 3}"#)).await.ok(200);
    assert_eq!(merged.json(), json!({"a": 1, "b": 2, "c": 3}));
    assert_eq!(merged.header("current-version"), site.get("/v1/docs/a%20b").await.header("version"));
    assert_ne!(merged.header("version"), merged.header("current-version"));

    let mut raw = Automerge::new();
    let mut tx = raw.transaction();
    tx.put(ROOT, "x", 1).expect("a put");
    tx.commit();
    let post = site.ask(call("POST", "/v1/docs/raw/changes", &[prefer], raw.save())).await.ok(201);
    assert_eq!(post.json(), json!({"x": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_answers_without_a_body_where_that_is_preferred() {
    let site = site();
    let prefer = ("prefer", "wait=1, return=minimal");
    let created = site.ask(call("PUT", "/v1/docs/a", &[JSON, prefer], "{}")).await.ok(201);
    let patched = site.ask(call("PATCH", "/v1/docs/a", &[MERGE, prefer], r#"{"a": 1}"#)).await.ok(204);
    assert_eq!(created.header("location"), "/v1/docs/a");
    for answer in [&created, &patched] {
        assert!(answer.body.is_empty() && !answer.headers.contains_key("content-type"));
        assert_eq!(answer.header("preference-applied"), "return=minimal");
        assert_eq!(answer.header("version"), answer.header("current-version"));
    }
    let plain = site.ask(call("PATCH", "/v1/docs/a", &[MERGE, ("prefer", "return=all")], "{}")).await.ok(200);
    assert!(!plain.headers.contains_key("preference-applied"));
    assert_eq!(plain.json()["created"], false);
    let refused = site.ask(call("PUT", "/v1/docs/a", &[JSON, prefer], "[]")).await;
    refused.problem(422, "refused");
    assert!(!refused.headers.contains_key("preference-applied"));
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_of_a_read_are_judged_in_their_order() {
    let site = site();
    let put = site.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    let tag = put.header("etag");
    let ask = |if_match: &str, if_none_match: &str| {
        let headers = [("if-match", if_match), ("if-none-match", if_none_match)];
        site.ask(call("GET", "/v1/docs/a", &headers, ""))
    };
    ask(tag, "\"x\"").await.ok(200);
    ask("*", tag).await.ok(304);
    // If-Match goes first, and compares strongly; If-None-Match compares weakly.
    assert_eq!(ask("\"x\"", tag).await.problem(412, "precondition-failed")["current"], put.json()["version"]);
    ask(&format!("W/{tag}"), "\"x\"").await.problem(412, "precondition-failed");
    ask("\"x\"", "*").await.problem(412, "precondition-failed");
    ask(tag, &format!("W/{tag}")).await.ok(304);
    // Others' tags may look like anything, and lists go over several lines; what is no list is refused.
    ask(&format!("\"a,b\", {tag}"), "\"*\"").await.ok(200);
    ask(tag, &format!("\"x,{}\"", tag.trim_matches('"'))).await.ok(200);
    let lines = [("if-none-match", "\"x\""), ("if-none-match", tag)];
    let mut two = call("GET", "/v1/docs/a", &lines[..1], "");
    two.headers_mut().append(lines[1].0, lines[1].1.parse().expect("a value"));
    site.ask(two).await.ok(304);
    for list in ["x", &format!("*, {tag}"), &format!("{tag} {tag}")] {
        assert_eq!(ask("*", list).await.problem(400, "malformed")["header"], "if-none-match");
        assert_eq!(ask(list, "*").await.problem(400, "malformed")["header"], "if-match");
    }
    // What would be refused anyway is, whatever the condition.
    site.get_with("/v1/docs/none", "if-match", "*").await.problem(404, "not-found");
    site.get_with("/v1/docs/a?x", "if-match", "\"x\"").await.problem(400, "malformed");
    // Another representation, and the past.
    site.get_with("/v1/docs/a?typed=true", "if-match", tag).await.problem(412, "precondition-failed");
    site.patch("/v1/docs/a", r#"{"a": 2}"#).await.ok(200);
    ask(tag, "\"x\"").await.problem(412, "precondition-failed");
    let at = format!("/v1/docs/a?at={}", put.header("version").trim_matches('"'));
    assert_eq!(site.get_with(&at, "if-match", tag).await.ok(200).json(), json!({"a": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_bears_the_requests_id() {
    let site = site();
    let asked = |method: &'static str, path: &'static str, id: &str| {
        site.ask(call(method, path, &[("x-request-id", id)], ""))
    };
    for (method, path) in [
        ("GET", "/v1/docs"),
        ("PUT", "/v1/docs/a"),
        ("OPTIONS", "/livez"),
        ("GET", "/nothing"),
        ("DELETE", "/livez"),
    ] {
        let answer = asked(method, path, "mine-{\"7\"}\\").await;
        assert_eq!(answer.header("x-request-id"), "mine-{\"7\"}\\", "{method} {path}");
        if answer.status.is_client_error() {
            assert_eq!(answer.json()["request"], "mine-{\"7\"}\\");
            assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        }
    }
    let guarded = call("GET", "/v1/docs", &[("host", "evil.example"), ("x-request-id", "g")], "");
    assert_eq!(site.ask(guarded).await.problem(403, "host-not-allowed")["request"], "g");
    let headless = asked("HEAD", "/nothing", "h").await;
    assert!(headless.body.is_empty());
    let get = asked("GET", "/nothing", "h").await;
    assert_eq!(headless.header("content-length"), get.body.len().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_without_a_sane_id_gets_one() {
    let site = site();
    let long = "x".repeat(129);
    let (one, two) = (site.get("/livez").await, site.get("/nothing").await);
    assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    assert_eq!(two.json()["request"], two.header("x-request-id"));
    for id in ["", "two words", &long] {
        let answer = site.get_with("/livez", "x-request-id", id).await;
        assert_ne!(answer.header("x-request-id"), id);
        assert!(!answer.header("x-request-id").is_empty());
    }
    let longest = &long[1..];
    assert_eq!(site.get_with("/livez", "x-request-id", longest).await.header("x-request-id"), longest);
}

fn unpacked(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-encoding"), "gzip");
    assert_eq!(answer.header("content-length"), answer.body.len().to_string());
    let mut text = String::new();
    flate2::read::GzDecoder::new(&*answer.body).read_to_string(&mut text).expect("gzip");
    serde_json::from_str(&text).expect("JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn long_json_is_compressed_for_those_who_take_it() {
    let site = site();
    site.put("/v1/docs/long", &long().to_string()).await.ok(201);
    site.put("/v1/docs/short", r#"{"a": 1}"#).await.ok(201);
    let gzip = |path: &'static str| site.get_with(path, "accept-encoding", "br, gzip");
    let packed = gzip("/v1/docs/long").await.ok(200);
    assert_eq!(unpacked(&packed), long());
    assert!(packed.body.len() < 200);
    let plain = site.get("/v1/docs/long").await;
    assert_eq!(plain.json(), long());
    let refused = site.get_with("/v1/docs/long", "accept-encoding", "gzip;q=0").await;
    assert_eq!(refused.body, plain.body);
    for answer in [&packed, &plain, &gzip("/v1/docs/short").await] {
        assert_eq!(answer.header("vary"), "Accept, Accept-Encoding");
    }
    for path in ["/v1/docs/short", "/v1/docs/none", "/livez"] {
        assert!(!gzip(path).await.headers.contains_key("content-encoding"), "{path}");
    }
    let headers = [("accept-encoding", "gzip"), ("accept", "application/vnd.automerge")];
    let binary = site.ask(call("GET", "/v1/docs/long", &headers, "")).await.ok(200);
    assert!(!binary.headers.contains_key("content-encoding"));
    for n in 0..10 {
        site.put(&format!("/v1/docs/n/{n}"), "{}").await.ok(201);
    }
    let list = gzip("/v1/docs?prefix=n").await.ok(200);
    assert_eq!(unpacked(&list)["documents"].as_array().map(Vec::len), Some(10));
    assert_eq!(list.header("vary"), "Accept-Encoding");
    let headers = [MERGE, ("accept-encoding", "gzip"), ("prefer", "return=representation")];
    let written = site.ask(call("PATCH", "/v1/docs/long", &headers, r#"{"a": null}"#)).await.ok(200);
    assert_eq!(unpacked(&written), long());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_representation_has_a_strong_tag_of_its_own() {
    let site = site();
    let put = site.put("/v1/docs/a", &long().to_string()).await.ok(201);
    let packed = site.get_with("/v1/docs/a", "accept-encoding", "gzip").await.ok(200);
    let (plain_tag, tag) = (put.header("etag"), packed.header("etag"));
    assert!(tag != plain_tag && tag.starts_with('"'));
    // Whichever one has is good, whatever one takes, and the answer says which it was.
    for encoding in ["gzip", "identity"] {
        for tag in [tag, plain_tag] {
            let headers = [("accept-encoding", encoding), ("if-none-match", tag)];
            let held = site.ask(call("GET", "/v1/docs/a", &headers, "")).await.ok(304);
            assert_eq!(held.header("etag"), tag);
            assert!(held.body.is_empty() && !held.headers.contains_key("content-encoding"));
            site.get_with("/v1/docs/a", "if-match", tag).await.ok(200);
        }
    }
    let guarded = |tag: &str| site.ask(call("PUT", "/v1/docs/a", &[JSON, ("if-match", tag)], r#"{"a": 1}"#));
    guarded(tag).await.ok(200);
    guarded(tag).await.problem(412, "precondition-failed");
}
