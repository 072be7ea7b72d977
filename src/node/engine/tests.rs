//! Three engines that hear each other without delay.

use std::collections::VecDeque;

use minicbor::Encoder;

use super::*;
use crate::node::{gather, read_log};
use crate::store::MemoryStore;
use crate::wire::{Part, Push, Repair};

const NODES: usize = 3;

struct Lab {
    now: Millis,
    bounds: Bounds,
    disks: Vec<MemoryStore>,
    engines: Vec<Engine>,
    starts: u32,
    events: VecDeque<(usize, Event)>,
}

/// The link of `from` to `to`.
fn link(to: usize) -> LinkId {
    LinkId(to as u64)
}

fn open(now: Millis, bounds: Bounds, node: usize, start: u32, disk: &MemoryStore) -> Engine {
    let config = EngineConfig {
        cluster: "lab".into(),
        name: format!("n{node}"),
        role: Role::Master,
        url: None,
        bounds,
    };
    let dice = Dice { node: NodeId([node as u8 + 1; 8]), random: start };
    Engine::open(now, Millis(1), config, dice, Arc::new(disk.clone())).unwrap()
}

impl Lab {
    fn new(bounds: Bounds) -> Self {
        let now = Millis(1_000);
        let disks: Vec<_> = (0..NODES).map(|_| MemoryStore::new()).collect();
        let engines = disks.iter().enumerate().map(|(n, disk)| open(now, bounds, n, 0, disk)).collect();
        let mut lab = Self { now, bounds, disks, engines, starts: 0, events: VecDeque::new() };
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
        self.starts += 1;
        self.events.retain(|(to, _)| *to != node);
        self.disks[node] = self.disks[node].restart();
        self.engines[node] = open(self.now, self.bounds, node, self.starts, &self.disks[node]);
        for other in (0..NODES).filter(|other| *other != node) {
            self.event(other, Event::LinkDown { link: link(node) });
            self.event(other, Event::LinkUp { link: link(node), dialled: other < node });
        }
        self.up(node);
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
                    self.events.push_back((to.0 as usize, hear(link(node), message)));
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
        for _ in 0..10 {
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
                    self.engines[node].commit(self.now, Millis(1), &mut outputs).unwrap();
                    self.perform(node, outputs);
                }
                if self.events.is_empty() {
                    break;
                }
            }
        }
    }

    fn write(&mut self, node: usize, n: u32) {
        use automerge::transaction::Transactable;
        let actor = self.engines[node].core().identity().origin.to_bytes();
        let mut document = automerge::AutoCommit::new().with_actor(actor.to_vec().into());
        document.put(automerge::ROOT, "n", i64::from(n)).unwrap();
        let made = document.get_last_local_change().unwrap();
        let bytes = bytes::Bytes::copy_from_slice(made.raw_bytes());
        let change = Change { hash: crate::base::Hash(made.hash().0), deps: Heads::new(), bytes };
        let mut outputs = Vec::new();
        let doc = DocId::new(&format!("d{}", n % 7)).unwrap();
        assert!(self.engines[node].submit(self.now, doc, vec![change], &mut outputs).unwrap());
        self.perform(node, outputs);
    }
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
    let known = Known { vector: vector.clone(), heard: Millis(0) };
    let mut head = Vec::new();
    Encoder::new(&mut head).array(2).and_then(|e| e.u64(0)).unwrap();
    known.to_bytes().len() - head.len()
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
        assert!(found.known.iter().all(|(_, bytes)| bytes.len() <= 250), "{:?}", found.known);
        assert!(core(node).repairs().0 <= 1_100, "{} repairs", core(node).repairs().0);
    }
    assert!(
        encoded(&(0..20).map(|n| (Origin { node: NodeId([n; 8]), incarnation: 1, random: 1 }, 9)).collect())
            > 200
    );
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
