//! Documents read and written.

use automerge::Automerge;
use serde_json::json;

use super::{call, site};

#[tokio::test(flavor = "multi_thread")]
async fn a_put_creates_and_then_replaces() {
    let site = site();
    let created = site.put("/v1/docs/lists/a%20b", r#"{"a": 1, "b": [true]}"#).await.ok(201);
    assert_eq!(created.header("location"), "/v1/docs/lists/a%20b");
    assert_eq!(created.header("version"), created.header("current-version"));
    let hash = created.header("version").trim_matches('"');
    assert_eq!(created.json(), json!({"created": true, "version": [hash], "current": [hash]}));

    let read = site.get("/v1/docs/lists/a%20b").await.ok(200);
    assert_eq!(read.json(), json!({"a": 1, "b": [true]}));
    assert_eq!(read.header("content-type"), "application/json");
    assert_eq!(read.header("version"), created.header("version"));
    assert_eq!(read.header("etag"), created.header("etag"));
    assert!(!read.headers.contains_key("conflicts"));

    let replaced = site.put("/v1/docs/lists/a%20b", r#"{"a": 2}"#).await.ok(200);
    assert!(!replaced.headers.contains_key("location"));
    assert_ne!(replaced.header("version"), created.header("version"));
    assert_eq!(site.get("/v1/docs/lists/a%20b").await.json(), json!({"a": 2}));

    let same = site.put("/v1/docs/lists/a%20b", r#"{"a": 2}"#).await.ok(200);
    assert_eq!(same.header("version"), replaced.header("version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_object_is_a_document() {
    let site = site();
    site.put("/v1/docs/a", "{}").await.ok(201);
    site.patch("/v1/docs/b", "{}").await.ok(201);
    for path in ["/v1/docs/a", "/v1/docs/b"] {
        assert_eq!(site.get(path).await.ok(200).json(), json!({}));
        assert_eq!(site.put(path, "{}").await.ok(200).json()["created"], false);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_may_end_like_a_part_of_a_document() {
    let site = site();
    let created = site.put("/v1/docs/a%2Fchanges", "{}").await.ok(201);
    assert_eq!(created.header("location"), "/v1/docs/a%2Fchanges");
    site.get(created.header("location")).await.ok(200);
    site.put("/v1/docs/changes", "{}").await.ok(201);
    let list = site.get("/v1/docs").await.json();
    let ids: Vec<_> = list["documents"].as_array().expect("rows").iter().map(|row| &row["id"]).collect();
    assert_eq!(ids, ["a/changes", "changes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_representation_has_its_own_tag() {
    let site = site();
    site.put("/v1/docs/a", r#"{"note": {"$text": "hi"}, "n": {"$counter": 3}}"#).await.ok(201);
    let plain = site.get("/v1/docs/a").await.ok(200);
    assert_eq!(plain.json(), json!({"note": "hi", "n": 3}));
    let typed = site.get("/v1/docs/a?typed=true").await.ok(200);
    assert_eq!(typed.json(), json!({"note": {"$text": "hi"}, "n": {"$counter": 3}}));
    let binary = site.ask(call("GET", "/v1/docs/a", &[("accept", "application/vnd.automerge")], "")).await;
    assert_eq!(binary.header("content-type"), "application/vnd.automerge");
    let heads = Automerge::load(&binary.body).expect("a saved document").get_heads();
    assert_eq!(binary.header("version"), format!("\"{}\"", heads[0]));
    let tags = [plain.header("etag"), typed.header("etag"), binary.header("etag")];
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
    for answer in [&plain, &typed, &binary] {
        assert_eq!(answer.header("vary"), "Accept, Accept-Encoding");
        assert_eq!(answer.header("version"), plain.header("version"));
    }
    site.get("/v1/docs/a?typed=yes").await.problem(400, "malformed");
    let html = site.ask(call("GET", "/v1/docs/a", &[("accept", "text/html")], "")).await;
    html.problem(406, "not-acceptable");
}

#[tokio::test(flavor = "multi_thread")]
async fn head_tells_what_get_would() {
    let site = site();
    site.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    let get = site.get("/v1/docs/a").await.ok(200);
    let head = site.ask(call("HEAD", "/v1/docs/a", &[], "")).await.ok(200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("content-length"), get.body.len().to_string());
    assert_eq!(head.header("etag"), get.header("etag"));
    assert_eq!(site.ask(call("HEAD", "/v1/docs/none", &[], "")).await.status.as_u16(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_it_already_gets_304_until_it_changes() {
    let site = site();
    let created = site.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    let ask = |path: &'static str, tag: &str| site.ask(call("GET", path, &[("if-none-match", tag)], ""));
    let tag = created.header("etag");
    let unmodified = ask("/v1/docs/a", tag).await.ok(304);
    assert!(unmodified.body.is_empty());
    assert_eq!(unmodified.header("etag"), tag);
    assert_eq!(unmodified.header("version"), created.header("version"));
    ask("/v1/docs/a?typed=true", tag).await.ok(200);
    site.patch("/v1/docs/a", r#"{"a": 2}"#).await.ok(200);
    ask("/v1/docs/a", tag).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_past_can_be_read() {
    let site = site();
    let first = site.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    site.patch("/v1/docs/a", r#"{"a": 2}"#).await.ok(200);
    let hash = first.header("version").trim_matches('"');
    for at in [hash.to_owned(), format!("%22{hash}%22")] {
        let past = site.get(&format!("/v1/docs/a?at={at}")).await.ok(200);
        assert_eq!(past.json(), json!({"a": 1}));
        assert_eq!(past.header("version"), first.header("version"));
        assert_eq!(past.header("etag"), first.header("etag"));
    }
    let never = "00".repeat(32);
    site.get(&format!("/v1/docs/a?at={never}")).await.problem(404, "version-not-found");
    for at in ["", "x", &hash[1..]] {
        let problem = site.get(&format!("/v1/docs/a?at={at}")).await.problem(400, "malformed");
        assert_eq!(problem["parameter"], "at");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_patch_creates_sets_and_removes() {
    let site = site();
    let created = site.patch("/v1/docs/a", r#"{"a": {"b": 1}, "c": 2}"#).await.ok(201);
    assert_eq!(created.header("location"), "/v1/docs/a");
    site.patch("/v1/docs/a", r#"{"a": {"d": 3}, "c": null}"#).await.ok(200);
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"a": {"b": 1, "d": 3}}));
}

#[tokio::test(flavor = "multi_thread")]
async fn typed_operations_are_one_change_or_none() {
    let site = site();
    let ops = |body: &'static str| {
        site.ask(call("PATCH", "/v1/docs/a", &[("content-type", "application/vnd.syncline.ops+json")], body))
    };
    ops(r#"[{"op": "put", "path": "/n", "value": {"$counter": 1}}, {"op": "increment", "path": "/n", "by": 2}]"#)
        .await
        .ok(201);
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"n": 3}));
    let refused =
        ops(r#"[{"op": "increment", "path": "/n", "by": 2}, {"op": "delete", "path": "/x/y"}]"#).await;
    assert!(refused.problem(422, "refused")["pointer"].is_string());
    ops(r#"[{"op": "jump", "path": "/n"}]"#).await.problem(422, "refused");
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"n": 3}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_at_what_was_read_loses_nobodys_update() {
    let site = site();
    let read = site.put("/v1/docs/a", r#"{"mine": 1, "theirs": 1}"#).await.ok(201);
    let theirs = site.patch("/v1/docs/a", r#"{"theirs": 2}"#).await.ok(200);
    let json = ("content-type", "application/json");
    let parents = ("parents", read.header("version"));
    let body = r#"{"mine": 2, "theirs": 1}"#;
    let mine = site.ask(call("PUT", "/v1/docs/a", &[json, parents], body)).await.ok(200);
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"mine": 2, "theirs": 2}));
    let hash = |answer: &super::Answer| answer.header("version").trim_matches('"').to_owned();
    let mut both = [hash(&mine), hash(&theirs)];
    both.sort();
    assert_eq!(mine.header("current-version"), format!("\"{}\", \"{}\"", both[0], both[1]));
    assert_eq!(mine.json()["current"], json!(both));
    // Without them it is the last word.
    site.put("/v1/docs/a", body).await.ok(200);
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"mine": 2, "theirs": 1}));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_values_of_one_field_are_counted_until_one_is_written_even_the_one_that_is_shown() {
    let site = site();
    let read = site.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    site.patch("/v1/docs/a", r#"{"a": 2}"#).await.ok(200);
    let headers = [("content-type", "application/json"), ("parents", read.header("version"))];
    site.ask(call("PUT", "/v1/docs/a", &headers, r#"{"a": 3}"#)).await.ok(200);
    let shown = site.get("/v1/docs/a").await;
    assert_eq!(shown.header("conflicts"), "1");
    let body = String::from_utf8(shown.body.to_vec()).expect("JSON");
    let settled = site.put("/v1/docs/a", &body).await.ok(200);
    assert_ne!(settled.header("version"), shown.header("version"));
    let read = site.get("/v1/docs/a").await;
    assert_eq!(read.body, shown.body);
    assert!(!read.headers.contains_key("conflicts"));
    // Now it changes nothing.
    assert_eq!(site.put("/v1/docs/a", &body).await.header("version"), settled.header("version"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_is_not_here_is_waited_for_and_then_503() {
    let site = site();
    site.put("/v1/docs/a", "{}").await.ok(201);
    let unknown = format!("\"{}\"", "00".repeat(32));
    let put = |parents: &str| {
        let headers = [("content-type", "application/json"), ("parents", parents), ("prefer", "wait=0")];
        site.ask(call("PUT", "/v1/docs/a", &headers, r#"{"a": 1}"#))
    };
    let late = put(&unknown).await;
    late.problem(503, "not-yet-converged");
    assert_eq!(late.header("retry-after"), "1");
    assert_eq!(put("yesterday").await.problem(400, "malformed")["header"], "parents");
    let here = site.get("/v1/docs/a").await;
    put(here.header("version")).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn parents_of_nothing_mean_that_nobody_was_seen() {
    let site = site();
    let put = |body: &'static str| {
        let headers = [("content-type", "application/json"), ("parents", "")];
        site.ask(call("PUT", "/v1/docs/a", &headers, body))
    };
    put(r#"{"a": 1}"#).await.ok(201);
    put(r#"{"b": 2}"#).await.ok(200);
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"a": 1, "b": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_guards_a_write() {
    let site = site();
    let put = |name: &'static str, value: &str, body: &'static str| {
        site.ask(call("PUT", "/v1/docs/a", &[("content-type", "application/json"), (name, value)], body))
    };
    put("if-match", "*", "{}").await.problem(412, "precondition-failed");
    let first = put("if-none-match", "*", r#"{"a": 1}"#).await.ok(201);
    let exists = put("if-none-match", "*", r#"{"a": 2}"#).await.problem(412, "precondition-failed");
    assert_eq!(exists["current"], first.json()["version"]);
    let second = put("if-match", first.header("etag"), r#"{"a": 2}"#).await.ok(200);
    put("if-match", first.header("etag"), r#"{"a": 3}"#).await.problem(412, "precondition-failed");
    let typed = site.get("/v1/docs/a?typed=true").await;
    assert_eq!(typed.header("version"), second.header("version"));
    put("if-match", typed.header("etag"), r#"{"a": 3}"#).await.ok(200);
    assert_eq!(put("if-match", "bare", "{}").await.problem(400, "malformed")["header"], "if-match");
    assert_eq!(site.get("/v1/docs/a").await.json(), json!({"a": 3}));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_author_is_kept_with_the_change() {
    let site = site();
    let json = ("content-type", "application/json");
    site.ask(call("PUT", "/v1/docs/a", &[json, ("author", "Ann Droid")], r#"{"a": 1}"#)).await.ok(201);
    let long = "x".repeat(129);
    let refused = site.ask(call("PUT", "/v1/docs/a", &[json, ("author", &long)], r#"{"a": 2}"#)).await;
    assert_eq!(refused.problem(400, "malformed")["header"], "author");
    let saved = site.ask(call("GET", "/v1/docs/a", &[("accept", "application/vnd.automerge")], "")).await;
    let doc = Automerge::load(&saved.body).expect("a saved document");
    let changes = doc.get_changes(&[]);
    let messages: Vec<_> = changes.iter().filter_map(|change| change.message()).collect();
    assert!(messages.iter().any(|message| message.contains("Ann Droid")), "{messages:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_changes_are_taken_once_what_they_hang_on_is_here() {
    // Another node's: changes by an actor of its own a node takes from nobody.
    let (site, other) = (site(), site());
    other.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    let second = other.patch("/v1/docs/a", r#"{"a": 2}"#).await.ok(200);
    let saved = other.ask(call("GET", "/v1/docs/a", &[("accept", "application/vnd.automerge")], "")).await;
    let doc = Automerge::load(&saved.body).expect("a saved document");
    let changes = doc.get_changes(&[]);
    let last = changes.last().expect("a change");
    let post = |path: &'static str, body: Vec<u8>| {
        site.ask(call("POST", path, &[("content-type", "application/vnd.automerge")], body))
    };

    let missing = post("/v1/docs/b/changes", last.raw_bytes().to_vec()).await;
    let missing = missing.problem(409, "missing-dependencies");
    let deps: Vec<String> = last.deps().iter().map(ToString::to_string).collect();
    assert_eq!(missing["missing"], json!(deps));
    site.get("/v1/docs/b").await.problem(404, "not-found");

    let copied = post("/v1/docs/b/changes", saved.body.to_vec()).await.ok(201);
    assert_eq!(copied.header("location"), "/v1/docs/b");
    assert_eq!(copied.header("current-version"), second.header("version"));
    assert_eq!(site.get("/v1/docs/b").await.json(), json!({"a": 2}));
    post("/v1/docs/b/changes", last.raw_bytes().to_vec()).await.ok(200);

    post("/v1/docs/b/changes", b"garbage".to_vec()).await.problem(422, "change-refused");
    for name in ["parents", "author", "if-match", "if-none-match"] {
        let guarded = site.ask(call("POST", "/v1/docs/b/changes", &[(name, "*")], saved.body.clone())).await;
        assert_eq!(guarded.problem(400, "malformed")["header"], name);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_document_is_gone_until_somebody_writes_it_again() {
    let site = site();
    site.ask(call("DELETE", "/v1/docs/a", &[], "")).await.problem(404, "not-found");
    let written = site.put("/v1/docs/a", r#"{"old": 1}"#).await.ok(201);
    site.put("/v1/docs/b", "{}").await.ok(201);
    let deleted = site.ask(call("DELETE", "/v1/docs/a", &[], "")).await.ok(204);
    assert!(deleted.body.is_empty());
    assert_eq!(deleted.header("version"), deleted.header("current-version"));

    let gone = site.get("/v1/docs/a").await;
    gone.problem(410, "gone");
    let hash = deleted.header("version").trim_matches('"');
    assert_eq!(gone.json()["version"], json!([hash]));
    site.ask(call("DELETE", "/v1/docs/a", &[], "")).await.problem(410, "gone");
    let list = site.get("/v1/docs").await.json();
    assert_eq!(list["documents"].as_array().map(Vec::len), Some(1), "{list}");
    let past = percent(written.header("version"));
    assert_eq!(site.get(&format!("/v1/docs/a?at={past}")).await.ok(200).json(), json!({"old": 1}));

    site.patch("/v1/docs/a", r#"{"new": 2}"#).await.ok(201);
    assert_eq!(site.get("/v1/docs/a").await.ok(200).json(), json!({"new": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_may_be_guarded_and_may_name_what_was_seen() {
    let site = site();
    let first = site.put("/v1/docs/a", r#"{"n": 1}"#).await.ok(201);
    let second = site.patch("/v1/docs/a", r#"{"m": 2}"#).await.ok(200);
    let guarded = |tag: &str| call("DELETE", "/v1/docs/a", &[("if-match", tag)], "");
    site.ask(guarded(first.header("etag"))).await.problem(412, "precondition-failed");
    // Who has seen the first version only deletes no more than that.
    let parents = [("parents", first.header("version"))];
    let merged = site.ask(call("DELETE", "/v1/docs/a", &parents, "")).await.ok(204);
    assert_ne!(merged.header("version"), merged.header("current-version"));
    assert_eq!(site.get("/v1/docs/a").await.ok(200).json(), json!({"n": 1, "m": 2}));
    let now = site.get("/v1/docs/a").await;
    assert_ne!(now.header("etag"), second.header("etag"));
    site.ask(guarded(now.header("etag"))).await.ok(204);
    site.get("/v1/docs/a").await.problem(410, "gone");
}

fn percent(text: &str) -> String {
    crate::http::percent_encode(text)
}
