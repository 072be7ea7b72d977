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

use super::NodeError;
use super::clock::Clock;
use super::documents::{Documents, Uncommitted};
use super::engine::{Engine, Output, Touched, read_log};
use super::link::{Outgoing, Wire};
use super::shared::Shared;
use super::view;
use crate::base::limits::{COMMIT_MAX_ENTRIES, MAX_LINKS};
use crate::base::{Change, DocId, LinkId};
use crate::replication::{DUPLICATE, Event, ReadFrom};
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
    View(oneshot::Sender<super::ClusterView>),
    /// Some link's socket has taken something.
    Drained,
    Stop(oneshot::Sender<()>),
}

pub(super) type Answer = oneshot::Sender<Result<(), NodeError>>;

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

struct Outlet {
    wire: Arc<Wire>,
    outbox: mpsc::Sender<Outgoing>,
}

pub(super) struct Committer {
    pub engine: Engine,
    pub clock: Clock,
    pub documents: Arc<Documents>,
    pub shared: Arc<Shared>,
    links: BTreeMap<LinkId, Outlet>,
    reader: SyncSender<(LinkId, ReadFrom)>,
    answers: Vec<Waiting>,
    runtime: Handle,
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
        documents: Arc<Documents>,
        shared: Arc<Shared>,
        store: Arc<dyn Store>,
        inputs: (mpsc::WeakSender<Input>, mpsc::Receiver<Input>),
    ) -> std::io::Result<()> {
        let (sender, receiver) = inputs;
        // A link has one read under way at most; those of links that have just ended are the rest.
        let (reader, reads) = std::sync::mpsc::sync_channel(2 * MAX_LINKS);
        std::thread::Builder::new().name("log reader".into()).spawn(move || {
            for (link, from) in reads {
                let event = read_log(&*store, link, &from).unwrap_or_else(|error| {
                    error!(%error, "a link cannot be served from the log");
                    Event::LinkDown { link }
                });
                let Some(sender) = sender.upgrade() else { return };
                if sender.blocking_send(Input::Event(event)).is_err() {
                    return;
                }
            }
        })?;
        let (links, answers, runtime) = (BTreeMap::new(), Vec::new(), Handle::current());
        let committer =
            Self { engine, clock, documents, shared, links, reader, answers, runtime, gathered: 0, ticks: 0 };
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
            Input::View(answer) => {
                // Whoever asked may have gone.
                let _ = answer.send(view::cluster(self.engine.core(), now, self.shared.has_peers()));
            }
            Input::Drained => {}
            Input::Stop(stopped) => return Some(stopped),
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
        let result = self.engine.submit(self.clock.now(), doc, changes, &mut outputs);
        self.answers.push(Waiting { answer, _uncommitted: Some(uncommitted) });
        if let Err(error) = result {
            self.fail(&error);
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
            match self.engine.commit(self.clock.now(), self.clock.unix(), &mut outputs) {
                Ok(committed) => {
                    let metrics = &self.shared.metrics;
                    metrics.batches.add(committed.entries as u64);
                    metrics.committed_bytes.add(committed.bytes as u64);
                    self.tell_documents(committed.touched);
                    metrics.commits.add_time(start.elapsed());
                }
                Err(error) => self.fail(&error),
            }
            self.release();
            self.perform(outputs);
        }
        self.release();
    }

    fn tell_documents(&self, touched: Vec<Touched>) {
        for touched in touched {
            self.documents.committed(&touched);
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
                Output::ReadLog { link, from } => {
                    if let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
                        self.reader.try_send((link, from))
                    {
                        self.close(link, "too many reads of the log are waiting".into());
                        self.handle(Event::LinkDown { link });
                    }
                }
            }
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
        }
        if self.ticks.is_multiple_of(MEASURE_TICKS) {
            let wire = |link| self.links.get(&link).map(|outlet| &*outlet.wire);
            self.shared.metrics.publish(&self.engine, self.clock.now(), wire);
        }
    }
}
