//! Is all of it told, and nothing else?

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::Method;
use serde_json::Value;

use super::TEXT;
use crate::http::problem::{BAD_METHOD, KINDS, NO_ROUTE};
use crate::http::target::Part;
use crate::http::tests::metrics::watched;
use crate::http::tests::{call, routes as all_routes, site, snapshot};
use crate::http::{Access, Requests, metrics};

/// The router's pattern for a document, and for the id that is refused for being empty.
const DOCUMENT: &str = "/v1/docs/{*id}";
const EMPTY: &str = "/v1/docs/";

const METHODS: [Method; 6] =
    [Method::GET, Method::HEAD, Method::PUT, Method::PATCH, Method::POST, Method::DELETE];
const PARTS: [Part; 4] = [Part::Whole, Part::Changes, Part::History, Part::Conflicts];

fn described() -> Value {
    serde_json::from_str(&TEXT).expect("JSON")
}

/// Every path of the description, and the methods that it is described with.
fn calls() -> Vec<(String, BTreeSet<String>)> {
    let description = described();
    let paths = description["paths"].as_object().expect("paths");
    let methods =
        |item: &Value| item.as_object().expect("calls").keys().map(|name| name.to_uppercase()).collect();
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// As the description writes them. Exhaustive: whoever adds a part is sent to [`PARTS`].
fn path_of(part: Part) -> &'static str {
    match part {
        Part::Whole => "/v1/docs/{id}",
        Part::Changes => "/v1/docs/{id}/changes",
        Part::History => "/v1/docs/{id}/history",
        Part::Conflicts => "/v1/docs/{id}/conflicts",
    }
}

/// All patterns of a router. Axum tells them in its debug output only.
fn routes(router: &axum::Router) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    let own = shown.split("fallback_router").next().unwrap_or_default();
    let patterns = own.split("RouteId(").skip(1).filter_map(|rest| {
        let (_, path) = rest.split_once("): \"")?;
        let (id, _) = rest.split_once(')')?;
        id.parse::<u32>().ok()?;
        Some(path.split_once('"')?.0.to_owned())
    });
    patterns.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_is_described_and_nothing_else_is() {
    let site = site();
    let served = all_routes(site.node.clone(), Arc::new(Access::open()));
    let served = served.merge(metrics(site.node.clone(), Arc::new(Requests::new())));
    let routes = routes(&served);
    for known in [DOCUMENT, EMPTY, "/v1/docs", "/livez"] {
        assert!(routes.contains(known), "axum shows its routes in another way: {routes:?}");
    }
    let mut served: BTreeSet<String> =
        routes.into_iter().filter(|path| path != DOCUMENT && path != EMPTY).collect();
    served.extend(PARTS.map(|part| path_of(part).to_owned()));
    let described: BTreeSet<String> = calls().into_iter().map(|(path, _)| path).collect();
    assert_eq!(served, described);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_method_is_described_and_no_other_is_answered() {
    let site = watched();
    for (path, methods) in calls() {
        for method in METHODS {
            let answer = site.ask(call(method.as_str(), &path.replace("{id}", "a"), &[], "")).await;
            let is_there = answer.status != BAD_METHOD.status;
            assert_eq!(is_there, methods.contains(method.as_str()), "{method} {path}: {}", answer.status);
            if !is_there {
                let allowed = answer.header("allow").split(',').map(|name| name.trim().to_owned());
                let allowed: BTreeSet<_> = allowed.filter(|name| name != "OPTIONS").collect();
                assert_eq!(allowed, methods, "`Allow` of {path}");
            }
        }
    }
}

#[test]
fn every_type_of_problem_is_described() {
    let paths = described()["paths"].to_string();
    // What is answered where no call is described, or to a line of one.
    let elsewhere = [NO_ROUTE.name, BAD_METHOD.name];
    for kind in KINDS.iter().filter(|kind| !elsewhere.contains(&kind.name)) {
        assert!(paths.contains(&format!("\"{}\"", kind.urn())), "no call answers {}", kind.name);
    }
}

#[test]
fn calls_have_ids_of_their_own_and_a_tag_that_is_there() {
    let description = described();
    let tags: BTreeSet<&str> =
        description["tags"].as_array().expect("tags").iter().filter_map(|tag| tag["name"].as_str()).collect();
    let mut ids = BTreeSet::new();
    for item in description["paths"].as_object().expect("paths").values() {
        for call in item.as_object().expect("calls").values() {
            let id = call["operationId"].as_str().expect("an id");
            assert!(ids.insert(id.to_owned()), "{id} is there twice");
            assert!(tags.contains(call["tags"][0].as_str().expect("a tag")), "{id}");
        }
    }
}

#[test]
fn every_shape_that_is_named_is_there() {
    let shapes = described();
    let named = TEXT.split("\"#/components/schemas/").skip(1).filter_map(|rest| rest.split('"').next());
    for name in named {
        assert!(shapes["components"]["schemas"].get(name).is_some(), "{name}");
    }
}

#[test]
fn the_description_in_the_documents_is_this_one() {
    snapshot::agree("docs/openapi.json", &TEXT);
}
