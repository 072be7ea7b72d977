//! What two linked nodes say to each other. A frame is a CBOR array: its number on this connection, the
//! message's kind, and its fields; later versions may append fields and kinds.

use std::sync::Arc;

use bytes::Bytes;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decoder, Encoder};

use super::entry::{Entry, array, decode_vector, encode_vector, fixed, skip};
use super::repair::{self, Repair};
use super::segment::Segment;
use crate::base::limits::{MAX_FRAME_BYTES, MAX_KNOWN_NODES, MAX_TEXT_BYTES, MAX_VECTOR_ORIGINS};
use crate::base::{NodeId, Origin, Role, VersionVector};

pub const PROTOCOL_VERSION: u32 = 1;

#[derive(Clone, Debug)]
pub enum Message {
    Hello(Box<Hello>),
    /// Entries to send, shared between links.
    Segments(Vec<Arc<Segment>>),
    /// Entries as received.
    Entries(Vec<Entry>),
    /// "Stream me these origins, each from the counter after the one named; stop those."
    Request {
        start: Vec<(Origin, u64)>,
        stop: Vec<Origin>,
    },
    /// "On my disk": only the origins that moved since the last one.
    Acknowledge(VersionVector),
    Heartbeat(Heartbeat),
    /// One node repairs the other by digest.
    Repair(Box<Repair>),
    /// The last message of a link, with a reason for people.
    Goodbye(String),
    /// Of a later version of the protocol: not for us.
    Unknown(u32),
}

/// The first message of both sides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    pub version: u32,
    pub cluster: String,
    pub node: NodeId,
    pub name: String,
    pub role: Role,
    pub url: Option<String>,
    pub origin: Origin,
    pub vector: VersionVector,
    /// Below this the sender's log cannot serve.
    pub floor: VersionVector,
}

#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Heartbeat {
    /// The sender's last LSN.
    pub log_head: u64,
    /// The rows of the sender's table of nodes that this link has not been told yet.
    pub nodes: Vec<NodeInfo>,
}

/// What a node says of itself, passed on by others unchanged but for `age_ms`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NodeInfo {
    pub node: NodeId,
    pub name: String,
    pub role: Role,
    pub url: Option<String>,
    pub origin: Origin,
    /// Grows with every word of that node, over all its incarnations; a higher replaces a lower.
    pub stamp: u64,
    /// Milliseconds since the node said this, as far as the sender knows.
    pub age_ms: u64,
    pub vector: VersionVector,
    pub digest: [u8; 16],
    /// Whom it is linked with.
    pub links: Vec<NodeId>,
    /// Changes are missing there that the vector names: it has yet to get them.
    pub lacks: bool,
}

/// A frame that does not decode: the link is closed, since nothing after it can be trusted.
#[derive(Debug, Clone, thiserror::Error)]
#[error("a frame that does not decode: {0}")]
pub struct WireError(pub String);

const HELLO: u32 = 1;
const ENTRIES: u32 = 2;
const REQUEST: u32 = 3;
const ACKNOWLEDGE: u32 = 4;
const HEARTBEAT: u32 = 5;
const GOODBYE: u32 = 6;
const REPAIR: u32 = 7;

/// One frame. `number` counts the frames of this connection and direction from 1.
pub fn encode_frame(number: u64, message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(match message {
        Message::Segments(segments) => 64 + segments.iter().map(|s| s.size() + 32).sum::<usize>(),
        Message::Repair(repair) => repair.size_hint(),
        _ => 256,
    });
    // Writing to a Vec cannot fail.
    let _ = encode(&mut Encoder::new(&mut out), number, message);
    out
}

/// A frame's number and message.
///
/// # Errors
/// When it does not decode, or is past a limit.
pub fn decode_frame(frame: &Bytes) -> Result<(u64, Message), WireError> {
    if frame.len() > MAX_FRAME_BYTES {
        return Err(WireError(format!("{} bytes, more than {MAX_FRAME_BYTES}", frame.len())));
    }
    decode(frame).map_err(|e| WireError(e.to_string()))
}

fn encode<W: Write>(e: &mut Encoder<W>, number: u64, message: &Message) -> Result<(), EncodeError<W::Error>> {
    e.array(3)?.u64(number)?;
    match message {
        Message::Hello(hello) => {
            e.u32(HELLO)?.array(9)?.u32(hello.version)?.str(&hello.cluster)?.bytes(&hello.node.0)?;
            e.str(&hello.name)?.u8(role_code(hello.role))?;
            encode_url(e, hello.url.as_deref())?;
            e.bytes(&hello.origin.to_bytes())?;
            encode_vector(e, &hello.vector)?;
            encode_vector(e, &hello.floor)?;
        }
        Message::Segments(segments) => {
            encode_segments(e, segments)?;
        }
        Message::Entries(entries) => {
            let encoded: Vec<Bytes> = entries.iter().map(|entry| entry.to_bytes().into()).collect();
            encode_segments(e, &super::segments(&encoded))?;
        }
        Message::Request { start, stop } => {
            e.u32(REQUEST)?.array(2)?.array(start.len() as u64)?;
            for (origin, after) in start {
                e.array(2)?.bytes(&origin.to_bytes())?.u64(*after)?;
            }
            e.array(stop.len() as u64)?;
            for origin in stop {
                e.bytes(&origin.to_bytes())?;
            }
        }
        Message::Acknowledge(vector) => {
            e.u32(ACKNOWLEDGE)?.array(1)?;
            encode_vector(e, vector)?;
        }
        Message::Heartbeat(heartbeat) => {
            e.u32(HEARTBEAT)?.array(2)?.u64(heartbeat.log_head)?.array(heartbeat.nodes.len() as u64)?;
            heartbeat.nodes.iter().try_for_each(|info| encode_info(e, info))?;
        }
        Message::Goodbye(reason) => {
            e.u32(GOODBYE)?.array(1)?.str(reason)?;
        }
        Message::Repair(repair) => repair::encode(e.u32(REPAIR)?, repair)?,
        Message::Unknown(kind) => {
            e.u32(*kind)?.array(0)?;
        }
    }
    Ok(())
}

fn encode_segments<W: Write>(
    e: &mut Encoder<W>,
    segments: &[Arc<Segment>],
) -> Result<(), EncodeError<W::Error>> {
    e.u32(ENTRIES)?.array(segments.len() as u64)?;
    for segment in segments {
        // The length before compression lets the receiver refuse before it inflates.
        match segment.packed() {
            Some(packed) => e.array(2)?.u64(segment.size() as u64)?.bytes(packed)?,
            None => e.array(2)?.u64(0)?.bytes(&segment.raw)?,
        };
    }
    Ok(())
}

pub(super) fn encode_info<W: Write>(
    e: &mut Encoder<W>,
    info: &NodeInfo,
) -> Result<(), EncodeError<W::Error>> {
    e.array(10 + u64::from(info.lacks))?.bytes(&info.node.0)?.str(&info.name)?.u8(role_code(info.role))?;
    encode_url(e, info.url.as_deref())?;
    e.bytes(&info.origin.to_bytes())?.u64(info.stamp)?.u64(info.age_ms)?;
    encode_vector(e, &info.vector)?;
    e.bytes(&info.digest)?.array(info.links.len() as u64)?;
    for link in &info.links {
        e.bytes(&link.0)?;
    }
    if info.lacks {
        e.bool(true)?;
    }
    Ok(())
}

fn encode_url<W: Write>(e: &mut Encoder<W>, url: Option<&str>) -> Result<(), EncodeError<W::Error>> {
    match url {
        Some(url) => e.str(url)?,
        None => e.null()?,
    };
    Ok(())
}

fn role_code(role: Role) -> u8 {
    match role {
        Role::Master => 0,
        Role::Replica => 1,
    }
}

fn decode(frame: &Bytes) -> Result<(u64, Message), DecodeError> {
    let d = &mut Decoder::new(frame);
    let parts = array(d, 3)?;
    let number = d.u64()?;
    let message = match d.u32()? {
        HELLO => Message::Hello(Box::new(decode_hello(d)?)),
        ENTRIES => Message::Entries(decode_entries(d, frame)?),
        REQUEST => {
            let fields = array(d, 2)?;
            let start = list(d, MAX_VECTOR_ORIGINS, |d| {
                let parts = array(d, 2)?;
                let want = (Origin::from_bytes(fixed(d)?), d.u64()?);
                skip(d, parts - 2)?;
                Ok(want)
            })?;
            let stop = list(d, MAX_VECTOR_ORIGINS, |d| Ok(Origin::from_bytes(fixed(d)?)))?;
            skip(d, fields - 2)?;
            Message::Request { start, stop }
        }
        ACKNOWLEDGE => {
            let fields = array(d, 1)?;
            let vector = decode_vector(d)?;
            skip(d, fields - 1)?;
            Message::Acknowledge(vector)
        }
        HEARTBEAT => {
            let fields = array(d, 2)?;
            let log_head = d.u64()?;
            let nodes = list(d, MAX_KNOWN_NODES, decode_info)?;
            skip(d, fields - 2)?;
            Message::Heartbeat(Heartbeat { log_head, nodes })
        }
        GOODBYE => {
            let fields = array(d, 1)?;
            let reason = text(d)?;
            skip(d, fields - 1)?;
            Message::Goodbye(reason)
        }
        REPAIR => match repair::decode(d, frame)? {
            Some(repair) => Message::Repair(Box::new(repair)),
            None => Message::Unknown(REPAIR),
        },
        kind => {
            d.skip()?;
            Message::Unknown(kind)
        }
    };
    skip(d, parts - 3)?;
    if d.position() != frame.len() {
        return Err(DecodeError::message("bytes after the message"));
    }
    Ok((number, message))
}

fn decode_hello(d: &mut Decoder<'_>) -> Result<Hello, DecodeError> {
    let fields = array(d, 1)?;
    let version = d.u32()?;
    if version != PROTOCOL_VERSION || fields < 9 {
        return Err(DecodeError::message(format!(
            "the other node speaks version {version} of the protocol, this one {PROTOCOL_VERSION}"
        )));
    }
    let hello = Hello {
        version,
        cluster: text(d)?,
        node: NodeId(fixed(d)?),
        name: text(d)?,
        role: decode_role(d)?,
        url: decode_url(d)?,
        origin: Origin::from_bytes(fixed(d)?),
        vector: decode_vector(d)?,
        floor: decode_vector(d)?,
    };
    skip(d, fields - 9)?;
    Ok(hello)
}

fn decode_entries(d: &mut Decoder<'_>, frame: &Bytes) -> Result<Vec<Entry>, DecodeError> {
    let mut entries = Vec::new();
    let mut inflated = 0;
    for _ in 0..array(d, 0)? {
        let parts = array(d, 2)?;
        let size = usize::try_from(d.u64()?).unwrap_or(usize::MAX);
        let data = d.bytes()?;
        skip(d, parts - 2)?;
        inflated += size.min(MAX_FRAME_BYTES + 1);
        if inflated > MAX_FRAME_BYTES {
            return Err(DecodeError::message(format!("entries of more than {MAX_FRAME_BYTES} bytes")));
        }
        let raw = match size {
            0 => frame.slice_ref(data),
            _ => zstd::bulk::decompress(data, size).map_err(DecodeError::message)?.into(),
        };
        split_entries(raw, &mut entries)?;
    }
    Ok(entries)
}

fn split_entries(mut raw: Bytes, entries: &mut Vec<Entry>) -> Result<(), DecodeError> {
    while !raw.is_empty() {
        let length = raw.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let end = length.map_or(usize::MAX, |n| n as usize).saturating_add(4);
        if end > raw.len() {
            return Err(DecodeError::message("an entry that ends beyond its frame"));
        }
        let entry = raw.split_to(end).slice(4..);
        entries.push(Entry::from_bytes(&entry).map_err(DecodeError::message)?);
    }
    Ok(())
}

pub(super) fn decode_info(d: &mut Decoder<'_>) -> Result<NodeInfo, DecodeError> {
    let fields = array(d, 10)?;
    let mut info = NodeInfo {
        node: NodeId(fixed(d)?),
        name: text(d)?,
        role: decode_role(d)?,
        url: decode_url(d)?,
        origin: Origin::from_bytes(fixed(d)?),
        stamp: d.u64()?,
        age_ms: d.u64()?,
        vector: decode_vector(d)?,
        digest: fixed(d)?,
        links: list(d, MAX_KNOWN_NODES, |d| Ok(NodeId(fixed(d)?)))?,
        lacks: false,
    };
    if fields > 10 {
        info.lacks = d.bool()?;
    }
    skip(d, fields.saturating_sub(11))?;
    Ok(info)
}

/// A short text: names, reasons, URLs.
fn text(d: &mut Decoder<'_>) -> Result<String, DecodeError> {
    let text = d.str()?;
    if text.len() > MAX_TEXT_BYTES {
        return Err(DecodeError::message(format!("a text of {} bytes", text.len())));
    }
    Ok(text.to_owned())
}

fn decode_url(d: &mut Decoder<'_>) -> Result<Option<String>, DecodeError> {
    if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        return Ok(None);
    }
    text(d).map(Some)
}

fn decode_role(d: &mut Decoder<'_>) -> Result<Role, DecodeError> {
    match d.u8()? {
        0 => Ok(Role::Master),
        1 => Ok(Role::Replica),
        code => Err(DecodeError::message(format!("role {code}"))),
    }
}

fn list<T>(
    d: &mut Decoder<'_>,
    most: usize,
    mut item: impl FnMut(&mut Decoder<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = array(d, 0)?;
    if count > most as u64 {
        return Err(DecodeError::message(format!("a list of {count}, more than {most}")));
    }
    (0..count).map(|_| item(d)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Change, DocId, Hash, Heads};

    fn origin(n: u8) -> Origin {
        Origin { node: NodeId([n; 8]), incarnation: 1, random: u32::from(n) }
    }

    fn vector() -> VersionVector {
        [(origin(1), 7), (origin(2), 1 << 40)].into_iter().collect()
    }

    fn entry(counter: u64, size: usize) -> Entry {
        Entry {
            origin: origin(1),
            counter,
            held: VersionVector::new(),
            doc: DocId::new("d").unwrap(),
            changes: vec![Change { hash: Hash([1; 32]), deps: Heads::new(), bytes: vec![7; size].into() }],
            drops: None,
        }
    }

    fn hello() -> Hello {
        Hello {
            version: PROTOCOL_VERSION,
            cluster: "c".into(),
            node: NodeId([3; 8]),
            name: "n".into(),
            role: Role::Replica,
            url: Some("http://x".into()),
            origin: origin(3),
            vector: vector(),
            floor: VersionVector::new(),
        }
    }

    fn messages() -> Vec<Message> {
        let info = NodeInfo {
            node: NodeId([4; 8]),
            name: "four".into(),
            role: Role::Master,
            url: None,
            origin: origin(4),
            stamp: 9,
            age_ms: 10,
            vector: vector(),
            digest: [5; 16],
            links: vec![NodeId([1; 8])],
            lacks: false,
        };
        let repairs = repair::samples(vector()).into_iter().map(|repair| Message::Repair(Box::new(repair)));
        let mut messages = vec![
            Message::Hello(Box::new(hello())),
            Message::Entries(vec![entry(1, 10), entry(2, 100_000)]),
            Message::Request { start: vec![(origin(1), 5)], stop: vec![origin(2)] },
            Message::Acknowledge(vector()),
            Message::Heartbeat(Heartbeat { log_head: 12, nodes: vec![info] }),
            Message::Goodbye("done".into()),
        ];
        messages.extend(repairs);
        messages
    }

    #[test]
    fn every_message_comes_back_from_its_frame() {
        for (number, message) in (1..).zip(messages()) {
            let frame = Bytes::from(encode_frame(number, &message));
            let (found, back) = decode_frame(&frame).unwrap();
            assert_eq!(found, number);
            assert_eq!(format!("{back:?}"), format!("{message:?}"));
        }
    }

    #[test]
    fn a_node_that_lacks_something_says_so_and_one_that_does_not_says_nothing() {
        let Some(Message::Heartbeat(beat)) = messages().into_iter().nth(4) else { panic!("a heartbeat") };
        let mut lacking = beat.clone();
        lacking.nodes[0].lacks = true;
        let frames = [beat, lacking.clone()].map(|beat| encode_frame(1, &Message::Heartbeat(beat)));
        assert_eq!(frames[1].len(), frames[0].len() + 1);
        let (_, back) = decode_frame(&Bytes::from(frames[1].clone())).unwrap();
        assert!(matches!(back, Message::Heartbeat(back) if back == lacking));
    }

    #[test]
    fn the_encoding_is_stable() {
        // Compressed bytes may differ between versions of zstd, so the entries here are small.
        let (mut all, mut repairs) = (Vec::new(), Vec::new());
        for message in messages() {
            match message {
                Message::Entries(_) => all.extend(encode_frame(1, &Message::Entries(vec![entry(1, 10)]))),
                Message::Repair(_) => repairs.extend(encode_frame(1, &message)),
                other => all.extend(encode_frame(1, &other)),
            }
        }
        let digest = |bytes: &[u8]| blake3::hash(bytes).to_hex()[..16].to_owned();
        assert_eq!((&*digest(&all), &*digest(&repairs)), ("e66c6d2192f3e6a5", "b9be94aa0149f23c"));
    }

    #[test]
    fn cut_frames_are_refused_and_never_panic() {
        for message in messages() {
            let frame = encode_frame(1, &message);
            for end in (0..frame.len()).take(2_000) {
                assert!(decode_frame(&Bytes::copy_from_slice(&frame[..end])).is_err());
            }
        }
    }

    #[test]
    fn damaged_frames_never_panic() {
        let mut rng = fastrand::Rng::with_seed(1);
        for message in messages() {
            let frame = encode_frame(1, &message);
            for _ in 0..2_000 {
                let mut bytes = frame.clone();
                for _ in 0..rng.usize(1..4) {
                    let at = rng.usize(..bytes.len().min(300));
                    bytes[at] = rng.u8(..);
                }
                let _ = decode_frame(&bytes.into());
            }
        }
    }

    #[test]
    fn a_frame_that_claims_to_inflate_past_the_limit_is_refused_before_it_is_inflated() {
        let mut frame = Vec::new();
        let mut e = Encoder::new(&mut frame);
        e.array(3).unwrap().u64(1).unwrap().u32(ENTRIES).unwrap().array(1).unwrap();
        e.array(2).unwrap().u64(1 << 60).unwrap().bytes(&[0; 10]).unwrap();
        let error = decode_frame(&frame.into()).unwrap_err();
        assert!(error.0.contains("more than"), "{error}");
    }

    #[test]
    fn another_version_of_the_protocol_is_told_as_such() {
        let mut hello = hello();
        hello.version = 2;
        let error = decode_frame(&encode_frame(1, &Message::Hello(Box::new(hello))).into()).unwrap_err();
        assert!(error.0.contains("version 2"), "{error}");
    }
}
