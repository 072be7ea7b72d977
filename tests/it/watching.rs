//! What a node tells those who watch it: metrics, and logs.

use serde_json::json;

use crate::cluster::{Cluster, Master, Replica, eventually};

fn metrics(cluster: &Cluster, name: &str) -> String {
    String::from_utf8(cluster.client(name).get("/metrics").expect(200).body).expect("text")
}

/// The value after these first letters of a line.
fn value(text: &str, start: &str) -> Option<f64> {
    text.lines().find(|line| line.starts_with(start))?.rsplit(' ').next()?.parse().ok()
}

#[test]
fn the_metrics_of_a_node_tell_of_its_requests_links_and_disk() {
    let cluster = Cluster::start(&[("a", Master), ("r", Replica)], &[("r", "a")]);
    let mut client = cluster.client("a");
    client.put("/v1/docs/x", &json!({ "n": 1 })).expect(201);
    client.get("/v1/docs/y").expect(404);
    let linked = eventually("a link of which all is known", || {
        let text = metrics(&cluster, "a");
        let behind = value(&text, "syncline_link_behind_changes{peer=\"r\"");
        let round_trip = value(&text, "syncline_link_round_trip_seconds{peer=\"r\"");
        let head = value(&text, "syncline_log_head ");
        (behind == Some(0.0) && round_trip.is_some_and(|s| s > 0.0) && head > Some(0.0)).then_some(text)
    });
    let at_least = |start: &str, least: f64| {
        let found = value(&linked, start);
        assert!(found >= Some(least), "{start} {found:?} in\n{linked}");
    };
    at_least("syncline_http_requests_total{route=\"/v1/docs/{id}\",method=\"PUT\",status=\"2xx\"}", 1.0);
    at_least("syncline_http_requests_total{route=\"/v1/docs/{id}\",method=\"GET\",status=\"4xx\"}", 1.0);
    at_least("syncline_http_requests_in_flight ", 1.0);
    at_least("syncline_http_connections ", 1.0);
    at_least("syncline_link_sent_bytes_total{peer=\"r\"", 100.0);
    at_least("syncline_link_received_frames_total{peer=\"r\"", 2.0);
    at_least("syncline_rocksdb_memtable_bytes{family=\"log\"}", 1.0);
    at_least("syncline_links ", 1.0);
    if cfg!(target_os = "linux") {
        at_least("process_resident_memory_bytes ", 1e6);
    }
}

#[test]
fn a_link_that_comes_and_goes_is_told_at_info_and_requests_are_not() {
    let mut cluster = Cluster::start(&[("a", Master), ("b", Master)], &[("b", "a")]);
    let logged = |cluster: &Cluster, what: &str| cluster.log("a").contains(what).then_some(());
    eventually("the link", || logged(&cluster, "linked"));
    cluster.client("a").put("/v1/docs/x", &json!({})).expect(201);
    cluster.kill("b");
    eventually("its end", || logged(&cluster, "link lost"));
    let log = cluster.log("a");
    assert!(log.contains("serving") && !log.contains("/v1/docs"), "{log}");
}

#[test]
fn a_request_is_one_line_at_debug_without_what_may_be_secret() {
    let mut cluster = Cluster::prepare(&[("a", Master)], &[]);
    cluster.arguments("a", &["--log", "info,syncline::http=debug"]);
    cluster.launch("a");
    cluster.client("a").get("/v1/docs?prefix=private").expect(200);
    let line = eventually("a line", || {
        cluster.log("a").lines().find(|line| line.contains("route=")).map(str::to_owned)
    });
    for what in ["method=GET", "/v1/docs", "status=200", "ms="] {
        assert!(line.contains(what), "{what}: {line}");
    }
    assert!(!line.contains("private"), "{line}");
}
