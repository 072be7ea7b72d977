//! The description of live reads: `GET /v1/changes` and `GET /v1/subscribe`.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::{Object, Paths};

use super::LIVE;
use super::call::{Answer, Body, Call};
use super::shape::{VERSION, array, flag, integer, named, object, text};
use crate::base::limits::{FEED_PAGE, FEED_PAGE_MOST};
use crate::http::bulk::NDJSON;
use crate::http::live::{CHANGES, SSE, SUBSCRIBE};
use crate::http::problem::{BUSY, CROWDED, FENCED, NOT_UPGRADED, REFETCH, STOPPING, STORAGE, TOO_MANY};

const PAGE: &str = "ChangesPage";
const CHANGE: &str = "DocumentChange";

pub(super) fn add_to(paths: &mut Paths) {
    feed(paths);
    subscriptions(paths);
}

fn feed(paths: &mut Paths) {
    let page = json!({
        "changes": [
            {"type": "notify", "doc": "lists/groceries", "version": ["6d1e…"]},
            {"type": "deleted", "doc": "lists/old", "version": ["03ab…"]},
        ],
        "cursor": "g0iF…",
        "up_to_date": true,
    });
    let lines = "{\"type\":\"notify\",\"doc\":\"lists/groceries\",\"version\":[\"6d1e…\"]}\n\
                 {\"type\":\"up-to-date\",\"cursor\":\"g0iF…\"}\n";
    let events = "event: notify\ndata: {\"type\":\"notify\",\"doc\":\"lists/groceries\",\"version\":[\"6d1e…\"]}\n\n\
                  id: g0iF…\nevent: up-to-date\ndata: {\"type\":\"up-to-date\",\"cursor\":\"g0iF…\"}\n\n";
    let body = Body::new("A page, which ends; or what changes from then on, which does not")
        .json(named(PAGE), page)
        .of(NDJSON, text(), json!(lines))
        .of(SSE, text(), json!(events));
    let limit = integer(1).maximum(Some(FEED_PAGE_MOST as f64)).default(Some(FEED_PAGE.into()));
    let feeds =
        text().enum_values(Some(["normal", "longpoll", "sse", "ndjson"])).default(Some("normal".into()));
    let includes = text().enum_values(Some(["version", "value"])).default(Some("version".into()));
    Call::new(HttpMethod::Get, CHANGES, "readFeed", "Tells what changes on this node")
        .text(
            "Of a document that has changed several times only the latest state is told. At every mark \
             `up-to-date` what was told adds up to what this node had at that moment; its `cursor` is good on \
             every node of the cluster. `normal` answers at once, `longpoll` as soon as there is anything; \
             `sse` and `ndjson` do not end.",
        )
        .tag(LIVE)
        .query("feed", feeds, "In which form")
        .query("since", text().default(Some("0".into())), "`0`, `now`, or a cursor")
        .query("prefix", text(), "Only documents whose ids begin like this, compared by bytes")
        .query("include", includes, "`value`: with the documents as they are now")
        .query("limit", limit, "Changes in one answer; of `normal` and `longpoll` only")
        .header("Last-Event-ID", text(), "Of `sse`: goes before `since`")
        .answers(StatusCode::OK, Answer::new(body))
        .fails(&[&REFETCH, &STORAGE, &BUSY, &CROWDED, &STOPPING])
        .add_to(paths);
}

fn subscriptions(paths: &mut Paths) {
    let open = Answer::new(Body::new("The WebSocket is open"));
    Call::new(HttpMethod::Get, SUBSCRIBE, "subscribe", "Follows documents over a WebSocket")
        .text(
            "With the subprotocol `syncline.sub.v1` (JSON) or `syncline.sub.v1.cbor`. Frames are told in \
             docs/subscriptions.md, and their JSON Schema beside it. Who cannot send `Authorization` sends the \
             token in the first frame. Refusals of single subscriptions come as frames: `too-many-subscriptions` \
             (429), `fenced` (500), `malformed` (400).",
        )
        .tag(LIVE)
        .answers(StatusCode::SWITCHING_PROTOCOLS, open)
        .fails(&[&NOT_UPGRADED, &TOO_MANY, &FENCED, &CROWDED])
        .add_to(paths);
}

pub(super) fn shapes(components: ComponentsBuilder) -> ComponentsBuilder {
    let kinds = text().enum_values(Some(["notify", "snapshot", "deleted", "error"]));
    let change = object([("type", kinds.into())])
        .property("doc", text())
        .property("version", named(VERSION))
        .property("value", Object::new())
        .property("problem", Object::new());
    let page = object([
        ("changes", array(named(CHANGE)).into()),
        ("cursor", text().description(Some("`since` of the next page")).into()),
        ("up_to_date", flag().description(Some("There is no more now")).into()),
    ]);
    components.schema(PAGE, page).schema(CHANGE, change)
}
