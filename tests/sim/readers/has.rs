//! What a reader has made of what it was told.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::Value;
use syncline::base::{Hash, Heads};
use syncline::crdt::folded_hashes;
use syncline::node::{Step, Target};

use super::fold::fold;
use super::{Reader, Subscribed};
use crate::invariants::{Checked, Failure, history::History};

/// What it has of one document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Has {
    pub version: Heads,
    pub deleted: bool,
    /// All changes that make the version; in mode `changes` those that it was sent.
    pub changes: BTreeSet<Hash>,
    pub value: Value,
}

impl Has {
    /// What it has of a document that it was never told of: no more than of one that is deleted.
    pub fn nothing() -> Self {
        Self { deleted: true, ..Self::default() }
    }
}

impl Reader {
    /// Takes a step that tells of a document.
    pub fn take(&mut self, history: &History, step: Step) -> Checked {
        let (doc, was) = match &step {
            Step::Notify { doc, .. }
            | Step::Snapshot { doc, .. }
            | Step::Patch { doc, .. }
            | Step::Changes { doc, .. }
            | Step::Deleted { doc, .. } => (doc.clone(), self.has.get(doc).cloned()),
            step => return Err(Failure::new("readers", format!("{step:?}"))),
        };
        let fails = |what: &dyn std::fmt::Display| Failure::new("readers", format!("{doc:?}: {what}"));
        let Some(Subscribed { since, told, node, .. }) = &mut self.at else { return Ok(()) };
        let is_first = told.insert(doc.clone());
        let made_of = |version: &Heads| history.ancestors(version);
        let now = match step {
            Step::Notify { version, .. } => Has { changes: made_of(&version), version, ..Has::default() },
            Step::Deleted { version, .. } => {
                let changes = match &was {
                    Some(was) if was.version == version => was.changes.clone(),
                    _ => made_of(&version),
                };
                Has { changes, version, deleted: true, ..Has::default() }
            }
            Step::Snapshot { version, value, .. } => {
                let value = serde_json::from_str(value.get()).map_err(|e| fails(&e))?;
                Has { changes: made_of(&version), version, value, deleted: false }
            }
            Step::Patch { from, to, patch, .. } => {
                let Some(was) = was.as_ref().filter(|was| was.version == from && !was.deleted) else {
                    return Err(fails(&format!("a patch from {from:?}, and it has {was:?}")));
                };
                let mut value = was.value.clone();
                let patch = serde_json::from_str(patch.get()).map_err(|e| fails(&e))?;
                fold(&mut value, &patch).map_err(|e| fails(&e))?;
                Has { changes: made_of(&to), version: to, value, deleted: false }
            }
            Step::Changes { from, to, changes, .. } => {
                let mut all = match &was {
                    Some(was) if !from.is_empty() => {
                        if !is_first && was.version != from {
                            return Err(fails(&format!("changes from {from:?}, and it has {was:?}")));
                        }
                        was.changes.clone()
                    }
                    _ => BTreeSet::new(),
                };
                for bytes in &changes {
                    all.extend(hashes(bytes).map_err(|e| fails(&e))?);
                }
                Has { changes: all, version: to, ..Has::default() }
            }
            _ => return Ok(()),
        };
        if let Some(was) = &was {
            let since = since.as_ref().filter(|_| is_first);
            let is_one = self.target == Target::Doc(doc.clone());
            super::checks::goes_on(history, *node, (&doc, is_one), was, &now, since)?;
        }
        self.has.insert(doc, now);
        Ok(())
    }
}

/// The changes in what was sent: one, or a saved document.
fn hashes(bytes: &Bytes) -> Result<Vec<Hash>, String> {
    // The kind stands after magic bytes and checksum.
    match bytes.get(8) {
        Some(0) => folded_hashes(bytes).map_err(|e| e.to_string()),
        Some(_) => {
            let change = automerge::Change::try_from(&bytes[..]).map_err(|e| e.to_string())?;
            Ok(vec![Hash(change.hash().0)])
        }
        None => Err("no change".into()),
    }
}
