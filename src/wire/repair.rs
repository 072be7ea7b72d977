//! What two linked nodes say to each other while one repairs the other by digest.

use bytes::Bytes;
use minicbor::decode::Error as DecodeError;
use minicbor::encode::{Error as EncodeError, Write};
use minicbor::{Decoder, Encoder};

use super::entry::{array, decode_changes, decode_vector, encode_changes, encode_vector, skip};
use crate::base::limits::{COMPRESS_FROM_BYTES, MAX_FRAME_BYTES, MAX_SLICE_DOCUMENTS};
use crate::base::{Change, DocId, GROUP, Hash, Heads, LEAVES, LeafSet, VersionVector};

/// Whoever is repaired asks, and is told by whoever repairs it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Repair {
    /// "Repair me": from here to [`Repair::End`] the other end's log is kept.
    Begin,
    /// What the other end had on its disk at that moment, and of each group of leaves its sum.
    Start {
        vector: VersionVector,
        groups: Vec<u64>,
    },
    /// "These groups differ: tell me their leaves."
    Descend {
        groups: Vec<u8>,
    },
    /// Sums of a group's leaves, and how many documents each has.
    Leaves {
        group: u8,
        sums: Vec<u64>,
        documents: Vec<u32>,
    },
    /// "Of these leaves tell me documents and heads; of those, of which I have nothing, give me all."
    Walk {
        compare: LeafSet,
        take: LeafSet,
    },
    /// The next slice of the walk, above that document.
    Next {
        after: Option<DocId>,
    },
    /// Documents, in order of their ids. The walk goes on after `next`; it has ended where that is absent.
    Slice {
        offers: Vec<Offer>,
        next: Option<DocId>,
    },
    /// "Of these documents, of which I have what those heads name, give me the rest."
    Fetch {
        documents: Vec<(DocId, Heads)>,
    },
    /// Parts of documents.
    Pushes(Vec<Push>),
    End,
    /// Below this the sender's log cannot serve any more.
    Floor(VersionVector),
}

/// A document and its heads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    pub doc: DocId,
    pub heads: Heads,
}

/// A part of a document.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Push {
    pub doc: DocId,
    pub part: Part,
    /// No other part of the document follows.
    pub last: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Part {
    /// The folded part of a document, or a piece of it.
    Snapshot(Snapshot),
    /// Causes first, and after the snapshot where there is one.
    Changes(Vec<Change>),
    /// What the sender has stored of it is damaged: it cannot give what these heads name.
    Unreadable(Heads),
}

/// A piece of a folded history: the bytes of Automerge's save from `offset` on, of `total`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Snapshot {
    /// Of the whole.
    pub heads: Heads,
    /// Those of the heads that are deletions.
    pub deletions: Heads,
    /// Changes in it, as the sender counts them: who gets it counts himself.
    pub changes: u64,
    pub offset: u64,
    pub total: u64,
    pub bytes: Bytes,
}

impl Repair {
    /// About how many bytes it takes.
    pub fn size_hint(&self) -> usize {
        let documents = |count: usize| 120 * count;
        64 + match self {
            Repair::Start { groups, .. } => 8 * groups.len(),
            Repair::Leaves { sums, .. } => 10 * sums.len(),
            Repair::Walk { .. } => 2 * LeafSet::BYTES,
            Repair::Slice { offers, .. } => documents(offers.len()),
            Repair::Fetch { documents: list } => documents(list.len()),
            Repair::Pushes(pushes) => pushes.iter().map(Push::size_hint).sum(),
            _ => 64,
        }
    }
}

impl Push {
    /// About how many bytes it takes.
    pub fn size_hint(&self) -> usize {
        let part = match &self.part {
            Part::Snapshot(snapshot) => snapshot.bytes.len() + 32 * snapshot.heads.len() + 32,
            Part::Changes(changes) => changes.iter().map(|c| c.bytes.len() + 48 + 34 * c.deps.len()).sum(),
            Part::Unreadable(heads) => 32 * heads.len(),
        };
        16 + self.doc.as_str().len() + part
    }
}

const BEGIN: u8 = 0;
const START: u8 = 1;
const DESCEND: u8 = 2;
const LEAF_SUMS: u8 = 3;
const WALK: u8 = 4;
const NEXT: u8 = 5;
const SLICE: u8 = 6;
const FETCH: u8 = 7;
const PUSHES: u8 = 8;
const END: u8 = 9;
const FLOOR: u8 = 10;

pub(super) fn encode<W: Write>(e: &mut Encoder<W>, repair: &Repair) -> Result<(), EncodeError<W::Error>> {
    match repair {
        Repair::Begin => e.array(1)?.u8(BEGIN)?,
        Repair::End => e.array(1)?.u8(END)?,
        Repair::Start { vector, groups } => {
            e.array(3)?.u8(START)?;
            encode_vector(e, vector)?;
            encode_sums(e, groups)?
        }
        Repair::Descend { groups } => e.array(2)?.u8(DESCEND)?.bytes(groups)?,
        Repair::Leaves { group, sums, documents } => {
            e.array(4)?.u8(LEAF_SUMS)?.u8(*group)?;
            encode_sums(e, sums)?.array(documents.len() as u64)?;
            for count in documents {
                e.u32(*count)?;
            }
            e
        }
        Repair::Walk { compare, take } => {
            e.array(3)?.u8(WALK)?;
            encode_set(e, compare)?;
            encode_set(e, take)?
        }
        Repair::Next { after } => encode_place(e.array(2)?.u8(NEXT)?, after.as_ref())?,
        Repair::Slice { offers, next } => {
            e.array(3)?.u8(SLICE)?.array(offers.len() as u64)?;
            for offer in offers {
                encode_heads(e.array(2)?.str(offer.doc.as_str())?, &offer.heads)?;
            }
            encode_place(e, next.as_ref())?
        }
        Repair::Fetch { documents } => {
            e.array(2)?.u8(FETCH)?.array(documents.len() as u64)?;
            for (doc, heads) in documents {
                encode_heads(e.array(2)?.str(doc.as_str())?, heads)?;
            }
            e
        }
        Repair::Pushes(pushes) => {
            let mut raw = Vec::with_capacity(repair.size_hint());
            // Writing to a Vec cannot fail.
            let _ = encode_pushes(&mut Encoder::new(&mut raw), pushes);
            let packed =
                (raw.len() >= COMPRESS_FROM_BYTES).then(|| zstd::bulk::compress(&raw, 1).ok()).flatten();
            // The length before compression lets the receiver refuse before it inflates.
            match packed.filter(|packed| packed.len() < raw.len()) {
                Some(packed) => e.array(3)?.u8(PUSHES)?.u64(raw.len() as u64)?.bytes(&packed)?,
                None => e.array(3)?.u8(PUSHES)?.u64(0)?.bytes(&raw)?,
            }
        }
        Repair::Floor(vector) => {
            encode_vector(e.array(2)?.u8(FLOOR)?, vector)?;
            e
        }
    };
    Ok(())
}

pub(super) fn decode(d: &mut Decoder<'_>, frame: &Bytes) -> Result<Option<Repair>, DecodeError> {
    let fields = array(d, 1)?;
    let kind = d.u8()?;
    let least = match kind {
        BEGIN | END => 1,
        DESCEND | NEXT | FETCH | FLOOR => 2,
        START | WALK | SLICE | PUSHES => 3,
        LEAF_SUMS => 4,
        _ => {
            skip(d, fields - 1)?;
            return Ok(None);
        }
    };
    if fields < least {
        return Err(DecodeError::message(format!("a repair message {kind} of {fields} fields")));
    }
    let repair = match kind {
        START => Repair::Start { vector: decode_vector(d)?, groups: decode_sums(d)? },
        DESCEND => {
            Repair::Descend { groups: d.bytes().and_then(|groups| at_most(groups, LEAVES / GROUP))?.to_vec() }
        }
        LEAF_SUMS => Repair::Leaves {
            group: d.u8()?,
            sums: decode_sums(d)?,
            documents: {
                let count = counted(d, GROUP)?;
                (0..count).map(|_| d.u32()).collect::<Result<_, _>>()?
            },
        },
        WALK => Repair::Walk { compare: decode_set(d)?, take: decode_set(d)? },
        NEXT => Repair::Next { after: decode_place(d)? },
        SLICE => Repair::Slice {
            offers: decode_documents(d)?.into_iter().map(|(doc, heads)| Offer { doc, heads }).collect(),
            next: decode_place(d)?,
        },
        FETCH => Repair::Fetch { documents: decode_documents(d)? },
        PUSHES => Repair::Pushes(decode_pushes(d, frame)?),
        FLOOR => Repair::Floor(decode_vector(d)?),
        END => Repair::End,
        _ => Repair::Begin,
    };
    skip(d, fields - least)?;
    Ok(Some(repair))
}

type Encoded<'a, 'e, W> = Result<&'a mut Encoder<W>, EncodeError<<W as Write>::Error>>;

fn encode_sums<'a, W: Write>(e: &'a mut Encoder<W>, sums: &[u64]) -> Encoded<'a, 'a, W> {
    let bytes: Vec<u8> = sums.iter().flat_map(|sum| sum.to_be_bytes()).collect();
    e.bytes(&bytes)
}

fn decode_sums(d: &mut Decoder<'_>) -> Result<Vec<u64>, DecodeError> {
    let (sums, rest) = d.bytes()?.as_chunks::<8>();
    if !rest.is_empty() || sums.len() != GROUP {
        return Err(DecodeError::message(format!("not {GROUP} sums")));
    }
    Ok(sums.iter().map(|sum| u64::from_be_bytes(*sum)).collect())
}

fn encode_set<'a, W: Write>(e: &'a mut Encoder<W>, set: &LeafSet) -> Encoded<'a, 'a, W> {
    // Few leaves take two bytes each, many a bit each.
    let few: Vec<u8> = set.iter().take(LeafSet::BYTES / 2).flat_map(u16::to_be_bytes).collect();
    if few.len() < LeafSet::BYTES { e.bytes(&few) } else { e.bytes(&set.to_bytes()) }
}

fn decode_set(d: &mut Decoder<'_>) -> Result<LeafSet, DecodeError> {
    let bytes = d.bytes()?;
    if let Some(set) = LeafSet::from_bytes(bytes) {
        return Ok(set);
    }
    let (leaves, rest) = bytes.as_chunks::<2>();
    if !rest.is_empty() || bytes.len() > LeafSet::BYTES {
        return Err(DecodeError::message("no set of leaves"));
    }
    Ok(LeafSet::new(leaves.iter().map(|leaf| u16::from_be_bytes(*leaf))))
}

fn encode_place<'a, W: Write>(e: &'a mut Encoder<W>, place: Option<&DocId>) -> Encoded<'a, 'a, W> {
    match place {
        Some(doc) => e.str(doc.as_str()),
        None => e.null(),
    }
}

fn decode_place(d: &mut Decoder<'_>) -> Result<Option<DocId>, DecodeError> {
    if d.datatype()? == minicbor::data::Type::Null {
        d.null()?;
        return Ok(None);
    }
    decode_doc(d).map(Some)
}

fn encode_heads<'a, W: Write>(e: &'a mut Encoder<W>, heads: &[Hash]) -> Encoded<'a, 'a, W> {
    let bytes: Vec<u8> = heads.iter().flat_map(|head| head.0).collect();
    e.bytes(&bytes)
}

fn decode_heads(d: &mut Decoder<'_>) -> Result<Heads, DecodeError> {
    let (heads, rest) = d.bytes()?.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(DecodeError::message("a cut hash"));
    }
    Ok(heads.iter().copied().map(Hash).collect())
}

fn decode_doc(d: &mut Decoder<'_>) -> Result<DocId, DecodeError> {
    DocId::new(d.str()?).map_err(DecodeError::message)
}

fn decode_documents(d: &mut Decoder<'_>) -> Result<Vec<(DocId, Heads)>, DecodeError> {
    let count = counted(d, MAX_SLICE_DOCUMENTS)?;
    let mut documents = Vec::new();
    for _ in 0..count {
        let parts = array(d, 2)?;
        documents.push((decode_doc(d)?, decode_heads(d)?));
        skip(d, parts - 2)?;
    }
    Ok(documents)
}

fn encode_pushes<W: Write>(e: &mut Encoder<W>, pushes: &[Push]) -> Result<(), EncodeError<W::Error>> {
    e.array(pushes.len() as u64)?;
    for push in pushes {
        e.array(3)?.str(push.doc.as_str())?.bool(push.last)?;
        match &push.part {
            Part::Changes(changes) => encode_changes(e, changes)?,
            // Bytes.
            Part::Unreadable(heads) => {
                encode_heads(e, heads)?;
            }
            Part::Snapshot(snapshot) => {
                // A map, where changes are an array.
                encode_heads(e.map(6)?.u8(0)?, &snapshot.heads)?;
                encode_heads(e.u8(1)?, &snapshot.deletions)?;
                e.u8(2)?.u64(snapshot.changes)?.u8(3)?.u64(snapshot.offset)?;
                e.u8(4)?.u64(snapshot.total)?.u8(5)?.bytes(&snapshot.bytes)?;
            }
        }
    }
    Ok(())
}

fn decode_pushes(d: &mut Decoder<'_>, frame: &Bytes) -> Result<Vec<Push>, DecodeError> {
    let size = usize::try_from(d.u64()?).unwrap_or(usize::MAX);
    let data = d.bytes()?;
    if size > MAX_FRAME_BYTES {
        return Err(DecodeError::message(format!("parts of more than {MAX_FRAME_BYTES} bytes")));
    }
    let raw: Bytes = match size {
        0 => frame.slice_ref(data),
        _ => zstd::bulk::decompress(data, size).map_err(DecodeError::message)?.into(),
    };
    let d = &mut Decoder::new(&raw);
    let mut pushes = Vec::new();
    for _ in 0..array(d, 0)? {
        let fields = array(d, 3)?;
        let (doc, last) = (decode_doc(d)?, d.bool()?);
        let part = match d.datatype()? {
            minicbor::data::Type::Map => Part::Snapshot(decode_snapshot(d, &raw)?),
            minicbor::data::Type::Bytes => Part::Unreadable(decode_heads(d)?),
            _ => Part::Changes(decode_changes(d, &raw, 0)?),
        };
        skip(d, fields - 3)?;
        pushes.push(Push { doc, part, last });
    }
    if d.position() != raw.len() {
        return Err(DecodeError::message("bytes after the parts"));
    }
    Ok(pushes)
}

fn decode_snapshot(d: &mut Decoder<'_>, raw: &Bytes) -> Result<Snapshot, DecodeError> {
    let count = d.map()?.ok_or_else(|| DecodeError::message("a map without a length"))?;
    let mut snapshot = Snapshot {
        heads: Heads::new(),
        deletions: Heads::new(),
        changes: 0,
        offset: 0,
        total: 0,
        bytes: Bytes::new(),
    };
    for _ in 0..count {
        match d.u8()? {
            0 => snapshot.heads = decode_heads(d)?,
            1 => snapshot.deletions = decode_heads(d)?,
            2 => snapshot.changes = d.u64()?,
            3 => snapshot.offset = d.u64()?,
            4 => snapshot.total = d.u64()?,
            5 => snapshot.bytes = raw.slice_ref(d.bytes()?),
            _ => d.skip()?,
        }
    }
    Ok(snapshot)
}

fn counted(d: &mut Decoder<'_>, most: usize) -> Result<u64, DecodeError> {
    let count = array(d, 0)?;
    if count > most as u64 {
        return Err(DecodeError::message(format!("a list of {count}, more than {most}")));
    }
    Ok(count)
}

fn at_most(bytes: &[u8], most: usize) -> Result<&[u8], DecodeError> {
    if bytes.len() > most {
        return Err(DecodeError::message(format!("{} bytes, more than {most}", bytes.len())));
    }
    Ok(bytes)
}

/// One of each, for the tests of frames.
#[cfg(test)]
pub(super) fn samples(vector: VersionVector) -> Vec<Repair> {
    let (doc, heads) = (DocId::new("a/b").unwrap(), Heads::from_slice(&[Hash([1; 32]), Hash([2; 32])]));
    let change =
        |size: usize| Change { hash: Hash([1; 32]), deps: heads.clone(), bytes: vec![7; size].into() };
    let snapshot = Snapshot {
        heads: heads.clone(),
        deletions: Heads::new(),
        changes: 9,
        offset: 5,
        total: 11,
        bytes: Bytes::from_static(b"folded"),
    };
    let push = |part| Push { doc: doc.clone(), part, last: true };
    vec![
        Repair::Begin,
        Repair::Start { vector: vector.clone(), groups: (0..256).collect() },
        Repair::Descend { groups: vec![0, 255] },
        Repair::Leaves { group: 3, sums: (0..256).collect(), documents: (0..256).collect() },
        Repair::Walk { compare: LeafSet::new([1, 65_535]), take: LeafSet::new(0..=u16::MAX) },
        Repair::Next { after: Some(doc.clone()) },
        Repair::Next { after: None },
        Repair::Slice {
            offers: vec![Offer { doc: doc.clone(), heads: heads.clone() }],
            next: Some(doc.clone()),
        },
        Repair::Slice { offers: Vec::new(), next: None },
        Repair::Fetch { documents: vec![(doc.clone(), Heads::new()), (doc.clone(), heads.clone())] },
        Repair::Pushes(vec![
            push(Part::Snapshot(snapshot)),
            push(Part::Changes(vec![change(3), change(4)])),
            push(Part::Unreadable(heads.clone())),
        ]),
        Repair::End,
        Repair::Floor(vector),
    ]
}
