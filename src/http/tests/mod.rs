//! Every route and every error of docs/rest.md, asked through the guarded router of a node in memory.

mod answers;
mod bulk;
mod callers;
mod documents;
mod exchanges;
mod feed;
pub(super) mod metrics;
mod past;
mod patches;
mod refusals;
mod resources;
mod serve;
pub(super) mod snapshot;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};
use bytes::Bytes;
use http_body_util::BodyExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Access, Guarded, Requests, guard, live, router};
use crate::base::{Bounds, Role};
use crate::node::{Node, NodeConfig};
use crate::store::MemoryStore;

/// A node, and the disk under it.
pub(super) struct Site {
    pub node: Node,
    disk: MemoryStore,
    routes: Guarded,
}

pub(super) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

fn config(role: Role) -> NodeConfig {
    NodeConfig {
        name: "one".into(),
        role,
        cluster: "test".into(),
        url: None,
        has_peers: false,
        workers: 2,
        bounds: Bounds::default(),
        keep_deleted: Duration::from_secs(3_600),
    }
}

fn site_with(config: NodeConfig, access: Access) -> Site {
    let disk = MemoryStore::new();
    let node = Node::start(config, Arc::new(disk.clone())).expect("a node");
    let access = Arc::new(access);
    let routes = guard(routes(node.clone(), access.clone()), access);
    Site { node, disk, routes }
}

/// All that is described.
pub(super) fn routes(node: Node, access: Arc<Access>) -> Router {
    let live =
        live(node.clone(), access, Arc::new(Requests::new()), CancellationToken::new(), TaskTracker::new());
    router(node).merge(live)
}

pub(super) fn site() -> Site {
    site_with(config(Role::Master), Access::open())
}

/// A call, in the words of a command line.
pub(super) fn call(
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Body>,
) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path).body(body.into()).expect("a request");
    request.headers_mut().insert("host", HeaderValue::from_static("localhost:4380"));
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a header's name");
        request.headers_mut().insert(name, HeaderValue::from_str(value).expect("a header's value"));
    }
    request
}

impl Site {
    pub async fn ask(&self, request: Request<Body>) -> Answer {
        let response = crate::http::answer::answer(self.routes.clone(), request).await.expect("infallible");
        let (parts, body) = response.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(call("GET", path, &[], "")).await
    }

    async fn put(&self, path: &str, body: &str) -> Answer {
        self.ask(call("PUT", path, &[("content-type", "application/json")], body.to_owned())).await
    }

    async fn patch(&self, path: &str, body: &str) -> Answer {
        let headers = [("content-type", "application/merge-patch+json")];
        self.ask(call("PATCH", path, &headers, body.to_owned())).await
    }
}

impl Answer {
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {:?}", self.headers));
        value.to_str().expect("ASCII")
    }

    #[track_caller]
    fn json(&self) -> Value {
        assert!(self.header("content-type").ends_with("json"));
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// Asserts that it is the problem of that name, and gives it.
    #[track_caller]
    fn problem(&self, status: u16, name: &str) -> Value {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status.as_u16(), status, "{text}");
        assert_eq!(self.header("content-type"), "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:syncline:problem:{name}"), "{text}");
        assert_eq!(problem["status"], status);
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{text}");
        problem
    }

    #[track_caller]
    fn ok(self, status: u16) -> Self {
        assert_eq!(self.status.as_u16(), status, "{}", String::from_utf8_lossy(&self.body));
        self
    }
}
