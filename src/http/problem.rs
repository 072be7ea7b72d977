//! The one map from what can go wrong to what is answered: `application/problem+json` (RFC 9457).
//!
//! `type` is `urn:syncline:problem:` and a name of the table below; it never changes. What only the operator
//! can use (paths, the storage's own words) goes to the log, not to the caller.

use axum::body::{Body, HttpBody};
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value};

use crate::base::{DocIdError, Hash};
use crate::crdt::{AdmitError, EditError, JsonError};
use crate::node::NodeError;

/// What all answers of one `type` share.
#[derive(Debug)]
pub(super) struct Kind {
    pub status: StatusCode,
    pub name: &'static str,
    pub title: &'static str,
}

/// One answer that is no success.
#[derive(Debug)]
pub(super) struct Problem {
    kind: &'static Kind,
    detail: String,
    members: Vec<(&'static str, Value)>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

macro_rules! kinds {
    ($($kind:ident = $status:ident, $name:literal, $title:literal;)*) => {
        $(pub(super) static $kind: Kind = Kind { status: StatusCode::$status, name: $name, title: $title };)*

        pub(super) static KINDS: &[&Kind] = &[$(&$kind),*];
    };
}

kinds! {
    MALFORMED = BAD_REQUEST, "malformed", "The request cannot be read";
    NOT_JSON = BAD_REQUEST, "not-json", "The body is not JSON";
    NO_TOKEN = UNAUTHORIZED, "no-token", "A token is needed";
    NO_RIGHT = FORBIDDEN, "no-right", "The token lacks the right";
    BAD_HOST = FORBIDDEN, "host-not-allowed", "This node does not answer to that name";
    BAD_ORIGIN = FORBIDDEN, "origin-not-allowed", "Pages of that origin may not use this node";
    READ_ONLY = FORBIDDEN, "read-only", "This node is a replica";
    NOT_FOUND = NOT_FOUND, "not-found", "There is no such document";
    GONE = GONE, "gone", "The document was deleted";
    NO_VERSION = NOT_FOUND, "version-not-found", "The document has no such version here";
    NO_ROUTE = NOT_FOUND, "no-such-resource", "There is nothing at this path";
    BAD_METHOD = METHOD_NOT_ALLOWED, "method-not-allowed", "That method does not apply here";
    NOT_ACCEPTABLE = NOT_ACCEPTABLE, "not-acceptable", "There is no such representation";
    TOO_SLOW = REQUEST_TIMEOUT, "too-slow", "The body took too long";
    MISSING = CONFLICT, "missing-dependencies", "Changes that these depend on are missing";
    REFETCH = GONE, "refetch", "The cursor cannot be gone on from";
    TEST_FAILED = CONFLICT, "test-failed", "A test of the patch failed";
    NOT_UPGRADED = UPGRADE_REQUIRED, "not-a-websocket", "This takes WebSockets only";
    TOO_MANY = TOO_MANY_REQUESTS, "too-many-subscriptions", "The connection has too many subscriptions";
    PRECONDITION = PRECONDITION_FAILED, "precondition-failed", "The document has another version";
    TOO_LARGE = PAYLOAD_TOO_LARGE, "too-large", "The body is too large";
    MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "The body's media type is not taken here";
    REFUSED = UNPROCESSABLE_ENTITY, "refused", "The document cannot take this";
    BAD_ID = UNPROCESSABLE_ENTITY, "bad-id", "This cannot be a document's id";
    BAD_CHANGE = UNPROCESSABLE_ENTITY, "change-refused", "A change is not one that can be taken";
    FAILED = INTERNAL_SERVER_ERROR, "failed", "The write failed, and nothing of it was kept";
    STORAGE = INTERNAL_SERVER_ERROR, "storage-failed", "Storage failed: the outcome of a write is unknown";
    FENCED = INTERNAL_SERVER_ERROR, "fenced", "Stored data of this document is damaged";
    NOT_CONVERGED = SERVICE_UNAVAILABLE, "not-yet-converged", "That version has not arrived here yet";
    BUSY = SERVICE_UNAVAILABLE, "busy", "Too many requests wait for this document";
    CROWDED = SERVICE_UNAVAILABLE, "too-many-subscribers", "Too many clients have subscribed here";
    STOPPING = SERVICE_UNAVAILABLE, "stopping", "The node is stopping";
    FULL = INSUFFICIENT_STORAGE, "storage-full", "The node's disk is full";
}

/// Seconds after which a client may ask again.
const RETRY: HeaderValue = HeaderValue::from_static("1");

impl Kind {
    /// What `type` says.
    pub fn urn(&self) -> String {
        format!("urn:syncline:problem:{}", self.name)
    }
}

impl Problem {
    pub fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into(), members: Vec::new(), headers: Vec::new() }
    }

    pub fn with(mut self, member: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((member, value.into()));
        self
    }

    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The same, of a value that stands at `outer` in what was sent.
    pub fn under(mut self, outer: &str) -> Self {
        for (member, value) in &mut self.members {
            if let ("pointer", Value::String(pointer)) = (*member, value) {
                pointer.insert_str(0, outer);
            }
        }
        self
    }

    pub fn status(&self) -> StatusCode {
        self.kind.status
    }

    /// The JSON object that tells it.
    pub fn body(self) -> Value {
        let Kind { status, title, .. } = self.kind;
        let mut body = Map::new();
        body.insert("type".into(), self.kind.urn().into());
        body.insert("title".into(), (*title).into());
        body.insert("status".into(), status.as_u16().into());
        body.insert("detail".into(), self.detail.into());
        body.extend(self.members.into_iter().map(|(member, value)| (member.to_owned(), value)));
        Value::Object(body)
    }

    pub(super) fn again(self) -> Self {
        self.header(RETRY_AFTER, RETRY)
    }
}

impl IntoResponse for Problem {
    fn into_response(mut self) -> Response {
        let (status, more) = (self.status(), std::mem::take(&mut self.headers));
        let text = self.body().to_string();
        let mut response = Response::new(Body::from(text.clone()));
        *response.status_mut() = status;
        response.extensions_mut().insert(Told(text));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.extend(more);
        response
    }
}

/// A problem's body, kept beside it until its request's id is put in.
#[derive(Clone)]
struct Told(String);

/// Puts the request's id into the body of a problem; leaves other answers alone.
pub(super) fn name_request(response: &mut Response, id: &HeaderValue) {
    let Some(Told(mut text)) = response.extensions_mut().remove() else { return };
    text.pop();
    text.push_str(",\"request\":");
    text.push_str(&Value::from(id.to_str().unwrap_or_default()).to_string());
    text.push('}');
    response.headers_mut().insert(CONTENT_LENGTH, text.len().into());
    // An answer to HEAD has lost its body already.
    if response.body().size_hint().exact() != Some(0) {
        *response.body_mut() = Body::from(text);
    }
}

/// The answer is to be something else.
pub(super) fn forget(response: &mut Response) {
    response.extensions_mut().remove::<Told>();
}

impl From<NodeError> for Problem {
    fn from(error: NodeError) -> Self {
        let detail = error.to_string();
        match error {
            NodeError::NotFound => Self::new(&NOT_FOUND, detail),
            NodeError::Gone { version } => Self::new(&GONE, detail).with("version", hashes(&version)),
            NodeError::VersionNotFound => Self::new(&NO_VERSION, detail),
            NodeError::NotYetConverged => Self::new(&NOT_CONVERGED, detail).again(),
            NodeError::PreconditionFailed { current } => {
                Self::new(&PRECONDITION, detail).with("current", hashes(&current))
            }
            NodeError::Edit(error) => error.into(),
            NodeError::Admit(AdmitError::Missing { hashes: missing }) => {
                Self::new(&MISSING, detail).with("missing", hashes(&missing))
            }
            NodeError::Admit(AdmitError::Refused { hash, reason }) => {
                let problem = Self::new(&BAD_CHANGE, reason);
                match hash {
                    Some(hash) => problem.with("change", hash.to_string()),
                    None => problem,
                }
            }
            NodeError::ReadOnly { masters } => {
                Self::new(&READ_ONLY, "write to a master, and read here").with("masters", masters)
            }
            NodeError::Busy => Self::new(&BUSY, detail).again(),
            NodeError::StorageFull => Self::new(&FULL, "nothing was written; reads go on"),
            NodeError::Fenced { reason } => Self::new(&FENCED, reason),
            NodeError::Storage { reason } => {
                tracing::error!(%reason, "a request failed, as storage did");
                Self::new(&STORAGE, "the node's log says more")
            }
            NodeError::Stopping => Self::new(&STOPPING, detail).again(),
        }
    }
}

impl From<EditError> for Problem {
    fn from(error: EditError) -> Self {
        let detail = error.to_string();
        match error {
            EditError::TestFailed { pointer } => Self::new(&TEST_FAILED, detail).with("pointer", pointer),
            EditError::Refused { pointer, reason } => refused(pointer, reason),
            EditError::Failed { reason } => {
                tracing::error!(%reason, "an edit failed");
                Self::new(&FAILED, "the node's log says more")
            }
        }
    }
}

impl From<JsonError> for Problem {
    fn from(error: JsonError) -> Self {
        match error {
            JsonError::Syntax(reason) => Self::new(&NOT_JSON, reason),
            JsonError::Refused { pointer, reason } => refused(pointer, reason),
        }
    }
}

impl From<DocIdError> for Problem {
    fn from(error: DocIdError) -> Self {
        Self::new(&BAD_ID, error.to_string())
    }
}

/// The answer to what is understood and cannot be. `pointer` is a JSON pointer into the request, or a path.
pub(super) fn refused(pointer: impl Into<Value>, reason: impl Into<String>) -> Problem {
    Problem::new(&REFUSED, reason).with("pointer", pointer)
}

fn hashes(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(Hash::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_documented_with_its_status() {
        let text = include_str!("../../docs/rest.md");
        for kind in KINDS {
            let row = format!("| `{}` | {} |", kind.name, kind.status.as_u16());
            assert!(text.contains(&row), "docs/rest.md lacks {row}");
        }
    }

    /// Status, type and, where it has one, a member beyond the usual.
    fn shown(error: NodeError) -> (u16, String, Option<Value>) {
        let problem = Problem::from(error);
        let member = problem.members.first().map(|(_, value)| value.clone());
        (problem.kind.status.as_u16(), problem.kind.name.to_owned(), member)
    }

    #[test]
    fn every_error_of_a_node_has_its_answer() {
        let (reason, hash) = ("/secret/path".to_owned(), Hash([1; 32]));
        let hex = "01".repeat(32);
        let pointer = "/a".to_owned();
        let cases = [
            (NodeError::NotFound, 404, "not-found", None),
            (NodeError::VersionNotFound, 404, "version-not-found", None),
            (NodeError::NotYetConverged, 503, "not-yet-converged", None),
            (
                NodeError::PreconditionFailed { current: [hash].into_iter().collect() },
                412,
                "precondition-failed",
                Some(vec![hex.clone()].into()),
            ),
            (EditError::Refused { pointer, reason: "no".into() }.into(), 422, "refused", Some("/a".into())),
            (EditError::TestFailed { pointer: "/b".into() }.into(), 409, "test-failed", Some("/b".into())),
            (EditError::Failed { reason: reason.clone() }.into(), 500, "failed", None),
            (
                AdmitError::Missing { hashes: vec![hash] }.into(),
                409,
                "missing-dependencies",
                Some(vec![hex.clone()].into()),
            ),
            (
                AdmitError::Refused { hash: Some(hash), reason: "no".into() }.into(),
                422,
                "change-refused",
                Some(hex.into()),
            ),
            (AdmitError::Refused { hash: None, reason: "no".into() }.into(), 422, "change-refused", None),
            (
                NodeError::ReadOnly { masters: vec!["http://a".into()] },
                403,
                "read-only",
                Some(vec!["http://a"].into()),
            ),
            (NodeError::Busy, 503, "busy", None),
            (NodeError::StorageFull, 507, "storage-full", None),
            (NodeError::Fenced { reason: "damaged".into() }, 500, "fenced", None),
            (NodeError::Storage { reason }, 500, "storage-failed", None),
            (NodeError::Stopping, 503, "stopping", None),
        ];
        for (error, status, name, member) in cases {
            assert_eq!(shown(error.clone()), (status, name.to_owned(), member), "{error}");
            let problem = Problem::from(error);
            assert!(!problem.detail.contains("secret"), "{problem:?}");
            let may_retry = problem.headers.iter().any(|(name, _)| *name == RETRY_AFTER);
            assert_eq!(may_retry, status == 503, "{problem:?}");
        }
    }

    #[test]
    fn no_type_is_there_twice() {
        let names: std::collections::BTreeSet<_> = KINDS.iter().map(|kind| kind.name).collect();
        assert_eq!(names.len(), KINDS.len());
    }
}
