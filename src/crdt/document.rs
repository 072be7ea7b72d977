//! A materialised document.

use std::time::Instant;

use bytes::Bytes;

use super::{Edit, EditError};
use crate::base::{Change, DocId, Hash, Heads};

/// See the module.
pub struct Document;

/// What a write made: the changes in the order in which they have to be stored (none where nothing
/// changed), and the one version that it made, or started from.
#[derive(Clone, Debug)]
pub struct Edited {
    pub changes: Vec<Change>,
    pub version: Heads,
}

/// JSON, and how many fields have more than one value.
#[derive(Clone, Debug)]
pub struct Rendered {
    pub body: Bytes,
    pub conflicts: usize,
}

/// Why changes from outside were not taken. Nothing of them is in the document then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdmitError {
    #[error("{} dependencies are missing", hashes.len())]
    Missing { hashes: Vec<Hash> },
    #[error("{}{reason}", hash.map(|h| format!("change {h}: ")).unwrap_or_default())]
    Refused { hash: Option<Hash>, reason: String },
}

#[derive(Clone, Debug, thiserror::Error)]
#[error("the document has no such version here")]
pub struct VersionNotFound;

#[derive(Clone, Debug, thiserror::Error)]
#[error("the document cannot be loaded: {0}")]
pub struct LoadError(pub String);

impl Document {
    pub fn load(
        _actor: [u8; 16],
        _doc: DocId,
        _snapshot: Option<&[u8]>,
        _tail: &[Change],
    ) -> Result<Self, LoadError> {
        Ok(Document)
    }
    pub fn merge(&mut self, _: &[Change]) {}
    pub fn applied_heads(&self) -> Heads {
        Heads::default()
    }
    pub fn has(&self, _: &Hash) -> bool {
        false
    }
    pub fn is_empty(&self) -> bool {
        false
    }
    /// A caught panic has left it in an unknown state: throw it away and load it again.
    pub fn is_broken(&self) -> bool {
        false
    }
    pub fn size_estimate(&self) -> usize {
        0
    }
    pub fn conflicts(&self) -> usize {
        0
    }
    pub fn edit(
        &mut self,
        _edit: &Edit,
        _at: Option<&[Hash]>,
        _author: Option<&str>,
        _unix_ms: i64,
        _deadline: Option<Instant>,
    ) -> Result<Edited, EditError> {
        Err(EditError::Failed { reason: String::new() })
    }
    pub fn admit(&mut self, _: &Bytes) -> Result<Edited, AdmitError> {
        Err(AdmitError::Missing { hashes: Vec::new() })
    }
    pub fn json(&self, _at: Option<&[Hash]>, _typed: bool) -> Result<Rendered, VersionNotFound> {
        Err(VersionNotFound)
    }
    pub fn save(&self, _at: Option<&[Hash]>) -> Result<Bytes, VersionNotFound> {
        Err(VersionNotFound)
    }
}
