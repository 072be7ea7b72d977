//! What the rooms above ask of a node, and what it answers.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::base::{DocId, Hash, Heads, Millis, Role};
use crate::crdt::{AdmitError, Edit, EditError};

/// A read of one document.
#[derive(Clone, Debug, Default)]
pub struct Read {
    /// The past version to show; the present one where absent.
    pub at: Option<Heads>,
    pub form: Form,
}

/// The representation of a document.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Form {
    #[default]
    Json,
    /// JSON in which text, counters, timestamps and bytes are marked as such.
    TypedJson,
    /// Automerge's compact save.
    Automerge,
}

#[derive(Clone, Debug)]
pub struct Reading {
    pub body: Bytes,
    /// The heads that the body shows.
    pub version: Heads,
    /// Fields with more than one value.
    pub conflicts: usize,
}

/// A write of one document.
#[derive(Clone, Debug)]
pub struct Write {
    pub edit: Edit,
    /// The version that the caller saw and wrote at.
    pub parents: Option<Heads>,
    pub condition: Condition,
    /// At most `MAX_AUTHOR_BYTES`.
    pub author: Option<String>,
    /// Must the document exist already (JSON patch), or is it created?
    pub must_exist: bool,
    /// How long to wait for `parents` that are not here yet, at most `VERSION_WAIT_MS`.
    pub wait: Millis,
}

/// What must hold of the version here, checked in one step with the write.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    pub if_match: Option<Tags>,
    pub if_none_match: Option<Tags>,
}

/// A list of version digests, or `*`: any version at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tags {
    Any,
    These(Vec<[u8; 16]>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The document was not there before.
    pub created: bool,
    /// The one version that this write made, or the one it started from where nothing changed.
    pub version: Heads,
    /// The heads after the write.
    pub current: Heads,
}

/// One row of a list, from the document's record: nothing is materialised.
#[derive(Clone, Debug)]
pub struct Listed {
    pub doc: DocId,
    pub heads: Heads,
    pub changes: u64,
    pub bytes: u64,
    pub created: Millis,
    pub modified: Millis,
}

/// Why a node did not do what it was asked.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NodeError {
    #[error("there is no such document")]
    NotFound,
    #[error("this document was deleted")]
    Gone { version: Heads },
    #[error("this document has no such version here")]
    VersionNotFound,
    #[error("the version named in Parents has not arrived here yet")]
    NotYetConverged,
    #[error("the document's version is not the expected one")]
    PreconditionFailed { current: Heads },
    #[error(transparent)]
    Edit(#[from] EditError),
    #[error(transparent)]
    Admit(#[from] AdmitError),
    #[error("this node is a read-only replica")]
    ReadOnly { masters: Vec<String> },
    #[error("too many requests wait for this document")]
    Busy,
    #[error("the disk of this node is full")]
    StorageFull,
    #[error("the document is fenced: {reason}")]
    Fenced { reason: String },
    /// The outcome of a write is unknown: it may or may not be on disk.
    #[error("storage failed: {reason}")]
    Storage { reason: String },
    #[error("the node is stopping")]
    Stopping,
}

/// The cluster as this node sees it.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct ClusterView {
    pub cluster: String,
    /// Id of the node that answers.
    pub node: String,
    pub state: ClusterState,
    /// How far this node's repair by digest is, where it is being repaired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<RepairView>,
    /// This node has come upon damaged data since its start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<DamageView>,
    /// Documents that are fenced on this node, as a stored change of them is damaged. Of more than 1,000, some.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fenced: Vec<String>,
    /// This node first, then by name.
    pub nodes: Vec<NodeRow>,
}

/// Stored data that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DamageView {
    /// Reads and commits that came upon it since the start.
    pub found: u64,
    /// What the first of them said.
    pub first: String,
    /// What to do.
    pub remedy: String,
}

/// A node that is new, or that logs do not reach any more, gets from another what it lacks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RepairView {
    /// Name of the node that repairs it.
    pub from: String,
    /// Documents that may differ; 0 until that is known.
    pub documents: u64,
    /// How many of them have been looked at or received.
    pub done: u64,
    /// Bytes of documents received.
    pub bytes: u64,
    /// Since it began.
    pub elapsed_ms: u64,
    /// About how long it will take still, where that can be told.
    pub left_ms: Option<u64>,
}

/// Four honest words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ClusterState {
    /// Every known node was heard of lately, and all have the same.
    Converged,
    /// All were heard of lately; some lack changes.
    Converging,
    /// A known node has not been heard of lately.
    Partitioned,
    /// Nothing is known yet: this node has peers configured and has reached none.
    Unknown,
}

#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct NodeRow {
    pub id: String,
    pub name: String,
    pub role: String,
    /// Base URL at which it says it can be reached, where it says so.
    pub url: Option<String>,
    pub incarnation: u32,
    /// Origin → counter, as text.
    pub vector: Vec<(String, u64)>,
    /// Node id → up to which number its incarnations are closed: every known node holds all of them, and no vector
    /// names them any more.
    #[serde(default)]
    pub closed: Vec<(String, u32)>,
    /// Digest over (document, heads), hexadecimal.
    pub digest: String,
    /// Names of the nodes that it is linked with now.
    pub links: Vec<String>,
    /// Changes known here that it lacks, and for how long the oldest of them.
    pub behind: u64,
    pub behind_ms: u64,
    /// Changes that it has and this node lacks.
    pub ahead: u64,
    /// Since its last sign of life, directly or through others; 0 for this node.
    pub heard_ms: u64,
    /// Equal vector and equal digest with this node.
    pub converged: bool,
}

/// How a node stands, for health checks.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Health {
    pub role: String,
    /// The store takes commits.
    pub storage: bool,
    /// Storage works and, where peers are configured, one was caught up with since the start.
    pub ready: bool,
    /// What is missing where it is not ready.
    pub reason: Option<String>,
    /// Stored data is damaged, and what to do. It does not make the node unready: only what is damaged cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// Documents that are fenced, as a stored change of them is damaged; 1,000 where there are more.
    pub fenced: usize,
}

impl Role {
    pub fn takes_writes(self) -> bool {
        self == Role::Master
    }
}

impl Tags {
    pub fn matches(&self, digest: Option<[u8; 16]>) -> bool {
        match (self, digest) {
            (Tags::Any, found) => found.is_some(),
            (Tags::These(list), Some(digest)) => list.contains(&digest),
            (Tags::These(_), None) => false,
        }
    }
}

impl Condition {
    /// Does it hold of a document with these heads, or of an absent one?
    pub fn holds(&self, heads: Option<&[Hash]>) -> bool {
        let digest = heads.map(crate::base::version_digest);
        self.if_match.as_ref().is_none_or(|tags| tags.matches(digest))
            && self.if_none_match.as_ref().is_none_or(|tags| !tags.matches(digest))
    }
}
