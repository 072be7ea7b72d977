//! The digest of all documents and their heads, in leaves, so that two nodes find what differs between them.

use std::sync::Arc;

use super::{DocId, Hash};

/// Leaves of a digest. A million documents put 15 into each, and all of them take 1 MiB.
pub const LEAVES: usize = 65_536;

/// Leaves of one group. Two nodes compare sums of groups first.
pub const GROUP: usize = 256;

/// The leaf to which a document belongs, whatever its heads.
pub fn leaf_of(doc: &DocId) -> u16 {
    let hash = blake3::hash(doc.as_str().as_bytes());
    hash.as_bytes().first_chunk().map_or(0, |two| u16::from_be_bytes(*two))
}

/// What a document of these heads adds to its leaf; nothing where it has none.
fn part(doc: &DocId, heads: &[Hash]) -> u128 {
    if heads.is_empty() {
        return 0;
    }
    let mut hasher = blake3::Hasher::new();
    hasher.update(doc.as_str().as_bytes()).update(&[0]);
    for head in heads {
        hasher.update(&head.0);
    }
    hasher.finalize().as_bytes().first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
}

/// Leaf by leaf the sum of what its documents add, and how many these are. Sums, so that a document's part can be
/// taken out again.
#[derive(Clone)]
pub struct Digest {
    sums: Vec<u128>,
    documents: Vec<u32>,
    total: u128,
}

/// How one document's part changes, to be applied and taken back.
#[derive(Clone, Copy, Debug)]
pub struct Shift {
    leaf: u16,
    by: u128,
    documents: i32,
}

impl Shift {
    /// Of a document whose heads were `before` and are `after`.
    pub fn new(doc: &DocId, before: &[Hash], after: &[Hash]) -> Self {
        Self {
            leaf: leaf_of(doc),
            by: part(doc, after).wrapping_sub(part(doc, before)),
            documents: i32::from(!after.is_empty()) - i32::from(!before.is_empty()),
        }
    }
}

impl Digest {
    pub fn new() -> Self {
        Self { sums: vec![0; LEAVES], documents: vec![0; LEAVES], total: 0 }
    }

    pub fn apply(&mut self, shift: Shift) {
        let leaf = usize::from(shift.leaf);
        self.total = self.total.wrapping_add(shift.by);
        if let (Some(sum), Some(documents)) = (self.sums.get_mut(leaf), self.documents.get_mut(leaf)) {
            *sum = sum.wrapping_add(shift.by);
            *documents = documents.saturating_add_signed(shift.documents);
        }
    }

    pub fn take_back(&mut self, shift: Shift) {
        let Shift { leaf, by, documents } = shift;
        self.apply(Shift { leaf, by: 0_u128.wrapping_sub(by), documents: -documents });
    }

    /// Of all documents.
    pub fn total(&self) -> [u8; 16] {
        self.total.to_be_bytes()
    }

    /// Of each group its leaves' sum, cut to 64 bits: enough against chance.
    pub fn groups(&self) -> Vec<u64> {
        self.sums
            .chunks(GROUP)
            .map(|group| cut(group.iter().fold(0, |sum, leaf| sum.wrapping_add(*leaf))))
            .collect()
    }

    /// The leaves of one group: sums cut to 64 bits.
    pub fn group(&self, group: u8) -> Vec<u64> {
        self.sums
            .chunks(GROUP)
            .nth(usize::from(group))
            .unwrap_or_default()
            .iter()
            .map(|leaf| cut(*leaf))
            .collect()
    }

    /// Documents of the leaf.
    pub fn documents_of(&self, leaf: u16) -> u32 {
        self.documents.get(usize::from(leaf)).copied().unwrap_or(0)
    }

    /// Documents of all leaves.
    pub fn documents(&self) -> u64 {
        self.documents.iter().map(|count| u64::from(*count)).sum()
    }
}

impl Default for Digest {
    fn default() -> Self {
        Self::new()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({:032x})", self.total)
    }
}

fn cut(sum: u128) -> u64 {
    (sum >> 64) as u64 ^ sum as u64
}

/// Some of the leaves.
#[derive(Clone, PartialEq, Eq)]
pub struct LeafSet(Arc<[u64]>);

impl LeafSet {
    /// Bytes of its encoding.
    pub const BYTES: usize = LEAVES / 8;

    pub fn new(leaves: impl IntoIterator<Item = u16>) -> Self {
        let mut words = vec![0_u64; LEAVES / 64];
        for leaf in leaves {
            if let Some(word) = words.get_mut(usize::from(leaf) / 64) {
                *word |= 1 << (leaf % 64);
            }
        }
        Self(words.into())
    }

    pub fn contains(&self, leaf: u16) -> bool {
        self.0.get(usize::from(leaf) / 64).is_some_and(|word| word >> (leaf % 64) & 1 == 1)
    }

    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        (0..=u16::MAX).filter(|leaf| self.contains(*leaf))
    }

    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }

    /// One bit a leaf.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// None where they are not as many as there should be.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let whole = rest.is_empty() && bytes.len() == Self::BYTES;
        whole.then(|| Self(words.iter().map(|word| u64::from_le_bytes(*word)).collect()))
    }
}

impl std::fmt::Debug for LeafSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LeafSet({} leaves)", self.iter().count())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(n: u32) -> DocId {
        DocId::new(&format!("doc/{n}")).unwrap()
    }

    #[test]
    fn a_digest_is_that_of_its_documents_in_whatever_order_they_came() {
        let head = |n: u8| [Hash([n; 32])];
        let (mut one, mut two) = (Digest::new(), Digest::new());
        for n in 0..500 {
            one.apply(Shift::new(&doc(n), &[], &head(1)));
        }
        for n in (0..500).rev() {
            two.apply(Shift::new(&doc(n), &[], &head(2)));
            two.apply(Shift::new(&doc(n), &head(2), &head(1)));
        }
        assert_eq!((one.total(), one.groups(), one.documents()), (two.total(), two.groups(), 500));
        let gone = Shift::new(&doc(7), &head(1), &[]);
        two.apply(gone);
        let leaf = leaf_of(&doc(7));
        let group = (leaf >> 8) as u8;
        let differing = |of: fn(&Digest) -> Vec<u64>| {
            of(&one)
                .iter()
                .zip(of(&two))
                .enumerate()
                .filter(|(_, (a, b))| **a != *b)
                .map(|(n, _)| n)
                .collect()
        };
        let groups: Vec<usize> = differing(Digest::groups);
        assert_eq!(groups, [usize::from(group)]);
        assert_ne!(one.group(group), two.group(group));
        assert_eq!(two.documents_of(leaf) + 1, one.documents_of(leaf));
        two.take_back(gone);
        assert_eq!((one.total(), one.group(group)), (two.total(), two.group(group)));
    }

    #[test]
    fn a_set_of_leaves_comes_back_from_its_bytes() {
        let set = LeafSet::new([0, 63, 64, 65_535]);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 63, 64, 65_535]);
        assert_eq!(LeafSet::from_bytes(&set.to_bytes()), Some(set.clone()));
        assert_eq!(LeafSet::from_bytes(&set.to_bytes()[1..]), None);
        assert!(!set.is_empty() && LeafSet::new([]).is_empty());
    }
}
