//! What a commit costs: three puts a change (entry, tail, record), in batches as the committer makes them.
//!
//! In memory (`/dev/shm`, where there is one) an fsync is nearly free, so that the time left is what the
//! store's own work takes of a core; on disk is what a writer waits.

use std::hint::black_box;
use std::path::Path;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use syncline::base::{Change, DocId, Hash, Heads, Lsn, NodeId, Origin, VersionVector};
use syncline::store::{Commit, LogItem, MemoryStore, Record, RocksStore, Store, TailItem};

/// Documents that take turns, in an order unlike that of their ids.
const DOCUMENTS: u64 = 10_000;

/// Bytes of one change: one field of a small document.
const CHANGE_BYTES: usize = 100;

/// Changes with an LSN of their own, from `first` on.
fn commit(docs: &[DocId], first: u64, changes: u64) -> Commit {
    let mut commit = Commit::default();
    for lsn in first..first + changes {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&lsn.to_le_bytes());
        let hash = Hash(hash);
        let doc = &docs[(lsn.wrapping_mul(7_919) % DOCUMENTS) as usize];
        let change =
            Change { hash, deps: Heads::from_slice(&[hash]), bytes: vec![lsn as u8; CHANGE_BYTES].into() };
        commit.log.push(LogItem { lsn: Lsn(lsn), bytes: vec![lsn as u8; CHANGE_BYTES + 110].into() });
        commit.tail.push(TailItem { doc: doc.clone(), lsn: Lsn(lsn), changes: vec![change] });
        let heads = Heads::from_slice(&[hash]);
        commit.records.push((doc.clone(), Record { heads, last_lsn: Lsn(lsn), ..Record::default() }));
    }
    let origin = |n| Origin { node: NodeId([n; 8]), incarnation: 1, random: 1 };
    let vector: VersionVector = (1..8).map(|n| (origin(n), first)).collect();
    commit.vector = Some((vector, [1; 16]));
    commit
}

fn commits(c: &mut Criterion) {
    let docs: Vec<_> = (0..DOCUMENTS).filter_map(|n| DocId::new(&format!("notes/{n:05}")).ok()).collect();
    let mut group = c.benchmark_group("commit");
    let folders = [("in memory", Path::new("/dev/shm")), ("on disk", Path::new("."))];
    for (place, root) in folders.into_iter().filter(|(_, root)| root.is_dir()) {
        for batch in [1, 64, 256] {
            let folder = tempfile::tempdir_in(root).expect("a temporary folder");
            let store = RocksStore::open(folder.path()).expect("an open store");
            let mut lsn = 1;
            group.throughput(Throughput::Elements(batch));
            group.bench_function(BenchmarkId::new(format!("rocksdb {place}"), batch), |b| {
                b.iter_batched(
                    || {
                        lsn += batch;
                        commit(&docs, lsn, batch)
                    },
                    |commit| store.commit(&commit).expect("a commit"),
                    criterion::BatchSize::SmallInput,
                );
            });
        }
    }
    let store = MemoryStore::new();
    let mut lsn = 1;
    group.throughput(Throughput::Elements(64));
    group.bench_function(BenchmarkId::new("model", 64), |b| {
        b.iter_batched(
            || {
                lsn += 64;
                commit(&docs, lsn % 100_000, 64)
            },
            |commit| store.commit(&commit).expect("a commit"),
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
}

fn reads(c: &mut Criterion) {
    let docs: Vec<_> = (0..DOCUMENTS).filter_map(|n| DocId::new(&format!("notes/{n:05}")).ok()).collect();
    let folder = tempfile::tempdir_in(".").expect("a temporary folder");
    let store = RocksStore::open(folder.path()).expect("an open store");
    for batch in 0..400 {
        store.commit(&commit(&docs, 1 + batch * 256, 256)).expect("a commit");
    }
    let mut group = c.benchmark_group("read");
    let mut next = (0..DOCUMENTS).cycle().map(|n| &docs[(n * 7_919 % DOCUMENTS) as usize]);
    let mut doc = || next.next().expect("a cycle has no end");
    group.bench_function("record", |b| b.iter(|| black_box(store.record(doc()))));
    group.bench_function("tail of about 10 changes", |b| b.iter(|| black_box(store.tail(doc(), Lsn(0)))));
    group.bench_function("256 kB of log", |b| b.iter(|| black_box(store.log(Lsn(50_000), 256 << 10))));
    group.bench_function("list of 100", |b| {
        b.iter(|| black_box(store.list("notes/", Some(doc().as_str()), 100)))
    });
    group.finish();
}

criterion_group!(benches, commits, reads);
criterion_main!(benches);
