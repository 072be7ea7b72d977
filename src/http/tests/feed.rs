//! The feed of changes.

use axum::http::StatusCode;
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{Answer, Site, call, site};

async fn page(site: &Site, query: &str) -> Value {
    site.get(&format!("/v1/changes?{query}")).await.ok(200).json()
}

fn docs(page: &Value) -> Vec<String> {
    let of = |change: &Value| change["doc"].as_str().expect("a document").to_owned();
    page["changes"].as_array().expect("changes").iter().map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_the_feed_are_gone_on_from_until_one_is_up_to_date() {
    let site = site();
    for n in 0..7 {
        site.put(&format!("/v1/docs/d{n}"), "{}").await.ok(201);
    }
    site.put("/v1/docs/other", "{}").await.ok(201);
    let (mut since, mut told, mut pages) = ("0".to_owned(), Vec::new(), 0);
    loop {
        let page = page(&site, &format!("prefix=d&limit=3&since={since}")).await;
        told.extend(docs(&page));
        pages += 1;
        since = page["cursor"].as_str().expect("a cursor").to_owned();
        if page["up_to_date"] == true {
            break;
        }
        assert_eq!(docs(&page).len(), 3);
    }
    assert_eq!(told, ["d0", "d1", "d2", "d3", "d4", "d5", "d6"]);
    assert!((3..=4).contains(&pages), "{pages}");
    let nothing = page(&site, &format!("since={since}")).await;
    assert_eq!((docs(&nothing), &nothing["up_to_date"]), (vec![], &json!(true)));
    // What has changed since comes a page at a time, too.
    for n in 0..5 {
        site.put(&format!("/v1/docs/d{n}"), "{\"new\":1}").await.ok(200);
    }
    let some = page(&site, &format!("limit=2&since={since}")).await;
    assert_eq!((docs(&some).len(), &some["up_to_date"]), (2, &json!(false)));
    let cursor = some["cursor"].as_str().expect("a cursor");
    assert_eq!(docs(&page(&site, &format!("since={cursor}")).await), ["d2", "d3", "d4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_tells_values_and_deletions() {
    let site = site();
    site.put("/v1/docs/a", "{\"n\":1}").await.ok(201);
    let all = page(&site, "include=value").await;
    assert_eq!(all["changes"][0]["value"], json!({"n": 1}));
    assert_eq!(all["changes"][0]["type"], "snapshot");
    let version = site.get("/v1/docs/a").await.header("version").to_owned();
    assert_eq!(format!("\"{}\"", all["changes"][0]["version"][0].as_str().expect("a hash")), version);
    site.ask(call("DELETE", "/v1/docs/a", &[], "")).await.ok(204);
    let cursor = all["cursor"].as_str().expect("a cursor");
    let after = page(&site, &format!("since={cursor}")).await;
    assert_eq!((docs(&after), &after["changes"][0]["type"]), (vec!["a".into()], &json!("deleted")));
    // Who has never heard of it need not hear that it is gone.
    assert_eq!(docs(&page(&site, "since=0").await), [""; 0]);
    assert_eq!(docs(&page(&site, "since=now").await), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_is_answered_when_something_changes() {
    let site = site();
    let cursor = page(&site, "").await["cursor"].as_str().expect("a cursor").to_owned();
    let path = format!("/v1/changes?feed=longpoll&since={cursor}");
    let (answer, _) = tokio::join!(site.get(&path), site.put("/v1/docs/a", "{}"));
    assert_eq!(docs(&answer.ok(200).json()), ["a"]);
}

/// The beginning of an answer that does not end, as far as `until`.
async fn beginning(site: &Site, path: &str, headers: &[(&str, &str)], until: &str) -> (Answer, String) {
    let response = crate::http::answer::answer(site.routes.clone(), call("GET", path, headers, ""));
    let response = response.await.expect("infallible");
    let (parts, mut body) = response.into_parts();
    let mut text = String::new();
    while !text.contains(until) {
        let frame = body.frame().await.expect("more").expect("no fault");
        text.push_str(std::str::from_utf8(frame.data_ref().expect("data")).expect("text"));
    }
    (Answer { status: parts.status, headers: parts.headers, body: bytes::Bytes::new() }, text)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_feed_tells_what_is_there_and_then_what_changes() {
    let site = site();
    site.put("/v1/docs/a", "{}").await.ok(201);
    let (answer, lines) = beginning(&site, "/v1/changes?feed=ndjson", &[], "up-to-date").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), "application/x-ndjson");
    let kinds: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["type"].clone())
        .collect();
    assert_eq!(kinds, ["notify", "up-to-date"]);

    let (answer, events) = beginning(&site, "/v1/changes?feed=sse", &[], "event: up-to-date").await;
    assert_eq!(answer.header("content-type"), "text/event-stream");
    assert!(events.starts_with("event: notify\ndata: {\"type\":\"notify\",\"doc\":\"a\""), "{events}");
    let id = events.split("id: ").nth(1).and_then(|rest| rest.split('\n').next()).expect("an id");
    site.put("/v1/docs/b", "{}").await.ok(201);
    let last = [("last-event-id", id)];
    let (_, more) = beginning(&site, "/v1/changes?feed=sse&since=0", &last, "event: up-to-date").await;
    assert!(more.contains("\"doc\":\"b\"") && !more.contains("\"doc\":\"a\""), "{more}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_feed_is_refused() {
    let site = site();
    for query in
        ["feed=x", "include=x", "since=x", "since=", "limit=0", "limit=99999", "feed=sse&limit=3", "what=1"]
    {
        site.get(&format!("/v1/changes?{query}")).await.problem(400, "malformed");
    }
    for headers in [&[][..], &[("upgrade", "websocket")]] {
        site.ask(call("GET", "/v1/subscribe", headers, "")).await.problem(426, "not-a-websocket");
    }
    let other = site_of("elsewhere");
    other.put("/v1/docs/a", "{}").await.ok(201);
    let foreign = page(&other, "").await["cursor"].as_str().expect("a cursor").to_owned();
    site.get(&format!("/v1/changes?since={foreign}")).await.problem(400, "malformed");
}

fn site_of(cluster: &str) -> Site {
    let config =
        crate::node::NodeConfig { cluster: cluster.into(), ..super::config(crate::base::Role::Master) };
    super::site_with(config, crate::http::Access::open())
}
