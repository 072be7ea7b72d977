//! The heart of a node: the replication core, the store, and between them the commit under way. It has no
//! thread, clock or entropy of its own, so that the simulator drives the same code as the committer.

mod holes;
mod open;
mod remembered;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use self::holes::Holes;
pub use self::open::OpenError;
use self::remembered::Remembered;
use self::stage::Pending;
use super::absorb::Records;
use super::fold::Due;
use super::ring::Ring;
use super::trim::Trim;
use crate::base::limits::{COMMIT_MAX_BYTES, COMMIT_MAX_ENTRIES, FRAME_TARGET_BYTES, MAX_FENCED_NAMED};
use crate::base::{
    Bounds, Change, DocId, Hash, Heads, LinkId, Lsn, Millis, NodeId, Origin, Role, VersionVector,
};
use crate::replication::{Core, Effect, Event, Gather, ReadFrom, Received};
use crate::store::{Commit, Incarnation, MetaKey, Record, Store, StoreError};
use crate::wire::{Message, segments};

/// Who a node is to be; the rest is in its store.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    pub cluster: String,
    pub name: String,
    pub role: Role,
    pub url: Option<String>,
    pub bounds: Bounds,
}

/// Drawn by the caller, since the engine has no entropy.
#[derive(Clone, Copy, Debug)]
pub struct Dice {
    /// Used where the store is new.
    pub node: NodeId,
    pub random: u32,
}

/// What is to be done outside.
#[derive(Debug)]
pub enum Output {
    /// `weight` comes back in [`Event::Drained`].
    Send { link: LinkId, message: Message, weight: usize },
    /// Call [`read_log`] and hand in what it gives.
    ReadLog { link: LinkId, from: ReadFrom },
    /// Call [`super::gather::gather`] and hand in what it gives.
    Gather { link: LinkId, gather: Gather },
    /// Send what is still to be sent, and close the connection.
    Close { link: LinkId, reason: String },
}

/// A commit that is on disk: which documents it touched, and where.
#[derive(Debug, Default)]
pub struct Committed {
    pub touched: Vec<Touched>,
    /// A repair has ended with it: the vector names what it brought.
    pub merges: bool,
    /// Entries in it, and their bytes.
    pub entries: usize,
    pub bytes: usize,
}

#[derive(Debug)]
pub struct Touched {
    pub doc: DocId,
    pub lsn: Lsn,
    /// It entered here, so the document in memory has it already.
    pub local: bool,
    /// A stored change of the document is damaged.
    pub fenced: bool,
    /// Has its tail become worth folding?
    pub due: Due,
    /// More than its tail has changed: what is in memory of it is void.
    pub void: bool,
}

impl Touched {
    fn void(doc: &DocId, lsn: Lsn) -> Self {
        Self { doc: doc.clone(), lsn, local: false, fenced: false, due: Due::Not, void: true }
    }
}

/// See the module.
pub struct Engine {
    core: Core,
    pub(super) store: Arc<dyn Store>,
    pub(super) records: Records,
    ring: Ring,
    /// The last LSN given out.
    lsn: Lsn,
    trim: Trim,
    remembered: Remembered,
    /// What is on disk of [`Core::staged_ahead`].
    ahead: VersionVector,
    pending: Pending,
    holes: Holes,
    /// Documents of which a stored change is damaged; of many, some.
    fenced: BTreeSet<DocId>,
    incarnation: Incarnation,
    /// Of these it was noted in a commit that they have ended.
    repairs: u64,
    /// Documents were dropped since the start: what was made on them may still come.
    has_dropped: bool,
    /// Why commits fail, from a failed one until a new incarnation is stored.
    broken: Option<StoreError>,
    /// Another incarnation is to begin.
    renewal: Option<Renewal>,
}

#[derive(Clone, Copy)]
struct Renewal {
    as_another: bool,
    above: u32,
}

impl Engine {
    pub fn core(&self) -> &Core {
        &self.core
    }

    /// Why nothing can be committed, where that is so.
    pub fn broken(&self) -> Option<&StoreError> {
        self.broken.as_ref()
    }

    /// Anything for [`Engine::commit`] to do?
    pub fn has_pending(&self) -> bool {
        !self.pending.log.is_empty()
            || !self.pending.touched.is_empty()
            || self.pending.cover
            || self.pending.trim.is_some()
            || self.pending.mark
            || self.holes.has_staged()
            || self.remembered.has_news(&self.core)
            || *self.core.staged_ahead() != self.ahead
    }

    /// Documents of which more than the tail changes with the commit under way: what is in memory of them is void
    /// from then on.
    pub fn voids(&self) -> impl Iterator<Item = (&DocId, Lsn)> {
        self.pending.touched.iter().filter(|touched| touched.void).map(|touched| (&touched.doc, touched.lsn))
    }

    /// The first LSN that the log still has.
    pub fn log_first(&self) -> Lsn {
        self.trim.first
    }

    /// Documents of which a stored change is damaged, at most [`MAX_FENCED_NAMED`] of them.
    pub fn fenced(&self) -> &BTreeSet<DocId> {
        &self.fenced
    }

    /// How many documents lack changes that the vector names.
    pub fn holes(&self) -> usize {
        self.holes.len()
    }

    /// Have the documents on disk all that the vector names?
    pub fn is_whole(&self) -> bool {
        self.holes.is_empty()
    }

    /// Are documents dropped with the commit under way?
    pub fn drops(&self) -> bool {
        !self.pending.drops.is_empty()
    }

    /// Bytes of past commits kept in memory for links.
    pub fn ring_bytes(&self) -> usize {
        self.ring.bytes()
    }

    /// Has the commit under way reached its limit? Then nothing more should be handed in before it is done.
    pub fn is_full(&self) -> bool {
        self.pending.log.len() >= COMMIT_MAX_ENTRIES || self.pending.bytes >= COMMIT_MAX_BYTES
    }

    /// Takes one event; what is to be committed waits for [`Engine::commit`].
    ///
    /// # Errors
    /// When the store cannot be read: the commit under way has failed, as if [`Engine::commit`] had.
    pub fn handle(&mut self, now: Millis, event: Event, outputs: &mut Vec<Output>) -> Result<(), StoreError> {
        if let Some(error) = &self.broken {
            if let Event::LinkUp { link, .. } = event {
                outputs.push(Output::Close { link, reason: format!("this node's storage failed: {error}") });
            }
            return Ok(());
        }
        if matches!(event, Event::Tick) {
            let looked = self.trim(now).and_then(|()| self.mend(now, outputs));
            looked.inspect_err(|error| self.fail(now, error.clone(), outputs))?;
        }
        let mut effects = Vec::new();
        self.core.handle(now, event, &mut effects);
        self.perform(now, effects, outputs)
    }

    /// Has the next commit write what is news of other nodes; now and then, and before an orderly end.
    pub fn remember(&mut self) {
        self.remembered.look(&self.core);
    }

    /// Has the log cut off where it is time.
    fn trim(&mut self, now: Millis) -> Result<(), StoreError> {
        if !self.trim.is_time(now) {
            return Ok(());
        }
        self.remember();
        let look = self.trim.look(&*self.store, &self.core)?;
        self.pending.mark = look.mark;
        if let Some((lsn, floor)) = look.cut {
            self.core.raise_floor(&floor);
            self.pending.trim = Some(lsn);
            self.pending.cover = true;
        }
        Ok(())
    }

    /// Has documents asked for of which something is missing.
    fn mend(&mut self, now: Millis, outputs: &mut Vec<Output>) -> Result<(), StoreError> {
        let mut documents = Vec::new();
        for doc in self.holes.due(now) {
            let heads = self.record(&doc)?.heads;
            documents.push((doc, heads));
        }
        if documents.is_empty() {
            return Ok(());
        }
        self.go_on(now, Event::Missing { documents }, outputs)
    }

    /// Puts changes that enter the cluster here into the commit under way. False where they hang on what is not here
    /// (any more): they have to be made again, and nothing is done.
    ///
    /// # Errors
    /// When the store fails, or has failed: nothing of the commit under way will be stored.
    pub fn submit(
        &mut self,
        now: Millis,
        doc: DocId,
        changes: Vec<Change>,
        outputs: &mut Vec<Output>,
    ) -> Result<bool, StoreError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let submit = || {
            if self.has_dropped && self.hangs_elsewhere(&doc, &changes)? {
                return Ok(false);
            }
            let entry = self.core.stage_local(doc.clone(), changes, None);
            self.stage(Received { entry, damaged: None }, true).map(|_| true)
        };
        let submitted = submit();
        submitted.inspect_err(|error| self.fail(now, error.clone(), outputs))
    }

    /// Does any of these changes hang on what is not here, nor among them? All are looked at: the first may create
    /// something at the root, and hang on nothing.
    fn hangs_elsewhere(&mut self, doc: &DocId, changes: &[Change]) -> Result<bool, StoreError> {
        let deps = changes.iter().flat_map(|change| &change.deps);
        let is_elsewhere = |dep: &&Hash| changes.iter().all(|change| change.hash != **dep);
        let hangs: Heads = deps.filter(is_elsewhere).copied().collect();
        let record = self.record(doc)?;
        self.records.lacks(&*self.store, doc, &record, &hangs, &self.pending.staged(doc))
    }

    /// Has a document that was deleted long ago dropped everywhere, where these are still its heads and every known
    /// node has them. Says whether it did.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub fn drop_document(
        &mut self,
        now: Millis,
        doc: DocId,
        heads: Heads,
        outputs: &mut Vec<Output>,
    ) -> Result<bool, StoreError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let submit = || {
            let record = self.record(&doc)?;
            let may_go = record.heads == heads && !heads.is_empty() && record.is_absent();
            if !may_go || !self.trim.is_stable(&self.core, record.last_lsn) {
                return Ok(false);
            }
            let entry = self.core.stage_local(doc.clone(), Vec::new(), Some(heads));
            self.stage(Received { entry, damaged: None }, true).map(|_| true)
        };
        let dropped = submit();
        dropped.inspect_err(|error| self.fail(now, error.clone(), outputs))
    }

    /// Writes what is pending in one batch, and returns when it is on disk. Only then the outputs that tell of it exist.
    ///
    /// # Errors
    /// When the store fails. Nothing that was pending is stored, this incarnation has ended, and nothing can be
    /// committed until [`Engine::reopen`] succeeds.
    pub fn commit(
        &mut self,
        now: Millis,
        unix: Millis,
        outputs: &mut Vec<Output>,
    ) -> Result<Committed, StoreError> {
        if !self.has_pending() {
            return Ok(Committed::default());
        }
        let pending = std::mem::take(&mut self.pending);
        let (first, last) = (self.core.log_head().next(), self.lsn);
        let (entries, bytes) = (pending.log.len(), pending.bytes);
        let mut records: Vec<(DocId, Record)> = pending.records.into_iter().collect();
        for (doc, record) in &mut records {
            record.modified = unix;
            if record.created == Millis(0) {
                record.created = unix;
            }
            self.records.put(doc.clone(), record.clone());
        }
        let vector = self.core.staged().clone();
        let digest = self.core.staged_digest();
        // A mark above what the log holds there is right too: whoever has all of it has all before that LSN. Where
        // LSNs were used that are in no log, the mark keeps them from being used again.
        let logged = pending.log.last().map_or(Lsn(0), |item| item.lsn);
        let is_new = first <= last;
        let places = self.trim.places(first, last, pending.mark || (is_new && logged < last));
        let marks: Vec<_> = places.into_iter().map(|lsn| (lsn, vector.clone())).collect();
        let mut meta = Vec::new();
        if pending.cover {
            meta.push(MetaKey::Untrusted(self.core.is_untrusted()));
        }
        let ahead = self.core.staged_ahead().clone();
        if ahead != self.ahead {
            meta.push(MetaKey::Ahead(ahead.clone()));
        }
        let commit = Commit {
            marks: marks.clone(),
            log: pending.log,
            tail: pending.tail,
            records,
            folds: pending.folds,
            drops: pending.drops.into_iter().collect(),
            vector: Some((vector, digest)),
            trim: pending.trim,
            floor: pending.cover.then(|| self.core.staged_floor().clone()),
            known: self.remembered.stage(now, unix, &self.core),
            holes: self.holes.staged(),
            meta,
        };
        if let Err(error) = self.store.commit(&commit) {
            self.fail(now, error.clone(), outputs);
            return Err(error);
        }
        self.trim.committed(marks, commit.trim);
        // Documents had more than the marks before this commit's end name.
        if pending.ahead || !ahead.is_empty() || !self.ahead.is_empty() {
            self.trim.is_ahead(last);
        }
        self.ahead = ahead;
        self.remembered.committed();
        self.holes.committed();
        for touched in &pending.touched {
            if touched.fenced && self.fenced.len() < MAX_FENCED_NAMED {
                self.fenced.insert(touched.doc.clone());
            } else if touched.void && !touched.fenced && !self.fenced.is_empty() {
                self.fenced.remove(&touched.doc);
            }
        }
        self.core.lack(!self.holes.is_empty());
        let segments = segments(commit.log.iter().map(|item| &item.bytes));
        if is_new {
            self.ring.push(first, last, segments.clone());
        }
        let mut effects = Vec::new();
        self.core.handle(now, Event::Committed { segments, first, last }, &mut effects);
        self.perform(now, effects, outputs)?;
        Ok(Committed { touched: pending.touched, merges: pending.merges, entries, bytes })
    }

    /// After a failed commit: stores the next incarnation, so that work can go on.
    ///
    /// # Errors
    /// When the store still fails.
    pub fn reopen(&mut self) -> Result<(), StoreError> {
        if self.broken.is_some() {
            let meta = vec![MetaKey::Incarnation(self.incarnation)];
            self.store.commit(&Commit { meta, ..Commit::default() })?;
            self.broken = None;
        }
        Ok(())
    }

    /// Begins another incarnation where one is due: the data folder is a copy, or others have seen later ones. To be
    /// called when nothing is pending. Gives the new origin; what was made in the one before and is not on disk is
    /// void.
    ///
    /// # Errors
    /// When the store fails: as if [`Engine::commit`] had.
    pub fn renew(&mut self, now: Millis, outputs: &mut Vec<Output>) -> Result<Option<Origin>, StoreError> {
        let Some(Renewal { as_another, above }) = self.renewal.take() else { return Ok(None) };
        let old = self.core.identity().origin;
        // The random part was drawn at the start, and a name made of it is as unlike any other.
        let mut seed = blake3::Hasher::new();
        seed.update(b"another incarnation").update(&old.to_bytes()).update(&above.to_be_bytes());
        let mut drawn = [0; 12];
        seed.finalize_xof().fill(&mut drawn);
        let [n0, n1, n2, n3, n4, n5, n6, n7, r0, r1, r2, r3] = drawn;
        let node = if as_another { NodeId([n0, n1, n2, n3, n4, n5, n6, n7]) } else { old.node };
        let number = if as_another { 1 } else { self.incarnation.number.max(above).saturating_add(1) };
        let incarnation = Incarnation { number, random: u32::from_be_bytes([r0, r1, r2, r3]) };
        let meta = vec![MetaKey::Node(node), MetaKey::Incarnation(incarnation)];
        if let Err(error) = self.store.commit(&Commit { meta, ..Commit::default() }) {
            self.fail(now, error.clone(), outputs);
            return Err(error);
        }
        self.incarnation = incarnation;
        let origin = Origin { node, incarnation: number, random: incarnation.random };
        self.go_on(now, Event::Renewed { origin }, outputs)?;
        Ok(Some(origin))
    }

    fn perform(
        &mut self,
        now: Millis,
        effects: Vec<Effect>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        for effect in effects {
            match effect {
                Effect::Send { link, message, weight } => {
                    outputs.push(Output::Send { link, message, weight })
                }
                Effect::Close { link, reason } => outputs.push(Output::Close { link, reason }),
                Effect::Read { link, from } => match self.ring.read(&from) {
                    Some((segments, next)) => {
                        let mut more = Vec::new();
                        self.core.handle(now, Event::LogRead { link, segments, next }, &mut more);
                        self.perform(now, more, outputs)?;
                    }
                    None => outputs.push(Output::ReadLog { link, from }),
                },
                Effect::Gather { link, gather } => outputs.push(Output::Gather { link, gather }),
                Effect::Cover => {
                    self.pending.cover = true;
                    self.pending.ahead = true;
                    let repairs = self.core.repairs().0;
                    self.pending.merges |= std::mem::replace(&mut self.repairs, repairs) != repairs;
                }
                Effect::Whole => self.holes.fill(),
                Effect::Renew { as_another, above } => self.renewal = Some(Renewal { as_another, above }),
                Effect::Commit { link, received } => {
                    let doc = received.entry.doc.clone();
                    let staged = self.stage(received, false);
                    let lacks = staged.inspect_err(|error| self.fail(now, error.clone(), outputs))?;
                    if let Some((link, heads)) = link.zip(lacks) {
                        self.go_on(now, Event::Lacks { link, doc, heads }, outputs)?;
                    }
                }
                Effect::Absorb { link, doc, piece, damaged, last } => {
                    let staged = self.take_piece(&doc, piece, damaged);
                    let lacks = staged.inspect_err(|error| self.fail(now, error.clone(), outputs))?;
                    self.go_on(now, Event::Absorbed { link, doc, last, lacks }, outputs)?;
                }
                Effect::Compare { link, offers } => {
                    let wanted = self.wanted(offers);
                    let wanted = wanted.inspect_err(|error| self.fail(now, error.clone(), outputs))?;
                    self.go_on(now, Event::Compared { link, wanted }, outputs)?;
                }
            }
        }
        Ok(())
    }

    fn go_on(&mut self, now: Millis, event: Event, outputs: &mut Vec<Output>) -> Result<(), StoreError> {
        let mut effects = Vec::new();
        self.core.handle(now, event, &mut effects);
        self.perform(now, effects, outputs)
    }

    pub(super) fn fail(&mut self, now: Millis, error: StoreError, outputs: &mut Vec<Output>) {
        self.pending = Pending::default();
        self.holes.failed();
        self.remembered.failed();
        self.records.clear();
        self.lsn = self.core.log_head();
        self.incarnation.number += 1;
        let origin = Origin {
            node: self.core.identity().node,
            incarnation: self.incarnation.number,
            random: self.incarnation.random,
        };
        let mut effects = Vec::new();
        self.core.handle(now, Event::CommitFailed { origin }, &mut effects);
        for effect in effects {
            if let Effect::Close { link, reason } = effect {
                outputs.push(Output::Close { link, reason });
            }
        }
        self.broken = Some(error);
    }
}

/// Reads the log for a link that is behind what is kept in memory.
///
/// # Errors
/// When the store cannot be read.
pub fn read_log(store: &dyn Store, link: LinkId, from: &ReadFrom) -> Result<Event, StoreError> {
    let start = match from {
        ReadFrom::At(lsn) => *lsn,
        ReadFrom::Seek(sent) => {
            let fits =
                |mark: &VersionVector| sent.iter().all(|(origin, counter)| mark.get(origin) <= *counter);
            store.seek(&fits)?
        }
    };
    let entries = store.log(start, 4 * FRAME_TARGET_BYTES)?;
    let next = entries.last().map_or(start, |(lsn, _)| lsn.next());
    let segments = segments(entries.iter().map(|(_, bytes)| bytes));
    Ok(Event::LogRead { link, segments, next })
}
