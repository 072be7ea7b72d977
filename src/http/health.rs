//! `/livez` and `/readyz`: restart this process? send clients here? Neither needs a token.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::problem::Problem;
use super::state;
use crate::node::Node;

pub(super) const LIVE: &str = "/livez";
pub(super) const READY: &str = "/readyz";

pub(super) async fn live() -> Result<Response, Problem> {
    state(StatusCode::OK, &json!({ "live": true }))
}

pub(super) async fn ready(State(node): State<Node>) -> Result<Response, Problem> {
    let health = node.health();
    let status = if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    state(status, &health)
}
