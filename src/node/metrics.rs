//! What a node counts of its work, and how it stood lately: for whoever watches it.
//!
//! Counters are added to where the work is done. What only the committer knows it tells every second: so
//! whoever asks never waits for a disk, least of all when it hangs.

use std::sync::{OnceLock, RwLock};
use std::time::Duration;

use super::DamageView;
use super::engine::Engine;
use super::link::Wire;
use crate::base::{Counter, DURATIONS, Histogram, LinkId, Lsn, Millis, SIZES};
use crate::store::StoreFigures;

/// What to do about damage.
pub(super) const REMEDY: &str = "stop this node: `syncline verify` tells what is damaged, and `syncline serve --repair` \
                                 keeps what can be read and gets the rest from the other nodes";

/// See the module. Times are in nanoseconds.
#[derive(Debug)]
pub struct Metrics {
    /// Commits with all that hangs on them.
    pub commits: Histogram,
    /// Of these, the write and its fsync alone.
    pub fsyncs: Histogram,
    /// Entries in one commit.
    pub batches: Histogram,
    pub committed_bytes: Counter,
    pub failed_commits: Counter,
    /// Repairs of this node by digest that came to their end.
    pub repairs: Counter,
    pub merges: Histogram,
    pub merged_changes: Counter,
    pub loads: Histogram,
    pub evictions: Counter,
    /// Folds that moved something, with all that they waited for.
    pub folds: Histogram,
    pub folded_changes: Counter,
    pub failed_folds: Counter,
    /// Reads and commits that came upon damaged data.
    pub damage: Counter,
    /// The first of them.
    pub first_damage: OnceLock<String>,
    lately: RwLock<Lately>,
}

/// What the committer said last.
#[derive(Clone, Debug, Default)]
pub struct Lately {
    pub log_head: Lsn,
    /// The first LSN still in the log.
    pub log_first: Lsn,
    /// Documents that a repair of this node has still to look at; None where it is not being repaired.
    pub repair_left: Option<u64>,
    /// Documents of which a stored change is damaged, and those that lack changes which the vector names.
    pub fenced: usize,
    pub incomplete: usize,
    /// Origins in the node's vector.
    pub origins: usize,
    /// Bytes of entries that wait for their causes.
    pub held_bytes: usize,
    /// Bytes of past commits kept for links.
    pub ring_bytes: usize,
    pub incarnation: u32,
    pub links: Vec<LinkFigures>,
}

/// One link whose other end has said hello.
#[derive(Clone, Debug)]
pub struct LinkFigures {
    /// Id and name of the node at the other end.
    pub node: String,
    pub peer: String,
    /// Changes here that it lacks, and for how long the oldest of them.
    pub behind: u64,
    pub behind_ms: u64,
    /// Changes there that this node lacks.
    pub ahead: u64,
    /// Bytes handed to the socket and not yet written.
    pub in_flight: usize,
    pub frames_in: u64,
    pub bytes_in: u64,
    pub frames_out: u64,
    pub bytes_out: u64,
    /// Of the last ping that was answered.
    pub round_trip: Option<Duration>,
}

/// How a node stands at this moment.
#[derive(Clone, Debug)]
pub struct Figures {
    pub lately: Lately,
    /// Documents in memory, and their estimated bytes.
    pub documents: usize,
    pub document_bytes: usize,
    /// Inputs that wait for the committer.
    pub queued: usize,
    /// Links that are open, with those that have not said hello.
    pub links: usize,
    /// Subscriptions of live readers.
    pub subscriptions: usize,
    /// None of a store that has nothing to tell.
    pub store: Option<StoreFigures>,
}

impl Metrics {
    pub(super) fn new() -> Self {
        Self {
            commits: Histogram::new(DURATIONS),
            fsyncs: Histogram::new(DURATIONS),
            batches: Histogram::new(SIZES),
            committed_bytes: Counter::default(),
            failed_commits: Counter::default(),
            repairs: Counter::default(),
            merges: Histogram::new(DURATIONS),
            merged_changes: Counter::default(),
            loads: Histogram::new(DURATIONS),
            evictions: Counter::default(),
            folds: Histogram::new(DURATIONS),
            folded_changes: Counter::default(),
            failed_folds: Counter::default(),
            damage: Counter::default(),
            first_damage: OnceLock::new(),
            lately: RwLock::default(),
        }
    }

    /// Has damage been found? Then what, as `Damage` tells it.
    pub(super) fn damage(&self) -> Option<DamageView> {
        let first = self.first_damage.get()?.clone();
        Some(DamageView { found: self.damage.get(), first, remedy: REMEDY.into() })
    }

    pub(super) fn lately(&self) -> Lately {
        self.lately.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub(super) fn publish<'a>(
        &self,
        engine: &Engine,
        now: Millis,
        wire: impl Fn(LinkId) -> Option<&'a Wire>,
    ) {
        let core = engine.core();
        let links = core.links(now).filter_map(|link| {
            let wire = wire(link.id)?;
            Some(LinkFigures {
                node: link.hello.node.to_string(),
                peer: link.hello.name.clone(),
                behind: link.standing.behind,
                behind_ms: link.standing.behind_ms,
                ahead: link.standing.ahead,
                in_flight: link.in_flight,
                frames_in: wire.frames_in.get(),
                bytes_in: wire.bytes_in.get(),
                frames_out: wire.frames_out.get(),
                bytes_out: wire.bytes_out.get(),
                round_trip: wire.round_trip(),
            })
        });
        let lately = Lately {
            log_head: core.log_head(),
            log_first: engine.log_first(),
            repair_left: core.repairing().map(|state| state.documents.saturating_sub(state.done)),
            fenced: engine.fenced().len(),
            incomplete: engine.holes(),
            origins: core.vector().iter().count(),
            held_bytes: core.held_bytes(),
            ring_bytes: engine.ring_bytes(),
            incarnation: core.identity().origin.incarnation,
            links: links.collect(),
        };
        *self.lately.write().unwrap_or_else(|e| e.into_inner()) = lately;
    }
}
