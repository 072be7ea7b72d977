//! What holds of whole documents, whatever is written and in whatever order it comes.

use std::num::NonZeroU64;

use automerge::legacy::{ElementId, Key, ObjectId, Op as RawOp, OpId, OpType, SortedVec};
use automerge::transaction::Transactable;
use automerge::{ActorId, Automerge, ChangeHash, ExpandedChange, ObjType, ROOT, ReadDoc, ScalarValue};
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::change::opaque;
use super::*;
use crate::base::{Change, DocId, Hash, Heads};

fn id() -> DocId {
    DocId::new("test/document").unwrap()
}

fn document(actor: u8) -> Document {
    Document::load([actor; 16], id(), None, &[]).unwrap()
}

fn value(document: &Document) -> Value {
    serde_json::from_slice(&document.json(None, true).unwrap().body).unwrap()
}

fn put(document: &mut Document, value: Value) -> Edited {
    document.edit(&Edit::Put(value), None, Some("someone"), 1_000, None).unwrap()
}

fn patch(document: &mut Document, value: Value) -> Edited {
    document.edit(&Edit::MergePatch(value), None, None, 1_000, None).unwrap()
}

fn ops(document: &mut Document, at: Option<&Heads>, ops: Value) -> Result<Edited, EditError> {
    let ops = parse_ops(&ops).unwrap();
    document.edit(&Edit::Ops(ops), at.map(|heads| heads.as_slice()), None, 1_000, None)
}

#[test]
fn what_two_masters_create_at_once_is_created_once() {
    let (mut a, mut b) = (document(1), document(2));
    let from_a = put(&mut a, json!({"prefs": {"theme": "dark", "deep": {"x": 1}}, "views": {"$counter": 3}}));
    let from_b = put(
        &mut b,
        json!({"prefs": {"size": 12, "deep": {"y": 2}}, "views": {"$counter": 4}, "note": {"$text": "hi"}}),
    );
    a.merge(&from_b.changes);
    b.merge(&from_a.changes);
    let both = json!({
        "prefs": {"theme": "dark", "size": 12, "deep": {"x": 1, "y": 2}},
        "views": {"$counter": 7},
        "note": {"$text": "hi"},
    });
    assert_eq!((value(&a), value(&b)), (both.clone(), both));
    assert_eq!(a.json(None, false).unwrap().conflicts, 0);
    assert_eq!(a.applied_heads(), b.applied_heads());
}

#[test]
fn what_several_operations_create_is_created_once_and_only_as_they_say() {
    let (mut a, mut b) = (document(1), document(2));
    let create = |member: &str| {
        json!([
            {"op": "put", "path": "/prefs", "value": {}},
            {"op": "put", "path": "/prefs/deep", "value": {member: 1}},
            {"op": "increment", "path": "/prefs/n", "by": 1},
        ])
    };
    let from_a = ops(&mut a, None, create("x")).unwrap();
    let from_b = ops(&mut b, None, create("y")).unwrap();
    a.merge(&from_b.changes);
    b.merge(&from_a.changes);
    let both = json!({"prefs": {"deep": {"x": 1, "y": 1}, "n": {"$counter": 2}}});
    assert_eq!((value(&a), value(&b)), (both.clone(), both));
    let undone = json!([
        {"op": "text.splice", "path": "/prefs/t", "pos": 0, "insert": "x"},
        {"op": "list.insert", "path": "/prefs/l", "index": 0, "value": 1},
        {"op": "increment", "path": "/prefs/m", "by": 1},
        {"op": "put", "path": "/prefs", "value": {}},
    ]);
    ops(&mut a, None, undone).unwrap();
    assert_eq!(value(&a), json!({"prefs": {}}));
}

#[test]
fn what_hangs_on_a_clash_keeps_its_sequence_number() {
    let twin = |value: i64| {
        let mut doc = Automerge::new().with_actor(ActorId::from([9; 16]));
        let mut tx = doc.transaction();
        tx.put(ROOT, "k", value).unwrap();
        tx.commit();
        opaque(&doc.get_changes(&[])[0])
    };
    let mut twins = [twin(1), twin(2)];
    twins.sort_by_key(|change| change.hash);
    let [lower, higher] = twins;
    let mut a = document(1);
    a.merge(std::slice::from_ref(&higher));
    let before = patch(&mut a, json!({"a": 1})).changes;
    a.merge(std::slice::from_ref(&lower));
    assert_eq!(value(&a).get("a"), None);
    let after = [patch(&mut a, json!({"a": 2})).changes, patch(&mut a, json!({"a": 3})).changes].concat();
    let made: std::collections::BTreeSet<_> = before.iter().chain(&after).map(number).collect();
    assert_eq!(made.len(), 3, "{made:?}");
    // And so it is where the document is loaded anew.
    let stored = [vec![higher, lower], before, after].concat();
    let mut again = Document::load([1; 16], id(), None, &stored).unwrap();
    assert_eq!(value(&again), value(&a));
    assert!(!made.contains(&number(&patch(&mut again, json!({"a": 4})).changes[0])));
}

/// A change's actor and sequence number.
fn number(change: &Change) -> (Vec<u8>, u64) {
    let change = automerge::Change::from_bytes(change.bytes.to_vec()).unwrap();
    (change.actor_id().to_bytes().to_vec(), change.seq())
}

#[test]
fn what_was_deleted_and_is_created_again_is_new() {
    let mut a = document(1);
    put(&mut a, json!({"prefs": {"theme": "dark"}, "n": {"$counter": 1}}));
    put(&mut a, json!({}));
    put(&mut a, json!({"prefs": {"size": 1}, "n": {"$counter": 5}}));
    assert_eq!(value(&a), json!({"prefs": {"size": 1}, "n": {"$counter": 5}}));
    let mut b = document(2);
    b.merge(&all(&a));
    assert_eq!(value(&b), value(&a));
}

#[test]
fn a_creation_at_a_version_joins_what_others_have_created_since() {
    let mut a = document(1);
    let base = put(&mut a, json!({"title": "t"})).version;
    ops(
        &mut a,
        None,
        json!([{"op": "text.splice", "path": "/note", "pos": 0, "delete": 0, "insert": "one"}]),
    )
    .unwrap();
    let made = ops(
        &mut a,
        Some(&base),
        json!([{"op": "increment", "path": "/note2", "by": 1},
        {"op": "text.splice", "path": "/note", "pos": 0, "delete": 0, "insert": "two "}]),
    )
    .unwrap();
    assert_eq!(made.version.len(), 1);
    let text = value(&a)["note"]["$text"].as_str().unwrap().to_owned();
    assert!(text == "two one" || text == "onetwo ", "{text}");
}

#[test]
fn an_edit_that_changes_nothing_makes_no_change() {
    let mut a = document(1);
    let made = put(&mut a, json!({"a": 1, "list": [1, {"b": "c"}], "m": {}}));
    let again = put(&mut a, json!({"a": 1, "list": [1, {"b": "c"}], "m": {}}));
    assert!(again.changes.is_empty());
    assert_eq!(again.version, a.applied_heads());
    assert_eq!(again.version, made.version);
}

#[test]
fn a_refused_edit_leaves_the_document_as_it_was() {
    let mut a = document(1);
    put(&mut a, json!({"a": 1}));
    let heads = a.applied_heads();
    let refused = ops(
        &mut a,
        None,
        json!([{"op": "put", "path": "/new", "value": {"x": 1}},
        {"op": "delete", "path": "/absent/deeper"}]),
    );
    assert!(matches!(refused, Err(EditError::Refused { .. })), "{refused:?}");
    assert_eq!((a.applied_heads(), value(&a)), (heads, json!({"a": 1})));
    assert!(!a.is_broken());
}

#[test]
fn past_versions_can_be_read_and_saved() {
    let mut a = document(1);
    let first = put(&mut a, json!({"a": 1})).version;
    put(&mut a, json!({"a": 2}));
    let then = a.json(Some(&first), false).unwrap();
    assert_eq!(then.body, &b"{\"a\":1}"[..]);
    let saved = Automerge::load(&a.save(Some(&first)).unwrap()).unwrap();
    assert_eq!(saved.get_heads(), [ChangeHash(first[0].0)]);
    assert!(a.json(Some(&[Hash([9; 32])]), false).is_err());
}

#[test]
fn a_document_comes_back_from_its_save_and_the_changes_since() {
    let mut a = document(1);
    put(&mut a, json!({"text": {"$text": "hello"}, "n": 1}));
    let snapshot = a.save(None).unwrap();
    let tail = put(&mut a, json!({"text": {"$text": "hello you"}, "n": 2})).changes;
    let b = Document::load([2; 16], id(), Some(&snapshot), &tail).unwrap();
    assert_eq!((value(&b), b.applied_heads()), (value(&a), a.applied_heads()));
}

/// All changes of a document, as others get them.
fn all(document: &Document) -> Vec<Change> {
    document.doc.get_changes(&[]).iter().map(opaque).collect()
}

fn raw(changes: &[automerge::Change]) -> Bytes {
    changes.iter().flat_map(|change| change.raw_bytes().to_vec()).collect::<Vec<u8>>().into()
}

/// A change with one operation, as wrong as asked for.
fn odd(actor: u8, seq: u64, start_op: u64, deps: &[ChangeHash], op: RawOp) -> automerge::Change {
    ExpandedChange {
        operations: vec![op],
        actor_id: ActorId::from([actor; 16]),
        hash: None,
        seq,
        start_op: NonZeroU64::new(start_op).unwrap(),
        time: 0,
        message: None,
        deps: deps.to_vec(),
        extra_bytes: Vec::new(),
        author: None,
    }
    .into()
}

fn put_op(key: &str, value: i64) -> RawOp {
    RawOp {
        action: OpType::Put(ScalarValue::Int(value)),
        obj: ObjectId::Root,
        key: Key::from(key),
        pred: SortedVec::new(),
        insert: false,
    }
}

mod admitting {
    use super::*;

    fn admit(document: &mut Document, changes: &[automerge::Change]) -> Result<Edited, AdmitError> {
        document.admit(&raw(changes))
    }

    fn reason(outcome: Result<Edited, AdmitError>) -> String {
        match outcome {
            Err(AdmitError::Refused { reason, .. }) => reason,
            other => panic!("not refused: {other:?}"),
        }
    }

    #[test]
    fn sound_changes_in_any_order_are_taken_and_repeats_passed_over() {
        let mut other = Automerge::new().with_actor(ActorId::from([7; 16]));
        for n in 0..5 {
            let mut tx = other.transaction();
            tx.put(ROOT, "n", n).unwrap();
            tx.commit();
        }
        let mut changes = other.get_changes(&[]);
        changes.reverse();
        let mut document = document(1);
        let made = admit(&mut document, &changes).unwrap();
        assert_eq!(made.changes.len(), 5);
        assert_eq!(made.version, document.applied_heads());
        assert_eq!(value(&document), json!({"n": 4}));
        let again = document.admit(&Bytes::from(other.save())).unwrap();
        assert_eq!((again.changes.len(), again.version), (0, made.version));
    }

    #[test]
    fn missing_dependencies_are_named() {
        let first = odd(7, 1, 1, &[], put_op("a", 1));
        let second = odd(7, 2, 2, &[first.hash()], put_op("a", 2));
        let third = odd(7, 3, 3, &[second.hash()], put_op("a", 3));
        let mut document = document(1);
        let missing = AdmitError::Missing { hashes: vec![Hash(first.hash().0)] };
        assert_eq!(admit(&mut document, &[third.clone(), second.clone()]), Err(missing));
        assert!(document.is_empty());
        assert!(admit(&mut document, &[third, second, first]).is_ok());
    }

    #[test]
    fn lies_about_sequence_ancestry_and_counters_are_refused() {
        let first = odd(7, 1, 1, &[], put_op("a", 1));
        let deps = [first.hash()];
        let mut document = document(1);
        admit(&mut document, &[first]).unwrap();
        let cases = [
            (odd(7, 1, 1, &[], put_op("a", 9)), "sequence"),
            (odd(7, 3, 2, &deps, put_op("a", 9)), "sequence"),
            (odd(7, 2, 2, &[], put_op("a", 9)), "ancestors"),
            (odd(8, 1, 1, &deps, put_op("a", 9)), "first operation"),
            (odd(8, 1, 1 << 30, &deps, put_op("a", 9)), "first operation"),
            (odd(1, 1, 2, &deps, put_op("a", 9)), "this node"),
        ];
        for (change, word) in cases {
            let reason = reason(admit(&mut document, &[change]));
            assert!(reason.contains(word), "{reason} does not tell of {word}");
        }
        assert_eq!(value(&document), json!({"a": 1}));
        assert!(admit(&mut document, &[odd(7, 2, 2, &deps, put_op("a", 2))]).is_ok());
        assert!(!document.is_broken());
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let mut document = document(1);
        let good = odd(7, 1, 1, &[], put_op("a", 1)).raw_bytes().to_vec();
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0x40;
            assert!(document.admit(&Bytes::from(bad)).is_err(), "byte {place}");
        }
        assert!(document.admit(&Bytes::new()).is_err());
        assert!(document.admit(&Bytes::from_static(b"{}")).is_err());
        assert!(document.admit(&Bytes::from(good)).is_ok());
    }

    #[test]
    fn what_automerge_panics_over_is_refused_and_the_copy_thrown_away() {
        let nowhere = ObjectId::Id(OpId(77, ActorId::from([9; 16])));
        let text = RawOp { action: OpType::Make(ObjType::Text), ..put_op("t", 0) };
        let odd_ops = [
            RawOp { obj: nowhere, ..put_op("a", 1) },
            RawOp { key: Key::Seq(ElementId::Id(OpId(55, ActorId::from([9; 16])))), ..put_op("a", 1) },
            RawOp { key: Key::Seq(ElementId::Head), insert: true, ..put_op("a", 1) },
            RawOp { action: OpType::Increment(4), ..put_op("a", 1) },
            RawOp { pred: vec![OpId(9, ActorId::from([9; 16]))].into(), ..put_op("a", 1) },
            RawOp { action: OpType::Delete, ..put_op("a", 1) },
            text,
        ];
        for op in odd_ops {
            let mut document = document(1);
            put(&mut document, json!({"x": 1}));
            let heads: Vec<_> = document.doc.get_heads();
            let said = admit(&mut document, &[odd(7, 1, 2, &heads, op.clone())]);
            // Whatever it is: taken and harmless, or refused and the document thrown away or as it was.
            if said.is_ok() {
                patch(&mut document, json!({"y": 2}));
                let again = Document::load([3; 16], id(), None, &all(&document)).unwrap();
                assert_eq!(value(&again), value(&document), "{op:?}");
            } else if !document.is_broken() {
                assert_eq!(value(&document), json!({"x": 1}), "{op:?}");
            }
        }
    }
}

/// One step in making a set of changes.
#[derive(Clone, Debug)]
enum Step {
    /// Writer `of` writes a field, counter, text or list.
    Write { of: usize, what: u8, key: u8 },
    /// Writer `of` gets all that `from` has.
    Meet { of: usize, from: usize },
    /// A twin of writer `of` writes under the same actor and sequence.
    Twin { of: usize, key: u8 },
    /// Something malformed on top of what `of` has.
    Odd { of: usize, how: u8 },
}

fn step() -> impl Strategy<Value = Step> {
    let of = 0..3_usize;
    prop_oneof![
        5 => (of.clone(), any::<u8>(), 0..4_u8).prop_map(|(of, what, key)| Step::Write { of, what, key }),
        2 => (of.clone(), of.clone()).prop_map(|(of, from)| Step::Meet { of, from }),
        1 => (of.clone(), 0..4_u8).prop_map(|(of, key)| Step::Twin { of, key }),
        1 => (of, any::<u8>()).prop_map(|(of, how)| Step::Odd { of, how }),
    ]
}

fn write(doc: &mut Automerge, what: u8, key: u8) {
    let key = format!("k{key}");
    let mut tx = doc.transaction();
    let text = match tx.get(ROOT, "text").unwrap() {
        Some((_, text)) => text,
        None => tx.put_object(ROOT, "text", ObjType::Text).unwrap(),
    };
    match what % 4 {
        0 => tx.put(ROOT, key, i64::from(what)).unwrap(),
        1 => tx.put(ROOT, key, ScalarValue::counter(1)).unwrap(),
        2 => tx.splice_text(&text, 0, 0, "ab").unwrap(),
        _ => tx.delete(ROOT, key).unwrap(),
    }
    tx.commit();
}

/// A change that no honest writer makes, if a node with these changes takes it.
fn odd_but_admitted(doc: &mut Automerge, how: u8) -> Vec<Change> {
    let actor = ActorId::from([50; 16]);
    let metas = doc.get_changes_meta(&[]);
    let seq = metas.iter().filter(|meta| *meta.actor == actor).count() as u64 + 1;
    let highest = metas.iter().map(|meta| meta.max_op).max().unwrap_or(0);
    let other = metas.last().map_or(actor, |meta| meta.actor.clone().into_owned());
    let id = |counter: u64| OpId(counter % (highest + 2), other.clone());
    let how = u64::from(how);
    let op = match how % 6 {
        0 => RawOp { obj: ObjectId::Id(id(how / 6)), ..put_op("a", 1) },
        1 => RawOp { pred: vec![id(how / 6)].into(), ..put_op("k1", 1) },
        2 => RawOp { key: Key::Seq(ElementId::Head), insert: true, ..put_op("a", 1) },
        3 => RawOp { obj: ObjectId::Id(id(1)), key: Key::Seq(ElementId::Id(id(how / 6))), ..put_op("a", 1) },
        4 => RawOp { action: OpType::Increment(4), pred: vec![id(how / 6)].into(), ..put_op("k1", 1) },
        _ => put_op("k2", 5),
    };
    let change = odd(50, seq, highest + 1 + how % 5, &doc.get_heads(), op);
    let here: Vec<Change> = doc.get_changes(&[]).iter().map(opaque).collect();
    let mut node = Document::load([1; 16], super::tests::id(), None, &here).unwrap();
    match node.admit(&raw(std::slice::from_ref(&change))) {
        Ok(edited) => {
            doc.apply_changes([change]).unwrap();
            edited.changes
        }
        Err(_) => Vec::new(),
    }
}

/// The set of changes that these steps make.
fn changes(steps: &[Step]) -> Vec<Change> {
    let mut writers: Vec<Automerge> =
        (0..3).map(|n| Automerge::new().with_actor(ActorId::from([10 + n; 16]))).collect();
    let mut all = Vec::new();
    for step in steps {
        match step {
            Step::Write { of, what, key } => {
                write(&mut writers[*of], *what, *key);
                all.extend(writers[*of].get_last_local_change().iter().map(opaque));
            }
            Step::Meet { of, from } => {
                let more = writers[*from].get_changes(&[]);
                // Twins that one writer has are refused by another.
                let _ = writers[*of].apply_changes(more);
            }
            Step::Twin { of, key } => {
                let actor = writers[*of].get_actor().clone();
                let mut twin = writers[*of].clone().with_actor(actor);
                write(&mut twin, 200, *key);
                write(&mut twin, 2, *key);
                let made = twin.get_changes(&writers[*of].get_heads());
                all.extend(made.iter().map(opaque));
            }
            Step::Odd { of, how } => all.extend(odd_but_admitted(&mut writers[*of], *how)),
        }
    }
    all
}

/// Merges in batches; what a node does where the document breaks is to load it again.
fn merged(changes: &[Change], batch: usize) -> Option<Document> {
    let mut document = document(1);
    let mut stored: Vec<Change> = Vec::new();
    for batch in changes.chunks(batch) {
        stored.extend_from_slice(batch);
        document.merge(batch);
        if document.is_broken() {
            document = Document::load([1; 16], id(), None, &stored).ok()?;
        }
    }
    Some(document)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn any_order_and_duplication_of_a_set_gives_the_same_document(
        steps in prop::collection::vec(step(), 1..25),
        shuffle in any::<prop::sample::Index>(),
        seed in any::<u64>(),
        batch in 1..6_usize,
    ) {
        let set = changes(&steps);
        prop_assume!(!set.is_empty());
        let straight = Document::load([1; 16], id(), None, &set).unwrap();
        let mut order: Vec<Change> = set.iter().chain([&set[shuffle.index(set.len())]]).cloned().collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        let other = merged(&order, batch).unwrap();
        prop_assert_eq!(value(&straight), value(&other));
        prop_assert_eq!(straight.applied_heads(), other.applied_heads());
        prop_assert_eq!(straight.left_out().collect::<Vec<_>>(), other.left_out().collect::<Vec<_>>());
    }

    #[test]
    fn what_two_masters_put_at_once_under_the_same_names_is_all_there(
        (a, b) in (mine("a"), mine("b")),
    ) {
        let (mut one, mut two) = (document(1), document(2));
        let (from_one, from_two) = (put(&mut one, a.clone()), put(&mut two, b.clone()));
        one.merge(&from_two.changes);
        two.merge(&from_one.changes);
        let both = united(&a, &b);
        prop_assert_eq!(value(&one), both.clone());
        prop_assert_eq!(value(&two), both);
        prop_assert_eq!(one.json(None, false).unwrap().conflicts, 0);
    }
}

/// Maps under names that all writers use, counters and texts too, and scalars under names of one's own.
fn mine(own: &'static str) -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        (0..3_u8, any::<i32>()).prop_map(move |(n, value)| (format!("{own}{n}"), json!(value))),
        (0..3_u8, -9..9_i64).prop_map(|(n, count)| (format!("count{n}"), json!({"$counter": count}))),
    ];
    let object = |members: Vec<(String, Value)>| Value::Object(members.into_iter().collect());
    let leaves = prop::collection::vec(leaf, 0..4).prop_map(object);
    leaves.prop_recursive(4, 24, 4, move |inner| {
        let member = (0..3_u8, inner).prop_map(|(n, value)| (format!("map{n}"), value));
        prop::collection::vec(member, 0..4).prop_map(object)
    })
}

fn united(a: &Value, b: &Value) -> Value {
    match (a.as_object(), b.as_object()) {
        (Some(a), Some(b)) if a.contains_key("$counter") => {
            let count = |of: &serde_json::Map<String, Value>| of["$counter"].as_i64().unwrap_or(0);
            json!({"$counter": count(a) + count(b)})
        }
        (Some(a), Some(b)) => {
            let mut both = a.clone();
            for (key, value) in b {
                let there = both.get(key).cloned();
                both.insert(key.clone(), there.map_or(value.clone(), |there| united(&there, value)));
            }
            Value::Object(both)
        }
        _ => a.clone(),
    }
}

mod deleting {
    use super::*;

    fn delete(document: &mut Document, at: Option<&Heads>) -> Edited {
        let at = at.map(|heads| heads.as_slice());
        document.edit(&Edit::Delete, at, Some("someone"), 1_000, None).unwrap()
    }

    #[test]
    fn a_deletion_is_a_change_like_any_other_and_its_past_can_be_read() {
        let (mut a, mut b) = (document(1), document(2));
        let written = put(&mut a, json!({"a": 1}));
        let deleted = delete(&mut a, None);
        assert!(a.is_deleted() && is_deletion(&deleted.changes[0]) && !is_deletion(&written.changes[0]));
        assert_eq!(a.json(Some(&written.version), false).unwrap().body, &b"{\"a\":1}"[..]);
        b.merge(&written.changes);
        assert!(!b.is_absent());
        b.merge(&deleted.changes);
        assert!(b.is_deleted());
        // Once more makes nothing.
        assert!(delete(&mut a, None).changes.is_empty());
    }

    #[test]
    fn a_concurrent_edit_brings_the_document_back_whole() {
        let (mut a, mut b) = (document(1), document(2));
        let written = put(&mut a, json!({"a": 1, "list": [1, 2]}));
        b.merge(&written.changes);
        let deleted = delete(&mut a, None);
        let edited = patch(&mut b, json!({"b": 2}));
        a.merge(&edited.changes);
        b.merge(&deleted.changes);
        assert!(!a.is_deleted() && !b.is_deleted());
        let whole = json!({"a": 1, "b": 2, "list": [1, 2]});
        assert_eq!((value(&a), value(&b)), (whole.clone(), whole));
        // Deleting what was seen does not delete what was not.
        assert!(delete(&mut a, Some(&written.version)).changes.is_empty());
        assert!(!a.is_deleted());
        delete(&mut a, None);
        assert!(a.is_deleted());
    }

    #[test]
    fn what_is_written_on_a_deleted_document_does_not_bring_back_what_was_there() {
        for (edit, shown) in [
            (Edit::Put(json!({"new": {"x": 1}})), json!({"new": {"x": 1}})),
            (Edit::Put(json!({})), json!({})),
            (Edit::MergePatch(json!({"new": {"x": 1}, "old": null})), json!({"new": {"x": 1}})),
            (
                Edit::Ops(parse_ops(&json!([{"op": "increment", "path": "/n", "by": 2}])).unwrap()),
                json!({"n": {"$counter": 2}}),
            ),
        ] {
            let mut a = document(1);
            put(&mut a, json!({"old": {"x": 5}, "n": {"$counter": 7}}));
            delete(&mut a, None);
            let edited = a.edit(&edit, None, None, 1_000, None).unwrap();
            assert!(!edited.changes.is_empty() && !a.is_absent());
            assert_eq!(value(&a), shown);
            let mut b = document(2);
            b.merge(&all(&a));
            assert_eq!(value(&b), shown);
        }
    }
}
