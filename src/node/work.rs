//! Reads and writes of one document, from its mailbox to the committer and back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::committer::{Input, Submission};
use super::documents::{Cell, Freshness, Hold, heavily};
use super::{Form, Node, NodeError, Read, Reading, Write, Written};
use crate::base::limits::{DIFF_BUDGET_MS, VERSION_WAIT_MS};
use crate::base::{DocId, Hash};
use crate::crdt::{Document, Edit, Edited};

/// What is found out and done while one holds a document.
enum Attempt<T> {
    Done(T),
    /// A version is named that is not here yet.
    NotYet,
}

type OnDisk = oneshot::Receiver<Result<(), NodeError>>;

/// A write that is made, and is not known to be on disk.
pub struct Begun {
    /// What it comes to, once it is on disk.
    pub written: Written,
    on_disk: Option<OnDisk>,
    /// The epoch in which a version was seen that the write did not change.
    seen_in: Option<u64>,
}

impl Node {
    /// # Errors
    /// `NotFound`, `VersionNotFound`, `Fenced`, `Busy`, or that storage fails.
    pub async fn read(&self, doc: &DocId, read: Read) -> Result<Reading, NodeError> {
        let inner = &self.0;
        let cell = inner.documents.cell(doc);
        let mut hold = cell.hold(&inner.documents).await?;
        let (loaded, epoch) = hold.document(Freshness::Now).await?;
        let plain = read.at.is_none() && read.form == Form::Json;
        let reading = match &loaded.rendered {
            // What has been rendered is there: whatever changes the document takes the rendering away.
            Some((version, body, conflicts)) if plain => {
                Reading { body: body.clone(), version: version.clone(), conflicts: *conflicts }
            }
            _ => {
                if loaded.document.is_empty() || (read.at.is_none() && loaded.document.is_deleted()) {
                    return Err(absent(&loaded.document));
                }
                let heavy = loaded.is_heavy();
                let render = || render(&loaded.document, &read);
                let reading = if heavy { heavily(&inner.documents, render).await } else { render() }?;
                if plain {
                    loaded.rendered =
                        Some((reading.version.clone(), reading.body.clone(), reading.conflicts));
                }
                reading
            }
        };
        drop(hold);
        self.settle(&cell, epoch).await?;
        Ok(reading)
    }

    /// Answers when the write is on disk.
    ///
    /// # Errors
    /// As told in [`NodeError`]. After `Storage` it is unknown whether the write is on disk.
    pub async fn write(&self, doc: &DocId, write: Write) -> Result<Written, NodeError> {
        self.finish(self.begin(doc, write).await?).await
    }

    /// Makes the write and hands it to the committer. Whoever begins another one after this was answered has it
    /// made after this one, and need not wait for the disk before: that is for [`Node::settled`] to tell.
    ///
    /// # Errors
    /// As of [`Node::write`].
    pub async fn begin(&self, doc: &DocId, write: Write) -> Result<Begun, NodeError> {
        self.require_master()?;
        let wait = write.wait.0.min(VERSION_WAIT_MS);
        let deadline = Instant::now() + Duration::from_millis(wait);
        let cell = self.0.documents.cell(doc);
        loop {
            // Before the attempt, so that what arrives during it is not missed.
            let arrived = cell.arrived();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            match self.attempt(&cell, doc, &write).await? {
                Attempt::Done(begun) => return Ok(begun),
                Attempt::NotYet => {
                    if tokio::time::timeout_at(deadline.into(), arrived).await.is_err() {
                        return Err(NodeError::NotYetConverged);
                    }
                }
            }
        }
    }

    /// Takes raw Automerge changes: concatenated chunks, or a saved document. Answers when they are on disk.
    ///
    /// # Errors
    /// As told in [`NodeError`].
    pub async fn admit(&self, doc: &DocId, raw: Bytes) -> Result<Written, NodeError> {
        self.require_master()?;
        let inner = &self.0;
        let cell = inner.documents.cell(doc);
        let mut hold = cell.hold(&inner.documents).await?;
        let (loaded, epoch) = hold.document(Freshness::Now).await?;
        let created = loaded.document.is_absent();
        let edited = heavily(&inner.documents, || loaded.document.admit(&raw)).await?;
        let begun = self.submit(&cell, hold, doc, epoch, created, edited).await?;
        self.finish(begun).await
    }

    async fn attempt(
        &self,
        cell: &Arc<Cell>,
        doc: &DocId,
        write: &Write,
    ) -> Result<Attempt<Begun>, NodeError> {
        let inner = &self.0;
        let mut hold = cell.hold(&inner.documents).await?;
        let conditional = write.condition != super::Condition::default();
        let freshness = if conditional { Freshness::Now } else { Freshness::Lazy };
        let (loaded, mut epoch) = hold.document(freshness).await?;
        if let Some(parents) = &write.parents
            && !parents.iter().all(|hash| loaded.document.has(hash))
        {
            epoch = hold.document(Freshness::Now).await?.1;
        }
        let loaded = hold.loaded()?;
        let heavy = loaded.is_heavy() && !write.edit.is_small();
        let document = &mut loaded.document;
        let created = document.is_absent();
        let here = document.applied_heads();
        let at: Option<&[Hash]> = match &write.parents {
            Some(parents) if *parents == here => None,
            Some(parents) if !parents.iter().all(|hash| document.has(hash)) => return Ok(Attempt::NotYet),
            Some(parents) => Some(parents),
            None => None,
        };
        if created && write.must_exist {
            return Err(absent(document));
        }
        if !write.condition.holds((!created).then_some(&here)) {
            return Err(NodeError::PreconditionFailed { current: here });
        }
        let unix = i64::try_from(inner.clock.unix().0).unwrap_or(0);
        let author = write.author.as_deref().or(Some(inner.shared.name()));
        let edit: &Edit = &write.edit;
        let deadline = Instant::now() + Duration::from_millis(DIFF_BUDGET_MS);
        let mut work = || document.edit(edit, at, author, unix, Some(deadline));
        let edited = if heavy { heavily(&inner.documents, work).await } else { work() }?;
        self.submit(cell, hold, doc, epoch, created, edited).await.map(Attempt::Done)
    }

    /// Hands what was made to the committer while the document is still held, so that the order of a document's
    /// changes is that of their making.
    async fn submit(
        &self,
        cell: &Arc<Cell>,
        mut hold: Hold<'_>,
        doc: &DocId,
        epoch: u64,
        created: bool,
        edited: Edited,
    ) -> Result<Begun, NodeError> {
        let Edited { changes, version } = edited;
        let loaded = hold.loaded()?;
        let current = loaded.document.applied_heads();
        if changes.is_empty() {
            drop(hold);
            let on_disk = self.barrier(cell).await?;
            let written = Written { created: false, version, current };
            return Ok(Begun { written, on_disk, seen_in: Some(epoch) });
        }
        loaded.rendered = None;
        let uncommitted = cell.submit();
        let (answer, committed) = oneshot::channel();
        let doc = doc.clone();
        let submission = Input::Submit(Submission { doc, changes, epoch, answer, uncommitted });
        // Were this request dropped while it waits here, the document would have a change that nobody stores.
        if let Err(unsent) = self.0.inputs.try_send(submission) {
            match unsent {
                tokio::sync::mpsc::error::TrySendError::Closed(_) => return Err(NodeError::Stopping),
                tokio::sync::mpsc::error::TrySendError::Full(submission) => {
                    let sent = tokio::task::block_in_place(|| self.0.inputs.blocking_send(submission));
                    sent.map_err(|_| NodeError::Stopping)?;
                }
            }
        }
        Ok(Begun { written: Written { created, version, current }, on_disk: Some(committed), seen_in: None })
    }

    /// Answers when what was begun is on disk.
    ///
    /// # Errors
    /// As of [`Node::write`].
    pub async fn finish(&self, mut begun: Begun) -> Result<Written, NodeError> {
        self.settled(&mut begun).await?;
        Ok(begun.written)
    }

    /// Ready when what was begun is on disk; not to be asked again then. Dropped before, nothing is lost.
    ///
    /// # Errors
    /// As of [`Node::write`].
    pub async fn settled(&self, begun: &mut Begun) -> Result<(), NodeError> {
        if let Some(on_disk) = &mut begun.on_disk {
            on_disk.await.unwrap_or(Err(NodeError::Stopping))?;
        }
        begun.seen_in.map_or(Ok(()), |epoch| self.require_epoch(epoch))
    }

    /// Forgets what is in memory of a document, unless somebody works on it: for who has just made one of many,
    /// which will not be the next to be read.
    pub fn let_go(&self, doc: &DocId) {
        self.0.documents.let_go(doc);
    }

    /// Waits until what was seen of a document in `epoch` is on disk.
    pub(super) async fn settle(&self, cell: &Cell, epoch: u64) -> Result<(), NodeError> {
        if let Some(on_disk) = self.barrier(cell).await? {
            on_disk.await.unwrap_or(Err(NodeError::Stopping))?;
        }
        self.require_epoch(epoch)
    }

    /// Answered when all that was submitted of a document is on disk, where anything is not.
    async fn barrier(&self, cell: &Cell) -> Result<Option<OnDisk>, NodeError> {
        if !cell.has_uncommitted() {
            return Ok(None);
        }
        let (answer, on_disk) = oneshot::channel();
        self.0.inputs.send(Input::Barrier(answer)).await.map_err(|_| NodeError::Stopping)?;
        Ok(Some(on_disk))
    }

    /// A commit that failed before the barrier came, or even before it was looked for, has ended the epoch.
    fn require_epoch(&self, epoch: u64) -> Result<(), NodeError> {
        if self.0.shared.epoch() == epoch {
            return Ok(());
        }
        Err(NodeError::Storage { reason: "what was seen has not reached the disk".into() })
    }

    fn require_master(&self) -> Result<(), NodeError> {
        if self.role().takes_writes() {
            return Ok(());
        }
        Err(NodeError::ReadOnly { masters: self.masters() })
    }
}

pub(super) fn absent(document: &Document) -> NodeError {
    if document.is_empty() {
        return NodeError::NotFound;
    }
    NodeError::Gone { version: document.applied_heads() }
}

fn render(document: &Document, read: &Read) -> Result<Reading, NodeError> {
    let at = read.at.as_deref();
    let missing = |_| NodeError::VersionNotFound;
    let rendered = document.json(at, read.form == Form::TypedJson).map_err(missing)?;
    let body = match read.form {
        Form::Automerge => document.save(at).map_err(missing)?,
        Form::Json | Form::TypedJson => rendered.body,
    };
    let version = read.at.clone().unwrap_or_else(|| document.applied_heads());
    Ok(Reading { body, version, conflicts: rendered.conflicts })
}
