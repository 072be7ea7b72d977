//! Repair by digest: the states of a node that is repaired, and of one that repairs.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

use crate::base::{Change, DocId, GROUP, Heads, LeafSet, LinkId, Lsn, Millis, VersionVector};
use crate::wire::{Part, Push, Repair, Snapshot};

/// What has to be read from the store for a link that is repaired.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Gather {
    /// Records above `after`: offers of those in the leaves `compare`, documents of those in `take`.
    Slice { compare: LeafSet, take: LeafSet, after: Option<DocId> },
    /// Of these documents what the heads beside them do not name.
    Documents(Vec<(DocId, Heads)>),
}

/// A part of a document that has come whole.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Piece {
    Snapshot {
        heads: Heads,
        deletions: Heads,
        bytes: Bytes,
    },
    Changes(Vec<Change>),
    /// The other end cannot give what these heads name.
    Unreadable(Heads),
}

/// How far a repair of this node is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RepairState {
    pub link: LinkId,
    pub begun: Millis,
    /// Documents that may differ, 0 until that is known; and how many of them were looked at.
    pub documents: u64,
    pub done: u64,
    /// Bytes of documents received.
    pub bytes: u64,
}

/// This node is being repaired over a link.
pub(super) struct Repairing {
    pub state: RepairState,
    /// When it last got on.
    pub heard: Millis,
    /// What the other end had at the start; None until it has said so.
    pub vector: Option<VersionVector>,
    /// Groups whose leaves have not been told yet.
    pub groups: usize,
    compare: Vec<u16>,
    take: Vec<u16>,
    pub walk: Walk,
    /// All that the other end has is taken over, and not only what no log gives.
    pub whole: bool,
    /// Of this node's documents at the start.
    pub digest: [u8; 16],
}

/// How far the walk over the other end's documents is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Walk {
    NotYet,
    /// A slice was asked for.
    Asked,
    /// The next slice begins after this document.
    Paused(DocId),
    Ended,
}

impl Repairing {
    pub fn new(now: Millis, link: LinkId, whole: bool, digest: [u8; 16]) -> Self {
        let state = RepairState { link, begun: now, documents: 0, done: 0, bytes: 0 };
        let (compare, take) = (Vec::new(), Vec::new());
        Self { state, heard: now, vector: None, groups: 0, compare, take, walk: Walk::NotYet, whole, digest }
    }

    /// Notes which leaves of a group differ from `ours`. Those of which nothing is here are taken whole.
    pub fn leaves(&mut self, group: u8, ours: &[u64], theirs: &[u64], documents: &[u32]) {
        self.groups = self.groups.saturating_sub(1);
        let first = u16::from(group) * GROUP as u16;
        for ((leaf, (ours, theirs)), count) in (first..=u16::MAX).zip(ours.iter().zip(theirs)).zip(documents)
        {
            if ours == theirs || *count == 0 {
                continue;
            }
            self.state.documents += u64::from(*count);
            if *ours == 0 { &mut self.take } else { &mut self.compare }.push(leaf);
        }
    }

    /// Does nothing differ?
    pub fn is_equal(&self) -> bool {
        self.compare.is_empty() && self.take.is_empty()
    }

    /// The leaves that differ, once all have been told.
    pub fn sets(&mut self) -> (LeafSet, LeafSet) {
        (LeafSet::new(std::mem::take(&mut self.compare)), LeafSet::new(std::mem::take(&mut self.take)))
    }
}

/// A document is on its way to this node.
pub(super) struct Fetching {
    pub from: LinkId,
    /// Something else was missing of it since it was asked for: whom to ask again when it has come, and what was here.
    pub again: Option<(LinkId, Heads)>,
}

impl Fetching {
    /// Does something of it come over that link, or will be asked for there?
    pub fn is_over(&self, link: LinkId) -> bool {
        self.from == link || self.again.as_ref().is_some_and(|(again, _)| *again == link)
    }
}

/// What this node gives the other end of one link.
#[derive(Default)]
pub(super) struct Giving {
    /// The other end is being repaired since this place in the log: what comes after it is kept.
    pub since: Option<Lsn>,
    /// The leaves of its walk.
    sets: Option<(LeafSet, LeafSet)>,
    tasks: VecDeque<Gather>,
    /// Documents in `tasks`.
    asked: usize,
    /// A task is being read.
    pub reading: bool,
    /// Read, and to be sent as soon as there is room.
    pub parcels: VecDeque<Repair>,
}

impl Giving {
    pub fn begin(&mut self, since: Lsn) {
        self.since = Some(since);
        self.sets = None;
    }

    pub fn end(&mut self) {
        self.since = None;
        self.sets = None;
    }

    pub fn walk(&mut self, compare: LeafSet, take: LeafSet) {
        self.sets = Some((compare, take));
    }

    /// One slice more; False where there is no walk.
    pub fn slice(&mut self, after: Option<DocId>) -> bool {
        let Some((compare, take)) = self.sets.clone() else { return false };
        self.tasks.push_back(Gather::Slice { compare, take, after });
        true
    }

    pub fn fetch(&mut self, documents: Vec<(DocId, Heads)>) {
        self.asked += documents.len();
        self.tasks.push_back(Gather::Documents(documents));
    }

    /// Tasks, and documents in them, that wait.
    pub fn backlog(&self) -> (usize, usize) {
        (self.tasks.len(), self.asked)
    }

    /// The next task, where none is being read and all that was read is on its way.
    pub fn next(&mut self) -> Option<Gather> {
        if self.reading || !self.parcels.is_empty() {
            return None;
        }
        let task = self.tasks.pop_front()?;
        if let Gather::Documents(documents) = &task {
            self.asked = self.asked.saturating_sub(documents.len());
        }
        self.reading = true;
        Some(task)
    }

    /// What was read, and what is left of the task.
    pub fn gathered(&mut self, repairs: Vec<Repair>, rest: Option<Gather>) {
        self.reading = false;
        self.parcels.extend(repairs);
        if let Some(rest) = rest {
            if let Gather::Documents(documents) = &rest {
                self.asked += documents.len();
            }
            self.tasks.push_front(rest);
        }
    }
}

/// The pieces of one document's snapshot, as they come.
#[derive(Default)]
pub(super) struct Assembly {
    of: Option<(DocId, Snapshot)>,
    bytes: BytesMut,
}

impl Assembly {
    /// The part of a document that is whole with this push, and whether it is the last; None while pieces are missing.
    ///
    /// # Errors
    /// When the pieces do not follow one another.
    pub fn take(&mut self, push: Push) -> Result<Option<(DocId, Piece, bool)>, &'static str> {
        let Push { doc, part, last } = push;
        let piece = match part {
            Part::Changes(_) | Part::Unreadable(_) if self.of.is_some() => {
                return Err("something else between the pieces of a snapshot");
            }
            Part::Unreadable(heads) => return Ok(Some((doc, Piece::Unreadable(heads), last))),
            Part::Changes(changes) => return Ok(Some((doc, Piece::Changes(changes), last))),
            Part::Snapshot(piece) => piece,
        };
        if piece.offset == 0 {
            self.bytes.clear();
            self.of = Some((doc.clone(), Snapshot { bytes: Bytes::new(), ..piece.clone() }));
        }
        let fits = self.of.as_ref().is_some_and(|(of, first)| {
            *of == doc && first.total == piece.total && self.bytes.len() as u64 == piece.offset
        });
        if !fits {
            return Err("pieces of a snapshot that do not follow one another");
        }
        self.bytes.extend_from_slice(&piece.bytes);
        if (self.bytes.len() as u64) < piece.total {
            return Ok(None);
        }
        let Some((doc, whole)) = self.of.take() else { return Ok(None) };
        let Snapshot { heads, deletions, .. } = whole;
        let bytes = std::mem::take(&mut self.bytes).freeze();
        Ok(Some((doc, Piece::Snapshot { heads, deletions, bytes }, last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(offset: u64, bytes: &'static [u8], last: bool) -> Push {
        let (heads, deletions) = (Heads::new(), Heads::new());
        let snapshot =
            Snapshot { heads, deletions, changes: 2, offset, total: 6, bytes: Bytes::from_static(bytes) };
        Push { doc: DocId::new("d").unwrap(), part: Part::Snapshot(snapshot), last }
    }

    #[test]
    fn a_snapshot_is_whole_when_its_last_piece_has_come() {
        let mut assembly = Assembly::default();
        assert_eq!(assembly.take(piece(0, b"abc", false)), Ok(None));
        let (_, whole, last) = assembly.take(piece(3, b"def", true)).unwrap().unwrap();
        assert!(last && matches!(whole, Piece::Snapshot { bytes, .. } if bytes == b"abcdef"[..]));
        // A gap, and a piece of what never began.
        assert_eq!(assembly.take(piece(0, b"ab", false)), Ok(None));
        assert!(assembly.take(piece(3, b"def", true)).is_err());
        assert!(Assembly::default().take(piece(3, b"def", true)).is_err());
    }

    #[test]
    fn leaves_of_which_nothing_is_here_are_taken_and_equal_ones_are_not_looked_at() {
        let mut repairing = Repairing::new(Millis(0), LinkId(1), false, [0; 16]);
        repairing.groups = 1;
        let mut ours = vec![7; GROUP];
        let mut theirs = ours.clone();
        let mut documents = vec![1; GROUP];
        (ours[0], theirs[1], theirs[2], documents[2], ours[2]) = (0, 8, 0, 0, 7);
        documents[1] = 5;
        repairing.leaves(1, &ours, &theirs, &documents);
        assert_eq!((repairing.groups, repairing.state.documents, repairing.is_equal()), (0, 6, false));
        let (compare, take) = repairing.sets();
        assert_eq!((compare.iter().collect(), take.iter().collect()), (vec![257_u16], vec![256_u16]));
    }
}
