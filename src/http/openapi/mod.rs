//! `GET /openapi.json`: what this node serves, told so that programs can read it (OpenAPI 3.1).
//!
//! Each resource is described in a file of its own, in the words of `call` and `shape`. The types that are
//! answered give their own shapes. A test asks the router whether all of it is told, and nothing else.

mod bulk;
mod call;
mod cluster;
mod description;
mod documents;
mod health;
mod list;
mod live;
mod metrics;
mod past;
mod shape;
#[cfg(test)]
mod tests;

use std::sync::LazyLock;

use axum::body::Body;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::Response;
use utoipa::openapi::info::{InfoBuilder, LicenseBuilder};
use utoipa::openapi::schema::ComponentsBuilder;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::server::Server;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{OpenApi, OpenApiBuilder, Paths};

use super::accept::JSON;

pub(super) const PATH: &str = "/openapi.json";

const DOCUMENTS: &str = "Documents";
const CLUSTER: &str = "Cluster";
const LIVE: &str = "Live reads";
const HEALTH: &str = "Health";
const DESCRIPTION: &str = "Description";

const ABOUT: &str = "JSON documents on several masters at once, and on trees of replicas, that always converge. \
    A write is answered when it is on disk. A query parameter that a call does not know is refused with 400, \
    and a method that a path does not have with 405 and `Allow`; a path that is not here answers 404 \
    `no-such-resource`. `OPTIONS` answers 204 with `Allow` on every path. Every answer bears \
    `X-Request-Id`: the caller's own where it sends one. A node that has tokens wants one with the right `read` or `write`.";

/// The description as it is served; built once. That it can be written as JSON is seen by a test.
pub(super) static TEXT: LazyLock<String> =
    LazyLock::new(|| description().to_pretty_json().unwrap_or_default() + "\n");

pub(super) async fn answer() -> Response {
    let mut response = Response::new(Body::from(TEXT.as_bytes()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    // The next version of this node may say something else.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn description() -> OpenApi {
    let mut paths = Paths::new();
    documents::add_to(&mut paths);
    past::add_to(&mut paths);
    bulk::add_to(&mut paths);
    list::add_to(&mut paths);
    live::add_to(&mut paths);
    cluster::add_to(&mut paths);
    metrics::add_to(&mut paths);
    health::add_to(&mut paths);
    description::add_to(&mut paths);
    let mut components = shape::add_to(ComponentsBuilder::new());
    components = list::shapes(components);
    components = live::shapes(components);
    components = past::shapes(components);
    components = cluster::shapes(components);
    components = health::shapes(components);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A line of the node's `--token-file`. A node without one listens on loopback only, and asks for none.",
    ));
    let license = LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0"));
    let info = InfoBuilder::new()
        .title("Syncline")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(ABOUT))
        .license(Some(license.build()));
    let tags = [
        (DOCUMENTS, "Reading and writing. A document's id may have slashes"),
        (LIVE, "Documents as they change"),
        (CLUSTER, "How the nodes stand, as this one sees it"),
        (HEALTH, "For whoever starts nodes, and whoever sends clients to them. Without a token"),
        (DESCRIPTION, "This description. Without a token"),
    ];
    let tags = tags.map(|(name, text)| TagBuilder::new().name(name).description(Some(text)).build());
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([Server::new("/")]))
        .paths(paths)
        .components(Some(
            components.security_scheme(call::BEARER, SecurityScheme::Http(bearer.build())).build(),
        ))
        .security(Some([call::bearer()]))
        .tags(Some(tags))
        .build()
}
