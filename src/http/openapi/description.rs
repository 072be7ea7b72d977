//! The description of the description, and of the page that shows it.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::Paths;
use utoipa::openapi::path::HttpMethod;

use super::call::{Answer, Body, Call};
use super::shape::{object, text};
use super::{DESCRIPTION, PATH};
use crate::http::page;

pub(super) fn add_to(paths: &mut Paths) {
    let shape = object([("openapi", text().into())]);
    let body = Body::new("An OpenAPI 3.1 document").json(shape, json!({"openapi": "3.1.0"}));
    Call::new(HttpMethod::Get, PATH, "readDescription", "Tells what can be asked, for programs")
        .tag(DESCRIPTION)
        .open()
        .answers(StatusCode::OK, Answer::new(body))
        .add_to(paths);
    let html = Body::new("An HTML page that needs nothing else").opaque("text/html; charset=utf-8");
    Call::new(HttpMethod::Get, page::PATH, "showDescription", "Shows what can be asked, in a browser")
        .tag(DESCRIPTION)
        .open()
        .answers(StatusCode::OK, Answer::new(html))
        .add_to(paths);
}
