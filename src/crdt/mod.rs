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
