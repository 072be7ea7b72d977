//! How a request becomes a WebSocket, and in which of two forms its frames are.

use axum::http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION,
    UPGRADE,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::frames::Format;
use crate::http::headers::bad;
use crate::http::problem::{NOT_UPGRADED, Problem};

const JSON: &str = "syncline.sub.v1";
const CBOR: &str = "syncline.sub.v1.cbor";

/// The answer that opens a WebSocket, in the first of the client's protocols that is spoken here.
pub(super) fn answer(headers: &HeaderMap) -> Result<(Response, Format), Problem> {
    let says = |name, word: &str| items(headers, name).any(|item| item.eq_ignore_ascii_case(word));
    if !says(UPGRADE, "websocket") || !says(CONNECTION, "upgrade") {
        let detail = format!("open a WebSocket here, with the subprotocol {JSON}");
        let problem = Problem::new(&NOT_UPGRADED, detail);
        return Err(problem.header(UPGRADE, HeaderValue::from_static("websocket")));
    }
    if !says(SEC_WEBSOCKET_VERSION, "13") {
        return Err(bad(&SEC_WEBSOCKET_VERSION, "is not 13"));
    }
    let protocol = items(headers, SEC_WEBSOCKET_PROTOCOL).find_map(|name| match name {
        JSON => Some((JSON, Format::Json)),
        CBOR => Some((CBOR, Format::Cbor)),
        _ => None,
    });
    let Some((protocol, format)) = protocol else {
        return Err(bad(&SEC_WEBSOCKET_PROTOCOL, &format!("names neither {JSON} nor {CBOR}")));
    };
    let key = headers.get(SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let accept = key.and_then(|key| HeaderValue::try_from(key).ok());
    let accept = accept.ok_or_else(|| bad(&SEC_WEBSOCKET_KEY, "is missing"))?;
    let headers = [
        (CONNECTION, HeaderValue::from_static("Upgrade")),
        (UPGRADE, HeaderValue::from_static("websocket")),
        (SEC_WEBSOCKET_ACCEPT, accept),
        (SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol)),
    ];
    Ok(((StatusCode::SWITCHING_PROTOCOLS, headers).into_response(), format))
}

fn items(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}
