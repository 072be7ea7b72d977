//! `/v1/docs/{id}` and `/v1/docs/{id}/changes`: one document read, replaced, patched, and given raw changes.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH,
    LOCATION, VARY,
};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::accept::{self, AUTOMERGE, JSON};
use super::body;
use super::headers::{self, ACCEPT_PATCH, ACCEPT_POST, AUTHOR, CONFLICTS, CURRENT_VERSION, PARENTS, VERSION};
use super::problem::{BAD_METHOD, MEDIA_TYPE, NOT_YET, Problem, refused};
use super::query::{self, Query};
use super::target::{self, Part, Target};
use crate::base::DocId;
use crate::crdt::{Edit, parse_ops};
use crate::node::{Form, Node, Read, Write, Written};

const MERGE_PATCH: &str = "application/merge-patch+json";
const OPS: &str = "application/vnd.syncline.ops+json";
const BYTES: &str = "application/octet-stream";

/// What the body of a write is.
#[derive(Clone, Copy)]
enum Payload {
    Whole,
    MergePatch,
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
        (Part::Whole, _) => Err(bad_method("GET, HEAD, PUT, PATCH, DELETE")),
        (Part::Changes, &Method::POST) => admit(&node, &doc, &parts, body).await,
        (Part::Changes, _) => Err(bad_method("POST")),
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
    let etag = headers::etag(&reading.version, form);
    let mut response = if headers::is_unmodified(&parts.headers, &etag)? {
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
    headers.insert(VARY, HeaderValue::from_static("Accept"));
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
        wait: headers::wait(&parts.headers),
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
    let wait = headers::wait(&parts.headers);
    let value = body::json(body).await?;
    let edit = match payload {
        Payload::Whole => Edit::Put(object(value)?),
        Payload::MergePatch => Edit::MergePatch(object(value)?),
        Payload::Ops => Edit::Ops(parse_ops(&value)?),
    };
    let write = Write { edit, parents, condition, author, must_exist: false, wait };
    let written = node.write(doc, write).await?;
    Ok(done(doc, &written))
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
        Some(found) => return Err(unsupported(found, ACCEPT_POST, AUTOMERGE)),
    }
    let raw = body::bytes(body).await?;
    let written = node.admit(doc, raw).await?;
    Ok(done(doc, &written))
}

/// The answer to a write.
fn done(doc: &DocId, written: &Written) -> Response {
    let Written { created, version, current } = written;
    let mut text = String::with_capacity(96 + 68 * (version.len() + current.len()));
    text.push_str(if *created { "{\"created\":true" } else { "{\"created\":false" });
    for (member, heads) in [(",\"version\":[", version), (",\"current\":[", current)] {
        text.push_str(member);
        headers::push_version(&mut text, heads, ",");
        text.push(']');
    }
    text.push('}');
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    let version_value = headers::version(version);
    let current_value = if current == version { version_value.clone() } else { headers::version(current) };
    headers.insert(VERSION, version_value);
    headers.insert(CURRENT_VERSION, current_value);
    headers.insert(ETAG, headers::etag(current, Form::Json));
    if *created {
        if let Ok(path) = HeaderValue::try_from(target::path(doc)) {
            headers.insert(LOCATION, path);
        }
        *response.status_mut() = StatusCode::CREATED;
    }
    response
}

fn put_payload(headers: &HeaderMap) -> Result<Payload, Problem> {
    match media_type(headers)? {
        None => Ok(Payload::Whole),
        Some(found) if found.eq_ignore_ascii_case(JSON) => Ok(Payload::Whole),
        Some(found) => Err(unsupported(found, ACCEPT, JSON)),
    }
}

fn patch_payload(headers: &HeaderMap) -> Result<Payload, Problem> {
    const PATCHES: &str = "application/merge-patch+json, application/vnd.syncline.ops+json";
    match media_type(headers)? {
        Some(found) if found.eq_ignore_ascii_case(MERGE_PATCH) => Ok(Payload::MergePatch),
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

pub(super) fn unsupported(found: &str, header: HeaderName, taken: &'static str) -> Problem {
    let advice = if found.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        "; curl sends that type with -d unless told -H 'Content-Type: …'"
    } else {
        ""
    };
    Problem::new(&MEDIA_TYPE, format!("{found} is not taken here, but {taken}{advice}"))
        .header(header, HeaderValue::from_static(taken))
}

pub(super) fn object(value: Value) -> Result<Value, Problem> {
    if value.is_object() { Ok(value) } else { Err(refused("", "a document is a JSON object")) }
}

fn bad_method(allowed: &'static str) -> Problem {
    Problem::new(&BAD_METHOD, format!("this takes {allowed}"))
        .header(ALLOW, HeaderValue::from_static(allowed))
}
