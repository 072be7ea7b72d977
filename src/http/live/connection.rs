//! One client: its frames are taken as they come, and its subscriptions told of one step after the other, each
//! when the one before has been taken.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;
use tokio::time::{sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Error, Message};

use super::frames::{Asked, Format, Told, Wish, refusal};
use crate::base::limits::{HELLO_MS, KEEP_ALIVE_MS, MAX_SUBSCRIPTION_ID_BYTES, MAX_SUBSCRIPTIONS};
use crate::http::access::{Access, Right};
use crate::http::problem::{MALFORMED, Problem, TOO_MANY};
use crate::http::requests::Requests;
use crate::node::{Node, NodeError, Step, Subscription};

/// The last frame gets this long to be taken, in milliseconds.
const GOODBYE_MS: u64 = 1_000;

/// Bytes of a reason that a close frame carries at most.
const REASON_BYTES: usize = 120;

/// See the module.
pub(super) struct Connection<S> {
    socket: WebSocketStream<S>,
    format: Format,
    node: Node,
    access: Arc<Access>,
    requests: Arc<Requests>,
    bell: Arc<Notify>,
    followed: Vec<Followed>,
    /// Whose turn it is.
    turn: usize,
}

struct Followed {
    id: String,
    subscription: Subscription,
    /// It has to be asked then, though nothing may have happened.
    due: Option<Instant>,
}

/// Why a connection ends. 44xx: do not come back; 45xx: do.
#[derive(Debug)]
pub(super) enum End {
    Gone,
    Close(u16, String),
}

impl End {
    fn malformed(why: impl Into<String>) -> Self {
        End::Close(4400, why.into())
    }

    pub fn stopping() -> Self {
        End::Close(4503, "the node is stopping: come back, here or at another node".into())
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Gone => f.write_str("the connection ended"),
            End::Close(code, reason) => write!(f, "{code} {reason}"),
        }
    }
}

impl From<NodeError> for End {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Stopping => End::stopping(),
            error => {
                tracing::error!(%error, "live reads fail");
                End::Close(4500, "the node failed: its log says more".into())
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub fn new(
        socket: WebSocketStream<S>,
        format: Format,
        node: Node,
        access: Arc<Access>,
        requests: Arc<Requests>,
    ) -> Self {
        let (bell, followed) = (Arc::new(Notify::new()), Vec::new());
        Self { socket, format, node, access, requests, bell, followed, turn: 0 }
    }

    /// Until either end is done. `trusted`: the client may read, and need not show a token.
    pub async fn serve(&mut self, trusted: bool) -> End {
        match self.try_serve(trusted).await {
            Ok(never) => match never {},
            Err(end) => end,
        }
    }

    async fn try_serve(&mut self, trusted: bool) -> Result<std::convert::Infallible, End> {
        self.greet(trusted).await?;
        let mut said = Instant::now();
        loop {
            // Between any two steps, so that a client can end what it is being told.
            if let Some(message) = self.socket.next().now_or_never() {
                self.take(message).await?;
            } else if !self.step().await? {
                self.flush().await?;
                let alive = said + Duration::from_millis(KEEP_ALIVE_MS);
                let due = self.followed.iter().filter_map(|followed| followed.due).min();
                tokio::select! {
                    biased;
                    message = self.socket.next() => self.take(message).await?,
                    () = self.bell.notified() => {}
                    () = sleep_until(due.map_or(alive, |due| due.min(alive)).into()) => {
                        if Instant::now() >= alive {
                            self.feed(Message::Ping(Bytes::new())).await?;
                            said = Instant::now();
                        }
                    }
                }
            } else {
                said = Instant::now();
            }
        }
    }

    async fn greet(&mut self, trusted: bool) -> Result<(), End> {
        let hello = async {
            loop {
                let message = self.socket.next().await;
                if let Some(asked) = self.read(message)? {
                    return Ok(asked);
                }
            }
        };
        let late = || End::Close(4408, format!("no hello within {} s", HELLO_MS / 1_000));
        let hello = timeout(Duration::from_millis(HELLO_MS), hello).await.unwrap_or_else(|_| Err(late()))?;
        let Asked::Hello { token, session } = hello else {
            return Err(End::malformed("the first frame has to be hello"));
        };
        if !trusted {
            let rights = token.and_then(|token| self.access.rights(token.as_bytes()));
            match rights {
                None => return Err(End::Close(4401, "a token is needed that this node knows".into())),
                Some(rights) if !rights.contains(Right::Read) => {
                    return Err(End::Close(4403, "the token lacks the right \"read\"".into()));
                }
                Some(_) => {}
            }
        }
        if let Some(session) = session {
            let cursor = self.node.read_cursor(&session);
            let cursor = cursor.map_err(|error| End::malformed(format!("\"session\": {error}")))?;
            if !self.node.arrival(&cursor.vector).await {
                return Err(End::Close(4503, "this node does not have yet what the session has seen".into()));
            }
        }
        let welcome = Told::welcome(&self.node).message(self.format);
        self.feed(welcome).await
    }

    /// What a client says in a message, where it says anything.
    fn read(&self, message: Option<Result<Message, Error>>) -> Result<Option<Asked>, End> {
        let (bytes, format) = match message {
            Some(Ok(Message::Text(text))) => (Bytes::from(text), Format::Json),
            Some(Ok(Message::Binary(bytes))) => (bytes, Format::Cbor),
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => return Ok(None),
            Some(Err(Error::Capacity(error))) => return Err(End::Close(4413, error.to_string())),
            Some(Err(Error::Protocol(error))) => return Err(End::malformed(error.to_string())),
            Some(Err(Error::Utf8(_))) => return Err(End::malformed("a text frame that is not UTF-8")),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return Err(End::Gone),
        };
        if format != self.format {
            return Err(End::malformed("text and binary frames do not belong to the same subprotocol"));
        }
        Asked::read(&bytes, format).map(Some).map_err(End::malformed)
    }

    async fn take(&mut self, message: Option<Result<Message, Error>>) -> Result<(), End> {
        match self.read(message)? {
            None => Ok(()),
            Some(Asked::Hello { .. }) => Err(End::malformed("hello again")),
            Some(Asked::Ping {}) => self.tell(&Told::Pong {}).await,
            Some(Asked::Unsubscribe { id }) => {
                self.followed.retain(|followed| followed.id != id);
                Ok(())
            }
            Some(Asked::Subscribe { id, target, mode, since }) => {
                let wish = Wish::read(&target, &mode, &since, &self.node);
                match wish.and_then(|wish| self.follow(&id, wish)) {
                    Ok(()) => self.tell(&Told::Subscribed { id: &id }).await,
                    Err(problem) => {
                        let id = Some(id.as_str()).filter(|id| is_id(id));
                        self.tell(&Told::Error { id, problem: problem.body() }).await
                    }
                }
            }
        }
    }

    fn follow(&mut self, id: &str, wish: Wish) -> Result<(), Problem> {
        if !is_id(id) {
            let detail = format!("\"id\" has 1 to {MAX_SUBSCRIPTION_ID_BYTES} bytes");
            return Err(refusal(&MALFORMED, detail));
        }
        if self.followed.iter().any(|followed| followed.id == id) {
            return Err(refusal(&MALFORMED, format!("{id:?} is the id of another subscription")));
        }
        if self.followed.len() >= MAX_SUBSCRIPTIONS {
            return Err(refusal(&TOO_MANY, format!("a connection has at most {MAX_SUBSCRIPTIONS}")));
        }
        let Wish { target, mode, since } = wish;
        let subscription = self.node.subscribe(target, mode, since, self.bell.clone())?;
        self.followed.push(Followed { id: id.to_owned(), subscription, due: None });
        Ok(())
    }

    /// Tells the next step of some subscription; false where none has any.
    async fn step(&mut self) -> Result<bool, End> {
        for _ in 0..self.followed.len() {
            self.turn = (self.turn + 1) % self.followed.len();
            let Followed { id, subscription, due } = &mut self.followed[self.turn];
            *due = None;
            if !subscription.has_more() {
                continue;
            }
            let step = subscription.next().await?;
            let is_over = matches!(step, Step::Refetch { .. });
            if let Step::Idle { until } = step {
                *due = until;
                continue;
            }
            let told = Told::step(Some(id), &step, || subscription.cursor());
            let message = told.map(|told| told.message(self.format));
            if is_over {
                self.followed.swap_remove(self.turn);
            }
            if let Some(message) = message {
                self.feed(message).await?;
            }
            return Ok(true);
        }
        Ok(false)
    }

    async fn tell(&mut self, told: &Told<'_>) -> Result<(), End> {
        let message = told.message(self.format);
        self.feed(message).await
    }

    /// Returns when there is room for the next frame.
    async fn feed(&mut self, message: Message) -> Result<(), End> {
        self.requests.live_frames.add(1);
        self.socket.feed(message).await.map_err(|_| End::Gone)
    }

    async fn flush(&mut self) -> Result<(), End> {
        self.socket.flush().await.map_err(|_| End::Gone)
    }

    /// Tells the client why, and lets it read that.
    pub async fn close(mut self, end: End) {
        let End::Close(code, reason) = end else { return };
        let mut cut = reason.len().min(REASON_BYTES);
        while !reason.is_char_boundary(cut) {
            cut -= 1;
        }
        let reason = reason.get(..cut).unwrap_or_default().into();
        let close = async {
            let frame = CloseFrame { code: CloseCode::from(code), reason };
            let _ = self.socket.send(Message::Close(Some(frame))).await;
            let socket = self.socket.get_mut();
            let _ = socket.shutdown().await;
            // Were it closed while it holds unread bytes, the kernel would reset the connection, and the reason
            // could be lost on its way.
            let mut unread = [0; 1_024];
            while matches!(socket.read(&mut unread).await, Ok(1..)) {}
        };
        let _ = timeout(Duration::from_millis(GOODBYE_MS), close).await;
    }
}

fn is_id(id: &str) -> bool {
    (1..=MAX_SUBSCRIPTION_ID_BYTES).contains(&id.len())
}
