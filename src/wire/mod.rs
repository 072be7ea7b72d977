//! Bytes ⇄ messages, within limits: log entries, and what links say to each other.

mod entry;

pub use entry::{Entry, EntryError};
