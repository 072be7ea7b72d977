//! The description of `GET /v1/cluster`.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::Paths;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::ComponentsBuilder;

use super::CLUSTER;
use super::call::{Answer, Body, Call};
use super::shape::{named, with};
use crate::http::problem::{STOPPING, STORAGE};
use crate::node::ClusterView;

pub(super) fn add_to(paths: &mut Paths) {
    let example = json!({
        "cluster": "syncline", "node": "4be1…", "state": "converged",
        "nodes": [{
            "id": "4be1…", "name": "a", "role": "master", "url": "http://127.0.0.1:4380", "incarnation": 1,
            "vector": [["4be1…/1/9f02…", 12]], "digest": "77aa…", "links": ["b"], "behind": 0, "behind_ms": 0,
            "ahead": 0, "heard_ms": 0, "converged": true,
        }],
    });
    let body = Body::new("The cluster as this node sees it").json(named(&ClusterView::name()), example);
    Call::new(
        HttpMethod::Get,
        "/v1/cluster",
        "readCluster",
        "Tells of nodes, roles, links, vectors and lag, and whether all have the same",
    )
    .tag(CLUSTER)
    .answers(StatusCode::OK, Answer::new(body))
    .fails(&[&STORAGE, &STOPPING])
    .add_to(paths);
}

pub(super) fn shapes(components: ComponentsBuilder) -> ComponentsBuilder {
    with::<ClusterView>(components)
}
