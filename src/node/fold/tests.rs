//! Folding: nothing is lost by it, whatever comes in between, and wherever it is cut off.

use std::sync::Arc;

use fastrand::Rng;

use super::*;
use crate::base::{Bounds, Change, Hash, Heads, Millis, NodeId, Role, canonical_heads};
use crate::crdt::{Edit, Op};
use crate::node::{Condition, Dice, Engine, EngineConfig, Node, NodeConfig, Read, Write};
use crate::store::{MemoryStore, Outcome, Store};

fn doc() -> DocId {
    DocId::new("d").unwrap()
}

fn open(store: &MemoryStore) -> Engine {
    let config = EngineConfig {
        cluster: "c".into(),
        name: "n".into(),
        role: Role::Master,
        url: None,
        bounds: Bounds::default(),
    };
    let dice = Dice { node: NodeId([1; 8]), random: 1 };
    Engine::open(Millis(0), Millis(0), config, dice, Arc::new(store.clone())).unwrap()
}

fn load(actor: u8, stored: &Whole) -> Document {
    let tail: Vec<Change> = stored.tail.iter().map(|(_, change)| change.clone()).collect();
    Document::load([actor; 16], doc(), stored.snapshot.as_deref(), &tail).unwrap()
}

fn stored(store: &MemoryStore) -> Whole {
    store.whole(&doc()).unwrap().unwrap_or_default()
}

fn folding(store: &MemoryStore) -> Option<Folding> {
    let stored = stored(store);
    let folding = Folding::of(&doc(), &load(9, &stored), stored).unwrap();
    folding.inspect(|folding| folding.check().unwrap())
}

fn submit(engine: &mut Engine, changes: &[Change]) {
    engine.submit(Millis(1), doc(), changes.to_vec(), &mut Vec::new()).unwrap();
    engine.commit(Millis(1), Millis(1), &mut Vec::new()).unwrap();
}

fn fold(engine: &mut Engine, folding: Folding) -> Result<bool, StoreError> {
    engine.fold(Millis(2), folding, &mut Vec::new())
}

/// One field written by one writer, on all that it has.
fn write(document: &mut Document, rng: &mut Rng) -> Vec<Change> {
    let path = rng.choice(["/a", "/b", "/c"]).unwrap().to_owned();
    let value = serde_json::json!(rng.u32(..100));
    let edit = Edit::Ops(vec![Op::Put { path, value }]);
    document.edit(&edit, None, None, 1, None).unwrap().changes
}

/// Changes of several writers who know more or less of each other, causes first. Two of them are one actor, so
/// that some clash.
fn some_changes(rng: &mut Rng, writes: usize) -> Vec<Change> {
    let mut writers: Vec<Document> = [1, 2, 3, 3].map(|actor| load(actor, &Whole::default())).into();
    let mut all: Vec<Change> = Vec::new();
    for _ in 0..writes {
        let writer = rng.usize(..writers.len());
        if rng.u8(..3) == 0 {
            writers[writer].merge(&all[..rng.usize(..=all.len())]);
        }
        if writers[writer].is_broken() {
            continue;
        }
        for change in write(&mut writers[writer], rng) {
            if all.iter().all(|other| other.hash != change.hash) {
                all.push(change);
            }
        }
    }
    all
}

/// What a record has to say of a set of changes.
fn heads(changes: &[Change]) -> Heads {
    let named: Vec<Hash> = changes.iter().flat_map(|change| change.deps.iter().copied()).collect();
    canonical_heads(changes.iter().map(|change| change.hash).filter(|hash| !named.contains(hash)))
}

/// The record is right, nothing is missing, and nothing is there twice.
fn check(store: &MemoryStore, expected: &[Change]) {
    let whole = stored(store);
    assert_eq!(whole.record.heads, heads(expected));
    assert_eq!(whole.record.changes, expected.len() as u64);
    let mut hashes: Vec<Hash> = whole.tail.iter().map(|(_, change)| change.hash).collect();
    assert_eq!(whole.record.folded, whole.record.changes - hashes.len() as u64);
    let bytes: usize = whole.tail.iter().map(|(_, change)| change.bytes.len()).sum();
    assert_eq!(whole.record.tail_bytes, bytes as u64);
    if let Some(snapshot) = &whole.snapshot {
        hashes.extend(crate::crdt::folded_hashes(snapshot).unwrap());
    }
    hashes.sort_unstable();
    let mut all: Vec<Hash> = expected.iter().map(|change| change.hash).collect();
    all.sort_unstable();
    assert_eq!(hashes, all);
    let plain = Document::load([8; 16], doc(), None, expected).unwrap();
    let shown = load(8, &whole);
    assert_eq!(shown.applied_heads(), plain.applied_heads());
    assert_eq!(shown.json(None, true).unwrap().body, plain.json(None, true).unwrap().body);
    assert!(shown.left_out().eq(plain.left_out()));
}

#[test]
fn repeats_never_corrupt_heads_whatever_is_folded_in_between() {
    let mut contests = 0;
    for seed in 0..60 {
        let mut rng = Rng::with_seed(seed);
        let all = some_changes(&mut rng, 40);
        let store = MemoryStore::new();
        let mut engine = open(&store);
        let mut here: Vec<Change> = Vec::new();
        let (mut folds, mut left) = (0, all.clone());
        while !left.is_empty() {
            let mut some = Vec::new();
            for _ in 0..rng.usize(1..4) {
                let has = |hash: &Hash| here.iter().chain(&some).any(|change: &Change| change.hash == *hash);
                let ready: Vec<usize> = (0..left.len()).filter(|n| left[*n].deps.iter().all(&has)).collect();
                match rng.choice(&here).cloned() {
                    Some(again) if rng.u8(..3) == 0 => some.push(again),
                    _ => some.extend(rng.choice(&ready).map(|n| left.remove(*n))),
                }
            }
            submit(&mut engine, &some);
            let new: Vec<Change> = some
                .into_iter()
                .filter(|change| here.iter().all(|other| other.hash != change.hash))
                .collect();
            here.extend(new);
            if rng.u8(..4) == 0
                && let Some(folding) = folding(&store)
            {
                assert!(fold(&mut engine, folding).unwrap());
                folds += 1;
            }
            if rng.u8(..8) == 0 {
                // Nothing of what was looked up is remembered.
                engine = open(&store);
            }
            check(&store, &here);
        }
        assert!(folds > 0, "seed {seed}");
        contests += usize::from(load(1, &stored(&store)).left_out().next().is_some());
    }
    assert!(contests > 10, "{contests} sets have changes that are left out");
}

#[test]
fn what_was_folded_and_lost_a_contest_since_is_kept() {
    let mut rng = Rng::with_seed(1);
    let base = write(&mut load(1, &Whole::default()), &mut rng);
    // Two changes of one actor and sequence number: the one with the higher hash comes first and is folded.
    let mut rivals: Vec<Vec<Change>> = (0..2)
        .map(|_| {
            let mut writer = load(2, &Whole::default());
            writer.merge(&base);
            write(&mut writer, &mut rng)
        })
        .collect();
    rivals.sort_by_key(|changes| changes[0].hash);
    let [lower, higher] = <[_; 2]>::try_from(rivals).unwrap();
    let store = MemoryStore::new();
    let mut engine = open(&store);
    submit(&mut engine, &[base.clone(), higher.clone()].concat());
    assert!(fold(&mut engine, folding(&store).unwrap()).unwrap());
    assert!(stored(&store).tail.is_empty());
    submit(&mut engine, &lower);
    assert!(fold(&mut engine, folding(&store).unwrap()).unwrap());
    let left: Vec<Hash> = stored(&store).tail.iter().map(|(_, change)| change.hash).collect();
    assert_eq!(left, [higher[0].hash]);
    check(&store, &[base, higher, lower].concat());
    assert!(folding(&store).is_none(), "what is left out is no reason to fold again");
}

#[test]
fn a_fold_that_was_overtaken_is_refused() {
    let mut rng = Rng::with_seed(1);
    let store = MemoryStore::new();
    let mut engine = open(&store);
    let mut writer = load(1, &Whole::default());
    let (first, second) = (write(&mut writer, &mut rng), write(&mut writer, &mut rng));
    submit(&mut engine, &first);
    let (one, other) = (folding(&store).unwrap(), folding(&store).unwrap());
    // Changes that came in between stay in the tail.
    submit(&mut engine, &second);
    assert!(fold(&mut engine, one).unwrap());
    assert_eq!(stored(&store).tail.len(), 1);
    assert!(!fold(&mut engine, other).unwrap(), "it was folded since");
    check(&store, &[first, second].concat());
    let dropped = folding(&store).unwrap();
    store.commit(&Commit { drops: vec![doc()], ..Default::default() }).unwrap();
    let mut engine = open(&store);
    assert!(!fold(&mut engine, dropped).unwrap(), "it was dropped since");
    assert_eq!(store.whole(&doc()).unwrap(), None);
}

#[test]
fn a_fold_that_fails_or_is_cut_off_loses_nothing() {
    type Fault = fn(&MemoryStore);
    let faults: [Fault; 3] = [
        |store| store.fail_next(1),
        |store| store.break_next(Outcome::Lost),
        |store| store.break_next(Outcome::Kept),
    ];
    for (crash, fault) in [false, true].into_iter().flat_map(|crash| faults.map(|fault| (crash, fault))) {
        let all = some_changes(&mut Rng::with_seed(7), 30);
        let mut store = MemoryStore::new();
        let mut engine = open(&store);
        let (before, after) = all.split_at(20);
        submit(&mut engine, before);
        let folding_now = folding(&store).unwrap();
        fault(&store);
        assert!(fold(&mut engine, folding_now).is_err());
        assert!(engine.broken().is_some(), "the incarnation has ended");
        if crash {
            store.crash();
        }
        store = store.restart();
        check(&store, before);
        let mut engine = open(&store);
        submit(&mut engine, after);
        check(&store, &all);
        if let Some(folding) = folding(&store) {
            assert!(fold(&mut engine, folding).unwrap());
        }
        check(&store, &all);
    }
}

#[test]
fn a_tail_comes_up_once_for_each_length() {
    let length = |changes: u64, bytes: u64| TailLength { changes, bytes };
    let cases = [
        (length(14, 1), length(15, 2), Due::Not),
        (length(15, 1), length(16, 2), Due::WhenIdle),
        (length(16, 1), length(17, 2), Due::Not),
        (length(4_095, 1), length(4_096, 2), Due::Now),
        (length(4_000, 1), length(5_000, 2), Due::Now),
        (length(4_096, 1), length(4_097, 2), Due::Not),
        (length(1, 5), length(2, 1 << 20), Due::Now),
        (length(1, 1 << 20), length(2, (1 << 20) + 1), Due::Not),
    ];
    for (before, after, due) in cases {
        assert_eq!(after.due(before), due, "{} {}", after.changes, after.bytes);
    }
    let record = Record { changes: 7, folded: 5, tail_bytes: 9, ..Record::default() };
    let TailLength { changes, bytes } = TailLength::of(&record);
    assert_eq!((changes, bytes), (2, 9), "what is folded is not in the tail");
}

fn start(store: &MemoryStore) -> Node {
    start_on(Arc::new(store.clone()))
}

fn start_on(store: Arc<dyn Store>) -> Node {
    let config = NodeConfig {
        name: "n".into(),
        role: Role::Master,
        cluster: "c".into(),
        url: None,
        has_peers: false,
        workers: 2,
        bounds: Bounds::default(),
        keep_deleted: Duration::from_secs(3_600),
    };
    Node::start(config, store).unwrap()
}

async fn count(node: &Node) {
    let edit = Edit::Ops(vec![Op::Increment { path: "/n".to_owned(), by: 1 }]);
    let (parents, condition, author) = (None, Condition::default(), None);
    let write = Write { edit, parents, condition, author, must_exist: false, wait: Millis(0) };
    node.write(&doc(), write).await.unwrap();
}

async fn shown(node: &Node) -> serde_json::Value {
    let reading = node.read(&doc(), Read::default()).await.unwrap();
    serde_json::from_slice(&reading.body).unwrap()
}

/// Waits, however long it takes.
async fn wait_for(enough: impl Fn() -> bool) {
    while !enough() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_document_is_folded_under_the_hands_of_its_writers_and_readers() {
    const WRITERS: u64 = 8;
    let store = MemoryStore::new();
    let node = start(&store);
    let writers = (0..WRITERS).map(|_| {
        let node = node.clone();
        tokio::spawn(async move {
            let mut written = 0;
            while node.metrics().folded_changes.get() < FOLD_AT_CHANGES {
                count(&node).await;
                written += 1;
            }
            written
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut last = 0;
    while node.metrics().folded_changes.get() < FOLD_AT_CHANGES {
        if node.metrics().committed_bytes.get() > 0 {
            let now = shown(&node).await["n"].as_u64().unwrap();
            assert!(now >= last, "{now} after {last}");
            last = now;
        }
        tokio::task::yield_now().await;
    }
    let mut written = 0;
    for writer in writers {
        written += writer.await.unwrap();
    }
    assert_eq!(shown(&node).await, serde_json::json!({"n": written}));
    assert_eq!(node.metrics().failed_folds.get(), 0);
    node.stop().await;
    let whole = stored(&store.restart());
    assert!(whole.record.folded >= FOLD_AT_CHANGES);
    assert_eq!(whole.record.folded + whole.tail.len() as u64, whole.record.changes);
    let json = load(1, &whole).json(None, false).unwrap().body;
    assert_eq!(json, serde_json::json!({"n": written}).to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_folds_what_was_written_now_and_what_was_before() {
    let store = MemoryStore::new();
    let node = start(&store);
    for _ in 0..FOLD_FROM_CHANGES {
        count(&node).await;
    }
    wait_for(|| stored(&store).tail.is_empty()).await;
    assert_eq!(shown(&node).await, serde_json::json!({"n": FOLD_FROM_CHANGES}));
    node.stop().await;
    drop(node);
    // Written by a node that had no time to fold.
    let store = store.restart();
    let mut engine = open(&store);
    let mut writer = load(1, &stored(&store));
    let mut rng = Rng::with_seed(1);
    while (stored(&store).tail.len() as u64) < FOLD_FROM_CHANGES {
        submit(&mut engine, &write(&mut writer, &mut rng));
    }
    drop(engine);
    let node = start(&store);
    wait_for(|| stored(&store).tail.is_empty()).await;
    assert_eq!(shown(&node).await["n"], FOLD_FROM_CHANGES);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_tail_stays_and_a_stopped_node_lets_go_of_its_store() {
    let store = Arc::new(MemoryStore::new());
    let node = start_on(store.clone());
    count(&node).await;
    node.stop().await;
    let whole = stored(&store);
    assert_eq!((whole.record.folded, whole.snapshot), (0, None));
    drop(node);
    wait_for(|| Arc::strong_count(&store) == 1).await;
}
