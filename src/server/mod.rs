//! A node as a whole: composed at its start, taken down in order at its end. Several fit into one process.

mod access;
mod repair;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{error, info, warn};

pub use self::repair::repair;

use self::access::Keys;
use crate::base::Bounds as NodeBounds;
use crate::base::Role;
use crate::base::limits::{MAX_NAME_BYTES, SHUTDOWN_MS};
use crate::config::{ConfigError, Settings};
use crate::http::{self, Bounds, Requests};
use crate::net::{self, Dialler};
use crate::node::{Node, NodeConfig, NodeError};
use crate::store::{RocksStore, StoreError};

/// By when requests, and then links, are let go at a stop, in milliseconds from its beginning. The rest of
/// `SHUTDOWN_MS` is for the store.
const REQUESTS_END_MS: u64 = SHUTDOWN_MS / 5 * 2;
const LINKS_END_MS: u64 = SHUTDOWN_MS / 10 * 7;

/// Between looks at whether the store is let go of, in milliseconds.
const LOOK_MS: u64 = 2;

/// A running node. Dropped without [`Server::stop`] it is not taken down in order, yet loses nothing that
/// was answered.
pub struct Server {
    name: String,
    url: String,
    addr: SocketAddr,
    node: Node,
    store: Arc<RocksStore>,
    serving: JoinHandle<()>,
    /// Cancelled when no more requests are served, for whatever reason.
    ended: CancellationToken,
    stop_requests: CancellationToken,
    stop_links: CancellationToken,
    links: TaskTracker,
}

/// Why a node did not start: a line for whoever started it.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("{addr} is in use by another process; choose another address with --listen")]
    InUse { addr: SocketAddr },
    #[error("cannot listen on {addr}: {reason}")]
    Listen { addr: SocketAddr, reason: String },
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Node(String),
}

impl Server {
    /// Binds the address, opens the data folder, and goes on air: from then on requests are answered, and
    /// peers are dialled until they answer. Must be called inside a multi-threaded Tokio runtime.
    ///
    /// # Errors
    /// When the address, a token file or the data folder cannot be used.
    pub async fn start(settings: Settings) -> Result<Self, ServerError> {
        Self::start_within(settings, Bounds::default()).await
    }

    /// The same, with other bounds for clients than the documented ones.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub async fn start_within(settings: Settings, bounds: Bounds) -> Result<Self, ServerError> {
        let keys = Keys::read(&settings)?;
        // First of all: a node that cannot be reached should not become another incarnation.
        let (listener, addr) = bind(settings.listen).await?;
        let name = settings.name.clone().unwrap_or_else(|| default_name(addr.port()));
        let url = settings.advertise.clone().or_else(|| own_url(addr));
        if url.is_none() {
            info!("others are not told where this node is, as it listens on all addresses: see --advertise");
        }
        if settings.role == Role::Replica && settings.upstreams.is_empty() {
            warn!("this replica follows nobody: it gets what nodes that dial it have; see --upstream");
        }
        let config = NodeConfig {
            name: name.clone(),
            role: settings.role,
            cluster: settings.cluster.clone(),
            url: url.clone(),
            has_peers: !settings.peers.is_empty() || !settings.upstreams.is_empty(),
            workers: std::thread::available_parallelism().map_or(1, |cores| cores.get()),
            bounds: NodeBounds {
                log_keep: settings.log_keep.0,
                log_most: settings.log_most.0,
                ..NodeBounds::default()
            },
            keep_deleted: Duration::from_millis(settings.keep_deleted.0),
        };
        let (node, store) = open(settings.data_dir.clone(), config).await?;

        let (stop_requests, stop_links) = (CancellationToken::new(), CancellationToken::new());
        let (links, ended) = (TaskTracker::new(), CancellationToken::new());
        let router =
            http::router(node.clone()).merge(net::router(node.clone(), stop_links.clone(), links.clone()));
        let requests = Arc::new(Requests::new());
        let router = router.merge(http::metrics(node.clone(), requests.clone()));
        let (access, token) = keys.into_access(&settings, url.as_deref(), addr);
        let access = Arc::new(access);
        let (stop, tasks) = (stop_requests.clone(), links.clone());
        let router = router.merge(http::live(node.clone(), access.clone(), requests.clone(), stop, tasks));
        let router = http::guard(router, access);
        let serving = tokio::spawn({
            let (stop, ended) = (stop_requests.clone(), ended.clone().drop_guard());
            async move {
                let _ended = ended;
                if let Err(error) = http::serve(listener, router, stop, requests, bounds).await {
                    error!(%error, "no more connections are taken");
                }
            }
        });
        let upstreams = Some(settings.upstreams).filter(|urls| !urls.is_empty());
        for urls in settings.peers.into_iter().map(|peer| vec![peer]).chain(upstreams) {
            let dialler = Dialler { urls, token: token.clone() };
            links.spawn(dialler.run(node.clone(), stop_links.clone()));
        }
        let url = url.unwrap_or_else(|| format!("http://{addr}"));
        info!(%name, role = %settings.role, cluster = settings.cluster, %url, "serving");
        Ok(Self { name, url, addr, node, store, serving, ended, stop_requests, stop_links, links })
    }

    /// Where it listens; with the port that was found where any was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its base URL: the one told to others, else of the address it listens on.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The node inside, for who lives in the same process.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Comes when requests are no longer served, though nobody called [`Server::stop`].
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Takes no new requests, answers those under way, says goodbye on links, lets the committer end, and
    /// closes the store. At most `SHUTDOWN_MS`: what is not done by then is given up, and noted in the log.
    pub async fn stop(self) {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        self.stop_requests.cancel();
        if timeout_at(after(REQUESTS_END_MS), self.ended.cancelled()).await.is_err() {
            warn!("some requests were not answered within {REQUESTS_END_MS} ms");
            self.serving.abort();
        }
        // Only now: what was answered last may still go out.
        self.stop_links.cancel();
        self.links.close();
        let closed = async {
            // The committer says goodbye on the links, which lets their tasks end.
            let links = timeout_at(after(LINKS_END_MS), self.links.wait());
            if tokio::join!(links, self.node.stop()).0.is_err() {
                warn!("some links did not end within {LINKS_END_MS} ms");
            }
            drop(self.node);
            close(self.store).await;
        };
        if timeout_at(after(SHUTDOWN_MS), closed).await.is_err() {
            warn!("the store was not closed in order; the next start repairs it");
        }
    }
}

/// Waits until nobody else holds the store: RocksDB must be closed before the process ends.
async fn close(store: Arc<RocksStore>) {
    while Arc::strong_count(&store) > 1 {
        sleep(Duration::from_millis(LOOK_MS)).await;
    }
    if let Err(error) = spawn_blocking(move || drop(store)).await {
        warn!(%error, "closing the store failed");
    }
}

async fn bind(addr: SocketAddr) -> Result<(TcpListener, SocketAddr), ServerError> {
    let refused = |error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => ServerError::InUse { addr },
        _ => ServerError::Listen { addr, reason: error.to_string() },
    };
    let listener = TcpListener::bind(addr).await.map_err(refused)?;
    let local = listener.local_addr().map_err(refused)?;
    Ok((listener, local))
}

/// Off the async threads: recovery after a crash may take a second.
async fn open(
    folder: std::path::PathBuf,
    config: NodeConfig,
) -> Result<(Node, Arc<RocksStore>), ServerError> {
    let opened = spawn_blocking(move || {
        let store = Arc::new(RocksStore::open(folder)?);
        let node = Node::start(config, store.clone()).map_err(|error| match error {
            NodeError::Storage { reason } => ServerError::Node(reason),
            error => ServerError::Node(error.to_string()),
        })?;
        Ok((node, store))
    });
    opened.await.unwrap_or_else(|error| Err(ServerError::Node(format!("the start failed: {error}"))))
}

/// None where the address stands for all of the host's.
fn own_url(addr: SocketAddr) -> Option<String> {
    (!addr.ip().is_unspecified()).then(|| format!("http://{addr}"))
}

/// The host's name and the port.
fn default_name(port: u16) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let host = host.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    let host: String = host.trim().chars().filter(|c| !c.is_control()).collect();
    if host.is_empty() || host.len() > MAX_NAME_BYTES - ":65535".len() {
        return format!("node:{port}");
    }
    format!("{host}:{port}")
}

#[cfg(test)]
mod tests;
