//! Frames from a socket into the node, and from the node into the socket, until either is done.

use std::borrow::Cow;
use std::time::Duration;

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_util::sync::CancellationToken;

use crate::node::{Link, LinkEnd};

/// The last frames of a link get this long to be taken, in milliseconds.
const GOODBYE_MS: u64 = 1_000;

/// Bytes of a reason that a close frame carries at most.
const REASON_BYTES: usize = 120;

/// Pumps until the link or the connection ends, and says why it did.
pub(super) async fn run<S>(socket: WebSocketStream<S>, link: &Link, stop: &CancellationToken) -> LinkEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sink, mut stream) = socket.split();
    let read = async {
        loop {
            match stream.next().await {
                Some(Ok(Message::Binary(frame))) => link.received(frame).await?,
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
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
        let write = write(&mut sink, link);
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
    let close = Message::Close(Some(close_frame(&end.0)));
    let _ = tokio::time::timeout(Duration::from_millis(GOODBYE_MS), sink.send(close)).await;
    end
}

async fn write<S>(sink: &mut SplitSink<WebSocketStream<S>, Message>, link: &Link) -> LinkEnd
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(frame) = link.next().await {
        let length = frame.len();
        if let Err(error) = sink.send(Message::Binary(frame)).await {
            return LinkEnd(error.to_string());
        }
        link.written(length);
    }
    LinkEnd(link.ended().unwrap_or_else(|| "this node ended the link".into()))
}

/// Closes a connection that the node does not take.
pub(super) async fn refuse<S>(mut socket: WebSocketStream<S>, reason: &str)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let close = Message::Close(Some(close_frame(reason)));
    let _ = tokio::time::timeout(Duration::from_millis(GOODBYE_MS), socket.send(close)).await;
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
