//! `GET /v1/docs`: documents in order of id bytes, a page at a time.

use axum::extract::State;
use axum::http::header::LINK;
use axum::http::{HeaderValue, StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::value::RawValue;

use super::headers::etag;
use super::percent::encode;
use super::problem::Problem;
use super::query::{self, Query};
use super::{raw, state};
use crate::base::limits::{LIST_PAGE, LIST_PAGE_MOST, LIST_VALUE_BYTES};
use crate::base::{DocId, Hash, Millis};
use crate::node::{Form, Listed, Node, NodeError, Read};

#[derive(Serialize)]
struct Page<'a> {
    documents: Vec<Row<'a>>,
    /// What `after` has to be for the next page, where there is more.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

#[derive(Serialize)]
struct Row<'a> {
    id: String,
    version: Vec<String>,
    /// As in the header: of the JSON representation.
    etag: String,
    changes: u64,
    bytes: u64,
    created: String,
    modified: String,
    /// Where it is asked for, and the document can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a RawValue>,
}

pub(super) async fn answer(State(node): State<Node>, uri: Uri) -> Result<Response, Problem> {
    let mut query = Query::of(&uri)?;
    let prefix = query.take("prefix").unwrap_or_default();
    let after = query.take("after");
    let limit = query.take_limit(LIST_PAGE, LIST_PAGE_MOST)?;
    let values = match query.take("include").as_deref() {
        None => false,
        Some("value") => true,
        Some(_) => return Err(query::bad("include", "is value")),
    };
    query.end()?;
    let (mut listed, mut next) = node.list(prefix.clone(), after, limit).await?;
    let mut bodies = Vec::new();
    if values {
        let found = with_values(&node, listed).await?;
        (listed, bodies) = found.rows.into_iter().unzip();
        next = found.stopped.or(next);
    }
    let link = next.as_ref().map(|next| link(&prefix, next, limit, values));
    let mut documents: Vec<Row<'_>> = listed.into_iter().map(row).collect();
    for (row, body) in documents.iter_mut().zip(&bodies) {
        row.value = body.as_deref().map(raw).transpose()?;
    }
    let page = Page { documents, next: next.map(|id| id.to_string()) };
    let mut response = state(StatusCode::OK, &page)?;
    if let Some(link) = link.and_then(|link| HeaderValue::try_from(link).ok()) {
        response.headers_mut().insert(LINK, link);
    }
    Ok(response)
}

/// Rows with their documents' JSON, as far as a page goes.
struct Valued {
    rows: Vec<(Listed, Option<Bytes>)>,
    /// The last document of the page, where it ends before the rows that were found.
    stopped: Option<DocId>,
}

/// Reads the listed documents one after the other: others are served in between, and nothing is held.
async fn with_values(node: &Node, listed: Vec<Listed>) -> Result<Valued, Problem> {
    let mut valued = Valued { rows: Vec::with_capacity(listed.len()), stopped: None };
    let mut bytes = 0;
    let mut listed = listed.into_iter().peekable();
    while let Some(mut row) = listed.next() {
        match node.read(&row.doc, Read::default()).await {
            Ok(reading) => {
                bytes += reading.body.len();
                // It may have changed since it was listed.
                row.heads = reading.version;
                valued.rows.push((row, Some(reading.body)));
            }
            // One damaged document does not keep the others from being read.
            Err(NodeError::Fenced { .. }) => valued.rows.push((row, None)),
            Err(NodeError::NotFound | NodeError::Gone { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        if bytes >= LIST_VALUE_BYTES && listed.peek().is_some() {
            valued.stopped = valued.rows.last().map(|(row, _)| row.doc.clone());
            break;
        }
    }
    Ok(valued)
}

fn link(prefix: &str, after: &DocId, limit: usize, values: bool) -> String {
    let prefix = if prefix.is_empty() { String::new() } else { format!("prefix={}&", encode(prefix)) };
    let values = if values { "&include=value" } else { "" };
    format!("</v1/docs?{prefix}after={}&limit={limit}{values}>; rel=\"next\"", encode(after.as_str()))
}

fn row<'a>(listed: Listed) -> Row<'a> {
    let Listed { doc, heads, changes, bytes, created, modified } = listed;
    Row {
        id: doc.to_string(),
        version: heads.iter().map(Hash::to_string).collect(),
        etag: etag(&heads, Form::Json).to_str().unwrap_or_default().to_owned(),
        changes,
        bytes,
        created: rfc3339(created),
        modified: rfc3339(modified),
        value: None,
    }
}

fn rfc3339(time: Millis) -> String {
    let ms = i64::try_from(time.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX).to_string()
}
