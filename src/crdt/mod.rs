//! Changes and heads, materialisation, edits, JSON ⇄ Automerge. No I/O, no clock.

#[derive(Clone, Debug)]
pub enum Edit {
    Put(serde_json::Value),
    MergePatch(serde_json::Value),
}
#[derive(Clone, Debug, thiserror::Error)]
#[error("edit")]
pub struct EditError;
#[derive(Clone, Debug, thiserror::Error)]
#[error("admit")]
pub struct AdmitError;
pub fn heads_after(
    heads: &crate::base::Heads,
    hash: &crate::base::Hash,
    deps: &[crate::base::Hash],
) -> crate::base::Heads {
    let mut after: crate::base::Heads = heads.iter().filter(|head| !deps.contains(head)).copied().collect();
    if let Err(place) = after.binary_search(hash) {
        after.insert(place, *hash);
    }
    after
}

pub struct Document;
pub struct Edited {
    pub changes: Vec<crate::base::Change>,
    pub version: crate::base::Heads,
}
pub struct Rendered {
    pub body: bytes::Bytes,
    pub conflicts: usize,
}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct VersionNotFound;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct LoadError;
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct BadChange;
pub fn verify(_: &crate::base::Change) -> Result<(), BadChange> {
    Ok(())
}
impl Document {
    pub fn load(
        _: [u8; 16],
        _: crate::base::DocId,
        _: Option<&[u8]>,
        _: &[crate::base::Change],
    ) -> Result<Self, LoadError> {
        Ok(Document)
    }
    pub fn merge(&mut self, _: &[crate::base::Change]) {}
    pub fn applied_heads(&self) -> crate::base::Heads {
        Default::default()
    }
    pub fn has(&self, _: &crate::base::Hash) -> bool {
        false
    }
    pub fn is_empty(&self) -> bool {
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
        _: &Edit,
        _: Option<&[crate::base::Hash]>,
        _: Option<&str>,
        _: i64,
    ) -> Result<Edited, EditError> {
        Err(EditError)
    }
    pub fn admit(&mut self, _: &bytes::Bytes) -> Result<Edited, AdmitError> {
        Err(AdmitError)
    }
    pub fn json(&self, _: Option<&[crate::base::Hash]>, _: bool) -> Result<Rendered, VersionNotFound> {
        Err(VersionNotFound)
    }
    pub fn save(&self, _: Option<&[crate::base::Hash]>) -> Result<bytes::Bytes, VersionNotFound> {
        Err(VersionNotFound)
    }
}
