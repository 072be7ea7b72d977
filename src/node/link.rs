//! One connection to another node, as the socket's pump sees it: frames in, frames out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::committer::Input;
use crate::base::limits::MAX_LINKS;
use crate::base::{Counter, LinkId};
use crate::crdt::verify;
use crate::replication::{Event, Received};
use crate::wire::{Entry, Message, Part, Push, Repair, decode_frame, encode_frame};

/// Messages waiting for one link's socket. Entries among them are bounded in bytes by the link's window.
pub(super) const OUTBOX: usize = 4_096;

/// Frames from this size on, in bytes, are decoded and checked where they do not delay other requests.
const HEAVY_FRAME_BYTES: usize = 32 << 10;

/// A message on its way to the socket.
pub(super) struct Outgoing {
    pub message: Message,
    pub weight: usize,
}

/// What the committer and the pump share of a link.
#[derive(Default)]
pub(super) struct Wire {
    /// Weight of messages that the socket has taken since the committer last looked.
    pub drained: AtomicUsize,
    pub frames_in: Counter,
    pub bytes_in: Counter,
    pub frames_out: Counter,
    pub bytes_out: Counter,
    /// In nanoseconds; 0 where none was measured yet.
    round_trip: Counter,
    peer: Mutex<Option<String>>,
    /// Why the node ended the link.
    ended: Mutex<Option<String>>,
}

/// See the module. Dropping it ends the link.
pub struct Link {
    id: LinkId,
    inputs: mpsc::Sender<Input>,
    wire: Arc<Wire>,
    outbox: tokio::sync::Mutex<Outbox>,
    /// Frames read so far.
    received: AtomicU64,
    /// Sizes and weights of frames that the pump has and has not reported as written.
    unwritten: Mutex<VecDeque<(usize, usize)>>,
    _place: Place,
}

/// One of the `MAX_LINKS` that may be open at once.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

struct Outbox {
    messages: mpsc::Receiver<Outgoing>,
    /// Frames given out so far.
    sent: u64,
}

/// Why a link ends.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LinkEnd(pub String);

impl Wire {
    pub fn peer(&self) -> Option<String> {
        self.peer.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub fn round_trip(&self) -> Option<Duration> {
        Some(self.round_trip.get()).filter(|nanos| *nanos > 0).map(Duration::from_nanos)
    }

    pub fn end(&self, reason: &str) {
        *self.ended.lock().unwrap_or_else(|e| e.into_inner()) = Some(reason.to_owned());
    }
}

impl Link {
    pub(super) async fn open(
        id: LinkId,
        dialled: bool,
        inputs: mpsc::Sender<Input>,
        open: Arc<AtomicUsize>,
    ) -> Result<Self, super::NodeError> {
        let place = Place(open);
        if place.0.fetch_add(1, Ordering::Relaxed) >= MAX_LINKS {
            return Err(super::NodeError::Busy);
        }
        let wire = Arc::new(Wire::default());
        let (outbox, messages) = mpsc::channel(OUTBOX);
        let up = Input::LinkUp { link: id, dialled, wire: wire.clone(), outbox };
        inputs.send(up).await.map_err(|_| super::NodeError::Stopping)?;
        Ok(Self {
            id,
            inputs,
            wire,
            outbox: tokio::sync::Mutex::new(Outbox { messages, sent: 0 }),
            received: AtomicU64::new(0),
            unwritten: Mutex::default(),
            _place: place,
        })
    }

    /// A frame has been read from the socket. Returns when the node has room for the next: reading the
    /// socket must wait for it.
    ///
    /// # Errors
    /// When the link has to end: write what [`Link::next`] still gives, then close with the reason.
    pub async fn received(&self, frame: Bytes) -> Result<(), LinkEnd> {
        match self.take(frame).await {
            Ok(()) => Ok(()),
            Err(end) => {
                // As if the other end had said it: the core lets go of the link.
                let goodbye = Event::LinkDown { link: self.id };
                let _ = self.inputs.send(Input::Event(goodbye)).await;
                Err(end)
            }
        }
    }

    async fn take(&self, frame: Bytes) -> Result<(), LinkEnd> {
        if let Some(reason) = self.wire.ended.lock().unwrap_or_else(|e| e.into_inner()).clone() {
            return Err(LinkEnd(reason));
        }
        self.wire.frames_in.add(1);
        self.wire.bytes_in.add(frame.len() as u64);
        let heavy = frame.len() >= HEAVY_FRAME_BYTES;
        let link = self.id;
        let read = move || read_frame(link, &frame);
        let read = if heavy { tokio::task::block_in_place(read) } else { read() };
        let (number, event, peer) = read?;
        let expected = self.received.fetch_add(1, Ordering::Relaxed) + 1;
        if number != expected {
            return Err(LinkEnd(format!("frame {number} came where frame {expected} was expected")));
        }
        if let Some(peer) = peer {
            *self.wire.peer.lock().unwrap_or_else(|e| e.into_inner()) = Some(peer);
        }
        self.inputs.send(Input::Event(event)).await.map_err(|_| LinkEnd("the node is stopping".into()))
    }

    /// The next frame to write; None when the node is done with the link.
    pub async fn next(&self) -> Option<Bytes> {
        let mut outbox = self.outbox.lock().await;
        let outgoing = outbox.messages.recv().await?;
        outbox.sent += 1;
        let number = outbox.sent;
        let encode = || Bytes::from(encode_frame(number, &outgoing.message));
        let heavy = outgoing.weight >= HEAVY_FRAME_BYTES;
        let frame = if heavy { tokio::task::block_in_place(encode) } else { encode() };
        let mut unwritten = self.unwritten.lock().unwrap_or_else(|e| e.into_inner());
        unwritten.push_back((frame.len(), outgoing.weight));
        Some(frame)
    }

    /// Frames of so many bytes together have been handed to the kernel.
    pub fn written(&self, bytes: usize) {
        let mut unwritten = self.unwritten.lock().unwrap_or_else(|e| e.into_inner());
        let mut left = bytes;
        let mut weight = 0;
        while let Some((length, of)) = unwritten.front().copied().filter(|(length, _)| *length <= left) {
            left -= length;
            weight += of;
            unwritten.pop_front();
            self.wire.frames_out.add(1);
            self.wire.bytes_out.add(length as u64);
        }
        drop(unwritten);
        if weight > 0 {
            self.wire.drained.fetch_add(weight, Ordering::Relaxed);
            // Where the queue is full the committer is at work, and will look by itself.
            let _ = self.inputs.try_send(Input::Drained);
        }
    }

    /// The other end has answered a ping after so long; nothing is noted where that is no time at all.
    pub fn answered(&self, after: Duration) {
        self.wire.round_trip.set(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Who is at the other end, once it has said hello.
    pub fn peer(&self) -> Option<String> {
        self.wire.peer()
    }

    /// Why the node ended the link, where it did.
    pub fn ended(&self) -> Option<String> {
        self.wire.ended.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        let down = Input::Event(Event::LinkDown { link: self.id });
        if let Err(mpsc::error::TrySendError::Full(down)) = self.inputs.try_send(down)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let inputs = self.inputs.clone();
            runtime.spawn(async move {
                // Fails only when the node has stopped.
                let _ = inputs.send(down).await;
            });
        }
    }
}

/// A frame's number, what it means, and who says hello in it.
fn read_frame(link: LinkId, frame: &Bytes) -> Result<(u64, Event, Option<String>), LinkEnd> {
    let (number, message) = decode_frame(frame).map_err(|e| LinkEnd(e.to_string()))?;
    Ok(match message {
        Message::Entries(entries) => {
            let entries = entries.into_iter().map(check).collect();
            (number, Event::Entries { link, entries }, None)
        }
        Message::Repair(repair) => match *repair {
            Repair::Pushes(pushes) => {
                let pushes = pushes.into_iter().map(check_push).collect();
                (number, Event::Pushed { link, pushes }, None)
            }
            repair => (number, Event::Message { link, message: Message::Repair(Box::new(repair)) }, None),
        },
        Message::Hello(hello) => {
            let peer = hello.name.clone();
            (number, Event::Message { link, message: Message::Hello(hello) }, Some(peer))
        }
        message => (number, Event::Message { link, message }, None),
    })
}

/// The same of a part of a document.
fn check_push(push: Push) -> (Push, Option<String>) {
    let damaged = match &push.part {
        Part::Changes(changes) => changes.iter().find_map(|change| verify(change).err()),
        // A folded history is looked at when it is whole.
        Part::Snapshot(_) | Part::Unreadable(_) => None,
    };
    let damaged = damaged.map(|e| e.to_string());
    (push, damaged)
}

/// Are the changes' bytes what they claim to be?
fn check(entry: Entry) -> Received {
    let damaged = entry.changes.iter().find_map(|change| verify(change).err()).map(|e| e.to_string());
    Received { entry, damaged }
}
