//! Frames from a socket into the node, and from the node into the socket, until either is done.

use std::borrow::Cow;
use std::time::{Duration, Instant};

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::node::{Link, LinkEnd};
use crate::replication::DUPLICATE;

/// The last frames of a link get this long to be taken, in milliseconds.
const GOODBYE_MS: u64 = 1_000;

/// Between two pings, which measure the round trip, in milliseconds.
const PING_MS: u64 = 1_000;

/// Bytes of a reason that a close frame carries at most.
const REASON_BYTES: usize = 120;

/// Pumps until the link or the connection ends, and says why it did.
pub(super) async fn run<S>(socket: WebSocketStream<S>, link: &Link, stop: &CancellationToken) -> LinkEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    let start = Instant::now();
    let read = async {
        loop {
            match stream.next().await {
                Some(Ok(Message::Binary(frame))) => link.received(frame).await?,
                Some(Ok(Message::Pong(said))) => link.answered(since(start, &said)),
                Some(Ok(Message::Ping(_))) => {}
                Some(Ok(Message::Close(close))) => {
                    let reason = close.map_or(String::new(), |close| close.reason.to_string());
                    return Err::<(), _>(LinkEnd(format!("the other end closed: {reason}")));
                }
                Some(Ok(Message::Text(_) | Message::Frame(_))) => {
                    return Err(LinkEnd("a text frame, where the protocol has binary ones only".into()));
                }
                Some(Err(error)) => return Err(LinkEnd(reading(&error))),
                None => return Err(LinkEnd("the connection ended".into())),
            }
        }
    };
    let end = {
        let write = write(&mut sink, link, start);
        tokio::pin!(read, write);
        let (end, may_write) = tokio::select! {
            end = &mut read => (end.err().unwrap_or_else(|| LinkEnd(String::new())), true),
            end = &mut write => (end, false),
            () = stop.cancelled() => (LinkEnd("the node is stopping".into()), true),
        };
        if may_write {
            // What the node still has to say, a goodbye with its reason among it.
            let _ = tokio::time::timeout(Duration::from_millis(GOODBYE_MS), write).await;
        }
        end
    };
    if let Ok(socket) = sink.reunite(stream) {
        refuse(socket, &end.0).await;
    }
    match link.peer() {
        // What the node has ended itself it has told, and why.
        Some(peer) if link.ended().is_none() && !stop.is_cancelled() && !end.0.ends_with(DUPLICATE) => {
            info!(%peer, reason = %end, "link lost");
        }
        peer => debug!(peer, reason = %end, "link ended"),
    }
    end
}

/// Since a ping that said how late it was, in nanoseconds. One that this node never sent says nothing.
fn since(start: Instant, said: &[u8]) -> Duration {
    let sent = said.try_into().map(u64::from_be_bytes).map(Duration::from_nanos);
    sent.map_or(Duration::ZERO, |sent| start.elapsed().saturating_sub(sent))
}

async fn write<S>(sink: &mut SplitSink<WebSocketStream<S>, Message>, link: &Link, start: Instant) -> LinkEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut pings = interval(Duration::from_millis(PING_MS));
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let (message, length) = tokio::select! {
            biased;
            frame = link.next() => {
                let Some(frame) = frame else { break };
                let length = frame.len();
                (Message::Binary(frame), length)
            }
            _ = pings.tick() => {
                let late = u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX);
                (Message::Ping(late.to_be_bytes().to_vec().into()), 0)
            }
        };
        if let Err(error) = sink.send(message).await {
            return LinkEnd(error.to_string());
        }
        if length > 0 {
            link.written(length);
        }
    }
    LinkEnd(link.ended().unwrap_or_else(|| "this node ended the link".into()))
}

/// Closes a connection, so that the other end gets to read why.
pub(super) async fn refuse<S>(mut socket: WebSocketStream<S>, reason: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let close = async {
        let _ = socket.send(Message::Close(Some(close_frame(reason)))).await;
        let socket = socket.get_mut();
        let _ = socket.shutdown().await;
        // Were the socket closed while it holds unread bytes, the kernel would reset the connection, and the
        // reason could be lost on its way.
        let mut unread = [0; 4_096];
        while matches!(socket.read(&mut unread).await, Ok(1..)) {}
    };
    let _ = tokio::time::timeout(Duration::from_millis(GOODBYE_MS), close).await;
}

fn close_frame(reason: &str) -> CloseFrame {
    let mut end = reason.len().min(REASON_BYTES);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    let reason: Cow<'_, str> = reason.get(..end).unwrap_or_default().into();
    CloseFrame { code: CloseCode::Policy, reason: reason.into_owned().into() }
}

fn reading(error: &Error) -> String {
    match error {
        Error::Capacity(error) => format!("a frame past the limit: {error}"),
        error => error.to_string(),
    }
}
