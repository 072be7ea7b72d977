//! The committer: one thread that takes whatever has arrived, commits it with one fsync, and only then lets
//! answers, acknowledgements and entries go.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::Instant;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use super::clock::Clock;
use super::documents::{Documents, Uncommitted};
use super::engine::{Committed, Engine, Output, read_log};
use super::fold::Folding;
use super::gather::gather;
use super::link::{Outgoing, Wire};
use super::live::Hub;
use super::shared::Shared;
use super::view;
use super::{NodeError, RepairView};
use crate::base::limits::{COMMIT_MAX_ENTRIES, MAX_LINKS};
use crate::base::{Change, DocId, Heads, LinkId};
use crate::replication::{DUPLICATE, Event, Gather, ReadFrom};
use crate::store::{Store, StoreError};
use crate::wire::Message;

/// How often the core is told that time has passed, in milliseconds.
pub(super) const TICK_MS: u64 = 10;

/// Ticks between two tries to go on after a failed commit.
const REOPEN_TICKS: u64 = 100;

/// Ticks between two looks at what is told to everybody: health, known masters.
const PUBLISH_TICKS: u64 = 10;

/// Ticks between two looks at what is told to whoever watches the node.
const MEASURE_TICKS: u64 = 100;

/// Between two words on a repair under way, in milliseconds.
const TELL_MS: u64 = 5_000;

/// A commit waits for more writers as long as they come, in such steps, where the last one had many: those are
/// about to write again, and one fsync for all of them costs less than two.
const GATHER: std::time::Duration = std::time::Duration::from_micros(100);
const GATHER_PAUSES: usize = 5;

/// What the committer takes.
pub(super) enum Input {
    Submit(Submission),
    /// Answered when all that came before is on disk.
    Barrier(Answer),
    LinkUp {
        link: LinkId,
        dialled: bool,
        wire: Arc<Wire>,
        outbox: mpsc::Sender<Outgoing>,
    },
    Event(Event),
    /// Answered with whether it was done: not where the document was folded or dropped since it was read.
    Fold {
        folding: Box<Folding>,
        answer: Folded,
    },
    /// Documents that were deleted long ago, to be dropped if they are still as they were seen.
    Drop(Vec<(DocId, Heads)>),
    View(oneshot::Sender<super::ClusterView>),
    /// Some link's socket has taken something.
    Drained,
    Stop(oneshot::Sender<()>),
}

pub(super) type Answer = oneshot::Sender<Result<(), NodeError>>;

/// Has it been folded?
type Folded = oneshot::Sender<Result<bool, NodeError>>;

/// Changes that enter the cluster here.
pub(super) struct Submission {
    pub doc: DocId,
    pub changes: Vec<Change>,
    /// The incarnation that made them; those of an earlier one are refused.
    pub epoch: u64,
    pub answer: Answer,
    /// Keeps the document in memory until the answer.
    pub uncommitted: Uncommitted,
}

/// Somebody who waits for the commit under way.
struct Waiting {
    answer: Answer,
    _uncommitted: Option<Uncommitted>,
}

/// What is read from the store for a link, away from the committer.
enum Reading {
    Log(ReadFrom),
    Documents(Gather),
}

struct Outlet {
    wire: Arc<Wire>,
    outbox: mpsc::Sender<Outgoing>,
}

pub(super) struct Committer {
    pub engine: Engine,
    pub clock: Clock,
    pub documents: Arc<Documents>,
    pub hub: Arc<Hub>,
    pub shared: Arc<Shared>,
    links: BTreeMap<LinkId, Outlet>,
    reader: SyncSender<(LinkId, Reading)>,
    answers: Vec<Waiting>,
    /// They follow the commit under way.
    folds: Vec<(Box<Folding>, Folded)>,
    runtime: Handle,
    /// How far a repair of this node was when it was last told of.
    told_repair: Option<RepairView>,
    /// Repairs that were told of.
    repairs: u64,
    /// Writers of the last commit.
    gathered: usize,
    ticks: u64,
}

impl Committer {
    /// Starts the committer's thread and the log reader's, which end when `inputs` does, or at [`Input::Stop`].
    /// Must be called inside the runtime.
    pub fn spawn(
        engine: Engine,
        clock: Clock,
        (documents, hub): (Arc<Documents>, Arc<Hub>),
        shared: Arc<Shared>,
        store: Arc<dyn Store>,
        inputs: (mpsc::WeakSender<Input>, mpsc::Receiver<Input>),
    ) -> std::io::Result<()> {
        let (sender, receiver) = inputs;
        // A link has one read of each kind under way at most; those of links that have just ended are the rest.
        let (reader, reads) = std::sync::mpsc::sync_channel(4 * MAX_LINKS);
        std::thread::Builder::new().name("log reader".into()).spawn(move || {
            for (link, reading) in reads {
                let read = match &reading {
                    Reading::Log(from) => read_log(&*store, link, from),
                    Reading::Documents(documents) => gather(&*store, link, documents),
                };
                let event = read.unwrap_or_else(|error| {
                    error!(%error, "a link cannot be served from the disk");
                    Event::LinkDown { link }
                });
                let Some(sender) = sender.upgrade() else { return };
                if sender.blocking_send(Input::Event(event)).is_err() {
                    return;
                }
            }
        })?;
        let (links, answers, folds, runtime) = (BTreeMap::new(), Vec::new(), Vec::new(), Handle::current());
        let committer = Self {
            engine,
            clock,
            documents,
            hub,
            shared,
            links,
            reader,
            answers,
            folds,
            runtime,
            told_repair: None,
            repairs: 0,
            gathered: 0,
            ticks: 0,
        };
        std::thread::Builder::new().name("committer".into()).spawn(move || committer.run(receiver))?;
        Ok(())
    }

    fn run(mut self, mut inputs: mpsc::Receiver<Input>) {
        let shared = self.shared.clone();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            let mut stop = None;
            while stop.is_none() {
                let Some(input) = inputs.blocking_recv() else { break };
                stop = self.take(input);
                let mut taken = 1;
                let mut pauses = 0;
                while stop.is_none() && !self.engine.is_full() && taken < COMMIT_MAX_ENTRIES {
                    if let Ok(input) = inputs.try_recv() {
                        stop = self.take(input);
                        taken += 1;
                    } else if pauses < GATHER_PAUSES && self.answers.len() < self.gathered / 2 {
                        pauses += 1;
                        std::thread::sleep(GATHER);
                    } else {
                        break;
                    }
                }
                self.gathered = self.answers.len();
                self.drained();
                self.commit();
                self.fold();
                self.renew();
            }
            // What comes now is answered by the channel's end.
            inputs.close();
            self.end_links("the node is stopping");
            stop
        }));
        match ended {
            Ok(Some(stopped)) => {
                drop(self);
                let _ = stopped.send(());
            }
            Ok(None) => {}
            Err(_) => {
                error!("the committer panicked: this node takes no more writes until it is restarted");
                shared.storage_failed("the committer ended by a fault of its own");
            }
        }
    }

    fn take(&mut self, input: Input) -> Option<oneshot::Sender<()>> {
        let now = self.clock.now();
        match input {
            Input::Submit(submission) => self.submit(submission),
            Input::Barrier(answer) => self.answers.push(Waiting { answer, _uncommitted: None }),
            Input::LinkUp { link, dialled, wire, outbox } => {
                self.links.insert(link, Outlet { wire, outbox });
                self.handle(Event::LinkUp { link, dialled });
            }
            Input::Event(Event::Tick) => self.tick(),
            Input::Event(event) => {
                if let Event::LinkDown { link } = event {
                    self.links.remove(&link);
                }
                self.handle(event);
            }
            Input::Drop(documents) => self.drop_documents(documents),
            Input::View(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(view::cluster(&self.engine, now, &self.shared));
            }
            Input::Fold { folding, answer } => self.folds.push((folding, answer)),
            Input::Drained => {}
            Input::Stop(stopped) => {
                self.engine.remember();
                return Some(stopped);
            }
        }
        None
    }

    fn submit(&mut self, submission: Submission) {
        let Submission { doc, changes, epoch, answer, uncommitted } = submission;
        if epoch != self.shared.epoch() {
            let reason = "an earlier write failed".to_owned();
            let _ = answer.send(Err(NodeError::Storage { reason }));
            return;
        }
        if let Some(error) = self.engine.broken() {
            let error = error.clone();
            // The document in memory has these changes, and would build on them.
            self.shared.begin_epoch(self.engine.core().identity().origin);
            let _ = answer.send(Err(error.into()));
            return;
        }
        let mut outputs = Vec::new();
        match self.engine.submit(self.clock.now(), doc, changes, &mut outputs) {
            Ok(true) => self.answers.push(Waiting { answer, _uncommitted: Some(uncommitted) }),
            // The document was dropped while this was made on it. It is loaded anew, and the next write is sound.
            Ok(false) => {
                let _ = answer.send(Err(NodeError::Busy));
            }
            Err(error) => {
                self.answers.push(Waiting { answer, _uncommitted: Some(uncommitted) });
                self.fail(&error);
            }
        }
        self.perform(outputs);
    }

    fn drop_documents(&mut self, documents: Vec<(DocId, Heads)>) {
        let mut outputs = Vec::new();
        for (doc, heads) in documents {
            match self.engine.drop_document(self.clock.now(), doc, heads, &mut outputs) {
                Ok(_) => {}
                Err(error) => {
                    // Where storage had failed before, nothing new is to be told.
                    if self.shared.health().storage {
                        self.fail(&error);
                    }
                    break;
                }
            }
        }
        self.perform(outputs);
    }

    fn handle(&mut self, event: Event) {
        let greeted = match &event {
            Event::Message { link, message: Message::Hello(_) } => Some(*link),
            _ => None,
        };
        let mut outputs = Vec::new();
        if let Err(error) = self.engine.handle(self.clock.now(), event, &mut outputs) {
            self.fail(&error);
        }
        self.perform(outputs);
        if let Some(outlet) = greeted.and_then(|link| self.links.get(&link)) {
            info!(peer = outlet.wire.peer(), "linked");
        }
    }

    fn commit(&mut self) {
        if self.engine.has_pending() {
            let mut outputs = Vec::new();
            let start = Instant::now();
            for (doc, lsn) in self.engine.voids() {
                self.documents.void(doc, lsn);
            }
            if self.engine.drops() {
                self.shared.begin_life();
            }
            match self.engine.commit(self.clock.now(), self.clock.unix(), &mut outputs) {
                Ok(committed) => {
                    let metrics = &self.shared.metrics;
                    metrics.batches.add(committed.entries as u64);
                    metrics.committed_bytes.add(committed.bytes as u64);
                    self.tell(committed);
                    metrics.commits.add_time(start.elapsed());
                }
                Err(error) => self.fail(&error),
            }
            self.release();
            self.perform(outputs);
        }
        self.release();
    }

    /// Begins another incarnation where one is due.
    fn renew(&mut self) {
        if self.engine.has_pending() {
            return;
        }
        let mut outputs = Vec::new();
        let before = self.engine.core().identity().node;
        match self.engine.renew(self.clock.now(), &mut outputs) {
            Ok(None) => {}
            Ok(Some(origin)) => {
                if origin.node == before {
                    warn!(%origin, "others know later incarnations of this node: a new one has begun");
                } else {
                    warn!(%origin, "this data folder is a copy of another node's: this is a node of its own now");
                }
                self.shared.begin_epoch(origin);
            }
            Err(error) => self.fail(&error),
        }
        self.perform(outputs);
    }

    /// Between commits, as it writes records that a commit under way may have too.
    fn fold(&mut self) {
        if self.engine.has_pending() {
            return;
        }
        for (folding, answer) in std::mem::take(&mut self.folds) {
            let mut outputs = Vec::new();
            let done = match self.engine.broken() {
                Some(_) => Ok(false),
                None => self.engine.fold(self.clock.now(), *folding, &mut outputs),
            };
            if let Err(error) = &done {
                self.fail(error);
            }
            // Whoever asked may have gone.
            let _ = answer.send(done.map_err(NodeError::from));
            self.perform(outputs);
        }
    }

    /// Documents first: whoever is woken looks at them.
    fn tell(&self, committed: Committed) {
        let Committed { touched, merges, .. } = committed;
        for touched in &touched {
            self.documents.committed(touched);
        }
        let core = self.engine.core();
        let docs = touched.into_iter().map(|touched| touched.doc);
        if let Some(touches) =
            self.hub.committed(core.log_head(), core.vector(), merges, self.engine.is_whole(), docs)
        {
            let hub = self.hub.clone();
            self.runtime.spawn(async move { hub.ring(&touches) });
        }
    }

    /// All that was waited for is on disk. The answers are given inside the runtime: woken from there, those
    /// who wait cost no call of the system each.
    fn release(&mut self) {
        if self.answers.is_empty() {
            return;
        }
        let answers = std::mem::take(&mut self.answers);
        self.runtime.spawn(async move {
            for waiting in answers {
                // Whoever waited may have gone.
                let _ = waiting.answer.send(Ok(()));
            }
        });
    }

    /// A commit failed: what waited for it is told so, and what is in memory of it is dropped.
    fn fail(&mut self, error: &StoreError) {
        error!(%error, "a commit failed: this incarnation ends");
        self.shared.metrics.failed_commits.add(1);
        self.shared.storage_failed(&error.to_string());
        self.shared.begin_epoch(self.engine.core().identity().origin);
        for waiting in self.answers.drain(..) {
            let _ = waiting.answer.send(Err(error.clone().into()));
        }
    }

    fn perform(&mut self, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send { link, message, weight } => self.send(link, Outgoing { message, weight }),
                Output::Close { link, reason } => self.close(link, reason),
                Output::ReadLog { link, from } => self.read(link, Reading::Log(from)),
                Output::Gather { link, gather } => self.read(link, Reading::Documents(gather)),
            }
        }
    }

    fn read(&mut self, link: LinkId, reading: Reading) {
        if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
            self.reader.try_send((link, reading))
        {
            self.close(link, "too many reads of the disk are waiting".into());
            self.handle(Event::LinkDown { link });
        }
    }

    fn send(&mut self, link: LinkId, outgoing: Outgoing) {
        let Some(outlet) = self.links.get(&link) else { return };
        if let Message::Hello(_) = outgoing.message {
            debug!(link = link.0, "link up");
        }
        if outlet.outbox.try_send(outgoing).is_err() {
            // Its queue is full of small messages that nobody takes, or its pump has ended.
            self.links.remove(&link);
            self.handle(Event::LinkDown { link });
        }
    }

    /// Its outbox ends with the reason; its pump then closes the connection.
    fn close(&mut self, link: LinkId, reason: String) {
        let Some(outlet) = self.links.remove(&link) else { return };
        match outlet.wire.peer() {
            Some(peer) if reason != DUPLICATE => info!(%peer, %reason, "link closed"),
            _ => debug!(%reason, "link closed"),
        }
        outlet.wire.end(&reason);
        let _ = outlet.outbox.try_send(Outgoing { message: Message::Goodbye(reason), weight: 0 });
    }

    fn end_links(&mut self, reason: &str) {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.close(link, reason.to_owned());
        }
    }

    /// Repairs are told of every few seconds, and when they have ended.
    fn tell_repair(&mut self) {
        let (repairs, last) = self.engine.core().repairs();
        if repairs != self.repairs
            && let Some((state, ended)) = last
        {
            let ms = ended.since(state.begun);
            info!(repairs, documents = state.done, bytes = state.bytes, ms, "repaired by digest");
            self.shared.metrics.repairs.add(repairs.saturating_sub(self.repairs));
            self.repairs = repairs;
        }
        let repair = view::repair(self.engine.core(), self.clock.now());
        let told = self.told_repair.as_ref().map_or(0, |told| told.elapsed_ms + TELL_MS);
        match &repair {
            None => self.told_repair = None,
            Some(new) if new.elapsed_ms >= told => {
                let left_s = new.left_ms.map(|left| left / 1_000);
                let RepairView { from, documents, done, bytes, .. } = new;
                info!(from, documents, done, bytes, left_s, "repairing by digest");
                self.told_repair = repair;
            }
            Some(_) => {}
        }
    }

    fn drained(&mut self) {
        let drained: Vec<(LinkId, usize)> = self
            .links
            .iter()
            .map(|(link, outlet)| (*link, outlet.wire.drained.swap(0, Ordering::Relaxed)))
            .filter(|(_, weight)| *weight > 0)
            .collect();
        for (link, weight) in drained {
            self.handle(Event::Drained { link, weight });
        }
    }

    fn tick(&mut self) {
        self.ticks += 1;
        if self.engine.broken().is_some() && self.ticks.is_multiple_of(REOPEN_TICKS) {
            match self.engine.reopen() {
                Ok(()) => {
                    info!("storage works again: a new incarnation has begun");
                    self.shared.storage_works();
                }
                Err(error) => warn!(%error, "storage still fails"),
            }
        }
        self.handle(Event::Tick);
        if self.ticks.is_multiple_of(PUBLISH_TICKS) {
            view::publish(&self.engine, self.clock.now(), &self.shared);
            self.tell_repair();
        }
        if self.ticks.is_multiple_of(MEASURE_TICKS) {
            let wire = |link| self.links.get(&link).map(|outlet| &*outlet.wire);
            self.shared.metrics.publish(&self.engine, self.clock.now(), wire);
        }
    }
}
