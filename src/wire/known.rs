//! What a node keeps on its disk of another: what that has on its own, and when it was last heard of.

use minicbor::{Decoder, Encoder};

use super::entry::{EntryError, array, decode_vector, encode_vector, skip};
use crate::base::{Millis, VersionVector};

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    pub vector: VersionVector,
    /// Unix time.
    pub heard: Millis,
}

impl Known {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut e = Encoder::new(&mut out);
        // Writing to a Vec cannot fail.
        let _ = e.array(2).and_then(|e| e.u64(self.heard.0)).and_then(|e| encode_vector(e, &self.vector));
        out
    }

    /// # Errors
    /// When the bytes are none that [`Known::to_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let d = &mut Decoder::new(bytes);
        let mut read = || {
            let fields = array(d, 2)?;
            let heard = Millis(d.u64()?);
            let vector = decode_vector(d)?;
            skip(d, fields - 2)?;
            Ok(Self { vector, heard })
        };
        read().map_err(|e: minicbor::decode::Error| EntryError(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NodeId, Origin};

    #[test]
    fn what_is_known_of_a_node_comes_back_from_its_bytes() {
        let origin = Origin { node: NodeId([1; 8]), incarnation: 2, random: 3 };
        let known = Known { vector: [(origin, 9)].into_iter().collect(), heard: Millis(1 << 40) };
        let bytes = known.to_bytes();
        assert_eq!(Known::from_bytes(&bytes).unwrap(), known);
        assert!(Known::from_bytes(&bytes[1..]).is_err());
    }
}
