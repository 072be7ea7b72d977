//! Threads: document mailboxes, the committer, queues, the only reader of clock and entropy; and the
//! handle that everything above uses.

mod absorb;
mod api;
mod engine;
mod ring;

pub use api::{
    ClusterState, ClusterView, Condition, Form, Health, Listed, NodeError, NodeRow, Read, Reading, Tags,
    Write, Written,
};
pub use engine::{Committed, Dice, Engine, EngineConfig, OpenError, Output, Touched, read_log};

use std::sync::Arc;

use bytes::Bytes;

use crate::base::{DocId, Role};
use crate::store::Store;

/// What a node is told at its start.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Shown to people; the host's name and port by default.
    pub name: String,
    pub role: Role,
    /// Nodes of different clusters never link.
    pub cluster: String,
    /// Base URL at which others can reach this node, told to the cluster.
    pub url: Option<String>,
    /// Does the configuration name any peer or upstream?
    pub has_peers: bool,
    /// Threads that work on documents.
    pub workers: usize,
}

/// The handle of a running node. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner;

impl Node {
    /// Opens the incarnation and starts the threads. Must be called inside a Tokio runtime.
    pub fn start(_config: NodeConfig, _store: Arc<dyn Store>) -> Result<Node, NodeError> {
        Ok(Node(Arc::new(Inner)))
    }
    pub async fn read(&self, _doc: &DocId, _read: Read) -> Result<Reading, NodeError> {
        Err(NodeError::Stopping)
    }
    pub async fn write(&self, _doc: &DocId, _write: Write) -> Result<Written, NodeError> {
        Err(NodeError::Stopping)
    }
    /// Takes raw Automerge changes (concatenated chunks, or a saved document).
    pub async fn admit(&self, _doc: &DocId, _raw: Bytes) -> Result<Written, NodeError> {
        Err(NodeError::Stopping)
    }
    /// At most `LIST_PAGE_MOST` rows above `after`, in ascending order of id bytes.
    pub async fn list(
        &self,
        _prefix: String,
        _after: Option<String>,
        _limit: usize,
    ) -> Result<Vec<Listed>, NodeError> {
        Err(NodeError::Stopping)
    }
    pub async fn cluster(&self) -> Result<ClusterView, NodeError> {
        Err(NodeError::Stopping)
    }
    pub fn health(&self) -> Health {
        Health { role: String::new(), storage: false, ready: false, reason: None }
    }
    /// Base URLs of the live masters that this node knows.
    pub fn masters(&self) -> Vec<String> {
        Vec::new()
    }
    pub fn role(&self) -> Role {
        Role::Master
    }
    /// Ends links, finishes what is queued, closes the store. At most `SHUTDOWN_MS`.
    pub async fn stop(&self) {}

    /// A new connection to another node. `dialled` says who opened it.
    pub fn link(&self, _dialled: bool) -> Result<Link, NodeError> {
        Err(NodeError::Stopping)
    }
}

/// One connection to another node, as the socket's pump sees it: frames in, frames out.
pub struct Link;

/// Why a link ends.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LinkEnd(pub String);

impl Link {
    /// A frame has been read from the socket. Returns when the node has room for the next: reading
    /// the socket must wait for it. An error means: send what `next` still gives, then close.
    pub async fn received(&self, _frame: Bytes) -> Result<(), LinkEnd> {
        Err(LinkEnd(String::new()))
    }
    /// The next frame to write; None when the node is done with the link.
    pub async fn next(&self) -> Option<Bytes> {
        None
    }
    /// A frame of that many bytes has been handed to the kernel.
    pub fn written(&self, _bytes: usize) {}
    /// Who is at the other end, once it has said hello.
    pub fn peer(&self) -> Option<String> {
        None
    }
}
