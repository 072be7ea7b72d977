//! What a seed decides beforehand: the shape of the cluster, its limits, and what befalls it.

use fastrand::Rng;
use syncline::base::limits::{HOLD_BYTES, LINK_WINDOW_BYTES, MARK_EVERY, MARK_LEAST, RING_BYTES};
use syncline::base::{Bounds, Role};

/// Writes that a run has at least, faults, and kinds of them: a run with fewer proves too little.
pub const WRITES: usize = 300;
pub const FAULTS: usize = 5;
pub const KINDS: usize = 3;

/// Writes tried, beyond those that faults are expected to thwart.
const TRIED: usize = 305;

/// In one of so many runs with such faults a folder is copied, and started beside its original.
const COPIES_ONE_IN: u8 = 5;

/// Faults begin from here to there, in milliseconds.
const FAULTS_FROM: u64 = 1_000;
const FAULTS_TO: u64 = 11_000;

pub struct Plan {
    pub roles: Vec<Role>,
    /// Who dials whom.
    pub dials: Vec<(usize, usize)>,
    pub bounds: Bounds,
    /// Milliseconds that a frame takes: the least and the most of what a connection has as its own.
    pub latency: (u64, u64),
    /// Milliseconds that a commit takes at most.
    pub fsync: u64,
    pub documents: usize,
    /// One write in so many is of this many bytes.
    pub large: Option<(usize, usize)>,
    /// When writes come, in milliseconds.
    pub writes: Vec<u64>,
    /// The nodes of which a backup is made, and when.
    pub backups: Vec<(u64, usize)>,
    pub faults: Vec<(u64, Fault)>,
    /// Deleted documents are dropped after so many milliseconds.
    pub keep_deleted: Option<u64>,
}

#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing passes between those in the set and the others.
    Partition {
        set: u32,
        ms: u64,
    },
    /// What `from` sends does not arrive at `to`.
    OneWay {
        from: usize,
        to: usize,
        ms: u64,
    },
    /// A connection ends; both ends learn of it at times of their own, or never.
    Cut {
        which: usize,
        told: [Option<u64>; 2],
    },
    /// All that a node sends takes so much longer.
    Slow {
        node: usize,
        by: u64,
        ms: u64,
    },
    /// The process dies; with `power` the machine too, so that nobody is told. Of a commit under way all is
    /// `kept`, or nothing.
    Crash {
        node: usize,
        power: bool,
        kept: bool,
        down: u64,
    },
    /// An orderly stop.
    Stop {
        node: usize,
        down: u64,
    },
    /// The next commits fail.
    FailCommits {
        node: usize,
        commits: usize,
    },
    /// The store breaks at its next commit, until a restart; which finds that commit, or not.
    Break {
        node: usize,
        kept: bool,
        down: u64,
    },
    Fill {
        node: usize,
        ms: u64,
    },
    /// The node comes back with its backup instead of its data.
    Restore {
        node: usize,
        down: u64,
    },
    /// The node loses its disk, and comes back as a new one.
    Lose {
        node: usize,
        down: u64,
    },
    /// The node loses its disk, and comes back with a copy of another's, which runs on beside it.
    Copy {
        from: usize,
        node: usize,
        down: u64,
    },
}

impl Fault {
    pub fn kind(&self) -> usize {
        match self {
            Fault::Partition { .. } => 0,
            Fault::OneWay { .. } => 1,
            Fault::Cut { .. } => 2,
            Fault::Slow { .. } => 3,
            Fault::Crash { .. } => 4,
            Fault::Stop { .. } => 5,
            Fault::FailCommits { .. } => 6,
            Fault::Break { .. } => 7,
            Fault::Fill { .. } => 8,
            Fault::Restore { .. } => 9,
            Fault::Lose { .. } => 10,
            Fault::Copy { .. } => 11,
        }
    }
}

impl Plan {
    pub fn draw(rng: &mut Rng) -> Self {
        let nodes = rng.usize(2..=7);
        let masters = if rng.u8(..8) == 0 { 1 } else { rng.usize(2..=nodes) };
        let mut roles = vec![Role::Master; masters];
        roles.resize(nodes, Role::Replica);
        // Replicas among the first nodes join masters that have no other way to each other.
        if rng.u8(..3) == 0 {
            rng.shuffle(&mut roles);
        }
        let dials = dials(rng, &roles);
        let large = (rng.u8(..24) == 0).then(|| (rng.usize(16..40), rng.usize(10_000..60_000)));
        let end = FAULTS_TO + 1_000;
        let mut faults: Vec<(u64, Fault)> = (0..rng.usize(FAULTS..=2 * FAULTS))
            .map(|_| (rng.u64(FAULTS_FROM..FAULTS_TO), fault(rng, nodes, None)))
            .collect();
        while kinds(&faults) < KINDS {
            let at = rng.u64(FAULTS_FROM..FAULTS_TO);
            faults.push((at, fault(rng, nodes, None)));
        }
        // Without one of these the cluster would never have to recover from its own disk.
        if rng.bool() {
            let kind = Some(rng.usize(4..8));
            faults.push((rng.u64(FAULTS_FROM..FAULTS_TO), fault(rng, nodes, kind)));
        }
        let mut backups = Vec::new();
        for (at, fault) in &faults {
            if let Fault::Restore { node, .. } = fault {
                backups.push((rng.u64(..*at), *node));
            }
        }
        faults.sort_by_key(|(at, _)| *at);
        Self {
            bounds: bounds(rng),
            latency: *rng.choice(&[(1, 2), (1, 30), (5, 200)]).unwrap_or(&(1, 2)),
            fsync: *rng.choice(&[1, 5, 40]).unwrap_or(&1),
            documents: rng.usize(8..=16),
            large,
            writes: (0..TRIED).map(|_| rng.u64(300..end)).collect(),
            backups,
            faults,
            roles,
            dials,
            keep_deleted: None,
        }
    }

    /// Adds what only those are for who do not have everything in their logs.
    pub fn mend(&mut self, rng: &mut Rng) {
        let nodes = self.roles.len();
        if rng.u8(..4) > 0 {
            self.bounds.mark_every = self.bounds.mark_every.min(rng.u64(1..24));
            self.bounds.log_keep = rng.u64(1_000..12_000);
            self.bounds.log_most = self.bounds.log_keep + rng.u64(500..12_000);
        }
        self.keep_deleted = rng.bool().then(|| *rng.choice(&[500, 2_000, 6_000]).unwrap_or(&500));
        let masters: Vec<usize> = (0..nodes).filter(|n| self.roles[*n] == Role::Master).collect();
        let mut some = |one_in: u8, fault: fn(usize, usize, u64) -> Fault| {
            if rng.u8(..one_in) == 0 {
                let node = *rng.choice(&masters).unwrap_or(&0);
                let other = *rng.choice(&masters).unwrap_or(&0);
                let any = rng.usize(..nodes);
                let (node, other) = if node == other { (any, any) } else { (node, other) };
                let fault = fault(node, other, rng.u64(10..4_000));
                self.faults.push((rng.u64(FAULTS_FROM..FAULTS_TO), fault));
            }
        };
        some(3, |node, _, down| Fault::Lose { node, down });
        some(6, |node, _, down| Fault::Lose { node, down });
        some(2, |node, _, down| Fault::Stop { node, down: 6_000 + 2 * down });
        some(COPIES_ONE_IN, |node, from, down| match node == from {
            true => Fault::Lose { node, down },
            false => Fault::Copy { from, node, down },
        });
        // Else repairs are over before anything is trimmed.
        let lost = self.faults.iter().filter_map(|(at, fault)| match fault {
            Fault::Lose { node, down } => Some((at + down, *node)),
            _ => None,
        });
        for (at, node) in lost.collect::<Vec<_>>() {
            if rng.bool() {
                self.faults
                    .push((at, Fault::Slow { node, by: rng.u64(200..1_200), ms: rng.u64(2_000..6_000) }));
            }
        }
        self.bounds.mark_least = *rng.choice(&[1, 8, MARK_LEAST]).unwrap_or(&1);
        self.faults.sort_by_key(|(at, _)| *at);
    }
}

pub fn kinds(faults: &[(u64, Fault)]) -> usize {
    let kinds: std::collections::BTreeSet<usize> = faults.iter().map(|(_, fault)| fault.kind()).collect();
    kinds.len()
}

/// A connected shape: a mesh of masters, a line, or a tree with some more edges.
fn dials(rng: &mut Rng, roles: &[Role]) -> Vec<(usize, usize)> {
    let shape = rng.u8(..4);
    let more = *rng.choice(&[0.0, 0.2, 0.6]).unwrap_or(&0.0);
    let mut dials = Vec::new();
    for node in 1..roles.len() {
        let parent = if shape == 1 { node - 1 } else { rng.usize(..node) };
        for other in 0..node {
            let meshed = shape == 0 && roles[node] == Role::Master && roles[other] == Role::Master;
            if other == parent || meshed || (shape == 3 && rng.f64() < more) {
                let both = rng.u8(..6) == 0;
                let up = both || rng.bool();
                dials.extend(up.then_some((node, other)));
                dials.extend((both || !up).then_some((other, node)));
            }
        }
    }
    dials
}

/// What ships, or so small that a run gets to the limits.
fn bounds(rng: &mut Rng) -> Bounds {
    let mut pick =
        |ships: usize, small: &[usize]| if rng.bool() { ships } else { small[rng.usize(..small.len())] };
    Bounds {
        window: pick(LINK_WINDOW_BYTES, &[1_000, 4_000, 20_000]),
        hold: pick(HOLD_BYTES, &[30_000, 60_000]),
        ring: pick(RING_BYTES, &[1_000, 4_000, 20_000]),
        mark_every: pick(MARK_EVERY as usize, &[1, 4, 32]) as u64,
        ..Bounds::default()
    }
}

fn fault(rng: &mut Rng, nodes: usize, kind: Option<usize>) -> Fault {
    let node = rng.usize(..nodes);
    let down = *rng.choice(&[10, 500, 3_000]).unwrap_or(&10) + rng.u64(..500);
    let ms = *rng.choice(&[200, 1_500, 4_000, 12_000]).unwrap_or(&200) + rng.u64(..500);
    match kind.unwrap_or_else(|| rng.usize(..10)) {
        0 => Fault::Partition { set: rng.u32(1..(1 << nodes) - 1), ms },
        1 => Fault::OneWay { from: node, to: (node + rng.usize(1..nodes)) % nodes, ms },
        2 => {
            let mut told = || (rng.u8(..4) > 0).then(|| rng.u64(..1_000));
            Fault::Cut { told: [told(), told()], which: rng.usize(..1_000) }
        }
        3 => Fault::Slow { node, by: rng.u64(20..2_000), ms },
        4 => Fault::Crash { node, power: rng.bool(), kept: rng.bool(), down },
        5 => Fault::Stop { node, down },
        6 => Fault::FailCommits { node, commits: rng.usize(1..3) },
        7 => Fault::Break { node, kept: rng.bool(), down },
        8 => Fault::Fill { node, ms: ms.min(4_000) },
        _ => Fault::Restore { node, down },
    }
}
