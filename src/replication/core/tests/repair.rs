//! Repair by digest, floors, closed incarnations and copies: one state, one event, the exact effects.

use super::*;
use crate::base::limits::FORGET_NODE_MS;
use crate::base::{GROUP, LEAVES, leaf_of};
use crate::replication::core::mend::SAID_MS;

const GROUPS: usize = LEAVES / GROUP;

fn doc() -> DocId {
    DocId::new("d").unwrap()
}

/// The group of the document, and its leaf's place in it.
fn place() -> (u8, usize) {
    let [group, leaf] = leaf_of(&doc()).to_be_bytes();
    (group, usize::from(leaf))
}

fn push(last: bool) -> Vec<(Push, Option<String>)> {
    let part = crate::wire::Part::Changes(entry(1, 1, &[]).entry.changes);
    vec![(Push { doc: doc(), part, last }, None)]
}

impl Rig {
    fn repairs(&mut self, link: u64, repair: Repair) -> Vec<String> {
        self.says(link, Message::Repair(Box::new(repair)))
    }

    /// A link with node `n`, which has that, and whose log reaches back no further than to `floor`.
    fn linked_above(&mut self, link: u64, n: u8, has: &[(u8, u64)], floor: &[(u8, u64)]) -> Vec<String> {
        self.up(link, true);
        let hello = Hello { floor: vector(floor), ..hello(n, has) };
        self.says(link, Message::Hello(Box::new(hello)))
    }

    /// The other end had that when it began, and its document "d" differs.
    fn starts(&mut self, link: u64, has: &[(u8, u64)]) -> Vec<String> {
        let (group, leaf) = place();
        let mut groups = vec![0; GROUPS];
        groups[usize::from(group)] = 7;
        let start = self.repairs(link, Repair::Start { vector: vector(has), groups });
        assert_eq!(start, [format!("{link}: descend {{ groups: [{group}] }}")]);
        let (mut sums, mut documents) = (vec![0; GROUP], vec![0; GROUP]);
        (sums[leaf], documents[leaf]) = (7, 1);
        self.repairs(link, Repair::Leaves { group, sums, documents })
    }
}

#[test]
fn what_lies_below_every_floor_is_repaired_and_merged_as_it_was_at_the_start() {
    let mut rig = Rig::new(&[(1, 3)]);
    assert_eq!(rig.linked_above(1, 1, &[(1, 9)], &[(1, 5)]), ["1: begin"]);
    // Nothing of the document is here: it is taken whole.
    assert_eq!(rig.starts(1, &[(1, 9)]), ["1: walk LeafSet(0 leaves) LeafSet(1 leaves)"]);
    assert_eq!(rig.says(1, Message::Acknowledge(vector(&[(1, 12)]))), [""; 0]);
    let pushed = rig.event(Event::Pushed { link: LinkId(1), pushes: push(true) });
    assert_eq!(pushed, ["absorb d of 1, last: true"]);
    let absorbed = Event::Absorbed { link: LinkId(1), doc: doc(), last: true, lacks: None };
    assert_eq!(rig.event(absorbed), [""; 0]);
    let end = rig.repairs(1, Repair::Slice { offers: Vec::new(), next: None });
    assert_eq!(end, ["cover", "1: end", "1: from 1:9"]);
    assert_eq!(*rig.core.staged(), vector(&[(1, 9)]));
    assert_eq!(*rig.core.staged_floor(), vector(&[(1, 9)]));
    assert_eq!(rig.committed(Vec::new()), ["1: ack 1:9", "1: floor 1:9"]);
    assert_eq!(rig.core.repairs().0, 1);
}

/// Seed 130: a part would not cover what the entries hang on that logs bring of the rest.
#[test]
fn a_repair_merges_all_of_what_the_other_end_had_though_a_log_would_give_a_part() {
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked(2, 2, &[(2, 6)]);
    assert_eq!(rig.linked_above(1, 1, &[(1, 9), (2, 6)], &[(1, 5)]), ["1: begin"]);
    rig.starts(1, &[(1, 9), (2, 6)]);
    let end = rig.repairs(1, Repair::Slice { offers: Vec::new(), next: None });
    assert_eq!(end[..2], ["cover", "1: end"]);
    assert_eq!(*rig.core.staged(), vector(&[(1, 9), (2, 6)]));
    assert_eq!(*rig.core.staged_floor(), vector(&[(1, 9), (2, 6)]));
    // Where logs give all of it, nothing is merged.
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked_above(1, 1, &[(1, 9)], &[(1, 5)]);
    rig.linked(2, 2, &[(1, 9)]);
    rig.starts(1, &[(1, 9)]);
    rig.repairs(1, Repair::Slice { offers: Vec::new(), next: None });
    assert_eq!(*rig.core.staged(), vector(&[(1, 3)]));
}

/// Seed 57: what this node's hello has told of it is out of date.
#[test]
fn a_floor_that_rises_is_told_over_links_that_have_yet_to_say_hello_too() {
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked(1, 1, &[(1, 3)]);
    rig.up(2, false);
    rig.core.raise_floor(&vector(&[(1, 2)]));
    assert_eq!(rig.committed(Vec::new()), ["1: floor 1:2", "2: floor 1:2"]);
    assert_eq!(rig.committed(Vec::new()), [""; 0]);
}

#[test]
fn what_a_log_gives_needs_no_repair_and_makes_no_floor() {
    let mut rig = Rig::new(&[(1, 3)]);
    assert_eq!(rig.linked_above(1, 1, &[(1, 9)], &[(1, 3)]), ["1: from 1:3"]);
    // Another node's log reaches back where this one's does not.
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked_above(1, 2, &[(1, 9)], &[(1, 3)]);
    assert_eq!(rig.linked_above(2, 1, &[(1, 9)], &[(1, 5)]), [""; 0]);
    assert_eq!(rig.after(10), [""; 0]);
}

#[test]
fn a_floor_that_rises_has_those_repaired_who_are_below_it() {
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked(1, 1, &[(1, 9)]);
    assert_eq!(rig.repairs(1, Repair::Floor(vector(&[(1, 3)]))), [""; 0]);
    assert_eq!(rig.repairs(1, Repair::Floor(vector(&[(1, 4)]))), ["1: begin"]);
}

#[test]
fn documents_that_may_differ_are_offered_and_only_what_is_missing_is_fetched() {
    let mut rig = Rig::new(&[(1, 3)]);
    rig.core.shift(Shift::new(&doc(), &[], &[Hash([9; 32])]));
    rig.linked_above(1, 1, &[(1, 9)], &[(1, 5)]);
    assert_eq!(rig.starts(1, &[(1, 9)]), ["1: walk LeafSet(1 leaves) LeafSet(0 leaves)"]);
    let offers = vec![Offer { doc: doc(), heads: Heads::new() }];
    let slice = Repair::Slice { offers, next: Some(doc()) };
    assert_eq!(rig.repairs(1, slice), ["compare 1 of 1"]);
    let compared = Event::Compared { link: LinkId(1), wanted: vec![(doc(), Heads::new())] };
    assert_eq!(rig.event(compared), ["1: fetch 1", "1: next { after: some(\"d\") }"]);
    // The walk has ended, and one document is on its way.
    assert_eq!(rig.repairs(1, Repair::Slice { offers: Vec::new(), next: None }), [""; 0]);
    let absorbed = |last, lacks| Event::Absorbed { link: LinkId(1), doc: doc(), last, lacks };
    assert_eq!(rig.event(absorbed(false, None)), [""; 0]);
    // Something of it is here by now: the rest is asked for when all that comes of it has come.
    assert_eq!(rig.event(absorbed(false, Some(Heads::new()))), [""; 0]);
    assert_eq!(rig.event(absorbed(true, None)), ["1: fetch 1"]);
    assert_eq!(rig.event(absorbed(true, Some(Heads::new()))), ["1: fetch 1"]);
    assert_eq!(rig.event(absorbed(true, None))[..2], ["cover", "1: end"]);
}

#[test]
fn what_turns_out_to_be_missing_of_a_document_on_its_way_is_asked_for_again() {
    let mut rig = Rig::new(&[]);
    rig.linked(1, 1, &[]);
    let lacks = |rig: &mut Rig| rig.event(Event::Lacks { link: LinkId(1), doc: doc(), heads: Heads::new() });
    let absorbed = || Event::Absorbed { link: LinkId(1), doc: doc(), last: true, lacks: None };
    assert_eq!(lacks(&mut rig), ["1: fetch 1"]);
    // What was asked for may have been read before this was there.
    assert_eq!(lacks(&mut rig), [""; 0]);
    assert_eq!(rig.event(absorbed()), ["1: fetch 1"]);
    assert_eq!(rig.event(absorbed()), [""; 0]);
}

#[test]
fn what_is_still_missing_of_documents_is_asked_for_over_one_link_after_the_other() {
    let mut rig = Rig::new(&[]);
    let missing = |rig: &mut Rig| rig.event(Event::Missing { documents: vec![(doc(), Heads::new())] });
    let absorbed = |rig: &mut Rig, link| {
        rig.event(Event::Absorbed { link: LinkId(link), doc: doc(), last: true, lacks: None })
    };
    assert_eq!(missing(&mut rig), [""; 0]);
    rig.linked(1, 1, &[]);
    rig.linked(2, 2, &[]);
    // This one has not said who it is.
    rig.up(3, true);
    assert_eq!(missing(&mut rig), ["1: fetch 1"]);
    // It is on its way.
    assert_eq!(missing(&mut rig), [""; 0]);
    for (from, next) in [(1, 2), (2, 1)] {
        absorbed(&mut rig, from);
        rig.core.asked = LinkId(from);
        assert_eq!(missing(&mut rig), [format!("{next}: fetch 1")]);
    }
    // A link that ends takes with it what was to come over it.
    rig.event(Event::LinkDown { link: LinkId(1) });
    assert_eq!(missing(&mut rig), ["2: fetch 1"]);
}

#[test]
fn nothing_is_missing_where_all_that_are_heard_of_have_the_same() {
    let says = |rig: &mut Rig, digest, stamp| {
        let vector = rig.core.vector().clone();
        let row = NodeInfo { digest, stamp, vector, ..first_row(&hello(1, &[])) };
        rig.says(1, Message::Heartbeat(crate::wire::Heartbeat { log_head: 0, nodes: vec![row] }));
        rig.after(10)
    };
    let mut rig = Rig::new(&[(1, 3)]);
    rig.core.lack(true);
    assert_eq!(rig.after(10), [""; 0]);
    rig.linked(1, 1, &[(1, 3)]);
    assert_eq!(says(&mut rig, [1; 16], u64::MAX - 1), [""; 0]);
    assert_eq!(says(&mut rig, [0; 16], u64::MAX), ["whole"]);
    rig.core.lack(false);
    assert_eq!(rig.after(10), [""; 0]);
}

#[test]
fn a_node_that_lacks_something_says_so_and_does_not_count_as_having_it() {
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked(1, 1, &[(1, 3)]);
    let lacks = |rig: &mut Rig| rig.beats()[&1].0.as_ref().map(|mine| mine.lacks);
    assert_eq!(lacks(&mut rig), Some(false));
    rig.core.lack(true);
    assert_eq!((lacks(&mut rig), rig.core.is_complete()), (Some(true), false));
    let whole_if = |rig: &mut Rig, lacks, stamp| {
        let row = NodeInfo { lacks, stamp, ..first_row(&hello(1, &[(1, 3)])) };
        rig.says(1, Message::Heartbeat(crate::wire::Heartbeat { log_head: 0, nodes: vec![row] }));
        rig.core.whole().get(&origin(1))
    };
    // Until it says of itself that it lacks nothing.
    assert_eq!(rig.core.whole().get(&origin(1)), 0);
    assert_eq!(whole_if(&mut rig, false, u64::MAX - 2), 3);
    assert_eq!(whole_if(&mut rig, true, u64::MAX - 1), 0);
}

#[test]
fn equal_vectors_and_different_digests_are_borne_for_two_seconds() {
    let row = |rig: &Rig, digest, stamp| {
        let has = rig.core.vector().clone();
        let info = NodeInfo { digest, stamp, vector: has, ..first_row(&hello(1, &[])) };
        Message::Heartbeat(crate::wire::Heartbeat { log_head: 0, nodes: vec![info] })
    };
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked(1, 1, &[(1, 3)]);
    rig.says(1, row(&rig, [1; 16], u64::MAX - 2));
    assert_eq!(rig.after(1_999), [""; 0]);
    rig.says(1, row(&rig, [1; 16], u64::MAX - 1));
    assert_eq!(rig.after(1), ["1: begin"]);
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked(1, 1, &[(1, 3)]);
    rig.says(1, row(&rig, [0; 16], u64::MAX - 1));
    assert_eq!(rig.after(9_000), [""; 0]);
}

#[test]
fn repairs_that_bring_nothing_come_less_and_less_often_until_nothing_differs() {
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked(1, 1, &[(1, 3)]);
    let mut stamp = u64::MAX / 2;
    let mut says = |rig: &mut Rig, digest| {
        stamp += 1;
        let has = rig.core.vector().clone();
        let info = NodeInfo { digest, stamp, vector: has, ..first_row(&hello(1, &[])) };
        rig.says(1, Message::Heartbeat(crate::wire::Heartbeat { log_head: 0, nodes: vec![info] }));
    };
    let mut waits = |rig: &mut Rig| {
        for second in 0..200 {
            says(rig, [1; 16]);
            rig.event(Event::Drained { link: LinkId(1), weight: usize::MAX });
            if rig.after(1_000).iter().any(|said| said == "1: begin") {
                rig.starts(1, &[(1, 3)]);
                rig.repairs(1, Repair::Slice { offers: Vec::new(), next: None });
                assert!(rig.core.repairing().is_none());
                return second + 1;
            }
        }
        panic!("no repair")
    };
    let waited: Vec<u32> = (0..7).map(|_| waits(&mut rig)).collect();
    assert_eq!(waited, [2, 4, 8, 16, 32, 64, 64]);
    let has = rig.core.vector().clone();
    let info =
        NodeInfo { digest: rig.core.digest(), stamp: u64::MAX, vector: has, ..first_row(&hello(1, &[])) };
    rig.says(1, Message::Heartbeat(crate::wire::Heartbeat { log_head: 0, nodes: vec![info] }));
    assert_eq!(rig.core.fruitless, 0);
}

#[test]
fn whoever_has_nothing_takes_all_by_digest_from_those_whose_logs_do_not_reach_back() {
    let mut rig = Rig::new(&[]);
    // Not even what the log has, until all that is below is here.
    assert_eq!(rig.linked_above(1, 1, &[(1, 9), (2, 4)], &[(2, 2)]), ["1: begin"]);
    assert_eq!(rig.says(1, Message::Acknowledge(vector(&[(1, 12)]))), [""; 0]);
    rig.starts(1, &[(1, 9), (2, 4)]);
    let end = rig.repairs(1, Repair::Slice { offers: Vec::new(), next: None });
    assert_eq!(end, ["cover", "1: end", "1: from 1:9"]);
    assert_eq!(*rig.core.staged_floor(), vector(&[(1, 9), (2, 4)]));
}

#[test]
fn documents_have_more_than_the_vector_names_until_that_names_what_whoever_gave_them_had() {
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked(1, 1, &[(1, 3), (2, 4)]);
    assert!(rig.core.is_complete() && rig.core.staged_ahead().is_empty());
    // Something hangs on what is not here, and is fetched.
    let heads = Heads::new();
    assert_eq!(rig.event(Event::Lacks { link: LinkId(1), doc: doc(), heads }).len(), 1);
    rig.says(1, Message::Acknowledge(vector(&[(1, 5)])));
    rig.event(Event::Pushed { link: LinkId(1), pushes: push(true) });
    rig.event(Event::Absorbed { link: LinkId(1), doc: doc(), last: true, lacks: None });
    rig.committed(Vec::new());
    let ahead = vector(&[(1, 5), (2, 4)]);
    assert_eq!((rig.core.is_complete(), rig.core.staged_ahead()), (false, &ahead));
    rig.brings(1, (4..=5).map(|n| entry(1, n, &[])).chain((1..=3).map(|n| entry(2, n, &[]))).collect());
    rig.committed(Vec::new());
    assert_eq!((rig.core.is_complete(), rig.core.staged_ahead()), (false, &ahead));
    rig.brings(1, vec![entry(2, 4, &[])]);
    assert_eq!((rig.core.is_complete(), rig.core.staged_ahead().is_empty()), (false, true));
    rig.committed(Vec::new());
    assert!(rig.core.is_complete());
}

#[test]
fn whoever_gives_documents_says_first_what_it_has_by_then() {
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked(1, 1, &[(1, 3)]);
    rig.brings(1, vec![entry(1, 4, &[])]);
    rig.repairs(1, Repair::Fetch { documents: vec![(doc(), Heads::new())] });
    // No room for more than what is on its way already.
    let weight = rig.core.links[&LinkId(1)].in_flight;
    rig.core.links.get_mut(&LinkId(1)).unwrap().in_flight = usize::MAX;
    rig.committed(Vec::new());
    let pushes = push(true).into_iter().map(|(push, _)| push).collect();
    let gathered = Event::Gathered { link: LinkId(1), repairs: vec![Repair::Pushes(pushes)], rest: None };
    assert_eq!(rig.event(gathered), [""; 0]);
    rig.core.links.get_mut(&LinkId(1)).unwrap().in_flight = weight;
    let drained = rig.event(Event::Drained { link: LinkId(1), weight });
    assert_eq!(drained.len(), 2, "{drained:?}");
    assert!(drained[0] == "1: ack 1:4" && drained[1].starts_with("1: pushes"), "{drained:?}");
}

#[test]
fn a_node_that_has_no_links_forgets_whom_it_knew_all_the_same() {
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked(1, 1, &[(1, 3)]);
    rig.event(Event::LinkDown { link: LinkId(1) });
    rig.after(FORGET_NODE_MS - 1);
    assert!(rig.core.knows(&node(1)));
    rig.after(1);
    assert!(!rig.core.knows(&node(1)) && rig.core.acknowledged().next().is_none());
}

#[test]
fn a_repair_ends_with_its_link_and_begins_anew_over_another() {
    let mut rig = Rig::new(&[(1, 3)]);
    rig.linked_above(1, 1, &[(1, 9)], &[(1, 5)]);
    rig.linked_above(2, 2, &[(1, 9)], &[(1, 5)]);
    rig.event(Event::LinkDown { link: LinkId(1) });
    assert_eq!(rig.event(Event::Tick), ["2: begin"]);
    assert_eq!(rig.core.repairs().0, 0);
}

#[test]
fn who_repairs_keeps_the_log_from_the_start_until_the_end() {
    let mut rig = Rig::new(&[(ME, 1)]);
    rig.linked(1, 1, &[]);
    assert_eq!(rig.repairs(1, Repair::Begin)[0], format!("1: start {ME}:1"));
    rig.core.log_head = Lsn(9);
    assert_eq!(rig.core.needed_log(), Lsn(0));
    let walk = Repair::Walk { compare: crate::base::LeafSet::new([1]), take: crate::base::LeafSet::new([]) };
    assert_eq!(rig.repairs(1, walk), ["slice after None for 1"]);
    // One task at a time, and what was read is sent first.
    assert_eq!(rig.repairs(1, Repair::Fetch { documents: vec![(doc(), Heads::new())] }), [""; 0]);
    let gathered = Event::Gathered { link: LinkId(1), repairs: vec![Repair::Pushes(Vec::new())], rest: None };
    assert_eq!(rig.event(gathered), ["1: pushes([])", "1 documents for 1"]);
    rig.repairs(1, Repair::End);
    assert_eq!(rig.core.needed_log(), Lsn(9));
    // Without a walk there are no slices.
    assert_eq!(rig.repairs(1, Repair::Next { after: None }), ["1: close: a slice of no walk"]);
}

#[test]
fn earlier_incarnations_are_closed_when_every_known_node_holds_them() {
    let mine = |incarnation, counter| (Origin { incarnation, ..origin(ME) }, counter);
    let has: VersionVector = [mine(1, 7), mine(2, 0)].into_iter().collect();
    let me = Identity { origin: Origin { incarnation: 2, ..origin(ME) }, ..Rig::new(&[]).core.me.clone() };
    let start = || Start { vector: has.clone(), ..Start::default() };
    let mut rig = Rig::new(&[]);
    rig.core = Core::new(rig.now, me, Bounds::default(), start());
    rig.linked(1, 1, &[(ME, 6)]);
    assert_eq!(rig.after(10), [""; 0]);
    let says_it_has_all = |rig: &mut Rig, stamp| {
        let row = NodeInfo { vector: vector(&[(ME, 7)]), stamp, ..first_row(&hello(1, &[])) };
        rig.says(1, Message::Heartbeat(crate::wire::Heartbeat { log_head: 0, nodes: vec![row] }));
    };
    // That may be a word from before this incarnation began, when others may not have had more yet.
    says_it_has_all(&mut rig, u64::MAX - 1);
    assert_eq!(rig.after(SAID_MS - 50), [""; 0]);
    rig.now = rig.now.plus(50);
    says_it_has_all(&mut rig, u64::MAX);
    assert_eq!(rig.after(10), ["cover"]);
    assert_eq!(rig.core.staged().iter().count(), 0);
    assert!(rig.core.staged().covers(&vector(&[(ME, 7)])));
    // Whoever has not closed them compares what it has before it does so.
    let mut other = Rig::new(&[(8, 7)]);
    other.up(1, true);
    let mut closed = VersionVector::new();
    closed.close(node(8), 1);
    let said = other.says(1, Message::Hello(Box::new(Hello { vector: closed, ..hello(1, &[]) })));
    assert_eq!(said[0], "1: begin");
}

#[test]
fn of_a_node_and_its_copy_the_one_with_the_lower_origin_becomes_another() {
    let meets = |incarnation| {
        let mut rig = Rig::new(&[]);
        rig.up(1, true);
        let origin = Origin { incarnation, ..origin(ME) };
        rig.says(1, Message::Hello(Box::new(Hello { node: node(ME), origin, ..hello(1, &[]) })))
    };
    let close = format!("1: close: {}", copies::COPY);
    assert_eq!(meets(2), ["renew above 0, as another: true", &close]);
    assert_eq!(meets(0), [&*close]);
}

#[test]
fn a_word_of_this_node_that_it_never_said_tells_of_a_copy_but_an_echo_does_not() {
    let heard = |incarnation, after_start: u64, age_ms: u64| {
        let mut rig = Rig::new(&[]);
        // An incarnation later, the process is as old as before.
        rig.now = rig.now.plus(after_start);
        rig.event(Event::Renewed { origin: Origin { incarnation: 3, ..origin(ME) } });
        rig.linked(1, 1, &[]);
        let copy = Hello { origin: Origin { incarnation, ..origin(ME) }, ..hello(ME, &[]) };
        let row = NodeInfo { age_ms, ..first_row(&copy) };
        rig.says(1, Message::Heartbeat(crate::wire::Heartbeat { log_head: 0, nodes: vec![row] }))
    };
    assert_eq!(heard(4, 60_000, 1_000), ["renew above 0, as another: true"]);
    assert_eq!(heard(4, 60_000, 50_000), [""; 0]);
    assert_eq!(heard(4, 5_000, 0), [""; 0]);
    // The other hears of this one, or this one said it itself.
    assert_eq!(heard(2, 60_000, 1_000), [""; 0]);
    assert_eq!(heard(1, 60_000, 1_000), [""; 0]);
    assert_eq!(heard(3, 60_000, 1_000), [""; 0]);
}

#[test]
fn of_two_copies_that_do_not_meet_the_one_that_is_to_give_way_hears_of_the_other() {
    let stamp_after = |incarnation, said: u64| {
        let mut rig = Rig::new(&[]);
        rig.event(Event::Renewed { origin: Origin { incarnation: 3, ..origin(ME) } });
        rig.linked(1, 1, &[]);
        let copy = Hello { origin: Origin { incarnation, ..origin(ME) }, ..hello(ME, &[]) };
        let row = NodeInfo { stamp: rig.core.stamp + said, ..first_row(&copy) };
        let before = rig.core.stamp;
        rig.says(1, Message::Heartbeat(crate::wire::Heartbeat { log_head: 0, nodes: vec![row] }));
        rig.core.stamp - before
    };
    // The other's next words would be above this one's at once, and this one's not be passed on to it.
    assert!(stamp_after(2, 7) > 7 + 100_000);
    // It is this one that gives way. It is to be heard of, too, or the other would not know that it is to speak up.
    assert_eq!(stamp_after(4, 7), 7 + 1_024);
}

#[test]
fn a_node_that_comes_from_an_old_copy_begins_above_what_others_have_seen() {
    let hears = |seen: VersionVector| {
        let mut rig = Rig::new(&[]);
        rig.up(1, true);
        rig.says(1, Message::Hello(Box::new(Hello { vector: seen, ..hello(1, &[]) })))
    };
    let later = |n| [(Origin { incarnation: n, ..origin(ME) }, 3)].into_iter().collect::<VersionVector>();
    assert_eq!(hears(later(4)), ["renew above 4, as another: false"]);
    assert_eq!(hears(later(1))[0], "1: from 1:0");
    let mut closed = VersionVector::new();
    closed.close(node(ME), 1);
    assert_eq!(hears(closed), ["renew above 2, as another: false"]);
}
