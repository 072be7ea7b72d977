//! What two sequences have in common: common ends first, then a search that ends at a deadline.

use std::hash::Hash;
use std::ops::Range;
use std::time::Instant;

use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

/// A stretch of the old sequence that differs, and what stands there in the new one. Either may be empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    pub old: Range<usize>,
    pub new: Range<usize>,
}

/// The stretches in which `new` differs from `old`, in ascending order. Past the deadline what has not been
/// searched is one gap.
pub(super) fn gaps<T: Hash + Eq>(old: &[T], new: &[T], deadline: Option<Instant>) -> Vec<Gap> {
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_middle, new_middle) = (&old_rest[..old_rest.len() - end], &new_rest[..new_rest.len() - end]);

    let common = if old_middle.is_empty() || new_middle.is_empty() {
        Vec::new()
    } else {
        capture_diff_slices_deadline(Algorithm::Myers, old_middle, new_middle, deadline)
    };
    let common = common.into_iter().filter_map(|op| match op {
        DiffOp::Equal { old_index, new_index, len } => Some((start + old_index, start + new_index, len)),
        _ => None,
    });
    let mut gaps = Vec::new();
    let (mut old_at, mut new_at) = (start, start);
    for (old_next, new_next, length) in common.chain([(old.len() - end, new.len() - end, end)]) {
        if (old_at, new_at) != (old_next, new_next) {
            gaps.push(Gap { old: old_at..old_next, new: new_at..new_next });
        }
        (old_at, new_at) = (old_next + length, new_next + length);
    }
    gaps
}

/// What is compared of an element of a list.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// A hash of its value.
    pub mark: u64,
    /// A hash of what names it among its like, if anything does.
    pub name: Option<u64>,
}

/// Which old elements become which new ones, in ascending order on both sides: those with equal values; of
/// the others, in each gap, those with the same name; and among these the nameless ones by their position.
pub(super) fn pairs(old: &[Element], new: &[Element], deadline: Option<Instant>) -> Vec<(usize, usize)> {
    let marks = |elements: &[Element]| elements.iter().map(|element| element.mark).collect::<Vec<_>>();
    let mut pairs = Pairs::default();
    for gap in gaps(&marks(old), &marks(new), deadline) {
        pairs.common_until(&gap);
        // The nameless are like nothing on the other side.
        let names = |elements: &[Element], side| {
            let name = |(i, element): (usize, &Element)| element.name.ok_or((side, i));
            elements.iter().enumerate().map(name).collect::<Vec<_>>()
        };
        let (old_names, new_names) = (names(&old[gap.old.clone()], 0), names(&new[gap.new.clone()], 1));
        for inner in gaps(&old_names, &new_names, deadline) {
            let shift = |range: &Range<usize>, by: usize| range.start + by..range.end + by;
            let inner = Gap { old: shift(&inner.old, gap.old.start), new: shift(&inner.new, gap.new.start) };
            pairs.common_until(&inner);
            let nameless = |elements: &[Element], range: &Range<usize>| {
                range.clone().filter(|&i| elements[i].name.is_none()).collect::<Vec<_>>()
            };
            pairs.found.extend(nameless(old, &inner.old).into_iter().zip(nameless(new, &inner.new)));
            pairs.next = (inner.old.end, inner.new.end);
        }
        pairs.common_until(&Gap { old: gap.old.end..gap.old.end, new: gap.new.end..gap.new.end });
    }
    pairs.common_until(&Gap { old: old.len()..old.len(), new: new.len()..new.len() });
    pairs.found
}

#[derive(Default)]
struct Pairs {
    found: Vec<(usize, usize)>,
    next: (usize, usize),
}

impl Pairs {
    /// All up to the gap is common.
    fn common_until(&mut self, gap: &Gap) {
        self.found.extend((self.next.0..gap.old.start).zip(self.next.1..gap.new.start));
        self.next = (gap.old.start, gap.new.start);
    }
}
