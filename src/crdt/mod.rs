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
