//! One link: what the other end has, what it wants, and how far it has been served.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::repair::{Assembly, Giving};
use crate::base::{Lsn, Millis, NodeId, Origin, VersionVector};
use crate::wire::{Hello, Segment};

pub(super) struct Link {
    /// This node opened the connection.
    pub dialled: bool,
    /// What the other end said first; None until then.
    pub hello: Option<Hello>,
    /// What is on the other end's disk.
    pub vector: VersionVector,
    /// Below this its log cannot serve.
    pub floor: VersionVector,
    /// Since when it has said that it has the same vector, that one, and another digest.
    pub differs: Option<(Millis, VersionVector)>,
    /// What this node has told the other end of its own disk.
    pub acknowledged: VersionVector,
    pub up: Millis,
    pub heard: Millis,
    pub beaten: Millis,
    /// When its socket last took something, or nothing was waiting for it.
    pub drained: Millis,
    /// Since when the other end has said less of its own incarnation than is here.
    pub short: Option<Millis>,
    /// Rows of the node table that it has been told, or has told.
    pub told: BTreeMap<NodeId, u64>,
    /// Origins that the other end wants from here → the counter sent so far.
    pub wanted: BTreeMap<Origin, u64>,
    pub cursor: Cursor,
    /// A read of the log is under way for it.
    pub reading: bool,
    /// What is wanted has changed while that read was under way.
    pub seek_again: bool,
    /// Bytes handed to the socket and not yet written.
    pub in_flight: usize,
    /// What it is given of documents, where the log does not serve it.
    pub giving: Giving,
    pub assembly: Assembly,
    window: usize,
}

/// How far a link has been served from the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Cursor {
    /// All of it: it gets each commit as it happens.
    Head,
    /// From this LSN on it must be read.
    At(Lsn),
    /// Where to begin must be looked up from what was sent.
    Seek,
}

impl Link {
    pub fn new(now: Millis, dialled: bool, window: usize) -> Self {
        Self {
            dialled,
            hello: None,
            vector: VersionVector::new(),
            floor: VersionVector::new(),
            differs: None,
            acknowledged: VersionVector::new(),
            up: now,
            heard: now,
            beaten: Millis(0),
            drained: now,
            short: None,
            told: BTreeMap::new(),
            wanted: BTreeMap::new(),
            cursor: Cursor::Head,
            reading: false,
            seek_again: false,
            in_flight: 0,
            giving: Giving::default(),
            assembly: Assembly::default(),
            window,
        }
    }

    pub fn node(&self) -> Option<NodeId> {
        self.hello.as_ref().map(|hello| hello.node)
    }

    /// Has the other end less of its own incarnation than `vector`? Entries may come here by another way before
    /// the other end's own word of them does; but that is soon over.
    pub fn is_short(&self, vector: &VersionVector) -> bool {
        self.hello.as_ref().is_some_and(|hello| self.vector.get(&hello.origin) < vector.get(&hello.origin))
    }

    /// Has it more of an origin than `have`, and still in its log?
    pub fn can_serve(&self, origin: &Origin, have: u64) -> bool {
        self.vector.get(origin) > have && self.floor.get(origin) <= have
    }

    pub fn has_room(&self) -> bool {
        self.in_flight < self.window
    }

    /// Of these segments those that the other end wants and has not been sent. Notes them as sent.
    pub fn select(&mut self, segments: &[Arc<Segment>]) -> Vec<Arc<Segment>> {
        let mut selected = Vec::new();
        for segment in segments {
            let Some(sent) = self.wanted.get_mut(&segment.origin) else { continue };
            // A segment beyond a gap is left for later: what precedes it comes from the log.
            if segment.last > *sent && segment.first <= *sent + 1 {
                *sent = segment.last;
                selected.push(segment.clone());
            }
        }
        selected
    }

    /// Is everything that it wants sent, as far as `vector` goes?
    pub fn is_served(&self, vector: &VersionVector) -> bool {
        self.wanted.iter().all(|(origin, sent)| vector.get(origin) <= *sent)
    }
}
