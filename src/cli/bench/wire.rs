//! The one link of `bench reconnect`: TCP that passes through the benchmark, is counted, and can be cut.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::load::no_connection;
use crate::cli::output::Failure;

/// Bytes that are passed on at once.
const PIECE: usize = 64 << 10;

/// Leads from its own address to another. Dropping it cuts it for good.
pub struct Wire {
    pub at: SocketAddr,
    open: watch::Sender<bool>,
    counts: Arc<Counts>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Counts {
    /// Both ways together.
    bytes: AtomicU64,
    /// When the first connection was let through since it was mended.
    linked: Mutex<Option<Instant>>,
}

impl Wire {
    /// # Errors
    /// When there is no port for it.
    pub async fn to(far: SocketAddr) -> Result<Self, Failure> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(no_connection)?;
        let at = listener.local_addr().map_err(no_connection)?;
        let (open, is_open) = watch::channel(true);
        let counts = Arc::new(Counts::default());
        let task = tokio::spawn(serve(listener, far, is_open, counts.clone()));
        Ok(Self { at, open, counts, task })
    }

    /// Ends all connections; new ones are ended at once, until it is mended.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Counts anew from here.
    pub fn mend(&self) {
        self.counts.bytes.store(0, Ordering::Relaxed);
        *self.counts.linked.lock().unwrap_or_else(|e| e.into_inner()) = None;
        self.open.send_replace(true);
    }

    /// Bytes that were passed on, both ways together.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// When the first connection was let through.
    pub fn linked(&self) -> Option<Instant> {
        *self.counts.linked.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.cut();
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, far: SocketAddr, open: watch::Receiver<bool>, counts: Arc<Counts>) {
    while let Ok((near, _)) = listener.accept().await {
        if *open.borrow() {
            counts.linked.lock().unwrap_or_else(|e| e.into_inner()).get_or_insert_with(Instant::now);
            tokio::spawn(join(near, far, open.clone(), counts.clone()));
        }
    }
}

/// Until one end closes, or the wire is cut.
async fn join(near: TcpStream, far: SocketAddr, mut open: watch::Receiver<bool>, counts: Arc<Counts>) {
    let Ok(far) = TcpStream::connect(far).await else { return };
    for socket in [&near, &far] {
        // Small frames go on at once, as they came.
        if socket.set_nodelay(true).is_err() {
            return;
        }
    }
    let ((near_out, near_in), (far_out, far_in)) = (near.into_split(), far.into_split());
    tokio::select! {
        _ = pass(near_out, far_in, &counts.bytes) => {}
        _ = pass(far_out, near_in, &counts.bytes) => {}
        _ = open.wait_for(|open| !open) => {}
    }
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    bytes: &AtomicU64,
) -> std::io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        let read = from.read(&mut piece).await?;
        let Some(read) = piece.get(..read).filter(|read| !read.is_empty()) else { return Ok(()) };
        // Before they are there: whoever has got them finds them counted.
        bytes.fetch_add(read.len() as u64, Ordering::Relaxed);
        to.write_all(read).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends four bytes through the wire to an echo, and gives how many came back before the connection ended.
    async fn echo(wire: &Wire) -> usize {
        let mut socket = TcpStream::connect(wire.at).await.unwrap();
        let mut back = [0; 4];
        if socket.write_all(b"ping").await.is_err() {
            return 0;
        }
        socket.read_exact(&mut back).await.unwrap_or(0)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bytes_are_counted_both_ways_and_none_pass_while_it_is_cut() {
        let far = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let wire = Wire::to(far.local_addr().unwrap()).await.unwrap();
        tokio::spawn(async move {
            while let Ok((socket, _)) = far.accept().await {
                let (out, back) = socket.into_split();
                tokio::spawn(async move { pass(out, back, &AtomicU64::new(0)).await });
            }
        });
        assert_eq!((echo(&wire).await, wire.bytes()), (4, 8));
        let mut open = TcpStream::connect(wire.at).await.unwrap();
        wire.cut();
        // One that was open, and a new one.
        assert_eq!(open.read(&mut [0; 4]).await.unwrap_or(0), 0);
        assert_eq!((echo(&wire).await, wire.bytes()), (0, 8));
        wire.mend();
        assert_eq!((wire.bytes(), wire.linked()), (0, None));
        assert_eq!((echo(&wire).await, wire.bytes()), (4, 8));
        assert!(wire.linked().is_some());
    }
}
