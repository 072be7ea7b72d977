//! No (origin, counter) is used twice with different content, and none of our nodes makes an (actor, sequence) of
//! a document twice.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::Hasher;

use rustc_hash::FxHasher;
use syncline::base::{Change, DocId, Hash, Origin};
use syncline::wire::Entry;

use super::{Checked, Failure};

#[derive(Default)]
pub struct Unique {
    /// A hash of each entry's bytes.
    entries: BTreeMap<(Origin, u64), u64>,
    /// Changes that our nodes have made; foreign actors may do as they like.
    ours: BTreeSet<Hash>,
    by_actor: BTreeMap<(DocId, Vec<u8>, u64), Hash>,
}

impl Unique {
    /// One of our nodes has made these. What never gets on a disk does not count: nobody has seen it.
    pub fn made(&mut self, changes: &[Change]) {
        self.ours.extend(changes.iter().map(|change| change.hash));
    }

    /// An entry, encoded as it is in some node's log.
    pub fn entry(&mut self, entry: &Entry, bytes: &[u8]) -> Checked {
        let mut hasher = FxHasher::default();
        hasher.write(bytes);
        let content = hasher.finish();
        match self.entries.insert((entry.origin, entry.counter), content) {
            None => self.changes(entry),
            Some(known) if known == content => Ok(()),
            Some(_) => {
                let what = format!("{:?}:{} has two contents", entry.origin, entry.counter);
                Err(Failure::new("unique", what))
            }
        }
    }

    /// Derived changes are alike wherever they are made, so the same one twice is no fault.
    fn changes(&mut self, entry: &Entry) -> Checked {
        for change in entry.changes.iter().filter(|change| self.ours.contains(&change.hash)) {
            let parsed = automerge::Change::from_bytes(change.bytes.to_vec())
                .map_err(|e| Failure::new("unique", format!("a change of ours: {e}")))?;
            let key = (entry.doc.clone(), parsed.actor_id().to_bytes().to_vec(), parsed.seq());
            let known = *self.by_actor.entry(key).or_insert(change.hash);
            if known != change.hash {
                let what = format!(
                    "{:?}: actor {} made {} twice: {known:?}, {:?}",
                    entry.doc,
                    parsed.actor_id(),
                    parsed.seq(),
                    change.hash
                );
                return Err(Failure::new("unique", what));
            }
        }
        Ok(())
    }
}
