//! Live readers: they subscribe at any node, take steps at their own pace, go away at any moment and come back
//! elsewhere with the cursor of their last mark.

mod checks;
#[path = "../../it/fold.rs"]
mod fold;
mod has;
mod shown;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use syncline::base::{DocId, VersionVector};
use syncline::node::{Mode, Next, Reader as Live, Since, Step, Target, Wish};
use syncline::store::MemoryStore;
use syncline::wire::Cursor;
use tokio::sync::Notify;

use self::has::Has;
use self::shown::Shown;
use crate::invariants::{Checked, Failure};
use crate::plan::Plan;
use crate::world::{Happening, World};

/// One time in so many that it could take steps, a reader goes away instead.
const LEAVES_ONE_IN: u32 = 12;

/// A reader is done after so many steps, whatever it reads, where nothing changes any more.
const DONE_STEPS: usize = 10_000;

pub struct Readers {
    rng: Rng,
    all: Vec<Reader>,
    shown: Shown,
    /// Readers' times are told from here on.
    begun: Instant,
    /// What they have done in the run: steps, how often one went on from a cursor, how often one had to begin anew.
    pub steps: u64,
    pub resumed: u64,
    pub refetched: u64,
}

struct Reader {
    target: Target,
    mode: Mode,
    page: Option<usize>,
    /// Milliseconds between two times that it takes steps, at most, and how many it takes then.
    pace: u64,
    most: usize,
    at: Option<Subscribed>,
    has: BTreeMap<DocId, Has>,
    /// As of its last mark.
    saved: Option<(Cursor, BTreeMap<DocId, Has>)>,
}

/// A subscription under way.
struct Subscribed {
    node: usize,
    run: u32,
    live: Live,
    /// What it came with: nothing, or a cursor.
    since: Option<VersionVector>,
    /// Documents that it was told of since.
    told: BTreeSet<DocId>,
}

impl Readers {
    pub fn new(seed: u64, plan: &Plan) -> Self {
        let mut rng = Rng::with_seed(seed ^ 0x8EAD);
        let mut all: Vec<Reader> = Vec::new();
        for _ in 0..rng.usize(1..=3) {
            let mode = match rng.u8(..8) {
                0..4 => Mode::Notify,
                4..6 => Mode::Changes,
                6 => Mode::Value,
                _ => Mode::Patch,
            };
            let doc = DocId::new(&format!("doc/{}", rng.usize(..plan.documents)));
            let target = match (rng.u8(..6), doc) {
                (0, Ok(doc)) => Target::Doc(doc),
                (1, _) => Target::Prefix("doc/1".into()),
                _ => Target::Prefix(String::new()),
            };
            all.push(Reader {
                target,
                mode,
                page: (rng.u8(..4) == 0).then(|| rng.usize(1..6)),
                pace: *rng.choice(&[60, 400, 2_500]).unwrap_or(&60),
                most: *rng.choice(&[1, 4, 100]).unwrap_or(&1),
                at: None,
                has: BTreeMap::new(),
                saved: None,
            });
        }
        Self { rng, all, shown: Shown::default(), begun: Instant::now(), steps: 0, resumed: 0, refetched: 0 }
    }

    pub fn begin(&mut self) -> Vec<(u64, Happening)> {
        let at = |reader| (self.rng.u64(..2_000), Happening::Read { reader });
        (0..self.all.len()).map(at).collect()
    }

    fn instant(&self, ms: u64) -> Instant {
        self.begun + Duration::from_millis(ms)
    }
}

impl World {
    /// It is a reader's time.
    pub fn read(&mut self, reader: usize) -> Checked {
        self.with_readers(|readers, world| {
            let next = 1 + readers.rng.u64(..readers.all[reader].pace);
            world.agenda.push(world.now + next, Happening::Read { reader });
            let is_gone = readers.all[reader].at.as_ref().is_some_and(|at| !world.serves(at));
            if is_gone || readers.rng.u32(..LEAVES_ONE_IN) == 0 {
                readers.all[reader].leave();
                return Ok(());
            }
            if readers.all[reader].at.is_none() {
                let up: Vec<usize> =
                    (0..world.nodes.len()).filter(|node| world.nodes[*node].process.is_some()).collect();
                let Some(node) = readers.rng.choice(&up).copied() else { return Ok(()) };
                readers.subscribe(world, reader, node)?;
            }
            for _ in 0..readers.rng.usize(1..=readers.all[reader].most) {
                if readers.step(world, reader, world.now)?.is_some() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// All nodes are equal, and nothing happens any more: all readers get to the final state, and are told nothing of
    /// it a second time, wherever they come back.
    pub fn finish_readers(&mut self) -> Checked {
        self.with_readers(|readers, world| {
            for reader in 0..readers.all.len() {
                let node = readers.rng.usize(..world.nodes.len());
                if readers.all[reader].at.as_ref().is_none_or(|at| !world.serves(at)) {
                    readers.all[reader].leave();
                    readers.subscribe(world, reader, node)?;
                }
                readers.drain(world, reader, node)?;
                let elsewhere = readers.rng.usize(..world.nodes.len());
                readers.all[reader].leave();
                let came = readers.all[reader].saved.as_ref().map(|(cursor, _)| cursor.vector.clone());
                let came = came.unwrap_or_default();
                readers.subscribe(world, reader, elsewhere)?;
                let refetched = readers.refetched;
                let told = readers.drain(world, reader, elsewhere)?;
                // Of one document whoever comes with less than is named here may be told as it is.
                let (one, named) = (&readers.all[reader], &world.checks.history.nodes[elsewhere].vector);
                let is_told_anew = matches!(one.target, Target::Doc(_))
                    && told == 1
                    && !(came.covers(named) && came.closes(named));
                // An entry that changed nothing here, as a second drop, brings nobody a cursor that names it.
                let unnamed = world.checks.history.documents_between(&came, named);
                if told > unnamed && readers.refetched == refetched && !is_told_anew {
                    let reader = &readers.all[reader];
                    let what = format!(
                        "{:?} {:?} was told {told} times of what it had, at node {elsewhere}",
                        reader.mode, reader.target
                    );
                    return Err(Failure::new("readers", what));
                }
            }
            Ok(())
        })
    }

    fn with_readers(&mut self, act: impl FnOnce(&mut Readers, &mut World) -> Checked) -> Checked {
        let Some(mut readers) = self.readers.take() else { return Ok(()) };
        let done = act(&mut readers, self);
        self.readers = Some(readers);
        done
    }

    fn serves(&self, at: &Subscribed) -> bool {
        self.nodes[at.node].run == at.run && self.nodes[at.node].process.is_some()
    }
}

impl Readers {
    fn subscribe(&mut self, world: &mut World, number: usize, node: usize) -> Checked {
        let now = self.instant(world.now);
        let reader = &mut self.all[number];
        let Some(process) = &world.nodes[node].process else { return Ok(()) };
        let since = reader.saved.as_ref().map(|(cursor, _)| cursor.clone());
        world.trace.note(world.now, "subscribe", &[number as u64, node as u64], || {
            format!("reader {number}, {:?} {:?}, at node {node}: {since:?}", reader.mode, reader.target)
        });
        self.resumed += u64::from(since.is_some());
        let wish = Wish {
            target: reader.target.clone(),
            mode: reader.mode,
            since: since.clone().map_or(Since::Beginning, Since::Cursor),
            page: reader.page,
        };
        let store: &MemoryStore = &world.nodes[node].store;
        let live = Live::begin(&process.hub, store, now, wish, Arc::new(Notify::new()))
            .map_err(|e| Failure::new("readers", e.to_string()))?;
        let since = since.map(|cursor| cursor.vector);
        reader.at = Some(Subscribed { node, run: world.nodes[node].run, live, since, told: BTreeSet::new() });
        Ok(())
    }

    /// Takes one step. Says whether nothing more comes now: never, or until when.
    fn step(&mut self, world: &mut World, number: usize, now: u64) -> Result<Option<Option<u64>>, Failure> {
        let time = self.instant(now);
        let reader = &mut self.all[number];
        let Some(at) = &mut reader.at else { return Ok(Some(None)) };
        let store = &world.nodes[at.node].store;
        let fails = |e: &dyn std::fmt::Display| Failure::new("readers", e.to_string());
        let step = match at.live.next(store, time) {
            Ok(Next::Step(step)) => step,
            Ok(Next::Look(doc)) => {
                let told = match self.shown.look(store, &doc, &at.live)? {
                    Some(step) => at.live.show(step, true),
                    None => at.live.nothing(store).map_err(|e| fails(&e))?,
                };
                let Some(step) = told else { return Ok(None) };
                step
            }
            // The store is broken, or full.
            Err(_) => {
                reader.leave();
                return Ok(Some(None));
            }
        };
        self.steps += 1;
        if let Step::Idle { until } = step {
            let ms = |until: Instant| until.duration_since(self.begun).as_millis() as u64;
            return Ok(Some(until.map(ms)));
        }
        let node = at.node;
        world.trace.note(world.now, "told", &[number as u64, node as u64], || {
            format!("reader {number} at node {node}: {step:?}")
        });
        match step {
            Step::Mark { up_to_date } => {
                let cursor = at.live.cursor().ok_or_else(|| fails(&"a mark without a cursor"))?;
                reader.check_mark(&world.checks.history, store, &mut self.shown, &cursor, up_to_date)?;
                reader.saved = Some((cursor, reader.has.clone()));
            }
            Step::Refetch { .. } => {
                self.refetched += 1;
                (reader.at, reader.saved) = (None, None);
                reader.has.clear();
                return Ok(Some(None));
            }
            step => reader.take(&world.checks.history, step)?,
        }
        Ok(None)
    }

    /// Takes steps until there is nothing more; begins anew where it must. Says how many documents it was told of.
    fn drain(&mut self, world: &mut World, number: usize, node: usize) -> Result<usize, Failure> {
        let mut now = world.now;
        for _ in 0..DONE_STEPS {
            match self.step(world, number, now)? {
                None => {}
                Some(Some(until)) => now = now.max(until),
                Some(None) => match &self.all[number].at {
                    Some(at) => return Ok(at.told.len()),
                    None => self.subscribe(world, number, node)?,
                },
            }
        }
        Err(Failure::new("readers", format!("reader {number} never comes to an end")))
    }
}

impl Reader {
    /// It goes away: what it was told after its last mark it forgets.
    fn leave(&mut self) {
        self.at = None;
        self.has = self.saved.as_ref().map_or_else(BTreeMap::new, |(_, has)| has.clone());
    }
}
