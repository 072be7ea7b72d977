//! A materialised document: an Automerge document, and what of its set of changes cannot be shown.

use std::collections::BTreeMap;
use std::time::Instant;

use automerge::transaction::{CommitOptions, Transactable, Transaction};
use automerge::{ActorId, Automerge, ChangeHash, LoadOptions, PatchLog, ReadDoc, TextEncoding};
use bytes::Bytes;

use super::change::{guarded, native, opaque, parse};
use super::clash::{self, Outcome};
use super::deletion;
use super::derive::{self, Derived};
use super::edit::{Context, Creation, perform};
use super::trail::Trail;
use super::{Edit, EditError, render};
use crate::base::{Change, DocId, Hash, Heads, canonical_heads};

/// Bytes that a loaded document takes beside its content, as measured for ten thousand of 3 fields: 18 kB each with
/// all that is around them.
const BASE_BYTES: usize = 16 << 10;

/// Bytes in memory for each operation, about.
const OP_BYTES: usize = 64;

/// See the module.
pub struct Document {
    pub(super) doc: Automerge,
    id: DocId,
    actor: ActorId,
    /// Changes that are not shown: they clash, hang on one that does or that is not here, or are not taken.
    pub(super) left_out: BTreeMap<Hash, automerge::Change>,
    pub(super) broken: bool,
    /// Heads that are known not to be deleted: to find that out costs about as much as to read a field.
    present: Vec<ChangeHash>,
    /// Where live readers follow it. All that changes what is shown is noted in it, or ends it.
    pub(super) trail: Option<Trail>,
}

/// What a write made: the changes in the order in which they have to be stored (none where nothing
/// changed), and the one version that it made, or started from.
#[derive(Clone, PartialEq, Eq, Debug)]
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

#[derive(Clone, Debug, thiserror::Error)]
#[error("the document has no such version here")]
pub struct VersionNotFound;

#[derive(Clone, Debug, thiserror::Error)]
#[error("the document cannot be loaded: {0}")]
pub struct LoadError(pub String);

impl Document {
    /// A document from what is stored of it. `actor` is whose changes [`Document::edit`] makes.
    ///
    /// # Errors
    /// When what is stored is no set of changes.
    pub fn load(
        actor: [u8; 16],
        id: DocId,
        snapshot: Option<&[u8]>,
        tail: &[Change],
    ) -> Result<Self, LoadError> {
        let actor = ActorId::from(actor);
        let doc = match snapshot {
            Some(snapshot) => load(snapshot, &actor).map_err(LoadError)?,
            None => empty(&actor),
        };
        let mut document = Self {
            doc,
            id,
            actor,
            left_out: BTreeMap::new(),
            broken: false,
            present: Vec::new(),
            trail: None,
        };
        let tail: Result<Vec<_>, String> = tail.iter().map(|change| parse(&change.bytes)).collect();
        let tail = tail.map_err(LoadError)?;
        document.take(tail.clone());
        if document.broken {
            // What made it so is among the tail; the snapshot is as sound as before.
            let folded = match snapshot {
                Some(snapshot) => load(snapshot, &document.actor).map_err(LoadError)?.get_changes(&[]),
                None => Vec::new(),
            };
            document.rebuild(folded, tail).map_err(LoadError)?;
        }
        Ok(document)
    }

    /// Merges changes that came from elsewhere, in one step. Those that are here already do nothing. Afterwards
    /// look at [`Document::is_broken`].
    pub fn merge(&mut self, changes: &[Change]) {
        let parsed: Vec<_> = changes.iter().filter_map(|change| parse(&change.bytes).ok()).collect();
        // What does not parse was refused or fenced before it came here; loading it again says so.
        self.broken |= parsed.len() != changes.len();
        self.take(parsed);
    }

    /// The heads of what is shown.
    pub fn applied_heads(&self) -> Heads {
        self.doc.get_heads().into_iter().map(|head| Hash(head.0)).collect()
    }

    /// Is that change part of what is shown?
    pub fn has(&self, hash: &Hash) -> bool {
        self.doc.get_change_meta_by_hash(&ChangeHash(hash.0)).is_some()
    }

    /// Has it no changes at all?
    pub fn is_empty(&self) -> bool {
        self.doc.is_empty() && self.left_out.is_empty()
    }

    /// Has it no changes, or is it deleted?
    pub fn is_absent(&self) -> bool {
        self.is_empty() || self.is_deleted()
    }

    /// Is every head of what is shown a deletion?
    pub fn is_deleted(&self) -> bool {
        self.is_deleted_at(&self.doc.get_heads())
    }

    fn is_deleted_at(&self, heads: &[ChangeHash]) -> bool {
        *heads != *self.present && deletion::is_deleted(&self.doc, heads)
    }

    /// A panic or fault of Automerge's has left it in an unknown state: throw it away and load it again.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// What is stored is another document by now: throw it away and load it again.
    pub fn distrust(&mut self) {
        self.broken = true;
    }

    /// About how many bytes it takes in memory.
    pub fn size_estimate(&self) -> usize {
        let operations = usize::try_from(self.doc.stats().num_ops).unwrap_or(usize::MAX / OP_BYTES);
        BASE_BYTES + OP_BYTES * operations + self.trail.as_ref().map_or(0, |trail| trail.bytes)
    }

    pub(super) fn id(&self) -> &DocId {
        &self.id
    }

    pub(super) fn actor(&self) -> &ActorId {
        &self.actor
    }

    /// Changes that are kept and not shown.
    pub fn left_out(&self) -> impl Iterator<Item = &Hash> {
        self.left_out.keys()
    }

    /// Makes an edit, on the version `at` or on what is shown. Where nothing changes no change is made.
    /// `unix_ms` is when; differences may search until `deadline`.
    ///
    /// # Errors
    /// As told in [`EditError`]; the document is as it was.
    pub fn edit(
        &mut self,
        edit: &Edit,
        at: Option<&[Hash]>,
        author: Option<&str>,
        unix_ms: i64,
        deadline: Option<Instant>,
    ) -> Result<Edited, EditError> {
        let at = at.map(native);
        let time = unix_ms.div_euclid(1_000);
        let message = author.map(|author| serde_json::json!({"author": author}).to_string());
        let attempt = |document: &mut Self| {
            let options = CommitOptions { message: message.clone(), time: Some(time) };
            let work = || match edit {
                Edit::Delete => document.delete(at.clone(), author, time),
                edit => document.edit_present(edit, at.clone(), options, deadline),
            };
            guarded(work).unwrap_or_else(|reason| {
                document.broken = true;
                Err(EditError::Failed { reason })
            })
        };
        let before = self.doc.get_heads();
        let mut edited = attempt(self);
        // Automerge's own index of a list in memory may be at odds with the list after merges (`index 1 is out of
        // bounds` of two elements, found by the simulator); built anew from the same changes it is sound. Where
        // anything was applied already, that cannot be told apart from what is stored.
        if let Err(EditError::Failed { reason }) = &edited
            && !self.broken
            && self.doc.get_heads() == before
        {
            tracing::warn!(doc = %self.id, %reason, "an edit failed: trying on a document built anew");
            self.settle(Vec::new());
            edited = if self.broken { edited } else { attempt(self) };
        }
        self.broken |= matches!(edited, Err(EditError::Failed { .. }));
        if edited.as_ref().is_ok_and(|edited| !edited.changes.is_empty()) && !matches!(edit, Edit::Delete) {
            self.present = self.doc.get_heads();
        }
        edited
    }

    /// The document as JSON, now or at a version.
    ///
    /// # Errors
    /// When there is no such version here.
    pub fn json(&self, at: Option<&[Hash]>, typed: bool) -> Result<Rendered, VersionNotFound> {
        let at = self.known(at)?;
        let (body, conflicts) = render::json(&self.doc, at.as_deref(), typed);
        Ok(Rendered { body, conflicts })
    }

    /// Automerge's compact save, now or at a version.
    ///
    /// # Errors
    /// When there is no such version here.
    pub fn save(&self, at: Option<&[Hash]>) -> Result<Bytes, VersionNotFound> {
        match self.known(at)? {
            None => Ok(self.doc.save().into()),
            Some(at) => Ok(self.doc.fork_at(&at).map_err(|_| VersionNotFound)?.save().into()),
        }
    }

    /// The changes that are shown and that a version has not, causes first, as concatenated chunks; all where
    /// none is named.
    ///
    /// # Errors
    /// When there is no such version here.
    pub fn changes_since(&self, since: Option<&[Hash]>) -> Result<Bytes, VersionNotFound> {
        let since = self.known(since)?.unwrap_or_default();
        let changes = self.doc.get_changes(&since);
        let mut bytes = Vec::with_capacity(changes.iter().map(|change| change.raw_bytes().len()).sum());
        changes.iter().for_each(|change| bytes.extend_from_slice(change.raw_bytes()));
        Ok(bytes.into())
    }

    pub(super) fn known(&self, at: Option<&[Hash]>) -> Result<Option<Vec<ChangeHash>>, VersionNotFound> {
        let Some(at) = at else { return Ok(None) };
        if at.iter().all(|hash| self.has(hash)) { Ok(Some(native(at))) } else { Err(VersionNotFound) }
    }

    /// Applies what can be shown of these, and keeps the rest.
    fn take(&mut self, changes: Vec<automerge::Change>) {
        if self.broken {
            return;
        }
        let mut changes = changes;
        if !self.left_out.is_empty() {
            changes.retain(|change| !self.left_out.contains_key(&Hash(change.hash().0)));
            if changes.iter().any(|change| self.concerns_left_out(change)) {
                return self.settle(changes);
            }
        }
        match clash::apply(&mut self.doc, changes.clone(), &mut self.trail) {
            // Changes whose dependencies are not here are queued inside Automerge, where nobody sees them.
            Outcome::Applied if self.doc.get_missing_deps(&[]).is_empty() => {}
            Outcome::Applied | Outcome::Clash => self.settle(changes),
            Outcome::Broken(reason) => {
                tracing::warn!(doc = %self.id, %reason, "changes that Automerge does not take");
                self.broken = true;
            }
        }
    }

    /// Does it hang on a change that is left out, compete with one, or complete one?
    fn concerns_left_out(&self, change: &automerge::Change) -> bool {
        let hash = change.hash();
        change.deps().iter().any(|dep| self.left_out.contains_key(&Hash(dep.0)))
            || self.left_out.values().any(|other| {
                other.deps().contains(&hash)
                    || (other.actor_id() == change.actor_id() && other.seq() == change.seq())
            })
    }

    /// Builds the document anew from all its changes and more.
    fn settle(&mut self, more: Vec<automerge::Change>) {
        let all = self.doc.get_changes(&[]);
        let left_out = std::mem::take(&mut self.left_out).into_values();
        if let Err(reason) = self.rebuild(all, left_out.chain(more).collect()) {
            tracing::warn!(doc = %self.id, %reason, "a document that cannot be built");
            self.broken = true;
        }
    }

    fn rebuild(&mut self, some: Vec<automerge::Change>, more: Vec<automerge::Change>) -> Result<(), String> {
        let all = some.into_iter().chain(more).collect();
        let (doc, left_out) = clash::build(|| empty(&self.actor), all)?;
        self.doc = doc;
        self.trail = None;
        self.left_out = left_out.into_iter().map(|change| (Hash(change.hash().0), change)).collect();
        self.broken = false;
        Ok(())
    }

    /// The actor of the next change. Where one of its own hangs on a clash and is left out, Automerge does not
    /// know of it, and would use its sequence number again: a further actor goes on. Automerge puts what it adds
    /// for changes at an old version in front.
    fn writer(&self) -> ActorId {
        let is_spent =
            |actor: &[u8]| self.left_out.values().any(|change| change.actor_id().to_bytes().ends_with(actor));
        let mut actor = self.actor.to_bytes().to_vec();
        let mut next = 1_u32;
        while is_spent(&actor) {
            actor = [self.actor.to_bytes(), &next.to_be_bytes()].concat();
            next += 1;
        }
        ActorId::from(actor)
    }

    fn try_edit(
        &mut self,
        edit: &Edit,
        at: Option<Vec<ChangeHash>>,
        options: CommitOptions,
        deadline: Option<Instant>,
    ) -> Result<Edited, EditError> {
        if !self.left_out.is_empty() {
            let writer = self.writer();
            self.doc.set_actor(writer);
        }
        let base = at.clone().unwrap_or_else(|| self.doc.get_heads());
        let strings_are_text = self.id.as_str().starts_with("automerge:");
        let mut cx = Context { deadline, strings_are_text, ..Context::default() };
        let is_new = self.is_empty() || self.is_deleted_at(&base);
        let mut tx = self.transaction(at.as_deref())?;
        if let Err(refused) = perform(&mut tx, edit, &mut cx) {
            tx.rollback();
            return Err(refused);
        }
        if cx.created.is_empty() {
            let made = if is_new && tx.pending_ops() == 0 {
                tx.rollback();
                // A document without members is there too, once somebody has written it.
                Some(self.doc.empty_commit(options))
            } else {
                let committed = commit(tx, options);
                self.made(committed)
            };
            return self.edited(Vec::new(), made, &base);
        }
        // What is created must be there first, made as every master makes it; then the edit fills it.
        tx.rollback();
        let (derived, base) = self.derived(&cx.created, base)?;
        let mut tx = self.transaction(at.is_some().then_some(&base))?;
        if let Err(refused) = perform(&mut tx, edit, &mut cx) {
            tx.rollback();
            self.broken = true;
            return Err(refused);
        }
        let committed = commit(tx, options);
        let made = self.made(committed);
        self.edited(derived, made, &base)
    }

    /// What is written on a deleted version does not bring back what was there: that is cleared first.
    fn edit_present(
        &mut self,
        edit: &Edit,
        at: Option<Vec<ChangeHash>>,
        options: CommitOptions,
        deadline: Option<Instant>,
    ) -> Result<Edited, EditError> {
        let base = at.clone().unwrap_or_else(|| self.doc.get_heads());
        if matches!(edit, Edit::Put(_)) || !self.is_deleted_at(&base) {
            return self.try_edit(edit, at, options, deadline);
        }
        let clear = CommitOptions { message: options.message.clone(), time: options.time };
        let cleared = self.try_edit(&Edit::Put(serde_json::json!({})), at.clone(), clear, deadline)?;
        let edited = self.try_edit(edit, at.map(|_| native(&cleared.version)), options, deadline);
        // Nothing of a refused edit may stay.
        self.broken |= edited.is_err();
        let Edited { changes, version } = edited?;
        Ok(Edited { changes: [cleared.changes, changes].concat(), version })
    }

    fn delete(
        &mut self,
        at: Option<Vec<ChangeHash>>,
        author: Option<&str>,
        time: i64,
    ) -> Result<Edited, EditError> {
        let base = at.unwrap_or_else(|| self.doc.get_heads());
        let change = deletion::delete(&self.doc, &self.actor, &base, author, time);
        let Some(change) = change.filter(|_| !self.is_deleted_at(&base)) else {
            return self.edited(Vec::new(), None, &base);
        };
        let hash = change.hash();
        let new = !self.has(&Hash(hash.0));
        match clash::apply(&mut self.doc, vec![change.clone()], &mut self.trail) {
            Outcome::Applied => {}
            // This writer has deleted that version before, at another time: it is deleted.
            Outcome::Clash => return self.edited(Vec::new(), None, &base),
            Outcome::Broken(reason) => {
                self.broken = true;
                return Err(EditError::Failed { reason });
            }
        }
        let changes = if new { vec![opaque(&change)] } else { Vec::new() };
        Ok(Edited { changes, version: Heads::from_slice(&[Hash(hash.0)]) })
    }

    fn transaction(&mut self, at: Option<&[ChangeHash]>) -> Result<Transaction<'_>, EditError> {
        let transaction = match at {
            None => self.doc.transaction_log_patches(Trail::draft(self.trail.as_ref())),
            Some(at) => {
                // What it would note is told of another version than the one that is shown.
                self.trail = None;
                self.doc.transaction_at(PatchLog::inactive(), at)
            }
        };
        transaction.map_err(|e| EditError::Failed { reason: e.to_string() })
    }

    /// The change that a transaction has made; what it has noted belongs to the trail now.
    fn made(&mut self, committed: Option<(ChangeHash, PatchLog)>) -> Option<ChangeHash> {
        let (hash, log) = committed?;
        if let Some(trail) = &mut self.trail {
            trail.log = log;
        }
        Some(hash)
    }

    /// Makes the derived changes for these creations. Gives those that are new, and the version that has all of
    /// them on top of `base`.
    fn derived(
        &mut self,
        created: &[Creation],
        mut base: Vec<ChangeHash>,
    ) -> Result<(Vec<Change>, Vec<ChangeHash>), EditError> {
        let mut all: Vec<Option<Derived>> = Vec::with_capacity(created.len());
        let mut new = Vec::new();
        for creation in created {
            let derived = derive::derive(&self.doc, &self.id, creation, &all);
            let derived = derived.filter(|derived| self.may_derive(&derived.change, &base));
            if let Some(Derived { change, .. }) = &derived {
                let hash = change.hash();
                if !self.has(&Hash(hash.0)) {
                    match clash::apply(&mut self.doc, vec![change.clone()], &mut self.trail) {
                        Outcome::Applied => new.push(opaque(change)),
                        // Its actor has made something else: an ordinary change does it.
                        Outcome::Clash => {
                            all.push(None);
                            continue;
                        }
                        Outcome::Broken(reason) => {
                            self.broken = true;
                            return Err(EditError::Failed { reason });
                        }
                    }
                }
                base.retain(|head| !change.deps().contains(head));
                base.push(hash);
            }
            all.push(derived);
        }
        base.sort_unstable();
        Ok((new, base))
    }

    /// May a derived change do a creation? Not where it did so before: what it made was deleted or replaced
    /// since; and not where its actor has made something that is left out.
    fn may_derive(&self, change: &automerge::Change, base: &[ChangeHash]) -> bool {
        let hash = change.hash();
        if self.has(&Hash(hash.0)) {
            return !derive::is_within(&self.doc, &hash, base);
        }
        !self.left_out.values().any(|other| other.actor_id() == change.actor_id())
    }

    fn edited(
        &mut self,
        mut changes: Vec<Change>,
        made: Option<ChangeHash>,
        base: &[ChangeHash],
    ) -> Result<Edited, EditError> {
        let Some(hash) = made else {
            let version = canonical_heads(base.iter().map(|head| Hash(head.0)));
            return Ok(Edited { changes, version });
        };
        let Some(change) = self.doc.get_change_by_hash(&hash) else {
            self.broken = true;
            return Err(EditError::Failed { reason: "Automerge lost the change that it made".into() });
        };
        Trail::grow(&mut self.trail, std::slice::from_ref(&change));
        changes.push(opaque(&change));
        Ok(Edited { changes, version: Heads::from_slice(&[Hash(hash.0)]) })
    }
}

pub(super) fn empty(actor: &ActorId) -> Automerge {
    Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(actor.clone())
}

pub(super) fn load(bytes: &[u8], actor: &ActorId) -> Result<Automerge, String> {
    let options = LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint);
    let load = || Automerge::load_with_options(bytes, options).map_err(|e| e.to_string());
    Ok(guarded(load)??.with_actor(actor.clone()))
}

/// The change that is made, if any, and what is noted of it.
fn commit(tx: Transaction<'_>, options: CommitOptions) -> Option<(ChangeHash, PatchLog)> {
    if tx.pending_ops() == 0 {
        tx.rollback();
        return None;
    }
    let (made, log) = tx.commit_with(options);
    made.map(|hash| (hash, log))
}
