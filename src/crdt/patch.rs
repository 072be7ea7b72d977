//! What changed between two versions, as typed operations on the JSON that a document reads as.

use automerge::{
    ChangeHash, ObjId, ObjType, Patch, PatchAction, PatchLog, Prop, ReadDoc, ScalarValue, Value,
};
use rustc_hash::FxHashSet;
use serde::Serialize;
use serde_json::value::RawValue;

use super::change::{guarded, native};
use super::document::Document;
use super::json::step;
use super::render;
use crate::base::{Hash, Heads};

/// A version, and the operations since then, as a JSON list.
pub type Patched = (Heads, Box<RawValue>);

/// As [`super::Op`], as far as a difference needs them; values are JSON as it reads plainly.
#[derive(Debug, Serialize)]
#[serde(tag = "op")]
enum Made {
    #[serde(rename = "put")]
    Put { path: String, value: Box<RawValue> },
    #[serde(rename = "delete")]
    Delete { path: String },
    #[serde(rename = "increment")]
    Increment { path: String, by: i64 },
    #[serde(rename = "text.splice")]
    TextSplice {
        path: String,
        pos: usize,
        #[serde(skip_serializing_if = "is_zero")]
        delete: usize,
        #[serde(skip_serializing_if = "String::is_empty")]
        insert: String,
    },
    #[serde(rename = "list.insert")]
    ListInsert { path: String, index: usize, value: Box<RawValue> },
    #[serde(rename = "list.delete")]
    ListDelete { path: String, index: usize, count: usize },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Document {
    /// The operations, as a JSON list, that make what the document shows at `to` out of what it shows at `from`.
    /// None where it has no such version, or where the difference cannot be told in operations.
    pub fn patch(&self, from: &[Hash], to: &[Hash]) -> Option<Box<RawValue>> {
        let from = self.known(Some(from)).ok()??;
        let to = self.known(Some(to)).ok()??;
        let patches = guarded(|| self.doc.diff(&from, &to)).ok()?;
        // Of now it is faster to read.
        self.operations(patches, Some(to).filter(|to| *to != self.doc.get_heads()), true)
    }

    /// The same, of what a log has noted from `since` until now; and since when.
    pub(super) fn patched(&self, since: Heads, mut log: PatchLog) -> Option<Patched> {
        let patches = guarded(|| self.doc.make_patches(&mut log)).ok()?;
        Some((since, self.operations(patches, None, false)?))
    }

    fn operations(
        &self,
        patches: Vec<Patch>,
        at: Option<Vec<ChangeHash>>,
        compared: bool,
    ) -> Option<Box<RawValue>> {
        let mut maker = Maker { document: self, at, compared, fresh: FxHashSet::default(), made: Vec::new() };
        patches.into_iter().try_for_each(|patch| maker.take(patch))?;
        serde_json::value::to_raw_value(&maker.made).ok()
    }

    /// Is a version here, and part of what another one shows?
    pub fn is_before(&self, version: &[Hash], later: &[Hash]) -> bool {
        let is_part = |hash: &Hash| {
            self.applied_heads().as_slice() == later
                || !self.doc.get_changes_meta(&native(later)).iter().any(|meta| meta.hash.0 == hash.0)
        };
        version.iter().all(|hash| self.has(hash) && is_part(hash))
    }
}

struct Maker<'a> {
    document: &'a Document,
    at: Option<Vec<ChangeHash>>,
    /// The patches are those of a comparison: what they put stands where they say, as it is now. Of several values of
    /// one place they may name another than the one that is shown.
    compared: bool,
    /// Objects that have been put whole: what is told of them besides is in there already.
    fresh: FxHashSet<ObjId>,
    made: Vec<Made>,
}

impl Maker<'_> {
    /// None where it is something that operations have no word for.
    fn take(&mut self, patch: Patch) -> Option<()> {
        let Patch { obj, path, action } = patch;
        if self.fresh.contains(&obj) || path.iter().any(|(outer, _)| self.fresh.contains(outer)) {
            return Some(());
        }
        let kind = self.document.doc.object_type(&obj).ok()?;
        let is_text = kind == ObjType::Text;
        let at: String = path.iter().map(|(_, prop)| pointer(prop)).collect();
        let inside = |prop: &Prop| format!("{at}{}", pointer(prop));
        match action {
            PatchAction::PutMap { key, value: (value, id), .. } => {
                let prop = Prop::Map(key);
                let value = self.value(&obj, &prop, &value, id)?;
                self.made.push(Made::Put { path: inside(&prop), value });
            }
            PatchAction::PutSeq { index, value: (value, id), .. } if !is_text => {
                let prop = Prop::Seq(index);
                let value = self.value(&obj, &prop, &value, id)?;
                self.made.push(Made::Put { path: inside(&prop), value });
            }
            PatchAction::Insert { index, values } if !is_text => {
                for (nth, (value, id, _)) in values.iter().enumerate() {
                    let value = self.value(&obj, &Prop::Seq(index + nth), value, id.clone())?;
                    self.made.push(Made::ListInsert { path: at.clone(), index: index + nth, value });
                }
            }
            PatchAction::SpliceText { index, value, .. } => self.splice(at, index, 0, value.make_string()),
            PatchAction::DeleteSeq { index, length } if is_text => {
                self.splice(at, index, length, String::new());
            }
            PatchAction::DeleteSeq { index, length } => {
                self.made.push(Made::ListDelete { path: at, index, count: length });
            }
            PatchAction::Increment { prop, value } => {
                self.made.push(Made::Increment { path: inside(&prop), by: value });
            }
            PatchAction::DeleteMap { key } => self.made.push(Made::Delete { path: inside(&Prop::Map(key)) }),
            // Of neither there is anything to see in what the document reads as.
            PatchAction::Conflict { .. } | PatchAction::Mark { .. } => {}
            // A block in a text.
            PatchAction::PutSeq { .. } | PatchAction::Insert { .. } => return None,
        }
        Some(())
    }

    /// What was put at a place, as JSON.
    fn value(&mut self, obj: &ObjId, prop: &Prop, value: &Value<'_>, id: ObjId) -> Option<Box<RawValue>> {
        let shown = self.compared.then(|| self.shown(obj, prop));
        let (value, id) = match shown {
            Some(shown) => shown?,
            // Where a merge deletes another value of its place it is noted as it was made, without its increments.
            None if matches!(value, Value::Scalar(scalar) if matches!(**scalar, ScalarValue::Counter(_))) => {
                return None;
            }
            None => (value.clone(), id),
        };
        let json = render::value(&self.document.doc, &id, &value, self.at.as_deref(), false);
        if value.is_object() {
            self.fresh.insert(id);
        }
        RawValue::from_string(String::from_utf8(json.to_vec()).ok()?).ok()
    }

    fn shown(&self, obj: &ObjId, prop: &Prop) -> Option<(Value<'_>, ObjId)> {
        let doc = &self.document.doc;
        let found = match &self.at {
            Some(at) => doc.get_at(obj, prop.clone(), at),
            None => doc.get(obj, prop.clone()),
        };
        found.ok()?
    }

    /// What is deleted where letters were just put, or the other way round, is one replacement.
    fn splice(&mut self, path: String, pos: usize, delete: usize, insert: String) {
        if let Some(Made::TextSplice { path: last, pos: at, delete: gone, insert: letters }) =
            self.made.last_mut()
            && *last == path
            && (letters.is_empty() && *at == pos || insert.is_empty() && *at + letters.chars().count() == pos)
        {
            *gone += delete;
            letters.push_str(&insert);
            return;
        }
        self.made.push(Made::TextSplice { path, pos, delete, insert });
    }
}

/// One step of a JSON pointer into the document as it reads, where a key that begins with `$` has one more.
fn pointer(prop: &Prop) -> String {
    match prop {
        Prop::Map(key) if key.starts_with('$') => step(&format!("${key}")),
        Prop::Map(key) => step(key),
        Prop::Seq(index) => format!("/{index}"),
    }
}

/// What clients do with a patch, for tests of both floors.
#[cfg(test)]
#[path = "../../tests/it/fold.rs"]
pub(crate) mod fold;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::fold::fold;
    use super::*;
    use crate::base::{Change, DocId, Heads};
    use crate::crdt::{Edit, arbitrary, parse_ops};

    fn document(actor: u8) -> Document {
        Document::load([actor; 16], DocId::new("d").unwrap(), None, &[]).unwrap()
    }

    fn edit(document: &mut Document, edit: &Edit) -> Vec<Change> {
        let edited = document.edit(edit, None, None, 1_000, None);
        edited.map(|edited| edited.changes).unwrap_or_default()
    }

    fn at(document: &Document, heads: &Heads) -> Value {
        serde_json::from_slice(&document.json(Some(heads), false).unwrap().body).unwrap()
    }

    /// The operations from a version until now; they make the one out of the other.
    fn difference(document: &Document, from: &Heads) -> Value {
        between(document, from, &document.applied_heads())
    }

    fn between(document: &Document, from: &Heads, to: &Heads) -> Value {
        assert!(document.is_before(from, to) && (from == to || !document.is_before(to, from)));
        let patch: Value = serde_json::from_str(document.patch(from, to).unwrap().get()).unwrap();
        let mut value = if from.is_empty() { json!({}) } else { at(document, from) };
        fold(&mut value, &patch).unwrap();
        assert_eq!(value, at(document, to), "by {patch}");
        patch
    }

    #[test]
    fn a_keystroke_is_a_splice_and_a_count_an_increment() {
        let mut doc = document(1);
        edit(&mut doc, &Edit::Put(json!({"t": {"$text": "Mlk"}, "n": {"$counter": 1}, "l": [1, {"a": 1}]})));
        let before = doc.applied_heads();
        let ops = json!([
            {"op": "text.splice", "path": "/t", "pos": 1, "insert": "i"},
            {"op": "increment", "path": "/n", "by": 2},
            {"op": "list.insert", "path": "/l", "index": 0, "value": "x"},
            {"op": "put", "path": "/l/2/a", "value": {"$text": "deep"}},
            {"op": "put", "path": "/$m~1", "value": true},
        ]);
        edit(&mut doc, &Edit::Ops(parse_ops(&ops).unwrap()));
        let patch = difference(&doc, &before);
        let of = |op: &str| patch.as_array().unwrap().iter().find(|made| made["op"] == op).cloned();
        assert_eq!(
            of("text.splice"),
            Some(json!({"op": "text.splice", "path": "/t", "pos": 1, "insert": "i"}))
        );
        assert_eq!(of("list.insert"), Some(ops[2].clone()));
        assert!(patch.to_string().contains(r#""path":"/$$m~1""#), "{patch}");
        assert_eq!(difference(&doc, &doc.applied_heads()), json!([]));
    }

    #[test]
    fn of_a_version_that_is_not_here_there_is_no_patch() {
        let mut doc = document(1);
        edit(&mut doc, &Edit::Put(json!({"a": 1})));
        let now = doc.applied_heads();
        assert!(doc.patch(&[Hash([7; 32])], &now).is_none() && !doc.is_before(&[Hash([7; 32])], &now));
        assert!(doc.patch(&[], &now).is_some());
    }

    #[test]
    fn replaced_letters_are_one_splice() {
        let mut doc = document(1);
        edit(&mut doc, &Edit::Put(json!({"t": {"$text": "abcdef"}})));
        let before = doc.applied_heads();
        let ops = json!([{"op": "text.splice", "path": "/t", "pos": 2, "delete": 2, "insert": "é😀"}]);
        edit(&mut doc, &Edit::Ops(parse_ops(&ops).unwrap()));
        assert_eq!(difference(&doc, &before), ops);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        #[test]
        fn a_patch_makes_a_version_out_of_any_earlier_one(
            puts in prop::collection::vec((0..2_usize, arbitrary::document(), any::<bool>(), any::<bool>()), 2..9),
        ) {
            let mut docs = [document(1), document(2)];
            let mut versions: [Vec<Heads>; 2] = [vec![Heads::new()], vec![Heads::new()]];
            let mut made: [Vec<Change>; 2] = Default::default();
            for (of, value, merges, meets) in puts {
                let how = if merges { Edit::MergePatch(value) } else { Edit::Put(value) };
                let changes = edit(&mut docs[of], &how);
                made[of].extend(changes);
                if meets {
                    let more = made[1 - of].clone();
                    docs[of].merge(&more);
                    made[of].extend(more);
                }
                if docs[of].is_broken() {
                    return Ok(());
                }
                versions[of].push(docs[of].applied_heads());
                for (nth, from) in versions[of].iter().enumerate() {
                    versions[of][nth..].iter().for_each(|to| drop(between(&docs[of], from, to)));
                }
            }
        }
    }
}
