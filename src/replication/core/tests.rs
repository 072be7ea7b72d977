//! One state, one event, the exact effects.

mod repair;

use std::sync::Arc;

use super::*;
use crate::base::limits::{LINK_DEAD_MS, SOURCE_PATIENCE_MS};
use crate::base::{Hash, NodeId, Role};
use crate::replication::repair::Gather;
use crate::wire::{Offer, Push, Repair, Segment};

const ME: u8 = 5;

fn node(n: u8) -> NodeId {
    NodeId([n; 8])
}

fn origin(n: u8) -> Origin {
    Origin { node: node(n), incarnation: 1, random: 0 }
}

fn vector(of: &[(u8, u64)]) -> VersionVector {
    of.iter().map(|(n, counter)| (origin(*n), *counter)).collect()
}

fn hello(n: u8, has: &[(u8, u64)]) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        cluster: "c".into(),
        node: node(n),
        name: format!("n{n}"),
        role: Role::Master,
        url: None,
        origin: origin(n),
        vector: vector(has),
        floor: VersionVector::new(),
    }
}

fn entry(n: u8, counter: u64, held: &[(u8, u64)]) -> Received {
    let change = Change { hash: Hash([n; 32]), deps: Default::default(), bytes: vec![n; 1_000].into() };
    let doc = DocId::new("d").unwrap();
    let entry =
        Entry { origin: origin(n), counter, held: vector(held), doc, changes: vec![change], drops: None };
    Received { entry, damaged: None }
}

fn damaged(received: Received) -> Received {
    Received { damaged: Some("bits".into()), ..received }
}

fn segment(n: u8, counters: std::ops::RangeInclusive<u64>) -> Vec<Arc<Segment>> {
    let all: Vec<bytes::Bytes> =
        counters.map(|counter| entry(n, counter, &[]).entry.to_bytes().into()).collect();
    crate::wire::segments(&all)
}

/// Effects in short words. Heartbeats are left out: they come by time, not by event.
fn words(effects: Vec<Effect>) -> Vec<String> {
    let pairs = |of: &[(Origin, u64)]| -> String {
        let one = |(origin, counter): &(Origin, u64)| format!(" {}:{counter}", origin.node.0[0]);
        of.iter().map(one).collect()
    };
    let say = |effect| match effect {
        Effect::Send { link, message, .. } => {
            let said = match message {
                Message::Heartbeat(_) => return None,
                Message::Hello(_) => "hello".into(),
                Message::Request { start, stop } => {
                    let stop: String = stop.iter().map(|origin| format!(" {}", origin.node.0[0])).collect();
                    let (start, stop) = (pairs(&start), stop);
                    match (start.is_empty(), stop.is_empty()) {
                        (false, true) => format!("from{start}"),
                        (true, false) => format!("stop{stop}"),
                        _ => format!("from{start} stop{stop}"),
                    }
                }
                Message::Acknowledge(moved) => format!("ack{}", pairs(&moved.iter().collect::<Vec<_>>())),
                Message::Segments(segments) => {
                    let one = |s: &Arc<Segment>| format!(" {}:{}-{}", s.origin.node.0[0], s.first, s.last);
                    format!("entries{}", segments.iter().map(one).collect::<String>())
                }
                Message::Repair(repair) => match *repair {
                    Repair::Start { vector, .. } => {
                        format!("start{}", pairs(&vector.iter().collect::<Vec<_>>()))
                    }
                    Repair::Floor(floor) => format!("floor{}", pairs(&floor.iter().collect::<Vec<_>>())),
                    Repair::Fetch { documents } => format!("fetch {}", documents.len()),
                    Repair::Walk { compare, take } => format!("walk {compare:?} {take:?}"),
                    Repair::Leaves { group, .. } => format!("leaves of {group}"),
                    other => format!("{other:?}").to_lowercase(),
                },
                other => format!("{other:?}"),
            };
            Some(format!("{}: {said}", link.0))
        }
        Effect::Absorb { link, doc, last, .. } => Some(format!("absorb {doc} of {}, last: {last}", link.0)),
        Effect::Cover => Some("cover".into()),
        Effect::Whole => Some("whole".into()),
        Effect::Renew { as_another, above } => Some(format!("renew above {above}, as another: {as_another}")),
        Effect::Compare { link, offers } => Some(format!("compare {} of {}", offers.len(), link.0)),
        Effect::Gather { link, gather } => Some(match gather {
            Gather::Slice { after, .. } => format!("slice after {after:?} for {}", link.0),
            Gather::Documents(documents) => format!("{} documents for {}", documents.len(), link.0),
        }),
        Effect::Read { link, from: ReadFrom::At(lsn) } => Some(format!("{}: read at {}", link.0, lsn.0)),
        Effect::Read { link, from: ReadFrom::Seek(sent) } => {
            Some(format!("{}: read past{}", link.0, pairs(&sent.into_iter().collect::<Vec<_>>())))
        }
        Effect::Commit { received, .. } => {
            let Entry { origin, counter, .. } = received.entry;
            let how = if received.damaged.is_some() { " damaged" } else { "" };
            Some(format!("commit {}:{counter}{how}", origin.node.0[0]))
        }
        Effect::Close { link, reason } => Some(format!("{}: close: {reason}", link.0)),
    };
    effects.into_iter().filter_map(say).collect()
}

struct Rig {
    core: Core,
    now: Millis,
    lsn: u64,
}

impl Rig {
    fn with(has: &[(u8, u64)], bounds: Bounds) -> Self {
        let me = Identity {
            cluster: "c".into(),
            node: node(ME),
            name: "me".into(),
            role: Role::Master,
            url: None,
            origin: origin(ME),
        };
        let now = Millis(100_000);
        let start = Start { vector: vector(has), ..Start::default() };
        Self { core: Core::new(now, me, bounds, start), now, lsn: 0 }
    }

    fn new(has: &[(u8, u64)]) -> Self {
        Self::with(has, Bounds::default())
    }

    fn event(&mut self, event: Event) -> Vec<String> {
        let mut effects = Vec::new();
        self.core.handle(self.now, event, &mut effects);
        words(effects)
    }

    fn after(&mut self, ms: u64) -> Vec<String> {
        self.now = self.now.plus(ms);
        self.event(Event::Tick)
    }

    fn up(&mut self, link: u64, dialled: bool) {
        assert_eq!(self.event(Event::LinkUp { link: LinkId(link), dialled }), [format!("{link}: hello")]);
    }

    fn says(&mut self, link: u64, message: Message) -> Vec<String> {
        self.event(Event::Message { link: LinkId(link), message })
    }

    /// A link with node `n`, which has that.
    fn linked(&mut self, link: u64, n: u8, has: &[(u8, u64)]) -> Vec<String> {
        self.up(link, true);
        self.says(link, Message::Hello(Box::new(hello(n, has))))
    }

    fn brings(&mut self, link: u64, entries: Vec<Received>) -> Vec<String> {
        self.event(Event::Entries { link: LinkId(link), entries })
    }

    fn wants(&mut self, link: u64, n: u8, after: u64) -> Vec<String> {
        self.says(link, Message::Request { start: vec![(origin(n), after)], stop: Vec::new() })
    }

    fn committed(&mut self, segments: Vec<Arc<Segment>>) -> Vec<String> {
        let first = Lsn(self.lsn + 1);
        self.lsn += segments.iter().map(|s| s.last - s.first + 1).sum::<u64>();
        self.event(Event::Committed { segments, first, last: Lsn(self.lsn) })
    }

    /// By link: what the next heartbeat says of this node, and of whom else it speaks.
    fn beats(&mut self) -> BTreeMap<u64, (Option<NodeInfo>, Vec<u8>)> {
        self.now = self.now.plus(HEARTBEAT_MS);
        let mut effects = Vec::new();
        self.core.handle(self.now, Event::Tick, &mut effects);
        let beats = effects.into_iter().filter_map(|effect| match effect {
            Effect::Send { link, message: Message::Heartbeat(beat), .. } => Some((link.0, beat.nodes)),
            _ => None,
        });
        beats
            .map(|(link, nodes)| {
                let (mine, others): (Vec<_>, Vec<_>) =
                    nodes.into_iter().partition(|info| info.node == node(ME));
                (link, (mine.into_iter().next(), others.iter().map(|info| info.node.0[0]).collect()))
            })
            .collect()
    }

    fn writes(&mut self) -> Entry {
        self.core.stage_local(DocId::new("d").unwrap(), Vec::new(), None)
    }
}

#[test]
fn a_new_link_is_asked_for_its_own_origin_and_for_what_it_has_more() {
    let mut rig = Rig::new(&[(2, 3), (3, 3)]);
    assert_eq!(rig.linked(1, 1, &[(2, 5), (3, 3)]), ["1: from 1:0", "1: from 2:3"]);
}

#[test]
fn an_entry_that_fits_is_committed_and_one_that_is_known_is_dropped() {
    let mut rig = Rig::new(&[(1, 3), (2, 1)]);
    rig.linked(1, 1, &[(1, 4)]);
    assert_eq!(rig.brings(1, vec![entry(1, 3, &[]), entry(1, 4, &[(2, 1)])]), ["commit 1:4"]);
    // What is staged counts as had.
    assert_eq!(rig.brings(1, vec![entry(1, 4, &[(2, 1)])]), [""; 0]);
}

#[test]
fn an_entry_waits_for_its_cause_and_for_its_predecessor() {
    let mut rig = Rig::new(&[]);
    rig.linked(1, 1, &[(1, 2), (2, 1)]);
    assert_eq!(rig.brings(1, vec![entry(1, 2, &[]), entry(1, 1, &[(2, 1)])]), [""; 0]);
    assert!(rig.core.held_bytes() > 2_000);
    assert_eq!(rig.brings(1, vec![entry(2, 1, &[])]), ["commit 2:1", "commit 1:1", "commit 1:2"]);
    assert_eq!(rig.core.held_bytes(), 0);
}

#[test]
fn a_cause_that_is_missing_for_50_ms_is_asked_for_from_the_link_that_has_it() {
    let mut rig = Rig::new(&[]);
    rig.linked(1, 1, &[]);
    // The cause is to come from its own origin, which brings nothing.
    assert_eq!(rig.linked(2, 2, &[(2, 1)]), ["2: from 2:0"]);
    rig.after(0);
    assert_eq!(rig.says(1, Message::Acknowledge(vector(&[(1, 1), (2, 1)]))), [""; 0]);
    assert_eq!(rig.brings(1, vec![entry(1, 1, &[(2, 1)])]), [""; 0]);
    assert_eq!(rig.after(SOURCE_PATIENCE_MS - 1), [""; 0]);
    assert_eq!(rig.after(1), ["2: stop 2", "1: from 2:0"]);
    assert_eq!(rig.brings(1, vec![entry(2, 1, &[])]), ["commit 2:1", "commit 1:1"]);
}

#[test]
fn a_source_that_brings_something_is_kept() {
    let mut rig = Rig::new(&[]);
    rig.linked(2, 2, &[(2, 9)]);
    rig.linked(1, 1, &[(2, 9)]);
    for counter in 1..=5 {
        rig.now = rig.now.plus(SOURCE_PATIENCE_MS - 1);
        assert_eq!(rig.brings(2, vec![entry(2, counter, &[])]).len(), 1);
        assert_eq!(rig.event(Event::Tick), [""; 0]);
    }
}

#[test]
fn when_a_source_dies_the_origin_is_taken_from_another_link() {
    let mut rig = Rig::new(&[]);
    rig.linked(1, 1, &[(9, 5)]);
    rig.linked(2, 2, &[(9, 6)]);
    assert_eq!(rig.brings(1, vec![entry(9, 1, &[])]), ["commit 9:1"]);
    assert_eq!(rig.event(Event::LinkDown { link: LinkId(1) }), ["2: from 9:1"]);
    assert_eq!(rig.event(Event::LinkDown { link: LinkId(1) }), [""; 0]);
}

#[test]
fn what_does_not_fit_into_the_hold_is_stopped_once_and_asked_for_again() {
    let bounds = Bounds { hold: 2_500, ..Bounds::default() };
    let mut rig = Rig::with(&[], bounds);
    rig.linked(1, 1, &[(1, 5), (2, 1)]);
    let waiting = (1..=5).map(|counter| entry(1, counter, &[(2, 1)])).collect();
    assert_eq!(rig.brings(1, waiting), ["1: stop 1"]);
    assert!(rig.core.held_bytes() <= 2_500);
    assert_eq!(rig.brings(1, vec![entry(2, 1, &[])]), ["commit 2:1", "commit 1:1", "commit 1:2"]);
    assert_eq!(rig.after(SOURCE_PATIENCE_MS - 1), [""; 0]);
    // It was chosen once already, and once in vain.
    assert_eq!(rig.after(1), ["1: from 1:2"]);
}

#[test]
fn another_cluster_a_copy_of_this_node_and_a_false_name_are_refused() {
    let refused = |change: fn(&mut Hello)| {
        let mut rig = Rig::new(&[]);
        rig.up(1, true);
        let mut hello = hello(1, &[]);
        change(&mut hello);
        rig.says(1, Message::Hello(Box::new(hello)))
    };
    assert_eq!(refused(|_| ()), ["1: from 1:0"]);
    assert_eq!(
        refused(|hello| hello.cluster = "d".into()),
        [r#"1: close: another cluster: "d" there, "c" here (see --cluster)"#]
    );
    assert_eq!(
        refused(|hello| (hello.node, hello.origin) = (node(ME), origin(ME))),
        ["1: close: that is this node itself"]
    );
    assert_eq!(
        refused(|hello| hello.origin = origin(2)),
        ["1: close: a hello with the origin of another node"]
    );
}

#[test]
fn the_first_message_is_hello_and_no_later_one() {
    let mut rig = Rig::new(&[]);
    rig.up(1, true);
    assert_eq!(rig.wants(1, 1, 0), ["1: close: the first message must be hello"]);
    rig.linked(2, 2, &[]);
    let again = Message::Hello(Box::new(hello(2, &[])));
    assert_eq!(rig.says(2, again), ["2: close: a second hello"]);
}

#[test]
fn of_two_links_the_one_that_the_lower_id_dialled_stays() {
    const DUPLICATE: &str = "close: a duplicate: these two nodes are linked already";
    for (other, first_dialled, gone) in [(9, true, 2), (9, false, 1), (1, true, 1), (1, false, 2)] {
        let mut rig = Rig::new(&[]);
        rig.up(1, first_dialled);
        rig.says(1, Message::Hello(Box::new(hello(other, &[]))));
        rig.up(2, !first_dialled);
        let said = rig.says(2, Message::Hello(Box::new(hello(other, &[]))));
        assert_eq!(said[0], format!("{gone}: {DUPLICATE}"), "node {other}");
        assert_eq!(rig.core.linked().count(), 1);
    }
}

#[test]
fn a_node_that_began_anew_takes_the_place_of_its_old_link() {
    let mut rig = Rig::new(&[]);
    rig.linked(1, 9, &[]);
    rig.up(2, false);
    let mut hello = hello(9, &[]);
    hello.origin.incarnation = 2;
    let said = rig.says(2, Message::Hello(Box::new(hello)));
    assert_eq!(said, ["1: close: a duplicate: these two nodes are linked already", "2: from 9:0"]);
}

#[test]
fn only_what_moved_is_acknowledged_and_only_once_it_is_on_disk() {
    let mut rig = Rig::new(&[(3, 3)]);
    rig.linked(1, 1, &[(1, 1)]);
    assert_eq!(rig.brings(1, vec![entry(1, 1, &[])]), ["commit 1:1"]);
    assert_eq!(rig.after(10), [""; 0]);
    assert_eq!(rig.committed(segment(1, 1..=1)), ["1: ack 1:1"]);
    assert_eq!(rig.committed(Vec::new()), [""; 0]);
}

#[test]
fn a_commit_goes_to_the_links_that_want_its_origin_and_lack_it() {
    let mut rig = Rig::new(&[]);
    rig.linked(1, 1, &[]);
    rig.linked(2, 2, &[]);
    assert_eq!(rig.wants(1, ME, 0), [""; 0]);
    assert_eq!(rig.writes().counter, 1);
    assert_eq!(rig.committed(segment(ME, 1..=1)), ["1: ack 5:1", "1: entries 5:1-1", "2: ack 5:1"]);
    let stop = Message::Request { start: Vec::new(), stop: vec![origin(ME)] };
    assert_eq!(rig.says(1, stop), [""; 0]);
    rig.writes();
    assert_eq!(rig.committed(segment(ME, 2..=2)), ["1: ack 5:2", "2: ack 5:2"]);
}

#[test]
fn the_log_is_read_from_the_beginning_for_whom_nothing_was_sent() {
    let mut rig = Rig::new(&[(2, 9), (3, 4)]);
    rig.linked(1, 1, &[]);
    assert_eq!(rig.wants(1, 2, 0), ["1: read past 2:0"]);
    // While a read is under way a new wish waits for it, and is then looked up as well.
    assert_eq!(rig.wants(1, 3, 2), [""; 0]);
    let read = Event::LogRead { link: LinkId(1), segments: segment(2, 1..=9), next: Lsn(10) };
    assert_eq!(rig.event(read), ["1: entries 2:1-9", "1: read past 2:9 3:2"]);
}

#[test]
fn a_link_without_room_gets_nothing_and_reads_the_log_when_it_has_drained() {
    let bounds = Bounds { window: 500, ..Bounds::default() };
    let mut rig = Rig::with(&[], bounds);
    rig.linked(1, 1, &[]);
    rig.wants(1, ME, 0);
    rig.writes();
    assert_eq!(rig.committed(segment(ME, 1..=1)), ["1: ack 5:1", "1: entries 5:1-1"]);
    rig.writes();
    assert_eq!(rig.committed(segment(ME, 2..=2)), [""; 0]);
    rig.writes();
    assert_eq!(rig.committed(segment(ME, 3..=3)), [""; 0]);
    let drained = Event::Drained { link: LinkId(1), weight: 2_000 };
    assert_eq!(rig.event(drained), ["1: ack 5:3", "1: read at 2"]);
    let read = Event::LogRead { link: LinkId(1), segments: segment(ME, 2..=3), next: Lsn(4) };
    assert_eq!(rig.event(read), ["1: entries 5:2-3"]);
}

#[test]
fn a_link_that_is_not_heard_is_dead() {
    let mut rig = Rig::new(&[]);
    rig.linked(1, 1, &[]);
    rig.up(2, true);
    rig.after(LINK_DEAD_MS / 2);
    rig.says(1, Message::Heartbeat(Default::default()));
    assert_eq!(rig.after(LINK_DEAD_MS / 2), ["2: close: no hello came"]);
    assert_eq!(rig.after(LINK_DEAD_MS / 2), ["1: close: nothing was heard for 10000 ms"]);
}

#[test]
fn a_node_that_has_lost_its_own_writes_is_refused_and_one_whose_word_is_late_is_not() {
    for late in [false, true] {
        let mut rig = Rig::new(&[(1, 5)]);
        rig.linked(1, 1, &[(1, 3)]);
        rig.after(0);
        for _ in 0..3 {
            rig.says(1, Message::Heartbeat(Default::default()));
            assert_eq!(rig.after(LINK_DEAD_MS / 4), [""; 0]);
        }
        if late {
            rig.says(1, Message::Acknowledge(vector(&[(1, 5)])));
        }
        rig.says(1, Message::Heartbeat(Default::default()));
        let said = rig.after(LINK_DEAD_MS / 4);
        assert_eq!(said.iter().any(|said| said.contains("it has lost writes")), !late, "{said:?}");
    }
}

#[test]
fn a_damaged_entry_is_asked_for_once_elsewhere() {
    let mut rig = Rig::new(&[]);
    rig.linked(1, 1, &[(9, 2)]);
    rig.linked(2, 2, &[(9, 2)]);
    let both = vec![damaged(entry(9, 1, &[])), entry(9, 2, &[])];
    assert_eq!(rig.brings(1, both), ["1: stop 9", "2: from 9:0"]);
    assert_eq!(rig.brings(2, vec![entry(9, 1, &[])]), ["commit 9:1", "commit 9:2"]);
}

#[test]
fn a_damaged_entry_is_committed_as_it_is_where_no_better_one_comes() {
    // Nobody else has it.
    let mut alone = Rig::new(&[]);
    alone.linked(1, 1, &[(9, 1)]);
    assert_eq!(alone.brings(1, vec![damaged(entry(9, 1, &[]))]), ["commit 9:1 damaged"]);
    // The other copy is damaged too.
    let mut both = Rig::new(&[]);
    both.linked(1, 1, &[(9, 1)]);
    both.linked(2, 2, &[(9, 1)]);
    both.brings(1, vec![damaged(entry(9, 1, &[]))]);
    assert_eq!(both.brings(2, vec![damaged(entry(9, 1, &[]))]), ["commit 9:1 damaged"]);
    // The other copy never comes.
    let mut never = Rig::new(&[]);
    never.linked(1, 1, &[(9, 1)]);
    never.linked(2, 2, &[(9, 1)]);
    never.brings(1, vec![damaged(entry(9, 1, &[]))]);
    assert!(never.after(999).iter().all(|said| !said.contains("commit")));
    assert_eq!(never.after(1), ["commit 9:1 damaged"]);
}

#[test]
fn a_local_entry_names_what_came_here_since_the_one_before() {
    let mut rig = Rig::new(&[(1, 7)]);
    let first = rig.writes();
    assert_eq!((first.counter, first.held), (1, vector(&[(1, 7)])));
    let second = rig.writes();
    assert_eq!((second.counter, second.held), (2, VersionVector::new()));
    rig.linked(2, 2, &[(2, 1)]);
    rig.brings(2, vec![entry(2, 1, &[])]);
    // What is in the same commit before it counts.
    assert_eq!(rig.writes().held, vector(&[(2, 1)]));
    assert_eq!(rig.writes().held, VersionVector::new());
}

#[test]
fn a_failed_commit_ends_all_links_and_begins_an_origin_that_names_all_it_holds() {
    let mut rig = Rig::new(&[(1, 7)]);
    rig.linked(1, 1, &[(1, 8)]);
    rig.writes();
    rig.brings(1, vec![entry(1, 8, &[])]);
    rig.brings(1, vec![entry(1, 10, &[])]);
    let origin = Origin { incarnation: 2, ..origin(ME) };
    let said = rig.event(Event::CommitFailed { origin });
    assert_eq!(said, ["1: close: this node's storage failed, it begins anew"]);
    assert_eq!((rig.core.staged(), rig.core.held_bytes()), (&vector(&[(1, 7)]), 0));
    let entry = rig.writes();
    assert_eq!((entry.origin, entry.counter, entry.held), (origin, 1, vector(&[(1, 7)])));
}

#[test]
fn rows_of_the_table_are_passed_on_and_not_told_back() {
    let mut rig = Rig::new(&[]);
    rig.linked(1, 1, &[]);
    rig.linked(2, 2, &[]);
    let row = NodeInfo { node: node(9), ..first_row(&hello(9, &[])) };
    rig.says(1, Message::Heartbeat(crate::wire::Heartbeat { log_head: 0, nodes: vec![row] }));
    let mut beats = rig.beats();
    assert_eq!(beats.remove(&1).unwrap().1, [2]);
    assert_eq!(beats.remove(&2).unwrap().1, [1, 9]);
}

#[test]
fn a_node_that_began_from_a_backup_speaks_up_above_what_it_hears_of_itself() {
    let mut rig = Rig::new(&[]);
    rig.linked(1, 1, &[]);
    let before = rig.beats()[&1].0.as_ref().unwrap().stamp;
    let later = NodeInfo { stamp: before + 1_000, ..first_row(&hello(ME, &[])) };
    rig.says(1, Message::Heartbeat(crate::wire::Heartbeat { log_head: 0, nodes: vec![later] }));
    assert!(rig.beats()[&1].0.as_ref().unwrap().stamp > before + 1_000);
}
