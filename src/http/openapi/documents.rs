//! The description of `/v1/docs/{id}` and `/v1/docs/{id}/changes`.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::Paths;
use utoipa::openapi::path::HttpMethod;

use super::DOCUMENTS;
use super::call::{Answer, Body, Call};
use super::shape::{
    self, DOCUMENT, OPERATIONS, WRITTEN, etag, flag, integer, named, operations_example, text, version,
};
use crate::base::limits::{MAX_AUTHOR_BYTES, VERSION_WAIT_MS};
use crate::http::accept::AUTOMERGE;
use crate::http::documents::{BYTES, MERGE_PATCH, OPS};
use crate::http::problem::{
    BAD_CHANGE, BAD_ID, BUSY, FAILED, FENCED, FULL, GONE, Kind, MEDIA_TYPE, MISSING, NO_VERSION,
    NOT_ACCEPTABLE, NOT_CONVERGED, NOT_FOUND, NOT_JSON, PRECONDITION, READ_ONLY, REFUSED, STOPPING, STORAGE,
    TOO_LARGE, TOO_SLOW,
};

pub(super) const DOCUMENT_PATH: &str = "/v1/docs/{id}";
pub(super) const CHANGES_PATH: &str = "/v1/docs/{id}/changes";

/// What may happen to any call about one document.
pub(super) const OF_A_DOCUMENT: [&Kind; 5] = [&BAD_ID, &STORAGE, &FENCED, &BUSY, &STOPPING];
/// What may happen to any body.
pub(super) const OF_A_BODY: [&Kind; 3] = [&TOO_SLOW, &TOO_LARGE, &MEDIA_TYPE];
/// What may happen to any write.
const OF_A_WRITE: [&Kind; 3] = [&READ_ONLY, &FAILED, &FULL];

const ID: &str = "The document's id: 1 to 512 bytes of UTF-8 without control characters. Slashes may stand in it \
    as they are, or as `%2F` as clients made from this description send them: both name the same document. Only \
    a last slash before `changes`, `history` or `conflicts` has to be `%2F` where that is part of the id.";

pub(super) fn add_to(paths: &mut Paths) {
    read().add_to(paths);
    put().add_to(paths);
    patch().add_to(paths);
    delete().add_to(paths);
    post_changes().add_to(paths);
}

/// A call about one document.
pub(super) fn call(method: HttpMethod, path: &'static str, id: &'static str, summary: &'static str) -> Call {
    Call::new(method, path, id, summary)
        .tag(DOCUMENTS)
        .path_parameter("id", shape::id(), "lists/groceries", ID)
        .fails(&OF_A_DOCUMENT)
}

fn read() -> Call {
    let example = json!({"title": "Groceries", "items": [{"id": "b1", "name": "bread"}], "views": 3});
    let body = Body::new("The document").json(named(DOCUMENT), example).opaque(AUTOMERGE);
    let answer = Answer::new(body)
        .header("Version", version(), "The heads that the body shows")
        .header("ETag", etag(), "Of this representation of this version")
        .header("Conflicts", integer(1), "How many fields have more than one value, where any has");
    let unmodified = Answer::new(Body::new("The caller has this representation already"))
        .header("Version", version(), "The heads that it shows")
        .header("ETag", etag(), "As it was sent");
    call(HttpMethod::Get, DOCUMENT_PATH, "readDocument", "Reads a document")
        .text(
            "As JSON, or by `Accept: application/vnd.automerge` as the Automerge document itself, with its \
             history.",
        )
        .query("typed", flag(), "Marks texts, counters, times and bytes as such")
        .query("at", text(), "A past version, as `Version` told it; the quotes may be left out")
        .header(
            "If-None-Match",
            text(),
            "Tags of representations that the caller has: 304 where it is one of them",
        )
        .answers(StatusCode::OK, answer)
        .answers(StatusCode::NOT_MODIFIED, unmodified)
        .fails(&[&NOT_FOUND, &GONE, &NO_VERSION, &NOT_ACCEPTABLE])
}

fn put() -> Call {
    let example = json!({"title": "Groceries", "items": [], "note": {"$text": ""}, "views": {"$counter": 0}});
    let body = Body::new("The whole document").json(named(DOCUMENT), example);
    let call = call(HttpMethod::Put, DOCUMENT_PATH, "putDocument", "Creates or replaces a document")
        .text(
            "The difference from what is there becomes the change, and what is equal is not touched. With \
             `Parents` the difference is taken from the version named there, and merged with what came since: \
             so nobody's update is lost.",
        )
        .body(body);
    json_write(call)
}

fn patch() -> Call {
    let body = Body::new("A merge patch (RFC 7396), or typed operations")
        .of(MERGE_PATCH, named(DOCUMENT), json!({"title": "For Saturday", "note": null}))
        .of(OPS, named(OPERATIONS), operations_example());
    let call = call(HttpMethod::Patch, DOCUMENT_PATH, "patchDocument", "Changes parts of a document")
        .text("`Content-Type` says of which kind the patch is. An absent document is created.")
        .body(body);
    json_write(call)
}

fn delete() -> Call {
    let deleted = Answer::new(Body::new("Deleted, and on disk"))
        .header("Version", version(), "The one version that this deletion made")
        .header("Current-Version", version(), "The heads after it, with what others wrote");
    guarded(call(HttpMethod::Delete, DOCUMENT_PATH, "deleteDocument", "Deletes a document on all nodes"))
        .text(
            "What others write at the same time brings it back, whole; with `Parents`, so does what came since \
             that version. A later write builds on what was there.",
        )
        .answers(StatusCode::NO_CONTENT, deleted)
        .fails(&[&NOT_FOUND, &GONE])
}

fn post_changes() -> Call {
    let body =
        Body::new("Change chunks one after another, or a saved document").opaque(AUTOMERGE).opaque(BYTES);
    let call = call(HttpMethod::Post, CHANGES_PATH, "postChanges", "Takes raw Automerge changes")
        .text(
            "Each change must be its actor's next, have its actor's previous change among its ancestors, and be \
             one that Automerge takes; otherwise nothing of it is kept. `Parents`, `Author` and conditions do \
             not apply, and are refused.",
        )
        .body(body)
        .fails(&[&MISSING, &BAD_CHANGE])
        .fails(&OF_A_WRITE);
    write(call)
}

fn json_write(call: Call) -> Call {
    write(guarded(call).fails(&[&NOT_JSON, &REFUSED]))
}

/// With all that may guard a write and say who makes it.
fn guarded(call: Call) -> Call {
    let wait = format!(
        "`wait=N`: seconds to wait for a version in `Parents` that is not here yet, at most {}",
        VERSION_WAIT_MS / 1_000
    );
    call.header(
        "Parents",
        text(),
        "The `Version` that the caller read and writes at; empty: it saw no document. Unknown here: the \
             node waits for it, then 503",
    )
    .header("If-Match", text(), "Tags of versions, or `*`: 412 where the document has another")
    .header("If-None-Match", text(), "`*`: 412 where the document exists; or tags that it must not have")
    .header("Prefer", text(), &wait)
    .header("Author", text().max_length(Some(MAX_AUTHOR_BYTES)), "Who writes: UTF-8, kept with the change")
    .fails(&[&PRECONDITION, &NOT_CONVERGED])
    .fails(&OF_A_WRITE)
}

fn write(call: Call) -> Call {
    call.answers(StatusCode::OK, written("Written, and on disk"))
        .answers(
            StatusCode::CREATED,
            written("The document was made, and is on disk").header("Location", text(), "Its path"),
        )
        .fails(&OF_A_BODY)
}

fn written(text: &'static str) -> Answer {
    let hash = "6d1e…";
    let example = json!({"created": false, "version": [hash], "current": [hash]});
    Answer::new(Body::new(text).json(named(WRITTEN), example))
        .header("Version", version(), "The one version that this write made, or the one it started from")
        .header("Current-Version", version(), "The heads after it, with what others wrote")
        .header("ETag", etag(), "Of the JSON after it")
}
