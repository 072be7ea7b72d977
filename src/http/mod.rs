//! REST: one file a resource, the one map from errors to answers, and who may ask.
//!
//! - `documents`, `past`, `bulk`, `list`, `cluster`, `health`, `metrics`: what can be asked
//! - `live`: what can be followed
//! - `target`, `query`, `headers`, `accept`, `prefer`, `body`, `percent`: how it is read
//! - `problem`: every answer that is no success
//! - `answer`, `compress`, `request_id`: what holds of every answer
//! - `access`, `guard`: who may ask
//! - `openapi`, `page`: the description of all of it, for programs and for people
//! - `serve`, `stall`: connections; `requests`: what is counted of them
//!
//! [`router`] answers, [`guard`] stands before it and before whatever else the node serves, [`serve`] runs both
//! on a listener.

mod accept;
mod access;
mod answer;
mod body;
mod bulk;
mod cluster;
mod compress;
mod documents;
mod guard;
mod headers;
mod health;
mod list;
mod live;
mod metrics;
mod openapi;
mod page;
mod past;
mod percent;
mod prefer;
mod problem;
mod process;
mod query;
mod request_id;
mod requests;
mod serve;
mod stall;
mod target;
#[cfg(test)]
mod tests;

pub use access::{Access, Right, Rights, Token, TokenFileError, TokenProblem, read_tokens};
pub use guard::{Guarded, guard};
pub use live::router as live;
pub use metrics::router as metrics;
pub use percent::encode as percent_encode;
pub use requests::Requests;
pub use serve::{Bounds, serve};
pub use target::path as document_path;

use axum::Router;
use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::{any, get, post};
use serde::Serialize;
use serde_json::value::RawValue;

use self::problem::{BAD_METHOD, FAILED, NO_ROUTE, Problem};
use crate::node::Node;

/// All routes of REST and of health, open to everybody: see [`guard`]. Links between nodes are another room's.
pub fn router(node: Node) -> Router {
    Router::new()
        .route("/v1/docs", get(list::answer))
        .route("/v1/docs/", any(documents::answer))
        .route("/v1/docs/{*id}", any(documents::answer))
        .route(bulk::PATH, post(bulk::answer).fallback(bulk::bad_method))
        .route("/v1/cluster", get(cluster::answer))
        .route(health::LIVE, get(health::live))
        .route(health::READY, get(health::ready))
        .route(openapi::PATH, get(openapi::answer))
        .route(page::PATH, get(page::answer))
        .fallback(nothing_here)
        .with_state(node)
}

/// An answer that tells how things stand now.
fn state(status: StatusCode, state: &impl Serialize) -> Result<Response, Problem> {
    let body = serde_json::to_vec(state).map_err(|error| Problem::new(&FAILED, error.to_string()))?;
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(accept::JSON));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// JSON that a document has been rendered to, as part of an answer.
fn raw(json: &[u8]) -> Result<&RawValue, Problem> {
    serde_json::from_slice(json).map_err(|error| Problem::new(&FAILED, error.to_string()))
}

/// The router itself adds `Allow`; of `OPTIONS`, see `answer`.
async fn bad_method(method: Method) -> Problem {
    Problem::new(&BAD_METHOD, format!("{method} does not apply here"))
}

async fn nothing_here(method: Method, uri: Uri) -> Problem {
    // `OPTIONS *` asks about the node as a whole.
    if uri.path() == "*" {
        return bad_method(method).await.header(ALLOW, guard::METHODS);
    }
    Problem::new(&NO_ROUTE, format!("there is nothing at {:?}", uri.path()))
}
