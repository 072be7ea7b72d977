//! One node: its engine and documents, driven as the committer drives them, on virtual time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use syncline::base::limits::COMMIT_MAX_ENTRIES;
use syncline::base::{Bug, Change, DocId, LinkId, Lsn, Millis, NodeId, Role, planted};
use syncline::crdt::Document;
use syncline::node::{Dice, Engine, EngineConfig, Folding, Hub, Output, gather, read_log};
use syncline::replication::Event;
use syncline::store::{MemoryStore, Store, Whole};

use crate::disk::Disk;
use crate::invariants::{Checked, Failure};
use crate::world::{Happening, World};

/// Milliseconds from one tick to the next: as seldom as the core allows.
const TICK_MS: u64 = 50;

/// Ticks between two tries to go on after a failed commit.
const REOPEN_TICKS: u64 = 10;

/// Ticks between two looks for deleted documents whose time is up.
const SWEEP_TICKS: u64 = 20;

/// After a commit one of so many documents is folded, if there are as many in memory.
const FOLD_AMONG: usize = 100;

pub struct Node {
    pub role: Role,
    pub id: NodeId,
    /// Whom it was before.
    pub formerly: Vec<NodeId>,
    pub store: MemoryStore,
    /// A copy of its disk, and who it was then.
    pub backup: Option<(MemoryStore, NodeId)>,
    /// How many processes it has had: what was meant for an earlier one is void.
    pub run: u32,
    pub process: Option<Process>,
}

pub struct Process {
    pub engine: Engine,
    pub hub: Arc<Hub>,
    disk: Disk,
    pub inputs: VecDeque<Input>,
    /// Weight of messages that sockets have taken since the committer last looked.
    pub drained: BTreeMap<LinkId, usize>,
    pub phase: Phase,
    answers: Vec<Written>,
    pub links: BTreeMap<LinkId, (usize, usize)>,
    links_made: u64,
    ticks: u64,
    pub docs: Documents,
    /// How often each target was dialled in vain.
    pub tries: BTreeMap<usize, u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Idle,
    /// It will look at its inputs.
    Woken,
    /// Its commit is on the way to the disk.
    Committing,
}

pub enum Input {
    Submit { written: Written, epoch: u64 },
    LinkUp { link: LinkId, dialled: bool },
    Event(Event),
}

/// What a client's write made.
pub struct Written {
    pub doc: DocId,
    pub changes: Vec<Change>,
}

/// Documents in memory.
#[derive(Default)]
pub struct Documents {
    pub loaded: BTreeMap<DocId, Loaded>,
    /// Counts the times at which what is in memory became void.
    pub epoch: u64,
    /// Submissions that are not answered yet. While there are any a document is not evicted.
    uncommitted: BTreeMap<DocId, usize>,
    /// What is in memory of a document from before that LSN is void: more than its tail has changed.
    void: BTreeMap<DocId, Lsn>,
    /// Commits of this incarnation that have dropped documents: a dropped one begins anew with another actor.
    lives: u64,
}

pub struct Loaded {
    pub document: Document,
    epoch: u64,
    merged: Lsn,
}

impl Documents {
    /// One submission less is at the committer.
    fn settle(&mut self, doc: &DocId) {
        if let Some(count) = self.uncommitted.get_mut(doc) {
            *count = count.saturating_sub(1);
        }
    }
}

impl Node {
    /// Is that its id, or was it once?
    pub fn is(&self, id: NodeId) -> bool {
        self.id == id || self.formerly.contains(&id)
    }

    /// It goes on as another node, or as the same.
    pub fn named(&mut self, id: NodeId) {
        let before = std::mem::replace(&mut self.id, id);
        if before != id {
            self.formerly.push(before);
        }
    }

    pub fn running(&mut self, run: u32) -> Option<&mut Process> {
        if self.run == run { self.process.as_mut() } else { None }
    }
}

impl Process {
    pub fn new_link(&mut self, conn: usize, side: usize) -> LinkId {
        self.links_made += 1;
        let link = LinkId(self.links_made);
        self.links.insert(link, (conn, side));
        link
    }

    /// A document, loaded, with all that is on disk if `fresh`. None where it must be loaded anew, and first a
    /// change of it must reach the disk: else its sequence number would be used again.
    pub fn document(&mut self, doc: &DocId, fresh: bool) -> Result<Option<&mut Loaded>, Failure> {
        let fails = |e: &dyn std::fmt::Display| Failure::new("documents", format!("{doc}: {e}"));
        let epoch = self.docs.epoch;
        if self.docs.loaded.get(doc).is_some_and(|loaded| loaded.epoch != epoch) {
            self.docs.loaded.remove(doc);
        }
        let void = self.docs.void.get(doc).copied().unwrap_or_default();
        if self.docs.loaded.get(doc).is_some_and(|loaded| loaded.document.is_broken() || loaded.merged < void)
        {
            self.evict(doc);
            if self.docs.loaded.contains_key(doc) {
                return Ok(None);
            }
        }
        if !self.docs.loaded.contains_key(doc) {
            let stored = self.disk.whole(doc).map_err(|e| fails(&e))?;
            let Whole { record, snapshot, tail } = stored.unwrap_or_default();
            let merged = tail.last().map_or(record.last_lsn, |(lsn, _)| *lsn).max(void);
            let tail: Vec<Change> = tail.into_iter().map(|(_, change)| change).collect();
            let actor = self.engine.core().identity().origin.actor(self.docs.lives);
            let document =
                Document::load(actor, doc.clone(), snapshot.as_deref(), &tail).map_err(|e| fails(&e))?;
            self.docs.loaded.insert(doc.clone(), Loaded { document, epoch, merged });
        }
        let loaded = self.docs.loaded.get_mut(doc).ok_or_else(|| fails(&"it is gone"))?;
        if fresh {
            let tail = self.disk.tail(doc, loaded.merged).map_err(|e| fails(&e))?;
            loaded.merged = tail.last().map_or(loaded.merged, |(lsn, _)| *lsn);
            let changes: Vec<Change> = tail.into_iter().map(|(_, change)| change).collect();
            if !changes.is_empty() {
                loaded.document.merge(&changes);
                if loaded.document.is_broken() {
                    return Err(fails(&"merging has broken it"));
                }
            }
        }
        Ok(Some(loaded))
    }

    /// Drops a document from memory, unless a change of it is at the committer.
    pub fn evict(&mut self, doc: &DocId) {
        if self.docs.uncommitted.get(doc).is_none_or(|count| *count == 0) {
            self.docs.loaded.remove(doc);
        }
    }

    /// What awaits the disk has an unknown outcome now; what is in memory of it is dropped.
    fn fail(&mut self) {
        self.docs.epoch += 1;
        self.docs.uncommitted.clear();
        self.docs.void.clear();
        self.answers.clear();
    }
}

impl World {
    pub fn start(&mut self, node: usize) -> Checked {
        if self.nodes[node].process.is_some() {
            return Ok(());
        }
        let unix = self.unix();
        let at = &mut self.nodes[node];
        at.store = at.store.restart();
        at.run += 1;
        let run = at.run;
        let disk = Disk(at.store.clone());
        let config = EngineConfig {
            cluster: "simulated".into(),
            name: format!("n{node}"),
            role: at.role,
            url: None,
            bounds: self.plan.bounds,
        };
        let dice = Dice { node: at.id, random: self.rng.u32(..) };
        let store = Arc::new(disk.clone());
        let engine = Engine::open(Millis(self.now), unix, config, dice, store)
            .map_err(|e| Failure::new("start", format!("node {node}: {e}")))?;
        let origin = engine.core().identity().origin;
        // That it goes on as another may be on a disk of which it only heard that it failed.
        if origin.node != at.id {
            at.named(origin.node);
            self.checks.silent.renewed(self.now);
        }
        self.trace
            .note(self.now, "start", &[node as u64, u64::from(run)], || format!("node {node} as {origin}"));
        let hub =
            Arc::new(Hub::new(engine.core().log_head(), engine.core().vector().clone(), engine.is_whole()));
        at.process = Some(Process {
            engine,
            hub,
            disk,
            inputs: VecDeque::new(),
            drained: BTreeMap::new(),
            phase: Phase::Idle,
            answers: Vec::new(),
            links: BTreeMap::new(),
            links_made: 0,
            ticks: 0,
            docs: Documents::default(),
            tries: BTreeMap::new(),
        });
        let whole = at.store.list("", None, usize::MAX).map_err(|e| Failure::new("start", e.to_string()))?;
        // A commit of which nobody heard may have dropped some.
        let known = self.checks.history.nodes[node].docs.keys().cloned().collect::<Vec<_>>();
        let all = whole.into_iter().map(|(doc, _)| doc).chain(known);
        self.look(node, all.map(|doc| (doc, true)))?;
        self.agenda.push(self.now + TICK_MS, Happening::Tick { node, run });
        let targets: Vec<usize> =
            self.plan.dials.iter().filter(|(from, _)| *from == node).map(|(_, to)| *to).collect();
        for target in targets {
            let soon = self.now + self.rng.u64(..20);
            self.agenda.push(soon, Happening::Dial { node, run, target });
        }
        Ok(())
    }

    /// Puts something into the committer's queue.
    pub fn feed(&mut self, node: usize, run: u32, input: Input) {
        if let Some(process) = self.nodes[node].running(run) {
            process.inputs.push_back(input);
            self.wake(node);
        }
    }

    pub fn wake(&mut self, node: usize) {
        let run = self.nodes[node].run;
        let pause = self.rng.u64(..2);
        if let Some(process) = &mut self.nodes[node].process
            && process.phase == Phase::Idle
        {
            process.phase = Phase::Woken;
            self.agenda.push(self.now + pause, Happening::Work { node, run });
        }
    }

    /// Takes what has gathered, and sends it on its way to the disk.
    pub fn work(&mut self, node: usize, run: u32) -> Checked {
        for _ in 0..COMMIT_MAX_ENTRIES {
            let Some(process) = self.nodes[node].running(run) else { return Ok(()) };
            if process.engine.is_full() {
                break;
            }
            let Some(input) = process.inputs.pop_front() else { break };
            self.take(node, input)?;
        }
        let Some(process) = self.nodes[node].running(run) else { return Ok(()) };
        for (link, weight) in std::mem::take(&mut process.drained) {
            if let Some((conn, side)) = self.nodes[node].process.as_ref().and_then(|p| p.links.get(&link)) {
                let end = &mut self.net.conns[*conn].ends[*side];
                end.outstanding = end.outstanding.saturating_sub(weight);
            }
            self.handle(node, Event::Drained { link, weight });
        }
        self.renew(node);
        self.rest(node, run);
        self.checks.bounded.look(node, &self.plan.bounds, self.nodes[node].process.as_ref(), &self.net)
    }

    /// Is there something to commit, or more to take?
    fn rest(&mut self, node: usize, run: u32) {
        let fsync = 1 + self.rng.u64(..self.plan.fsync);
        let Some(process) = self.nodes[node].running(run) else { return };
        process.phase = if process.engine.has_pending() {
            self.agenda.push(self.now + fsync, Happening::Commit { node, run });
            Phase::Committing
        } else if !process.inputs.is_empty() || !process.drained.is_empty() {
            self.agenda.push(self.now, Happening::Work { node, run });
            Phase::Woken
        } else {
            Phase::Idle
        };
    }

    /// The commit under way reaches the disk, or fails; only then is anything let out.
    pub fn commit(&mut self, node: usize, run: u32) -> Checked {
        let now = Millis(self.now);
        let Some(process) = self.nodes[node].running(run) else { return Ok(()) };
        let mut outputs = Vec::new();
        process.docs.void.extend(process.engine.voids().map(|(doc, lsn)| (doc.clone(), lsn)));
        process.docs.lives += u64::from(process.engine.drops());
        let result = process.engine.commit(now, now, &mut outputs);
        let answers = if result.is_ok() { std::mem::take(&mut process.answers) } else { Vec::new() };
        for written in &answers {
            process.docs.settle(&written.doc);
        }
        let head = process.engine.core().log_head().0;
        self.trace.note(
            self.now,
            "commit",
            &[node as u64, head, u64::from(result.is_ok())],
            || match &result {
                Ok(_) => format!("node {node} up to {head}, {} answered", answers.len()),
                Err(error) => format!("node {node}: {error}"),
            },
        );
        match result {
            Ok(committed) => {
                let whole = process.engine.is_whole();
                let (core, docs) =
                    (process.engine.core(), committed.touched.iter().map(|touched| touched.doc.clone()));
                if let Some(touches) =
                    process.hub.committed(core.log_head(), core.vector(), committed.merges, whole, docs)
                {
                    process.hub.ring(&touches);
                }
                self.look(node, committed.touched.into_iter().map(|touched| (touched.doc, touched.void)))?;
                for written in answers {
                    self.checks.acknowledged.answered(node, written);
                }
            }
            Err(_) => process.fail(),
        }
        self.perform(node, outputs);
        self.renew(node);
        self.fold_something(node)?;
        self.rest(node, run);
        Ok(())
    }

    /// Now and then, between commits, a document's tail becomes part of its snapshot.
    fn fold_something(&mut self, node: usize) -> Checked {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let doc = process.docs.loaded.keys().nth(self.folds.usize(..FOLD_AMONG)).cloned();
        let Some(doc) = doc.filter(|_| !process.engine.has_pending() && process.engine.broken().is_none())
        else {
            return Ok(());
        };
        if process.docs.uncommitted.get(&doc).is_some_and(|count| *count > 0) {
            return Ok(());
        }
        let fails = |e: &dyn std::fmt::Display| Failure::new("folding", format!("node {node}, {doc}: {e}"));
        let disk = process.disk.clone();
        let Some(loaded) = process.document(&doc, true)? else { return Ok(()) };
        let Some(stored) = disk.whole(&doc).map_err(|e| fails(&e))? else { return Ok(()) };
        let Some(folding) = Folding::of(&doc, &loaded.document, stored).map_err(|e| fails(&e))? else {
            return Ok(());
        };
        folding.check().map_err(|e| fails(&e))?;
        let mut outputs = Vec::new();
        let folded = process.engine.fold(Millis(self.now), folding, &mut outputs);
        self.trace.note(self.now, "fold", &[node as u64, u64::from(matches!(folded, Ok(true)))], || {
            format!("node {node}: {doc:?}: {folded:?}")
        });
        match folded {
            Ok(true) => {}
            Ok(false) => return Err(fails(&"it was overtaken by nothing")),
            Err(_) => process.fail(),
        }
        self.perform(node, outputs);
        Ok(())
    }

    /// Begins another incarnation where one is due.
    fn renew(&mut self, node: usize) {
        let now = Millis(self.now);
        let Some(process) = &mut self.nodes[node].process else { return };
        if process.engine.has_pending() {
            return;
        }
        let mut outputs = Vec::new();
        match process.engine.renew(now, &mut outputs) {
            Ok(None) => {}
            Ok(Some(origin)) => {
                process.docs.epoch += 1;
                process.docs.uncommitted.clear();
                self.nodes[node].named(origin.node);
                self.checks.silent.renewed(self.now);
                self.trace.note(self.now, "renew", &[node as u64], || format!("node {node} is {origin} now"));
            }
            Err(_) => process.fail(),
        }
        self.perform(node, outputs);
    }

    /// Looks at what a node's disk has got since the last look: of these documents something has changed, and more
    /// than their tails where so said.
    fn look(&mut self, node: usize, touched: impl Iterator<Item = (DocId, bool)>) -> Checked {
        let needed = self.net.needed(node);
        let World { checks, nodes, .. } = self;
        let Some(process) = &nodes[node].process else { return Ok(()) };
        let mine = process.engine.core().identity();
        debug_assert_eq!((mine.role, mine.node), (nodes[node].role, nodes[node].id));
        checks.look(node, nodes, &process.disk, process.engine.core(), touched, &needed)
    }

    fn take(&mut self, node: usize, input: Input) -> Checked {
        match input {
            Input::Submit { written, epoch } => {
                let now = Millis(self.now);
                let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
                if epoch != process.docs.epoch {
                    return Ok(());
                }
                if process.engine.broken().is_some() {
                    // What it made is in memory and will never be on disk.
                    process.fail();
                    return Ok(());
                }
                let mut outputs = Vec::new();
                let result =
                    process.engine.submit(now, written.doc.clone(), written.changes.clone(), &mut outputs);
                match result {
                    Ok(true) => process.answers.push(written),
                    // Dropped while this was made on it: what is in memory of it is void.
                    Ok(false) => process.docs.settle(&written.doc),
                    Err(_) => process.fail(),
                }
                self.perform(node, outputs);
            }
            Input::LinkUp { link, dialled } => self.handle(node, Event::LinkUp { link, dialled }),
            Input::Event(Event::Tick) => {
                let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
                process.ticks += 1;
                if process.engine.broken().is_some() && process.ticks.is_multiple_of(REOPEN_TICKS) {
                    let reopened = process.engine.reopen().is_ok();
                    self.trace.note(self.now, "reopen", &[node as u64, u64::from(reopened)], || {
                        format!("node {node}: {reopened}")
                    });
                }
                let is_time = process.ticks.is_multiple_of(SWEEP_TICKS);
                self.handle(node, Event::Tick);
                if is_time {
                    self.sweep(node)?;
                }
            }
            Input::Event(event) => {
                if let Event::LinkDown { link } = event
                    && let Some(process) = &mut self.nodes[node].process
                {
                    process.links.remove(&link);
                    process.drained.remove(&link);
                }
                self.handle(node, event);
            }
        }
        Ok(())
    }

    /// Has documents dropped that were deleted long enough ago.
    fn sweep(&mut self, node: usize) -> Checked {
        let Some(keep) = self.plan.keep_deleted.filter(|_| self.nodes[node].role.takes_writes()) else {
            return Ok(());
        };
        let now = Millis(self.now);
        let World { checks, nodes, trace, .. } = self;
        let Some(process) = &mut nodes[node].process else { return Ok(()) };
        if process.engine.broken().is_some() {
            return Ok(());
        }
        let fails = |e: &dyn std::fmt::Display| Failure::new("dropped", format!("node {node}: {e}"));
        let (mut outputs, mut decided) = (Vec::new(), Vec::new());
        for (doc, record) in process.disk.list("", None, usize::MAX).map_err(|e| fails(&e))? {
            if !record.is_absent() || record.heads.is_empty() || now.since(record.modified) < keep {
                continue;
            }
            match process.engine.drop_document(now, doc.clone(), record.heads.clone(), &mut outputs) {
                Ok(false) => {}
                Ok(true) => {
                    trace.note(now.0, "drop", &[node as u64], || format!("node {node} drops {doc:?}"));
                    let known: Vec<NodeId> =
                        process.engine.core().acknowledged().map(|(known, _)| known).collect();
                    decided.push((doc, record.heads, known));
                }
                Err(_) => {
                    process.fail();
                    break;
                }
            }
        }
        for (doc, heads, known) in decided {
            checks.dropped.decided(&checks.history, node, nodes, &known, &doc, &heads)?;
        }
        self.perform(node, outputs);
        Ok(())
    }

    fn handle(&mut self, node: usize, event: Event) {
        let now = Millis(self.now);
        let Some(process) = &mut self.nodes[node].process else { return };
        let mut outputs = Vec::new();
        if process.engine.handle(now, event, &mut outputs).is_err() {
            process.fail();
        }
        self.perform(node, outputs);
    }

    fn perform(&mut self, node: usize, outputs: Vec<Output>) {
        let run = self.nodes[node].run;
        for output in outputs {
            let Some(process) = &mut self.nodes[node].process else { return };
            match output {
                Output::Send { link, message, weight } => {
                    if let Some((conn, side)) = process.links.get(&link).copied() {
                        self.send(conn, side, message, weight);
                    }
                }
                Output::Close { link, reason } => {
                    if let Some((conn, side)) = process.links.remove(&link) {
                        self.close(conn, side, reason);
                    }
                }
                Output::ReadLog { link, from } => {
                    // What is read now is handed in later: meanwhile commits may happen.
                    let event = read_log(&process.disk, link, &from).unwrap_or(Event::LinkDown { link });
                    self.trace.note(self.now, "read", &[node as u64], || {
                        let found = match &event {
                            Event::LogRead { segments, next, .. } => {
                                format!("{} segments, then {next:?}", segments.len())
                            }
                            _ => "nothing".into(),
                        };
                        format!("node {node}, link {}: {from:?}: {found}", link.0)
                    });
                    let late = self.now + self.rng.u64(..10);
                    self.agenda.push(late, Happening::Feed { node, run, event });
                }
                Output::Gather { link, gather: task } => {
                    let event = gather(&process.disk, link, &task).unwrap_or(Event::LinkDown { link });
                    self.trace.note(self.now, "gather", &[node as u64], || {
                        format!("node {node}, link {}: {task:?}", link.0)
                    });
                    let late = self.now + self.rng.u64(..10);
                    self.agenda.push(late, Happening::Feed { node, run, event });
                }
            }
        }
    }

    /// Hands a write to the committer.
    pub fn submit(&mut self, node: usize, written: Written) {
        let run = self.nodes[node].run;
        let Some(process) = &mut self.nodes[node].process else { return };
        let epoch = process.docs.epoch;
        *process.docs.uncommitted.entry(written.doc.clone()).or_default() += 1;
        self.feed(node, run, Input::Submit { written, epoch });
    }

    pub fn tick(&mut self, node: usize, run: u32) {
        if self.nodes[node].running(run).is_some() {
            if planted(Bug::AcknowledgeBeforeFsync) && self.rng.u8(..4) == 0 {
                // Later than it was answered, but some time it gets there; a disk that is broken stays so.
                let _ = self.nodes[node].store.sync();
            }
            self.feed(node, run, Input::Event(Event::Tick));
            self.agenda.push(self.now + TICK_MS, Happening::Tick { node, run });
        }
    }

    /// An orderly stop: what is under way is committed, and links are ended with a reason.
    pub fn stop(&mut self, node: usize) -> Checked {
        let run = self.nodes[node].run;
        if self.nodes[node].running(run).is_some_and(|process| process.engine.has_pending()) {
            self.commit(node, run)?;
        }
        for (conn, side) in self.ends_of(node) {
            self.close(conn, side, "the node is stopping".into());
        }
        self.nodes[node].process = None;
        Ok(())
    }

    /// The process dies, and with `power` its machine. Of a commit under way all is `kept` on disk, or nothing;
    /// either way nobody hears of it.
    pub fn crash(&mut self, node: usize, power: bool, kept: bool) {
        let now = Millis(self.now);
        let Some(mut process) = self.nodes[node].process.take() else { return };
        if kept && process.phase == Phase::Committing {
            let outcome = process.engine.commit(now, now, &mut Vec::new());
            self.trace
                .note(self.now, "kept", &[node as u64], || format!("node {node}: {:?}", outcome.is_ok()));
        }
        if power {
            self.nodes[node].store.crash();
        }
        for (conn, side) in self.ends_of(node) {
            if power { self.fall_silent(conn, side) } else { self.hang_up(conn, side) }
        }
    }
}
