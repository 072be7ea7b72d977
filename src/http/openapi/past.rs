//! The description of what a document has been through and holds: `…/history`, `…/conflicts` and `GET …/changes`.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::Paths;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::ComponentsBuilder;

use super::call::{Answer, Body};
use super::documents::{CHANGES_PATH, call};
use super::shape::{VERSION, any, array, flag, integer, named, object, text, version};
use crate::base::limits::{HISTORY_PAGE, HISTORY_PAGE_MOST};
use crate::http::accept::AUTOMERGE;
use crate::http::problem::{GONE, NO_VERSION, NOT_FOUND};

const HISTORY: &str = "History";
const CHANGE: &str = "Change";
const CONFLICTS: &str = "Conflicts";
const CONFLICT: &str = "Conflict";
const LEFT_OUT: &str = "LeftOut";

pub(super) fn add_to(paths: &mut Paths) {
    history(paths);
    conflicts(paths);
    changes(paths);
}

fn history(paths: &mut Paths) {
    let example = json!({
        "changes": [{
            "version": "6d1e…", "parents": ["03ab…"], "author": "Ann", "node": {"id": "4be1…", "incarnation": 1},
            "time": "2026-01-31T12:00:00Z", "operations": 1, "what": ["/title"],
        }],
        "next": "6d1e…",
    });
    let body = Body::new("A page of changes, the newest first").json(named(HISTORY), example);
    let limit = integer(1).maximum(Some(HISTORY_PAGE_MOST as f64)).default(Some(HISTORY_PAGE.into()));
    call(HttpMethod::Get, "/v1/docs/{id}/history", "readHistory", "Tells who changed what, and when")
        .query("limit", limit, "Changes on a page")
        .query("before", text(), "Only changes before this one: `next` of the page before")
        .answers(
            StatusCode::OK,
            Answer::new(body).header("Link", text(), "`<address>; rel=\"next\"`, where there is more"),
        )
        .fails(&[&NOT_FOUND, &NO_VERSION])
        .add_to(paths);
}

fn conflicts(paths: &mut Paths) {
    let example = json!({
        "conflicts": [{
            "path": "/title", "value": "Groceries",
            "values": [
                {"value": "Groceries", "author": "Ann", "time": "2026-01-31T12:00:00Z", "change": "6d1e…"},
                {"value": "Shopping", "author": "Bob", "time": "2026-01-31T12:00:01Z", "change": "03ab…"},
            ],
        }],
        "left_out": [],
    });
    let body = Body::new("Every value of the fields that have more than one").json(named(CONFLICTS), example);
    call(
        HttpMethod::Get,
        "/v1/docs/{id}/conflicts",
        "readConflicts",
        "Tells every value of fields that were written at once",
    )
    .text("A plain write of such a field settles it.")
    .query("at", text(), "A past version, as `Version` told it; the quotes may be left out")
    .answers(StatusCode::OK, Answer::new(body).header("Version", version(), "The heads that were looked at"))
    .fails(&[&NOT_FOUND, &GONE, &NO_VERSION])
    .add_to(paths);
}

fn changes(paths: &mut Paths) {
    let body = Body::new("Change chunks one after another, as `POST` takes them; none where there are none")
        .opaque(AUTOMERGE);
    call(HttpMethod::Get, CHANGES_PATH, "readChanges", "Reads raw Automerge changes")
        .query("since", text(), "Only changes that this version lacks; the quotes may be left out")
        .answers(
            StatusCode::OK,
            Answer::new(body).header("Version", version(), "The heads with these changes"),
        )
        .fails(&[&NOT_FOUND, &GONE, &NO_VERSION])
        .add_to(paths);
}

pub(super) fn shapes(components: ComponentsBuilder) -> ComponentsBuilder {
    let place = object([("id", text().into()), ("incarnation", integer(0).into())]);
    let change = object([
        ("version", text().description(Some("The change's hash")).into()),
        ("parents", named(VERSION).into()),
        ("operations", integer(0).into()),
        ("what", array(text()).description(Some("JSON pointers to what it touched")).into()),
    ])
    .property("author", text())
    .property("message", text())
    .property("node", place.description(Some("Where it entered, where that is one of our nodes")))
    .property("time", text().description(Some("By its maker's clock")))
    .property("more", flag().description(Some("It touched more than is listed")))
    .property("deleted", flag().description(Some("It deletes the document")))
    .property("derived", flag().description(Some("Made alike by every master, to create what was absent")));
    let history = object([("changes", array(named(CHANGE)).into())])
        .property("next", text().description(Some("`before` of the next page, where there is more")));
    let value = object([("value", any().into())])
        .property("author", text())
        .property("time", text())
        .property("change", text().description(Some("The hash of the change that wrote it")));
    let conflict = object([
        ("path", text().description(Some("A JSON pointer")).into()),
        ("value", any().description(Some("The one that is shown")).into()),
        ("values", array(value).into()),
    ]);
    let left_out = object([("change", text().into()), ("why", text().into())])
        .property("author", text())
        .property("time", text())
        .description(Some("A change that is kept and not shown"));
    let conflicts =
        object([("conflicts", array(named(CONFLICT)).into()), ("left_out", array(named(LEFT_OUT)).into())])
            .property("more", flag().description(Some("There are more than are listed")));
    components
        .schema(CHANGE, change)
        .schema(HISTORY, history)
        .schema(CONFLICT, conflict)
        .schema(LEFT_OUT, left_out)
        .schema(CONFLICTS, conflicts)
}
