//! Where a reader of live changes is, as an opaque text that every node of the cluster understands.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};

use super::entry::{array, decode_vector, encode_vector, skip};
use crate::base::VersionVector;
use crate::base::limits::{MAX_CURSOR_BYTES, MAX_DOC_ID_BYTES};

/// The reader has all that is in `vector`, of all documents; or, while it is being told of documents in order
/// of their ids, of those up to `listed`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cursor {
    pub vector: VersionVector,
    pub listed: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CursorError {
    #[error("this is no cursor")]
    Malformed,
    #[error("this is a cursor of another cluster")]
    OtherCluster,
}

impl Cursor {
    /// Base64url of a CBOR array: what tells clusters apart, the vector, and the id or null.
    pub fn to_text(&self, cluster: &str) -> String {
        let mut out = Vec::with_capacity(32 + 24 * self.vector.len());
        let e = &mut Encoder::new(&mut out);
        // Writing to a Vec cannot fail.
        let _ = e.array(3).and_then(|e| e.bytes(&mark(cluster)));
        let _ = encode_vector(e, &self.vector);
        let _ = match &self.listed {
            Some(id) => e.str(id),
            None => e.null(),
        };
        URL_SAFE_NO_PAD.encode(out)
    }

    /// # Errors
    /// As told in [`CursorError`].
    pub fn from_text(text: &str, cluster: &str) -> Result<Self, CursorError> {
        if text.len() > MAX_CURSOR_BYTES {
            return Err(CursorError::Malformed);
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| CursorError::Malformed)?;
        let (found, cursor) = decode(&bytes).map_err(|_| CursorError::Malformed)?;
        let listed = cursor.listed.as_ref().map_or(0, String::len);
        if listed > MAX_DOC_ID_BYTES {
            return Err(CursorError::Malformed);
        }
        if found == mark(cluster) { Ok(cursor) } else { Err(CursorError::OtherCluster) }
    }
}

/// Half a hash of the cluster's name.
fn mark(cluster: &str) -> [u8; 8] {
    let mut mark = [0; 8];
    blake3::Hasher::new().update(cluster.as_bytes()).finalize_xof().fill(&mut mark);
    mark
}

fn decode(bytes: &[u8]) -> Result<(Vec<u8>, Cursor), minicbor::decode::Error> {
    let d = &mut Decoder::new(bytes);
    let fields = array(d, 3)?;
    let mark = d.bytes()?.to_vec();
    let vector = decode_vector(d)?;
    let listed = match d.datatype()? {
        Type::Null => {
            d.null()?;
            None
        }
        _ => Some(d.str()?.to_owned()),
    };
    skip(d, fields - 3)?;
    if d.position() != bytes.len() {
        return Err(minicbor::decode::Error::message("bytes after the cursor"));
    }
    Ok((mark, Cursor { vector, listed }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NodeId, Origin};

    fn cursor(listed: Option<&str>) -> Cursor {
        let origin = Origin { node: NodeId([1; 8]), incarnation: 2, random: 3 };
        Cursor { vector: [(origin, 4)].into_iter().collect(), listed: listed.map(str::to_owned) }
    }

    #[test]
    fn a_cursor_comes_back_from_its_text() {
        for cursor in
            [cursor(None), cursor(Some("a/b")), Cursor { vector: VersionVector::new(), listed: None }]
        {
            assert_eq!(Cursor::from_text(&cursor.to_text("c"), "c"), Ok(cursor));
        }
    }

    #[test]
    fn a_cursor_of_another_cluster_is_told_from_garbage() {
        let text = cursor(None).to_text("c");
        assert_eq!(Cursor::from_text(&text, "d"), Err(CursorError::OtherCluster));
        let long = "A".repeat(MAX_CURSOR_BYTES + 1);
        for garbage in ["", "0", "AAAA", "!", &text[..text.len() - 1], &format!("{text}AA"), &long] {
            assert_eq!(Cursor::from_text(garbage, "c"), Err(CursorError::Malformed), "{garbage}");
        }
    }
}
