//! Many documents written in one request.

use axum::http::StatusCode;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::base::limits::{BULK_LINES, MAX_BODY_BYTES, MAX_DEPTH};

const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

async fn bulk(site: &Site, body: impl Into<Body>) -> Vec<Value> {
    let answer = site.ask(call("POST", "/v1/bulk", &[NDJSON], body)).await.ok(200);
    assert_eq!(answer.header("content-type"), NDJSON.1);
    let text = String::from_utf8(answer.body.to_vec()).expect("text");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Line, id and status of each answer.
fn shown(answers: &[Value]) -> Vec<(u64, &str, u64)> {
    let number = |answer: &Value, member: &str| answer[member].as_u64().expect("a number");
    let id = |answer: &'_ Value| answer["id"].as_str().map_or("", |id| id.to_owned().leak());
    answers.iter().map(|answer| (number(answer, "line"), id(answer), number(answer, "status"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_is_written_and_answered_in_order() {
    let site = site();
    let lines = r#"{"id": "a", "put": {"n": 1, "note": {"$text": "hello"}}}
{"id": "b/c", "patch": {"x": {"y": true}}, "author": "Zoë"}

{"id": "a", "ops": [{"op": "text.splice", "path": "/note", "pos": 5, "insert": "!"}]}
{"id": "a", "put": {"n": 1, "note": "hello!"}}"#;
    let answers = bulk(&site, lines).await;
    assert_eq!(shown(&answers), [(1, "a", 201), (2, "b/c", 201), (4, "a", 200), (5, "a", 200)]);
    let found = site.get("/v1/docs/a").await.ok(200);
    assert_eq!(found.json(), json!({"n": 1, "note": "hello!"}));
    let version = answers[3]["version"][0].as_str().expect("a hash");
    assert_eq!(found.header("version"), format!("\"{version}\""));
    assert_eq!(site.get("/v1/docs/b/c").await.json(), json!({"x": {"y": true}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_refused_does_not_stop_the_others() {
    let site = site();
    let long = "x".repeat(MAX_BODY_BYTES);
    let unknown = "ab".repeat(32);
    let cases = [
        ("{\"id\": \"a\", \"put\": {\"n\": 1}".to_owned(), 400, "not-json", None),
        ("[]".into(), 422, "refused", Some("")),
        (r#"{"put": {}}"#.into(), 422, "refused", Some("/id")),
        (r#"{"id": "", "put": {}}"#.into(), 422, "bad-id", None),
        (r#"{"id": "a"}"#.into(), 422, "refused", Some("")),
        (r#"{"id": "a", "put": {}, "patch": {}}"#.into(), 422, "refused", Some("")),
        (r#"{"id": "a", "set": {}}"#.into(), 422, "refused", Some("")),
        (r#"{"id": "a", "put": []}"#.into(), 422, "refused", Some("/put")),
        (r#"{"id": "a", "put": {"n": 1, "n": 2}}"#.into(), 422, "refused", Some("/put/n")),
        (r#"{"id": "a", "put": {"n": {"$x": 2}}}"#.into(), 422, "refused", Some("/put/n/$x")),
        (r#"{"id": "a", "ops": [{"op": "jump"}]}"#.into(), 422, "refused", Some("/ops/0")),
        (r#"{"id": "a", "put": {}, "author": 7}"#.into(), 422, "refused", Some("/author")),
        (r#"{"id": "a", "put": {}, "parents": ["x"]}"#.into(), 422, "refused", Some("/parents")),
        (format!(r#"{{"id": "a", "put": {{}}, "parents": ["{unknown}"]}}"#), 503, "not-yet-converged", None),
        (r#"{"id": "a", "delete": true}"#.into(), 404, "not-found", None),
        (r#"{"id": "a", "delete": false}"#.into(), 422, "refused", Some("/delete")),
        (r#"{"id": "a", "delete": true, "put": {}}"#.into(), 422, "refused", Some("")),
        (
            format!(r#"{{"id": "first", "delete": true, "parents": ["{unknown}"]}}"#),
            503,
            "not-yet-converged",
            None,
        ),
        (format!(r#"{{"id": "a", "put": {{"long": "{long}"}}}}"#), 413, "too-large", None),
    ];
    let mut lines: Vec<&str> = vec![r#"{"id": "first", "put": {"n": 1}}"#];
    lines.extend(cases.iter().map(|(line, ..)| line.as_str()));
    lines.push(r#"{"id": "last", "put": {"n": 1}}"#);
    let answers = bulk(&site, lines.join("\n")).await;
    assert_eq!(answers.len(), lines.len());
    for (answer, (line, status, name, pointer)) in answers[1..].iter().zip(&cases) {
        let line = &line[..line.len().min(100)];
        assert_eq!(answer["status"], *status, "{line}: {answer}");
        assert_eq!(answer["problem"]["type"], format!("urn:syncline:problem:{name}"), "{line}: {answer}");
        assert_eq!(answer["problem"]["pointer"].as_str(), *pointer, "{line}: {answer}");
    }
    for id in ["first", "last"] {
        site.get(&format!("/v1/docs/{id}")).await.ok(200);
    }
    site.get("/v1/docs/a").await.problem(404, "not-found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_deletes_and_with_parents_only_what_they_name() {
    let site = site();
    let one = site.put("/v1/docs/a", r#"{"one": 1}"#).await.ok(201).json()["version"].clone();
    site.put("/v1/docs/a", r#"{"one": 1, "two": 2}"#).await.ok(200);
    let line = |parents: &str| format!("{{\"id\": \"a\", \"delete\": true{parents}}}\n");
    let answers = bulk(&site, line(&format!(", \"parents\": {one}"))).await;
    assert_eq!(shown(&answers), [(1, "a", 204)]);
    // The second write is a head beside the deletion.
    let there = site.get("/v1/docs/a").await.ok(200);
    assert_eq!(there.header("version").matches('"').count(), 4);
    let answers = bulk(&site, line("") + &line("")).await;
    assert_eq!(shown(&answers), [(1, "a", 204), (2, "a", 410)]);
    let gone = site.get("/v1/docs/a").await.problem(410, "gone");
    assert_eq!(gone["version"], answers[0]["version"]);
    assert_eq!(shown(&bulk(&site, r#"{"id": "a", "put": {}}"#).await), [(1, "a", 201)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_as_deep_as_any_fits_into_a_line() {
    let site = site();
    let deep = |levels: usize| {
        let (open, close) = ("[".repeat(levels - 1), "]".repeat(levels - 1));
        format!("{{\"id\": \"a\", \"put\": {{\"l\": {open}{close}}}}}")
    };
    let answers = bulk(&site, format!("{}\n{}\n", deep(MAX_DEPTH), deep(MAX_DEPTH + 1))).await;
    assert_eq!(shown(&answers).iter().map(|answer| answer.2).collect::<Vec<_>>(), [201, 422]);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_come_while_the_body_is_still_sent_and_it_may_be_longer_than_any_other() {
    let site = site();
    let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
    let body = stream::unfold(receiver, async |mut receiver| {
        let piece = receiver.recv().await?;
        Some((Ok::<_, std::io::Error>(piece), receiver))
    });
    let request = call("POST", "/v1/bulk", &[NDJSON], Body::from_stream(body));
    let asked = tokio::spawn(site.routes.clone().oneshot(request));
    let send = async |text: String| sender.send(text.into()).await.expect("a reader");
    send("{\"id\": \"a\", \"put\": {\"n\"".into()).await;
    send(": 1}}\n{\"id\":".into()).await;
    let response = asked.await.expect("a task").expect("infallible");
    assert_eq!(response.status(), StatusCode::OK);
    let mut answers = response.into_body();
    let mut next = async || {
        let frame = answers.frame().await?.expect("no error");
        Some(String::from_utf8(frame.into_data().expect("data").to_vec()).expect("text"))
    };
    assert!(next().await.expect("an answer").starts_with(r#"{"line":1,"id":"a","status":201"#));
    send("\"b\", \"put\": {}}\n".into()).await;
    assert!(next().await.expect("an answer").starts_with(r#"{"line":2,"id":"b","status":201"#));
    let large = "x".repeat(MAX_BODY_BYTES / 4);
    let mut seen = 0;
    for n in 0..6 {
        send(format!("{{\"id\": \"c{n}\", \"put\": {{\"large\": \"{large}\"}}}}\n")).await;
        seen += next().await.expect("an answer").lines().count();
    }
    drop(sender);
    assert_eq!((seen, next().await), (6, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn more_lines_than_may_wait_are_all_answered_and_writes_of_one_document_keep_their_order() {
    let site = site();
    let count = 3 * BULK_LINES;
    let line = |n: usize| format!("{{\"id\": \"d{}\", \"patch\": {{\"n\": {n}}}}}\n", n % 3);
    let answers = bulk(&site, (0..count).map(line).collect::<String>()).await;
    assert_eq!(answers.len(), count);
    assert!(answers.iter().zip(1..).all(|(answer, n)| answer["line"] == n));
    for n in 0..3 {
        assert_eq!(site.get(&format!("/v1/docs/d{n}")).await.json(), json!({"n": count - 3 + n}));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_bulk_request_is_refused_as_a_whole() {
    let site = site();
    let line = r#"{"id": "a", "put": {}}"#;
    let ask = async |headers: &[(&str, &str)]| site.ask(call("POST", "/v1/bulk", headers, line)).await;
    let refused = ask(&[("content-type", "application/json")]).await;
    refused.problem(415, "unsupported-media-type");
    assert_eq!(refused.header("accept-post"), NDJSON.1);
    ask(&[NDJSON, ("if-match", "*")]).await.problem(400, "malformed");
    ask(&[NDJSON, ("parents", "")]).await.problem(400, "malformed");
    site.ask(call("POST", "/v1/bulk?x=1", &[NDJSON], line)).await.problem(400, "malformed");
    site.ask(call("GET", "/v1/bulk", &[], "")).await.problem(405, "method-not-allowed");
    site.get("/v1/docs/a").await.problem(404, "not-found");
    ask(&[NDJSON, ("author", "Zoë")]).await.ok(200);
    site.get("/v1/docs/a").await.ok(200);
    let replica = site_with(config(Role::Replica), Access::open());
    replica.ask(call("POST", "/v1/bulk", &[NDJSON], line)).await.problem(403, "read-only");
}
