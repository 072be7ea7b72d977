//! Every route and every error, as whole exchanges in `exchanges/*.txt`.

use axum::body::Body;
use axum::response::IntoResponse;
use http_body_util::BodyExt;

use super::snapshot::Tape;
use super::{Answer, config, site, site_with};
use crate::base::Role;
use crate::base::limits::MAX_BODY_BYTES;
use crate::crdt::EditError;
use crate::http::problem::{BUSY, CROWDED, FAILED, FENCED, KINDS, Problem, REFETCH, TOO_MANY, TOO_SLOW};
use crate::http::{Access, Right, Token};
use crate::node::{NodeConfig, NodeError};

const JSON: (&str, &str) = ("content-type", "application/json");
const MERGE: (&str, &str) = ("content-type", "application/merge-patch+json");
const OPS: (&str, &str) = ("content-type", "application/vnd.syncline.ops+json");
const JSON_PATCH: (&str, &str) = ("content-type", "application/json-patch+json");
const UNKNOWN: &str = "\"0000000000000000000000000000000000000000000000000000000000000000\"";

#[tokio::test(flavor = "multi_thread")]
async fn reads() {
    let (site, mut tape) = (site(), Tape::new("reads"));
    let document = r#"{"note":{"$text":"hi"},"views":{"$counter":3},"at":{"$timestamp":"2026-01-31T12:00:00Z"},"raw":{"$bytes":"AAE="},"list":[1,"a",null]}"#;
    let put = site.ask(super::call("PUT", "/v1/docs/lists/a", &[JSON], document)).await.ok(201);
    let (tag, version) = (put.header("etag").to_owned(), put.header("version").to_owned());
    let get = ("GET", "/v1/docs/lists/a");
    tape.ask(&site, "A document", get, &[], "").await.ok(200);
    tape.ask(&site, "With types", ("GET", "/v1/docs/lists/a?typed=true"), &[], "").await.ok(200);
    tape.ask(&site, "As Automerge", get, &[("accept", "application/vnd.automerge")], "").await.ok(200);
    tape.ask(&site, "The slash encoded", ("GET", "/v1/docs/lists%2Fa"), &[], "").await.ok(200);
    tape.ask(&site, "Without the body", ("HEAD", "/v1/docs/lists/a"), &[], "").await.ok(200);
    tape.ask(&site, "Had already", get, &[("if-none-match", &tag)], "").await.ok(304);
    tape.ask(&site, "As no reader can take it", get, &[("accept", "text/html")], "").await.ok(406);
    tape.ask(&site, "Not there", ("GET", "/v1/docs/none"), &[], "").await.ok(404);
    site.patch("/v1/docs/lists/a", r#"{"list": null}"#).await.ok(200);
    let past = format!("/v1/docs/lists/a?at={}", version.trim_matches('"'));
    tape.ask(&site, "The past", ("GET", &past), &[], "").await.ok(200);
    let never = format!("/v1/docs/lists/a?at={}", UNKNOWN.trim_matches('"'));
    tape.ask(&site, "A past that never was", ("GET", &never), &[], "").await.ok(404);
    tape.ask(&site, "No version", ("GET", "/v1/docs/lists/a?at=x"), &[], "").await.ok(400);
    tape.ask(&site, "A parameter that is not known", ("GET", "/v1/docs/lists/a?x=1"), &[], "").await.ok(400);
    site.ask(super::call("PUT", "/v1/docs/lists/a", &[JSON, ("parents", &version)], r#"{"list": 1}"#)).await;
    site.put("/v1/docs/b", r#"{"a": 1}"#).await.ok(201);
    let seen = site.get("/v1/docs/b").await;
    site.patch("/v1/docs/b", r#"{"a": 2}"#).await.ok(200);
    let parents = ("parents", seen.header("version"));
    site.ask(super::call("PUT", "/v1/docs/b", &[JSON, parents], r#"{"a": 3}"#)).await.ok(200);
    tape.ask(&site, "Another than wanted", ("GET", "/v1/docs/b"), &[("if-match", &tag)], "").await.ok(412);
    tape.ask(&site, "Two values of one field", ("HEAD", "/v1/docs/b"), &[], "").await.ok(200);
    tape.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn writes() {
    let (site, mut tape) = (site(), Tape::new("writes"));
    let put = ("PUT", "/v1/docs/a");
    let first = tape.ask(&site, "Created", put, &[JSON], r#"{"a":1,"b":1}"#).await.ok(201);
    tape.ask(&site, "Replaced", put, &[JSON, ("author", "Ann")], r#"{"a":2,"b":1}"#).await.ok(200);
    tape.ask(&site, "As it was already", put, &[JSON], r#"{"a":2,"b":1}"#).await.ok(200);
    let parents = ("parents", first.header("version"));
    tape.ask(&site, "At what was read", put, &[JSON, parents], r#"{"a":1,"b":2}"#).await.ok(200);
    let unknown = [JSON, ("parents", UNKNOWN), ("prefer", "wait=0")];
    tape.ask(&site, "At what is not here", put, &unknown, "{}").await.ok(503);
    let tag = ("if-match", first.header("etag"));
    tape.ask(&site, "Guarded", ("PUT", "/v1/docs/none"), &[JSON, ("if-match", "*")], "{}").await.ok(412);
    let made = site.put("/v1/docs/b", "{}").await.ok(201);
    let guarded = [JSON, ("if-match", made.header("etag"))];
    tape.ask(&site, "Guarded, and it holds", ("PUT", "/v1/docs/b"), &guarded, r#"{"a":1}"#).await.ok(200);
    tape.ask(&site, "Guarded, and it does not", ("PUT", "/v1/docs/b"), &[JSON, tag], "{}").await.ok(412);
    tape.ask(&site, "Only if absent", ("PUT", "/v1/docs/b"), &[JSON, ("if-none-match", "*")], "{}")
        .await
        .ok(412);
    tape.ask(&site, "An id like a part", ("PUT", "/v1/docs/a%2Fchanges"), &[JSON], "{}").await.ok(201);
    tape.ask(&site, "No JSON", put, &[JSON], "{").await.ok(400);
    tape.ask(&site, "A key twice", put, &[JSON], r#"{"a":1,"a":2}"#).await.ok(422);
    tape.ask(&site, "No object", put, &[JSON], "[]").await.ok(422);
    tape.ask(&site, "Another type", put, &[("content-type", "text/plain")], "{}").await.ok(415);
    tape.ask(&site, "No id", ("PUT", "/v1/docs/"), &[JSON], "{}").await.ok(422);
    tape.ask(&site, "An id with a control character", ("PUT", "/v1/docs/a%07"), &[JSON], "{}").await.ok(422);
    tape.ask(&site, "A path that is not encoded", ("PUT", "/v1/docs/%ff"), &[JSON], "{}").await.ok(400);
    tape.ask(&site, "A header that cannot be read", put, &[JSON, ("parents", "x")], "{}").await.ok(400);
    tape.ask(&site, "Another method", ("POST", "/v1/docs/a"), &[], "").await.ok(405);
    let large = vec![b' '; MAX_BODY_BYTES + 1];
    let large = site.ask(super::call("PUT", "/v1/docs/a", &[JSON], Body::from(large))).await.ok(413);
    tape.note_as("Too large a body", &large);
    tape.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn patches() {
    let (site, mut tape) = (site(), Tape::new("patches"));
    let patch = ("PATCH", "/v1/docs/a");
    tape.ask(&site, "A merge patch creates", patch, &[MERGE], r#"{"a":{"b":1},"n":{"$counter":1}}"#)
        .await
        .ok(201);
    tape.ask(&site, "A merge patch", patch, &[MERGE], r#"{"a":{"b":null,"c":2}}"#).await.ok(200);
    tape.ask(&site, "Operations", patch, &[OPS], r#"[{"op":"increment","path":"/n","by":2}]"#).await.ok(200);
    tape.ask(&site, "What is there now", ("GET", "/v1/docs/a"), &[], "").await.ok(200);
    tape.ask(&site, "An operation that does not fit", patch, &[OPS], r#"[{"op":"delete","path":"/x/y"}]"#)
        .await
        .ok(422);
    tape.ask(&site, "An unknown operation", patch, &[OPS], r#"[{"op":"jump"}]"#).await.ok(422);
    let minimal = [MERGE, ("prefer", "return=minimal")];
    tape.ask(&site, "Answered with nothing", patch, &minimal, r#"{"x":1}"#).await.ok(204);
    let whole = [MERGE, ("prefer", "return=representation")];
    tape.ask(&site, "Answered with the document", patch, &whole, r#"{"x":null}"#).await.ok(200);
    let (test, other) =
        (r#"[{"op":"test","path":"/n","value":3}]"#, r#"[{"op":"test","path":"/n","value":4}]"#);
    tape.ask(&site, "A JSON patch", patch, &[JSON_PATCH], test).await.ok(200);
    tape.ask(&site, "A test that fails", patch, &[JSON_PATCH], other).await.ok(409);
    tape.ask(&site, "A JSON patch of nothing", ("PATCH", "/v1/docs/none"), &[JSON_PATCH], test).await.ok(404);
    tape.ask(&site, "No type", patch, &[], "{}").await.ok(415);
    tape.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn past() {
    let (site, mut tape) = (site(), Tape::new("past"));
    tape.ask(&site, "Of nothing", ("GET", "/v1/docs/a/history"), &[], "").await.ok(404);
    let first = site.put("/v1/docs/a", r#"{"a":1}"#).await.ok(201);
    let ann = [MERGE, ("author", "Ann")];
    site.ask(super::call("PATCH", "/v1/docs/a", &ann, r#"{"a":2}"#)).await.ok(200);
    tape.ask(&site, "Who did what", ("GET", "/v1/docs/a/history?limit=1"), &[], "").await.ok(200);
    tape.ask(&site, "A list with values", ("GET", "/v1/docs?include=value"), &[], "").await.ok(200);
    tape.ask(&site, "No conflicts", ("GET", "/v1/docs/a/conflicts"), &[], "").await.ok(200);
    let parents = [JSON, ("parents", first.header("version")), ("author", "Bob")];
    site.ask(super::call("PUT", "/v1/docs/a", &parents, r#"{"a":3}"#)).await.ok(200);
    // Which of the two is shown is for their hashes to say.
    let conflicts = site.get("/v1/docs/a/conflicts").await.ok(200).json();
    assert_eq!(conflicts["conflicts"][0]["values"].as_array().map(Vec::len), Some(2));
    let since = format!("/v1/docs/a/changes?since={}", first.header("version").trim_matches('"'));
    tape.ask(&site, "Raw changes", ("GET", &since), &[], "").await.ok(200);
    let never = format!("/v1/docs/a/changes?since={}", UNKNOWN.trim_matches('"'));
    tape.ask(&site, "Since what is not here", ("GET", &never), &[], "").await.ok(404);
    tape.ask(&site, "Another method", ("PUT", "/v1/docs/a/history"), &[], "").await.ok(405);
    tape.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions() {
    let (site, mut tape) = (site(), Tape::new("deletions"));
    let delete = ("DELETE", "/v1/docs/a");
    tape.ask(&site, "Never there", delete, &[], "").await.ok(404);
    let made = site.put("/v1/docs/a", r#"{"a":1}"#).await.ok(201);
    tape.ask(&site, "Guarded, and it does not hold", delete, &[("if-none-match", "*")], "").await.ok(412);
    let guarded = ("if-match", made.header("etag"));
    tape.ask(&site, "Guarded, and it holds", delete, &[guarded], "").await.ok(204);
    tape.ask(&site, "Gone", ("GET", "/v1/docs/a"), &[], "").await.ok(410);
    tape.ask(&site, "Gone already", delete, &[], "").await.ok(410);
    tape.ask(&site, "Written again", ("PUT", "/v1/docs/a"), &[JSON], r#"{"b":1}"#).await.ok(201);
    tape.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn bulk() {
    let (site, mut tape) = (site(), Tape::new("bulk"));
    let post = ("POST", "/v1/bulk");
    let kind = ("content-type", "application/x-ndjson");
    let lines = concat!(
        r#"{"id": "a", "put": {"n": {"$counter": 1}}}"#,
        "\n",
        r#"{"id": "a", "ops": [{"op": "increment", "path": "/n", "by": 1}]}"#,
        "\n",
        r#"{"id": "b", "patch": {"x": 1}, "author": "Ann"}"#,
        "\n\n",
        r#"{"id": "b", "delete": true}"#,
        "\n",
        r#"{"id": "", "put": {}}"#,
        "\nno JSON\n",
    );
    tape.ask(&site, "A line each", post, &[kind], lines).await.ok(200);
    tape.ask(&site, "Another type", post, &[JSON], "{}").await.ok(415);
    tape.ask(&site, "Guarded", post, &[kind, ("if-match", "*")], "").await.ok(400);
    tape.ask(&site, "Another method", ("GET", "/v1/bulk"), &[], "").await.ok(405);
    tape.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_changes() {
    let (site, other, mut tape) = (site(), super::site(), Tape::new("raw-changes"));
    other.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    let saved =
        || other.ask(super::call("GET", "/v1/docs/a", &[("accept", "application/vnd.automerge")], ""));
    let first = saved().await.body;
    other.patch("/v1/docs/a", r#"{"a": 2}"#).await.ok(200);
    let doc = automerge::Automerge::load(&saved().await.body).expect("a saved document");
    let last = doc.get_changes(&[]).last().expect("a change").raw_bytes().to_vec();
    let post = |body: Vec<u8>| site.ask(super::call("POST", "/v1/docs/b/changes", &[], body));
    tape.note_as("POST /v1/docs/b/changes: what they hang on is not here", &post(last.clone()).await.ok(409));
    tape.note_as("POST /v1/docs/b/changes: a saved document", &post(first.to_vec()).await.ok(201));
    tape.note_as("POST /v1/docs/b/changes: a change more", &post(last.clone()).await.ok(200));
    tape.note_as("POST /v1/docs/b/changes: once more", &post(last).await.ok(200));
    let path = ("POST", "/v1/docs/b/changes");
    tape.ask(&site, "No changes", path, &[], "garbage").await.ok(422);
    tape.ask(&site, "Guarded", path, &[("if-match", "*")], "").await.ok(400);
    tape.ask(&site, "Another type", path, &[JSON], "{}").await.ok(415);
    tape.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn resources() {
    let (site, mut tape) = (site(), Tape::new("resources"));
    tape.ask(&site, "No documents", ("GET", "/v1/docs"), &[], "").await.ok(200);
    for id in ["a/1", "a/2", "b"] {
        site.put(&format!("/v1/docs/{id}"), "{}").await.ok(201);
    }
    tape.ask(&site, "A page", ("GET", "/v1/docs?prefix=a/&limit=1"), &[], "").await.ok(200);
    tape.ask(&site, "The next", ("GET", "/v1/docs?prefix=a/&after=a/1&limit=1"), &[], "").await.ok(200);
    tape.ask(&site, "A limit out of bounds", ("GET", "/v1/docs?limit=0"), &[], "").await.ok(400);
    tape.ask(&site, "Another method", ("PUT", "/v1/docs"), &[], "").await.ok(405);
    tape.ask(&site, "The cluster", ("GET", "/v1/cluster"), &[], "").await.ok(200);
    tape.ask(&site, "Alive", ("GET", "/livez"), &[], "").await.ok(200);
    tape.ask(&site, "Ready", ("GET", "/readyz"), &[], "").await.ok(200);
    let lonely = site_with(NodeConfig { has_peers: true, ..config(Role::Master) }, Access::open());
    tape.ask(&lonely, "Not ready", ("GET", "/readyz"), &[], "").await.ok(503);
    tape.ask(&site, "The description", ("GET", "/openapi.json"), &[], "").await.ok(200);
    tape.ask(&site, "The page that shows it", ("GET", "/docs"), &[], "").await.ok(200);
    let new = super::site();
    tape.ask(&new, "The feed of an empty node", ("GET", "/v1/changes"), &[], "").await.ok(200);
    tape.ask(&new, "No WebSocket", ("GET", "/v1/subscribe"), &[], "").await.ok(426);
    tape.ask(&site, "Which methods", ("OPTIONS", "/v1/docs/a/1"), &[], "").await.ok(204);
    tape.ask(&site, "Nothing", ("GET", "/v1/nothing"), &[], "").await.ok(404);
    tape.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals() {
    let mut tape = Tape::new("refusals");
    let token = |secret: &str, right| Token { secret: secret.into(), rights: [right].into_iter().collect() };
    let tokens = vec![token("reader-0123456789", Right::Read), token("writer-0123456789", Right::Write)];
    let guarded = site_with(config(Role::Master), Access::with_tokens(tokens));
    let list = ("GET", "/v1/docs");
    tape.ask(&guarded, "No token", list, &[], "").await.ok(401);
    tape.ask(&guarded, "An unknown token", list, &[("authorization", "Bearer x")], "").await.ok(401);
    let writer = ("authorization", "Bearer writer-0123456789");
    tape.ask(&guarded, "A token without the right", list, &[writer], "").await.ok(403);
    tape.ask(&guarded, "Without a token all the same", ("GET", "/openapi.json"), &[], "").await.ok(200);
    let open = site();
    tape.ask(&open, "Another name", list, &[("host", "evil.example")], "").await.ok(403);
    tape.ask(&open, "A foreign page", list, &[("origin", "http://evil.example")], "").await.ok(403);
    let replica = site_with(config(Role::Replica), Access::open());
    tape.ask(&replica, "A write on a replica", ("PUT", "/v1/docs/a"), &[JSON], "{}").await.ok(403);
    let full = site();
    full.disk.fill(0);
    tape.ask(&full, "A full disk", ("PUT", "/v1/docs/a"), &[JSON], "{}").await.ok(507);
    let failing = site();
    failing.put("/v1/docs/a", "{}").await.ok(201);
    failing.disk.fail_next(1);
    tape.ask(&failing, "A disk that fails", ("PUT", "/v1/docs/a"), &[JSON], r#"{"a":1}"#).await.ok(500);
    let stopped = site();
    stopped.node.stop().await;
    tape.ask(&stopped, "A node that stops", ("PUT", "/v1/docs/a"), &[JSON], "{}").await.ok(503);
    // What needs more than a request to come about.
    let fenced = NodeError::Fenced { reason: "a stored change does not match its hash".into() };
    let failed = NodeError::Edit(EditError::Failed { reason: "for the log only".into() });
    for (kind, problem) in [
        (&BUSY, NodeError::Busy.into()),
        (&FENCED, fenced.into()),
        (&FAILED, failed.into()),
        (&REFETCH, Problem::new(&REFETCH, "this node does not have what the cursor names")),
        (&TOO_MANY, Problem::new(&TOO_MANY, "a connection has at most 1000")),
        (&CROWDED, Problem::new(&CROWDED, "this node serves at most 10000 at once")),
        (&TOO_SLOW, Problem::new(&TOO_SLOW, "the whole body must arrive in time")),
    ] {
        let problem: Problem = problem;
        tape.note_as(&format!("`{}`", kind.name), &answer(problem).await);
    }
    tape.end();
}

async fn answer(problem: Problem) -> Answer {
    let (parts, body) = problem.into_response().into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}

#[test]
fn every_type_of_problem_is_among_the_exchanges() {
    if std::env::var_os("SYNCLINE_FIX").is_some() {
        // They are being written.
        return;
    }
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http/tests/exchanges");
    let files = std::fs::read_dir(folder).expect("the folder").flatten();
    let text: String = files.filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect();
    for kind in KINDS {
        assert!(text.contains(&format!("\"{}\"", kind.urn())), "no exchange shows {}", kind.name);
    }
}
