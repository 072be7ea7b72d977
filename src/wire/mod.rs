//! Bytes ⇄ messages, within limits: log entries, and what links say to each other.

mod entry;
mod message;
mod segment;

pub use entry::{Entry, EntryError};
pub use message::{
    Heartbeat, Hello, Message, NodeInfo, PROTOCOL_VERSION, WireError, decode_frame, encode_frame,
};
pub use segment::{Segment, segments};
