//! What comes next for one reader: which documents it has to be told of, and what it has been told of each. Nothing
//! here waits, nor looks into a document.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::hub::{Hub, Listening};
use super::raw;
use super::walk::Walk;
use super::{ARRIVAL_MS, Mode, Since, Step, Target};
use crate::base::limits::{LIVE_BATCH, SENT_DOCUMENTS, VERSION_WAIT_MS};
use crate::base::{Bug, DocId, Heads, Lsn, planted};
use crate::store::{Record, Store, StoreError};
use crate::wire::Cursor;

/// A document that cannot be looked at just now is tried again after this time, in milliseconds.
const AGAIN_MS: u64 = 100;

/// Between two marks where something new is there before the first is written, in milliseconds.
const MARK_MS: u64 = 250;

/// See the module. What it holds does not depend on how slow the one is who reads.
pub struct Reader {
    pub(super) target: Target,
    mode: Mode,
    listening: Listening,
    place: Place,
    /// Documents to tell of before there is another look at what has changed.
    pending: VecDeque<DocId>,
    /// So many of the last of these have to wait, and one of them until then.
    waiting: usize,
    soonest: Option<Instant>,
    /// The reader has never been told of anything.
    is_new: bool,
    /// They are listed: deleted ones are of no interest.
    listed: bool,
    /// With them all is told that there was.
    reached: bool,
    /// A mark is due when they are told.
    owes_mark: bool,
    marked: Option<Instant>,
    /// By its last mark the reader is up to date.
    is_current: bool,
    /// The cursor of its last mark named less than it has.
    named_less: bool,
    pub(super) sent: FxHashMap<DocId, Sent>,
    stamp: u64,
    /// Documents between two marks, where there may not be more.
    page: Option<usize>,
    /// So long a version that the reader brought is waited for.
    patience: Option<Instant>,
}

/// What somebody wants to read.
pub struct Wish {
    pub target: Target,
    pub mode: Mode,
    pub since: Since,
    /// So many documents, at least 1, and no more between two marks.
    pub page: Option<usize>,
}

/// What is to be done for a reader next.
#[derive(Debug)]
pub enum Next {
    /// To be told.
    Step(Step),
    /// To be looked at by whoever drives this, who then calls one of [`Reader::show`], [`Reader::nothing`] and
    /// [`Reader::later`].
    Look(DocId),
}

/// What was sent of a document last.
#[derive(Clone, Debug, Default)]
pub(super) struct Sent {
    pub heads: Heads,
    /// Of raw changes: the place of the last entry, and how many changes there were up to there. Not known of
    /// a version that the reader brought.
    pub stored: Option<(Lsn, u64)>,
    /// It was told that the document is deleted.
    pub deleted: bool,
    /// Goes up with whatever is sent.
    pub stamp: u64,
}

enum Place {
    /// What the reader has is waited for.
    Awaiting(Cursor, Instant),
    Walking(Walk),
    Over,
}

impl Reader {
    /// Begins to follow documents. `bell` rings when there may be something new.
    ///
    /// # Errors
    /// When storage fails.
    pub fn begin(
        hub: &Arc<Hub>,
        store: &dyn Store,
        now: Instant,
        wish: Wish,
        bell: Arc<Notify>,
    ) -> Result<Self, StoreError> {
        let Wish { target, mode, since, page } = wish;
        let listening = hub.listen(target.clone(), bell);
        let deadline = now + Duration::from_millis(VERSION_WAIT_MS);
        let mut sent = FxHashMap::default();
        let mut patience = None;
        if let (Since::Version(heads), Target::Doc(doc)) = (&since, &target) {
            sent.insert(doc.clone(), Sent { heads: heads.clone(), ..Sent::default() });
            patience = Some(deadline);
        }
        let place = match since {
            Since::Cursor(cursor) => Place::Awaiting(cursor, deadline),
            since => Place::Walking(Walk::begin(hub, store, &since, page.is_some())?),
        };
        Ok(Self {
            target,
            mode,
            listening,
            place,
            pending: VecDeque::new(),
            waiting: 0,
            soonest: None,
            is_new: true,
            listed: false,
            reached: false,
            owes_mark: false,
            marked: None,
            is_current: false,
            named_less: false,
            sent,
            stamp: 0,
            page,
            patience,
        })
    }

    /// What the reader has, when it has taken all steps up to a mark.
    pub fn cursor(&self) -> Option<Cursor> {
        match &self.place {
            Place::Walking(_) if planted(Bug::CursorOfHead) => {
                let vector = (*self.listening.hub().head().vector).clone();
                Some(Cursor { vector, listed: None })
            }
            Place::Walking(walk) => Some(walk.cursor(self.listening.hub())),
            Place::Awaiting(cursor, _) => Some(cursor.clone()),
            Place::Over => None,
        }
    }

    /// From now on so many documents, and no more, come between two marks.
    pub fn set_page(&mut self, most: usize) {
        self.page = Some(most.max(1));
    }

    /// May there be anything to tell? Where not, there is no need to ask before the bell rings.
    pub fn has_more(&self) -> bool {
        match self.place {
            Place::Over => false,
            Place::Awaiting(..) => true,
            Place::Walking(_) => {
                !self.pending.is_empty()
                    || !self.reached
                    || self.owes_mark
                    || !self.is_current
                    || self.listening.hears()
            }
        }
    }

    /// The version that was sent of a document last, where that is still known.
    pub fn sent(&self, doc: &DocId) -> Option<&Heads> {
        self.sent.get(doc).map(|sent| &sent.heads)
    }

    /// Can it be told a difference of the document? Of a deleted one there is nothing to build on.
    pub fn takes_patches(&self, doc: &DocId) -> bool {
        self.mode == Mode::Patch && !self.sent.get(doc).is_some_and(|sent| sent.deleted)
    }

    /// Is the version that it brought still waited for?
    pub fn is_patient(&self, now: Instant) -> bool {
        self.patience.is_some_and(|deadline| now < deadline)
    }

    /// What to do next, now that the reader can take it.
    ///
    /// # Errors
    /// When storage fails.
    pub fn next(&mut self, store: &dyn Store, now: Instant) -> Result<Next, StoreError> {
        loop {
            while self.waiting < self.pending.len()
                && let Some(doc) = self.pending.front().cloned()
            {
                let told = match self.mode {
                    Mode::Notify => self.tell_version(store, &doc),
                    Mode::Changes => self.tell_changes(store, &doc),
                    Mode::Value | Mode::Patch => return Ok(Next::Look(doc)),
                };
                match told {
                    Ok(Some(step)) => return Ok(Next::Step(step)),
                    Ok(None) => {}
                    Err(error) => self.fails(&error, now),
                }
            }
            if !self.pending.is_empty() {
                self.waiting = 0;
                return Ok(Next::Step(Step::Idle { until: self.soonest.take() }));
            }
            if let Some(step) = self.after_batch(store, now)? {
                return Ok(Next::Step(step));
            }
        }
    }

    /// What was seen of the document that was to be looked at, and whether it is the latest; gives it back where it is
    /// to be told.
    pub fn show(&mut self, step: Step, is_latest: bool) -> Option<Step> {
        let (doc, heads, deleted) = match &step {
            Step::Snapshot { doc, version, .. } => (doc, version.clone(), false),
            Step::Patch { doc, to, .. } => (doc, to.clone(), false),
            Step::Deleted { doc, version } => (doc, version.clone(), true),
            Step::Fenced { doc, .. } => (doc, Heads::new(), false),
            _ => return None,
        };
        let sent = self.sent.get(doc);
        let is_known = match &step {
            Step::Deleted { .. } => self.listed && sent.is_none(),
            // Told once; it stays so.
            Step::Fenced { .. } => sent.is_some_and(|sent| sent.heads.is_empty()),
            _ => false,
        };
        if is_known {
            self.done();
            return None;
        }
        self.patience = None;
        let doc = doc.clone();
        self.tells(&doc, Sent { heads, deleted, ..Sent::default() }, !is_latest);
        Some(step)
    }

    /// There is nothing new to see of the document that was to be looked at. Gives what is to be told where it is gone.
    ///
    /// # Errors
    /// When storage fails.
    pub fn nothing(&mut self, store: &dyn Store) -> Result<Option<Step>, StoreError> {
        let Some(doc) = self.pending.front().cloned() else { return Ok(None) };
        if record(store, &doc)?.heads.is_empty() {
            return Ok(self.tell_gone(&doc));
        }
        self.done();
        Ok(None)
    }

    /// It cannot be looked at before that time.
    pub fn later(&mut self, due: Instant) {
        self.soonest = Some(self.soonest.map_or(due, |other| other.min(due)));
        self.waiting += 1;
        if !self.pending.is_empty() {
            self.pending.rotate_left(1);
        }
    }

    /// It cannot be looked at, perhaps only now.
    pub fn fails(&mut self, error: &dyn std::fmt::Display, now: Instant) {
        if let Some(doc) = self.pending.front() {
            tracing::debug!(%doc, %error, "a live reader has to wait");
        }
        self.later(now + Duration::from_millis(AGAIN_MS));
    }

    /// All is told of the first of what is pending.
    fn done(&mut self) {
        self.pending.pop_front();
    }

    /// This is told now of the first of what is pending; perhaps there is `more`.
    fn tells(&mut self, doc: &DocId, sent: Sent, more: bool) {
        self.note(doc, sent);
        self.owes_mark = true;
        if !more {
            self.done();
        }
    }

    /// All that was pending is told: a mark, or the next batch.
    fn after_batch(&mut self, store: &dyn Store, now: Instant) -> Result<Option<Step>, StoreError> {
        let paged = self.page.is_some();
        let hub = self.listening.hub();
        let walk = match &mut self.place {
            Place::Walking(walk) => walk,
            Place::Over => return Ok(Some(Step::Idle { until: None })),
            Place::Awaiting(cursor, deadline) => {
                if hub.head().vector.covers(&cursor.vector) {
                    let since = Since::Cursor(cursor.clone());
                    self.place = Place::Walking(Walk::begin(hub, store, &since, paged)?);
                    return Ok(None);
                }
                if now >= *deadline {
                    self.place = Place::Over;
                    let reason = "this node does not have what the cursor names, and has waited for it";
                    return Ok(Some(Step::Refetch { reason }));
                }
                return Ok(Some(Step::Idle { until: Some(now + Duration::from_millis(ARRIVAL_MS)) }));
            }
        };
        let is_due = match self.marked {
            // Where there is always something new, now and then is enough.
            Some(last) if self.reached && self.owes_mark => {
                !self.listening.hears() || now.duration_since(last) >= Duration::from_millis(MARK_MS)
            }
            // Even if nothing was told since the last one, which may not have said that this is all.
            _ => self.owes_mark || (self.reached && !self.is_current),
        };
        if is_due {
            (self.owes_mark, self.marked, self.is_current) = (false, Some(now), self.reached);
            self.named_less = !walk.is_whole(hub);
            return Ok(Some(Step::Mark { up_to_date: self.reached }));
        }
        if !self.listening.heard() && self.reached {
            return Ok(Some(Step::Idle { until: None }));
        }
        let batch = walk.next(hub, store, &self.target, self.page.unwrap_or(LIVE_BATCH))?;
        if batch.gap {
            if let Target::Doc(_) = self.target {
                // It can be told as it is.
                self.place = Place::Walking(Walk::begin(hub, store, &Since::Beginning, paged)?);
                self.is_new = false;
                return Ok(None);
            }
            self.place = Place::Over;
            let reason = "the log of this node does not reach back to what the cursor names";
            return Ok(Some(Step::Refetch { reason }));
        }
        (self.reached, self.listed) = (batch.reached, batch.listed && self.is_new);
        // Even if all of them are told already, the reader goes on from a later cursor then.
        self.owes_mark |= !batch.docs.is_empty() || self.named_less && walk.is_whole(hub);
        let mut docs = batch.docs;
        docs.dedup();
        self.pending = docs.into();
        Ok(None)
    }

    fn tell_version(&mut self, store: &dyn Store, doc: &DocId) -> Result<Option<Step>, StoreError> {
        let record = record(store, doc)?;
        if record.heads.is_empty() {
            return Ok(self.tell_gone(doc));
        }
        if self.sent(doc) == Some(&record.heads) || self.is_skipped(doc, &record) {
            self.done();
            return Ok(None);
        }
        let (doc, version, deleted) = (doc.clone(), record.heads.clone(), record.is_absent());
        self.tells(&doc, Sent { heads: record.heads, deleted, ..Sent::default() }, false);
        Ok(Some(match deleted {
            true => Step::Deleted { doc, version },
            false => Step::Notify { doc, version },
        }))
    }

    fn tell_changes(&mut self, store: &dyn Store, doc: &DocId) -> Result<Option<Step>, StoreError> {
        let record = record(store, doc)?;
        if self.is_skipped(doc, &record) {
            self.done();
            return Ok(None);
        }
        if record.heads.is_empty() {
            return Ok(self.tell_gone(doc));
        }
        let sent = self.sent.get(doc);
        let was_deleted = sent.is_some_and(|sent| sent.deleted);
        let piece = tokio::task::block_in_place(|| raw::next(store, doc, &record, sent))?;
        let Some(raw::Piece { from, changes, sent, more }) = piece else {
            if !record.is_absent() || was_deleted {
                self.done();
                return Ok(None);
            }
            let version = record.heads;
            let sent = Sent { deleted: true, ..self.sent.get(doc).cloned().unwrap_or_default() };
            self.tells(doc, sent, false);
            return Ok(Some(Step::Deleted { doc: doc.clone(), version }));
        };
        let to = sent.heads.clone();
        self.tells(doc, sent, more || record.is_absent());
        Ok(Some(Step::Changes { doc: doc.clone(), from, to, changes }))
    }

    /// The document is not here: it was dropped, and perhaps so soon after its deletion that the reader has not heard
    /// of that.
    fn tell_gone(&mut self, doc: &DocId) -> Option<Step> {
        let sent = self.sent.get(doc);
        if sent.map_or(self.listed, |sent| sent.deleted) {
            self.done();
            return None;
        }
        let version = sent.map(|sent| sent.heads.clone()).unwrap_or_default();
        self.tells(doc, Sent { heads: version.clone(), deleted: true, ..Sent::default() }, false);
        Some(Step::Deleted { doc: doc.clone(), version })
    }

    /// Whoever has never heard of a document need not hear that it is deleted.
    fn is_skipped(&self, doc: &DocId, record: &Record) -> bool {
        self.listed && record.is_absent() && !self.sent.contains_key(doc)
    }

    /// Keeps what was sent last of some documents.
    fn note(&mut self, doc: &DocId, sent: Sent) {
        self.stamp += 1;
        let sent = Sent { stamp: self.stamp, ..sent };
        if self.sent.insert(doc.clone(), sent).is_none() && self.sent.len() > SENT_DOCUMENTS {
            let oldest = self.sent.iter().min_by_key(|(_, sent)| sent.stamp).map(|(doc, _)| doc.clone());
            if let Some(oldest) = oldest {
                self.sent.remove(&oldest);
            }
        }
    }
}

fn record(store: &dyn Store, doc: &DocId) -> Result<Record, StoreError> {
    Ok(store.record(doc)?.unwrap_or_default())
}
