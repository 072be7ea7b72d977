//! What is counted, and that the documentation tells all of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Site, call, config, routes, site_with};
use crate::base::Role;
use crate::http::{Access, Requests, guard, metrics};

pub fn watched() -> Site {
    let site = site_with(config(Role::Master), Access::open());
    let routes = routes(site.node.clone(), Arc::new(Access::open()));
    let routes = routes.merge(metrics(site.node.clone(), Arc::new(Requests::new())));
    Site { routes: guard(routes, Arc::new(Access::open())), ..site }
}

async fn text(site: &Site) -> String {
    let answer = site.get("/metrics").await.ok(200);
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    String::from_utf8(answer.body.to_vec()).expect("text")
}

/// The rows of the table, from the text: name, type, unit, meaning.
fn rows(text: &str) -> Vec<String> {
    let of = |word: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix(word)?.split_once(' '));
        lines.map(|(name, rest)| (name.to_owned(), rest.to_owned())).collect()
    };
    let (kinds, meanings) = (of("# TYPE "), of("# HELP "));
    assert_eq!(kinds.len(), meanings.len());
    let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let row = |name: &str| {
        let plain = name.trim_end_matches("_total");
        let unit = ["seconds", "bytes"].into_iter().find(|unit| plain.ends_with(unit)).unwrap_or("");
        format!("| `{name}` | {} | {unit} | {} |", kinds[name], meanings[name])
    };
    names.map(row).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_in_the_table_of_the_documentation_and_nothing_else_is() {
    let documents = include_str!("../../../docs/operations.md");
    let table = documents
        .lines()
        .filter(|line| ["| `syncline_", "| `process_"].iter().any(|of| line.starts_with(of)));
    let (table, wanted) = (table.collect::<Vec<_>>(), rows(&text(&watched()).await));
    assert!(table == wanted, "docs/operations.md should have these rows:\n{}", wanted.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_and_documents_are_counted() {
    let site = watched();
    let value = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse::<f64>().expect("a number")
    };
    let before = text(&site).await;
    assert_eq!(value(&before, "syncline_commit_entries_sum"), 0.0);
    site.put("/v1/docs/a", "{}").await.ok(201);
    site.patch("/v1/docs/a", r#"{"n": 1}"#).await.ok(200);
    let after = text(&site).await;
    assert!(value(&after, "syncline_commit_entries_sum") >= 2.0);
    assert!(value(&after, "syncline_fsync_duration_seconds_count") >= 2.0);
    assert!(value(&after, "syncline_commit_duration_seconds_count") >= 2.0);
    assert!(value(&after, "syncline_commit_bytes_total") > 0.0);
    assert_eq!(value(&after, "syncline_cache_documents"), 1.0);
    // What is new needs no load.
    assert_eq!(value(&after, "syncline_load_duration_seconds_count"), 0.0);
    assert_eq!(value(&after, "syncline_ready"), 1.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_only_read() {
    let site = watched();
    site.ask(call("PUT", "/metrics", &[], "")).await.problem(405, "method-not-allowed");
    site.ask(call("HEAD", "/metrics", &[], "")).await.ok(200);
}
