//! Three engines that hear each other without delay.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::base::limits::FORGET_NODE_MS;
use crate::node::{gather, read_log};
use crate::store::{Commit, Fold, MemoryStore, Record};
use crate::wire::{Entry, Known, Part, Push, Repair};

const NODES: usize = 3;

struct Lab {
    now: Millis,
    bounds: Bounds,
    disks: Vec<MemoryStore>,
    engines: Vec<Engine>,
    starts: u32,
    events: VecDeque<(usize, Event)>,
    /// Documents on their way are lost.
    loses_documents: bool,
}

/// The link of `from` to `to`.
fn link(to: usize) -> LinkId {
    LinkId(to as u64)
}

fn id(node: usize) -> NodeId {
    NodeId([node as u8 + 1; 8])
}

fn open(now: Millis, bounds: Bounds, node: usize, start: u32, disk: &MemoryStore) -> Engine {
    let config = EngineConfig {
        cluster: "lab".into(),
        name: format!("n{node}"),
        role: Role::Master,
        url: None,
        bounds,
    };
    let mut dice = Dice { node: id(node), random: start };
    dice.node.0[7] ^= start as u8;
    Engine::open(now, now, config, dice, Arc::new(disk.clone())).unwrap()
}

impl Lab {
    fn new(bounds: Bounds) -> Self {
        let now = Millis(1_000);
        let disks: Vec<_> = (0..NODES).map(|_| MemoryStore::new()).collect();
        let engines = disks.iter().enumerate().map(|(n, disk)| open(now, bounds, n, 0, disk)).collect();
        let events = VecDeque::new();
        let mut lab = Self { now, bounds, disks, engines, starts: 0, events, loses_documents: false };
        for from in 0..NODES {
            lab.up(from);
        }
        lab
    }

    /// A node's links come up at its end.
    fn up(&mut self, node: usize) {
        for to in (0..NODES).filter(|to| *to != node) {
            self.event(node, Event::LinkUp { link: link(to), dialled: node < to });
        }
    }

    fn restart(&mut self, node: usize) {
        self.events.retain(|(to, _)| *to != node);
        self.reopen(node);
        for other in (0..NODES).filter(|other| *other != node) {
            self.event(other, Event::LinkDown { link: link(node) });
            self.event(other, Event::LinkUp { link: link(node), dialled: other < node });
        }
        self.up(node);
    }

    /// A process ends and another begins, without links as yet.
    fn reopen(&mut self, node: usize) {
        self.starts += 1;
        self.disks[node] = self.disks[node].restart();
        self.engines[node] = open(self.now, self.bounds, node, self.starts, &self.disks[node]);
    }

    /// In a node's place comes another, with an empty disk and an id of its own, as far as its start is another.
    fn replace(&mut self, node: usize) {
        self.disks[node] = MemoryStore::new();
        self.restart(node);
        self.pass(1);
    }

    fn restart_each(&mut self, nodes: std::ops::Range<usize>) {
        for node in nodes {
            self.restart(node);
            self.pass(1);
        }
    }

    fn event(&mut self, node: usize, event: Event) {
        let mut outputs = Vec::new();
        self.engines[node].handle(self.now, event, &mut outputs).unwrap();
        self.perform(node, outputs);
    }

    fn perform(&mut self, node: usize, outputs: Vec<Output>) {
        for output in outputs {
            match output {
                Output::Send { link: to, message, weight } => {
                    let event = hear(link(node), message);
                    if !(self.loses_documents && matches!(event, Event::Pushed { .. })) {
                        self.events.push_back((to.0 as usize, event));
                    }
                    self.events.push_back((node, Event::Drained { link: to, weight }));
                }
                Output::ReadLog { link, from } => {
                    self.events.push_back((node, read_log(&self.disks[node], link, &from).unwrap()));
                }
                Output::Gather { link, gather: task } => {
                    self.events.push_back((node, gather(&self.disks[node], link, &task).unwrap()));
                }
                Output::Close { link, reason } => panic!("node {node} closes link {link:?}: {reason}"),
            }
        }
    }

    /// Ten times so many milliseconds.
    fn settle(&mut self, ms: u64) {
        (0..10).for_each(|_| self.pass(ms));
    }

    /// So many milliseconds, until nothing is under way.
    fn pass(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        for node in 0..NODES {
            self.event(node, Event::Tick);
        }
        loop {
            while let Some((node, event)) = self.events.pop_front() {
                self.event(node, event);
            }
            for node in 0..NODES {
                let mut outputs = Vec::new();
                self.engines[node].commit(self.now, self.now, &mut outputs).unwrap();
                self.perform(node, outputs);
            }
            if self.events.is_empty() {
                break;
            }
        }
    }

    /// Writes on all nodes, so that the heartbeats of no two say the same; so many seconds.
    fn busy(&mut self, seconds: u32) {
        for n in 0..10 * seconds {
            (0..NODES).for_each(|node| self.write(node, n));
            self.pass(100);
        }
    }

    fn submit(&mut self, node: usize, doc: &str, change: Change) {
        let mut outputs = Vec::new();
        let doc = DocId::new(doc).unwrap();
        assert!(self.engines[node].submit(self.now, doc, vec![change], &mut outputs).unwrap());
        self.perform(node, outputs);
    }

    fn heads(&self, node: usize, doc: &str) -> Heads {
        self.disks[node].record(&DocId::new(doc).unwrap()).unwrap().unwrap_or_default().heads
    }

    /// Node 0 gets a change as by a repair, and makes one on top of it: the other nodes lack what that hangs on.
    fn writes_on_what_the_others_lack(&mut self) {
        let (first, second) = (change(1, &[]), change(2, &[1]));
        let part = Part::Changes(vec![first]);
        let push = Push { doc: DocId::new("holed").unwrap(), part, last: true };
        self.event(0, Event::Pushed { link: link(1), pushes: vec![(push, None)] });
        self.submit(0, "holed", second);
    }

    fn write(&mut self, node: usize, n: u32) {
        use automerge::transaction::Transactable;
        let actor = self.engines[node].core().identity().origin.to_bytes();
        let mut document = automerge::AutoCommit::new().with_actor(actor.to_vec().into());
        document.put(automerge::ROOT, "n", i64::from(n)).unwrap();
        let made = document.get_last_local_change().unwrap();
        let bytes = bytes::Bytes::copy_from_slice(made.raw_bytes());
        let change = Change { hash: crate::base::Hash(made.hash().0), deps: Heads::new(), bytes };
        self.submit(node, &format!("d{}", n % 7), change);
    }
}

fn change(n: u8, deps: &[u8]) -> Change {
    let deps = deps.iter().map(|dep| crate::base::Hash([*dep; 32])).collect();
    Change { hash: crate::base::Hash([n; 32]), deps, bytes: vec![n].into() }
}

fn hear(link: LinkId, message: Message) -> Event {
    match message {
        Message::Segments(segments) => {
            let frame = crate::wire::encode_frame(1, &Message::Segments(segments)).into();
            let Ok((_, Message::Entries(entries))) = crate::wire::decode_frame(&frame) else {
                panic!("entries come back as entries")
            };
            let entries = entries.into_iter().map(|entry| Received { entry, damaged: None }).collect();
            Event::Entries { link, entries }
        }
        Message::Repair(repair) => match *repair {
            Repair::Pushes(pushes) => {
                let whole = |push: Push| {
                    assert!(!matches!(&push.part, Part::Changes(changes) if changes.len() > 1_000));
                    (push, None)
                };
                Event::Pushed { link, pushes: pushes.into_iter().map(whole).collect() }
            }
            repair => Event::Message { link, message: Message::Repair(Box::new(repair)) },
        },
        message => Event::Message { link, message },
    }
}

fn encoded(vector: &VersionVector) -> usize {
    let doc = DocId::new("d").unwrap();
    let origin = Origin { node: NodeId([1; 8]), incarnation: 1, random: 1 };
    let entry = |held| Entry { origin, counter: 1, held, doc: doc.clone(), changes: Vec::new(), drops: None };
    let bytes = |vector: &VersionVector| entry(vector.clone()).to_bytes().len();
    // The header of an empty one is counted as one byte.
    1 + bytes(vector) - bytes(&VersionVector::new())
}

#[test]
fn after_a_thousand_restarts_of_one_of_three_nodes_a_vector_is_at_most_200_bytes() {
    let mut lab = Lab::new(Bounds { log_keep: 0, mark_every: 4, ..Bounds::default() });
    for n in 0..1_000 {
        for node in 0..NODES {
            lab.write(node, n);
        }
        lab.settle(100);
        lab.restart(0);
        // Until what the others say is certain to be later than the start.
        lab.settle(1_500);
    }
    lab.settle(1_500);
    let core = |node: usize| lab.engines[node].core();
    for node in 0..NODES {
        assert_eq!((core(node).vector(), core(node).digest()), (core(0).vector(), core(0).digest()));
        assert!(encoded(core(node).vector()) <= 200, "{:?}", core(node).vector());
        // Nor does what is kept of the others grow.
        let found = lab.disks[node].recover().unwrap();
        assert!(found.known.iter().all(|(_, bytes)| bytes.len() <= 350), "{:?}", found.known);
        assert!(core(node).repairs().0 <= 1_100, "{} repairs", core(node).repairs().0);
    }
    assert!(
        encoded(&(0..20).map(|n| (Origin { node: NodeId([n; 8]), incarnation: 1, random: 1 }, 9)).collect())
            > 200
    );
}

#[test]
fn whom_a_node_has_met_it_remembers_and_tells_others_of_until_that_is_long_gone() {
    let mut lab = Lab::new(Bounds::default());
    lab.write(0, 1);
    lab.settle(300);
    let had = lab.engines[2].core().vector().clone();
    lab.replace(2);
    lab.restart_each(0..2);
    lab.replace(1);
    lab.settle(300);
    let ids = |lab: &Lab| lab.engines.iter().map(|engine| engine.core().identity().node).collect::<Vec<_>>();
    let living = ids(&lab);
    assert!(living[0] == id(0) && living[1] != id(1) && living[2] != id(2), "{living:?}");
    for engine in &lab.engines {
        let others: BTreeMap<_, _> = engine.core().acknowledged().collect();
        assert_eq!(others.len(), 4, "{others:?}");
        assert_eq!(others[&id(2)], &had);
    }
    // What is idle is not gone, however long.
    for _ in 0..4_000 {
        lab.pass(1_000);
    }
    let known = |lab: &Lab, node: usize| -> BTreeMap<NodeId, u64> {
        let rows = lab.disks[node].recover().unwrap().known;
        let row = |(id, bytes): (NodeId, bytes::Bytes)| (id, Known::from_bytes(&bytes).unwrap().said);
        rows.into_iter().map(row).map(|(id, said)| (id, lab.now.since(said))).collect()
    };
    for node in 0..NODES {
        for (id, age) in known(&lab, node) {
            assert_eq!(age < 3_700_000, living.contains(&id), "{id} is {age} ms old at node {node}");
        }
    }
    lab.now = lab.now.plus(FORGET_NODE_MS - 3_800_000);
    for node in 0..NODES {
        lab.reopen(node);
    }
    lab.restart_each(0..3);
    lab.settle(300);
    for node in 0..NODES {
        let mut others = living.clone();
        others.remove(node);
        others.sort();
        assert_eq!(lab.engines[node].core().acknowledged().map(|(id, _)| id).collect::<Vec<_>>(), others);
        assert_eq!(known(&lab, node).into_keys().collect::<Vec<_>>(), others);
    }
    assert_eq!(ids(&lab), living);
}

#[test]
fn a_log_that_is_too_much_is_cut_off_though_its_next_mark_is_far() {
    let mut lab = Lab::new(Bounds { log_keep: 0, mark_least: 8, ..Bounds::default() });
    let mut first_after = |entries: std::ops::Range<u32>| {
        entries.for_each(|n| lab.write(0, n));
        lab.settle(1_000);
        lab.engines.iter().map(|engine| engine.log_first().0).collect::<Vec<_>>()
    };
    // Too little for a mark of its own, though it is more than is to be kept.
    assert_eq!(first_after(0..8), [1, 1, 1]);
    assert_eq!(first_after(8..9), [9, 9, 9]);
    assert_eq!(first_after(9..16), [9, 9, 9]);
    assert_eq!(first_after(16..20), [20, 20, 20]);
}

#[test]
fn what_was_left_out_of_a_document_comes_though_its_fetch_broke_off_and_writes_never_pause() {
    let mut lab = Lab::new(Bounds::default());
    let id = |lab: &Lab, node: usize| lab.engines[node].core().identity().node;
    lab.busy(1);
    lab.loses_documents = true;
    lab.writes_on_what_the_others_lack();
    lab.busy(3);
    // Restarts forget what was on its way; the hole is on disk, and others are told of it.
    lab.restart_each(1..NODES);
    lab.busy(3);
    for node in 1..NODES {
        assert!(lab.heads(node, "holed").is_empty() && lab.engines[node].core().lacks());
        assert_eq!(lab.disks[node].recover().unwrap().holes.len(), 1);
        assert!(!lab.engines[0].core().is_whole(&id(&lab, node)));
    }
    assert!(lab.engines[1].core().is_whole(&id(&lab, 0)) && !lab.engines[0].core().lacks());
    lab.loses_documents = false;
    // What was asked for last is on its way for ever: links must end for it to be asked for again.
    lab.restart_each(1..NODES);
    lab.busy(5);
    for node in 1..NODES {
        assert_eq!(lab.heads(node, "holed"), lab.heads(0, "holed"));
        assert!(!lab.engines[node].core().lacks());
        assert!(lab.disks[node].recover().unwrap().holes.is_empty());
        assert!(lab.engines[0].core().is_whole(&id(&lab, node)));
        assert_eq!(lab.engines[node].core().repairs().0, 0, "a repair has brought it");
    }
}

#[test]
fn what_nobody_has_any_more_is_missed_until_all_are_equal_and_no_longer() {
    let mut lab = Lab::new(Bounds::default());
    lab.busy(1);
    lab.loses_documents = true;
    lab.writes_on_what_the_others_lack();
    lab.busy(1);
    // Its only holder is a new node now.
    lab.disks[0] = MemoryStore::new();
    lab.restart_each(0..NODES);
    lab.loses_documents = false;
    lab.busy(4);
    assert!(lab.engines[1].core().lacks() && lab.engines[2].core().lacks());
    lab.settle(1_000);
    (0..NODES).for_each(|node| assert!(!lab.engines[node].core().lacks(), "node {node}"));
}

#[test]
fn fenced_documents_are_named_after_a_restart_too() {
    let mut lab = Lab::new(Bounds::default());
    lab.settle(10);
    let origin = Origin { node: NodeId([9; 8]), incarnation: 1, random: 0 };
    let brings = |lab: &mut Lab, counter, doc: &str, damaged: Option<&str>| {
        let (doc, changes) = (DocId::new(doc).unwrap(), vec![change(counter as u8, &[])]);
        let entry = Entry { origin, counter, held: VersionVector::new(), doc, changes, drops: None };
        let entries = vec![Received { entry, damaged: damaged.map(str::to_owned) }];
        lab.event(1, Event::Entries { link: link(0), entries });
    };
    brings(&mut lab, 1, "sound", None);
    brings(&mut lab, 2, "broken", Some("bits"));
    lab.settle(1_000);
    let fenced = |lab: &Lab| lab.engines[1].fenced().iter().map(|doc| doc.to_string()).collect::<Vec<_>>();
    assert_eq!(fenced(&lab), ["broken"]);
    lab.restart(1);
    assert_eq!(fenced(&lab), ["broken"]);
}

#[test]
fn one_document_that_cannot_be_read_is_fenced_and_keeps_nothing_else_from_being_taken() {
    let mut lab = Lab::new(Bounds::default());
    lab.settle(10);
    let doc = DocId::new("rotten").unwrap();
    let record = Record {
        heads: Heads::from_slice(&[crate::base::Hash([2; 32])]),
        changes: 2,
        folded: 2,
        last_lsn: Lsn(1),
        ..Record::default()
    };
    let fold = Fold { doc: doc.clone(), snapshot: vec![7; 9].into(), folded: Vec::new() };
    let commit = Commit { records: vec![(doc, record)], folds: vec![fold], ..Commit::default() };
    lab.disks[1].commit(&commit).unwrap();
    let brings = |lab: &mut Lab, counter, doc: &str, change: Change| {
        let origin = Origin { node: NodeId([9; 8]), incarnation: 1, random: 0 };
        let doc = DocId::new(doc).unwrap();
        let entry =
            Entry { origin, counter, held: VersionVector::new(), doc, changes: vec![change], drops: None };
        lab.event(1, Event::Entries { link: link(0), entries: vec![Received { entry, damaged: None }] });
        lab.settle(10);
    };
    let fenced = |lab: &Lab| lab.engines[1].fenced().iter().map(|doc| doc.to_string()).collect::<Vec<_>>();
    // What is on top of the heads can be taken without a look at what is below them.
    brings(&mut lab, 1, "rotten", change(3, &[2]));
    assert_eq!(fenced(&lab), [""; 0]);
    brings(&mut lab, 2, "rotten", change(4, &[1]));
    brings(&mut lab, 3, "sound", change(5, &[]));
    assert_eq!(fenced(&lab), ["rotten"]);
    let record = |doc: &str| lab.disks[1].record(&DocId::new(doc).unwrap()).unwrap().unwrap();
    assert_eq!((record("sound").changes, record("rotten").changes), (1, 3));
    assert!(record("rotten").fenced.unwrap().contains("the snapshot of rotten"));
    // Nor does a repair stop at it, in whichever way that comes upon it.
    let doc = DocId::new("rotten").unwrap();
    let part = Part::Changes(vec![change(6, &[1])]);
    let push = Push { doc: doc.clone(), part, last: true };
    lab.event(1, Event::Pushed { link: link(0), pushes: vec![(push, None)] });
    let heads = Heads::from_slice(&[crate::base::Hash([6; 32])]);
    assert_eq!(lab.engines[1].wanted(vec![crate::wire::Offer { doc, heads }]).unwrap(), []);
    lab.settle(10);
    let ended = lab.engines[1].core().identity().origin.incarnation;
    assert_eq!((ended, lab.engines[1].broken().is_some()), (1, false));
}

#[test]
fn of_a_folded_history_that_is_pushed_the_changes_are_counted_and_not_believed() {
    let mut document = history(1, 5);
    let heads: Heads = document.get_heads().iter().map(|head| crate::base::Hash(head.0)).collect();
    let saved = bytes::Bytes::from(document.save());
    let doc = DocId::new("folded").unwrap();
    for claimed in [0, 5, u64::MAX] {
        let mut lab = Lab::new(Bounds::default());
        lab.settle(10);
        let (total, bytes) = (saved.len() as u64, saved.clone());
        // Nor what is no head, where it names deletions.
        let deletions = Heads::from_slice(&[crate::base::Hash([1; 32])]);
        let piece = crate::wire::Snapshot {
            heads: heads.clone(),
            deletions,
            changes: claimed,
            offset: 0,
            total,
            bytes,
        };
        let push = Push { doc: doc.clone(), part: Part::Snapshot(piece), last: true };
        lab.event(1, Event::Pushed { link: link(0), pushes: vec![(push, None)] });
        lab.pass(10);
        let record = lab.disks[1].record(&doc).unwrap().unwrap();
        assert_eq!((record.changes, record.folded, record.fenced), (5, 5, None));
        assert!(record.deletions.is_empty() && record.heads == heads);
    }
}

/// A document with as many changes, of one actor.
fn history(actor: u8, changes: i64) -> automerge::AutoCommit {
    use automerge::transaction::Transactable;
    let mut document = automerge::AutoCommit::new().with_actor(vec![actor; 16].into());
    for n in 0..changes {
        document.put(automerge::ROOT, "n", n).unwrap();
        document.commit();
    }
    document
}

fn opaque(change: &automerge::Change) -> Change {
    let hash = |hash: &automerge::ChangeHash| crate::base::Hash(hash.0);
    let deps = change.deps().iter().map(hash).collect();
    let bytes = bytes::Bytes::copy_from_slice(change.raw_bytes());
    Change { hash: hash(&change.hash()), deps, bytes }
}

/// Seed 37.
#[test]
fn what_is_concurrent_with_a_folded_history_is_taken_where_both_come_in_one_commit() {
    use automerge::transaction::Transactable;
    let mut lab = Lab::new(Bounds::default());
    lab.settle(10);
    let mut document = history(1, 4);
    // Made on the first change, and so neither on top of the heads nor on anything in the tail.
    let first = document.get_changes(&[])[0].clone();
    let mut other = automerge::AutoCommit::new().with_actor(vec![2; 16].into());
    other.apply_changes([first]).unwrap();
    other.put(automerge::ROOT, "m", 1).unwrap();
    other.commit();
    let beside = opaque(&other.get_last_local_change().unwrap());
    let heads: Heads = document.get_heads().iter().map(|head| crate::base::Hash(head.0)).collect();
    let bytes = bytes::Bytes::from(document.save());
    let (doc, total) = (DocId::new("folded").unwrap(), bytes.len() as u64);
    let piece = crate::wire::Snapshot {
        heads: heads.clone(),
        deletions: Heads::new(),
        changes: 4,
        offset: 0,
        total,
        bytes,
    };
    let parts = [(Part::Snapshot(piece), false), (Part::Changes(vec![beside.clone()]), true)];
    let pushes = parts.map(|(part, last)| (Push { doc: doc.clone(), part, last }, None)).to_vec();
    lab.event(1, Event::Pushed { link: link(0), pushes });
    lab.pass(10);
    let expected = crate::crdt::heads_after(&heads, &beside.hash, &beside.deps);
    assert_eq!((lab.heads(1, "folded"), expected.len()), (expected, 2));
    // What hangs on nothing that is there is left out.
    let stray = Part::Changes(vec![change(7, &[9])]);
    lab.event(
        1,
        Event::Pushed { link: link(0), pushes: vec![(Push { doc, part: stray, last: true }, None)] },
    );
    lab.pass(10);
    assert_eq!(lab.heads(1, "folded").len(), 2);
}

/// Seed 791.
#[test]
fn a_write_on_a_document_that_is_dropped_with_the_same_commit_is_not_taken() {
    let mut lab = Lab::new(Bounds::default());
    lab.settle(10);
    let doc = DocId::new("gone").unwrap();
    let mut document = crate::crdt::Document::load([1; 16], doc.clone(), None, &[]).unwrap();
    let mut made = Vec::new();
    let put = crate::crdt::Edit::Put(crate::crdt::parse_json(br#"{"a": 1}"#).unwrap());
    for edit in [put, crate::crdt::Edit::Delete] {
        made.extend(document.edit(&edit, None, Some("me"), 1, None).unwrap().changes);
    }
    for change in made {
        lab.submit(0, "gone", change);
        lab.settle(1_000);
    }
    let heads = lab.heads(0, "gone");
    let on_top = |n: u8| Change { deps: heads.clone(), ..change(n, &[]) };
    let (mut outputs, now) = (Vec::new(), lab.now);
    let engine = &mut lab.engines[0];
    let mut submit = |engine: &mut Engine, change: Change| {
        engine.submit(now, doc.clone(), vec![change], &mut outputs).unwrap()
    };
    assert!(engine.drop_document(now, doc.clone(), heads.clone(), &mut Vec::new()).unwrap());
    assert!(!submit(engine, on_top(200)), "it would be acknowledged, and be nowhere");
    // What begins the document anew is.
    assert!(submit(engine, change(201, &[])));
    lab.perform(0, outputs);
    lab.settle(1_000);
    for node in 0..NODES {
        assert_eq!(lab.heads(node, "gone").as_slice(), [crate::base::Hash([201; 32])], "node {node}");
    }
}
