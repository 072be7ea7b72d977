//! What two sequences have in common: common ends first, then a search that ends at a deadline.

use std::hash::Hash;
use std::ops::Range;
use std::time::Instant;

use rustc_hash::FxHashMap;
use similar::{Algorithm, DiffOp, capture_diff_slices_deadline};

use crate::base::limits::{DIFF_AT_ONCE, DIFF_IN_PLACE};

/// A stretch of the old sequence that differs, and what stands there in the new one. Either may be empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Gap {
    pub old: Range<usize>,
    pub new: Range<usize>,
}

/// The stretches in which `new` differs from `old`, in ascending order. Past the deadline what has not been
/// searched is one gap.
pub(super) fn gaps<T: Hash + Eq>(old: &[T], new: &[T], deadline: Option<Instant>) -> Vec<Gap> {
    let whole = without_common_ends(old, new, Gap { old: 0..old.len(), new: 0..new.len() });
    let anchors = if whole.old.len() + whole.new.len() > DIFF_AT_ONCE {
        once_on_each_side(old, new, &whole)
    } else {
        Vec::new()
    };
    let mut gaps = Vec::new();
    let (mut old_at, mut new_at) = (whole.old.start, whole.new.start);
    for (old_next, new_next) in anchors.into_iter().chain([(whole.old.end, whole.new.end)]) {
        search(old, new, Gap { old: old_at..old_next, new: new_at..new_next }, deadline, &mut gaps);
        (old_at, new_at) = (old_next + 1, new_next + 1);
    }
    gaps
}

fn without_common_ends<T: Eq>(old: &[T], new: &[T], gap: Gap) -> Gap {
    let (old, new) = (&old[gap.old.clone()], &new[gap.new.clone()]);
    let start = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old, new) = (&old[start..], &new[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(|(a, b)| a == b).count();
    Gap { old: gap.old.start + start..gap.old.end - end, new: gap.new.start + start..gap.new.end - end }
}

/// Pushes the gaps within a gap.
fn search<T: Hash + Eq>(old: &[T], new: &[T], gap: Gap, deadline: Option<Instant>, gaps: &mut Vec<Gap>) {
    let gap = without_common_ends(old, new, gap);
    let mut push = |gap: Gap| {
        if !(gap.old.is_empty() && gap.new.is_empty()) {
            gaps.push(gap);
        }
    };
    if gap.old.is_empty() || gap.new.is_empty() {
        return push(gap);
    }
    let (mut old_at, mut new_at) = (gap.old.start, gap.new.start);
    let (old, new) = (&old[gap.old.clone()], &new[gap.new.clone()]);
    for op in capture_diff_slices_deadline(Algorithm::Myers, old, new, deadline) {
        if let DiffOp::Equal { old_index, new_index, len } = op {
            let (old_next, new_next) = (gap.old.start + old_index, gap.new.start + new_index);
            push(Gap { old: old_at..old_next, new: new_at..new_next });
            (old_at, new_at) = (old_next + len, new_next + len);
        }
    }
    push(Gap { old: old_at..gap.old.end, new: new_at..gap.new.end });
}

/// Of what occurs once on each side of the gap, the most that is in the same order on both.
fn once_on_each_side<T: Hash + Eq>(old: &[T], new: &[T], gap: &Gap) -> Vec<(usize, usize)> {
    // Where it is, on either side; None where it is there a second time.
    let mut places: FxHashMap<&T, [Option<Option<usize>>; 2]> = FxHashMap::default();
    for (side, (all, range)) in [(old, &gap.old), (new, &gap.new)].into_iter().enumerate() {
        for index in range.clone() {
            let place = &mut places.entry(&all[index]).or_default()[side];
            *place = Some(if place.is_none() { Some(index) } else { None });
        }
    }
    let mut pairs: Vec<_> = places
        .into_values()
        .filter_map(|place| match place {
            [Some(Some(old)), Some(Some(new))] => Some((old, new)),
            _ => None,
        })
        .collect();
    pairs.sort_unstable();
    longest_ascending(&pairs)
}

/// The longest subsequence of pairs, ascending in their first part, that ascends in the second too.
fn longest_ascending(pairs: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // For each length, the pair with the lowest second part that ends a subsequence so long.
    let mut ends: Vec<usize> = Vec::new();
    let mut before = vec![None; pairs.len()];
    for (index, pair) in pairs.iter().enumerate() {
        let length = ends.partition_point(|&end| pairs[end].1 < pair.1);
        before[index] = length.checked_sub(1).map(|shorter| ends[shorter]);
        match ends.get_mut(length) {
            Some(end) => *end = index,
            None => ends.push(index),
        }
    }
    let mut found: Vec<_> =
        std::iter::successors(ends.last().copied(), |&at| before[at]).map(|at| pairs[at]).collect();
    found.reverse();
    found
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
            let (old, new) = (nameless(old, &inner.old), nameless(new, &inner.new));
            if old.len().max(new.len()) <= DIFF_IN_PLACE {
                pairs.found.extend(old.into_iter().zip(new));
            }
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

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn passed() -> Option<Instant> {
        Some(Instant::now())
    }

    /// What `new` is made of, by the gaps and what they leave of `old`.
    fn applied<T: Clone>(old: &[T], new: &[T], gaps: &[Gap]) -> Vec<T> {
        let mut made = old.to_vec();
        for gap in gaps.iter().rev() {
            made.splice(gap.old.clone(), new[gap.new.clone()].iter().cloned());
        }
        made
    }

    /// By the textbook.
    fn longest_common(old: &[u8], new: &[u8]) -> usize {
        let mut row = vec![0; new.len() + 1];
        for a in old {
            let mut diagonal = 0;
            for (i, b) in new.iter().enumerate() {
                let best = if a == b { diagonal + 1 } else { row[i + 1].max(row[i]) };
                diagonal = std::mem::replace(&mut row[i + 1], best);
            }
        }
        row[new.len()]
    }

    #[test]
    fn equal_sequences_have_no_gaps() {
        assert_eq!(gaps(b"", b"", None), []);
        assert_eq!(gaps(b"abc", b"abc", passed()), []);
    }

    #[test]
    fn common_ends_need_no_time() {
        let (old, new) = (b"start, old, end", b"start, new, end");
        assert_eq!(gaps(old, new, passed()), [Gap { old: 7..10, new: 7..10 }]);
        assert_eq!(gaps(b"aa", b"aaa", passed()), [Gap { old: 2..2, new: 2..3 }]);
    }

    #[test]
    fn what_is_unique_in_long_lists_needs_no_time() {
        let old: Vec<_> = (0..100_000).collect();
        let mut new = old.clone();
        new.insert(0, -1);
        new.remove(50_001);
        new.push(-2);
        let found = gaps(&old, &new, passed());
        let insert = |at: usize, to: usize| Gap { old: at..at, new: to..to + 1 };
        assert_eq!(
            found,
            [insert(0, 0), Gap { old: 50_000..50_001, new: 50_001..50_001 }, insert(100_000, 100_000)]
        );
    }

    #[test]
    fn names_come_before_positions() {
        let element = |mark, name| Element { mark, name };
        let old = [element(1, Some(10)), element(2, None), element(3, Some(30)), element(4, Some(40))];
        let new = [element(5, None), element(6, Some(30)), element(4, Some(40)), element(7, Some(10))];
        assert_eq!(pairs(&old, &new, None), [(1, 0), (2, 1), (3, 2)]);
        // A different name is a different thing.
        assert_eq!(pairs(&[element(1, Some(1))], &[element(2, Some(2))], None), []);
        let long = |mark| vec![element(mark, None); DIFF_IN_PLACE + 1];
        assert_eq!(pairs(&long(1), &long(2), None), []);
        assert_eq!(pairs(&long(1)[1..], &long(2)[1..], None).len(), DIFF_IN_PLACE);
    }

    fn elements() -> impl Strategy<Value = Vec<Element>> {
        let element =
            (0u64..6, proptest::option::of(0u64..4)).prop_map(|(mark, name)| Element { mark, name });
        vec(element, 0..16)
    }

    proptest! {
        #[test]
        fn gaps_give_the_target(old in vec(0u8..4, 0..40), new in vec(0u8..4, 0..40), late in any::<bool>()) {
            let found = gaps(&old, &new, if late { passed() } else { None });
            prop_assert_eq!(applied(&old, &new, &found), new);
        }

        #[test]
        fn with_time_enough_what_is_left_is_longest(old in vec(0u8..4, 0..40), new in vec(0u8..4, 0..40)) {
            let left = old.len() - gaps(&old, &new, None).iter().map(|gap| gap.old.len()).sum::<usize>();
            prop_assert_eq!(left, longest_common(&old, &new));
        }

        #[test]
        fn long_sequences_too_give_the_target(old in vec(any::<u16>(), 6_000), cut in 0usize..5_000, new in vec(any::<u16>(), 100)) {
            let mut target = old.clone();
            target.splice(cut..cut + 500, new);
            target.rotate_left(cut / 2);
            let found = gaps(&old, &target, passed());
            prop_assert_eq!(applied(&old, &target, &found), target);
        }

        #[test]
        fn the_longest_ascending_subsequence_is_as_long_as_any(order in Just((0..9usize).collect::<Vec<_>>()).prop_shuffle()) {
            let pairs: Vec<_> = order.iter().copied().enumerate().collect();
            let found = longest_ascending(&pairs);
            prop_assert!(found.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
            let sorted: Vec<u8> = (0..9).collect();
            let order: Vec<u8> = order.into_iter().map(|n| n as u8).collect();
            prop_assert_eq!(found.len(), longest_common(&order, &sorted));
        }

        #[test]
        fn pairs_ascend_and_keep_what_is_equal_and_what_has_a_name(old in elements(), new in elements()) {
            let found = pairs(&old, &new, None);
            prop_assert!(found.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
            for &(a, b) in &found {
                let (a, b) = (old[a], new[b]);
                prop_assert!(a.mark == b.mark || a.name == b.name);
            }
            let marks = |elements: &[Element]| elements.iter().map(|e| e.mark as u8).collect::<Vec<_>>();
            prop_assert!(found.len() >= longest_common(&marks(&old), &marks(&new)));
        }
    }
}
