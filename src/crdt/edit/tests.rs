//! Edits on real documents, made as the caller makes them: in two passes where something is created.

use automerge::{ActorId, Automerge, ReadDoc, TextEncoding};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::crdt::arbitrary::{document, plain_document, value};
use crate::crdt::{parse_json, render};

fn new() -> Automerge {
    Automerge::new_with_encoding(TextEncoding::UnicodeCodePoint).with_actor(ActorId::from([1; 16]))
}

fn fork(doc: &Automerge, actor: u8) -> Automerge {
    doc.fork().with_actor(ActorId::from([actor; 16]))
}

fn context(strings_are_text: bool) -> Context {
    Context { strings_are_text, ..Context::default() }
}

/// What the caller does; returns what was created, and how many operations the second pass took.
fn write_as(doc: &mut Automerge, edit: &Edit, texts: bool) -> Result<(Vec<Creation>, usize), EditError> {
    let mut first = context(texts);
    let mut tx = doc.transaction();
    if let Err(error) = perform(&mut tx, edit, &mut first) {
        tx.rollback();
        return Err(error);
    }
    if first.created.is_empty() {
        let ops = tx.pending_ops();
        tx.commit();
        return Ok((Vec::new(), ops));
    }
    tx.rollback();

    let mut made: Vec<Option<ObjId>> = Vec::new();
    let mut tx = doc.transaction();
    for creation in &first.created {
        let parent = match &creation.parent {
            Parent::Existing(id) => id.clone(),
            Parent::Created(index) => made[*index].clone().expect("a counter holds nothing"),
        };
        assert_eq!(tx.get(&parent, creation.key.as_str()).unwrap(), None, "only absent members are created");
        made.push(match creation.kind {
            Kind::Object(kind) => Some(tx.put_object(&parent, creation.key.as_str(), kind).unwrap()),
            Kind::Counter => {
                tx.put(&parent, creation.key.as_str(), ScalarValue::counter(0)).unwrap();
                None
            }
        });
    }
    tx.commit();

    let mut fresh = context(texts);
    let mut tx = doc.transaction();
    perform(&mut tx, edit, &mut fresh).expect("what the first pass took");
    assert_eq!(fresh.created, [], "the second pass finds all there");
    tx.rollback();
    let created = first.created.clone();
    let mut tx = doc.transaction();
    perform(&mut tx, edit, &mut first).expect("what the first pass took");
    assert_eq!(first.created, created);
    let ops = tx.pending_ops();
    tx.commit();
    Ok((created, ops))
}

fn write(doc: &mut Automerge, edit: &Edit) -> (Vec<Creation>, usize) {
    write_as(doc, edit, false).unwrap()
}

fn put(doc: &mut Automerge, value: Value) -> usize {
    write(doc, &Edit::Put(value)).1
}

fn patch(doc: &mut Automerge, value: Value) {
    write(doc, &Edit::MergePatch(value));
}

fn ops(doc: &mut Automerge, value: Value) -> Result<(), EditError> {
    write_as(doc, &Edit::Ops(parse_ops(&value).unwrap()), false).map(drop)
}

/// The operation alone is refused; returns pointer and reason.
fn refused(doc: &mut Automerge, op: Value) -> (String, String) {
    let before = typed(doc);
    let result = ops(doc, json!([op]));
    assert_eq!(typed(doc), before);
    match result {
        Err(EditError::Refused { pointer, reason }) => (pointer, reason),
        other => panic!("{op}: {other:?}"),
    }
}

fn shown(doc: &Automerge, typed: bool) -> Value {
    parse_json(&render::json(doc, None, typed).0).unwrap()
}

fn typed(doc: &Automerge) -> Value {
    shown(doc, true)
}

fn plain(doc: &Automerge) -> Value {
    shown(doc, false)
}

fn made(value: Value) -> Automerge {
    let mut doc = new();
    put(&mut doc, value);
    doc
}

#[test]
fn what_is_equal_is_not_touched() {
    let value =
        json!({"a": [1, {"id": 1, "t": {"$text": "x"}}], "c": {"$counter": 2}, "s": "y", "m": {}, "l": []});
    let mut doc = made(value.clone());
    assert_eq!(put(&mut doc, value), 0);
    let read = plain(&doc);
    assert_eq!(put(&mut doc, read.clone()), 0);
    patch(&mut doc, read.clone());
    assert_eq!(doc.get_changes(&[]).len(), 2);
    assert_eq!(plain(&doc), read);
}

#[test]
fn one_changed_member_is_one_operation() {
    let mut doc = made(json!({"a": 1, "b": {"c": [1, 2], "d": "x"}, "e": 2}));
    assert_eq!(put(&mut doc, json!({"a": 1, "b": {"c": [1, 2], "d": "y"}, "e": 2})), 1);
    assert_eq!(put(&mut doc, json!({"a": 1, "b": {"c": [1, 2], "d": "y"}})), 1);
    assert_eq!(put(&mut doc, json!({"a": 1, "b": {"c": [1, 2, 3], "d": "y"}})), 1);
}

#[test]
fn one_and_one_point_nought_differ() {
    let mut doc = made(json!({"n": 1, "z": 0.0}));
    assert_eq!(put(&mut doc, json!({"n": 1.0, "z": 0.0})), 1);
    assert_eq!(plain(&doc).to_string(), r#"{"n":1.0,"z":0.0}"#);
    assert_eq!(plain(&made(json!({"z": -0.0}))).to_string(), r#"{"z":-0.0}"#);
    let mut tx = doc.transaction();
    tx.put(ROOT, "n", ScalarValue::Uint(7)).unwrap();
    tx.commit();
    assert_eq!(put(&mut doc, json!({"n": 7, "z": 0.0})), 0);
}

#[test]
fn integers_keep_64_bits() {
    let value = json!({"least": i64::MIN, "most": i64::MAX, "above": u64::MAX});
    assert_eq!(plain(&made(value.clone())), value);
}

#[test]
fn a_plain_read_written_back_keeps_the_types() {
    let value = json!({
        "text": {"$text": "abc"}, "counter": {"$counter": 5}, "bytes": {"$bytes": "AAEC"},
        "time": {"$timestamp": "2026-01-31T12:00:00.5Z"}, "$$k": {"$$text": "no text"},
        "list": [{"$text": "in a list"}, {"$counter": 1}],
    });
    let mut doc = made(value.clone());
    assert_eq!(typed(&doc), value);
    let mut read = plain(&doc);
    assert_eq!(read["time"], "2026-01-31T12:00:00.5Z");
    assert_eq!(read["$$k"]["$$text"], "no text");
    read["text"] = "abXc".into();
    read["counter"] = 7.into();
    read["bytes"] = "AAED".into();
    read["time"] = "2027-01-31T12:00:00Z".into();
    read["list"] = json!(["in the list", 3]);
    put(&mut doc, read);
    let changed = json!({
        "text": {"$text": "abXc"}, "counter": {"$counter": 7}, "bytes": {"$bytes": "AAED"},
        "time": {"$timestamp": "2027-01-31T12:00:00Z"}, "$$k": {"$$text": "no text"},
        "list": [{"$text": "in the list"}, {"$counter": 3}],
    });
    assert_eq!(typed(&doc), changed);
}

#[test]
fn what_is_no_value_of_the_kept_type_replaces_it() {
    let mut doc = made(
        json!({"t": {"$timestamp": "2026-01-31T12:00:00Z"}, "b": {"$bytes": "AAEC"}, "c": {"$counter": 1}}),
    );
    put(&mut doc, json!({"t": "soon", "b": "no base64", "c": 1.5}));
    assert_eq!(typed(&doc), json!({"t": "soon", "b": "no base64", "c": 1.5}));
    put(&mut doc, json!({"t": {"$text": "soon"}, "b": {"$counter": 1}, "c": [1.5]}));
    assert_eq!(typed(&doc), json!({"t": {"$text": "soon"}, "b": {"$counter": 1}, "c": [1.5]}));
}

#[test]
fn words_that_are_none_are_refused_where_they_are() {
    let mut doc = new();
    for (value, pointer) in [
        (json!({"a": [{"$txt": "x"}]}), "/a/0/$txt"),
        (json!({"a": {"$text": "x", "b": 1}}), "/a/$text"),
        (json!({"a": {"$text": 1}}), "/a/$text"),
        (json!({"a": {"$counter": 1.5}}), "/a/$counter"),
        (json!({"a": {"$counter": u64::MAX}}), "/a/$counter"),
        (json!({"a": {"$timestamp": "yesterday"}}), "/a/$timestamp"),
        (json!({"a": {"$timestamp": "2026-01-31T12:00:00.0001Z"}}), "/a/$timestamp"),
        (json!({"a": {"$bytes": "A"}}), "/a/$bytes"),
        (json!({"a~/": {"b": 1, "$": 1}}), "/a~0~1/$"),
        (json!({"$text": "x"}), ""),
        (json!([1]), ""),
    ] {
        for edit in [Edit::Put(value.clone()), Edit::MergePatch(value.clone())] {
            match write_as(&mut doc, &edit, false) {
                Err(EditError::Refused { pointer: at, .. }) => assert_eq!(at, pointer, "{value}"),
                other => panic!("{value}: {other:?}"),
            }
        }
    }
    let advice = write_as(&mut doc, &Edit::Put(json!({"$price": 1})), false).unwrap_err();
    assert!(advice.to_string().contains("$$price"), "{advice}");
    put(&mut doc, json!({"$$price": 1}));
    assert_eq!(plain(&doc), json!({"$$price": 1}));
    assert_eq!(doc.get(ROOT, "$price").unwrap().unwrap().0, 1.into());
}

#[test]
fn an_insert_at_the_head_of_a_long_list_is_one_insert() {
    let list: Vec<_> = (0..1000).map(|i| json!({"n": i, "done": false})).collect();
    let mut doc = made(json!({"list": list}));
    let mut longer = list.clone();
    longer.insert(0, json!("first"));
    assert_eq!(put(&mut doc, json!({"list": longer})), 1);
    assert_eq!(plain(&doc), json!({"list": longer}));
    longer.remove(500);
    assert_eq!(put(&mut doc, json!({"list": longer})), 1);
}

#[test]
fn objects_in_lists_are_known_by_their_names() {
    let mut doc = made(json!({"list": [{"id": 1, "v": "a"}, {"id": 2, "v": "b"}, {"id": 3, "v": "c"}]}));
    // The first is gone, a new one came, and two are edited: a delete, two puts, and an insert of three.
    let target = json!({"list": [{"id": 2, "v": "B"}, {"id": 9, "v": "n"}, {"id": 3, "v": "C"}]});
    assert_eq!(put(&mut doc, target.clone()), 6);
    assert_eq!(plain(&doc), target);
}

#[test]
fn nameless_elements_are_edited_in_place() {
    let mut doc = made(json!({"list": [{"v": "a", "w": 1}, {"$text": "letters"}, {"$counter": 1}, 5]}));
    let mut other = fork(&doc, 2);
    put(&mut doc, json!({"list": [{"v": "b", "w": 1}, "letter", 3, 6]}));
    put(&mut other, json!({"list": [{"v": "a", "w": 2}, "Letters", 2, 5]}));
    doc.merge(&mut other).unwrap();
    assert_eq!(typed(&doc), json!({"list": [{"v": "b", "w": 2}, {"$text": "Letter"}, {"$counter": 4}, 6]}));
}

#[test]
fn concurrent_inserts_survive() {
    let mut doc = made(json!({"list": ["a", "b", "c"], "text": {"$text": "one two three"}}));
    let mut other = fork(&doc, 2);
    put(&mut doc, json!({"list": ["x", "a", "b", "c"], "text": "one or two three"}));
    put(&mut other, json!({"list": ["a", "b", "y", "c"], "text": "one two and three"}));
    doc.merge(&mut other).unwrap();
    assert_eq!(plain(&doc), json!({"list": ["x", "a", "b", "y", "c"], "text": "one or two and three"}));
}

#[test]
fn any_plain_write_settles_a_conflict_even_one_of_what_is_shown() {
    let conflicted = |value: fn(u8) -> ScalarValue| {
        let (mut doc, mut other) = (new(), fork(&new(), 2));
        for (doc, n) in [(&mut doc, 1), (&mut other, 2)] {
            let mut tx = doc.transaction();
            tx.put(ROOT, "k", value(n)).unwrap();
            tx.commit();
        }
        doc.merge(&mut other).unwrap();
        assert_eq!(render::json(&doc, None, false).1, 1);
        doc
    };
    for value in [|n: u8| ScalarValue::Int(n.into()), |n: u8| ScalarValue::counter(n.into())] {
        let winner = (plain(&conflicted(value)), typed(&conflicted(value)));
        for written in [winner.0.clone(), json!({"k": 9})] {
            let mut doc = conflicted(value);
            assert_eq!(put(&mut doc, written.clone()), 1);
            assert_eq!(plain(&doc), written);
            assert_eq!(render::json(&doc, None, false).1, 0);
            assert_eq!(put(&mut doc, written), 0);
        }
        let mut doc = conflicted(value);
        put(&mut doc, winner.0);
        assert_eq!(typed(&doc), winner.1);
    }
}

#[test]
fn counters_add_up() {
    let mut doc = made(json!({"c": {"$counter": 5}, "l": [{"$counter": 1}]}));
    let mut other = fork(&doc, 2);
    put(&mut doc, json!({"c": 7, "l": [2]}));
    put(&mut other, json!({"c": {"$counter": 4}, "l": [{"$counter": 11}]}));
    doc.merge(&mut other).unwrap();
    assert_eq!(typed(&doc), json!({"c": {"$counter": 6}, "l": [{"$counter": 12}]}));
    for n in [i64::MIN, i64::MAX] {
        put(&mut doc, json!({"c": n, "l": [n]}));
        assert_eq!(typed(&doc), json!({"c": {"$counter": n}, "l": [{"$counter": n}]}));
    }
}

#[test]
fn letters_that_another_client_put_into_one_element_are_written_over_too() {
    let mut doc = new();
    let mut tx = doc.transaction();
    let text = tx.put_object(ROOT, "t", ObjType::Text).unwrap();
    tx.insert(&text, 0, "ab").unwrap();
    tx.insert(&text, 2, "c").unwrap();
    tx.commit();
    put(&mut doc, json!({"t": "ac"}));
    assert_eq!(typed(&doc), json!({"t": {"$text": "ac"}}));
}

#[test]
fn strings_can_be_texts() {
    let mut doc = new();
    let value = json!({"a": "x", "l": ["y", {"b": "z"}], "t": {"$timestamp": "2026-01-31T12:00:00Z"}});
    let (created, _) = write_as(&mut doc, &Edit::Put(value), true).unwrap();
    assert_eq!(created.len(), 2);
    let text = |s| json!({"$text": s});
    let time = json!({"$timestamp": "2026-01-31T12:00:00Z"});
    assert_eq!(typed(&doc), json!({"a": text("x"), "l": [text("y"), {"b": text("z")}], "t": time}));
    let read = plain(&doc);
    assert_eq!(write_as(&mut doc, &Edit::Put(read), true).unwrap(), (Vec::new(), 0));
    write_as(&mut doc, &Edit::MergePatch(json!({"a": null, "l": [1, {"b": "Z"}], "n": {"m": "w"}})), true)
        .unwrap();
    assert_eq!(typed(&doc), json!({"l": [1, {"b": text("Z")}], "n": {"m": text("w")}, "t": time}));
}

#[test]
fn creations_are_told_outer_ones_first() {
    let mut doc = made(json!({"there": {"x": 1}, "list": [{"y": 1}]}));
    let there = doc.get(ROOT, "there").unwrap().unwrap().1;
    let list = doc.get(ROOT, "list").unwrap().unwrap().1;
    let element = doc.get(&list, 0).unwrap().unwrap().1;
    let edit = Edit::Put(json!({
        "there": {"x": 1, "new": {"c": {"$counter": 3}, "s": "scalar"}},
        "list": [{"y": 1, "t": {"$text": "abc"}}, {"z": {}}],
        "views": {"$counter": 0},
    }));
    let (created, _) = write(&mut doc, &edit);
    let creation = |parent, key: &str, kind| Creation { parent, key: key.to_owned(), kind };
    assert_eq!(
        created,
        [
            creation(Parent::Existing(element), "t", Kind::Object(ObjType::Text)),
            creation(Parent::Existing(there), "new", Kind::Object(ObjType::Map)),
            creation(Parent::Created(1), "c", Kind::Counter),
            creation(Parent::Existing(ROOT), "views", Kind::Counter),
        ]
    );
    let Edit::Put(value) = edit else { unreachable!() };
    assert_eq!(typed(&doc), value);
}

#[test]
fn what_replaces_is_not_derived() {
    let mut doc = made(json!({"a": 1, "l": [1]}));
    assert_eq!(write(&mut doc, &Edit::Put(json!({"a": {"b": {}}, "l": [{"c": {}}]}))).0, []);
    assert_eq!(typed(&doc), json!({"a": {"b": {}}, "l": [{"c": {}}]}));
    // Nor what was deleted before in the same request, or what is in something new.
    for request in [
        json!([{"op": "delete", "path": "/a"}, {"op": "put", "path": "/a", "value": {"d": []}},
               {"op": "put", "path": "/a/e", "value": {}}]),
        json!([{"op": "put", "path": "/a", "value": []}, {"op": "put", "path": "/a", "value": {}},
               {"op": "put", "path": "/a/f", "value": {}}]),
        json!([{"op": "list.insert", "path": "/l", "index": 0, "value": {}},
               {"op": "put", "path": "/l/0/g", "value": {}},
               {"op": "increment", "path": "/l/0/h", "by": 2}]),
        json!([{"op": "put", "path": "/l", "value": [{"x": 1}, {"y": 2}, {"z": 3}]},
               {"op": "put", "path": "/l/2/g", "value": {}}]),
    ] {
        assert_eq!(write(&mut doc, &Edit::Ops(parse_ops(&request).unwrap())).0, [], "{request}");
    }
}

#[test]
fn what_cannot_be_derived_is_made_by_the_second_pass() {
    let value = json!({"m": {"n": {"c": {"$counter": 2}}, "l": [{}]}, "t": {"$text": "t"}});
    let request = json!([
        {"op": "put", "path": "/m", "value": value["m"]},
        {"op": "text.splice", "path": "/t", "pos": 0, "insert": "t"},
    ]);
    for edit in [Edit::Put(value.clone()), Edit::Ops(parse_ops(&request).unwrap())] {
        let mut doc = new();
        let mut cx = context(false);
        let mut tx = doc.transaction();
        perform(&mut tx, &edit, &mut cx).unwrap();
        tx.rollback();
        assert_eq!(cx.created.len(), 5);
        let mut tx = doc.transaction();
        perform(&mut tx, &edit, &mut cx).unwrap();
        tx.commit();
        assert_eq!(typed(&doc), value);
    }
}

#[test]
fn two_who_create_the_same_merge_when_it_is_created_alike() {
    // As the caller derives it: the same empty object for both, before they differ.
    let mut doc = new();
    let mut tx = doc.transaction();
    tx.put_object(ROOT, "prefs", ObjType::Map).unwrap();
    tx.put(ROOT, "views", ScalarValue::counter(0)).unwrap();
    tx.commit();
    let mut other = fork(&doc, 2);
    put(&mut doc, json!({"prefs": {"a": 1}, "views": {"$counter": 3}}));
    put(&mut other, json!({"prefs": {"b": 2}, "views": {"$counter": 4}}));
    doc.merge(&mut other).unwrap();
    assert_eq!(typed(&doc), json!({"prefs": {"a": 1, "b": 2}, "views": {"$counter": 7}}));
}

#[test]
fn merge_patches_do_as_the_examples_of_rfc_7396() {
    for (target, change, result) in [
        (json!({"a": "b"}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "b"}), json!({"b": "c"}), json!({"a": "b", "b": "c"})),
        (json!({"a": "b"}), json!({"a": null}), json!({})),
        (json!({"a": "b", "b": "c"}), json!({"a": null}), json!({"b": "c"})),
        (json!({"a": ["b"]}), json!({"a": "c"}), json!({"a": "c"})),
        (json!({"a": "c"}), json!({"a": ["b"]}), json!({"a": ["b"]})),
        (json!({"a": {"b": "c"}}), json!({"a": {"b": "d", "c": null}}), json!({"a": {"b": "d"}})),
        (json!({"a": [{"b": "c"}]}), json!({"a": [1]}), json!({"a": [1]})),
        (json!({"e": null}), json!({"a": 1}), json!({"e": null, "a": 1})),
        (json!({}), json!({"a": {"bb": {"ccc": null}}}), json!({"a": {"bb": {}}})),
    ] {
        let mut doc = made(target);
        patch(&mut doc, change);
        assert_eq!(plain(&doc), result);
    }
}

#[test]
fn puts_and_deletes_at_paths() {
    let mut doc = made(json!({"m": {"a/b": 1, "~": 2, "": 3}, "l": [1, 2, 3]}));
    ops(
        &mut doc,
        json!([
            {"op": "put", "path": "/m/a~1b", "value": [1]},
            {"op": "put", "path": "/m/~0", "value": {"$text": "t"}},
            {"op": "put", "path": "/m/", "value": null},
            {"op": "put", "path": "/m/$k", "value": {"$$v": 1}},
            {"op": "put", "path": "/l/0", "value": "one"},
            {"op": "put", "path": "/l/3", "value": 4},
            {"op": "put", "path": "/l/-", "value": 5},
            {"op": "delete", "path": "/l/1"},
            {"op": "put", "path": "/m/a~1b/0", "value": {"deep": {}}},
            {"op": "delete", "path": "/m/"},
        ]),
    )
    .unwrap();
    let result = json!({
        "m": {"a/b": [{"deep": {}}], "~": {"$text": "t"}, "$$k": {"$$v": 1}},
        "l": ["one", 3, 4, 5],
    });
    assert_eq!(typed(&doc), result);
    ops(&mut doc, json!([{"op": "put", "path": "", "value": {"new": 1}}])).unwrap();
    assert_eq!(typed(&doc), json!({"new": 1}));
}

#[test]
fn counters_texts_and_lists_are_created_by_their_operations() {
    let mut doc = new();
    let request = json!([
        {"op": "increment", "path": "/views", "by": 2},
        {"op": "increment", "path": "/views", "by": -5},
        {"op": "increment", "path": "/none", "by": 0},
        {"op": "text.splice", "path": "/note", "pos": 0, "delete": 0, "insert": "h😀llo"},
        {"op": "text.splice", "path": "/note", "pos": 1, "delete": 1, "insert": "e"},
        {"op": "text.update", "path": "/other", "value": "whole"},
        {"op": "text.update", "path": "/note", "value": "hello!"},
        {"op": "list.insert", "path": "/items", "index": 0, "value": "b"},
        {"op": "list.insert", "path": "/items", "index": 0, "value": {"$counter": 1}},
        {"op": "increment", "path": "/items/0", "by": 4},
        {"op": "list.insert", "path": "/items", "index": 2, "value": "c"},
        {"op": "list.delete", "path": "/items", "index": 1, "count": 2},
        {"op": "put", "path": "/m", "value": {}},
        {"op": "increment", "path": "/m/c", "by": 1},
    ]);
    let (created, _) = write(&mut doc, &Edit::Ops(parse_ops(&request).unwrap()));
    assert_eq!(created.len(), 7);
    assert_eq!(created[6].parent, Parent::Created(5));
    let text = |s| json!({"$text": s});
    let counter = |n| json!({"$counter": n});
    let result = json!({
        "views": counter(-3), "none": counter(0), "note": text("hello!"), "other": text("whole"),
        "items": [counter(5)], "m": {"c": counter(1)},
    });
    assert_eq!(typed(&doc), result);
}

#[test]
fn operations_that_do_not_fit_are_refused_and_say_why() {
    let mut doc = made(json!({
        "n": 1, "s": "plain", "t": {"$text": "añb"}, "c": {"$counter": i64::MAX}, "l": [1, 2], "m": {"x": 1},
    }));
    let splice = |pos: usize, delete: usize| json!({"op": "text.splice", "path": "/t", "pos": pos, "delete": delete, "insert": ""});
    for (op, word) in [
        (json!({"op": "put", "path": "/m/y/z", "value": 1}), "\"/m/y\" is not there"),
        (json!({"op": "put", "path": "/n/z", "value": 1}), "a plain number"),
        (json!({"op": "put", "path": "/t/0", "value": 1}), "text.splice"),
        (json!({"op": "put", "path": "/l/3", "value": 1}), "a list of 2"),
        (json!({"op": "put", "path": "/l/01", "value": 1}), "no index"),
        (json!({"op": "put", "path": "/l/x", "value": 1}), "no index"),
        (json!({"op": "put", "path": "m", "value": 1}), "JSON pointer"),
        (json!({"op": "put", "path": "/m~2", "value": 1}), "~0"),
        (json!({"op": "put", "path": "/m~", "value": 1}), "~0"),
        (json!({"op": "put", "path": "", "value": 1}), "object"),
        (json!({"op": "delete", "path": ""}), "cannot be deleted"),
        (json!({"op": "delete", "path": "/x"}), "nothing is there"),
        (json!({"op": "delete", "path": "/l/2"}), "nothing is there"),
        (json!({"op": "delete", "path": "/l/-"}), "nothing is there"),
        (json!({"op": "increment", "path": "/n", "by": 1}), "{\"$counter\": n}"),
        (json!({"op": "increment", "path": "/c", "by": 1}), "64 bits"),
        (json!({"op": "increment", "path": "/l/2", "by": 1}), "nothing is there"),
        (json!({"op": "increment", "path": "", "by": 1}), "no counter"),
        (json!({"op": "text.splice", "path": "/s", "pos": 0, "delete": 0, "insert": "x"}), "\"$text\""),
        (json!({"op": "text.update", "path": "/l", "value": "x"}), "a list, not a text"),
        (json!({"op": "text.splice", "path": "/new", "pos": 1, "delete": 0, "insert": "x"}), "a text of 0"),
        (splice(3, 1), "a text of 3"),
        (splice(4, 0), "a text of 3"),
        (splice(1, usize::MAX), "a text of 3"),
        (json!({"op": "list.insert", "path": "/l", "index": 3, "value": 1}), "a list of 2"),
        (json!({"op": "list.insert", "path": "", "index": 0, "value": 1}), "an object, not a list"),
        (json!({"op": "list.insert", "path": "/new", "index": 1, "value": 1}), "a list of 0"),
        (json!({"op": "list.delete", "path": "/l", "index": 1, "count": 2}), "a list of 2"),
        (json!({"op": "list.delete", "path": "/t", "index": 0, "count": 1}), "a text, not a list"),
    ] {
        let (pointer, reason) = refused(&mut doc, op.clone());
        assert_eq!(pointer, op["path"], "{op}");
        assert!(reason.contains(word), "{op}: {reason}");
    }
    let outside = json!({"op": "put", "path": "/m/x", "value": [{"$x": 1}]});
    assert_eq!(refused(&mut doc, outside).0, "/m/x/0/$x");
    // At its bounds it is taken.
    ops(&mut doc, json!([splice(3, 0), splice(0, 3)])).unwrap();
    assert_eq!(typed(&doc)["t"], json!({"$text": ""}));
}

#[test]
fn operations_do_not_nest_deeper_than_the_limit() {
    let max = crate::base::limits::MAX_DEPTH;
    let nested = |n: usize| (0..n).fold(json!(1), |inner, _| json!([inner]));
    let mut doc = new();
    let put = |path: String, n: usize| json!([{"op": "put", "path": path, "value": nested(n)}]);
    // The root is a level too.
    ops(&mut doc, put("/a".to_owned(), max - 1)).unwrap();
    assert!(matches!(ops(&mut doc, put("/b".to_owned(), max)), Err(EditError::Refused { .. })));
    let deepest = format!("/a{}", "/0".repeat(max - 1));
    assert!(matches!(ops(&mut doc, put(deepest.clone(), 1)), Err(EditError::Refused { .. })));
    ops(&mut doc, put(deepest, 0)).unwrap();
    let deepest = format!("/a{}", "/0".repeat(max - 2));
    let insert = json!([{"op": "list.insert", "path": deepest, "index": 0, "value": []}]);
    assert!(matches!(ops(&mut doc, insert), Err(EditError::Refused { .. })));
}

#[test]
fn requests_of_operations_are_read_strictly() {
    let good = json!({"op": "delete", "path": "/a"});
    for (request, pointer) in [
        (json!({}), ""),
        (json!([good, 1]), "/1"),
        (json!([good, {"path": "/a"}]), "/1"),
        (json!([{"op": "move", "path": "/a"}]), "/0"),
        (json!([{"op": "delete", "path": "/a", "from": "/b"}]), "/0"),
        (json!([{"op": "delete"}]), "/0"),
        (json!([{"op": "put", "path": "/a"}]), "/0"),
        (json!([{"op": "increment", "path": "/a", "by": 1.5}]), "/0"),
        (json!([{"op": "text.splice", "path": "/a", "pos": -1, "delete": 0, "insert": ""}]), "/0"),
    ] {
        match parse_ops(&request) {
            Err(EditError::Refused { pointer: at, reason }) => {
                assert_eq!(at, pointer, "{request}");
                assert!(!reason.is_empty());
            }
            other => panic!("{request}: {other:?}"),
        }
    }
    assert!(parse_ops(&Value::from(vec![good.clone(); MAX_OPS])).is_ok());
    assert!(parse_ops(&Value::from(vec![good; MAX_OPS + 1])).is_err());
    let null = json!([{"op": "put", "path": "/a", "value": null}]);
    assert_eq!(parse_ops(&null).unwrap(), [Op::Put { path: "/a".to_owned(), value: Value::Null }]);
}

/// RFC 7396's own algorithm.
fn rfc_7396(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Value::Object(members) = target else { unreachable!() };
    for (key, value) in patch {
        if value.is_null() {
            members.remove(key);
        } else {
            rfc_7396(members.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

/// Tells floats from integers.
fn exactly(value: &Value) -> String {
    value.to_string()
}

proptest! {
    #[test]
    fn a_document_reads_as_it_was_written(value in document()) {
        prop_assert_eq!(exactly(&typed(&made(value.clone()))), exactly(&value));
    }

    #[test]
    fn a_put_makes_exactly_what_it_says(before in document(), after in document(), texts in any::<bool>()) {
        let mut doc = made(before);
        write_as(&mut doc, &Edit::Put(after.clone()), texts).unwrap();
        // What was written plainly may have kept a type.
        prop_assert_eq!(exactly(&plain(&doc)), exactly(&plain(&made(after.clone()))));
        prop_assert_eq!(write_as(&mut doc, &Edit::Put(after), texts).unwrap().1, 0);
    }

    #[test]
    fn a_put_of_what_is_typed_makes_it_typed(before in plain_document(), after in document()) {
        let mut doc = made(before);
        put(&mut doc, after.clone());
        prop_assert_eq!(exactly(&typed(&doc)), exactly(&after));
    }

    #[test]
    fn a_merge_patch_does_what_rfc_7396_says(before in plain_document(), change in plain_document()) {
        let mut doc = made(before.clone());
        patch(&mut doc, change.clone());
        let mut target = before;
        rfc_7396(&mut target, &change);
        prop_assert_eq!(exactly(&plain(&doc)), exactly(&target));
    }

    #[test]
    fn an_older_version_reads_as_it_was(before in document(), after in document()) {
        let mut doc = made(before.clone());
        let heads = doc.get_heads();
        put(&mut doc, after.clone());
        let then = render::json(&doc, Some(&heads), true).0;
        prop_assert_eq!(exactly(&parse_json(&then).unwrap()), exactly(&before));
    }

    #[test]
    fn a_put_at_an_older_version_makes_exactly_that(before in document(), between in document(), after in document()) {
        let mut doc = made(before.clone());
        let heads = doc.get_heads();
        let mut alone = doc.fork_at(&heads).unwrap().with_actor(ActorId::from([3; 16]));
        put(&mut doc, between);
        // What would be created is for the caller; here only what needs no creation.
        let mut cx = context(false);
        let mut tx = alone.transaction();
        perform(&mut tx, &Edit::Put(after.clone()), &mut cx).unwrap();
        tx.commit();
        prop_assume!(cx.created.is_empty());
        doc.set_actor(ActorId::from([4; 16]));
        let mut tx = doc.transaction_at(automerge::PatchLog::inactive(), &heads).unwrap();
        perform(&mut tx, &Edit::Put(after), &mut context(false)).unwrap();
        let made_at = tx.commit().0;
        let at: Vec<_> = made_at.map_or(heads, |hash| vec![hash]);
        prop_assert_eq!(render::json(&doc, Some(&at), true).0, render::json(&alone, None, true).0);
    }

    #[test]
    fn texts_and_lists_in_common_survive_concurrent_edits(
        base in "[ab]{0,12}", ours in "[ab]{0,12}", theirs in "[ab]{0,12}", elements in proptest::collection::vec(value(), 0..6),
    ) {
        let mut doc = made(json!({"t": {"$text": base}, "l": elements}));
        let mut other = fork(&doc, 2);
        put(&mut doc, json!({"t": ours, "l": ["new", elements]}));
        put(&mut other, json!({"t": theirs, "l": elements}));
        let mut back = fork(&other, 3);
        doc.merge(&mut other).unwrap();
        back.merge(&mut doc).unwrap();
        prop_assert_eq!(typed(&doc), typed(&back));
    }
}
