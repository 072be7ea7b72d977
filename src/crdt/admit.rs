//! Changes from outside, judged before they become part of a document.
//!
//! Whatever a change says, it must not make documents differ between nodes, nor spoil later writes. So it is
//! taken only if its sequence number is its actor's next, its actor's previous change is among its ancestors,
//! its first operation is above those of its dependencies and not absurdly high, and Automerge takes it.

use std::collections::{HashMap, HashSet};

use automerge::{ActorId, Change, ChangeHash};
use bytes::Bytes;

use super::change::{guarded, opaque, read};
use super::chunk::{self, Kind};
use super::clash::{self, Outcome};
use super::document::{Document, Edited, load};
use crate::base::limits::{MAX_ANCESTRY_STEPS, MAX_OP_JUMP, MAX_RAW_CHANGES};
use crate::base::{Hash, Heads, canonical_heads, heads_of};

/// Why changes from outside were not taken. Nothing of them is in the document then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdmitError {
    #[error("{} dependencies are missing", hashes.len())]
    Missing { hashes: Vec<Hash> },
    #[error("{}{reason}", hash.map(|h| format!("change {h}: ")).unwrap_or_default())]
    Refused { hash: Option<Hash>, reason: String },
}

impl Document {
    /// Takes concatenated change chunks, or a saved document. What is here already is passed over.
    ///
    /// # Errors
    /// As told in [`AdmitError`]. Afterwards look at [`Document::is_broken`].
    pub fn admit(&mut self, raw: &Bytes) -> Result<Edited, AdmitError> {
        let refused = |hash: Option<ChangeHash>| {
            move |reason: String| AdmitError::Refused { hash: hash.map(|hash| Hash(hash.0)), reason }
        };
        let changes = parse(raw).map_err(refused(None))?;
        let version = canonical_heads(heads_of(changes.iter().map(|change| {
            (Hash(change.hash().0), change.deps().iter().map(|dep| Hash(dep.0)).collect::<Heads>())
        })));
        let here = |hash: &ChangeHash| self.has(&Hash(hash.0)) || self.left_out.contains_key(&Hash(hash.0));
        let new: Vec<Change> = changes.into_iter().filter(|change| !here(&change.hash())).collect();
        let new = in_causal_order(new, |dep| self.has(&Hash(dep.0)))?;
        Judge::new(self).judge(&new).map_err(|(hash, reason)| refused(Some(hash))(reason))?;
        match clash::apply(&mut self.doc, new.clone()) {
            Outcome::Applied => {}
            Outcome::Clash => return Err(refused(None)("its sequence number is taken".into())),
            Outcome::Broken(reason) => {
                self.broken = true;
                return Err(refused(None)(format!("Automerge does not take it: {reason}")));
            }
        }
        // Some faults show only when a document is read or saved.
        if let Err(reason) = guarded(|| (self.json(None, false).is_ok(), self.doc.save().len())) {
            self.broken = true;
            return Err(refused(None)(format!("the document could not be read with it: {reason}")));
        }
        Ok(Edited { changes: new.iter().map(opaque).collect(), version })
    }
}

fn parse(raw: &[u8]) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    for chunk in chunk::split(raw)? {
        match chunk.kind {
            Kind::Document => changes.extend(load(chunk.bytes, &ActorId::from([0; 16]))?.get_changes(&[])),
            Kind::Change => {
                let change = read(chunk.bytes)?;
                if change.hash().0[..4] != chunk.checksum {
                    return Err(format!("change {}: its checksum does not match", change.hash()));
                }
                changes.push(change);
            }
        }
        if changes.len() > MAX_RAW_CHANGES {
            return Err(format!("more than {MAX_RAW_CHANGES} changes"));
        }
    }
    if changes.is_empty() { Err("no changes in it".into()) } else { Ok(changes) }
}

/// Causes first, each once.
fn in_causal_order(
    changes: Vec<Change>,
    here: impl Fn(&ChangeHash) -> bool,
) -> Result<Vec<Change>, AdmitError> {
    let mut waiting: HashMap<ChangeHash, Vec<usize>> = HashMap::new();
    let mut lacks: Vec<usize> = Vec::with_capacity(changes.len());
    let mut seen = HashSet::new();
    for (index, change) in changes.iter().enumerate() {
        let missing: HashSet<_> = change.deps().iter().filter(|dep| !here(dep)).copied().collect();
        let again = !seen.insert(change.hash());
        lacks.push(if again { usize::MAX } else { missing.len() });
        for dep in missing.into_iter().filter(|_| !again) {
            waiting.entry(dep).or_default().push(index);
        }
    }
    let mut ready: Vec<usize> = (0..changes.len()).rev().filter(|index| lacks[*index] == 0).collect();
    let mut ordered = Vec::with_capacity(changes.len());
    let mut changes: Vec<Option<Change>> = changes.into_iter().map(Some).collect();
    while let Some(index) = ready.pop() {
        let Some(change) = changes.get_mut(index).and_then(Option::take) else { continue };
        for dependant in waiting.remove(&change.hash()).into_iter().flatten() {
            lacks[dependant] -= 1;
            if lacks[dependant] == 0 {
                ready.push(dependant);
            }
        }
        ordered.push(change);
    }
    // Of what is still waited for, that which is not itself waiting is missing.
    let unplaced: HashSet<ChangeHash> = changes.iter().flatten().map(Change::hash).collect();
    let missing = waiting.into_keys().filter(|dep| !unplaced.contains(dep));
    let missing = canonical_heads(missing.map(|dep| Hash(dep.0)));
    if missing.is_empty() { Ok(ordered) } else { Err(AdmitError::Missing { hashes: missing.into_vec() }) }
}

/// What is known of the changes judged so far, on top of a document.
struct Judge<'a> {
    document: &'a Document,
    judged: HashMap<ChangeHash, Judged>,
    /// Actor → its last change, of the document's or of those judged.
    last: HashMap<ActorId, Option<(u64, ChangeHash)>>,
    highest_op: u64,
    steps: usize,
}

struct Judged {
    deps: Vec<ChangeHash>,
    max_op: u64,
}

impl<'a> Judge<'a> {
    fn new(document: &'a Document) -> Self {
        let heads = document.doc.get_heads();
        let max_op = |head| document.doc.get_change_meta_by_hash(head).map_or(0, |meta| meta.max_op);
        let highest_op = heads.iter().map(max_op).max().unwrap_or(0);
        Self { document, judged: HashMap::new(), last: HashMap::new(), highest_op, steps: 0 }
    }

    fn judge(&mut self, changes: &[Change]) -> Result<(), (ChangeHash, String)> {
        self.learn_last(changes);
        for change in changes {
            let hash = change.hash();
            self.admissible(change).map_err(|reason| (hash, reason))?;
            self.highest_op = self.highest_op.max(change.max_op());
            self.last.insert(change.actor_id().clone(), Some((change.seq(), hash)));
            let judged = Judged { deps: change.deps().to_vec(), max_op: change.max_op() };
            self.judged.insert(hash, judged);
        }
        Ok(())
    }

    /// Looks up the last change in the document of each actor in question.
    fn learn_last(&mut self, changes: &[Change]) {
        for change in changes {
            self.last.insert(change.actor_id().clone(), None);
        }
        if self.document.doc.is_empty() {
            return;
        }
        for meta in self.document.doc.get_changes_meta(&[]) {
            if let Some(last) = self.last.get_mut(&*meta.actor)
                && last.is_none_or(|(seq, _)| seq < meta.seq)
            {
                *last = Some((meta.seq, meta.hash));
            }
        }
    }

    fn admissible(&mut self, change: &Change) -> Result<(), String> {
        if change.actor_id() == self.document.actor() {
            return Err("its actor is this node: load a document with an actor of your own".into());
        }
        let last = self.last.get(change.actor_id()).copied().flatten();
        let next = last.map_or(1, |(seq, _)| seq + 1);
        if change.seq() != next {
            return Err(format!("its sequence number is {}, its actor's next is {next}", change.seq()));
        }
        if let Some((_, previous)) = last
            && !self.is_ancestor(&previous, change.deps())?
        {
            return Err("its actor's previous change is not among its ancestors".into());
        }
        let above = change.deps().iter().map(|dep| self.max_op(dep)).max().unwrap_or(0);
        let first = change.start_op().get();
        if first <= above {
            return Err(format!("its first operation is {first}, its dependencies reach {above}"));
        }
        if first > self.highest_op + MAX_OP_JUMP {
            let most = self.highest_op + MAX_OP_JUMP;
            return Err(format!("its first operation is {first}, more than {most} is not taken"));
        }
        Ok(())
    }

    fn max_op(&self, hash: &ChangeHash) -> u64 {
        match self.judged.get(hash) {
            Some(judged) => judged.max_op,
            None => self.document.doc.get_change_meta_by_hash(hash).map_or(0, |meta| meta.max_op),
        }
    }

    fn is_ancestor(&mut self, of: &ChangeHash, deps: &[ChangeHash]) -> Result<bool, String> {
        if deps.contains(of) {
            return Ok(true);
        }
        let mut seen: HashSet<ChangeHash> = deps.iter().copied().collect();
        let mut stack = deps.to_vec();
        let mut in_document = Vec::new();
        while let Some(hash) = stack.pop() {
            self.steps += 1;
            if self.steps > MAX_ANCESTRY_STEPS {
                return Err("its ancestry is too wide to be judged; send fewer changes at once".into());
            }
            if hash == *of {
                return Ok(true);
            }
            match self.judged.get(&hash) {
                Some(judged) => stack.extend(judged.deps.iter().filter(|dep| seen.insert(**dep))),
                None => in_document.push(hash),
            }
        }
        let here = self.document.has(&Hash(of.0));
        Ok(here && super::derive::is_within(&self.document.doc, of, &in_document))
    }
}
