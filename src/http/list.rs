//! `GET /v1/docs`: documents in order of id bytes, a page at a time.

use axum::extract::State;
use axum::http::header::LINK;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;

use super::headers::etag;
use super::percent::encode;
use super::problem::Problem;
use super::query::{self, Query};
use super::state;
use crate::base::limits::{LIST_PAGE, LIST_PAGE_MOST};
use crate::base::{DocId, Hash, Millis};
use crate::node::{Form, Listed, Node};

#[derive(Serialize)]
struct Page {
    documents: Vec<Row>,
    /// What `after` has to be for the next page, where there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Row {
    id: String,
    version: Vec<String>,
    /// As in the header: of the JSON representation.
    etag: String,
    changes: u64,
    bytes: u64,
    created: String,
    modified: String,
}

pub(super) async fn answer(State(node): State<Node>, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri)?;
    let prefix = query.take("prefix").unwrap_or_default();
    let after = query.take("after");
    let limit = match query.take("limit") {
        None => LIST_PAGE,
        Some(text) => text
            .parse()
            .ok()
            .filter(|limit| (1..=LIST_PAGE_MOST).contains(limit))
            .ok_or_else(|| query::bad("limit", &format!("is a number from 1 to {LIST_PAGE_MOST}")))?,
    };
    query.end()?;
    let (listed, next) = node.list(prefix.clone(), after, limit).await?;
    let link = next.as_ref().map(|next| link(&prefix, next, limit));
    let page = Page { documents: listed.into_iter().map(row).collect(), next: next.map(|id| id.to_string()) };
    let mut response = state(StatusCode::OK, &page)?;
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

fn link(prefix: &str, after: &DocId, limit: usize) -> String {
    let prefix = if prefix.is_empty() { String::new() } else { format!("prefix={}&", encode(prefix)) };
    format!("</v1/docs?{prefix}after={}&limit={limit}>; rel=\"next\"", encode(after.as_str()))
}

fn row(listed: Listed) -> Row {
    let Listed { doc, heads, changes, bytes, created, modified } = listed;
    Row {
        id: doc.to_string(),
        version: heads.iter().map(Hash::to_string).collect(),
        etag: etag(&heads, Form::Json).to_str().unwrap_or_default().to_owned(),
        changes,
        bytes,
        created: rfc3339(created),
        modified: rfc3339(modified),
    }
}

fn rfc3339(time: Millis) -> String {
    let ms = i64::try_from(time.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX).to_string()
}
