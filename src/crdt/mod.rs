//! Changes and heads, materialisation, edits, JSON ⇄ Automerge. No I/O, no clock.
//!
//! - `change`, `chunk`: one opaque change, and what can be told of it without a document
//! - `document`, `clash`, `admit`, `wellformed`, `derive`, `deletion`: a materialised document, and what may become part of it
//! - `edit`, `json_patch`, `assign`, `difference`: what writers ask for, as operations on an open transaction
//! - `json`, `typed`, `tree`, `render`: JSON in and out; `patch`, `trail`: what changed in it
//! - `folded`: a document as a snapshot
//! - `history`, `conflicts`: what a document has been through, and holds beside what it shows

mod admit;
#[cfg(test)]
mod arbitrary;
mod assign;
mod change;
mod chunk;
mod clash;
mod conflicts;
mod deletion;
mod derive;
mod difference;
mod document;
mod edit;
mod folded;
mod history;
mod json;
mod json_patch;
mod patch;
mod render;
#[cfg(test)]
mod tests;
mod trail;
mod tree;
mod typed;
mod wellformed;

pub use admit::AdmitError;
pub use change::{BadChange, heads_after, verify};
pub use conflicts::{Conflicts, Field, LeftOut, Rival, Why};
pub use deletion::is_deletion;
pub use document::{Document, Edited, LoadError, Rendered, VersionNotFound};
pub use edit::{Edit, EditError, Op, parse_ops};
pub use folded::{Snapshot, causes_first, changes_beyond, folded_hashes, folded_outline};
pub use history::{History, Maker, Past};
pub use json::{JsonError, parse_json, parse_json_around};
pub use json_patch::{PatchOp, parse_json_patch};
pub use patch::Patched;
#[cfg(test)]
pub(crate) use patch::fold::fold;
