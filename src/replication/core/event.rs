//! What happens to a core, and what it wants done.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::{Digest, DocId, Heads, LinkId, Lsn, NodeId, Origin, Role, VersionVector};
use crate::replication::lag::Standing;
use crate::replication::repair::{Gather, Piece};
use crate::wire::{Entry, Hello, Message, NodeInfo, Offer, Push, Repair, Segment};

/// Who this node is, for others.
#[derive(Clone, Debug)]
pub struct Identity {
    pub cluster: String,
    pub node: NodeId,
    pub name: String,
    pub role: Role,
    pub url: Option<String>,
    pub origin: Origin,
}

/// An entry that came over a link.
#[derive(Clone, Debug)]
pub struct Received {
    pub entry: Entry,
    /// Why its changes' bytes are not what they claim to be, where they are not.
    pub damaged: Option<String>,
}

/// What happens to a core.
#[derive(Debug)]
pub enum Event {
    /// A connection is open; `dialled` by this node.
    LinkUp {
        link: LinkId,
        dialled: bool,
    },
    LinkDown {
        link: LinkId,
    },
    /// Anything but entries.
    Message {
        link: LinkId,
        message: Message,
    },
    Entries {
        link: LinkId,
        entries: Vec<Received>,
    },
    /// The link's socket has taken messages of this weight.
    Drained {
        link: LinkId,
        weight: usize,
    },
    /// The answer to [`Effect::Read`]: what the log has from there up to before `next`.
    LogRead {
        link: LinkId,
        segments: Vec<Arc<Segment>>,
        next: Lsn,
    },
    /// Parts of documents, and why their bytes are not what they claim to be where they are not.
    Pushed {
        link: LinkId,
        pushes: Vec<(Push, Option<String>)>,
    },
    /// The answer to [`Effect::Compare`]: documents of which something is missing here, and what is here.
    Compared {
        link: LinkId,
        wanted: Vec<(DocId, Heads)>,
    },
    /// [`Effect::Absorb`] is done; or it could not be done, as these heads are here of the document by now.
    Absorbed {
        link: LinkId,
        doc: DocId,
        last: bool,
        lacks: Option<Heads>,
    },
    /// A change hangs on what is not here of its document, though the entry that brought it over this link fits. So the
    /// rest of the document is asked for.
    Lacks {
        link: LinkId,
        doc: DocId,
        heads: Heads,
    },
    /// Of these documents something is still missing, though the vector names it; and what is here of them.
    Missing {
        documents: Vec<(DocId, Heads)>,
    },
    /// The answer to [`Effect::Gather`], and what is left to be read.
    Gathered {
        link: LinkId,
        repairs: Vec<Repair>,
        rest: Option<Gather>,
    },
    /// All that was staged is on disk. It begins at `first` in the log and ends at `last`.
    Committed {
        segments: Vec<Arc<Segment>>,
        first: Lsn,
        last: Lsn,
    },
    /// [`Effect::Renew`] is done: this node is `origin` from now on.
    Renewed {
        origin: Origin,
    },
    /// Nothing of what was staged is on disk. `origin` is this node's next incarnation.
    CommitFailed {
        origin: Origin,
    },
    /// Time has passed. To come at least every 50 ms.
    Tick,
}

/// What a core wants done.
#[derive(Debug)]
pub enum Effect {
    /// `weight` comes back in [`Event::Drained`].
    Send { link: LinkId, message: Message, weight: usize },
    /// Read the log for a link.
    Read { link: LinkId, from: ReadFrom },
    /// Put this into the commit under way, after what was put there before. It came over that link.
    Commit { link: Option<LinkId>, received: Received },
    /// Put this part of a document into the commit under way.
    Absorb { link: LinkId, doc: DocId, piece: Piece, damaged: Option<String>, last: bool },
    /// Write vector and floor with the commit under way, whatever else is in it.
    Cover,
    /// Note with the commit under way that nothing is missing of what the vector names.
    Whole,
    /// After the commit under way begin a new incarnation, numbered above `above`, or as another node.
    Renew { as_another: bool, above: u32 },
    /// Say in [`Event::Compared`] of which of these documents something is missing here.
    Compare { link: LinkId, offers: Vec<Offer> },
    /// Read documents for a link that is repaired.
    Gather { link: LinkId, gather: Gather },
    /// Send what is still to be sent, and close the connection.
    Close { link: LinkId, reason: String },
}

/// Where a read of the log begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReadFrom {
    At(Lsn),
    /// After the last mark at which each of these origins was at most at the counter given. Not a vector: there
    /// an origin of which nothing was sent would be left out, and what it lacks most would be missed.
    Seek(BTreeMap<Origin, u64>),
}

/// One link, for whoever watches.
#[derive(Clone, Copy, Debug)]
pub struct LinkState<'a> {
    pub id: LinkId,
    pub hello: &'a Hello,
    /// How what is on the other end's disk stands to what is on this node's.
    pub standing: Standing,
    /// Bytes handed to its socket and not yet written.
    pub in_flight: usize,
}

/// What a core begins with: what is on disk.
#[derive(Debug, Default)]
pub struct Start {
    pub vector: VersionVector,
    pub floor: VersionVector,
    pub untrusted: bool,
    /// Documents may have more than the vector names, until it names all of this.
    pub ahead: VersionVector,
    pub documents: Digest,
    /// Changes are missing that the vector names.
    pub lacks: bool,
    pub log_head: Lsn,
    /// What other nodes have said of themselves, and how long ago.
    pub known: Vec<NodeInfo>,
}
