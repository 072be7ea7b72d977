//! Who may ask.

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::get;

use super::{Answer, Site, call, config, site, site_with};
use crate::base::Role;
use crate::http::{Access, Right, Token, guard};

const READER: &str = "reader-0123456789";
const WRITER: &str = "writer-0123456789";
const PEER: &str = "peer-0123456789ab";

fn tokens() -> Vec<Token> {
    [(READER, Right::Read), (WRITER, Right::Write), (PEER, Right::Peer)]
        .map(|(secret, right)| Token { secret: secret.into(), rights: [right].into_iter().collect() })
        .into()
}

fn site_of(access: Access) -> Site {
    site_with(config(Role::Master), access)
}

async fn ask(site: &Site, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    site.ask(call(method, path, headers, if method == "PUT" { "[]" } else { "" })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_tokens_answers_to_loopback_only() {
    let open = site();
    for host in ["localhost", "127.0.0.1:4380", "[::1]:4380"] {
        ask(&open, "GET", "/v1/docs", &[("host", host)]).await.ok(200);
    }
    // A page whose name was made to mean this machine: same origin for the browser, and still no.
    let rebound = [("host", "evil.example:4380"), ("origin", "http://evil.example:4380")];
    for path in ["/v1/docs", "/livez", "/nothing"] {
        ask(&open, "GET", path, &rebound).await.problem(403, "host-not-allowed");
    }
    ask(&open, "GET", "/v1/docs", &[("host", "no host")]).await.problem(400, "malformed");
    let mut without = call("GET", "/v1/docs", &[], "");
    without.headers_mut().remove("host");
    open.ask(without).await.problem(400, "malformed");
    let mut twice = call("GET", "/v1/docs", &[], "");
    twice.headers_mut().append("host", "localhost".parse().expect("a value"));
    open.ask(twice).await.problem(400, "malformed");
    // The name in the request line is what counts.
    let absolute = call("GET", "http://evil.example/v1/docs", &[], "");
    open.ask(absolute).await.problem(403, "host-not-allowed");

    let named = site_of(Access::open().allow_hosts(vec!["db.example".into()]));
    ask(&named, "GET", "/v1/docs", &[("host", "db.example:4380")]).await.ok(200);
    ask(&named, "GET", "/v1/docs", &[("host", "evil.example")]).await.problem(403, "host-not-allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_page_may_not_even_ask() {
    let site = site();
    for origin in ["http://evil.example", "null", "http://localhost:3000", "http://localhost", "file://", ""]
    {
        let answer = ask(&site, "GET", "/v1/docs", &[("origin", origin)]).await;
        answer.problem(403, "origin-not-allowed");
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{origin}");
    }
    for origin in ["http://localhost:4380", "https://localhost:4380"] {
        let answer = ask(&site, "GET", "/v1/docs", &[("origin", origin)]).await.ok(200);
        assert!(!answer.headers.contains_key("access-control-allow-origin"), "{origin}");
    }
    let preflight = [("origin", "http://evil.example"), ("access-control-request-method", "PUT")];
    ask(&site, "OPTIONS", "/v1/docs/a", &preflight).await.problem(403, "origin-not-allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_page_is_let_in_and_may_read_the_answer() {
    let access = Access::with_tokens(tokens()).allow_origins(vec!["https://app.example/".into()]);
    let site = site_of(access);
    let page = ("origin", "https://app.example");
    let preflight =
        ask(&site, "OPTIONS", "/v1/docs/a", &[page, ("access-control-request-method", "PUT")]).await;
    assert_eq!(preflight.status, StatusCode::NO_CONTENT);
    assert!(preflight.header("access-control-allow-methods").contains("PUT"));
    assert!(preflight.header("access-control-allow-headers").contains("Parents"));
    // The page may read why it was refused, too.
    let bearer = ("authorization", "Bearer reader-0123456789");
    for (headers, status) in [(vec![page, bearer], 200), (vec![page], 401)] {
        let answer = ask(&site, "GET", "/v1/docs", &headers).await.ok(status);
        assert_eq!(answer.header("access-control-allow-origin"), "https://app.example");
        assert!(answer.header("access-control-expose-headers").contains("Current-Version"));
        assert!(answer.headers.get_all("vary").iter().any(|value| value == "Origin"));
    }
    let other = ask(&site, "GET", "/v1/docs", &[("origin", "https://app.example.evil"), bearer]).await;
    other.problem(403, "origin-not-allowed");
    let plain = ask(&site, "GET", "/v1/docs", &[bearer]).await.ok(200);
    assert!(!plain.headers.contains_key("access-control-allow-origin"));
    assert_eq!(plain.header("vary"), "Origin");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_needed_and_gives_its_rights_only() {
    let site = site_of(Access::with_tokens(tokens()));
    let absent = ask(&site, "GET", "/v1/docs", &[]).await;
    absent.problem(401, "no-token");
    assert_eq!(absent.header("www-authenticate"), "Bearer");
    for value in ["Bearer unknown-0123456789", "Bearer", "Basic cmVhZGVyOng=", "reader-0123456789", ""] {
        let answer = ask(&site, "GET", "/v1/docs", &[("authorization", value)]).await;
        answer.problem(401, "no-token");
        assert_eq!(answer.header("www-authenticate"), "Bearer error=\"invalid_token\"");
    }
    let with = |token: &str| format!("bearer  {token}");
    let (reader, writer, peer) = (with(READER), with(WRITER), with(PEER));
    for path in ["/v1/docs", "/v1/cluster"] {
        ask(&site, "GET", path, &[("authorization", &reader)]).await.ok(200);
        for token in [&writer, &peer] {
            let answer = ask(&site, "GET", path, &[("authorization", token)]).await;
            assert_eq!(answer.problem(403, "no-right")["right"], "read");
        }
    }
    // Let in by the guard, and then refused for what it is.
    ask(&site, "PUT", "/v1/docs/a", &[("authorization", &writer)]).await.problem(422, "refused");
    for token in [&reader, &peer] {
        let answer = ask(&site, "PUT", "/v1/docs/a", &[("authorization", token)]).await;
        assert_eq!(answer.problem(403, "no-right")["right"], "write");
    }
    ask(&site, "GET", "/nothing", &[]).await.problem(401, "no-token");
    for path in ["/livez", "/readyz"] {
        ask(&site, "GET", path, &[("host", "lb.example")]).await.ok(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_upgrades_are_guarded_alike() {
    let links = Router::new().route("/v1/peer", get(|| async { "linked" }));
    let mut site = site();
    let inner = crate::http::router(site.node.clone()).merge(links);
    site.routes = guard(inner, Arc::new(Access::with_tokens(tokens())));
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")];
    let ask = |extra: &[(&'static str, &'static str)]| {
        let headers: Vec<_> = upgrade.iter().chain(extra).copied().collect();
        site.ask(call("GET", "/v1/peer", &headers, ""))
    };
    ask(&[]).await.problem(401, "no-token");
    ask(&[("authorization", "Bearer reader-0123456789")]).await.problem(403, "no-right");
    let peer = ("authorization", "Bearer peer-0123456789ab");
    assert_eq!(ask(&[peer]).await.ok(200).body, "linked");
    ask(&[peer, ("origin", "http://evil.example")]).await.problem(403, "origin-not-allowed");
    let other = site.ask(call("POST", "/v1/peer", &[peer], "")).await;
    other.problem(405, "method-not-allowed");
    assert_eq!(other.header("allow"), "GET, HEAD, OPTIONS");
}
