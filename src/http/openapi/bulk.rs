//! The description of `POST /v1/bulk`.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::Paths;
use utoipa::openapi::path::HttpMethod;

use super::DOCUMENTS;
use super::call::{Answer, Body, Call};
use super::shape::text;
use crate::base::limits::MAX_AUTHOR_BYTES;
use crate::http::bulk::{NDJSON, PATH};
use crate::http::problem::{MEDIA_TYPE, READ_ONLY, TOO_SLOW};

pub(super) fn add_to(paths: &mut Paths) {
    let lines = "{\"id\": \"a\", \"put\": {\"title\": \"one\"}}\n{\"id\": \"b\", \"patch\": {\"n\": 2}}\n";
    let answers = "{\"line\":1,\"id\":\"a\",\"status\":201,\"version\":[\"6d1e…\"]}\n\
                   {\"line\":2,\"id\":\"b\",\"status\":200,\"version\":[\"03ab…\"]}\n";
    let body = Body::new(
        "A JSON object a line: `id`, one of `put` (a document), `patch` (a merge patch), `ops` (operations) and \
         `delete` (`true`), and where wanted `parents` (a version) and `author`",
    )
    .of(NDJSON, text(), json!(lines));
    let answer = Body::new(
        "An answer a line, in the order of the lines: `status`, and `version` or `problem`",
    )
    .of(NDJSON, text(), json!(answers));
    Call::new(HttpMethod::Post, PATH, "writeMany", "Writes many documents, a line each")
        .tag(DOCUMENTS)
        .text(
            "Answers come while lines are still sent. Each line is a write of its own: it succeeds or fails alone. \
             `Parents` and conditions do not apply, and are refused.",
        )
        .header("Author", text().max_length(Some(MAX_AUTHOR_BYTES)), "Who writes the lines that name nobody")
        .body(body)
        .answers(StatusCode::OK, Answer::new(answer))
        .fails(&[&MEDIA_TYPE, &READ_ONLY, &TOO_SLOW])
        .add_to(paths);
}
