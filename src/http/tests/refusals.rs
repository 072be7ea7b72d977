//! What is refused, each beside what is not.

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;

use super::{call, config, site, site_with};
use crate::base::Role;
use crate::base::limits::{MAX_BODY_BYTES, MAX_DEPTH};
use crate::http::Access;

#[tokio::test(flavor = "multi_thread")]
async fn bad_ids_are_refused() {
    let site = site();
    let long = format!("/v1/docs/{}", "x".repeat(513));
    for path in ["/v1/docs/", "/v1/docs//changes", "/v1/docs/a%07", &long] {
        site.get(path).await.problem(422, "bad-id");
        site.put(path, "{}").await;
    }
    for path in ["/v1/docs/%zz", "/v1/docs/a%", "/v1/docs/%ff", "/v1/docs/a/%c3/changes"] {
        site.put(path, "{}").await.problem(400, "malformed");
    }
    assert_eq!(site.get("/v1/docs").await.json(), json!({"documents": []}));
    site.put(&long[..long.len() - 1], "{}").await.ok(201);
    site.put("/v1/docs/%C3%BC/%2520", "{}").await.ok(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn json_outside_the_mapping_is_refused_where_it_is() {
    let site = site();
    let deep = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let cases = [
        (r#"{"a": 1, "a": 2}"#.to_owned(), json!("/a")),
        (r#"{"b": {"c": [0, 18446744073709551616]}}"#.to_owned(), json!("/b/c/1")),
        (r#"{"t": {"$counter": "x"}}"#.to_owned(), json!("/t")),
        ("[1]".to_owned(), json!("")),
        ("\"text\"".to_owned(), json!("")),
    ];
    for (body, pointer) in cases {
        let problem = site.put("/v1/docs/a", &body).await.problem(422, "refused");
        assert!(
            problem["pointer"]
                .as_str()
                .is_some_and(|found| found.starts_with(pointer.as_str().expect("text")))
        );
        site.patch("/v1/docs/a", &body).await.problem(422, "refused");
    }
    site.put("/v1/docs/a", &deep(MAX_DEPTH + 1)).await.problem(422, "refused");
    for body in ["", "{", "{} {}", "{'a': 1}", "{\"a\": NaN}"] {
        site.put("/v1/docs/a", body).await.problem(400, "not-json");
    }
    site.get("/v1/docs/a").await.problem(404, "not-found");
    site.put("/v1/docs/a", &deep(MAX_DEPTH - 1)).await.ok(201);
    site.put("/v1/docs/a", r#"{"a": 18446744073709551615, "b": -9223372036854775808}"#).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_has_a_type_that_is_taken() {
    let site = site();
    let ask = |method: &'static str, path: &'static str, kind: &'static str| {
        site.ask(call(method, path, &[("content-type", kind)], r#"{"a": 1}"#))
    };
    let patch = ask("PATCH", "/v1/docs/a", "application/json").await;
    patch.problem(415, "unsupported-media-type");
    assert_eq!(
        patch.header("accept-patch"),
        "application/merge-patch+json, application/json-patch+json, application/vnd.syncline.ops+json"
    );
    site.ask(call("PATCH", "/v1/docs/a", &[], "{}")).await.problem(415, "unsupported-media-type");
    let form = ask("PUT", "/v1/docs/a", "application/x-www-form-urlencoded").await;
    let problem = form.problem(415, "unsupported-media-type");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("curl")));
    assert_eq!(form.header("accept"), "application/json");
    let post = ask("POST", "/v1/docs/a/changes", "text/plain").await;
    post.problem(415, "unsupported-media-type");
    assert_eq!(post.header("accept-post"), "application/vnd.automerge");
    let packed = call("PUT", "/v1/docs/a", &[("content-encoding", "gzip")], "{}");
    site.ask(packed).await.problem(415, "unsupported-media-type");

    ask("PUT", "/v1/docs/a", "Application/JSON; charset=utf-8").await.ok(201);
    site.ask(call("PUT", "/v1/docs/a", &[], r#"{"a": 2}"#)).await.ok(200);
    ask("PATCH", "/v1/docs/a", "application/merge-patch+json").await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_too_large_is_refused_before_it_is_read() {
    let site = site();
    let length = (MAX_BODY_BYTES + 1).to_string();
    // Never sends anything: whoever waits for it waits for ever.
    let silent = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let sized = Sized(silent, MAX_BODY_BYTES as u64 + 1);
    let told = call("PUT", "/v1/docs/a", &[("content-length", &length)], Body::new(sized));
    assert_eq!(site.ask(told).await.problem(413, "too-large")["limit"], MAX_BODY_BYTES);

    let piece = Bytes::from(vec![b' '; 1 << 20]);
    let pieces = |count: usize| {
        let pieces = vec![piece.clone(); count].into_iter().chain([Bytes::from_static(b"{}")]);
        Body::from_stream(stream::iter(pieces.map(Ok::<_, std::io::Error>)))
    };
    site.ask(call("PUT", "/v1/docs/a", &[], pieces(8))).await.problem(413, "too-large");
    site.ask(call("PUT", "/v1/docs/a", &[], pieces(7))).await.ok(201);
}

/// A body that says how long it is.
struct Sized(Body, u64);

impl axum::body::HttpBody for Sized {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        std::pin::Pin::new(&mut self.0).poll_frame(cx)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        hyper::body::SizeHint::with_exact(self.1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_call_does_not_know_is_refused() {
    let site = site();
    assert_eq!(site.put("/v1/docs/a?acks=2", "{}").await.problem(400, "malformed")["parameter"], "acks");
    assert_eq!(site.patch("/v1/docs/a?x", "{}").await.problem(400, "malformed")["parameter"], "x");
    site.put("/v1/docs/a", "{}").await.ok(201);
    site.get("/v1/docs/a?since=1").await.problem(400, "malformed");
    site.get("/v1/docs?at=1").await.problem(400, "malformed");
    site.get("/v1/docs/a?typed=true&typed=true").await.problem(400, "malformed");
    site.get("/v1/docs/a?typed=false").await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn other_methods_are_told_which_are_there() {
    let site = site();
    let cases = [
        ("POST", "/v1/docs/a", "GET, HEAD, PUT, PATCH, DELETE, OPTIONS"),
        ("DELETE", "/v1/docs/a/changes", "POST, OPTIONS"),
        ("GET", "/v1/docs/a/changes", "POST, OPTIONS"),
        ("PUT", "/v1/docs", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/cluster", "GET, HEAD, OPTIONS"),
        ("POST", "/livez", "GET, HEAD, OPTIONS"),
    ];
    for (method, path, allowed) in cases {
        let answer = site.ask(call(method, path, &[], "")).await;
        answer.problem(405, "method-not-allowed");
        assert_eq!(answer.header("allow"), allowed, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn other_paths_lead_nowhere() {
    let site = site();
    for path in ["/", "/v1", "/v2/docs/a", "/v1/cluster/", "/v1/peer"] {
        site.get(path).await.problem(404, "no-such-resource");
    }
    for path in ["/v1/docs/a/history", "/v1/docs/a/conflicts"] {
        site.get(path).await.problem(404, "not-implemented");
        site.put(path, "{}").await.problem(404, "not-implemented");
    }
    site.get("/v1/docs/a/other").await.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_takes_no_writes() {
    let site = site_with(config(Role::Replica), Access::open());
    let problem = site.put("/v1/docs/a", "{}").await.problem(403, "read-only");
    assert_eq!(problem["masters"], json!([]));
    site.patch("/v1/docs/a", "{}").await.problem(403, "read-only");
    site.ask(call("POST", "/v1/docs/a/changes", &[], "x")).await.problem(403, "read-only");
    site.get("/v1/docs/a").await.problem(404, "not-found");
    site.get("/v1/docs").await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_stops_writes_and_not_reads() {
    let site = site();
    site.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    site.disk.fill(0);
    site.patch("/v1/docs/a", r#"{"a": 2}"#).await.problem(507, "storage-full");
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"a": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_commit_is_an_unknown_outcome() {
    let site = site();
    site.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    site.disk.fail_next(1);
    let failed = site.patch("/v1/docs/a", r#"{"a": 2}"#).await;
    failed.problem(500, "storage-failed");
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"a": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_has_stopped_says_so() {
    let site = site();
    site.put("/v1/docs/a", "{}").await.ok(201);
    site.node.stop().await;
    let answer = site.put("/v1/docs/a", r#"{"a": 1}"#).await;
    answer.problem(503, "stopping");
    assert_eq!(answer.header("retry-after"), "1");
    site.get("/v1/cluster").await.problem(503, "stopping");
}
