//! What a document has been through and holds: `GET /v1/docs/{id}/history`, `…/conflicts` and `…/changes`.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, LINK};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::value::RawValue;

use super::accept::AUTOMERGE;
use super::headers::{self, VERSION};
use super::problem::Problem;
use super::query::{self, Query};
use super::{raw, state, target};
use crate::base::limits::{HISTORY_PAGE, HISTORY_PAGE_MOST};
use crate::base::{DocId, Hash, Origin};
use crate::crdt::{Conflicts, Field, LeftOut, Past};
use crate::node::Node;

#[derive(Serialize)]
struct Page {
    changes: Vec<Row>,
    /// What `before` has to be for the next page, where there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Row {
    version: String,
    parents: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    node: Option<Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    operations: u64,
    what: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    more: bool,
    #[serde(skip_serializing_if = "is_false")]
    derived: bool,
    #[serde(skip_serializing_if = "is_false")]
    deleted: bool,
}

#[derive(Serialize)]
struct Place {
    id: String,
    incarnation: u32,
}

#[derive(Serialize)]
struct Clashes<'a> {
    conflicts: Vec<Conflict<'a>>,
    left_out: Vec<Unshown>,
    #[serde(skip_serializing_if = "is_false")]
    more: bool,
}

#[derive(Serialize)]
struct Conflict<'a> {
    path: String,
    /// The one that is shown.
    value: Option<&'a RawValue>,
    values: Vec<Candidate<'a>>,
}

#[derive(Serialize)]
struct Candidate<'a> {
    value: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<String>,
}

#[derive(Serialize)]
struct Unshown {
    change: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    author: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<String>,
    why: &'static str,
}

pub(super) async fn history(node: &Node, doc: &DocId, parts: &Parts) -> Result<Response, Problem> {
    let mut query = Query::of(&parts.uri)?;
    let limit = query.take_limit(HISTORY_PAGE, HISTORY_PAGE_MOST)?;
    let before: Option<Hash> = match query.take_version("before")?.as_deref() {
        None => None,
        Some([hash]) => Some(*hash),
        Some(_) => return Err(query::bad("before", "is the version of one change")),
    };
    query.end()?;
    let history = node.history(doc, limit, before).await?;
    let next = history.next.map(|hash| hash.to_string());
    let link = next
        .as_ref()
        .map(|next| format!("<{}/history?before={next}&limit={limit}>; rel=\"next\"", target::path(doc)));
    let page = Page { changes: history.changes.into_iter().map(row).collect(), next };
    let mut response = state(StatusCode::OK, &page)?;
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

pub(super) async fn conflicts(node: &Node, doc: &DocId, parts: &Parts) -> Result<Response, Problem> {
    let mut query = Query::of(&parts.uri)?;
    let at = query.take_version("at")?;
    query.end()?;
    let Conflicts { version, fields, left_out, more } = node.conflicts(doc, at).await?;
    let conflicts: Result<Vec<_>, Problem> = fields.iter().map(conflict).collect();
    let left_out = left_out.into_iter().map(|LeftOut { change, maker, why }| Unshown {
        change: change.to_string(),
        author: maker.author,
        time: maker.time,
        why: why.as_str(),
    });
    let mut response =
        state(StatusCode::OK, &Clashes { conflicts: conflicts?, left_out: left_out.collect(), more })?;
    response.headers_mut().insert(VERSION, headers::version(&version));
    Ok(response)
}

/// Raw changes, as `POST` takes them.
pub(super) async fn changes(node: &Node, doc: &DocId, parts: &Parts) -> Result<Response, Problem> {
    let mut query = Query::of(&parts.uri)?;
    let since = query.take_version("since")?;
    query.end()?;
    let (changes, version) = node.changes(doc, since).await?;
    let mut response = Response::new(Body::from(changes));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(AUTOMERGE));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(VERSION, headers::version(&version));
    Ok(response)
}

fn conflict(field: &Field) -> Result<Conflict<'_>, Problem> {
    let values = field.values.iter().map(|rival| {
        Ok(Candidate {
            value: raw(&rival.value)?,
            author: rival.maker.author.clone(),
            time: rival.maker.time.clone(),
            change: rival.change.map(|change| change.to_string()),
        })
    });
    let values: Vec<_> = values.collect::<Result<_, Problem>>()?;
    Ok(Conflict { path: field.path.clone(), value: values.first().map(|shown| shown.value), values })
}

fn row(past: Past) -> Row {
    let Past { hash, parents, maker, operations, touched, more, derived, deleted } = past;
    let place = |origin: Origin| Place { id: origin.node.to_string(), incarnation: origin.incarnation };
    Row {
        version: hash.to_string(),
        parents: parents.iter().map(Hash::to_string).collect(),
        author: maker.author,
        message: maker.message,
        node: maker.origin.map(place),
        time: maker.time,
        operations,
        what: touched,
        more,
        derived,
        deleted,
    }
}

fn is_false(value: &bool) -> bool {
    !value
}
