//! The description of `GET /metrics`.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::Paths;
use utoipa::openapi::path::HttpMethod;

use super::CLUSTER;
use super::call::{Answer, Body, Call};
use super::shape::text;
use crate::http::metrics::{PATH, TEXT};

pub(super) fn add_to(paths: &mut Paths) {
    let example = "# HELP syncline_ready 1 where `/readyz` answers 200, else 0\n\
                   # TYPE syncline_ready gauge\n\
                   syncline_ready 1\n";
    let body = Body::new("Prometheus' text format").of(TEXT, text(), json!(example));
    Call::new(HttpMethod::Get, PATH, "readMetrics", "Tells what the node counts, for Prometheus")
        .tag(CLUSTER)
        .text("Every name is told in the documents, under operations.")
        .answers(StatusCode::OK, Answer::new(body))
        .add_to(paths);
}
