//! What a document costs in memory: JSON of it, edits, and merges, against Automerge's own ways.

use std::hint::black_box;
use std::time::{Duration, Instant};

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoSerde, Automerge, ROOT, ReadDoc, TextEncoding};
use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use serde_json::{Value, json};
use syncline::base::{Change, DocId, limits::DIFF_BUDGET_MS};
use syncline::crdt::{Document, Edit};

fn empty(actor: u8) -> Document {
    let id = DocId::new("bench").expect("a good id");
    Document::load([actor; 16], id, None, &[]).expect("an empty document")
}

/// Edits as a node does, with the budget of a node; returns the changes.
fn edit(document: &mut Document, edit: &Edit) -> Vec<Change> {
    let deadline = Instant::now() + Duration::from_millis(DIFF_BUDGET_MS);
    document.edit(edit, None, None, 0, Some(deadline)).expect("an edit that fits").changes
}

fn made(value: Value) -> Document {
    let mut document = empty(1);
    edit(&mut document, &Edit::Put(value));
    document
}

fn small_maps() -> Value {
    (0..1_000).map(|i| json!({"id": i, "name": format!("name {i}"), "done": false, "n": 1.5})).collect()
}

fn fields() -> Value {
    (0..20)
        .map(|i| (format!("field{i:02}"), json!(format!("value {i}"))))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn letters(n: u32) -> String {
    (0..n).filter_map(|i| char::from_u32(97 + (i.wrapping_mul(2_654_435_761) >> 16) % 26)).collect()
}

fn reads(c: &mut Criterion) {
    let mut group = c.benchmark_group("json");
    for (name, value) in [
        ("1,000 small maps", json!({"list": small_maps()})),
        // Then only what is beside the text is read in one pass.
        ("and a text", json!({"list": small_maps(), "text": {"$text": "x"}})),
        ("20 fields", fields()),
        ("100,000 letters", json!({"text": {"$text": letters(100_000)}})),
    ] {
        let document = made(value);
        let save = document.save(None).expect("the present version");
        let doc = Automerge::load(&save).expect("what was saved");
        group.bench_function(BenchmarkId::new("ours", name), |b| {
            b.iter(|| black_box(document.json(None, false)))
        });
        group.bench_function(BenchmarkId::new("AutoSerde", name), |b| {
            b.iter(|| black_box(serde_json::to_string(&AutoSerde::from(&doc))));
        });
        // What ours is built on, without keeping or writing anything: it cannot get below that.
        group.bench_function(BenchmarkId::new("iter", name), |b| b.iter(|| black_box(doc.iter().count())));
        // Without writing it as JSON.
        group.bench_function(BenchmarkId::new("hydrate", name), |b| b.iter(|| black_box(doc.hydrate(None))));
    }
    group.finish();
}

fn edits(c: &mut Criterion) {
    let mut group = c.benchmark_group("edit");
    let mut n = 0;
    let mut document = made(fields());
    group.bench_function("a field of 20, by merge patch", |b| {
        b.iter(|| {
            n += 1;
            edit(&mut document, &Edit::MergePatch(json!({"field07": n})))
        });
    });
    let mut doc =
        Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(ActorId::from([1; 16]));
    group.bench_function("a field, by Automerge alone", |b| {
        b.iter(|| {
            n += 1;
            let mut tx = doc.transaction();
            tx.put(ROOT, "field07", n).expect("a field");
            tx.commit()
        });
    });
    let list = small_maps();
    let mut longer = list.clone();
    longer.as_array_mut().expect("a list").insert(0, json!({"id": "new"}));
    let puts = [Edit::Put(json!({"list": list})), Edit::Put(json!({"list": longer}))];
    let mut document = empty(1);
    let mut turns = puts.iter().cycle();
    group.bench_function("1,000 small maps put, the first comes or goes", |b| {
        b.iter(|| edit(&mut document, turns.next().expect("a cycle has no end")));
    });
    let text = letters(100_000);
    let puts = ["one", "two"].map(|word| {
        let changed = format!("{}{word}{}", &text[..50_000], &text[50_000..]);
        Edit::MergePatch(json!({"text": {"$text": changed}}))
    });
    let mut document = empty(1);
    let mut turns = puts.iter().cycle();
    group.bench_function("100,000 letters put, a word changes", |b| {
        b.iter(|| edit(&mut document, turns.next().expect("a cycle has no end")));
    });
    group.sample_size(10);
    let value = Edit::Put(json!({"list": small_maps(), "text": {"$text": text}}));
    group.bench_function("a document of both, created", |b| {
        b.iter_batched(|| empty(1), |mut document| edit(&mut document, &value), BatchSize::LargeInput);
    });
    group.finish();
}

fn merges(c: &mut Criterion) {
    let mut group = c.benchmark_group("merge");
    group.sample_size(10);
    for batch in [1, 100] {
        let mut author = made(fields());
        let mut changes = Vec::new();
        for n in 0..batch {
            changes.extend(edit(&mut author, &Edit::MergePatch(json!({"field07": n}))));
        }
        let start = made(fields()).save(None).expect("the present version");
        let load = || {
            let id = DocId::new("bench").expect("a good id");
            Document::load([2; 16], id, Some(&start), &[]).expect("what was saved")
        };
        group.bench_function(BenchmarkId::new("changes of 20 fields", batch), |b| {
            b.iter_batched(load, |mut document| document.merge(&changes), BatchSize::LargeInput);
        });
    }
    group.finish();
}

/// What a live reader is told of one keystroke: found by comparing, against what a log of the edit costs.
fn patches(c: &mut Criterion) {
    let mut group = c.benchmark_group("patch");
    group.sample_size(10);
    for (name, value) in [
        ("100,000 letters", json!({"t": {"$text": letters(100_000)}})),
        ("100,000 letters in 1,000 texts", {
            let texts = (0..1_000).map(|_| json!({"$text": letters(100)}));
            json!({"t": {"$text": "x"}, "l": texts.collect::<Vec<_>>()})
        }),
        ("20 fields", json!({"t": {"$text": "x"}, "m": fields()})),
    ] {
        let mut document = made(value);
        let save = document.save(None).expect("the present version");
        let before = document.applied_heads();
        let op = json!([{"op": "text.splice", "path": "/t", "pos": 1, "insert": "a"}]);
        let ops = syncline::crdt::parse_ops(&op).expect("operations");
        edit(&mut document, &Edit::Ops(ops));
        let now = document.applied_heads();
        group.bench_function(BenchmarkId::new("by comparing", name), |b| {
            b.iter(|| black_box(document.patch(&before, &now)));
        });
        let mut doc = Automerge::load_with_options(
            &save,
            automerge::LoadOptions::new().text_encoding(TextEncoding::UnicodeCodePoint),
        )
        .expect("what was saved");
        let (_, text) = doc.get(ROOT, "t").expect("a text").expect("a text");
        for logs in [false, true] {
            group.bench_function(BenchmarkId::new(format!("edit, log {logs}"), name), |b| {
                b.iter(|| {
                    let log =
                        if logs { automerge::PatchLog::active() } else { automerge::PatchLog::inactive() };
                    let mut tx = doc.transaction_log_patches(log).expect("a log of this document");
                    tx.splice_text(&text, 1, 0, "a").expect("a keystroke");
                    let (_, mut log) = tx.commit();
                    black_box(doc.make_patches(&mut log))
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, reads, edits, merges, patches);
criterion_main!(benches);
