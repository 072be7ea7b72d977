//! Lists, the cluster, health.

use serde_json::json;

use super::{call, config, site, site_with};
use crate::base::Role;
use crate::base::limits::LIST_VALUE_BYTES;
use crate::http::Access;
use crate::node::NodeConfig;

#[tokio::test(flavor = "multi_thread")]
async fn a_list_tells_enough_to_read_on() {
    let site = site();
    assert_eq!(site.get("/v1/docs").await.ok(200).json(), json!({"documents": []}));
    let put = site.put("/v1/docs/a", r#"{"a": 1}"#).await.ok(201);
    let list = site.get("/v1/docs").await.ok(200);
    assert!(!list.headers.contains_key("link"));
    let row = &list.json()["documents"][0];
    assert_eq!(row["id"], "a");
    assert_eq!(row["version"], put.json()["version"]);
    assert_eq!(row["etag"], put.header("etag"));
    assert!(row["changes"].as_u64() >= Some(1) && row["bytes"].as_u64() > Some(0));
    assert_eq!(row["created"], row["modified"]);
    let time: jiff::Timestamp = row["created"].as_str().expect("text").parse().expect("RFC 3339");
    assert!(time > jiff::Timestamp::UNIX_EPOCH);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_comes_in_pages_that_lead_to_each_other() {
    let site = site();
    let mut ids: Vec<String> = (0..7).map(|n| format!("p/ü {n}&")).collect();
    for id in ids.iter().chain(&["other".to_owned()]) {
        site.put(&format!("/v1/docs/{}", crate::http::percent::encode(id)), "{}").await.ok(201);
    }
    let mut page = "/v1/docs?prefix=p%2F&limit=3".to_owned();
    let (mut found, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let answer = site.get(&page).await.ok(200);
        let body = answer.json();
        let rows = body["documents"].as_array().expect("rows");
        sizes.push(rows.len());
        found.extend(rows.iter().map(|row| row["id"].as_str().expect("an id").to_owned()));
        let Some(link) = answer.headers.get("link") else {
            assert!(body.get("next").is_none());
            break;
        };
        assert_eq!(body["next"], found.last().expect("a row").as_str());
        let link = link.to_str().expect("ASCII");
        let (address, rel) = link.trim_start_matches('<').split_once('>').expect("an address");
        assert_eq!(rel, "; rel=\"next\"");
        page = address.to_owned();
    }
    ids.sort();
    assert_eq!((found, sizes), (ids, vec![3, 3, 1]));
    // A page that just fits leads nowhere.
    assert!(!site.get("/v1/docs?limit=8").await.ok(200).headers.contains_key("link"));
    let after = site.get("/v1/docs?after=other&limit=1").await.json();
    assert_eq!(after["documents"][0]["id"], "p/ü 0&");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_is_a_number_within_its_bounds() {
    let site = site();
    for limit in ["0", "-1", "x", "", "10001", "99999999999999999999"] {
        let problem = site.get(&format!("/v1/docs?limit={limit}")).await.problem(400, "malformed");
        assert_eq!(problem["parameter"], "limit");
    }
    site.get("/v1/docs?limit=1").await.ok(200);
    site.get("/v1/docs?limit=10000").await.ok(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_is_shown() {
    let site = site();
    let answer = site.get("/v1/cluster").await.ok(200);
    assert_eq!(answer.header("cache-control"), "no-store");
    let view = answer.json();
    assert_eq!((&view["cluster"], &view["state"]), (&json!("test"), &json!("converged")));
    assert_eq!(view["nodes"][0]["id"], view["node"]);
    assert_eq!((&view["nodes"][0]["name"], &view["nodes"][0]["role"]), (&json!("one"), &json!("master")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_ready_once_it_has_caught_up() {
    let alone = site();
    assert_eq!(alone.get("/livez").await.ok(200).json(), json!({"live": true}));
    assert_eq!(alone.get("/readyz").await.ok(200).json()["ready"], true);
    alone.ask(call("HEAD", "/readyz", &[], "")).await.ok(200);
    let lonely = site_with(NodeConfig { has_peers: true, ..config(Role::Master) }, Access::open());
    lonely.get("/livez").await.ok(200);
    let answer = lonely.get("/readyz").await.ok(503).json();
    assert_eq!(answer["ready"], false);
    assert!(answer["reason"].is_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_values_ends_a_page_where_they_are_large() {
    let site = site();
    let body = |id: &str| json!({"id": id, "text": "x".repeat(LIST_VALUE_BYTES / 3)});
    let ids = ["p/a", "p/b", "p/c", "p/d"];
    for id in ids {
        site.put(&format!("/v1/docs/{id}"), &body(id).to_string()).await.ok(201);
    }
    let mut page = "/v1/docs?prefix=p%2F&include=value".to_owned();
    let mut sizes = Vec::new();
    let mut found = Vec::new();
    loop {
        let answer = site.get(&page).await.ok(200);
        let rows = answer.json()["documents"].as_array().expect("rows").clone();
        sizes.push(rows.len());
        for row in rows {
            assert_eq!(row["value"], body(row["id"].as_str().expect("an id")));
            let read = site.get(&format!("/v1/docs/{}", row["id"].as_str().expect("an id"))).await;
            assert_eq!(row["etag"], read.header("etag"));
            found.push(row["id"].clone());
        }
        let Some(link) = answer.headers.get("link") else { break };
        let link = link.to_str().expect("ASCII");
        page = link[1..].split_once('>').expect("an address").0.to_owned();
    }
    // A page may end sooner where reading takes long.
    assert!(sizes.len() > 1 && sizes.iter().all(|size| (1..=3).contains(size)), "{sizes:?}");
    assert_eq!(found, ids.map(|id| json!(id)));
    assert!(site.get("/v1/docs").await.json()["documents"][0].get("value").is_none());
    site.get("/v1/docs?include=all").await.problem(400, "malformed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_has_typed_values_where_they_are_asked_for() {
    let site = site();
    let typed = json!({"n": {"$counter": 2}, "t": {"$text": "x"}});
    for id in ["p/a", "p/b"] {
        site.put(&format!("/v1/docs/{id}"), &typed.to_string()).await.ok(201);
    }
    for (query, value) in [("&typed=true", typed), ("&typed=false", json!({"n": 2, "t": "x"}))] {
        let answer = site.get(&format!("/v1/docs?prefix=p%2F&limit=1&include=value{query}")).await.ok(200);
        let row = &answer.json()["documents"][0];
        let alone = site.get(&format!("/v1/docs/p/a?{}", &query[1..])).await.ok(200);
        assert_eq!((&row["value"], row["etag"].as_str()), (&value, Some(alone.header("etag"))));
        let next = answer.header("link")[1..].split_once('>').expect("an address").0;
        let row = &site.get(next).await.ok(200).json()["documents"][0];
        assert_eq!((&row["id"], &row["value"]), (&json!("p/b"), &value));
    }
    let problem = site.get("/v1/docs?typed=true").await.problem(400, "malformed");
    assert_eq!(problem["parameter"], "typed");
}
