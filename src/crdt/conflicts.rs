//! Where a document holds more than it shows: fields with several values, and changes that are left out.

use std::collections::HashSet;

use automerge::{ChangeHash, ObjId, ObjType, Prop, ROOT, ReadDoc, Value, ValueRef};
use bytes::Bytes;

use super::document::{Document, VersionNotFound};
use super::history::Maker;
use super::json::step;
use super::render;
use crate::base::limits::{CONFLICTS_BYTES, CONFLICTS_MOST};
use crate::base::{Hash, Heads};

/// What several people have written at once, at a version.
#[derive(Debug)]
pub struct Conflicts {
    pub version: Heads,
    pub fields: Vec<Field>,
    pub left_out: Vec<LeftOut>,
    /// There is more than that.
    pub more: bool,
}

/// A member of a map or an element of a list that has more than one value.
#[derive(Debug)]
pub struct Field {
    /// JSON pointer.
    pub path: String,
    /// The one that is shown first.
    pub values: Vec<Rival>,
}

#[derive(Debug)]
pub struct Rival {
    /// Typed JSON.
    pub value: Bytes,
    pub maker: Maker,
    /// The change that put it.
    pub change: Option<Hash>,
}

/// A change that is kept and not shown.
#[derive(Debug)]
pub struct LeftOut {
    pub change: Hash,
    pub maker: Maker,
    pub why: Why,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Another change has its actor and sequence number.
    Clash,
    /// It depends on a change that is left out.
    CauseLeftOut,
    /// It depends on a change that is not here.
    CauseMissing,
    /// Automerge does not take it.
    NotTaken,
}

impl Why {
    pub fn as_str(self) -> &'static str {
        match self {
            Why::Clash => "clash",
            Why::CauseLeftOut => "cause-left-out",
            Why::CauseMissing => "cause-missing",
            Why::NotTaken => "not-taken",
        }
    }
}

/// A map or list on the way through the document.
struct Open {
    id: ObjId,
    kind: ObjType,
    /// Index of the one that it is in, and where there.
    within: Option<(usize, Prop)>,
}

impl Document {
    /// What is in conflict now, or at a version. What is left out is told as it is now.
    ///
    /// # Errors
    /// When there is no such version here.
    pub fn conflicts(&self, at: Option<&[Hash]>) -> Result<Conflicts, VersionNotFound> {
        let known = self.known(at)?;
        let version = at.map_or_else(|| self.applied_heads(), Heads::from_slice);
        let mut conflicts = Conflicts { version, fields: Vec::new(), left_out: Vec::new(), more: false };
        self.fields(known.as_deref(), &mut conflicts);
        self.tell_left_out(&mut conflicts);
        Ok(conflicts)
    }

    /// One pass over the maps and lists that are shown, without recursion. Letters of a text do not compete.
    fn fields(&self, at: Option<&[ChangeHash]>, found: &mut Conflicts) {
        let mut open = vec![Open { id: ROOT, kind: ObjType::Map, within: None }];
        let (mut next, mut bytes) = (0, 0);
        while let Some(Open { id, kind, .. }) = open.get(next) {
            let (id, kind) = (id.clone(), *kind);
            let mut competing = Vec::new();
            let mut look = |prop: Prop, value: ValueRef<'_>, conflict: bool, id: &dyn Fn() -> ObjId| {
                if conflict {
                    competing.push(prop.clone());
                }
                if let ValueRef::Object(kind) = value
                    && kind != ObjType::Text
                {
                    open.push(Open { id: id(), kind, within: Some((next, prop)) });
                }
            };
            if kind == ObjType::List {
                let elements = match at {
                    None => self.doc.list_range(&id, ..),
                    Some(at) => self.doc.list_range_at(&id, .., at),
                };
                elements.for_each(|e| look(Prop::Seq(e.index), e.value.clone(), e.conflict, &|| e.id()));
            } else {
                let members = match at {
                    None => self.doc.map_range(&id, ..),
                    Some(at) => self.doc.map_range_at(&id, .., at),
                };
                members.for_each(|m| {
                    look(Prop::Map(m.key.to_string()), m.value.clone(), m.conflict, &|| m.id());
                });
            }
            for prop in competing {
                if found.fields.len() == CONFLICTS_MOST || bytes > CONFLICTS_BYTES {
                    found.more = true;
                    return;
                }
                let field = Field { path: path(&open, next, &prop), values: self.rivals(&id, prop, at) };
                bytes += field.path.len();
                bytes += field.values.iter().map(|rival| rival.value.len()).sum::<usize>();
                found.fields.push(field);
            }
            next += 1;
        }
    }

    fn rivals(&self, parent: &ObjId, prop: Prop, at: Option<&[ChangeHash]>) -> Vec<Rival> {
        let all = match at {
            None => self.doc.get_all(parent, prop),
            Some(at) => self.doc.get_all_at(parent, prop, at),
        };
        let rival = |(value, id): (Value<'_>, ObjId)| {
            let change = self.doc.hash_for_opid(&id);
            let meta = change.and_then(|hash| self.doc.get_change_meta_by_hash(&hash));
            Rival {
                value: render::value(&self.doc, &id, &value, at, true),
                maker: meta.as_ref().map(Maker::of).unwrap_or_default(),
                change: change.map(|hash| Hash(hash.0)),
            }
        };
        // Automerge shows the last. It can only fail for an object that is not there.
        all.unwrap_or_default().into_iter().rev().map(rival).collect()
    }

    fn tell_left_out(&self, found: &mut Conflicts) {
        if self.left_out.is_empty() {
            return;
        }
        let metas = self.doc.get_changes_meta(&[]);
        let taken: HashSet<(&[u8], u64)> =
            metas.iter().map(|meta| (meta.actor.to_bytes(), meta.seq)).collect();
        for (hash, change) in &self.left_out {
            if found.left_out.len() == CONFLICTS_MOST {
                found.more = true;
                return;
            }
            let mut deps = change.deps().iter().map(|dep| Hash(dep.0));
            let why = if change.deps().iter().any(|dep| self.left_out.contains_key(&Hash(dep.0))) {
                Why::CauseLeftOut
            } else if deps.any(|dep| !self.has(&dep)) {
                Why::CauseMissing
            } else if taken.contains(&(change.actor_id().to_bytes(), change.seq())) {
                Why::Clash
            } else {
                Why::NotTaken
            };
            found.left_out.push(LeftOut { change: *hash, maker: Maker::of_change(change), why });
        }
    }
}

/// The JSON pointer to what is under `prop` in the map or list at `index`.
fn path(open: &[Open], index: usize, prop: &Prop) -> String {
    let written = |prop: &Prop| match prop {
        Prop::Map(key) => step(key),
        Prop::Seq(index) => format!("/{index}"),
    };
    let mut steps = vec![written(prop)];
    let mut within = open.get(index).and_then(|object| object.within.as_ref());
    while let Some((outer, prop)) = within {
        steps.push(written(prop));
        within = open.get(*outer).and_then(|object| object.within.as_ref());
    }
    steps.into_iter().rev().collect()
}

#[cfg(test)]
mod tests {
    use automerge::transaction::Transactable;
    use automerge::{ActorId, Automerge};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::base::DocId;
    use crate::crdt::Edit;

    fn new(actor: u8) -> Document {
        Document::load([actor; 16], DocId::new("a").unwrap(), None, &[]).unwrap()
    }

    /// Two writers who have the same, and then write at once.
    fn at_once(base: serde_json::Value, left: serde_json::Value, right: serde_json::Value) -> Document {
        let [mut a, mut b] = [new(1), new(2)];
        let write = |document: &mut Document, value, author, second: i64| {
            let edit = Edit::Put(value);
            document.edit(&edit, None, Some(author), second * 1_000, None).unwrap().changes
        };
        let made = write(&mut a, base, "Base", 1);
        b.merge(&made);
        write(&mut a, left, "Ann", 2);
        let made = write(&mut b, right, "Bob", 3);
        a.merge(&made);
        a
    }

    fn values(field: &Field) -> Vec<(serde_json::Value, &str)> {
        let value = |rival: &Rival| serde_json::from_slice(&rival.value).unwrap();
        field.values.iter().map(|rival| (value(rival), rival.maker.author.as_deref().unwrap())).collect()
    }

    #[test]
    fn every_value_of_a_field_is_told_with_who_put_it() {
        let document = at_once(
            json!({"m": {"a/b": 0}, "l": [{"id": 1, "n": 0}, "x"], "one": 0}),
            json!({"m": {"a/b": 1}, "l": [{"id": 1, "n": 1}, "x"], "one": 1}),
            json!({"m": {"a/b": {"$counter": 2}}, "l": [{"id": 1, "n": {"$text": "two"}}, "x"], "one": 0}),
        );
        let found = document.conflicts(None).unwrap();
        assert_eq!(found.version, document.applied_heads());
        let mut shown: Vec<_> =
            found.fields.iter().map(|field| (field.path.as_str(), values(field))).collect();
        shown.sort_by_key(|(path, _)| *path);
        let fields: Vec<_> = shown.iter().map(|(path, _)| *path).collect();
        assert_eq!(fields, ["/l/0/n", "/m/a~1b"]);
        // The one that is shown comes first.
        assert_eq!(shown[0].1, [(json!({"$text": "two"}), "Bob"), (json!(1), "Ann")]);
        assert_eq!(shown[1].1, [(json!({"$counter": 2}), "Bob"), (json!(1), "Ann")]);
        let rival = &found.fields[0].values[0];
        assert_eq!(rival.maker.time.as_deref(), Some("1970-01-01T00:00:03Z"));
        assert!(rival.change.is_some_and(|change| document.has(&change)));
        assert!(found.left_out.is_empty() && !found.more);
        let rendered = document.json(None, true).unwrap();
        assert_eq!(rendered.conflicts, found.fields.len());
        let rendered: serde_json::Value = serde_json::from_slice(&rendered.body).unwrap();
        for field in &found.fields {
            assert_eq!(rendered.pointer(&field.path), Some(&values(field)[0].0));
        }
    }

    #[test]
    fn a_plain_write_settles_a_conflict_and_the_past_keeps_it() {
        let mut document = at_once(json!({"a": 0}), json!({"a": 1}), json!({"a": 2}));
        let before = document.applied_heads();
        assert_eq!(document.conflicts(None).unwrap().fields.len(), 1);
        document.edit(&Edit::MergePatch(json!({"a": 3})), None, None, 4_000, None).unwrap();
        assert!(document.conflicts(None).unwrap().fields.is_empty());
        let then = document.conflicts(Some(&before)).unwrap();
        assert_eq!(values(&then.fields[0]), [(json!(2), "Bob"), (json!(1), "Ann")]);
        assert!(document.conflicts(Some(&[Hash([0; 32])])).is_err());
    }

    #[test]
    fn to_name_a_field_settles_a_conflict_of_objects_and_keeps_what_they_hold() {
        let base = json!({"a": 0, "l": [0]});
        let (left, right) = (json!({"x": {"$text": "t"}, "n": {"$counter": 1}}), json!({"y": 1}));
        let made = || at_once(base.clone(), json!({"a": right, "l": [1]}), json!({"a": left, "l": [[left]]}));
        let typed = |document: &Document| {
            serde_json::from_slice::<serde_json::Value>(&document.json(None, true).unwrap().body).unwrap()
        };
        let count = |document: &Document| document.conflicts(None).unwrap().fields.len();
        let plain = json!({"x": "t", "n": 1});
        let mut document = made();
        let shown = typed(&document);
        assert_eq!(count(&document), 2);
        // Whoever writes the whole back may not know of it.
        let whole = json!({"a": plain, "l": [[plain]]});
        document.edit(&Edit::Put(whole), None, None, 4_000, None).unwrap();
        assert_eq!((count(&document), typed(&document)), (2, shown.clone()));
        for (path, value, left) in [("/a", plain.clone(), 1), ("/l/0", json!([plain]), 0)] {
            let put = json!([{"op": "put", "path": path, "value": value}]);
            let put = Edit::Ops(crate::crdt::parse_ops(&put).unwrap());
            document.edit(&put, None, None, 5_000, None).unwrap();
            assert_eq!((count(&document), typed(&document)), (left, shown.clone()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Of two masters that write at once, then of one who writes back what is shown.
        #[test]
        fn what_is_shown_and_written_back_settles_every_conflict_of_plain_values(
            fields in prop::collection::btree_map("[a-d]", (leaf(), leaf(), leaf()), 1..4),
            whole in any::<bool>(),
        ) {
            let all = |which: fn(&Leaves) -> &serde_json::Value| -> serde_json::Value {
                let member = |(key, of): (&String, &Leaves)| (key.clone(), which(of).clone());
                let members: serde_json::Map<_, _> = fields.iter().map(member).collect();
                let list: Vec<_> = fields.values().map(|of| json!({"id": 1, "v": which(of)})).take(1).collect();
                json!({"m": members, "l": list})
            };
            let mut document = at_once(all(|of| &of.0), all(|of| &of.1), all(|of| &of.2));
            let rendered = document.json(None, true).unwrap();
            let shown: serde_json::Value = serde_json::from_slice(&rendered.body).unwrap();
            let plain = serde_json::from_slice(&document.json(None, false).unwrap().body).unwrap();
            let edit = if whole { Edit::Put(plain) } else { Edit::MergePatch(plain) };
            let edited = document.edit(&edit, None, None, 4_000, None).unwrap();
            prop_assert_eq!(edited.changes.is_empty(), rendered.conflicts == 0);
            let after = document.json(None, true).unwrap();
            prop_assert_eq!(after.conflicts, 0);
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&after.body).unwrap(), shown.clone());
            // Whoever takes the changes one by one, as from another cluster, has the same.
            let mut other = new(7);
            other.admit(&document.changes_since(None).unwrap()).unwrap();
            let there = other.json(None, true).unwrap();
            prop_assert_eq!(there.conflicts, 0);
            prop_assert_eq!(serde_json::from_slice::<serde_json::Value>(&there.body).unwrap(), shown);
        }
    }

    type Leaves = (serde_json::Value, serde_json::Value, serde_json::Value);

    fn leaf() -> impl Strategy<Value = serde_json::Value> {
        prop_oneof![
            (0..3).prop_map(|n| json!(n)),
            "[ab]{0,2}".prop_map(|text| json!(text)),
            Just(json!({"$bytes": "AA=="})),
            Just(json!({"$timestamp": "2026-01-31T12:00:00Z"})),
            Just(json!(true)),
        ]
    }

    #[test]
    fn a_value_that_lost_is_told_with_all_that_is_in_it() {
        let list = json!({"x": [1, {"y": {"$bytes": "AA=="}}]});
        let document = at_once(json!({"a": 0}), json!({"a": list}), json!({"a": 2}));
        let found = document.conflicts(None).unwrap();
        assert_eq!(values(&found.fields[0]), [(json!(2), "Bob"), (list, "Ann")]);
    }

    #[test]
    fn conflicts_are_bounded_in_number_and_bytes() {
        let with = |n: usize, value: serde_json::Value| -> serde_json::Value {
            (0..n).map(|i| (format!("k{i}"), value.clone())).collect::<serde_json::Map<_, _>>().into()
        };
        for (n, more) in [(CONFLICTS_MOST, false), (CONFLICTS_MOST + 1, true)] {
            let found = at_once(with(n, json!(0)), with(n, json!(1)), with(n, json!(2)));
            let found = found.conflicts(None).unwrap();
            assert_eq!((found.fields.len(), found.more), (CONFLICTS_MOST, more));
        }
        let long = json!("x".repeat(CONFLICTS_BYTES));
        let found = at_once(with(2, json!(0)), with(2, long), with(2, json!(2))).conflicts(None).unwrap();
        assert_eq!((found.fields.len(), found.more), (1, true));
    }

    #[test]
    fn what_is_left_out_is_told_with_the_reason() {
        let changes = |n: i64| {
            let mut doc = Automerge::new().with_actor(ActorId::from([9; 16]));
            for key in ["first", "second"] {
                let mut tx = doc.transaction();
                tx.put(ROOT, key, n).unwrap();
                tx.commit();
            }
            doc.get_changes(&[]).iter().map(super::super::change::opaque).collect::<Vec<_>>()
        };
        let (left, right) = (changes(1), changes(2));
        let mut document = new(1);
        document.merge(&left);
        assert!(document.conflicts(None).unwrap().left_out.is_empty());
        document.merge(&right);
        let loser = if left[0].hash < right[0].hash { right } else { left };
        let found = document.conflicts(None).unwrap().left_out;
        let why = |hash| found.iter().find(|left| left.change == hash).map(|left| left.why);
        assert_eq!((found.len(), why(loser[0].hash)), (2, Some(Why::Clash)));
        assert_eq!(why(loser[1].hash), Some(Why::CauseLeftOut));
    }
}
