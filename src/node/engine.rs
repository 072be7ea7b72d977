//! The heart of a node: the replication core, the store, and between them the commit under way. It has no
//! thread, clock or entropy of its own, so that the simulator drives the same code as the committer.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::absorb::Records;
use super::ring::Ring;
use crate::base::limits::{COMMIT_MAX_BYTES, COMMIT_MAX_ENTRIES, FRAME_TARGET_BYTES};
use crate::base::{
    Bounds, Bug, Change, DocId, LinkId, Lsn, Millis, NodeId, Origin, Role, VersionVector, planted,
};
use crate::replication::{Core, Effect, Event, Identity, ReadFrom, Received};
use crate::store::{Commit, Incarnation, LogItem, MetaKey, Record, Store, StoreError, TailItem};
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
    /// Send what is still to be sent, and close the connection.
    Close { link: LinkId, reason: String },
}

/// A commit that is on disk: which documents it touched, and where.
#[derive(Debug, Default)]
pub struct Committed {
    pub touched: Vec<Touched>,
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
}

#[derive(Clone, Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("this data folder belongs to the cluster {found:?}, not to {wanted:?} (see --cluster)")]
    Cluster { found: String, wanted: String },
}

/// See the module.
pub struct Engine {
    core: Core,
    store: Arc<dyn Store>,
    records: Records,
    ring: Ring,
    mark_every: u64,
    /// The last LSN given out.
    lsn: Lsn,
    /// Of all documents and their heads, with what is staged.
    digest: u128,
    pending: Pending,
    incarnation: Incarnation,
    /// Why commits fail, from a failed one until a new incarnation is stored.
    broken: Option<StoreError>,
}

/// The commit under way.
#[derive(Default)]
struct Pending {
    log: Vec<LogItem>,
    tail: Vec<TailItem>,
    records: FxHashMap<DocId, Record>,
    touched: Vec<Touched>,
    bytes: usize,
}

impl Engine {
    /// Reads what the store has, and stores a new incarnation before anything bears its name.
    ///
    /// # Errors
    /// When the store fails, or belongs to another cluster.
    pub fn open(
        now: Millis,
        config: EngineConfig,
        dice: Dice,
        store: Arc<dyn Store>,
    ) -> Result<Self, OpenError> {
        let found = store.recover()?;
        if let Some(cluster) = found.cluster.filter(|cluster| *cluster != config.cluster) {
            return Err(OpenError::Cluster { found: cluster, wanted: config.cluster });
        }
        let node = found.node.unwrap_or(dice.node);
        let incarnation = match found.incarnation {
            Some(last) if planted(Bug::ReuseOrigin) => last,
            Some(last) => Incarnation { number: last.number + 1, random: dice.random },
            None => Incarnation { number: 1, random: dice.random },
        };
        let meta = vec![
            MetaKey::Node(node),
            MetaKey::Cluster(config.cluster.clone()),
            MetaKey::Incarnation(incarnation),
        ];
        store.commit(&Commit { meta, ..Commit::default() })?;
        let me = Identity {
            cluster: config.cluster,
            node,
            name: config.name,
            role: config.role,
            url: config.url,
            origin: Origin { node, incarnation: incarnation.number, random: incarnation.random },
        };
        Ok(Self {
            core: Core::new(now, me, config.bounds, found.vector.clone(), found.digest, found.last_lsn),
            store,
            records: Records::new(),
            ring: Ring::new(config.bounds.ring, found.vector),
            mark_every: config.bounds.mark_every,
            lsn: found.last_lsn,
            digest: u128::from_be_bytes(found.digest),
            pending: Pending::default(),
            incarnation,
            broken: None,
        })
    }

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
        let mut effects = Vec::new();
        self.core.handle(now, event, &mut effects);
        self.perform(now, effects, outputs)
    }

    /// Puts changes that enter the cluster here into the commit under way.
    ///
    /// # Errors
    /// When the store fails, or has failed: nothing of the commit under way will be stored.
    pub fn submit(
        &mut self,
        now: Millis,
        doc: DocId,
        changes: Vec<Change>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), StoreError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let entry = self.core.stage_local(doc, changes);
        let staged = self.stage(Received { entry, damaged: None }, true);
        staged.inspect_err(|error| self.fail(now, error.clone(), outputs))
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
        let pending = std::mem::take(&mut self.pending);
        let (Some(first), Some(last)) = (pending.log.first(), pending.log.last()) else {
            return Ok(Committed::default());
        };
        let (first, last) = (first.lsn, last.lsn);
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
        let digest = self.digest.to_be_bytes();
        // A mark above what the log holds there is right too: whoever has all of it has all before that LSN.
        let marks =
            (first.0..=last.0).filter(|lsn| lsn % self.mark_every == 0).map(|lsn| (Lsn(lsn), vector.clone()));
        let commit = Commit {
            marks: marks.collect(),
            log: pending.log,
            tail: pending.tail,
            records,
            folds: Vec::new(),
            vector: Some((vector, digest)),
            ..Commit::default()
        };
        if let Err(error) = self.store.commit(&commit) {
            self.fail(now, error.clone(), outputs);
            return Err(error);
        }
        let segments = segments(commit.log.iter().map(|item| &item.bytes));
        self.ring.push(first, last, segments.clone());
        let mut effects = Vec::new();
        self.core.handle(now, Event::Committed { segments, first, last, digest }, &mut effects);
        self.perform(now, effects, outputs)?;
        Ok(Committed { touched: pending.touched, entries, bytes })
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
                Effect::Commit(received) => {
                    if let Err(error) = self.stage(received, false) {
                        self.fail(now, error.clone(), outputs);
                        return Err(error);
                    }
                }
            }
        }
        Ok(())
    }

    fn stage(&mut self, received: Received, local: bool) -> Result<(), StoreError> {
        let Received { entry, damaged } = received;
        let lsn = self.lsn.next();
        let doc = entry.doc.clone();
        let mut record = match self.pending.records.get(&doc) {
            Some(record) => record.clone(),
            None => self.records.get(&*self.store, &doc)?,
        };
        let before = leaf(&doc, &record);
        let mut new = Vec::new();
        match damaged {
            // What it claims to be is not believed: neither heads nor tail learn of it.
            Some(reason) => record.fenced = Some(reason),
            None => {
                let staged = &self.pending.tail;
                new = self.records.absorb(&*self.store, &doc, &mut record, &entry.changes, lsn, staged)?;
            }
        }
        self.lsn = lsn;
        let bytes = bytes::Bytes::from(entry.to_bytes());
        self.pending.bytes += bytes.len();
        self.pending.log.push(LogItem { lsn, bytes });
        if !new.is_empty() {
            self.digest = self.digest.wrapping_sub(before).wrapping_add(leaf(&doc, &record));
            self.pending.tail.push(TailItem { doc: doc.clone(), lsn, changes: new });
        } else if record.fenced.is_none() {
            return Ok(());
        }
        self.pending.touched.push(Touched { doc: doc.clone(), lsn, local, fenced: record.fenced.is_some() });
        self.pending.records.insert(doc, record);
        Ok(())
    }

    fn fail(&mut self, now: Millis, error: StoreError, outputs: &mut Vec<Output>) {
        self.pending = Pending::default();
        self.records.clear();
        self.digest = u128::from_be_bytes(self.core.digest());
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

/// What a document adds to the digest. A sum, so that one document's part can be taken out again.
fn leaf(doc: &DocId, record: &Record) -> u128 {
    if record.heads.is_empty() {
        return 0;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(doc.as_str().as_bytes()).update(&[0]);
    for head in &record.heads {
        hasher.update(&head.0);
    }
    hasher.finalize().as_bytes().first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
}
