//! Folding: changes move from a document's tail into its snapshot, in the background, one document at a time.
//!
//! It is done from the document's mailbox, of what is merged there: so no copy in memory ever waits for changes
//! that have left the tail. A document comes up for it when it is loaded with a long tail, when its tail gets
//! longer than is sensible, and when the node has nothing else to do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

use rustc_hash::FxHashSet;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

use super::committer::Input;
use super::documents::{Documents, Freshness, heavily};
use super::{Engine, NodeError, Output};
use crate::base::limits::{
    FOLD_AT_BYTES, FOLD_AT_CHANGES, FOLD_CANDIDATES, FOLD_FROM_CHANGES, FOLD_LOOK_MS, FOLD_PAGE, FOLD_QUEUE,
};
use crate::base::{Change, DocId, Lsn, Millis};
use crate::crdt::{Document, LoadError, Snapshot};
use crate::store::{Commit, Fold, Record, StoreError, TailItem, Whole};

/// What is to be committed: see [`Engine::fold`].
#[derive(Debug)]
pub struct Folding {
    pub doc: DocId,
    snapshot: Snapshot,
    folded: Vec<Lsn>,
    /// What stays of items of which something is folded.
    kept: Vec<TailItem>,
    /// Changes that leave the tail, less those that come back to it, and their bytes.
    changes: i64,
    bytes: i64,
    /// The record as it was read.
    base: Record,
}

impl Folding {
    /// What of `stored` can be folded, as `document` has it merged; None where that is nothing. The document must
    /// have no change that is not on disk.
    ///
    /// # Errors
    /// When the snapshot fails, or is of other changes than are stored.
    pub fn of(doc: &DocId, document: &Document, stored: Whole) -> Result<Option<Self>, LoadError> {
        let Whole { record, tail, .. } = stored;
        let mut folding = Self {
            doc: doc.clone(),
            snapshot: document.fold()?,
            folded: Vec::new(),
            kept: Vec::new(),
            changes: 0,
            bytes: 0,
            base: record,
        };
        // What was folded and has lost against a change that came since must not be lost with the old snapshot.
        let mut back: Vec<Change> = document.unshown().collect();
        back.retain(|change| tail.iter().all(|(_, other)| other.hash != change.hash));
        for item in tail.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((lsn, _)) = item.first() else { continue };
            let (leave, stay): (Vec<_>, Vec<_>) =
                item.iter().map(|(_, change)| change).partition(|change| document.has(&change.hash));
            if leave.is_empty() {
                continue;
            }
            folding.changes += leave.len() as i64;
            folding.bytes += bytes_of(leave);
            folding.folded.push(*lsn);
            let mut changes: Vec<Change> = stay.into_iter().cloned().collect();
            folding.changes -= back.len() as i64;
            folding.bytes -= bytes_of(&back);
            changes.append(&mut back);
            if !changes.is_empty() {
                folding.kept.push(TailItem { doc: doc.clone(), lsn: *lsn, changes });
            }
        }
        let after = folding.base.folded as i64 + folding.changes;
        match folding.folded.is_empty() {
            true => Ok(None),
            false if after == folding.snapshot.changes as i64 => Ok(Some(folding)),
            false => {
                let shown = folding.snapshot.changes;
                Err(LoadError(format!("it shows {shown} changes, of which {after} are stored")))
            }
        }
    }

    /// Reads the snapshot back.
    ///
    /// # Errors
    /// When it is not what it should be: then nothing is to be folded.
    pub fn check(&self) -> Result<(), LoadError> {
        self.snapshot.check()
    }

    /// The record after it, where the document was neither folded nor dropped since it was read.
    pub(super) fn record(&self, now: &Record) -> Option<Record> {
        let same = now.folded == self.base.folded
            && now.created == self.base.created
            && now.changes >= self.base.changes
            && now.fenced.is_none();
        same.then(|| Record {
            folded: now.folded.saturating_add_signed(self.changes),
            tail_bytes: now.tail_bytes.saturating_add_signed(-self.bytes),
            ..now.clone()
        })
    }

    pub(super) fn into_items(self) -> (Fold, Vec<TailItem>) {
        (Fold { doc: self.doc, snapshot: self.snapshot.bytes, folded: self.folded }, self.kept)
    }
}

impl Engine {
    /// Writes a new snapshot in place of the changes that it holds, and returns when it is on disk. To be called
    /// between commits. Says no where the document was folded or dropped since it was read.
    ///
    /// # Errors
    /// When the store fails: then this incarnation has ended, as after [`Engine::commit`].
    pub fn fold(
        &mut self,
        now: Millis,
        folding: Folding,
        outputs: &mut Vec<Output>,
    ) -> Result<bool, StoreError> {
        let folded = self.try_fold(folding);
        folded.inspect_err(|error| self.fail(now, error.clone(), outputs))
    }

    fn try_fold(&mut self, folding: Folding) -> Result<bool, StoreError> {
        let doc = folding.doc.clone();
        let Some(record) = folding.record(&self.records.get(&*self.store, &doc)?) else { return Ok(false) };
        let (fold, tail) = folding.into_items();
        let records = vec![(doc.clone(), record.clone())];
        self.store.commit(&Commit { folds: vec![fold], tail, records, ..Commit::default() })?;
        // What has come back to the tail is in no list of what was looked up.
        self.records.forget(&doc);
        self.records.put(doc, record);
        Ok(true)
    }
}

fn bytes_of<'a>(changes: impl IntoIterator<Item = &'a Change>) -> i64 {
    changes.into_iter().map(|change| change.bytes.len() as i64).sum()
}

/// Is a document's tail worth folding?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Due {
    Not,
    /// When there is nothing else to do.
    WhenIdle,
    /// Whatever else there is to do.
    Now,
}

/// How long a document's tail is.
#[derive(Clone, Copy)]
pub(super) struct TailLength {
    changes: u64,
    bytes: u64,
}

impl TailLength {
    pub fn of(record: &Record) -> Self {
        Self { changes: record.changes.saturating_sub(record.folded), bytes: record.tail_bytes }
    }

    /// What has become of it since it was of a length `before`. It comes up once for each length at which it is
    /// due, so that it is not asked for again and again while it waits.
    pub fn due(self, before: Self) -> Due {
        let passes = |before: u64, after: u64, step: u64| after / step > before / step;
        if passes(before.changes, self.changes, FOLD_AT_CHANGES)
            || passes(before.bytes, self.bytes, FOLD_AT_BYTES)
        {
            return Due::Now;
        }
        if passes(before.changes, self.changes, FOLD_FROM_CHANGES) { Due::WhenIdle } else { Due::Not }
    }
}

/// Documents that have come up for folding.
pub(super) struct Wanted {
    now: mpsc::Sender<DocId>,
    idle: Mutex<FxHashSet<DocId>>,
    /// There may be more than are named here: of an earlier run, or because they were too many.
    more: AtomicBool,
}

impl Wanted {
    pub fn new() -> (Self, mpsc::Receiver<DocId>) {
        let (now, wanted) = mpsc::channel(FOLD_QUEUE);
        (Self { now, idle: Mutex::default(), more: AtomicBool::new(true) }, wanted)
    }

    pub fn add(&self, doc: &DocId, due: Due) {
        let waits = match due {
            Due::Not => false,
            Due::WhenIdle => true,
            Due::Now => self.now.try_send(doc.clone()).is_err(),
        };
        if waits {
            let mut idle = self.idle();
            if idle.len() < FOLD_CANDIDATES {
                idle.insert(doc.clone());
            } else {
                self.more.store(true, Ordering::Release);
            }
        }
    }

    fn next_idle(&self) -> Option<DocId> {
        let mut idle = self.idle();
        let doc = idle.iter().next().cloned()?;
        idle.take(&doc)
    }

    fn idle(&self) -> MutexGuard<'_, FxHashSet<DocId>> {
        self.idle.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// The task that folds. It ends when nobody else has the documents any more.
pub(super) struct Folder {
    documents: Weak<Documents>,
    inputs: mpsc::WeakSender<Input>,
    wanted: mpsc::Receiver<DocId>,
    /// Bytes of entries committed when it was last looked at whether the node is idle.
    committed: u64,
    /// How far all records have been looked through, where that was begun.
    walk: Option<DocId>,
}

impl Folder {
    pub fn new(
        documents: &Arc<Documents>,
        inputs: mpsc::WeakSender<Input>,
        wanted: mpsc::Receiver<DocId>,
    ) -> Self {
        Self { documents: Arc::downgrade(documents), inputs, wanted, committed: u64::MAX, walk: None }
    }

    pub async fn run(mut self) {
        let mut look = tokio::time::interval(Duration::from_millis(FOLD_LOOK_MS));
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let going_on = tokio::select! {
                wanted = self.wanted.recv() => match wanted {
                    Some(doc) => self.fold(&doc).await,
                    None => None,
                },
                _ = look.tick() => self.idle().await,
            };
            if going_on.is_none() {
                return;
            }
        }
    }

    /// Folds for as long as there is nothing else to do. None when the node is stopping.
    async fn idle(&mut self) -> Option<()> {
        let committed = self.committed()?;
        if std::mem::replace(&mut self.committed, committed) != committed {
            return Some(());
        }
        while let Some(doc) = self.documents.upgrade()?.wanted().next_idle() {
            self.fold(&doc).await?;
            if self.is_busy()? {
                return Some(());
            }
        }
        let is_new = self.walk.is_none();
        if is_new && !self.documents.upgrade()?.wanted().more.swap(false, Ordering::AcqRel) {
            return self.tidy().await;
        }
        loop {
            let page = self.page().await?;
            let whole = page.len() == FOLD_PAGE;
            for (doc, record) in page {
                self.walk = Some(doc.clone());
                if record.changes.saturating_sub(record.folded) >= FOLD_FROM_CHANGES
                    && record.fenced.is_none()
                {
                    self.fold(&doc).await?;
                    if self.is_busy()? {
                        return Some(());
                    }
                }
            }
            if !whole {
                self.walk = None;
                return Some(());
            }
        }
    }

    fn committed(&self) -> Option<u64> {
        Some(self.documents.upgrade()?.metrics().committed_bytes.get())
    }

    /// Has anything come since it was found idle?
    fn is_busy(&self) -> Option<bool> {
        Some(self.committed()? != self.committed || !self.wanted.is_empty())
    }

    async fn tidy(&self) -> Option<()> {
        let documents = self.documents.upgrade()?;
        match tokio::task::spawn_blocking(move || documents.store().tidy()).await {
            Ok(Ok(())) => Some(()),
            Ok(Err(error)) => {
                warn!(%error, "room that is no longer needed cannot be given back");
                Some(())
            }
            // The runtime is ending.
            Err(_) => None,
        }
    }

    async fn page(&self) -> Option<Vec<(DocId, Record)>> {
        let documents = self.documents.upgrade()?;
        let after = self.walk.clone();
        let list = move || documents.store().list("", after.as_ref().map(DocId::as_str), FOLD_PAGE);
        match tokio::task::spawn_blocking(list).await {
            Ok(Ok(page)) => Some(page),
            Ok(Err(error)) => {
                warn!(%error, "documents cannot be looked through for folding");
                Some(Vec::new())
            }
            // The runtime is ending.
            Err(_) => None,
        }
    }

    /// None when the node is stopping.
    async fn fold(&self, doc: &DocId) -> Option<()> {
        let documents = self.documents.upgrade()?;
        let start = Instant::now();
        match self.try_fold(&documents, doc).await {
            Ok(0) => {}
            Ok(changes) => {
                documents.metrics().folds.add_time(start.elapsed());
                documents.metrics().folded_changes.add(changes);
                debug!(%doc, changes, "folded");
            }
            Err(NodeError::Stopping) => return None,
            // It comes up again.
            Err(NodeError::Busy | NodeError::Fenced { .. }) => {}
            Err(error) => {
                documents.metrics().failed_folds.add(1);
                warn!(%doc, %error, "a document cannot be folded; it stays as it is");
            }
        }
        Some(())
    }

    /// Gives how many changes have left the tail.
    async fn try_fold(&self, documents: &Documents, doc: &DocId) -> Result<u64, NodeError> {
        let cell = documents.cell(doc);
        let mut hold = cell.hold(documents).await?;
        let was_loaded = hold.is_loaded();
        // All that was made here is on disk then, or void; and nothing more is made while it is held.
        hold.settle().await;
        let (loaded, _) = hold.document(Freshness::Now).await?;
        let fold = || match documents.store().whole(doc)? {
            Some(stored) if stored.tail.len() as u64 >= FOLD_FROM_CHANGES => {
                Folding::of(doc, &loaded.document, stored).map_err(refused)
            }
            _ => Ok(None),
        };
        let folding = heavily(documents, fold).await;
        drop(hold);
        drop(cell);
        if !was_loaded {
            documents.let_go(doc);
        }
        let Some(folding) = folding? else { return Ok(0) };
        heavily(documents, || folding.check()).await.map_err(refused)?;
        let changes = folding.changes.unsigned_abs();
        let (folding, (answer, folded)) = (Box::new(folding), oneshot::channel());
        let inputs = self.inputs.upgrade().ok_or(NodeError::Stopping)?;
        inputs.send(Input::Fold { folding, answer }).await.map_err(|_| NodeError::Stopping)?;
        drop(inputs);
        let done = folded.await.map_err(|_| NodeError::Stopping)??;
        Ok(if done { changes } else { 0 })
    }
}

fn refused(error: LoadError) -> NodeError {
    NodeError::Storage { reason: error.to_string() }
}

#[cfg(test)]
mod tests;
