//! Keys: how names and positions become bytes that sort as the families need it.

use crate::base::{DocId, Lsn};

/// Document ids have no control characters, so neither byte occurs in one: the tails of `a` and `ab`
/// are apart, and each document's keys are one run.
const SEPARATOR: u8 = 0;
const AFTER_SEPARATOR: u8 = 1;

/// Big endian, so that bytes sort as numbers do.
pub(super) fn position(lsn: Lsn) -> [u8; 8] {
    lsn.0.to_be_bytes()
}

pub(super) fn read_position(key: &[u8]) -> Option<Lsn> {
    key.try_into().ok().map(|bytes| Lsn(u64::from_be_bytes(bytes)))
}

/// Writes the key of a document's tail at `lsn` into `out`, in place of what was there.
pub(super) fn tail(out: &mut Vec<u8>, doc: &DocId, lsn: Lsn) {
    out.clear();
    out.extend_from_slice(doc.as_str().as_bytes());
    out.push(SEPARATOR);
    out.extend_from_slice(&position(lsn));
}

/// Above every tail key of `doc`, and below those of any other document that sorts after it.
pub(super) fn tail_end(doc: &DocId) -> Vec<u8> {
    let mut end = doc.as_str().as_bytes().to_vec();
    end.push(AFTER_SEPARATOR);
    end
}

pub(super) fn read_tail_position(key: &[u8]) -> Option<Lsn> {
    key.last_chunk::<8>().and_then(|bytes| read_position(bytes))
}

/// The id of the document that a tail's key is of.
pub(super) fn read_tail_document(key: &[u8]) -> Option<&[u8]> {
    let (id, _) = key.split_last_chunk::<8>()?;
    id.strip_suffix(&[SEPARATOR])
}

/// Above every key that begins with `prefix`; None where nothing is.
pub(super) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    *end.last_mut()? += 1;
    Some(end)
}

/// The first key that can be listed under `prefix` and above `after`.
pub(super) fn list_start(prefix: &str, after: Option<&str>) -> Vec<u8> {
    match after {
        Some(after) if after >= prefix => [after.as_bytes(), &[SEPARATOR]].concat(),
        _ => prefix.as_bytes().to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_key(doc: &str, lsn: u64) -> Vec<u8> {
        let mut key = Vec::new();
        tail(&mut key, &DocId::new(doc).unwrap(), Lsn(lsn));
        key
    }

    #[test]
    fn each_documents_tail_is_one_run_in_order_of_position() {
        let ids = ["a", "a b", "a!", "ab", "a/b", "a\u{10ffff}", "b", "ä"];
        let positions = [0, 1, 255, 256, 1 << 56, u64::MAX];
        for doc in ids {
            let end = tail_end(&DocId::new(doc).unwrap());
            let keys: Vec<_> = positions.map(|lsn| tail_key(doc, lsn)).into();
            assert!(keys.is_sorted());
            for other in ids {
                for lsn in positions {
                    let key = tail_key(other, lsn);
                    assert_eq!(keys[0] <= key && key < end, doc == other, "{other:?} among {doc:?}");
                    assert_eq!(read_tail_position(&key), Some(Lsn(lsn)));
                    assert_eq!(read_tail_document(&key), Some(other.as_bytes()));
                }
            }
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_the_first_key_beyond_it() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff\xff"), Some(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }
}
