//! Links that others open.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{PATH, PROTOCOL, limits, pump};
use crate::node::Node;

#[derive(Clone)]
struct Accept {
    node: Node,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The route at which links are taken. They run as tasks of `tasks` and end when `stop` is cancelled.
pub fn router(node: Node, stop: CancellationToken, tasks: TaskTracker) -> Router {
    Router::new().route(PATH, get(accept)).with_state(Accept { node, stop, tasks })
}

async fn accept(State(state): State<Accept>, mut request: Request) -> Response {
    let key = match handshake_key(request.headers()) {
        Ok(key) => key,
        Err(refusal) => return refusal.into_response(),
    };
    // axum's own extractor would hide the socket behind its WebSocket type; links are pumped raw.
    let upgrade = hyper::upgrade::on(&mut request);
    let tasks = state.tasks.clone();
    tasks.spawn(async move {
        let socket = match upgrade.await {
            Ok(socket) => TokioIo::new(socket),
            Err(error) => return debug!(%error, "a link's upgrade failed"),
        };
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(limits())).await;
        match state.node.link(false).await {
            Ok(link) => {
                pump::run(socket, &link, &state.stop).await;
            }
            Err(error) => pump::refuse(socket, &error.to_string()).await,
        }
    });
    let headers = [
        (header::CONNECTION, HeaderValue::from_static("Upgrade")),
        (header::UPGRADE, HeaderValue::from_static("websocket")),
        (header::SEC_WEBSOCKET_ACCEPT, key),
        (header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL)),
    ];
    (StatusCode::SWITCHING_PROTOCOLS, headers).into_response()
}

/// The answer to the handshake's key, where the request is one of a node that speaks our protocol.
fn handshake_key(headers: &HeaderMap) -> Result<HeaderValue, (StatusCode, String)> {
    let says = |name, word: &str| {
        let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
    };
    if !says(header::UPGRADE, "websocket") || !says(header::CONNECTION, "upgrade") {
        return Err((StatusCode::UPGRADE_REQUIRED, format!("{PATH} takes WebSockets of other nodes only\n")));
    }
    if !says(header::SEC_WEBSOCKET_VERSION, "13") || !says(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL) {
        return Err((
            StatusCode::BAD_REQUEST,
            format!("only {PROTOCOL} over WebSocket version 13 is spoken\n"),
        ));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    key.and_then(|key| HeaderValue::from_str(&key).ok())
        .ok_or_else(|| (StatusCode::BAD_REQUEST, "a handshake without Sec-WebSocket-Key\n".to_owned()))
}
