//! The description of `GET /v1/docs`.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::{KnownFormat, Paths, SchemaFormat};

use super::DOCUMENTS;
use super::call::{Answer, Body, Call};
use super::shape::{DOCUMENT, VERSION, array, flag, integer, named, object, text};
use crate::base::limits::{LIST_PAGE, LIST_PAGE_MOST};
use crate::http::problem::{BUSY, STOPPING, STORAGE};

const PAGE: &str = "DocumentList";
const ROW: &str = "ListedDocument";

pub(super) fn add_to(paths: &mut Paths) {
    let example = json!({
        "documents": [{
            "id": "lists/groceries", "version": ["6d1e…"], "etag": "\"91c0…-j\"", "changes": 12, "bytes": 1790,
            "created": "2026-01-31T12:00:00Z", "modified": "2026-01-31T12:00:00.25Z",
        }],
        "next": "lists/groceries",
    });
    let text_of_page = "A page; it may be short, or empty, and still be followed by more";
    let body = Body::new(text_of_page).json(named(PAGE), example);
    let limit = integer(1).maximum(Some(LIST_PAGE_MOST as f64)).default(Some(LIST_PAGE.into()));
    Call::new(HttpMethod::Get, "/v1/docs", "listDocuments", "Lists documents in order of id bytes")
        .tag(DOCUMENTS)
        .query("prefix", text(), "Only ids that begin like this, compared by bytes")
        .query("after", text(), "Only ids after this one: `next` of the page before")
        .query("limit", limit, "Documents on a page")
        .query("include", text().enum_values(Some(["value"])), "`value`: with the documents themselves")
        .query("typed", flag(), "With `include=value`: the documents as typed JSON. Alone it is refused")
        .answers(
            StatusCode::OK,
            Answer::new(body).header("Link", text(), "`<address>; rel=\"next\"`, where there is more"),
        )
        .fails(&[&STORAGE, &BUSY, &STOPPING])
        .add_to(paths);
}

pub(super) fn shapes(components: ComponentsBuilder) -> ComponentsBuilder {
    let time = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
    let row = object([
        ("id", text().into()),
        ("version", named(VERSION).into()),
        (
            "etag",
            text().description(Some("Of the JSON, typed where the values are, as in the header")).into(),
        ),
        ("changes", integer(0).description(Some("How many are stored")).into()),
        ("bytes", integer(0).description(Some("How much is stored")).into()),
        ("created", time().description(Some("When this node first had it")).into()),
        ("modified", time().description(Some("When this node last got a change of it")).into()),
    ]);
    let row = row.property("value", named(DOCUMENT));
    let page = object([("documents", array(named(ROW)).into())])
        .property("next", text().description(Some("`after` of the next page, where there is more")));
    components.schema(PAGE, page).schema(ROW, row)
}
