//! Changes and heads, materialisation, edits, JSON ⇄ Automerge. No I/O, no clock.
//!
//! - `change`, `chunk`: one opaque change, and what can be told of it without a document
//! - `document`, `clash`, `admit`, `wellformed`, `derive`, `deletion`: a materialised document, and what may become part of it
//! - `edit`, `json_patch`, `assign`, `difference`: what writers ask for, as operations on an open transaction
//! - `json`, `typed`, `tree`, `render`: JSON in and out

mod admit;
#[cfg(test)]
mod arbitrary;
mod assign;
mod change;
mod chunk;
mod clash;
mod deletion;
mod derive;
mod difference;
mod document;
mod edit;
mod json;
mod json_patch;
mod render;
#[cfg(test)]
mod tests;
mod tree;
mod typed;
mod wellformed;

pub use admit::AdmitError;
pub use change::{BadChange, heads_after, verify};
pub use deletion::is_deletion;
pub use document::{Document, Edited, LoadError, Rendered, VersionNotFound};
pub use edit::{Edit, EditError, Op, parse_ops};
pub use json::{JsonError, parse_json, parse_json_around};
pub use json_patch::{PatchOp, parse_json_patch};
