//! The replication core: which entries a node lacks, from whom it takes them, when they fit, and what it
//! sends on. A state machine without I/O, clock or entropy: every call is given the time, and what to
//! send, read and commit comes back as [`Effect`]s. It never waits, and it never looks into a document.

mod core;
mod hold;
mod lag;
mod link;
mod repair;
mod sources;
mod table;

pub use self::core::{Core, DUPLICATE, Effect, Event, Identity, LinkState, ReadFrom, Received, Start};
pub use lag::Standing;
pub use repair::{Gather, Piece, RepairState};
pub use table::KnownNode;
