//! Changes and heads, materialisation, edits, JSON ⇄ Automerge. No I/O, no clock.
//!
//! - `change`: one opaque change, and what can be told of it without a document
//! - `document`, `clash`, `admit`, `derive`: a materialised document, and what may become part of it
//! - `edit`, `assign`, `difference`: what writers ask for, as operations on an open transaction
//! - `json`, `typed`, `tree`, `render`: JSON in and out

#[cfg(test)]
mod arbitrary;
mod assign;
mod change;
mod difference;
mod document;
mod edit;
mod json;
mod render;
mod tree;
mod typed;

pub use change::{BadChange, heads_after, verify};
pub use document::{AdmitError, Document, Edited, LoadError, Rendered, VersionNotFound};
pub use edit::{Edit, EditError, Op, parse_ops};
pub use json::{JsonError, parse_json};
