//! Threads: document mailboxes, the committer, queues, the only reader of clock and entropy; and the
//! handle that everything above uses.
//!
//! - `engine`, `absorb`, `ring`, `trim`, `gather`: what a commit is made of, what leaves the log, what others lack:
//!   without threads
//! - `committer`: the one thread that commits
//! - `documents`, `work`, `past`: documents in memory, reads and writes, what has been
//! - `live`: whoever wants to be told of what changes
//! - `fold`: tails become part of snapshots in the background
//! - `verify`, `salvage`: data folders that may be damaged, while no node runs on them
//! - `link`: connections to other nodes
//! - `sweep`: deleted documents whose time is up
//! - `shared`, `view`, `metrics`, `watched`: how the node and the cluster stand

mod absorb;
mod api;
mod clock;
mod committer;
mod documents;
mod engine;
mod fold;
mod gather;
mod link;
mod live;
mod metrics;
mod past;
mod ring;
mod salvage;
mod shared;
mod sweep;
mod trim;
mod verify;
mod view;
mod watched;
mod work;

pub use api::{
    ClusterState, ClusterView, Condition, DamageView, Form, Health, Listed, NodeError, NodeRow, Read,
    Reading, RepairView, Tags, Write, Written,
};
pub use engine::{Committed, Dice, Engine, EngineConfig, OpenError, Output, Touched, read_log};
pub use fold::{Due, Folding};
pub use gather::gather;
pub use link::{Link, LinkEnd};
pub use live::{Hub, Mode, Next, Reader, Since, Step, Subscription, Target, Wish};
pub use metrics::{Figures, Lately, LinkFigures, Metrics};
pub use salvage::{Salvaged, salvage};
pub use verify::{Report, verify};
pub use work::Begun;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use self::clock::Clock;
use self::committer::{Committer, Input, TICK_MS};
use self::documents::Documents;
use self::fold::{Folder, Wanted};
use self::shared::Shared;
use self::watched::Watched;
use crate::base::limits::{COMMIT_QUEUE, LIST_PAGE_MOST, SHUTDOWN_MS};
use crate::base::{Bounds, DocId, LinkId, Role};
use crate::replication::Event;
use crate::store::{Store, StoreError};

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
    /// So much heavy work on documents is done at once.
    pub workers: usize,
    pub bounds: Bounds,
    /// How long a deleted document is kept.
    pub keep_deleted: Duration,
}

/// The handle of a running node. Cheap to clone.
#[derive(Clone)]
pub struct Node(Arc<Inner>);

struct Inner {
    clock: Clock,
    store: Arc<dyn Store>,
    documents: Arc<Documents>,
    shared: Arc<Shared>,
    hub: Arc<Hub>,
    inputs: mpsc::Sender<Input>,
    links: AtomicU64,
    open_links: Arc<AtomicUsize>,
}

impl Node {
    /// Opens the incarnation and starts the threads. Must be called inside a multi-threaded Tokio runtime.
    ///
    /// # Errors
    /// When the store fails, or belongs to another cluster.
    pub fn start(config: NodeConfig, store: Arc<dyn Store>) -> Result<Node, NodeError> {
        let clock = Clock::start();
        let engine_config = EngineConfig {
            cluster: config.cluster.clone(),
            name: config.name.clone(),
            role: config.role,
            url: config.url.clone(),
            bounds: config.bounds,
        };
        let metrics = Arc::new(Metrics::new());
        let store: Arc<dyn Store> = Arc::new(Watched { store, metrics: metrics.clone() });
        let engine = Engine::open(clock.now(), clock.unix(), engine_config, clock::draw()?, store.clone())?;
        let (workers, keep_deleted, role) = (config.workers, config.keep_deleted, config.role);
        let shared = Arc::new(Shared::new(config, engine.core().identity().origin, metrics));
        let (wanted, folds) = Wanted::new();
        let documents = Arc::new(Documents::new(store.clone(), shared.clone(), workers, wanted));
        let hub =
            Arc::new(Hub::new(engine.core().log_head(), engine.core().vector().clone(), engine.is_whole()));
        let (inputs, receiver) = mpsc::channel(COMMIT_QUEUE);
        let channel = (inputs.downgrade(), receiver);
        let told = (documents.clone(), hub.clone());
        Committer::spawn(engine, clock, told, shared.clone(), store.clone(), channel)
            .map_err(|e| NodeError::Storage { reason: format!("no thread for the committer: {e}") })?;
        tokio::spawn(tick(inputs.downgrade()));
        tokio::spawn(Folder::new(&documents, inputs.downgrade(), folds).run());
        if role.takes_writes() {
            tokio::spawn(sweep::run(Arc::downgrade(&store), clock, keep_deleted, inputs.downgrade()));
        }
        let (links, open_links) = (AtomicU64::new(0), Arc::default());
        Ok(Node(Arc::new(Inner { clock, store, documents, shared, hub, inputs, links, open_links })))
    }

    /// Documents above `after` in ascending order of id bytes, at most `limit` and `LIST_PAGE_MOST`, and where
    /// there may be more, the id after which they come. A page may have fewer rows, or none, and still be
    /// followed by more: what is deleted is left out.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn list(
        &self,
        prefix: String,
        after: Option<String>,
        limit: usize,
    ) -> Result<(Vec<Listed>, Option<DocId>), NodeError> {
        let store = self.0.store.clone();
        let limit = limit.clamp(1, LIST_PAGE_MOST);
        // One row more tells whether there is more.
        let list = move || store.list(&prefix, after.as_deref(), limit + 1);
        let rows = tokio::task::spawn_blocking(list).await;
        let mut rows = rows.map_err(|e| NodeError::Storage { reason: e.to_string() })??;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(doc, _)| doc.clone());
        let listed = rows.into_iter().filter(|(_, record)| !record.is_absent());
        let listed = listed.map(|(doc, record)| Listed {
            doc,
            heads: record.heads,
            changes: record.changes,
            bytes: record.bytes,
            created: record.created,
            modified: record.modified,
        });
        Ok((listed.collect(), next))
    }

    /// # Errors
    /// When the node is stopping.
    pub async fn cluster(&self) -> Result<ClusterView, NodeError> {
        let (answer, view) = oneshot::channel();
        self.0.inputs.send(Input::View(answer)).await.map_err(|_| NodeError::Stopping)?;
        view.await.map_err(|_| NodeError::Stopping)
    }

    pub fn health(&self) -> Health {
        self.0.shared.health()
    }

    /// What it has counted since its start.
    pub fn metrics(&self) -> &Metrics {
        &self.0.shared.metrics
    }

    /// How it stands. Never waits for the committer.
    pub async fn figures(&self) -> Figures {
        let store = self.0.store.clone();
        let store = tokio::task::spawn_blocking(move || store.figures()).await;
        let (documents, document_bytes) = self.0.documents.size();
        let inputs = &self.0.inputs;
        Figures {
            lately: self.metrics().lately(),
            documents,
            document_bytes,
            queued: inputs.max_capacity() - inputs.capacity(),
            links: self.0.open_links.load(Ordering::Relaxed),
            subscriptions: self.0.hub.listeners(),
            store: store.ok().flatten(),
        }
    }

    pub fn name(&self) -> &str {
        self.0.shared.name()
    }

    /// Base URLs of the live masters that this node knows.
    pub fn masters(&self) -> Vec<String> {
        self.0.shared.masters()
    }

    pub fn role(&self) -> Role {
        self.0.shared.role()
    }

    /// A new connection to another node. `dialled` says who opened it.
    ///
    /// # Errors
    /// When the node has too many links, or is stopping.
    pub async fn link(&self, dialled: bool) -> Result<Link, NodeError> {
        let id = LinkId(self.0.links.fetch_add(1, Ordering::Relaxed) + 1);
        Link::open(id, dialled, self.0.inputs.clone(), self.0.open_links.clone()).await
    }

    /// Commits what is queued, ends links, and lets go of the store. At most `SHUTDOWN_MS`.
    pub async fn stop(&self) {
        let (stopped, stop) = oneshot::channel();
        let end = async {
            if self.0.inputs.send(Input::Stop(stopped)).await.is_ok() {
                let _ = stop.await;
            }
        };
        if tokio::time::timeout(Duration::from_millis(SHUTDOWN_MS), end).await.is_err() {
            tracing::warn!("the committer did not end within {SHUTDOWN_MS} ms");
        }
    }
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { .. } => NodeError::StorageFull,
            error => NodeError::Storage { reason: error.to_string() },
        }
    }
}

impl From<OpenError> for NodeError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Store(error) => error.into(),
            error @ OpenError::Cluster { .. } => NodeError::Storage { reason: error.to_string() },
        }
    }
}

async fn tick(inputs: mpsc::WeakSender<Input>) {
    let mut interval = tokio::time::interval(Duration::from_millis(TICK_MS));
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        interval.tick().await;
        let Some(inputs) = inputs.upgrade() else { return };
        if inputs.send(Input::Event(Event::Tick)).await.is_err() {
            return;
        }
    }
}
