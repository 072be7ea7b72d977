//! The log entry: what a node commits, stores and sends on, unchanged from its origin to the last replica.

use bytes::Bytes;
use minicbor::{Decoder, Encode, Encoder};

use crate::base::limits::{MAX_ENTRY_BYTES, MAX_VECTOR_ORIGINS};
use crate::base::{Change, DocId, Hash, Heads, NodeId, Origin, VersionVector};

/// One log record without its LSN, which is each node's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    pub origin: Origin,
    /// The origin's own count, from 1, without gaps.
    pub counter: u64,
    /// What the origin held when it committed this, as the difference from its previous entry.
    pub held: VersionVector,
    pub doc: DocId,
    /// Causes first; empty only in an entry that drops.
    pub changes: Vec<Change>,
    /// The document, deleted for long enough, is dropped with its history where these are its heads.
    pub drops: Option<Heads>,
}

/// Bytes that are no entry. Whoever sent them does not speak our protocol.
#[derive(Debug, thiserror::Error)]
#[error("bytes that are no log entry: {0}")]
pub struct EntryError(pub String);

impl Entry {
    /// As a CBOR array; later versions may append fields, which this one skips.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.size_hint());
        self.append_to(&mut out);
        out
    }

    pub fn append_to(&self, out: &mut Vec<u8>) {
        // Writing to a Vec cannot fail, and nothing here refuses a value.
        let _ = Encoder::new(out).encode(self);
    }

    /// Decodes without copying the changes' bytes out of `bytes`.
    ///
    /// # Errors
    /// When the bytes are no entry, or one past the limits.
    pub fn from_bytes(bytes: &Bytes) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError(format!("{} bytes, more than {MAX_ENTRY_BYTES}", bytes.len())));
        }
        decode(bytes).map_err(|e| EntryError(e.to_string()))
    }

    /// Origin and counter of an encoded entry, without decoding the rest.
    pub fn peek(bytes: &[u8]) -> Option<(Origin, u64)> {
        let d = &mut Decoder::new(bytes);
        array(d, 5).ok()?;
        Some((Origin::from_bytes(fixed(d).ok()?), d.u64().ok()?))
    }

    /// About how many bytes this takes, in memory and encoded.
    pub fn size_hint(&self) -> usize {
        let changes: usize = self.changes.iter().map(|c| c.bytes.len() + 48 + 34 * c.deps.len()).sum();
        64 + self.doc.as_str().len() + 24 * self.held.len() + changes
    }
}

impl<C> Encode<C> for Entry {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.array(5 + u64::from(self.drops.is_some()))?;
        e.bytes(&self.origin.to_bytes())?.u64(self.counter)?;
        encode_vector(e, &self.held)?;
        e.str(self.doc.as_str())?;
        encode_changes(e, &self.changes)?;
        if let Some(heads) = &self.drops {
            e.array(heads.len() as u64)?;
            for head in heads {
                e.bytes(&head.0)?;
            }
        }
        Ok(())
    }
}

pub(super) fn encode_changes<W: minicbor::encode::Write>(
    e: &mut Encoder<W>,
    changes: &[Change],
) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.array(changes.len() as u64)?;
    for change in changes {
        e.array(3)?.bytes(&change.hash.0)?.array(change.deps.len() as u64)?;
        for dep in &change.deps {
            e.bytes(&dep.0)?;
        }
        e.bytes(&change.bytes)?;
    }
    Ok(())
}

/// At least `least`, whose bytes are slices of `frame`.
pub(super) fn decode_changes(
    d: &mut Decoder<'_>,
    frame: &Bytes,
    least: u64,
) -> Result<Vec<Change>, minicbor::decode::Error> {
    let count = array(d, least)?;
    let mut changes = Vec::with_capacity(count.min(64) as usize);
    for _ in 0..count {
        let parts = array(d, 3)?;
        let hash = Hash(fixed(d)?);
        let deps = decode_hashes(d)?;
        let raw = d.bytes()?;
        changes.push(Change { hash, deps, bytes: frame.slice_ref(raw) });
        skip(d, parts - 3)?;
    }
    Ok(changes)
}

fn decode_hashes(d: &mut Decoder<'_>) -> Result<Heads, minicbor::decode::Error> {
    let mut hashes = Heads::new();
    for _ in 0..array(d, 0)? {
        hashes.push(Hash(fixed(d)?));
    }
    Ok(hashes)
}

fn decode(bytes: &Bytes) -> Result<Entry, minicbor::decode::Error> {
    let d = &mut Decoder::new(bytes);
    let fields = array(d, 5)?;
    let origin = Origin::from_bytes(fixed(d)?);
    let counter = d.u64()?;
    if counter == 0 {
        return Err(minicbor::decode::Error::message("counter 0"));
    }
    let held = decode_vector(d)?;
    let doc = DocId::new(d.str()?).map_err(minicbor::decode::Error::message)?;
    let changes = decode_changes(d, bytes, u64::from(fields == 5))?;
    let mut rest = fields - 5;
    let mut drops = None;
    if rest > 0 && d.datatype()? == minicbor::data::Type::Array {
        drops = Some(decode_hashes(d)?);
        rest -= 1;
    }
    skip(d, rest)?;
    if d.position() != bytes.len() {
        return Err(minicbor::decode::Error::message("bytes after the entry"));
    }
    Ok(Entry { origin, counter, held, doc, changes, drops })
}

/// A definite array of at least `least` elements. Its length is not trusted for allocation: each element takes a byte at least.
pub(super) fn array(d: &mut Decoder<'_>, least: u64) -> Result<u64, minicbor::decode::Error> {
    match d.array()? {
        Some(n) if n >= least => Ok(n),
        Some(n) => Err(minicbor::decode::Error::message(format!("an array of {n}, not {least}"))),
        None => Err(minicbor::decode::Error::message("an array without a length")),
    }
}

pub(super) fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], minicbor::decode::Error> {
    d.bytes()?.try_into().map_err(|_| minicbor::decode::Error::message(format!("not {N} bytes")))
}

pub(super) fn skip(d: &mut Decoder<'_>, fields: u64) -> Result<(), minicbor::decode::Error> {
    (0..fields).try_for_each(|_| d.skip())
}

/// A vector as a map from origin to counter, and from node to the number up to which its incarnations are closed.
pub(super) fn encode_vector<W: minicbor::encode::Write>(
    e: &mut Encoder<W>,
    vector: &VersionVector,
) -> Result<(), minicbor::encode::Error<W::Error>> {
    e.map(vector.len() as u64)?;
    for (node, number) in vector.closed() {
        e.bytes(&node.0)?.u64(number.into())?;
    }
    for (origin, counter) in vector.iter() {
        e.bytes(&origin.to_bytes())?.u64(counter)?;
    }
    Ok(())
}

pub(super) fn decode_vector(d: &mut Decoder<'_>) -> Result<VersionVector, minicbor::decode::Error> {
    let count = d.map()?.ok_or_else(|| minicbor::decode::Error::message("a map without a length"))?;
    if count > MAX_VECTOR_ORIGINS as u64 {
        return Err(minicbor::decode::Error::message(format!("a vector of {count} origins")));
    }
    let mut vector = VersionVector::new();
    for _ in 0..count {
        let (key, value) = (d.bytes()?, d.u64()?);
        if let Ok(node) = key.try_into() {
            let number = u32::try_from(value).map_err(minicbor::decode::Error::message)?;
            vector.close(NodeId(node), number);
        } else if let Ok(origin) = key.try_into() {
            vector.raise(Origin::from_bytes(origin), value);
        } else {
            return Err(minicbor::decode::Error::message("neither an origin nor a node"));
        }
    }
    Ok(vector)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> Entry {
        let origin = Origin { node: NodeId([1; 8]), incarnation: 2, random: 3 };
        let other = Origin { node: NodeId([9; 8]), incarnation: 1, random: 7 };
        Entry {
            origin,
            counter: 300,
            held: [(other, 5)].into_iter().collect(),
            doc: DocId::new("a/b").unwrap(),
            changes: vec![Change {
                hash: Hash([4; 32]),
                deps: Heads::from_slice(&[Hash([5; 32])]),
                bytes: Bytes::from_static(b"opaque"),
            }],
            drops: None,
        }
    }

    #[test]
    fn an_entry_that_drops_comes_back_from_its_bytes() {
        let drops = Some(Heads::from_slice(&[Hash([5; 32])]));
        let entry = Entry { changes: Vec::new(), drops, ..entry() };
        let bytes = Bytes::from(entry.to_bytes());
        assert_eq!(Entry::from_bytes(&bytes).unwrap(), entry);
        // One that neither brings nor drops anything is none.
        let nothing = Entry { drops: None, ..entry };
        assert!(Entry::from_bytes(&nothing.to_bytes().into()).is_err());
    }

    #[test]
    fn an_entry_comes_back_from_its_bytes() {
        let bytes = Bytes::from(entry().to_bytes());
        assert_eq!(Entry::from_bytes(&bytes).unwrap(), entry());
        assert_eq!(Entry::peek(&bytes), Some((entry().origin, 300)));
    }

    #[test]
    fn a_vector_comes_back_from_its_bytes_and_is_small() {
        let mut vector = VersionVector::new();
        for node in 1..=3_u8 {
            vector.close(NodeId([node; 8]), 100_000);
            vector.raise(Origin { node: NodeId([node; 8]), incarnation: 100_001, random: 3 }, 1 << 40);
        }
        let mut bytes = Vec::new();
        encode_vector(&mut Encoder::new(&mut bytes), &vector).unwrap();
        assert!(bytes.len() <= 200, "{} bytes", bytes.len());
        assert_eq!(decode_vector(&mut Decoder::new(&bytes)).unwrap(), vector);
    }

    #[test]
    fn the_encoding_is_stable() {
        let digest = blake3::hash(&entry().to_bytes()).to_hex();
        assert_eq!(&digest[..16], "403670db9c9da704");
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let mut bytes = entry().to_bytes();
        bytes[0] += 1;
        bytes.extend_from_slice(&[0x63, b'n', b'e', b'w']);
        assert_eq!(Entry::from_bytes(&bytes.into()).unwrap(), entry());
    }

    #[test]
    fn cut_or_extended_bytes_are_refused() {
        let bytes = entry().to_bytes();
        for end in 0..bytes.len() {
            assert!(Entry::from_bytes(&Bytes::copy_from_slice(&bytes[..end])).is_err(), "cut at {end}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Entry::from_bytes(&longer.into()).is_err());
    }
}
