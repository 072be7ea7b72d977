//! `/v1/docs/{id}` and `/v1/docs/{id}/changes`: one document read, replaced, patched, and given raw changes.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LOCATION, CONTENT_TYPE, ETAG, HeaderName,
    IF_MATCH, IF_NONE_MATCH, LOCATION, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::accept::{self, AUTOMERGE, JSON};
use super::body;
use super::headers::{self, ACCEPT_PATCH, ACCEPT_POST, AUTHOR, CONFLICTS, CURRENT_VERSION, PARENTS, VERSION};
use super::prefer::{self, PREFERENCE_APPLIED, Preferences, Wanted};
use super::problem::{BAD_METHOD, MEDIA_TYPE, NOT_YET, Problem, refused};
use super::query::{self, Query};
use super::target::{self, Part, Target};
use crate::base::DocId;
use crate::crdt::{Edit, parse_json_patch, parse_ops};
use crate::node::{Form, Node, NodeError, Read, Write, Written};

pub(super) const MERGE_PATCH: &str = "application/merge-patch+json";
pub(super) const JSON_PATCH: &str = "application/json-patch+json";
pub(super) const OPS: &str = "application/vnd.syncline.ops+json";
/// What `PATCH` takes, and what `POST`.
const PATCHES: HeaderValue = HeaderValue::from_static(
    "application/merge-patch+json, application/json-patch+json, application/vnd.syncline.ops+json",
);
const POSTS: HeaderValue = HeaderValue::from_static(AUTOMERGE);
pub(super) const BYTES: &str = "application/octet-stream";

/// What the body of a write is.
#[derive(Clone, Copy)]
enum Payload {
    Whole,
    MergePatch,
    JsonPatch,
    Ops,
}

pub(super) async fn answer(State(node): State<Node>, request: Request) -> Result<Response, Problem> {
    let Target { doc, part } = Target::of(request.uri().path())?;
    let (parts, body) = request.into_parts();
    match (part, &parts.method) {
        (Part::Whole, &Method::GET | &Method::HEAD) => read(&node, &doc, &parts).await,
        (Part::Whole, &Method::PUT) => {
            let payload = put_payload(&parts.headers)?;
            write(&node, &doc, payload, &parts, body).await
        }
        (Part::Whole, &Method::PATCH) => {
            let payload = patch_payload(&parts.headers)?;
            write(&node, &doc, payload, &parts, body).await
        }
        (Part::Whole, &Method::DELETE) => delete(&node, &doc, &parts).await,
        (Part::Whole, _) => Err(bad_method("GET, HEAD, PUT, PATCH, DELETE").header(ACCEPT_PATCH, PATCHES)),
        (Part::Changes, &Method::POST) => admit(&node, &doc, &parts, body).await,
        (Part::Changes, _) => Err(bad_method("POST").header(ACCEPT_POST, POSTS)),
        (Part::History | Part::Conflicts, _) => {
            Err(Problem::new(&NOT_YET, "histories and lists of conflicts are not there yet"))
        }
    }
}

async fn read(node: &Node, doc: &DocId, parts: &Parts) -> Result<Response, Problem> {
    let mut query = Query::of(&parts.uri)?;
    let typed = query.take_flag("typed")?;
    let at = match query.take("at") {
        None => None,
        Some(text) => match headers::parse_version(&text) {
            Ok(heads) if heads.is_empty() => return Err(query::bad("at", "names no version")),
            Ok(heads) => Some(heads),
            Err(why) => return Err(query::bad("at", &why)),
        },
    };
    query.end()?;
    let form = accept::form(&parts.headers, typed)?;
    let reading = node.read(doc, Read { at, form }).await?;
    let mut etag = headers::etag(&reading.version, form);
    // In the order of RFC 9110, 13.2.2.
    if let Some(None) = headers::named(&parts.headers, &IF_MATCH, &etag)? {
        return Err(NodeError::PreconditionFailed { current: reading.version }.into());
    }
    let mut response = if let Some(Some(held)) = headers::named(&parts.headers, &IF_NONE_MATCH, &etag)? {
        etag = held;
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        let media_type = if form == Form::Automerge { AUTOMERGE } else { JSON };
        let mut response = Response::new(Body::from(reading.body));
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
        response
    };
    let headers = response.headers_mut();
    headers.insert(VERSION, headers::version(&reading.version));
    headers.insert(ETAG, etag);
    headers.insert(VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    // May be kept, and has to be asked about each time: anybody may write at any moment.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if reading.conflicts > 0 {
        headers.insert(CONFLICTS, reading.conflicts.into());
    }
    Ok(response)
}

/// Deletes what is here, or the version that `Parents` names.
async fn delete(node: &Node, doc: &DocId, parts: &Parts) -> Result<Response, Problem> {
    Query::of(&parts.uri)?.end()?;
    let write = Write {
        edit: Edit::Delete,
        parents: headers::parents(&parts.headers)?,
        condition: headers::condition(&parts.headers)?,
        author: headers::author(&parts.headers)?,
        must_exist: true,
        wait: prefer::preferences(&parts.headers).wait,
    };
    let Written { version, current, .. } = node.write(doc, write).await?;
    let headers = [(VERSION, headers::version(&version)), (CURRENT_VERSION, headers::version(&current))];
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

async fn write(
    node: &Node,
    doc: &DocId,
    payload: Payload,
    parts: &Parts,
    body: Body,
) -> Result<Response, Problem> {
    Query::of(&parts.uri)?.end()?;
    let condition = headers::condition(&parts.headers)?;
    let parents = headers::parents(&parts.headers)?;
    let author = headers::author(&parts.headers)?;
    let Preferences { wait, answer } = prefer::preferences(&parts.headers);
    let value = body::json(body).await?;
    let edit = match payload {
        Payload::Whole => Edit::Put(object(value)?),
        Payload::MergePatch => Edit::MergePatch(object(value)?),
        Payload::JsonPatch => Edit::JsonPatch(parse_json_patch(&value)?),
        Payload::Ops => Edit::Ops(parse_ops(&value)?),
    };
    let must_exist = matches!(payload, Payload::JsonPatch);
    let write = Write { edit, parents, condition, author, must_exist, wait };
    let written = node.write(doc, write).await?;
    Ok(done(node, doc, written, answer).await)
}

async fn admit(node: &Node, doc: &DocId, parts: &Parts, body: Body) -> Result<Response, Problem> {
    Query::of(&parts.uri)?.end()?;
    // Each raw change says itself who made it and on what. A guard must not be passed over in silence.
    let meaningless = [PARENTS, AUTHOR, IF_MATCH, IF_NONE_MATCH];
    if let Some(name) = meaningless.iter().find(|name| parts.headers.contains_key(*name)) {
        return Err(headers::bad(name, "does not apply to raw changes"));
    }
    match media_type(&parts.headers)? {
        None => {}
        Some(found) if found.eq_ignore_ascii_case(AUTOMERGE) || found.eq_ignore_ascii_case(BYTES) => {}
        Some(found) => return Err(unsupported(found, ACCEPT_POST, POSTS)),
    }
    let raw = body::bytes(body).await?;
    let written = node.admit(doc, raw).await?;
    Ok(done(node, doc, written, prefer::preferences(&parts.headers).answer).await)
}

/// The answer to a write: where somebody prefers it, with the document as it is then, or with nothing.
async fn done(node: &Node, doc: &DocId, mut written: Written, wanted: Option<Wanted>) -> Response {
    let reading = match wanted {
        // A write that is on disk is answered, whatever comes of the read.
        Some(Wanted::Representation) => Box::pin(node.read(doc, Read::default())).await.ok(),
        _ => None,
    };
    let (body, applied) = match (reading, wanted) {
        (Some(reading), _) => {
            written.current = reading.version;
            (Body::from(reading.body), Some("return=representation"))
        }
        (None, Some(Wanted::Minimal)) => (Body::empty(), Some("return=minimal")),
        (None, _) => (Body::from(told(&written)), None),
    };
    let is_minimal = wanted == Some(Wanted::Minimal);
    let Written { created, version, current } = written;
    let mut response = Response::new(body);
    *response.status_mut() = match created {
        true => StatusCode::CREATED,
        false if is_minimal => StatusCode::NO_CONTENT,
        false => StatusCode::OK,
    };
    let headers = response.headers_mut();
    if !is_minimal {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    }
    let version_value = headers::version(&version);
    let current_value = if current == version { version_value.clone() } else { headers::version(&current) };
    headers.insert(VERSION, version_value);
    headers.insert(CURRENT_VERSION, current_value);
    headers.insert(ETAG, headers::etag(&current, Form::Json));
    if created || applied.is_some() {
        let path = HeaderValue::try_from(target::path(doc)).ok();
        if let Some(path) = path.clone().filter(|_| created) {
            headers.insert(LOCATION, path);
        }
        if let Some(path) = path.filter(|_| applied.is_some() && !is_minimal) {
            headers.insert(CONTENT_LOCATION, path);
        }
    }
    if let Some(applied) = applied {
        headers.insert(PREFERENCE_APPLIED, HeaderValue::from_static(applied));
    }
    response
}

fn told(Written { created, version, current }: &Written) -> String {
    let mut text = String::with_capacity(96 + 68 * (version.len() + current.len()));
    text.push_str(if *created { "{\"created\":true" } else { "{\"created\":false" });
    for (member, heads) in [(",\"version\":[", version), (",\"current\":[", current)] {
        text.push_str(member);
        headers::push_version(&mut text, heads, ",");
        text.push(']');
    }
    text.push('}');
    text
}

fn put_payload(headers: &HeaderMap) -> Result<Payload, Problem> {
    match media_type(headers)? {
        None => Ok(Payload::Whole),
        Some(found) if found.eq_ignore_ascii_case(JSON) => Ok(Payload::Whole),
        Some(found) => Err(unsupported(found, ACCEPT, HeaderValue::from_static(JSON))),
    }
}

fn patch_payload(headers: &HeaderMap) -> Result<Payload, Problem> {
    match media_type(headers)? {
        Some(found) if found.eq_ignore_ascii_case(MERGE_PATCH) => Ok(Payload::MergePatch),
        Some(found) if found.eq_ignore_ascii_case(JSON_PATCH) => Ok(Payload::JsonPatch),
        Some(found) if found.eq_ignore_ascii_case(OPS) => Ok(Payload::Ops),
        found => Err(unsupported(found.unwrap_or("a body without a type"), ACCEPT_PATCH, PATCHES)),
    }
}

/// The body's type without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    if let Some(encoding) = headers.get(CONTENT_ENCODING).filter(|encoding| *encoding != "identity") {
        return Err(Problem::new(&MEDIA_TYPE, format!("bodies are not taken as {encoding:?}")));
    }
    let Some(value) = headers::one(headers, &CONTENT_TYPE)? else { return Ok(None) };
    let text = value.to_str().map_err(|_| headers::bad(&CONTENT_TYPE, "has characters beyond ASCII"))?;
    Ok(Some(text.split(';').next().unwrap_or_default().trim()))
}

pub(super) fn unsupported(found: &str, header: HeaderName, taken: HeaderValue) -> Problem {
    let advice = if found.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        "; curl sends that type with -d unless told -H 'Content-Type: …'"
    } else {
        ""
    };
    let types = taken.to_str().unwrap_or_default();
    Problem::new(&MEDIA_TYPE, format!("{found} is not taken here, but {types}{advice}")).header(header, taken)
}

pub(super) fn object(value: Value) -> Result<Value, Problem> {
    if value.is_object() { Ok(value) } else { Err(refused("", "a document is a JSON object")) }
}

fn bad_method(allowed: &'static str) -> Problem {
    Problem::new(&BAD_METHOD, format!("this takes {allowed}"))
        .header(ALLOW, HeaderValue::from_static(allowed))
}
