//! `GET /v1/docs`: documents in order of id bytes, a page at a time.

use std::time::{Duration, Instant};

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
use crate::base::limits::{LIST_PAGE, LIST_PAGE_MOST, LIST_VALUE_BYTES, LIST_VALUE_MS};
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
    /// As in the header: of the JSON, typed where the values are.
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
    let typed = query.take_flag("typed")?;
    if typed && !values {
        return Err(query::bad("typed", "is of the values: ask for include=value, too"));
    }
    query.end()?;
    let form = if typed { Form::TypedJson } else { Form::Json };
    let (mut listed, mut next) = node.list(prefix.clone(), after, limit).await?;
    let mut bodies = Vec::new();
    if values {
        let until = Instant::now() + Duration::from_millis(LIST_VALUE_MS);
        let found = with_values(&node, listed, form, until).await?;
        (listed, bodies) = found.rows.into_iter().unzip();
        next = found.stopped.or(next);
    }
    let link = next.as_ref().map(|next| link(&prefix, next, limit, values.then_some(form)));
    let mut documents: Vec<Row<'_>> = listed.into_iter().map(|listed| row(listed, form)).collect();
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
    /// The last document that was looked at, where there are more.
    stopped: Option<DocId>,
}

/// Reads the listed documents one after the other: others are served in between, and nothing is held. At least
/// one, and no further one after `until`.
async fn with_values(
    node: &Node,
    listed: Vec<Listed>,
    form: Form,
    until: Instant,
) -> Result<Valued, Problem> {
    let mut valued = Valued { rows: Vec::with_capacity(listed.len()), stopped: None };
    let mut bytes = 0;
    let mut listed = listed.into_iter().peekable();
    while let Some(mut row) = listed.next() {
        let doc = row.doc.clone();
        match node.read(&doc, Read { at: None, form }).await {
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
        if listed.peek().is_some() && (bytes >= LIST_VALUE_BYTES || Instant::now() >= until) {
            valued.stopped = Some(doc);
            break;
        }
    }
    Ok(valued)
}

fn link(prefix: &str, after: &DocId, limit: usize, values: Option<Form>) -> String {
    let prefix = if prefix.is_empty() { String::new() } else { format!("prefix={}&", encode(prefix)) };
    let values = match values {
        None => "",
        Some(Form::TypedJson) => "&include=value&typed=true",
        Some(_) => "&include=value",
    };
    format!("</v1/docs?{prefix}after={}&limit={limit}{values}>; rel=\"next\"", encode(after.as_str()))
}

fn row<'a>(listed: Listed, form: Form) -> Row<'a> {
    let Listed { doc, heads, changes, bytes, created, modified } = listed;
    Row {
        id: doc.to_string(),
        version: heads.iter().map(Hash::to_string).collect(),
        etag: etag(&heads, form).to_str().unwrap_or_default().to_owned(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::tests::{call, site};

    #[tokio::test(flavor = "multi_thread")]
    async fn a_page_whose_time_is_over_has_one_more_document_and_leads_to_the_rest() {
        let site = site();
        for id in ["a", "b", "c"] {
            let answer = site.ask(call("PUT", &format!("/v1/docs/{id}"), &[], "{}")).await;
            assert_eq!(answer.status, StatusCode::CREATED);
        }
        let page = async |after: Option<&str>, until| {
            let (listed, next) =
                site.node.list(String::new(), after.map(str::to_owned), 9).await.expect("a list");
            assert_eq!(next, None);
            let found = with_values(&site.node, listed, Form::Json, until).await.expect("values");
            let ids: Vec<_> = found.rows.iter().map(|(row, _)| row.doc.to_string()).collect();
            (ids.join(" "), found.stopped.map(|doc| doc.to_string()))
        };
        let over = Instant::now();
        let in_time = over + Duration::from_secs(1_000);
        assert_eq!(page(None, in_time).await, ("a b c".into(), None));
        assert_eq!(page(None, over).await, ("a".into(), Some("a".into())));
        assert_eq!(page(Some("b"), over).await, ("c".into(), None));
    }
}
