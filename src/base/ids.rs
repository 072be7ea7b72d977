//! The names of things: nodes, origins, documents, changes, log positions.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::limits::MAX_DOC_ID_BYTES;

/// A node's lasting identity: 8 random bytes drawn when its data folder is made. Shown as 16 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct NodeId(pub [u8; 8]);

/// One incarnation of one node, as the place where a change entered the cluster.
///
/// Ordered by node, then incarnation. The random part tells two copies of one data folder apart that
/// were started with the same incarnation number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Origin {
    pub node: NodeId,
    pub incarnation: u32,
    pub random: u32,
}

/// SHA-256 of a change, as Automerge computes it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);

/// Hashes of the changes that no other change of a document depends on, in ascending order.
pub type Heads = SmallVec<[Hash; 1]>;

/// Position in one node's log; the first entry has 1. Means nothing on another node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Lsn(pub u64);

/// Milliseconds: of the Unix clock where a time of day is meant, else of the caller's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Millis(pub u64);

/// One connection between two nodes, as numbered by this node since its start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct LinkId(pub u64);

/// What a node does with writes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// Accepts writes.
    Master,
    /// Read-only: follows an upstream.
    Replica,
}

/// A document's id: 1 to 512 bytes of UTF-8 without control characters. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocId(Arc<str>);

#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum DocIdError {
    #[error("a document id must not be empty")]
    Empty,
    #[error("a document id has at most {MAX_DOC_ID_BYTES} bytes, this one has {0}")]
    TooLong(usize),
    #[error("a document id must not contain control characters")]
    Control,
}

/// One Automerge change as it is stored and sent: opaque bytes, and beside them what relaying needs.
///
/// `hash` and `deps` are what `bytes` say once they have been parsed and checked; until then they are
/// what the sender claims.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub hash: Hash,
    pub deps: Heads,
    /// The change as an Automerge chunk, compressed or not.
    pub bytes: Bytes,
}

impl Origin {
    /// The 16 bytes of an origin; also the Automerge actor of the changes made there.
    pub fn to_bytes(self) -> [u8; 16] {
        let mut out = [0; 16];
        out[..8].copy_from_slice(&self.node.0);
        out[8..12].copy_from_slice(&self.incarnation.to_be_bytes());
        out[12..].copy_from_slice(&self.random.to_be_bytes());
        out
    }

    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        let [n0, n1, n2, n3, n4, n5, n6, n7, i0, i1, i2, i3, r0, r1, r2, r3] = bytes;
        Self {
            node: NodeId([n0, n1, n2, n3, n4, n5, n6, n7]),
            incarnation: u32::from_be_bytes([i0, i1, i2, i3]),
            random: u32::from_be_bytes([r0, r1, r2, r3]),
        }
    }

    /// Whose ordinary changes are made in it: the incarnation itself in its first life, another actor of the same node
    /// and number in each later one.
    pub fn actor(&self, life: u64) -> [u8; 16] {
        if life == 0 {
            return self.to_bytes();
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.to_bytes()).update(&life.to_be_bytes());
        let random = hasher.finalize().as_bytes().first_chunk().map_or(0, |four| u32::from_be_bytes(*four));
        Self { random, ..*self }.to_bytes()
    }
}

impl Lsn {
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Millis {
    /// Time from `earlier` to here; 0 where `earlier` is later.
    pub fn since(self, earlier: Millis) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    pub fn plus(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }
}

impl DocId {
    pub fn new(id: &str) -> Result<Self, DocIdError> {
        if id.is_empty() {
            return Err(DocIdError::Empty);
        }
        if id.len() > MAX_DOC_ID_BYTES {
            return Err(DocIdError::TooLong(id.len()));
        }
        if id.chars().any(char::is_control) {
            return Err(DocIdError::Control);
        }
        Ok(Self(id.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for DocId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Master => "master",
            Role::Replica => "replica",
        }
    }
}

impl FromStr for Role {
    type Err = String;

    /// `slave` is taken for `replica`.
    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "master" => Ok(Role::Master),
            "replica" | "slave" => Ok(Role::Replica),
            _ => Err(format!("unknown role {s:?}: it is master or replica")),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for DocId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

fn read_hex<const N: usize>(s: &str) -> Option<[u8; N]> {
    if s.len() != 2 * N || !s.is_ascii() {
        return None;
    }
    let mut out = [0; N];
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(s.get(2 * i..2 * i + 2)?, 16).ok()?;
    }
    Some(out)
}

macro_rules! hex_text {
    ($type:ty, $what:literal, $to:expr, $from:expr) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(f, &($to)(self))
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                // The first bytes are enough to tell ids apart in a test's output or a log.
                write_hex(f, &($to)(self)[..4])
            }
        }
        impl FromStr for $type {
            type Err = String;
            fn from_str(s: &str) -> Result<Self, String> {
                read_hex(s).map($from).ok_or_else(|| format!("{s:?} is not {}", $what))
            }
        }
    };
}

hex_text!(NodeId, "a node id of 16 hex digits", |v: &NodeId| v.0, NodeId);
hex_text!(Hash, "a change hash of 64 hex digits", |v: &Hash| v.0, Hash);

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{:08x}", self.node, self.incarnation, self.random)
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}.{}.{:08x}", self.node, self.incarnation, self.random)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_comes_back_from_its_bytes() {
        let origin = Origin { node: NodeId([1, 2, 3, 4, 5, 6, 7, 8]), incarnation: 9, random: 0xdead_beef };
        assert_eq!(Origin::from_bytes(origin.to_bytes()), origin);
    }

    #[test]
    fn ids_are_checked() {
        assert_eq!(DocId::new(""), Err(DocIdError::Empty));
        assert_eq!(DocId::new("a\u{7}b"), Err(DocIdError::Control));
        assert_eq!(DocId::new(&"x".repeat(513)), Err(DocIdError::TooLong(513)));
        assert!(DocId::new(&"x".repeat(512)).is_ok());
        assert_eq!("00ff".parse::<NodeId>().ok(), None);
        assert_eq!(
            "00ff00ff00ff00ff".parse::<NodeId>().map(|n| n.to_string()),
            Ok("00ff00ff00ff00ff".into())
        );
    }
}
