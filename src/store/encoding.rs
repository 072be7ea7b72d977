//! Values: records, tails and facts as CBOR arrays. Later versions may append fields, which are skipped
//! here; to change or remove one takes a new format of the folder.
//!
//! The encoding is apart from that of links, though alike: a folder outlives versions of the protocol.

use std::convert::Infallible;

use bytes::Bytes;
use minicbor::decode::Error;
use minicbor::encode::Write;
use minicbor::{Decoder, Encoder};

use super::record::{Incarnation, Record};
use crate::base::{Change, Hash, Heads, Lsn, Millis, NodeId, Origin, VersionVector};

type Encoded = Result<(), minicbor::encode::Error<Infallible>>;
type Out<'a> = Encoder<&'a mut Vec<u8>>;

const HASH_BYTES: usize = 32;

/// Writes a value into `out`, in place of what was there. Writing to a Vec cannot fail, and nothing here
/// refuses a value.
fn fill(out: &mut Vec<u8>, write: impl FnOnce(&mut Out<'_>) -> Encoded) {
    out.clear();
    let _ = write(&mut Encoder::new(out));
}

pub(super) fn record(out: &mut Vec<u8>, record: &Record) {
    fill(out, |e| {
        e.array(10)?;
        hashes(e, &record.heads)?;
        hashes(e, &record.deletions)?;
        e.u64(record.changes)?.u64(record.bytes)?.u64(record.last_lsn.0)?;
        e.u64(record.created.0)?.u64(record.modified.0)?.encode(record.fenced.as_deref())?;
        e.u64(record.folded)?.u64(record.tail_bytes)?;
        Ok(())
    });
}

pub(super) fn read_record(bytes: &[u8]) -> Result<Record, Error> {
    whole(bytes, |d| {
        let fields = array(d, 8)?;
        let mut record = Record {
            heads: read_hashes(d)?,
            deletions: read_hashes(d)?,
            changes: d.u64()?,
            bytes: d.u64()?,
            last_lsn: Lsn(d.u64()?),
            created: Millis(d.u64()?),
            modified: Millis(d.u64()?),
            fenced: d.decode()?,
            folded: 0,
            tail_bytes: 0,
        };
        // The first version did not fold.
        record.folded = if fields > 8 { d.u64()? } else { 0 };
        record.tail_bytes = if fields > 9 { d.u64()? } else { record.bytes };
        skip(d, fields.saturating_sub(10))?;
        Ok(record)
    })
}

pub(super) fn changes(out: &mut Vec<u8>, changes: &[Change]) {
    fill(out, |e| {
        e.array(changes.len() as u64)?;
        for change in changes {
            e.array(3)?.bytes(&change.hash.0)?;
            hashes(e, &change.deps)?;
            e.bytes(&change.bytes)?;
        }
        Ok(())
    });
}

/// The changes share the memory of `value`.
pub(super) fn read_changes(value: &Bytes) -> Result<Vec<Change>, Error> {
    whole(value, |d| {
        let count = array(d, 0)?;
        // The count is not trusted for allocation.
        let mut changes = Vec::with_capacity(count.min(64) as usize);
        for _ in 0..count {
            let fields = array(d, 3)?;
            let hash = Hash(fixed(d)?);
            let deps = read_hashes(d)?;
            changes.push(Change { hash, deps, bytes: value.slice_ref(d.bytes()?) });
            skip(d, fields - 3)?;
        }
        Ok(changes)
    })
}

pub(super) fn vector(out: &mut Vec<u8>, vector: &VersionVector) {
    fill(out, |e| origins(e, vector));
}

pub(super) fn read_vector(bytes: &[u8]) -> Result<VersionVector, Error> {
    whole(bytes, read_origins)
}

pub(super) fn state(out: &mut Vec<u8>, vector: &VersionVector, digest: &[u8; 16]) {
    fill(out, |e| {
        e.array(2)?;
        origins(e, vector)?;
        e.bytes(digest)?;
        Ok(())
    });
}

pub(super) fn read_state(bytes: &[u8]) -> Result<(VersionVector, [u8; 16]), Error> {
    whole(bytes, |d| {
        let fields = array(d, 2)?;
        let state = (read_origins(d)?, fixed(d)?);
        skip(d, fields - 2)?;
        Ok(state)
    })
}

pub(super) fn heads(out: &mut Vec<u8>, heads: &[Hash]) {
    fill(out, |e| hashes(e, heads));
}

pub(super) fn read_heads(bytes: &[u8]) -> Result<Heads, Error> {
    whole(bytes, read_hashes)
}

pub(super) fn node(out: &mut Vec<u8>, node: NodeId) {
    fill(out, |e| e.bytes(&node.0).map(drop));
}

pub(super) fn read_node(bytes: &[u8]) -> Result<NodeId, Error> {
    whole(bytes, |d| fixed(d).map(NodeId))
}

pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    fill(out, |e| e.str(text).map(drop));
}

pub(super) fn read_text(bytes: &[u8]) -> Result<String, Error> {
    whole(bytes, |d| d.str().map(str::to_owned))
}

pub(super) fn incarnation(out: &mut Vec<u8>, incarnation: Incarnation) {
    fill(out, |e| e.array(2)?.u32(incarnation.number)?.u32(incarnation.random).map(drop));
}

pub(super) fn read_incarnation(bytes: &[u8]) -> Result<Incarnation, Error> {
    whole(bytes, |d| {
        let fields = array(d, 2)?;
        let incarnation = Incarnation { number: d.u32()?, random: d.u32()? };
        skip(d, fields - 2)?;
        Ok(incarnation)
    })
}

pub(super) fn flag(out: &mut Vec<u8>, flag: bool) {
    fill(out, |e| e.bool(flag).map(drop));
}

pub(super) fn read_flag(bytes: &[u8]) -> Result<bool, Error> {
    whole(bytes, |d| d.bool())
}

/// The one value whose form no later version may change.
pub(super) fn format(out: &mut Vec<u8>, format: u32) {
    fill(out, |e| e.u32(format).map(drop));
}

pub(super) fn read_format(bytes: &[u8]) -> Result<u32, Error> {
    whole(bytes, |d| d.u32())
}

/// All of `bytes` is one value: what is cut or has grown is damaged.
fn whole<'b, T>(
    bytes: &'b [u8],
    read: impl FnOnce(&mut Decoder<'b>) -> Result<T, Error>,
) -> Result<T, Error> {
    let mut d = Decoder::new(bytes);
    let value = read(&mut d)?;
    if d.position() != bytes.len() {
        return Err(Error::message("bytes after the value"));
    }
    Ok(value)
}

/// Hashes as one byte string: nearly always one, so an array around each would only add bytes.
fn hashes(e: &mut Out<'_>, hashes: &[Hash]) -> Encoded {
    e.bytes_len((hashes.len() * HASH_BYTES) as u64)?;
    for hash in hashes {
        e.writer_mut().write_all(&hash.0).map_err(minicbor::encode::Error::write)?;
    }
    Ok(())
}

fn read_hashes(d: &mut Decoder<'_>) -> Result<Heads, Error> {
    let (hashes, rest) = d.bytes()?.as_chunks::<HASH_BYTES>();
    if !rest.is_empty() {
        return Err(Error::message("a cut hash"));
    }
    Ok(hashes.iter().copied().map(Hash).collect())
}

fn origins(e: &mut Out<'_>, vector: &VersionVector) -> Encoded {
    e.map(vector.len() as u64)?;
    for (node, number) in vector.closed() {
        e.bytes(&node.0)?.u64(number.into())?;
    }
    for (origin, counter) in vector.iter() {
        e.bytes(&origin.to_bytes())?.u64(counter)?;
    }
    Ok(())
}

fn read_origins(d: &mut Decoder<'_>) -> Result<VersionVector, Error> {
    let count = d.map()?.ok_or_else(|| Error::message("a map without a length"))?;
    let mut vector = VersionVector::new();
    for _ in 0..count {
        let (key, value) = (d.bytes()?, d.u64()?);
        // Closed incarnations of a node, or an origin's counter.
        if let Ok(node) = key.try_into() {
            vector.close(NodeId(node), u32::try_from(value).map_err(Error::message)?);
        } else if let Ok(origin) = key.try_into() {
            vector.raise(Origin::from_bytes(origin), value);
        } else {
            return Err(Error::message("neither an origin nor a node"));
        }
    }
    Ok(vector)
}

/// A definite array of at least `least` elements.
fn array(d: &mut Decoder<'_>, least: u64) -> Result<u64, Error> {
    match d.array()? {
        Some(n) if n >= least => Ok(n),
        Some(n) => Err(Error::message(format!("an array of {n}, not {least}"))),
        None => Err(Error::message("an array without a length")),
    }
}

fn fixed<const N: usize>(d: &mut Decoder<'_>) -> Result<[u8; N], Error> {
    d.bytes()?.try_into().map_err(|_| Error::message(format!("not {N} bytes")))
}

fn skip(d: &mut Decoder<'_>, fields: u64) -> Result<(), Error> {
    (0..fields).try_for_each(|_| d.skip())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a_record() -> Record {
        Record {
            heads: Heads::from_slice(&[Hash([1; 32]), Hash([2; 32])]),
            deletions: Heads::from_slice(&[Hash([2; 32])]),
            changes: 3,
            bytes: 1 << 40,
            folded: 2,
            tail_bytes: 1 << 39,
            last_lsn: Lsn(5),
            created: Millis(6),
            modified: Millis(7),
            fenced: Some("why".into()),
        }
    }

    fn some_changes() -> Vec<Change> {
        let change = |n: u8, deps: &[Hash]| Change {
            hash: Hash([n; 32]),
            deps: Heads::from_slice(deps),
            bytes: vec![n; usize::from(n)].into(),
        };
        vec![change(0, &[]), change(200, &[Hash([0; 32]), Hash([9; 32])])]
    }

    fn some_origins() -> VersionVector {
        (1..4)
            .map(|n| (Origin { node: NodeId([n; 8]), incarnation: 2, random: 3 }, u64::from(n) << 33))
            .collect()
    }

    fn encoded<T: ?Sized>(write: impl FnOnce(&mut Vec<u8>, &T), value: &T) -> Bytes {
        let mut out = b"left over".to_vec();
        write(&mut out, value);
        out.into()
    }

    #[test]
    fn values_come_back_from_their_bytes() {
        assert_eq!(read_record(&encoded(record, &a_record())).unwrap(), a_record());
        assert_eq!(read_record(&encoded(record, &Record::default())).unwrap(), Record::default());
        assert_eq!(read_changes(&encoded(changes, &some_changes()[..])).unwrap(), some_changes());
        assert_eq!(read_changes(&encoded(changes, &[][..])).unwrap(), []);
        assert_eq!(read_vector(&encoded(vector, &some_origins())).unwrap(), some_origins());
    }

    /// Folders written today are read by every later version: a digest that differs is a new format.
    #[test]
    fn the_encoding_is_stable() {
        let mut all = Vec::new();
        let mut out = Vec::new();
        let mut add = |write: &dyn Fn(&mut Vec<u8>)| {
            write(&mut out);
            all.extend_from_slice(&out);
        };
        add(&|out| record(out, &a_record()));
        add(&|out| record(out, &Record::default()));
        add(&|out| changes(out, &some_changes()));
        add(&|out| vector(out, &some_origins()));
        add(&|out| state(out, &some_origins(), &[4; 16]));
        add(&|out| node(out, NodeId([5; 8])));
        add(&|out| text(out, "cluster"));
        add(&|out| incarnation(out, Incarnation { number: 6, random: 7 }));
        add(&|out| format(out, 1));
        add(&|out| flag(out, true));
        assert_eq!(&blake3::hash(&all).to_hex()[..16], "ff7e38cf453ce693");
    }

    #[test]
    fn a_record_of_the_first_version_is_all_tail() {
        let mut bytes = encoded(record, &a_record()).to_vec();
        // 2, and 2^39 in nine bytes.
        bytes.truncate(bytes.len() - 10);
        bytes[0] -= 2;
        let first = Record { folded: 0, tail_bytes: a_record().bytes, ..a_record() };
        assert_eq!(read_record(&bytes).unwrap(), first);
    }

    #[test]
    fn fields_of_a_later_version_are_skipped() {
        let mut bytes = encoded(record, &a_record()).to_vec();
        bytes[0] += 1;
        bytes.extend_from_slice(&[0x63, b'n', b'e', b'w']);
        assert_eq!(read_record(&bytes).unwrap(), a_record());
    }

    #[test]
    fn cut_grown_or_random_bytes_are_refused_and_never_panic() {
        let samples = [
            encoded(record, &a_record()),
            encoded(changes, &some_changes()[..]),
            encoded(vector, &some_origins()),
        ];
        for bytes in &samples {
            for end in 0..bytes.len() {
                let cut = bytes.slice(..end);
                assert!(
                    read_record(&cut).is_err() && read_changes(&cut).is_err() && read_vector(&cut).is_err()
                );
            }
            let grown = Bytes::from([bytes, &[0][..]].concat());
            assert!(
                read_record(&grown).is_err() && read_changes(&grown).is_err() && read_vector(&grown).is_err()
            );
        }
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..20_000 {
            let mut bytes = rng.choice(&samples).unwrap().to_vec();
            for _ in 0..rng.usize(1..5) {
                let at = rng.usize(..bytes.len());
                bytes[at] = rng.u8(..);
            }
            let bytes = Bytes::from(bytes);
            let _ = (read_record(&bytes), read_changes(&bytes), read_vector(&bytes), read_state(&bytes));
        }
    }
}
