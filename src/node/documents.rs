//! Documents in memory: a mailbox each, worked on by the runtime's threads, within a budget of bytes.
//!
//! A document's mailbox is a fair lock: whoever holds it works on the document, in the order of arrival. Light
//! work is done where the request runs; heavy work (loading, large merges and edits) moves the other requests
//! of that thread elsewhere first, and at most as many at once as there are workers.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rustc_hash::FxHashMap;
use tokio::sync::{MutexGuard, Notify, Semaphore};

use super::engine::Touched;
use super::fold::{Due, Wanted};
use super::live::View;
use super::shared::Shared;
use super::{Metrics, NodeError};
use crate::base::limits::{DOCUMENT_CACHE_BYTES, DOCUMENT_QUEUE, FOLD_LOADED_CHANGES, MERGE_INTERVAL_MS};
use crate::base::{Change, DocId, Heads, Lsn};
use crate::crdt::Document;
use crate::store::{Record, Store, Whole};

const SHARDS: usize = 64;

/// Bytes that a cell counts for beyond its document.
const CELL_BYTES: usize = 1_024;

/// From this size on, in bytes, work on a document counts as heavy.
const HEAVY_BYTES: usize = 64 << 10;

/// So many changes are merged, or loaded where they are not large, where the request runs.
const LIGHT_MERGE: usize = 32;

pub(super) struct Documents {
    store: Arc<dyn Store>,
    shared: Arc<Shared>,
    shards: Vec<Mutex<FxHashMap<DocId, Arc<Cell>>>>,
    /// Estimated bytes of all cells.
    bytes: AtomicUsize,
    /// The shard that is looked through next when the budget is exceeded.
    hand: AtomicUsize,
    heavy: Semaphore,
    wanted: Wanted,
}

/// One document's place in memory.
pub(super) struct Cell {
    doc: DocId,
    /// LSN of the last commit that brought it something from elsewhere.
    remote: AtomicU64,
    /// LSN of the last commit of something that was made here.
    local: AtomicU64,
    /// Submissions that are not answered yet. While there are any the cell is not evicted.
    uncommitted: AtomicUsize,
    fenced: AtomicBool,
    /// What is in memory from before this LSN is void: more than the tail has changed on disk.
    void: AtomicU64,
    /// Used since the eviction's hand last passed.
    used: AtomicBool,
    /// Requests that wait for it or work on it.
    waiting: AtomicUsize,
    /// Something has come from elsewhere.
    arrived: Notify,
    /// The last uncommitted submission was answered.
    settled: Notify,
    loaded: tokio::sync::Mutex<Option<Loaded>>,
    /// As its live readers see it.
    pub view: tokio::sync::Mutex<Option<View>>,
    /// What that takes.
    pub view_bytes: AtomicUsize,
}

/// A materialised document.
pub(super) struct Loaded {
    pub document: Document,
    /// The incarnation in which it was loaded: its actor.
    epoch: u64,
    /// All that came from elsewhere up to this LSN is merged.
    merged: Lsn,
    last_merge: Instant,
    merge_cost: Duration,
    /// Its present JSON, where somebody has asked for it.
    pub rendered: Option<(Heads, Bytes, usize)>,
    /// What it counts for in the budget.
    counted: usize,
}

impl Loaded {
    fn is_void(&self, cell: &Cell) -> bool {
        self.merged.0 < cell.void.load(Ordering::Acquire)
    }

    /// Is work on the whole document heavy?
    pub fn is_heavy(&self) -> bool {
        self.document.size_estimate() >= HEAVY_BYTES
    }
}

/// Exclusive use of one document.
pub(super) struct Hold<'a> {
    documents: &'a Documents,
    cell: &'a Cell,
    slot: MutexGuard<'a, Option<Loaded>>,
}

/// Which waiting changes have to be merged first.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Freshness {
    /// All: a reader sees them, or a version is named.
    Now,
    /// Those that have waited long enough: merging costs more than the write itself.
    Lazy,
}

impl Documents {
    pub fn new(store: Arc<dyn Store>, shared: Arc<Shared>, workers: usize, wanted: Wanted) -> Self {
        Self {
            store,
            shared,
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            bytes: AtomicUsize::new(0),
            hand: AtomicUsize::new(0),
            heavy: Semaphore::new(workers.max(1)),
            wanted,
        }
    }

    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Which documents have come up for folding.
    pub fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    pub fn cell(&self, doc: &DocId) -> Arc<Cell> {
        let mut shard = lock(self.shard(doc));
        if let Some(cell) = shard.get(doc) {
            cell.used.store(true, Ordering::Relaxed);
            return cell.clone();
        }
        let cell = Arc::new(Cell {
            doc: doc.clone(),
            remote: AtomicU64::new(0),
            local: AtomicU64::new(0),
            uncommitted: AtomicUsize::new(0),
            fenced: AtomicBool::new(false),
            void: AtomicU64::new(0),
            used: AtomicBool::new(true),
            waiting: AtomicUsize::new(0),
            arrived: Notify::new(),
            settled: Notify::new(),
            loaded: tokio::sync::Mutex::new(None),
            view: tokio::sync::Mutex::new(None),
            view_bytes: AtomicUsize::new(0),
        });
        shard.insert(doc.clone(), cell.clone());
        drop(shard);
        self.bytes.fetch_add(CELL_BYTES, Ordering::Relaxed);
        cell
    }

    /// Told by the committer, in the order of the log, when a commit is on disk.
    pub fn committed(&self, touched: &Touched) {
        self.wanted.add(&touched.doc, touched.due);
        let shard = lock(self.shard(&touched.doc));
        // A document that nobody has in memory needs no word.
        let Some(cell) = shard.get(&touched.doc) else { return };
        if touched.fenced {
            cell.fenced.store(true, Ordering::Release);
        }
        if touched.void {
            // Once more: it may have been loaded for the first time while the commit was on its way to the disk.
            cell.void.store(touched.lsn.0, Ordering::Release);
        }
        if touched.local {
            cell.local.store(touched.lsn.0, Ordering::Release);
        } else {
            cell.remote.store(touched.lsn.0, Ordering::Release);
            cell.arrived.notify_waiters();
        }
    }

    /// Told by the committer before a commit in which more than the document's tail changes.
    pub fn void(&self, doc: &DocId, lsn: Lsn) {
        if let Some(cell) = lock(self.shard(doc)).get(doc) {
            cell.void.store(lsn.0, Ordering::Release);
        }
    }

    /// Drops a document unless somebody works on it. It is loaded again when it is asked for.
    pub fn let_go(&self, doc: &DocId) {
        let mut shard = lock(self.shard(doc));
        let Some(bytes) = shard.get(doc).and_then(Cell::idle) else { return };
        let gone = shard.remove(doc);
        drop(shard);
        drop(gone);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn shard(&self, doc: &DocId) -> &Mutex<FxHashMap<DocId, Arc<Cell>>> {
        use std::hash::{BuildHasher, BuildHasherDefault};
        let hash = BuildHasherDefault::<rustc_hash::FxHasher>::default().hash_one(doc);
        // The map uses the low bits.
        &self.shards[(hash >> 48) as usize % SHARDS]
    }

    /// Documents in memory, and their estimated bytes.
    pub fn size(&self) -> (usize, usize) {
        let documents = self.shards.iter().map(|shard| lock(shard).len()).sum();
        (documents, self.bytes.load(Ordering::Relaxed))
    }

    /// Drops documents that were not used lately until the budget holds.
    fn evict(&self) {
        for _ in 0..2 * SHARDS {
            if self.bytes.load(Ordering::Relaxed) <= DOCUMENT_CACHE_BYTES {
                return;
            }
            let hand = self.hand.fetch_add(1, Ordering::Relaxed) % SHARDS;
            let (mut freed, mut evicted) = (0, 0);
            lock(&self.shards[hand]).retain(|_, cell| {
                let Some(bytes) = Cell::idle(cell) else { return true };
                if cell.used.swap(false, Ordering::Relaxed) {
                    return true;
                }
                evicted += 1;
                freed += bytes;
                false
            });
            self.bytes.fetch_sub(freed, Ordering::Relaxed);
            self.shared.metrics.evictions.add(evicted);
        }
    }
}

impl Cell {
    /// Bytes that it counts for; None where the map's own reference is not the only one, as somebody works on it
    /// or is about to. Asked while the map is locked.
    fn idle(cell: &Arc<Cell>) -> Option<usize> {
        if Arc::strong_count(cell) > 1 || cell.has_uncommitted() {
            return None;
        }
        let slot = cell.loaded.try_lock().ok()?;
        Some(CELL_BYTES + slot.as_ref().map_or(0, |loaded| loaded.counted))
    }

    /// Waits for the document's mailbox.
    ///
    /// # Errors
    /// `Busy` when too many wait already.
    pub async fn hold<'a>(&'a self, documents: &'a Documents) -> Result<Hold<'a>, NodeError> {
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= DOCUMENT_QUEUE {
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            return Err(NodeError::Busy);
        }
        let leave = Leave(&self.waiting);
        let slot = self.loaded.lock().await;
        drop(leave);
        Ok(Hold { documents, cell: self, slot })
    }

    /// Ready when something has come from elsewhere since this was called.
    pub fn arrived(&self) -> tokio::sync::futures::Notified<'_> {
        self.arrived.notified()
    }

    /// LSN of the last commit that touched it, of those since it has this place.
    pub fn touched(&self) -> Lsn {
        Lsn(self.local.load(Ordering::Acquire).max(self.remote.load(Ordering::Acquire)))
    }

    pub fn has_uncommitted(&self) -> bool {
        self.uncommitted.load(Ordering::Acquire) > 0
    }

    /// Waits until all that was submitted is on disk, or has failed.
    async fn settle(&self) {
        loop {
            let settled = self.settled.notified();
            tokio::pin!(settled);
            settled.as_mut().enable();
            if !self.has_uncommitted() {
                return;
            }
            settled.await;
        }
    }

    /// Until the guard is dropped the cell stays in memory.
    pub fn submit(self: &Arc<Self>) -> Uncommitted {
        self.uncommitted.fetch_add(1, Ordering::AcqRel);
        Uncommitted(self.clone())
    }
}

/// A submission that is not answered yet.
pub(super) struct Uncommitted(Arc<Cell>);

impl Drop for Uncommitted {
    fn drop(&mut self) {
        if self.0.uncommitted.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.settled.notify_waiters();
        }
    }
}

struct Leave<'a>(&'a AtomicUsize);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Hold<'_> {
    /// The document, loaded and as fresh as asked for, and the epoch of its actor.
    ///
    /// # Errors
    /// When storage fails, or the document is fenced.
    pub async fn document(&mut self, freshness: Freshness) -> Result<(&mut Loaded, u64), NodeError> {
        let (origin, epoch) = self.documents.shared.origin();
        if self.cell.fenced.load(Ordering::Acquire) {
            let record = self.documents.store.record(&self.cell.doc)?.unwrap_or_default();
            return Err(NodeError::Fenced { reason: record.fenced.unwrap_or_default() });
        }
        // What was made in an incarnation that has ended may not be on disk.
        if self.slot.as_ref().is_some_and(|loaded| loaded.epoch != epoch) {
            self.forget();
        }
        if self.slot.as_ref().is_some_and(|loaded| loaded.is_void(self.cell)) {
            self.cell.settle().await;
            self.forget();
        }
        if self.slot.is_some() {
            self.merge(freshness).await?;
        }
        if self.slot.as_ref().is_some_and(|loaded| loaded.document.is_broken()) {
            // The store's copy is whole once all that was made here is in it: before, the next change made
            // would take a sequence number that is taken.
            self.cell.settle().await;
            self.forget();
        }
        if self.slot.is_none() {
            let (documents, doc) = (self.documents, &self.cell.doc);
            let record = documents.store.record(doc)?;
            let light =
                |record: &Record| record.changes <= LIGHT_MERGE as u64 && record.bytes < HEAVY_BYTES as u64;
            let light = record.as_ref().is_none_or(light);
            let actor = documents.shared.actor(origin);
            let is_new = record.is_none();
            let load = || {
                let stored = if is_new { None } else { documents.store.whole(doc)? };
                let is_long = |stored: &Whole| stored.tail.len() >= FOLD_LOADED_CHANGES;
                if stored.as_ref().is_some_and(is_long) {
                    documents.wanted.add(doc, Due::Now);
                }
                load(doc, stored.unwrap_or_default(), actor, epoch)
            };
            let start = Instant::now();
            // To move the other requests elsewhere costs more than a small document.
            let loaded = if light { load() } else { heavily(documents, load).await }?;
            if !is_new {
                documents.shared.metrics.loads.add_time(start.elapsed());
            }
            *self.slot = Some(loaded);
        }
        Ok((self.loaded()?, epoch))
    }

    /// Is the document in memory already?
    pub fn is_loaded(&self) -> bool {
        self.slot.is_some()
    }

    /// Waits until all that was made here is on disk, or has failed. While it is held nothing more is made.
    pub async fn settle(&self) {
        self.cell.settle().await;
    }

    fn forget(&mut self) {
        let gone = self.slot.take().map_or(0, |loaded| loaded.counted);
        self.documents.bytes.fetch_sub(gone, Ordering::Relaxed);
    }

    /// The document as [`Hold::document`] has left it.
    pub fn loaded(&mut self) -> Result<&mut Loaded, NodeError> {
        self.slot.as_mut().ok_or(NodeError::Stopping)
    }

    async fn merge(&mut self, freshness: Freshness) -> Result<(), NodeError> {
        let Some(loaded) = self.slot.as_mut() else { return Ok(()) };
        // In this order: what came from elsewhere up to `local` is then within `remote`.
        let local = Lsn(self.cell.local.load(Ordering::Acquire));
        let remote = Lsn(self.cell.remote.load(Ordering::Acquire));
        if remote <= loaded.merged {
            loaded.merged = loaded.merged.max(local);
            return Ok(());
        }
        let pause = Duration::from_millis(MERGE_INTERVAL_MS).max(4 * loaded.merge_cost);
        let wait = freshness == Freshness::Lazy && loaded.last_merge.elapsed() < pause;
        if wait && !loaded.document.is_empty() {
            return Ok(());
        }
        let tail = self.documents.store.tail(&self.cell.doc, loaded.merged)?;
        // Read after the tail: what left it before was announced before.
        if loaded.is_void(self.cell) {
            loaded.document.distrust();
            return Ok(());
        }
        let merged = tail.last().map_or(remote, |(lsn, _)| (*lsn).max(remote));
        let changes: Vec<Change> = tail.into_iter().map(|(_, change)| change).collect();
        let heavy = changes.len() > LIGHT_MERGE || loaded.is_heavy();
        let start = Instant::now();
        if heavy {
            heavily(self.documents, || loaded.document.merge(&changes)).await;
        } else {
            loaded.document.merge(&changes);
        }
        loaded.merged = merged;
        loaded.rendered = None;
        loaded.last_merge = Instant::now();
        loaded.merge_cost = start.elapsed();
        let metrics = &self.documents.shared.metrics;
        metrics.merges.add_time(loaded.merge_cost);
        metrics.merged_changes.add(changes.len() as u64);
        Ok(())
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let Some(loaded) = self.slot.as_mut() else { return };
        let rendered = loaded.rendered.as_ref().map_or(0, |(_, body, _)| body.len());
        let viewed = self.cell.view_bytes.load(Ordering::Relaxed);
        let size = loaded.document.size_estimate() + rendered + viewed;
        let before = std::mem::replace(&mut loaded.counted, size);
        let bytes = &self.documents.bytes;
        let total = if size >= before {
            bytes.fetch_add(size - before, Ordering::Relaxed) + (size - before)
        } else {
            bytes.fetch_sub(before - size, Ordering::Relaxed)
        };
        if total > DOCUMENT_CACHE_BYTES && size > before {
            self.documents.evict();
        }
    }
}

/// Runs heavy work without delaying the other requests of this thread.
pub(super) async fn heavily<T>(documents: &Documents, work: impl FnOnce() -> T) -> T {
    // The semaphore is never closed; were it, the work would still be done.
    let _permit = documents.heavy.acquire().await;
    tokio::task::block_in_place(work)
}

fn load(doc: &DocId, stored: Whole, actor: [u8; 16], epoch: u64) -> Result<Loaded, NodeError> {
    let Whole { record, snapshot, tail } = stored;
    if let Some(reason) = record.fenced {
        return Err(NodeError::Fenced { reason });
    }
    let merged = tail.last().map_or(record.last_lsn, |(lsn, _)| (*lsn).max(record.last_lsn));
    let tail: Vec<Change> = tail.into_iter().map(|(_, change)| change).collect();
    let start = Instant::now();
    let document = Document::load(actor, doc.clone(), snapshot.as_deref(), &tail)
        .map_err(|e| NodeError::Fenced { reason: e.to_string() })?;
    Ok(Loaded {
        document,
        epoch,
        merged,
        last_merge: start,
        merge_cost: start.elapsed(),
        rendered: None,
        counted: 0,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::base::{Bounds, Millis, Role};
    use crate::crdt::Edit;
    use crate::node::{Condition, Node, NodeConfig, Read, Write};
    use crate::store::{Commit, MemoryStore};

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_loaded_while_its_drop_is_on_its_way_to_the_disk_is_loaded_again() {
        let config = NodeConfig {
            name: "one".into(),
            role: Role::Master,
            cluster: "test".into(),
            url: None,
            has_peers: false,
            workers: 2,
            bounds: Bounds::default(),
            keep_deleted: Duration::from_secs(3_600),
        };
        let disk = MemoryStore::new();
        let node = Node::start(config, Arc::new(disk.clone())).unwrap();
        let doc = DocId::new("d").unwrap();
        for edit in [Edit::Put(json!({"n": 1})), Edit::Delete] {
            let condition = Condition::default();
            let write =
                Write { edit, parents: None, condition, author: None, must_exist: false, wait: Millis(0) };
            node.write(&doc, write).await.unwrap();
        }
        let read = async || node.read(&doc, Read::default()).await;
        let documents = &node.0.documents;
        documents.let_go(&doc);
        let lsn = Lsn(100);
        // Nobody has it in memory when the commit begins; somebody asks for it before that has ended.
        documents.void(&doc, lsn);
        assert!(matches!(read().await, Err(NodeError::Gone { .. })));
        disk.commit(&Commit { drops: vec![doc.clone()], ..Commit::default() }).unwrap();
        let due = Due::Not;
        documents.committed(&Touched { doc: doc.clone(), lsn, local: false, fenced: false, void: true, due });
        assert!(matches!(read().await, Err(NodeError::NotFound)));
    }
}
