//! An ear at a node: a link as of one replica more, which takes what enters there and notes what is acknowledged.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio::time::interval;
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::{WebSocketStream, client_async};
use tokio_util::sync::CancellationToken;

use super::load::no_connection;
use crate::base::limits::HEARTBEAT_MS;
use crate::base::{Hash, NodeId, Origin, Role, VersionVector};
use crate::cli::output::Failure;
use crate::net::{PATH, PROTOCOL};
use crate::wire::{Heartbeat, Hello, Message, PROTOCOL_VERSION, decode_frame, encode_frame};

pub struct Observer {
    at: SocketAddr,
    socket: WebSocketStream<TcpStream>,
    /// Frames sent.
    said: u64,
}

/// What one node has said.
#[derive(Default)]
pub struct Observed {
    /// Origin → counters on its disk and when that was said, both ascending.
    pub acknowledged: HashMap<Origin, Vec<(u64, Instant)>>,
    /// Of changes that entered there.
    pub committed: HashMap<Hash, (Origin, u64)>,
}

impl Observer {
    /// Links with the node at `at`, and asks for what enters there from now on.
    ///
    /// # Errors
    /// When there is no such node.
    pub async fn link(at: SocketAddr) -> Result<Self, Failure> {
        let failed = |e| failure(at, e);
        let mut request = format!("ws://{at}{PATH}").into_client_request().map_err(failed)?;
        request.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static(PROTOCOL));
        let socket = TcpStream::connect(at).await.map_err(no_connection)?;
        socket.set_nodelay(true).map_err(no_connection)?;
        let (socket, _) = client_async(request, socket).await.map_err(failed)?;
        let mut observer = Self { at, socket, said: 0 };
        let Message::Hello(theirs) = observer.hear().await? else {
            return Err(failure(at, "something before the hello"));
        };
        let node = NodeId(fastrand::u64(..).to_be_bytes());
        let hello = Hello {
            version: PROTOCOL_VERSION,
            cluster: theirs.cluster,
            node,
            name: "bench".into(),
            role: Role::Replica,
            url: None,
            origin: Origin { node, incarnation: 1, random: 0 },
            vector: VersionVector::new(),
            floor: VersionVector::new(),
        };
        observer.say(&Message::Hello(Box::new(hello))).await?;
        let start = vec![(theirs.origin, theirs.vector.get(&theirs.origin))];
        observer.say(&Message::Request { start, stop: Vec::new() }).await?;
        Ok(observer)
    }

    /// Listens until `stop` is cancelled.
    ///
    /// # Errors
    /// When the link ends before.
    pub async fn listen(mut self, stop: CancellationToken) -> Result<Observed, Failure> {
        let mut observed = Observed::default();
        let mut beats = interval(Duration::from_millis(HEARTBEAT_MS));
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(observed),
                _ = beats.tick() => self.say(&Message::Heartbeat(Heartbeat::default())).await?,
                message = self.hear() => observed.note(Instant::now(), message?),
            }
        }
    }

    async fn say(&mut self, message: &Message) -> Result<(), Failure> {
        self.said += 1;
        let frame = Frame::Binary(encode_frame(self.said, message).into());
        self.socket.send(frame).await.map_err(|e| failure(self.at, e))
    }

    async fn hear(&mut self) -> Result<Message, Failure> {
        loop {
            match self.socket.next().await {
                Some(Ok(Frame::Binary(frame))) => {
                    return decode_frame(&frame).map(|(_, message)| message).map_err(|e| failure(self.at, e));
                }
                Some(Ok(Frame::Close(_))) | None => return Err(failure(self.at, "the node closed it")),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(failure(self.at, error)),
            }
        }
    }
}

impl Observed {
    fn note(&mut self, now: Instant, message: Message) {
        match message {
            Message::Acknowledge(moved) => {
                for (origin, counter) in moved.iter() {
                    self.acknowledged.entry(origin).or_default().push((counter, now));
                }
            }
            Message::Entries(entries) => {
                for entry in entries {
                    let place = (entry.origin, entry.counter);
                    self.committed.extend(entry.changes.iter().map(|change| (change.hash, place)));
                }
            }
            _ => {}
        }
    }
}

fn failure(at: SocketAddr, what: impl std::fmt::Display) -> Failure {
    Failure::refused(format!("the link to {at}: {what}"))
}
