//! What comes next for one reader: the documents that it has to be told of, and what it is told of each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::hub::Listening;
use super::raw;
use super::view::{Eye, Seen};
use super::walk::Walk;
use super::{ARRIVAL_MS, Mode, Sent, Since, Step, Target};
use crate::base::limits::{LIVE_BATCH, SENT_DOCUMENTS, VERSION_WAIT_MS};
use crate::base::{DocId, Heads};
use crate::node::{Node, NodeError};
use crate::store::Record;
use crate::wire::Cursor;

/// A document that cannot be looked at just now is tried again after this time, in milliseconds.
const AGAIN_MS: u64 = 100;

/// Between two marks where something new is there before the first is written, in milliseconds.
const MARK_MS: u64 = 250;

/// See the module. What it holds does not depend on how slow its reader is.
pub struct Subscription {
    node: Node,
    pub(super) target: Target,
    mode: Mode,
    listening: Listening,
    place: Place,
    /// Documents to tell of before there is another look at what has changed.
    pending: VecDeque<DocId>,
    /// The reader has never been told of anything.
    is_new: bool,
    /// They are listed: deleted ones are of no interest.
    listed: bool,
    /// With them all is told that there was.
    reached: bool,
    /// A mark is due when they are told.
    owes_mark: bool,
    marked: Option<Instant>,
    pub(super) sent: FxHashMap<DocId, Sent>,
    stamp: u64,
    /// Documents between two marks, where there may not be more.
    page: Option<usize>,
    /// So long a version that the reader brought is waited for.
    patience: Option<Instant>,
}

enum Place {
    /// What the reader has is waited for.
    Awaiting(Cursor, Instant),
    Walking(Walk),
    Over,
}

/// What telling of one document comes to.
enum Told {
    Step(Step),
    /// There is more to tell of the same document.
    More(Step),
    Nothing,
    Later(Instant),
}

impl Subscription {
    pub(super) fn begin(
        node: Node,
        target: Target,
        mode: Mode,
        since: Since,
        page: Option<usize>,
        bell: Arc<Notify>,
    ) -> Result<Self, NodeError> {
        let listening = node.0.hub.listen(target.clone(), bell);
        let deadline = Instant::now() + Duration::from_millis(VERSION_WAIT_MS);
        let mut sent = FxHashMap::default();
        let mut patience = None;
        if let (Since::Version(heads), Target::Doc(doc)) = (&since, &target) {
            sent.insert(doc.clone(), Sent { heads: heads.clone(), ..Sent::default() });
            patience = Some(deadline);
        }
        let place = match since {
            Since::Cursor(cursor) => Place::Awaiting(cursor, deadline),
            since => Place::Walking(Walk::begin(listening.hub(), &*node.0.store, &since, page.is_some())?),
        };
        Ok(Self {
            target,
            mode,
            listening,
            place,
            pending: VecDeque::new(),
            is_new: true,
            listed: false,
            reached: false,
            owes_mark: false,
            marked: None,
            sent,
            stamp: 0,
            page,
            patience,
            node,
        })
    }

    /// What the reader has, when it has taken all steps up to a mark.
    pub fn cursor(&self) -> Option<String> {
        match &self.place {
            Place::Walking(walk) => Some(self.node.write_cursor(&walk.cursor())),
            Place::Awaiting(cursor, _) => Some(self.node.write_cursor(cursor)),
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
                    || self.marked.is_none()
                    || self.listening.hears()
            }
        }
    }

    /// What to tell the reader next, now that it can take it. Never waits for something to happen. Dropped
    /// before it answers, it loses nothing.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn next(&mut self) -> Result<Step, NodeError> {
        loop {
            let mut soonest: Option<Instant> = None;
            for _ in 0..self.pending.len() {
                let Some(doc) = self.pending.front().cloned() else { break };
                let told = match self.tell(&doc).await {
                    Ok(told) => told,
                    Err(NodeError::Stopping) => return Err(NodeError::Stopping),
                    Err(error) => {
                        tracing::debug!(%doc, %error, "a live reader has to wait");
                        Told::Later(Instant::now() + Duration::from_millis(AGAIN_MS))
                    }
                };
                match told {
                    Told::Step(step) => {
                        self.pending.pop_front();
                        self.owes_mark = true;
                        return Ok(step);
                    }
                    Told::More(step) => {
                        self.owes_mark = true;
                        return Ok(step);
                    }
                    Told::Nothing => drop(self.pending.pop_front()),
                    Told::Later(due) => {
                        soonest = Some(soonest.map_or(due, |other| other.min(due)));
                        self.pending.rotate_left(1);
                    }
                }
            }
            if !self.pending.is_empty() {
                return Ok(Step::Idle { until: soonest });
            }
            if let Some(step) = self.after_batch()? {
                return Ok(step);
            }
        }
    }

    /// All that was pending is told: a mark, or the next batch.
    fn after_batch(&mut self) -> Result<Option<Step>, NodeError> {
        let store = &*self.node.0.store;
        let walk = match &mut self.place {
            Place::Walking(walk) => walk,
            Place::Over => return Ok(Some(Step::Idle { until: None })),
            Place::Awaiting(cursor, deadline) => {
                let now = Instant::now();
                if self.node.0.hub.head().vector.covers(&cursor.vector) {
                    let since = Since::Cursor(cursor.clone());
                    self.place = Place::Walking(Walk::begin(
                        self.listening.hub(),
                        store,
                        &since,
                        self.page.is_some(),
                    )?);
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
                !self.listening.hears() || last.elapsed() >= Duration::from_millis(MARK_MS)
            }
            Some(_) => self.owes_mark,
            None => self.owes_mark || self.reached,
        };
        if is_due {
            (self.owes_mark, self.marked) = (false, Some(Instant::now()));
            return Ok(Some(Step::Mark { up_to_date: self.reached }));
        }
        if !self.listening.heard() && self.reached {
            return Ok(Some(Step::Idle { until: None }));
        }
        let most = self.page.unwrap_or(LIVE_BATCH);
        let batch = walk.next(self.listening.hub(), store, &self.target, most)?;
        if batch.gap {
            if let Target::Doc(_) = self.target {
                // It can be told as it is.
                let now = Walk::begin(self.listening.hub(), store, &Since::Beginning, self.page.is_some())?;
                self.place = Place::Walking(now);
                self.is_new = false;
                return Ok(None);
            }
            self.place = Place::Over;
            let reason = "the log of this node does not reach back to what the cursor names";
            return Ok(Some(Step::Refetch { reason }));
        }
        (self.reached, self.listed) = (batch.reached, batch.listed && self.is_new);
        let mut docs = batch.docs;
        docs.dedup();
        self.pending = docs.into();
        Ok(None)
    }

    async fn tell(&mut self, doc: &DocId) -> Result<Told, NodeError> {
        match self.mode {
            Mode::Notify => {
                let record = self.record(doc)?;
                if self.knows(doc, &record.heads) || record.heads.is_empty() || self.is_skipped(doc, &record)
                {
                    return Ok(Told::Nothing);
                }
                let (doc, version) = (doc.clone(), record.heads.clone());
                let deleted = record.is_absent();
                self.note(&doc, Sent { heads: record.heads, deleted, ..Sent::default() });
                Ok(Told::Step(match deleted {
                    true => Step::Deleted { doc, version },
                    false => Step::Notify { doc, version },
                }))
            }
            Mode::Changes => self.tell_changes(doc),
            Mode::Value | Mode::Patch => self.show(doc).await,
        }
    }

    fn tell_changes(&mut self, doc: &DocId) -> Result<Told, NodeError> {
        let record = self.record(doc)?;
        if self.is_skipped(doc, &record) {
            return Ok(Told::Nothing);
        }
        let sent = self.sent.get(doc);
        let was_deleted = sent.is_some_and(|sent| sent.deleted);
        let store = &*self.node.0.store;
        let piece = tokio::task::block_in_place(|| raw::next(store, doc, &record, sent))?;
        let Some(mut piece) = piece else {
            if !record.is_absent() || record.heads.is_empty() || was_deleted {
                return Ok(Told::Nothing);
            }
            let version = record.heads;
            if let Some(sent) = self.sent.get_mut(doc) {
                sent.deleted = true;
            }
            return Ok(Told::Step(Step::Deleted { doc: doc.clone(), version }));
        };
        piece.sent.deleted = false;
        let more = piece.more || record.is_absent();
        let (doc, from, to, changes) = (doc.clone(), piece.from, piece.sent.heads.clone(), piece.changes);
        self.note(&doc, piece.sent);
        let step = Step::Changes { doc, from, to, changes };
        Ok(if more { Told::More(step) } else { Told::Step(step) })
    }

    async fn show(&mut self, doc: &DocId) -> Result<Told, NodeError> {
        let sent = self.sent.get(doc);
        let patient = self.patience.is_some_and(|deadline| Instant::now() < deadline);
        let eye = Eye {
            sent: sent.map(|sent| &sent.heads),
            // Of a deleted document there is nothing to build on.
            patches: self.mode == Mode::Patch && !sent.is_some_and(|sent| sent.deleted),
            patient,
        };
        let node = self.node.clone();
        let (seen, is_latest) = node.look(doc, &eye).await?;
        let doc = doc.clone();
        let told = |subscription: &mut Self, heads: &Heads, deleted, step| {
            subscription.patience = None;
            subscription.note(&doc, Sent { heads: heads.clone(), deleted, ..Sent::default() });
            Ok(if is_latest { Told::Step(step) } else { Told::More(step) })
        };
        match seen {
            Seen::Nothing => Ok(Told::Nothing),
            Seen::Later(due) => Ok(Told::Later(due)),
            Seen::Deleted(_) if self.listed && !self.sent.contains_key(&doc) => Ok(Told::Nothing),
            Seen::Deleted(version) => {
                told(self, &version, true, Step::Deleted { doc: doc.clone(), version: version.clone() })
            }
            Seen::Whole { version, value } => told(
                self,
                &version,
                false,
                Step::Snapshot { doc: doc.clone(), version: version.clone(), value },
            ),
            Seen::Patch { to, patch } => {
                let from = self.sent.get(&doc).map(|sent| sent.heads.clone()).unwrap_or_default();
                told(self, &to, false, Step::Patch { doc: doc.clone(), from, to: to.clone(), patch })
            }
            // Told once; it stays so.
            Seen::Fenced(_) if self.sent.get(&doc).is_some_and(|sent| sent.heads.is_empty()) => {
                Ok(Told::Nothing)
            }
            Seen::Fenced(reason) => {
                told(self, &Heads::new(), false, Step::Fenced { doc: doc.clone(), reason })
            }
        }
    }

    fn record(&self, doc: &DocId) -> Result<Record, NodeError> {
        Ok(self.node.0.store.record(doc)?.unwrap_or_default())
    }

    fn knows(&self, doc: &DocId, heads: &Heads) -> bool {
        self.sent.get(doc).is_some_and(|sent| sent.heads == *heads)
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
