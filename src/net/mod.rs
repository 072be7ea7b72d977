//! Sockets between nodes: accept, dial, pump frames.
//!
//! Both ends speak WebSocket at [`PATH`] with the subprotocol [`PROTOCOL`], one message of the protocol a
//! binary frame. What the frames mean is the node's business.

mod accept;
mod dial;
mod pump;

pub use accept::router;
pub use dial::{Dialler, PeerUrl, PeerUrlError, backoff};

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::base::limits::{FRAME_TARGET_BYTES, MAX_FRAME_BYTES};

/// Where a node takes links.
pub const PATH: &str = "/v1/peer";

/// The WebSocket subprotocol of links.
pub const PROTOCOL: &str = "syncline.peer.v1";

/// The library's own limits are none, or wide: all three are set.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default()
        .max_message_size(Some(MAX_FRAME_BYTES))
        .max_frame_size(Some(MAX_FRAME_BYTES))
        .write_buffer_size(FRAME_TARGET_BYTES)
        .max_write_buffer_size(2 * MAX_FRAME_BYTES)
        .read_buffer_size(64 << 10)
}
