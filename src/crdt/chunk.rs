//! Automerge's container format, looked through before Automerge reads it.
//!
//! Automerge inflates and expands without limit: a few bytes of DEFLATE, or of a run length, may stand for
//! gigabytes. So every column's inflated size and number of rows is counted first.
//!
//! Format: <https://automerge.org/automerge-binary-format-spec/>.

use std::io::Read;

use sha2::Digest;

use crate::base::limits::{MAX_CHANGE_ROWS, MAX_INFLATED_CHANGE_BYTES, MAX_RAW_CHANGES};

const MAGIC: [u8; 4] = [0x85, 0x6f, 0x4a, 0x83];

/// Bit of a column's specification that says that it is compressed.
const DEFLATED: u64 = 0b1000;

/// Specification of the column of a saved document's changes that names their actors.
const CHANGE_ACTORS: u64 = 1;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Document,
    Change,
}

/// One chunk, known to be of bearable size when it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    pub kind: Kind,
    /// With its header.
    pub bytes: &'a [u8],
    /// The first bytes of the hash, as the header claims.
    pub checksum: [u8; 4],
}

/// Splits concatenated chunks, and looks through each.
///
/// # Errors
/// What is wrong with them, in words.
pub(super) fn split(mut raw: &[u8]) -> Result<Vec<Chunk<'_>>, String> {
    let mut chunks = Vec::new();
    while !raw.is_empty() {
        if chunks.len() >= MAX_RAW_CHANGES {
            return Err(format!("more than {MAX_RAW_CHANGES} changes"));
        }
        let (chunk, rest) = first(raw).map_err(|fault| format!("chunk {}: {fault}", chunks.len() + 1))?;
        chunks.push(chunk);
        raw = rest;
    }
    Ok(chunks)
}

/// The first chunk and what follows it.
fn first(raw: &[u8]) -> Result<(Chunk<'_>, &[u8]), String> {
    let mut reader = Reader(raw);
    let header = || "cut short in its header".to_owned();
    if reader.take(4).ok_or_else(header)? != MAGIC {
        return Err("not an Automerge chunk".into());
    }
    let checksum = *reader.take(4).and_then(|bytes| bytes.first_chunk()).ok_or_else(header)?;
    let kind = reader.byte().ok_or_else(header)?;
    let length = reader.length().ok_or_else(header)?;
    let data = reader.take(length).ok_or_else(|| format!("shorter than the {length} bytes it claims"))?;
    let bytes = raw.get(..raw.len() - reader.0.len()).unwrap_or_default();
    let kind = match kind {
        0 => {
            document(data)?;
            Kind::Document
        }
        1 => {
            change(data)?;
            Kind::Change
        }
        2 => {
            change(&inflate(data, MAX_INFLATED_CHANGE_BYTES)?)?;
            Kind::Change
        }
        other => return Err(format!("of kind {other}, which is not taken")),
    };
    Ok((Chunk { kind, bytes, checksum }, reader.0))
}

/// The heads of a saved document, as its header names them, and the number of its changes, without reading the
/// document. Its bytes are those that were saved: the checksum matches.
///
/// # Errors
/// What is wrong with it, in words.
pub(super) fn document_outline(raw: &[u8]) -> Result<(Vec<[u8; 32]>, u64), String> {
    let cut = || "cut short".to_owned();
    let mut reader = Reader(raw);
    if reader.take(4).ok_or_else(cut)? != MAGIC {
        return Err("not an Automerge chunk".into());
    }
    let checksum = reader.take(4).ok_or_else(cut)?;
    let hashed = reader.0;
    if reader.byte() != Some(0) {
        return Err("not a document".into());
    }
    let length = reader.length().ok_or_else(cut)?;
    let mut reader = Reader(reader.take(length).ok_or_else(cut)?);
    if sha2::Sha256::digest(hashed)[..4] != *checksum {
        return Err("its checksum does not match".into());
    }
    for _ in 0..reader.number().ok_or_else(cut)? {
        reader.prefixed().ok_or_else(cut)?; // actors
    }
    let heads = reader.length().and_then(|heads| reader.take(heads.checked_mul(32)?)).ok_or_else(cut)?;
    let (changes, _) = reader.columns().zip(reader.columns()).ok_or_else(cut)?;
    let mut count = 0;
    for (spec, length) in changes {
        let column = reader.take(length).ok_or_else(cut)?;
        // The actors: a row for each change.
        if spec & !DEFLATED == CHANGE_ACTORS {
            let inflated =
                if spec & DEFLATED == 0 { None } else { Some(inflate(column, MAX_INFLATED_CHANGE_BYTES)?) };
            count = runs(inflated.as_deref().unwrap_or(column), Value::Number, u64::MAX, |count, _| count);
        }
    }
    Ok((heads.as_chunks().0.to_vec(), count))
}

fn change(data: &[u8]) -> Result<(), String> {
    let mut reader = Reader(data);
    let columns = change_columns(&mut reader).ok_or_else(|| "cut short".to_owned())?;
    let mut budget = Budget::default();
    columns.into_iter().try_for_each(|(spec, length)| {
        let column = reader.take(length).ok_or_else(|| "columns cut short".to_owned())?;
        if spec & DEFLATED != 0 {
            return Err("a change with compressed columns".into());
        }
        budget.count(spec, column)
    })
}

/// Skips a change's head; gives its columns' specifications and lengths.
fn change_columns(reader: &mut Reader<'_>) -> Option<Vec<(u64, usize)>> {
    let deps = reader.length()?;
    reader.take(deps.checked_mul(32)?)?;
    reader.prefixed()?; // actor
    for _ in 0..3 {
        reader.number()?; // sequence, first operation, time
    }
    reader.prefixed()?; // message
    for _ in 0..reader.number()? {
        reader.prefixed()?; // other actors
    }
    reader.columns()
}

fn document(data: &[u8]) -> Result<(), String> {
    let mut reader = Reader(data);
    let (changes, ops) = document_columns(&mut reader).ok_or_else(|| "cut short".to_owned())?;
    let mut budget = Budget::default();
    changes.into_iter().chain(ops).try_for_each(|(spec, length)| {
        let column = reader.take(length).ok_or_else(|| "columns cut short".to_owned())?;
        if spec & DEFLATED == 0 {
            return budget.count(spec, column);
        }
        let column = inflate(column, MAX_INFLATED_CHANGE_BYTES.saturating_sub(budget.inflated))?;
        budget.inflated += column.len();
        budget.count(spec, &column)
    })
}

type Columns = Vec<(u64, usize)>;

fn document_columns(reader: &mut Reader<'_>) -> Option<(Columns, Columns)> {
    for _ in 0..reader.number()? {
        reader.prefixed()?; // actors
    }
    let heads = reader.length()?;
    reader.take(heads.checked_mul(32)?)?;
    Some((reader.columns()?, reader.columns()?))
}

fn inflate(data: &[u8], most: usize) -> Result<Vec<u8>, String> {
    let mut inflated = Vec::new();
    let bound = most as u64 + 1;
    let read = flate2::bufread::DeflateDecoder::new(data).take(bound).read_to_end(&mut inflated);
    read.map_err(|_| "bytes that do not inflate".to_owned())?;
    if inflated.len() > most {
        return Err(format!("inflates to more than {MAX_INFLATED_CHANGE_BYTES} bytes"));
    }
    Ok(inflated)
}

/// What one chunk has used of its limits.
#[derive(Default)]
struct Budget {
    inflated: usize,
}

impl Budget {
    /// Counts the rows that a column stands for.
    fn count(&mut self, spec: u64, column: &[u8]) -> Result<(), String> {
        let too_many = || format!("a column of more than {MAX_CHANGE_ROWS} rows");
        let rows = match spec & 0b111 {
            0 => group_rows(column),
            1..=3 | 6 => run_rows(column, Value::Number),
            4 => boolean_rows(column),
            5 => run_rows(column, Value::Prefixed),
            _ => return Ok(()), // raw values: as many bytes as there are
        };
        // A column that is cut short is Automerge's to refuse: it reads no further than this did.
        if rows > MAX_CHANGE_ROWS { Err(too_many()) } else { Ok(()) }
    }
}

#[derive(Clone, Copy)]
enum Value {
    Number,
    Prefixed,
}

/// Rows of a run-length encoded column, as far as it can be read.
fn run_rows(column: &[u8], value: Value) -> u64 {
    runs(column, value, MAX_CHANGE_ROWS, |count, _| count)
}

/// Rows of the columns that belong to a group: the sum of the group's cardinalities.
fn group_rows(column: &[u8]) -> u64 {
    runs(column, Value::Number, MAX_CHANGE_ROWS, |count, each| count.saturating_mul(each.max(1)))
}

/// Past `most` it is not looked how many more there are.
fn runs(column: &[u8], value: Value, most: u64, weigh: impl Fn(u64, u64) -> u64) -> u64 {
    let mut reader = Reader(column);
    let mut rows = 0_u64;
    let mut read = || -> Option<u64> {
        let run = reader.signed()?;
        let one = |reader: &mut Reader<'_>| match value {
            Value::Number => reader.number(),
            Value::Prefixed => reader.prefixed().map(|_| 0),
        };
        match run {
            0 => reader.number(),
            1.. => Some(weigh(run.unsigned_abs(), one(&mut reader)?)),
            _ => {
                let mut sum = 0_u64;
                for _ in 0..run.unsigned_abs() {
                    sum = sum.saturating_add(weigh(1, one(&mut reader)?));
                }
                Some(sum)
            }
        }
    };
    while let Some(more) = read() {
        rows = rows.saturating_add(more);
        if rows > most {
            break;
        }
    }
    rows
}

fn boolean_rows(column: &[u8]) -> u64 {
    let mut reader = Reader(column);
    std::iter::from_fn(|| reader.number()).fold(0, u64::saturating_add)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// An unsigned LEB128; also skips a signed one.
    fn number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0_u64, 0);
        loop {
            let byte = self.byte()?;
            if shift < 64 {
                number |= u64::from(byte & 0x7f) << shift;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
    }

    fn signed(&mut self) -> Option<i64> {
        let (mut number, mut shift) = (0_i64, 0);
        loop {
            let byte = self.byte()?;
            if shift < 64 {
                number |= i64::from(byte & 0x7f) << shift;
            }
            shift += 7;
            if byte & 0x80 == 0 {
                if shift < 64 && byte & 0x40 != 0 {
                    number |= -1 << shift;
                }
                return Some(number);
            }
        }
    }

    fn length(&mut self) -> Option<usize> {
        self.number().and_then(|length| usize::try_from(length).ok())
    }

    fn prefixed(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        self.take(length)
    }

    fn columns(&mut self) -> Option<Columns> {
        let count = self.number()?;
        let mut columns = Vec::new();
        for _ in 0..count {
            columns.push((self.number()?, self.length()?));
        }
        Some(columns)
    }
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use automerge::{ActorId, Automerge, ROOT, ReadDoc};

    use super::*;

    fn sample() -> Automerge {
        let mut doc = Automerge::new().with_actor(ActorId::from([1; 16]));
        let mut tx = doc.transaction();
        let text = tx.put_object(&ROOT, "text", automerge::ObjType::Text).unwrap();
        tx.splice_text(&text, 0, 0, &"hello ".repeat(100)).unwrap();
        tx.put(&ROOT, "flag", true).unwrap();
        tx.commit();
        doc
    }

    #[test]
    fn what_automerge_writes_is_taken() {
        let doc = sample();
        let mut change = doc.get_changes(&[]).pop().unwrap();
        let all = [doc.save(), change.bytes().to_vec(), change.raw_bytes().to_vec()].concat();
        let kinds: Vec<_> = split(&all).unwrap().iter().map(|chunk| chunk.kind).collect();
        assert_eq!(kinds, [Kind::Document, Kind::Change, Kind::Change]);
        assert_eq!(split(&all).unwrap()[1].checksum, doc.get_heads()[0].0[..4]);
        assert!(doc.get_change_by_hash(&doc.get_heads()[0]).is_some());
    }

    #[test]
    fn cut_bytes_are_refused_and_never_panic() {
        let all = sample().save();
        for end in 1..all.len() {
            assert!(split(&all[..end]).is_err(), "cut at {end}");
        }
        assert!(split(b"not a change").is_err());
    }

    /// A compressed chunk of so many zero bytes.
    fn bomb(size: usize) -> Vec<u8> {
        let mut deflated = Vec::new();
        let zeros = std::io::repeat(0).take(size as u64);
        let zeros = std::io::BufReader::new(zeros);
        flate2::bufread::DeflateEncoder::new(zeros, flate2::Compression::best())
            .read_to_end(&mut deflated)
            .unwrap();
        let mut chunk = [&MAGIC[..], &[0; 4], &[2]].concat();
        let mut length = deflated.len();
        while length >= 0x80 {
            chunk.push(length as u8 | 0x80);
            length >>= 7;
        }
        chunk.push(length as u8);
        [chunk, deflated].concat()
    }

    #[test]
    fn a_chunk_that_inflates_past_the_limit_is_refused() {
        let fault = split(&bomb(MAX_INFLATED_CHANGE_BYTES + 1)).unwrap_err();
        assert!(fault.contains("inflates"), "{fault}");
        // Its twin is refused for what is in it, not for its size.
        let fault = split(&bomb(1 << 10)).err();
        assert!(fault.is_none_or(|fault| !fault.contains("inflates")));
    }

    #[test]
    fn a_run_that_stands_for_too_many_rows_is_counted() {
        // A run of 2^40 times the number 7.
        let run = [0x80, 0x80, 0x80, 0x80, 0x80, 0x20, 7];
        assert!(run_rows(&run, Value::Number) > MAX_CHANGE_ROWS);
        assert_eq!(run_rows(&[3, 7, 0x7e, 1, 2], Value::Number), 5);
        assert_eq!(run_rows(&[0, 9], Value::Number), 9);
        assert!(boolean_rows(&[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]) > MAX_CHANGE_ROWS);
        // One row of a group that claims 2^40 members.
        assert!(group_rows(&[1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]) > MAX_CHANGE_ROWS);
    }
}
