//! Newtyped ids, version vectors, and every limit. No I/O, no clock, no entropy.

mod bounds;
mod digest;
mod ids;
pub mod limits;
mod meter;
mod planted;
mod vector;
mod version;

pub use bounds::Bounds;
pub use digest::{Digest, GROUP, LEAVES, LeafSet, Shift, leaf_of};
pub use ids::{Change, DocId, DocIdError, Hash, Heads, LinkId, Lsn, Millis, NodeId, Origin, Role};
pub use meter::{Counted, Counter, DURATIONS, Histogram, SIZES};
#[cfg(feature = "planted-bugs")]
pub use planted::plant;
pub use planted::{Bug, planted};
pub use vector::VersionVector;
pub use version::{canonical_heads, heads_of, version_digest};
