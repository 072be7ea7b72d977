//! A client of a node's subscriptions (`docs/subscriptions.md`), as far as commands need one.

use axum::http::{HeaderValue, header};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::output::{Failure, REFUSED, UNREACHABLE};
use crate::base::limits::MAX_ANSWER_BYTES;

const PROTOCOL: HeaderValue = HeaderValue::from_static("syncline.sub.v1");

/// A WebSocket on which a node has said welcome.
pub struct Subscriber {
    socket: WebSocketStream<TcpStream>,
}

impl Subscriber {
    /// `at` is host and port, `token` a whole `Authorization` header.
    ///
    /// # Errors
    /// With the code [`UNREACHABLE`] where nobody answers, else with what the node says.
    pub async fn open(at: &str, token: Option<&HeaderValue>) -> Result<Self, Failure> {
        let unreachable = |error: String| Failure::new(UNREACHABLE, format!("no answer from {at}: {error}"));
        let request = format!("ws://{at}/v1/subscribe").into_client_request();
        let mut request = request.map_err(|error| Failure::usage(error.to_string()))?;
        request.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, PROTOCOL);
        if let Some(token) = token {
            request.headers_mut().insert(header::AUTHORIZATION, token.clone());
        }
        let socket = TcpStream::connect(at).await.map_err(|error| unreachable(error.to_string()))?;
        socket.set_nodelay(true)?;
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MAX_ANSWER_BYTES))
            .max_frame_size(Some(MAX_ANSWER_BYTES))
            .read_buffer_size(4 << 10)
            .write_buffer_size(0);
        let socket = match client_async_with_config(request, socket, Some(limits)).await {
            Ok((socket, _)) => socket,
            Err(Error::Http(answer)) => {
                let body = answer.body().as_deref().unwrap_or_default();
                let body = String::from_utf8_lossy(body);
                return Err(Failure::refused(format!("{}: {}", answer.status(), body.trim())));
            }
            Err(error) => return Err(unreachable(error.to_string())),
        };
        let mut subscriber = Self { socket };
        subscriber.say(&json!({"type": "hello"})).await?;
        // The welcome.
        subscriber.hear().await?;
        Ok(subscriber)
    }

    /// # Errors
    /// When the connection has ended.
    pub async fn say(&mut self, frame: &Value) -> Result<(), Failure> {
        let sent = self.socket.send(Message::text(frame.to_string())).await;
        sent.map_err(|error| Failure::new(UNREACHABLE, error.to_string()))
    }

    /// The next frame. Dropped before it comes, it loses nothing.
    ///
    /// # Errors
    /// With the code [`UNREACHABLE`] where the connection has ended and may be tried again, else with what the
    /// node says.
    pub async fn hear(&mut self) -> Result<Utf8Bytes, Failure> {
        loop {
            match self.socket.next().await {
                Some(Ok(Message::Text(text))) => return Ok(text),
                Some(Ok(Message::Close(Some(close)))) => {
                    let code = match u16::from(close.code) {
                        4400..4500 => REFUSED,
                        _ => UNREACHABLE,
                    };
                    return Err(Failure::new(code, close.reason.to_string()));
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(Failure::new(UNREACHABLE, error.to_string())),
                None => return Err(Failure::new(UNREACHABLE, "the connection ended")),
            }
        }
    }
}
