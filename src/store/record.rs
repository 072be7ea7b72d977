//! What is read from and written to a store.

use bytes::Bytes;

use crate::base::{Change, DocId, Heads, Lsn, Millis, NodeId, VersionVector};

/// Enough of a document to list, compare and accept changes without loading it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Record {
    /// Heads of all stored changes, shown or left out.
    pub heads: Heads,
    /// Those of the heads that are deletions. The document is deleted when all are.
    pub deletions: Heads,
    /// Changes stored.
    pub changes: u64,
    /// Bytes of changes stored.
    pub bytes: u64,
    /// Of these, changes that are in the snapshot.
    pub folded: u64,
    /// Bytes of those that are in the tail.
    pub tail_bytes: u64,
    /// LSN of the last entry that brought something new.
    pub last_lsn: Lsn,
    /// Unix time when this node first had it, and of its last entry here.
    pub created: Millis,
    pub modified: Millis,
    /// Why the document is fenced: one of its stored changes is damaged.
    pub fenced: Option<String>,
}

impl Record {
    /// Is there nothing to show: no changes, or nothing but deletions among the heads?
    pub fn is_absent(&self) -> bool {
        self.deletions.len() == self.heads.len()
    }
}

/// All that is stored of a document, as of one moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Whole {
    pub record: Record,
    pub snapshot: Option<Bytes>,
    pub tail: Vec<(Lsn, Change)>,
}

/// One incarnation of this node, as stored before its first use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incarnation {
    pub number: u32,
    pub random: u32,
}

/// What a start finds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Recovered {
    /// None in a folder that was never used.
    pub node: Option<NodeId>,
    /// The cluster it belongs to, once known.
    pub cluster: Option<String>,
    pub incarnation: Option<Incarnation>,
    pub vector: VersionVector,
    /// Accumulated hash over (document, heads), kept with every commit.
    pub digest: [u8; 16],
    /// The vector below which the log cannot serve.
    pub floor: VersionVector,
    /// What was kept of known nodes, in order of id.
    pub known: Vec<(NodeId, Bytes)>,
    /// Documents of which changes are missing that the vector names, and the heads of those, in order of id bytes.
    pub holes: Vec<(DocId, Heads)>,
    /// The vector says more than what is there; everything has to be compared.
    pub untrusted: bool,
    /// Documents may have more than the vector names, until it names all of this.
    pub ahead: VersionVector,
    /// The first LSN that the log still has; the one after `last_lsn` where it is empty.
    pub first_lsn: Lsn,
    /// The last LSN used, by the log's last entry or the last mark; 0 where none was.
    pub last_lsn: Lsn,
}

impl Default for Recovered {
    /// A folder that was never used.
    fn default() -> Self {
        Self {
            node: None,
            cluster: None,
            incarnation: None,
            vector: VersionVector::new(),
            digest: [0; 16],
            floor: VersionVector::new(),
            known: Vec::new(),
            holes: Vec::new(),
            untrusted: false,
            ahead: VersionVector::new(),
            first_lsn: Lsn(1),
            last_lsn: Lsn(0),
        }
    }
}

/// One atomic batch. Empty fields write nothing. What leaves does so first: a commit may drop a document and
/// bring it anew.
#[derive(Clone, Default, Debug)]
pub struct Commit {
    /// Entries and marks below this LSN leave. To be a mark's, not just any: each costs about what 1,000 entries do.
    pub trim: Option<Lsn>,
    /// Of these documents record, snapshot and tail leave.
    pub drops: Vec<DocId>,
    pub log: Vec<LogItem>,
    pub tail: Vec<TailItem>,
    pub records: Vec<(DocId, Record)>,
    pub folds: Vec<Fold>,
    /// The whole vector and digest after this commit.
    pub vector: Option<(VersionVector, [u8; 16])>,
    /// The vector after the entry with that LSN, every `MARK_EVERY` LSNs.
    pub marks: Vec<(Lsn, VersionVector)>,
    /// The whole floor after this commit.
    pub floor: Option<VersionVector>,
    /// What is to be kept of known nodes, in place of what was; empty to keep nothing.
    pub known: Vec<(NodeId, Bytes)>,
    /// What is missing of documents, in place of what was; empty where nothing is any more.
    pub holes: Vec<(DocId, Heads)>,
    pub meta: Vec<MetaKey>,
}

#[derive(Clone, Debug)]
pub struct LogItem {
    pub lsn: Lsn,
    /// The entry, encoded.
    pub bytes: Bytes,
}

#[derive(Clone, Debug)]
pub struct TailItem {
    pub doc: DocId,
    pub lsn: Lsn,
    /// The entry's changes that are new to the document, causes first.
    pub changes: Vec<Change>,
}

/// A document's changes moved from its tail into its snapshot.
#[derive(Clone, Debug)]
pub struct Fold {
    pub doc: DocId,
    /// The whole folded part, as Automerge's save; takes the place of the one before.
    pub snapshot: Bytes,
    /// Where the changes stood that it now holds. They are named one by one, since a change that could
    /// not be merged yet stays in the tail, whatever its LSN.
    pub folded: Vec<Lsn>,
}

/// How a store stands, for whoever watches it. Cheap to ask for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StoreFigures {
    pub families: Vec<FamilyFigures>,
    /// Bytes of cached blocks, of all families.
    pub cache_bytes: u64,
    pub cache_pinned_bytes: u64,
    pub running_flushes: u64,
    pub running_compactions: u64,
    /// Errors of flushes and compactions since the start.
    pub background_errors: u64,
    /// No write is taken until flushes or compactions have made room.
    pub stopped: bool,
    /// Bytes a second to which writes are slowed down; 0 where they are not.
    pub delayed_rate: u64,
}

/// The same, of one column family.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FamilyFigures {
    pub name: &'static str,
    pub memtable_bytes: u64,
    pub sst_bytes: u64,
    /// Bytes that compactions still have to rewrite, as estimated.
    pub pending_compaction_bytes: u64,
}

/// Single facts that a start needs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MetaKey {
    Node(NodeId),
    Cluster(String),
    Incarnation(Incarnation),
    Untrusted(bool),
    /// Empty where documents have nothing that the vector does not name.
    Ahead(VersionVector),
}

/// Few kinds, since callers do few things: tell the disk is full, tell it is broken, refuse a folder.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    #[error("{operation}: the disk is full")]
    Full { operation: &'static str },
    #[error("{operation} {subject}: {reason}")]
    Failed { operation: &'static str, subject: String, reason: String },
    #[error("{operation} {subject}: stored data is damaged: {reason}")]
    Damaged { operation: &'static str, subject: String, reason: String },
    #[error(
        "the data folder has format {found}; this version of Syncline reads up to {known}. Use a newer Syncline"
    )]
    Newer { found: u32, known: u32 },
    #[error("the data folder {path} is in use by another process")]
    Locked { path: String },
}
