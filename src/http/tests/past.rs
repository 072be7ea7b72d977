//! What has been of a document.

use serde_json::{Value, json};

use super::{Site, call, site};
use crate::http::percent::encode;

#[tokio::test(flavor = "multi_thread")]
async fn a_history_tells_who_changed_what_and_when() {
    let site = site();
    site.put("/v1/docs/lists/a", r#"{"a": 1}"#).await.ok(201);
    let headers = [("content-type", "application/merge-patch+json"), ("author", "Ann")];
    let patch = site.ask(call("PATCH", "/v1/docs/lists/a", &headers, r#"{"b": {"c": 2}}"#)).await.ok(200);
    let answer = site.get("/v1/docs/lists/a/history").await.ok(200);
    assert!(!answer.headers.contains_key("link"));
    let rows = answer.json()["changes"].as_array().expect("rows").clone();
    assert_eq!(rows.len(), 3);
    let row = &rows[0];
    assert_eq!((&row["version"], &row["author"]), (&patch.json()["version"][0], &json!("Ann")));
    assert_eq!((&row["what"], &row["operations"]), (&json!(["/b/c"]), &json!(1)));
    let time: jiff::Timestamp = row["time"].as_str().expect("text").parse().expect("RFC 3339");
    assert!(time > jiff::Timestamp::UNIX_EPOCH);
    let cluster = site.get("/v1/cluster").await.json();
    assert_eq!(
        row["node"],
        json!({"id": cluster["node"], "incarnation": cluster["nodes"][0]["incarnation"]})
    );
    // Who says nothing is the node.
    assert_eq!((&rows[1]["author"], rows[1].get("derived")), (&json!("one"), None));
    assert_eq!((&rows[2]["derived"], rows[2].get("node")), (&json!(true), None));
    assert_eq!((&rows[2]["what"], rows[2].get("time")), (&json!(["/b"]), None));
    site.ask(call("HEAD", "/v1/docs/lists/a/history", &[], "")).await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_comes_in_pages_that_lead_to_each_other() {
    let site = site();
    let path = format!("/v1/docs/{}", encode("ü/a&"));
    for n in 0..5 {
        site.put(&path, &json!({"n": n}).to_string()).await;
    }
    let whole = site.get(&format!("{path}/history?limit=5")).await.ok(200);
    assert!(!whole.headers.contains_key("link"));
    let (mut page, mut found) = (format!("{path}/history?limit=2"), Vec::<Value>::new());
    loop {
        let answer = site.get(&page).await.ok(200);
        let body = answer.json();
        found.extend(body["changes"].as_array().expect("rows").iter().cloned());
        let Some(link) = answer.headers.get("link") else {
            assert!(body.get("next").is_none());
            break;
        };
        assert_eq!(body["next"], found.last().expect("a row")["version"]);
        let (address, rel) = link.to_str().expect("ASCII")[1..].split_once('>').expect("an address");
        assert_eq!(rel, "; rel=\"next\"");
        page = address.to_owned();
    }
    assert_eq!(Value::from(found), whole.json()["changes"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_history_is_asked_for_as_it_is_told() {
    let site = site();
    site.get("/v1/docs/a/history").await.problem(404, "not-found");
    site.put("/v1/docs/a", "{}").await.ok(201);
    let (one, two) = ("01".repeat(32), "02".repeat(32));
    site.get(&format!("/v1/docs/a/history?before={one}")).await.problem(404, "version-not-found");
    for query in ["before=x", "before=", &format!("before={one},{two}"), "limit=0", "limit=1001", "at=x"] {
        site.get(&format!("/v1/docs/a/history?{query}")).await.problem(400, "malformed");
    }
    let answer = site.put("/v1/docs/a/history", "{}").await;
    answer.problem(405, "method-not-allowed");
    assert_eq!(answer.header("allow"), "GET, HEAD, OPTIONS");
}

/// A document whose field `a` two people have written at once.
async fn contested(site: &Site) {
    let read = site.put("/v1/docs/a", r#"{"a": 1, "b": true}"#).await.ok(201);
    for (author, body) in [("Ann", r#"{"a": {"$text": "x"}}"#), ("Bob", r#"{"a": [2]}"#)] {
        let headers = [
            ("content-type", "application/merge-patch+json"),
            ("parents", read.header("version")),
            ("author", author),
        ];
        site.ask(call("PATCH", "/v1/docs/a", &headers, body)).await.ok(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conflicts_tell_every_value_until_a_plain_write_settles_them() {
    let site = site();
    contested(&site).await;
    let read = site.get("/v1/docs/a?typed=true").await.ok(200);
    let answer = site.get("/v1/docs/a/conflicts").await.ok(200);
    assert_eq!(answer.header("version"), read.header("version"));
    let body = answer.json();
    assert_eq!((&body["left_out"], body.get("more")), (&json!([]), None));
    let [conflict] = body["conflicts"].as_array().expect("conflicts").as_slice() else { panic!("{body}") };
    assert_eq!((&conflict["path"], &conflict["value"]), (&json!("/a"), &read.json()["a"]));
    assert_eq!(conflict["values"][0]["value"], conflict["value"]);
    let mut values: Vec<_> = conflict["values"].as_array().expect("values").iter().collect();
    values.sort_by_key(|value| value["author"].to_string());
    assert_eq!((&values[0]["author"], &values[0]["value"]), (&json!("Ann"), &json!({"$text": "x"})));
    assert_eq!((&values[1]["author"], &values[1]["value"]), (&json!("Bob"), &json!([2])));
    let history = site.get("/v1/docs/a/history").await.json();
    for value in values {
        let mut rows = history["changes"].as_array().expect("rows").iter();
        let row = rows.find(|row| row["version"] == value["change"]).expect("its change");
        assert_eq!((&row["author"], &row["time"]), (&value["author"], &value["time"]));
    }
    site.patch("/v1/docs/a", r#"{"a": 4}"#).await.ok(200);
    assert_eq!(site.get("/v1/docs/a/conflicts").await.json(), json!({"conflicts": [], "left_out": []}));
    let then = site.get(&format!("/v1/docs/a/conflicts?at={}", encode(read.header("version")))).await.ok(200);
    assert_eq!(then.json(), body);
    assert_eq!(then.header("version"), read.header("version"));
    let unknown = format!("/v1/docs/a/conflicts?at={}", "01".repeat(32));
    site.get(&unknown).await.problem(404, "version-not-found");
    site.get("/v1/docs/b/conflicts").await.problem(404, "not-found");
    site.put("/v1/docs/a/conflicts", "{}").await.problem(405, "method-not-allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_document_still_has_its_history() {
    let site = site();
    contested(&site).await;
    let version = site.get("/v1/docs/a").await.header("version").to_owned();
    site.ask(call("DELETE", "/v1/docs/a", &[("author", "Eve")], "")).await.ok(204);
    let rows = site.get("/v1/docs/a/history").await.ok(200).json();
    let row = &rows["changes"][0];
    assert_eq!((&row["author"], &row["deleted"], &row["what"]), (&json!("Eve"), &json!(true), &json!([])));
    assert!(rows["changes"][1].get("deleted").is_none());
    site.get("/v1/docs/a/conflicts").await.problem(410, "gone");
    let then = site.get(&format!("/v1/docs/a/conflicts?at={}", encode(&version))).await.ok(200);
    assert_eq!(then.json()["conflicts"].as_array().map(Vec::len), Some(1));
    assert_eq!(site.get("/v1/docs?include=value").await.ok(200).json(), json!({"documents": []}));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_value_that_is_shown_is_kept_by_putting_it_anew() {
    let site = site();
    contested(&site).await;
    let shown = site.get("/v1/docs/a?typed=true").await.json();
    let anew = json!([{"op": "delete", "path": "/a"}, {"op": "put", "path": "/a", "value": shown["a"]}]);
    let headers = [("content-type", "application/vnd.syncline.ops+json")];
    site.ask(call("PATCH", "/v1/docs/a", &headers, anew.to_string())).await.ok(200);
    assert_eq!(site.get("/v1/docs/a?typed=true").await.json(), shown);
    assert_eq!(site.get("/v1/docs/a/conflicts").await.json()["conflicts"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_that_one_node_gives_another_takes() {
    let (here, there) = (site(), site());
    contested(&here).await;
    let raw = [("content-type", "application/vnd.automerge")];
    let all = here.get("/v1/docs/a/changes").await.ok(200);
    assert_eq!(all.header("content-type"), "application/vnd.automerge");
    let then = all.header("version").to_owned();
    let posted = there.ask(call("POST", "/v1/docs/a/changes", &raw, all.body.clone())).await.ok(201);
    assert_eq!(posted.header("version"), then);
    here.patch("/v1/docs/a", r#"{"c": {"d": 1}}"#).await.ok(200);
    let since = |version: &str| format!("/v1/docs/a/changes?since={}", encode(version));
    let later = here.get(&since(&then)).await.ok(200);
    assert!(later.body.len() < all.body.len());
    there.ask(call("POST", "/v1/docs/a/changes", &raw, later.body.clone())).await.ok(200);
    let (mine, yours) = (here.get("/v1/docs/a").await, there.get("/v1/docs/a").await);
    assert_eq!((mine.header("version"), &mine.body), (yours.header("version"), &yours.body));
    assert_eq!(later.header("version"), mine.header("version"));
    // Who has all gets nothing.
    assert!(here.get(&since(mine.header("version"))).await.ok(200).body.is_empty());
    here.get(&since(&"01".repeat(32))).await.problem(404, "version-not-found");
    here.get("/v1/docs/a/changes?since=x").await.problem(400, "malformed");
    here.get("/v1/docs/b/changes").await.problem(404, "not-found");
}
