//! What an entry costs on its way through a node: encoded and decoded in frames, its change checked, committed.

use std::hint::black_box;
use std::sync::Arc;

use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ROOT};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use syncline::base::{Change, DocId, Hash, Heads, LinkId, Millis, NodeId, Origin, Role, VersionVector};
use syncline::crdt::verify;
use syncline::node::{Dice, Engine, EngineConfig};
use syncline::replication::{Event, Received};
use syncline::store::MemoryStore;
use syncline::wire::{Entry, Hello, Message, PROTOCOL_VERSION, decode_frame, encode_frame, segments};

/// Entries of one frame: about what a busy link's frames hold.
const ENTRIES: u64 = 1_000;

const DOCUMENTS: u64 = 100;

fn origin() -> Origin {
    Origin { node: NodeId([7; 8]), incarnation: 1, random: 1 }
}

/// Changes of one field each, in documents that take turns.
fn entries() -> Vec<Entry> {
    let actor = ActorId::from(origin().to_bytes());
    let mut documents: Vec<_> = (0..DOCUMENTS).map(|_| Automerge::new().with_actor(actor.clone())).collect();
    let entry = |counter: u64| {
        let doc = &mut documents[(counter % DOCUMENTS) as usize];
        let mut tx = doc.transaction();
        tx.put(ROOT, format!("f{:02}", counter / DOCUMENTS % 20), format!("value {counter:013}"))
            .expect("a change");
        tx.commit();
        let change = doc.get_last_local_change().expect("the change");
        let deps: Heads = change.deps().iter().map(|dep| Hash(dep.0)).collect();
        let bytes = Bytes::copy_from_slice(change.raw_bytes());
        let change = Change { hash: Hash(change.hash().0), deps, bytes };
        let doc = DocId::new(&format!("bench/{:05}", counter % DOCUMENTS)).expect("an id");
        Entry {
            origin: origin(),
            counter,
            held: VersionVector::new(),
            doc,
            changes: vec![change],
            drops: None,
        }
    };
    (1..=ENTRIES).map(entry).collect()
}

fn frames(c: &mut Criterion) {
    let entries = entries();
    let encoded: Vec<Bytes> = entries.iter().map(|entry| entry.to_bytes().into()).collect();
    let frame = Bytes::from(encode_frame(1, &Message::Segments(segments(&encoded))));
    let mut group = c.benchmark_group("wire");
    group.throughput(Throughput::Elements(1));
    group.bench_function("entry to bytes", |b| b.iter(|| black_box(&entries[0]).to_bytes()));
    group.bench_function("entry from bytes", |b| b.iter(|| Entry::from_bytes(black_box(&encoded[0]))));
    group.bench_function("verify a change", |b| b.iter(|| verify(black_box(&entries[0].changes[0]))));
    group.throughput(Throughput::Elements(ENTRIES));
    // Compression is part of it: segments that have been sent once keep what was made of them.
    group.bench_function("frame of 1,000 entries, encode", |b| {
        b.iter(|| encode_frame(1, &Message::Segments(segments(black_box(&encoded)))));
    });
    group.bench_function("frame of 1,000 entries, decode", |b| b.iter(|| decode_frame(black_box(&frame))));
    group.finish();
}

/// A node with an in-memory store that another has just been linked with.
fn linked() -> Engine {
    let config = EngineConfig {
        cluster: "bench".into(),
        name: "bench".into(),
        role: Role::Replica,
        url: None,
        bounds: Default::default(),
    };
    let dice = Dice { node: NodeId([1; 8]), random: 1 };
    let mut engine =
        Engine::open(Millis(0), Millis(0), config, dice, Arc::new(MemoryStore::new())).expect("an engine");
    let hello = Hello {
        version: PROTOCOL_VERSION,
        cluster: "bench".into(),
        node: origin().node,
        name: "other".into(),
        role: Role::Master,
        url: None,
        origin: origin(),
        vector: [(origin(), ENTRIES)].into_iter().collect(),
        floor: VersionVector::new(),
    };
    let link = LinkId(1);
    let hello = Message::Hello(Box::new(hello));
    for event in [Event::LinkUp { link, dialled: true }, Event::Message { link, message: hello }] {
        engine.handle(Millis(0), event, &mut Vec::new()).expect("a link");
    }
    engine
}

fn core(c: &mut Criterion) {
    let entries = entries();
    let received = || {
        let received = entries.iter().map(|entry| Received { entry: entry.clone(), damaged: None });
        (linked(), received.collect::<Vec<_>>())
    };
    let mut group = c.benchmark_group("engine");
    group.throughput(Throughput::Elements(ENTRIES));
    group.bench_function("1,000 received entries, to the commit", |b| {
        b.iter_batched(
            received,
            |(mut engine, entries)| {
                let mut outputs = Vec::new();
                let entries = Event::Entries { link: LinkId(1), entries };
                engine.handle(Millis(1), entries, &mut outputs).expect("taken");
                let committed = engine.commit(Millis(1), Millis(1), &mut outputs).expect("a commit");
                assert_eq!(committed.touched.len() as u64, ENTRIES);
                (engine, outputs)
            },
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

criterion_group!(benches, frames, core);
criterion_main!(benches);
