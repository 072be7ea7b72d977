//! Patches of whole documents, beside a small interpreter of the RFC.

use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::json;

use super::*;
use crate::base::{DocId, Hash};
use crate::crdt::arbitrary::{plain_document, value};
use crate::crdt::{Document, Edit, Edited, parse_json};

fn new(actor: u8) -> Document {
    Document::load([actor; 16], DocId::new("test/patches").unwrap(), None, &[]).unwrap()
}

fn made(content: Value) -> Document {
    let mut document = new(1);
    document.edit(&Edit::Put(content), None, None, 0, None).unwrap();
    document
}

/// Another master's copy.
fn twin(document: &Document, actor: u8) -> Document {
    let id = DocId::new("test/patches").unwrap();
    Document::load([actor; 16], id, Some(&document.save(None).unwrap()), &[]).unwrap()
}

fn patch_at(document: &mut Document, at: Option<&[Hash]>, ops: Value) -> Result<Edited, EditError> {
    let ops = parse_json_patch(&ops)?;
    let edited = document.edit(&Edit::JsonPatch(ops), at, None, 0, None);
    assert!(!document.is_broken());
    edited
}

fn patch(document: &mut Document, ops: Value) -> Result<Edited, EditError> {
    patch_at(document, None, ops)
}

fn shown(document: &Document, typed: bool) -> Value {
    parse_json(&document.json(None, typed).unwrap().body).unwrap()
}

#[track_caller]
fn refused(document: &mut Document, ops: Value) -> (String, String) {
    let (before, heads) = (shown(document, true), document.applied_heads());
    let outcome = patch(document, ops);
    assert_eq!((shown(document, true), document.applied_heads()), (before, heads));
    match outcome {
        Err(EditError::Refused { pointer, reason }) => (pointer, reason),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_moves_keeps_its_type() {
    let content = json!({
        "note": {"$text": "hello"}, "n": {"$counter": 3}, "at": {"$timestamp": "2026-01-31T12:00:00Z"},
        "b": {"$bytes": "AAEC"}, "list": [{"t": {"$text": "x"}}, 1, {"$counter": 2}], "far": {"s": "y"}
    });
    let mut document = made(content);
    let ops = json!([
        {"op": "move", "from": "/note", "path": "/title"},
        {"op": "move", "from": "/n", "path": "/far/n"},
        {"op": "move", "from": "/at", "path": "/list/0"},
        {"op": "move", "from": "/list/1", "path": "/list/-"},
        {"op": "copy", "from": "/b", "path": "/bytes"},
        {"op": "copy", "from": "/far", "path": "/near"},
        {"op": "move", "from": "/near", "path": "/near"},
    ]);
    patch(&mut document, ops).unwrap();
    let far = json!({"n": {"$counter": 3}, "s": "y"});
    let wanted = json!({
        "title": {"$text": "hello"}, "far": far, "near": far, "b": {"$bytes": "AAEC"}, "bytes": {"$bytes": "AAEC"},
        "list": [{"$timestamp": "2026-01-31T12:00:00Z"}, 1, {"$counter": 2}, {"t": {"$text": "x"}}]
    });
    assert_eq!(shown(&document, true), wanted);
}

#[test]
fn a_value_written_over_a_text_or_counter_keeps_it_and_what_others_wrote() {
    let mut here = made(json!({"note": {"$text": "one two"}, "n": {"$counter": 1}, "list": [1, 2]}));
    let mut there = twin(&here, 2);
    let ours = json!([
        {"op": "replace", "path": "/note", "value": "one two three"},
        {"op": "add", "path": "/n", "value": 5},
        {"op": "add", "path": "/list/-", "value": 3},
    ]);
    let theirs = json!([
        {"op": "test", "path": "/note", "value": "one two"},
        {"op": "replace", "path": "/note", "value": "zero one two"},
        {"op": "replace", "path": "/n", "value": 11},
        {"op": "remove", "path": "/list/0"},
        {"op": "add", "path": "/list/0", "value": 0},
    ]);
    let ours = patch(&mut here, ours).unwrap();
    let theirs = patch(&mut there, theirs).unwrap();
    here.merge(&theirs.changes);
    there.merge(&ours.changes);
    let both = json!({"note": {"$text": "zero one two three"}, "n": {"$counter": 15}, "list": [0, 2, 3]});
    assert_eq!((shown(&here, true), shown(&there, true)), (both.clone(), both));
}

#[test]
fn what_two_masters_add_at_once_is_created_once() {
    let mut here = made(json!({}));
    let mut there = twin(&here, 2);
    let ops = |member: &str| {
        json!([
            {"op": "add", "path": "/prefs", "value": {}},
            {"op": "add", "path": "/prefs/deep", "value": {member: 1}},
            {"op": "copy", "from": "/prefs/deep", "path": "/prefs/copy"},
            {"op": "move", "from": "/prefs/copy", "path": "/moved"},
        ])
    };
    let ours = patch(&mut here, ops("a")).unwrap();
    let theirs = patch(&mut there, ops("b")).unwrap();
    here.merge(&theirs.changes);
    there.merge(&ours.changes);
    let both = json!({"prefs": {"deep": {"a": 1, "b": 1}}, "moved": {"a": 1, "b": 1}});
    assert_eq!((shown(&here, false), shown(&there, false)), (both.clone(), both));
    assert_eq!(here.json(None, false).unwrap().conflicts, 0);
}

#[test]
fn what_is_created_later_is_not_seen_before() {
    let mut document = made(json!({"a": 1, "m": {}}));
    let ops = json!([
        {"op": "test", "path": "", "value": {"a": 1, "m": {}}},
        {"op": "copy", "from": "", "path": "/m/all"},
        {"op": "add", "path": "/new", "value": {"deep": {"$text": "x"}}},
        {"op": "test", "path": "/m", "value": {"all": {"a": 1, "m": {}}}},
        {"op": "test", "path": "/new/deep", "value": {"$text": "x"}},
    ]);
    patch(&mut document, ops).unwrap();
    let all = json!({"a": 1, "m": {}});
    assert_eq!(shown(&document, false), json!({"a": 1, "m": {"all": all}, "new": {"deep": "x"}}));
}

#[test]
fn a_test_compares_plain_values_and_numbers_by_value() {
    let content = json!({
        "i": 1, "f": 2.5, "big": u64::MAX, "s": "1", "null": null, "t": {"$text": "x"}, "c": {"$counter": 4},
        "at": {"$timestamp": "2026-01-31T12:00:00Z"}, "l": [1, {"a": [], "b": 2}], "$$k": 1
    });
    let mut document = made(content);
    let mut test = |path: &str, value: Value| {
        let heads = document.applied_heads();
        let ops =
            json!([{"op": "add", "path": "/new", "value": {}}, {"op": "test", "path": path, "value": value}]);
        match patch_at(&mut document, Some(&heads), ops) {
            Ok(_) => true,
            Err(EditError::TestFailed { pointer }) => {
                assert_eq!(pointer, path);
                assert_eq!(document.applied_heads(), heads);
                false
            }
            other => panic!("{other:?}"),
        }
    };
    let alike = [
        ("/i", json!(1)),
        ("/i", json!(1.0)),
        ("/f", json!(2.5)),
        ("/big", json!(u64::MAX)),
        ("/null", json!(null)),
        ("/t", json!("x")),
        ("/t", json!({"$text": "x"})),
        ("/c", json!(4)),
        ("/c", json!({"$counter": 4})),
        ("/at", json!("2026-01-31T12:00:00Z")),
        ("/l", json!([1.0, {"b": 2, "a": []}])),
        ("/l/1/a", json!([])),
        ("/$$k", json!(1)),
    ];
    for (path, value) in alike {
        assert!(test(path, value.clone()), "{path} {value}");
    }
    let different = [
        ("/i", json!("1")),
        ("/i", json!(true)),
        ("/i", json!({"$counter": 1})),
        ("/f", json!(2)),
        ("/big", json!(18446744073709551616.0)),
        ("/s", json!(1)),
        ("/null", json!(false)),
        ("/t", json!(["x"])),
        ("/c", json!(5)),
        ("/l", json!([1])),
        ("/l", json!([{"a": [], "b": 2}, 1])),
        ("/l/1", json!({"a": []})),
        ("/l/1", json!({"a": [], "c": 2})),
        ("/l/-", json!(1)),
        ("/none", json!(null)),
        ("/none/deeper", json!(1)),
        ("", json!({})),
    ];
    for (path, value) in different {
        assert!(!test(path, value.clone()), "{path} {value}");
    }
}

#[test]
fn a_patch_is_made_at_its_version_and_tests_that_one() {
    let mut document = made(json!({"a": 1, "l": ["x"]}));
    let old = document.applied_heads();
    patch(&mut document, json!([{"op": "replace", "path": "/a", "value": 2}])).unwrap();
    let ops = json!([
        {"op": "test", "path": "/a", "value": 1},
        {"op": "add", "path": "/l/0", "value": "w"},
        {"op": "add", "path": "/m", "value": {"n": 1}},
    ]);
    assert!(matches!(patch(&mut document, ops.clone()), Err(EditError::TestFailed { .. })));
    patch_at(&mut document, Some(&old), ops).unwrap();
    assert_eq!(shown(&document, false), json!({"a": 2, "l": ["w", "x"], "m": {"n": 1}}));
}

#[test]
fn paths_that_are_not_there_are_refused_and_nothing_is_kept() {
    let mut document = made(json!({"a": {"b": 1}, "l": [1], "t": {"$text": "x"}, "s": "y"}));
    let first = json!({"op": "add", "path": "/made", "value": {"x": 1}});
    let cases = [
        (json!({"op": "add", "path": "/x/y", "value": 1}), "/x/y"),
        (json!({"op": "add", "path": "/l/2", "value": 1}), "/l/2"),
        (json!({"op": "add", "path": "/l/01", "value": 1}), "/l/01"),
        (json!({"op": "add", "path": "/s/x", "value": 1}), "/s/x"),
        (json!({"op": "add", "path": "/t/0", "value": "z"}), "/t/0"),
        (json!({"op": "add", "path": "", "value": [1]}), ""),
        (json!({"op": "add", "path": "/x", "value": {"$odd": 1}}), "/x/$odd"),
        (json!({"op": "remove", "path": "/x"}), "/x"),
        (json!({"op": "remove", "path": "/l/-"}), "/l/-"),
        (json!({"op": "remove", "path": ""}), ""),
        (json!({"op": "replace", "path": "/x", "value": 1}), "/x"),
        (json!({"op": "replace", "path": "/l/1", "value": 1}), "/l/1"),
        (json!({"op": "move", "from": "/x", "path": "/y"}), "/x"),
        (json!({"op": "move", "from": "/a", "path": "/a/b"}), "/a/b"),
        (json!({"op": "move", "from": "", "path": "/a"}), "/a"),
        (json!({"op": "copy", "from": "/l/-", "path": "/y"}), "/l/-"),
        (json!({"op": "copy", "from": "/a/b", "path": "/x/y"}), "/x/y"),
    ];
    for (op, pointer) in cases {
        assert_eq!(refused(&mut document, json!([first, op])).0, pointer, "{op}");
    }
    patch(&mut document, json!([first, {"op": "move", "from": "/a", "path": "/ab"}])).unwrap();
    assert_eq!(shown(&document, false)["ab"], json!({"b": 1}));
}

#[test]
fn patches_are_read_strictly_but_for_further_members() {
    let pointer = |ops: Value| match parse_json_patch(&ops) {
        Err(EditError::Refused { pointer, .. }) => Some(pointer),
        Ok(_) => None,
        other => panic!("{other:?}"),
    };
    let cases = [
        (json!({}), ""),
        (json!([1]), "/0"),
        (json!([{"path": "/a"}]), "/0"),
        (json!([{"op": "spin", "path": "/a"}]), "/0"),
        (json!([{"op": "remove"}]), "/0"),
        (json!([{"op": "add", "path": "/a"}]), "/0"),
        (json!([{"op": "move", "path": "/a"}]), "/0"),
        (json!([{"op": "remove", "path": "a"}]), "/0/path"),
        (json!([{"op": "remove", "path": "/a~2"}]), "/0/path"),
        (json!([{"op": "test", "path": "/t/$text", "value": 1}]), "/0/path"),
        (json!([{"op": "remove", "path": "/a"}, {"op": "copy", "path": "/a", "from": "b"}]), "/1/from"),
    ];
    for (ops, at) in cases {
        assert_eq!(pointer(ops.clone()).as_deref(), Some(at), "{ops}");
    }
    assert_eq!(pointer(json!([])), None);
    assert_eq!(pointer(json!([{"op": "add", "path": "/a", "value": null, "more": 1}])), None);
}

#[test]
fn copies_are_bounded_in_size_and_depth() {
    let mut document = made(json!({"l": [vec!["x"; 1_000]], "d": {}}));
    let doubling = vec![json!({"op": "copy", "from": "/l", "path": "/l/-"}); 20];
    assert!(refused(&mut document, Value::Array(doubling.clone())).1.contains("bytes"));
    patch(&mut document, Value::Array(doubling[..6].to_vec())).unwrap();
    let deeper = |from: usize| {
        let path = "/d".repeat(from);
        json!({"op": "copy", "from": "/d", "path": format!("{path}/d")})
    };
    let mut document = made(json!({"d": {}}));
    let ops = [deeper(1), deeper(2), deeper(4), deeper(8), deeper(16), deeper(32)].to_vec();
    patch(&mut document, Value::Array(ops)).unwrap();
    assert!(refused(&mut document, json!([deeper(64)])).1.contains("levels deep"));
}

/// RFC 6902 on plain JSON; None where it does not apply.
fn rfc_6902(document: &Value, ops: &[PatchOp]) -> Option<Value> {
    ops.iter().try_fold(document.clone(), apply)
}

fn apply(mut document: Value, op: &PatchOp) -> Option<Value> {
    match op {
        PatchOp::Add { path, value } => insert(&mut document, path, value.clone())?,
        PatchOp::Remove { path } => drop(take(&mut document, path)?),
        PatchOp::Replace { path, value } => *document.pointer_mut(path)? = value.clone(),
        PatchOp::Move { from, path } => {
            if path.starts_with(&format!("{from}/")) {
                return None;
            }
            let value = if from == path { return Some(document) } else { take(&mut document, from)? };
            insert(&mut document, path, value)?;
        }
        PatchOp::Copy { from, path } => {
            let value = document.pointer(from)?.clone();
            insert(&mut document, path, value)?;
        }
        PatchOp::Test { path, value } => return (document.pointer(path)? == value).then_some(document),
    }
    document.is_object().then_some(document)
}

fn insert(document: &mut Value, path: &str, value: Value) -> Option<()> {
    let Some((parent, last)) = path.rsplit_once('/') else {
        *document = value;
        return Some(());
    };
    match document.pointer_mut(parent)? {
        Value::Object(members) => drop(members.insert(unescaped(last)?, value)),
        Value::Array(elements) => {
            let at = if last == "-" { elements.len() } else { last.parse().ok()? };
            if at > elements.len() {
                return None;
            }
            elements.insert(at, value);
        }
        _ => return None,
    }
    Some(())
}

fn take(document: &mut Value, path: &str) -> Option<Value> {
    let (parent, last) = path.rsplit_once('/')?;
    match document.pointer_mut(parent)? {
        Value::Object(members) => members.remove(&unescaped(last)?),
        Value::Array(elements) => {
            let at = last.parse().ok().filter(|at| *at < elements.len())?;
            Some(elements.remove(at))
        }
        _ => None,
    }
}

/// Pointers to all values, and to where one could be added.
fn pointers(value: &Value, at: &str, all: &mut Vec<String>, free: &mut Vec<String>) {
    all.push(at.to_owned());
    match value {
        Value::Object(members) => {
            free.extend(["a", "b", "c", "$$"].map(|key| format!("{at}/{key}")));
            for (key, value) in members {
                pointers(value, &format!("{at}{}", crate::crdt::json::step(key)), all, free);
            }
        }
        Value::Array(elements) => {
            free.extend((0..=elements.len()).map(|i| format!("{at}/{i}")));
            free.push(format!("{at}/-"));
            for (i, value) in elements.iter().enumerate() {
                pointers(value, &format!("{at}/{i}"), all, free);
            }
        }
        _ => {}
    }
}

type Seed = (u8, Index, Index, Value);

/// A patch that applies: what these choices make of the document, one after the other.
fn valid(document: &Value, seeds: &[Seed]) -> Vec<PatchOp> {
    let mut now = document.clone();
    let mut ops = Vec::new();
    for (kind, first, second, value) in seeds {
        let (mut all, mut free) = (Vec::new(), Vec::new());
        pointers(&now, "", &mut all, &mut free);
        let there = first.get(&all).clone();
        let place = second.get(if kind % 2 == 0 { &all } else { &free }).clone();
        let value = value.clone();
        let op = match kind % 7 {
            0 | 1 => PatchOp::Add { path: place, value },
            2 => PatchOp::Remove { path: there },
            3 => PatchOp::Replace { path: there, value },
            4 => PatchOp::Move { from: there, path: place },
            5 => PatchOp::Copy { from: there, path: place },
            _ => PatchOp::Test { value: now.pointer(&there).expect("it is there").clone(), path: there },
        };
        // Copies of copies grow.
        if let Some(next) = apply(now.clone(), &op).filter(|next| next.to_string().len() < 20_000) {
            now = next;
            ops.push(op);
        }
    }
    ops
}

fn seeds() -> impl Strategy<Value = Vec<Seed>> {
    let part = prop_oneof![2 => value(), 1 => plain_document()];
    proptest::collection::vec((any::<u8>(), any::<Index>(), any::<Index>(), part), 0..8)
}

fn exactly(value: &Value) -> String {
    value.to_string()
}

proptest! {
    #[test]
    fn a_patch_does_what_rfc_6902_says(before in plain_document(), seeds in seeds()) {
        let ops = valid(&before, &seeds);
        let wanted = rfc_6902(&before, &ops).expect("valid");
        let mut document = made(before);
        document.edit(&Edit::JsonPatch(ops), None, None, 0, None).expect("what the RFC takes");
        prop_assert_eq!(exactly(&shown(&document, false)), exactly(&wanted));
    }

    #[test]
    fn a_patch_at_an_older_version_does_it_there(
        before in plain_document(), between in plain_document(), seeds in seeds()
    ) {
        let ops = valid(&before, &seeds);
        let wanted = rfc_6902(&before, &ops).expect("valid");
        let mut document = made(before);
        let old = document.applied_heads();
        document.edit(&Edit::Put(between), None, None, 0, None).unwrap();
        let made = document.edit(&Edit::JsonPatch(ops), Some(&old), None, 0, None).expect("what the RFC takes");
        let there = document.json(Some(&made.version), false).unwrap().body;
        prop_assert_eq!(exactly(&parse_json(&there).unwrap()), exactly(&wanted));
    }
}
