//! `GET /v1/cluster`: nodes, roles, links, vectors, lag, and whether all have the same.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::problem::Problem;
use super::state;
use crate::node::Node;

pub(super) async fn answer(State(node): State<Node>) -> Result<Response, Problem> {
    state(StatusCode::OK, &node.cluster().await?)
}
