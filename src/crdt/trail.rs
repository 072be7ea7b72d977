//! The trail of a document: what has changed in it since a version, noted by Automerge as it commits and merges. To
//! find that out afterwards is to compare the whole document: of a text of 100,000 letters that takes 14 ms, where
//! to note a keystroke takes a microsecond.

use automerge::legacy::{ObjectId, Op, OpId};
use automerge::{Automerge, AutomergeError, Change, ObjId, ObjType, PatchLog, ReadDoc};

use super::document::Document;
use super::patch::Patched;
use crate::base::Heads;
use crate::base::limits::TRAIL_BYTES;

/// See the module.
pub(super) struct Trail {
    /// What was shown when it began.
    pub since: Heads,
    pub log: PatchLog,
    /// About what it takes in memory.
    pub bytes: usize,
}

/// What is noted of an operation takes about so many bytes, beside those of its change.
const OP_BYTES: usize = 64;

impl Trail {
    fn begin(since: Heads) -> Self {
        Self { since, log: PatchLog::active(), bytes: 0 }
    }

    /// For a transaction on what is shown: what it does is noted in this, and only if it is committed kept.
    pub fn draft(trail: Option<&Self>) -> PatchLog {
        trail.map_or_else(PatchLog::inactive, |trail| trail.log.clone())
    }

    /// Can what Automerge notes of merging these be believed? Where an operation comes, in the order of ids, before
    /// one that is in its place already, it may say that there is a conflict where something was replaced. So it is
    /// believed where all operations come after those of the document, and of texts, where nothing has a place of
    /// which something else could take hold.
    fn is_sound(doc: &Automerge, changes: &[Change]) -> bool {
        let heads = doc.get_heads();
        let last = heads.iter().filter_map(|head| doc.get_change_meta_by_hash(head)).map(|meta| meta.max_op);
        let last = last.max().unwrap_or(0);
        let is_later = |change: &Change| change.start_op().get() > last;
        let is_text = |op: &Op| match &op.obj {
            ObjectId::Root => false,
            ObjectId::Id(OpId(counter, actor)) => {
                let object = ObjId::Id(*counter, actor.clone(), 0);
                doc.object_type(object).is_ok_and(|kind| kind == ObjType::Text)
            }
        };
        weight(changes) <= TRAIL_BYTES
            && (changes.iter().all(is_later)
                || changes.iter().all(|change| change.decode().operations.iter().all(is_text)))
    }

    /// Applies changes, and notes them.
    ///
    /// # Errors
    /// As Automerge does.
    pub fn apply(
        trail: &mut Option<Self>,
        doc: &mut Automerge,
        changes: Vec<Change>,
    ) -> Result<(), AutomergeError> {
        let Some(sound) = trail.take().filter(|_| Self::is_sound(doc, &changes)) else {
            return doc.apply_changes(changes);
        };
        let sound = trail.insert(sound);
        let applied = doc.apply_changes_log_patches(changes.clone(), &mut sound.log);
        Self::grow(trail, &changes);
        applied
    }

    /// So much more is noted. Where it is too much the trail ends.
    pub fn grow(trail: &mut Option<Self>, changes: &[Change]) {
        if let Some(grown) = trail {
            grown.bytes += weight(changes);
            if grown.bytes > TRAIL_BYTES {
                *trail = None;
            }
        }
    }
}

fn weight(changes: &[Change]) -> usize {
    changes.iter().map(|change| OP_BYTES * change.len() + change.raw_bytes().len()).sum()
}

impl Document {
    /// What has changed since its trail began, and since when; None where it has none. Where `goes_on`, a trail
    /// begins here.
    pub fn take_trail(&mut self, goes_on: bool) -> Option<Patched> {
        let next = || goes_on.then(|| Trail::begin(self.applied_heads()));
        let next = next();
        let Trail { since, log, .. } = std::mem::replace(&mut self.trail, next)?;
        self.patched(since, log)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::base::{Change, DocId};
    use crate::crdt::{Edit, arbitrary, fold, parse_ops};

    fn document(actor: u8) -> Document {
        Document::load([actor; 16], DocId::new("d").unwrap(), None, &[]).unwrap()
    }

    fn ops(ops: &Value) -> Edit {
        Edit::Ops(parse_ops(ops).unwrap())
    }

    fn edit(document: &mut Document, edit: &Edit) -> Vec<Change> {
        document.edit(edit, None, None, 1_000, None).map(|edited| edited.changes).unwrap_or_default()
    }

    fn shown(document: &Document) -> Value {
        serde_json::from_slice(&document.json(None, false).unwrap().body).unwrap()
    }

    #[test]
    fn what_is_edited_and_merged_is_noted_and_nothing_is_where_nobody_asked() {
        let (mut here, mut there) = (document(1), document(2));
        let made = edit(&mut here, &Edit::Put(json!({"t": {"$text": "Mlk"}, "l": [{"n": 1}]})));
        there.merge(&made);
        assert!(here.take_trail(true).is_none());
        let since = here.applied_heads();
        edit(&mut here, &ops(&json!([{"op": "text.splice", "path": "/t", "pos": 1, "insert": "i"}])));
        let theirs =
            edit(&mut there, &ops(&json!([{"op": "text.splice", "path": "/t", "pos": 3, "insert": "!"}])));
        here.merge(&theirs);
        // Refused, tried and rolled back, without effect: none of it leaves a trace.
        edit(&mut here, &ops(&json!([{"op": "increment", "path": "/t", "by": 1}])));
        edit(&mut here, &Edit::MergePatch(json!({"l": [{"n": 1}]})));
        edit(&mut here, &Edit::MergePatch(json!({"m": 1})));
        let (from, patch) = here.take_trail(true).unwrap();
        let patch: Value = serde_json::from_str(patch.get()).unwrap();
        assert_eq!(from, since);
        let puts: Vec<&Value> = patch.as_array().unwrap().iter().filter(|made| made["op"] == "put").collect();
        assert_eq!(puts, [&json!({"op": "put", "path": "/m", "value": 1})]);
        let splices = patch.as_array().unwrap().iter().filter(|made| made["op"] == "text.splice").count();
        assert_eq!((splices, patch.as_array().unwrap().len()), (2, 3), "{patch}");
        assert_eq!(here.take_trail(false).unwrap().1.get(), "[]");
        edit(&mut here, &Edit::Put(json!({})));
        assert!(here.take_trail(true).is_none());
    }

    #[test]
    fn a_trail_ends_where_what_is_noted_would_be_too_much_or_not_be_sound() {
        let mut doc = document(1);
        edit(&mut doc, &Edit::Put(json!({"n": 0})));
        let past = doc.applied_heads();
        doc.take_trail(true);
        edit(&mut doc, &Edit::Put(json!({"n": 1})));
        assert!(doc.trail.is_some());
        doc.edit(&Edit::Put(json!({"n": 2})), Some(&past), None, 1_000, None).unwrap();
        assert!(doc.trail.is_none());
        // What is created is made by other actors, from the beginning on.
        edit(&mut doc, &Edit::Put(json!({"l": []})));
        assert!(doc.take_trail(true).is_none());
        edit(&mut doc, &Edit::Put(json!({"l": vec![0; TRAIL_BYTES / 128]})));
        assert!(doc.trail.is_some());
        edit(&mut doc, &Edit::Put(json!({"l": ["nothing of it stays"]})));
        assert!(doc.take_trail(false).is_none());
    }

    #[test]
    fn a_counter_that_a_merge_brings_to_light_is_looked_at_and_not_taken_as_it_was_made() {
        let (mut here, mut there) = (document(1), document(2));
        let made = edit(&mut here, &Edit::Put(json!({"a": 1, "l": [{"v": {"$counter": 0}}]})));
        there.merge(&made);
        let mut theirs = edit(&mut there, &Edit::Put(json!({"b": []})));
        theirs.extend(edit(&mut there, &Edit::Delete));
        edit(&mut here, &ops(&json!([{"op": "increment", "path": "/b", "by": 1}])));
        here.merge(&theirs);
        let before = shown(&here);
        assert_eq!(before, json!({"b": 1}));
        here.take_trail(true);
        let theirs =
            edit(&mut there, &ops(&json!([{"op": "list.insert", "path": "/l", "index": 0, "value": 1}])));
        here.merge(&theirs);
        if let Some((_, patch)) = here.take_trail(false) {
            let mut folded = before;
            fold(&mut folded, &serde_json::from_str(patch.get()).unwrap()).unwrap();
            assert_eq!(folded, shown(&here));
        }
    }

    fn anything() -> impl Strategy<Value = Edit> {
        let small = |path: &'static str| {
            (0..4_usize, 0..3_usize, "[xy]{0,3}").prop_map(move |(pos, delete, insert)| {
                ops(&json!([{"op": "text.splice", "path": path, "pos": pos, "delete": delete, "insert": insert}]))
            })
        };
        let member = || prop_oneof![Just("/a"), Just("/b"), Just("/l/0"), Just("/l/1"), Just("/l/0/v")];
        prop_oneof![
            2 => arbitrary::document().prop_map(Edit::MergePatch),
            1 => arbitrary::document().prop_map(Edit::Put),
            3 => small("/t"),
            1 => small("/l/0/t"),
            2 => (member(), -3..3_i64).prop_map(|(path, by)| ops(&json!([{"op": "increment", "path": path, "by": by}]))),
            2 => (member(), any::<u8>()).prop_map(|(path, n)| ops(&json!([{"op": "put", "path": path, "value": n}]))),
            2 => member().prop_map(|path| ops(&json!([{"op": "delete", "path": path}]))),
            2 => (0..3_usize, 0..9_u8).prop_map(|(index, n)| {
                let value = json!({"v": {"$counter": n}, "t": {"$text": "ab"}});
                ops(&json!([{"op": "list.insert", "path": "/l", "index": index, "value": value}]))
            }),
            1 => (0..2_usize).prop_map(|index| ops(&json!([{"op": "list.delete", "path": "/l", "index": index, "count": 1}]))),
            1 => Just(Edit::Delete),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1_024))]

        #[test]
        fn a_trail_makes_now_out_of_where_it_began(
            steps in prop::collection::vec((0..2_usize, anything(), any::<bool>(), 0..3_u8), 1..24),
        ) {
            let mut docs = [document(1), document(2)];
            let start = json!({"t": {"$text": "abc"}, "a": {"$counter": 1}, "l": [{"v": {"$counter": 0}, "t": {"$text": "x"}}]});
            let made = edit(&mut docs[0], &Edit::Put(start));
            docs[1].merge(&made);
            let mut seen = [shown(&docs[0]), shown(&docs[1])];
            let mut versions = [docs[0].applied_heads(), docs[1].applied_heads()];
            let mut waiting: [Vec<Change>; 2] = Default::default();
            docs.iter_mut().for_each(|doc| drop(doc.take_trail(true)));
            for (of, what, meets, looks) in steps {
                let changes = edit(&mut docs[of], &what);
                waiting[1 - of].extend(changes);
                if meets {
                    let changes = std::mem::take(&mut waiting[of]);
                    docs[of].merge(&changes);
                }
                if docs[of].is_broken() {
                    return Ok(());
                }
                if looks == 0 {
                    let now = shown(&docs[of]);
                    let before = seen.clone();
                    if let Some((_, patch)) = docs[of].take_trail(true) {
                        let patch: Value = serde_json::from_str(patch.get()).unwrap();
                        fold(&mut seen[of], &patch).unwrap();
                        prop_assert_eq!(&seen[of], &now, "of {} by {}", before[of], patch);
                    }
                    // What is found by comparing is another way to the same.
                    let version = docs[of].applied_heads();
                    let patch = docs[of].patch(&versions[of], &version).unwrap();
                    let patch: Value = serde_json::from_str(patch.get()).unwrap();
                    let mut compared = before[of].clone();
                    fold(&mut compared, &patch).unwrap();
                    prop_assert_eq!(&compared, &now, "of {} by comparing: {}", before[of], patch);
                    seen[of] = now;
                    versions[of] = version;
                }
            }
        }
    }
}
