//! The world of a run: nodes, network, clients and faults on one virtual clock.

use std::collections::BTreeMap;

use fastrand::Rng;
use syncline::base::{Millis, NodeId};
use syncline::replication::Event;
use syncline::store::MemoryStore;

use crate::invariants::{Checked, Checks, Failure, holes};
use crate::net::Net;
use crate::node::{Input, Node};
use crate::plan::{self, Plan};
use crate::readers::Readers;
use crate::trace::Trace;
use crate::writes::Clients;

/// Milliseconds after the last fault within which all must be equal: dead links are found after 10 s, the
/// next try to reach a node comes after 6 s at most, and sources are given up after 10 s.
const CONVERGE_MS: u64 = 60_000;

/// Milliseconds between writes while something is still missing.
const STEADY_MS: u64 = 50;

/// Looks per second at whether all are equal.
const LOOK_MS: u64 = 250;

pub enum Happening {
    Tick { node: usize, run: u32 },
    Work { node: usize, run: u32 },
    Commit { node: usize, run: u32 },
    Feed { node: usize, run: u32, event: Event },
    Dial { node: usize, run: u32, target: usize },
    Open { conn: usize, side: usize },
    Arrive { conn: usize, side: usize },
    Gone { conn: usize, side: usize },
    Write,
    Read { reader: usize },
    Backup { node: usize },
    Fault { number: usize },
    Mend { number: usize },
}

/// What is to happen: in order of time, and of its being put there.
#[derive(Default)]
pub struct Agenda {
    at: BTreeMap<(u64, u64), Happening>,
    turn: u64,
}

impl Agenda {
    pub fn push(&mut self, when: u64, what: Happening) {
        self.turn += 1;
        self.at.insert((when, self.turn), what);
    }
}

pub struct World {
    pub now: u64,
    pub rng: Rng,
    /// What is folded when: drawn apart, so that it changes nothing else.
    pub folds: Rng,
    pub plan: Plan,
    pub nodes: Vec<Node>,
    pub net: Net,
    pub clients: Clients,
    pub checks: Checks,
    pub readers: Option<Readers>,
    pub trace: Trace,
    pub agenda: Agenda,
    /// Faults that have ended.
    mended: usize,
}

/// What a run has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub trace: u64,
    pub events: u64,
    pub writes: usize,
    pub answered: usize,
    pub faults: usize,
    pub kinds: usize,
    pub entries: usize,
    /// Steps that readers took, and how often they went on from a cursor, or had to begin anew.
    pub read: (u64, u64, u64),
    /// Milliseconds from the end of faults until all were equal.
    pub converged: u64,
}

/// One run; `told` prints what happens.
pub fn run(seed: u64, told: bool) -> Result<Report, Failure> {
    let mut rng = Rng::with_seed(seed);
    // Not drawn, so that the seeds that found something before there were deletions mean what they meant.
    let deletes = seed % 7 < 3;
    let mut plan = Plan::draw(&mut rng);
    // Likewise.
    if matches!(seed % 8, 0 | 1 | 2 | 5 | 7) {
        plan.mend(&mut Rng::with_seed(seed ^ 0x5EED));
    }
    let deletes = deletes || plan.keep_deleted.is_some();
    let nodes = plan.roles.len();
    let make = |role: &_| Node {
        role: *role,
        id: NodeId(rng.u64(..).to_be_bytes()),
        formerly: Vec::new(),
        store: MemoryStore::new(),
        backup: None,
        run: 0,
        process: None,
    };
    let made: Vec<Node> = plan.roles.iter().map(make).collect();
    if told {
        println!("roles {:?}\ndials {:?}\n{:?}", plan.roles, plan.dials, plan.bounds);
        plan.faults.iter().for_each(|(at, fault)| println!("fault at {at} ms: {fault:?}"));
        made.iter().enumerate().for_each(|(n, node)| println!("node {n} is {}", node.id));
    }
    let mut world = World {
        now: 0,
        net: Net::new(nodes),
        clients: Clients::new(&plan, deletes),
        checks: Checks::new(nodes),
        readers: Some(Readers::new(seed, &plan)),
        trace: Trace::new(told),
        agenda: Agenda::default(),
        mended: 0,
        nodes: made,
        plan,
        folds: Rng::with_seed(!seed),
        rng,
    };
    world.play().map_err(|failure| Failure { seed, at: world.now, ..failure })?;
    let (trace, events) = world.trace.digest();
    Ok(Report {
        trace,
        events,
        writes: world.clients.made,
        answered: world.checks.acknowledged.count(),
        faults: world.plan.faults.len(),
        kinds: plan::kinds(&world.plan.faults),
        entries: world.checks.history.entries(),
        read: world.readers.map_or((0, 0, 0), |readers| (readers.steps, readers.resumed, readers.refetched)),
        converged: world.checks.converged.took,
    })
}

impl World {
    fn play(&mut self) -> Checked {
        for node in 0..self.nodes.len() {
            self.start(node)?;
        }
        for at in self.plan.writes.clone() {
            self.agenda.push(at, Happening::Write);
        }
        for (at, node) in self.plan.backups.clone() {
            self.agenda.push(at, Happening::Backup { node });
        }
        for (at, read) in self.readers.as_mut().map(Readers::begin).unwrap_or_default() {
            self.agenda.push(at, read);
        }
        for (number, (at, _)) in self.plan.faults.iter().enumerate() {
            self.agenda.push(*at, Happening::Fault { number });
        }
        while self.mended < self.plan.faults.len() || self.clients.left > 0 {
            self.step()?;
        }
        if self.clients.made < plan::WRITES {
            return Err(Failure::new("load", format!("{} writes only", self.clients.made)));
        }
        for node in 0..self.nodes.len() {
            self.start(node)?;
        }
        self.heal()?;
        self.converge()
    }

    /// The faults have ended, and writes go on while anything is missing that somebody has.
    fn heal(&mut self) -> Checked {
        let begun = self.now;
        while let Some((node, doc)) = holes::open(&self.checks.history, &self.nodes)? {
            if self.now - begun > holes::WITHIN_MS {
                let what =
                    format!("node {node} lacks something of {doc:?}, and not within {} ms", holes::WITHIN_MS);
                return Err(Failure::new("holes", what));
            }
            if self.now == begun {
                self.trace.note(self.now, "heal", &[node as u64], || {
                    format!("node {node} lacks something of {doc:?}")
                });
            }
            // Its next change would have it asked for.
            self.clients.leave(&doc);
            self.clients.left += 1;
            self.agenda.push(self.now, Happening::Write);
            self.step_to(self.now + STEADY_MS)?;
        }
        Ok(())
    }

    /// The faults have ended: all get equal, and fall silent.
    fn converge(&mut self) -> Checked {
        let begun = self.now;
        self.trace.note(self.now, "mended", &[], || "all faults have ended".into());
        while !self.checks.converged.look(&self.nodes) {
            if self.now - begun > CONVERGE_MS {
                return Err(self.checks.converged.why(&self.nodes, CONVERGE_MS));
            }
            self.step_to(self.now + LOOK_MS)?;
        }
        self.checks.converged.took = self.now - begun;
        self.trace.note(self.now, "equal", &[], || "all vectors and digests are equal".into());
        let equal = self.now;
        self.step_to(self.checks.silent.begins(begun, equal))?;
        // Two copies have found out of each other by then; what that takes after it is waited for once.
        let quiet = self.checks.silent.begins(begun, equal);
        self.step_to(quiet)?;
        let before = self.net.busy_frames;
        self.step_to(quiet + self.checks.silent.lasts())?;
        self.checks.silent.look(self.net.busy_frames - before)?;
        let World { checks, nodes, .. } = self;
        if !checks.converged.look(nodes) {
            return Err(checks.converged.why(nodes, self.now - begun));
        }
        checks.finish(nodes)?;
        self.finish_readers()
    }

    fn step_to(&mut self, end: u64) -> Checked {
        while self.agenda.at.first_key_value().is_some_and(|((at, _), _)| *at <= end) {
            self.step()?;
        }
        self.now = self.now.max(end);
        Ok(())
    }

    fn step(&mut self) -> Checked {
        let Some(((at, _), happening)) = self.agenda.at.pop_first() else {
            return Err(Failure::new("harness", "nothing is left to happen".into()));
        };
        self.now = at;
        match happening {
            Happening::Tick { node, run } => self.tick(node, run),
            Happening::Work { node, run } => self.work(node, run)?,
            Happening::Commit { node, run } => self.commit(node, run)?,
            Happening::Feed { node, run, event } => self.feed(node, run, Input::Event(event)),
            Happening::Dial { node, run, target } => self.dial(node, run, target),
            Happening::Open { conn, side } => self.open(conn, side),
            Happening::Arrive { conn, side } => self.arrive(conn, side)?,
            Happening::Gone { conn, side } => self.gone(conn, side),
            Happening::Read { reader } => self.read(reader)?,
            Happening::Write => self.write_something()?,
            Happening::Backup { node } => {
                let node = &mut self.nodes[node];
                node.backup = Some((node.store.copy(), node.id));
            }
            Happening::Fault { number } => self.strike(number)?,
            Happening::Mend { number } => {
                self.mend(number)?;
                self.mended += 1;
            }
        }
        Ok(())
    }

    pub fn unix(&self) -> Millis {
        Millis(1_000_000 + self.now)
    }
}
