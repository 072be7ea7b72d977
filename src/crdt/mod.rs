//! Changes and heads, materialisation, edits, JSON ⇄ Automerge. No I/O, no clock.
//!
//! - `change`, `chunk`: one opaque change, and what can be told of it without a document
//! - `document`, `clash`, `admit`, `derive`: a materialised document, and what may become part of it
//! - `edit`, `difference`: what writers ask for, as operations on an open transaction
//! - `json`, `typed`, `render`: JSON in and out

mod admit;
mod change;
mod chunk;
mod clash;
mod derive;
mod document;
mod edit;
mod json;
mod render;
#[cfg(test)]
mod tests;

pub use admit::AdmitError;
pub use change::{BadChange, heads_after, verify};
pub use document::{Document, Edited, LoadError, Rendered, VersionNotFound};
pub use edit::{Edit, EditError, Op, parse_ops};
pub use json::{JsonError, parse_json};
