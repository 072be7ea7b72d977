//! The description of `/livez` and `/readyz`.

use axum::http::StatusCode;
use serde_json::json;
use utoipa::ToSchema;
use utoipa::openapi::Paths;
use utoipa::openapi::path::HttpMethod;
use utoipa::openapi::schema::ComponentsBuilder;

use super::HEALTH;
use super::call::{Answer, Body, Call};
use super::shape::{flag, named, object, with};
use crate::http::health::{LIVE, READY};
use crate::node::Health;

pub(super) fn add_to(paths: &mut Paths) {
    let live =
        Body::new("The process answers").json(object([("live", flag().into())]), json!({"live": true}));
    Call::new(HttpMethod::Get, LIVE, "isLive", "Tells whether the process answers")
        .text("Restart it only where this fails.")
        .tag(HEALTH)
        .open()
        .answers(StatusCode::OK, Answer::new(live))
        .add_to(paths);
    let health = |text, ready, reason: Option<&str>| {
        let example =
            json!({"role": "master", "storage": true, "ready": ready, "reason": reason, "fenced": 0});
        Answer::new(Body::new(text).json(named(&Health::name()), example))
    };
    Call::new(HttpMethod::Get, READY, "isReady", "Tells whether to send clients here")
        .text(
            "Storage takes commits and, where peers are configured, one was caught up with since the start. Damaged \
             data is told, and what to do about it; it makes no node unready, as everything else can be read.",
        )
        .tag(HEALTH)
        .open()
        .answers(StatusCode::OK, health("Ready", true, None))
        .answers(
            StatusCode::SERVICE_UNAVAILABLE,
            health("Not ready, and why", false, Some("no peer has been caught up with since the start")),
        )
        .add_to(paths);
}

pub(super) fn shapes(components: ComponentsBuilder) -> ComponentsBuilder {
    with::<Health>(components)
}
