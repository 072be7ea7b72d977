//! What a node keeps on its disk of another: what that said of itself last, and when.

use minicbor::{Decoder, Encoder};

use super::entry::{EntryError, array, skip};
use super::message::{NodeInfo, decode_info, encode_info};
use crate::base::Millis;

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// As passed on: `age_ms` is that at the time of writing, and says nothing later.
    pub info: NodeInfo,
    /// Unix time.
    pub said: Millis,
}

impl Known {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut e = Encoder::new(&mut out);
        // Writing to a Vec cannot fail.
        let _ = e.array(2).and_then(|e| e.u64(self.said.0)).and_then(|e| encode_info(e, &self.info));
        out
    }

    /// # Errors
    /// When the bytes are none that [`Known::to_bytes`] gives.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, EntryError> {
        let d = &mut Decoder::new(bytes);
        let mut read = || {
            let fields = array(d, 2)?;
            let said = Millis(d.u64()?);
            let info = decode_info(d)?;
            skip(d, fields - 2)?;
            Ok(Self { info, said })
        };
        read().map_err(|e: minicbor::decode::Error| EntryError(e.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NodeId, Origin, Role};

    #[test]
    fn what_is_known_of_a_node_comes_back_from_its_bytes() {
        let origin = Origin { node: NodeId([1; 8]), incarnation: 2, random: 3 };
        let info = NodeInfo {
            node: origin.node,
            name: "one".into(),
            role: Role::Replica,
            url: Some("http://one".into()),
            origin,
            stamp: 2 << 32,
            age_ms: 7,
            vector: [(origin, 9)].into_iter().collect(),
            digest: [4; 16],
            links: vec![NodeId([2; 8])],
            lacks: true,
        };
        let known = Known { info, said: Millis(1 << 40) };
        let bytes = known.to_bytes();
        assert_eq!(Known::from_bytes(&bytes).unwrap(), known);
        assert!(Known::from_bytes(&bytes[1..]).is_err());
        // Those of a version that kept no more than a vector.
        let mut old = Vec::new();
        Encoder::new(&mut old).array(2).and_then(|e| e.u64(1)).and_then(|e| e.map(0)).unwrap();
        assert!(Known::from_bytes(&old).is_err());
    }
}
