//! Live reads: subscriptions over WebSockets, and a feed over plain HTTP.
//!
//! - `handshake`: how a request becomes a WebSocket
//! - `frames`, `cbor`: what both ends say, and how it is written
//! - `connection`: one client of a WebSocket
//! - `feed`: one of the feed

mod cbor;
mod connection;
mod feed;
mod frames;
mod handshake;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, Uri};
use axum::response::Response;
use axum::routing::get;
use hyper_util::rt::TokioIo;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use self::connection::{Connection, End};
pub(super) use self::feed::SSE;
use super::access::Access;
use super::bad_method;
use super::problem::{CROWDED, Problem};
use super::query::Query;
use super::requests::Requests;
use crate::base::limits::{DRAIN_MS, MAX_SUBSCRIBE_FRAME_BYTES, MAX_SUBSCRIBERS};
use crate::node::Node;

pub(super) const SUBSCRIBE: &str = "/v1/subscribe";
pub(super) const CHANGES: &str = "/v1/changes";

/// Bytes that are read from a client's socket at once: its frames are small.
const READ_BYTES: usize = 2 << 10;

/// Bytes of frames that are gathered before they are written, while there are more.
const WRITE_BYTES: usize = 4 << 10;

#[derive(Clone)]
struct Live {
    node: Node,
    access: Arc<Access>,
    requests: Arc<Requests>,
    places: Arc<Semaphore>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The routes of live reads. Connections run as tasks of `tasks`; they are sent away, over some time, when `stop`
/// is cancelled.
pub fn router(
    node: Node,
    access: Arc<Access>,
    requests: Arc<Requests>,
    stop: CancellationToken,
    tasks: TaskTracker,
) -> Router {
    let places = Arc::new(Semaphore::new(MAX_SUBSCRIBERS));
    Router::new()
        .route(SUBSCRIBE, get(subscribe))
        .route(CHANGES, get(changes))
        .method_not_allowed_fallback(bad_method)
        .with_state(Live { node, access, requests, places, stop, tasks })
}

impl Live {
    /// One of the places for live readers.
    fn place(&self) -> Result<OwnedSemaphorePermit, Problem> {
        let detail = format!("this node serves at most {MAX_SUBSCRIBERS} at once");
        self.places.clone().try_acquire_owned().map_err(|_| Problem::new(&CROWDED, detail).again())
    }
}

async fn changes(State(live): State<Live>, uri: Uri, headers: HeaderMap) -> Result<Response, Problem> {
    feed::answer(live, &uri, &headers).await
}

async fn subscribe(State(live): State<Live>, mut request: Request) -> Result<Response, Problem> {
    Query::of(request.uri())?.end()?;
    let (response, format) = handshake::answer(request.headers())?;
    let place = live.place()?;
    // The guard has judged the token, where there is one here.
    let trusted = !live.access.needs_tokens() || request.headers().contains_key(AUTHORIZATION);
    let upgrade = hyper::upgrade::on(&mut request);
    let tasks = live.tasks.clone();
    tasks.spawn(async move {
        let _place = place;
        let socket = match upgrade.await {
            Ok(socket) => TokioIo::new(socket),
            Err(error) => return debug!(%error, "an upgrade failed"),
        };
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(limits())).await;
        live.requests.subscribers.add(1);
        let mut connection =
            Connection::new(socket, format, live.node.clone(), live.access.clone(), live.requests.clone());
        let end = tokio::select! {
            end = connection.serve(trusted) => end,
            () = live.stop.cancelled() => {
                sleep(Duration::from_millis(fastrand::u64(..DRAIN_MS))).await;
                End::stopping()
            }
        };
        debug!(%end, "a subscriber has gone");
        connection.close(end).await;
        live.requests.subscribers.subtract(1);
    });
    Ok(response)
}

/// The library's own limits are none, or wide. What is written is bounded by one frame: the next is made when
/// that has been taken.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_SUBSCRIBE_FRAME_BYTES))
        .max_frame_size(Some(MAX_SUBSCRIBE_FRAME_BYTES))
        .write_buffer_size(WRITE_BYTES)
        .read_buffer_size(READ_BYTES)
}
