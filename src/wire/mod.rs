//! Bytes ⇄ messages, within limits: log entries, what links say to each other, and readers' cursors.

mod cursor;
mod entry;
mod known;
mod message;
mod repair;
mod segment;

pub use cursor::{Cursor, CursorError};
pub use entry::{Entry, EntryError};
pub use known::Known;
pub use message::{
    Heartbeat, Hello, Message, NodeInfo, PROTOCOL_VERSION, WireError, decode_frame, encode_frame,
};
pub use repair::{Offer, Part, Push, Repair, Snapshot};
pub use segment::{Segment, segments};
