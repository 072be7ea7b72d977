//! What a document has been through: its changes, who made each and when, and what it touched.

use automerge::legacy::{Key, ObjectId, OpId, OpType};
use automerge::{ActorId, Automerge, ChangeHash, ChangeMetadata, ExpandedChange, ObjId, Prop, ReadDoc};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Deserialize;

use super::change::guarded;
use super::document::{Document, VersionNotFound};
use super::json::step;
use super::typed::time_text;
use super::{deletion, derive};
use crate::base::limits::{HISTORY_OPS, HISTORY_POINTERS, HISTORY_TEXT_BYTES};
use crate::base::{Hash, Origin};

/// One page, newest first.
#[derive(Debug)]
pub struct History {
    pub changes: Vec<Past>,
    /// The last of these, where older ones follow.
    pub next: Option<Hash>,
}

/// One change, as people see it.
#[derive(Debug)]
pub struct Past {
    pub hash: Hash,
    pub parents: Vec<Hash>,
    pub maker: Maker,
    pub operations: u64,
    /// JSON pointers to what it touched, in the version that it made. What it put is named, not what is inside
    /// of that; a list or text is named as a whole.
    pub touched: Vec<String>,
    /// It touched more than that.
    pub more: bool,
    /// Made alike by every master, and so by nobody.
    pub derived: bool,
    /// It deletes the document.
    pub deleted: bool,
}

/// Who made a change, and when, as it says itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Maker {
    /// As our own changes say it, or Automerge's author in hexadecimal.
    pub author: Option<String>,
    /// What a change from elsewhere bears as its message; a long one is cut.
    pub message: Option<String>,
    /// The origin whose actor it would be, if there is such an origin.
    pub origin: Option<Origin>,
    /// RFC 3339, to the second.
    pub time: Option<String>,
}

/// Newest first, and effects before their causes. It hangs on nothing but the ancestors of a change, so what
/// comes later, or comes in another order, never changes how two changes are placed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    /// Its time, or the latest of its ancestors': clocks differ.
    time: i64,
    /// Of how many the longest chain of ancestors is.
    generation: usize,
    hash: ChangeHash,
}

impl Document {
    /// At most `limit` changes that are shown, of those that come after `before` in order from new to old.
    ///
    /// # Errors
    /// When `before` is not here.
    pub fn history(&self, limit: usize, before: Option<&Hash>) -> Result<History, VersionNotFound> {
        let metas = self.doc.get_changes_meta(&[]);
        let mut places = places(&metas);
        if let Some(before) = before {
            let before = places.iter().find(|(place, _)| place.hash.0 == before.0);
            let before = before.map(|(place, _)| *place).ok_or(VersionNotFound)?;
            places.retain(|(place, _)| *place < before);
        }
        let more = places.len() > limit;
        if more {
            places.select_nth_unstable_by(limit, |a, b| b.cmp(a));
            places.truncate(limit);
        }
        places.sort_unstable_by(|a, b| b.cmp(a));
        let changes: Vec<Past> = places.iter().map(|(_, index)| self.past(&metas[*index])).collect();
        let next = changes.last().filter(|_| more).map(|past| past.hash);
        Ok(History { changes, next })
    }

    fn past(&self, meta: &ChangeMetadata<'_>) -> Past {
        let mut past = Past {
            hash: Hash(meta.hash.0),
            parents: meta.deps.iter().map(|dep| Hash(dep.0)).collect(),
            maker: Maker::of(meta),
            operations: (meta.max_op + 1).saturating_sub(meta.start_op),
            touched: Vec::new(),
            more: true,
            derived: false,
            deleted: meta.max_op < meta.start_op && deletion::is_marked(meta.message.as_deref()),
        };
        if past.operations <= HISTORY_OPS {
            // It was read before it was taken; yet a fault of Automerge's must cost no more than this line.
            let look = || {
                let change = self.doc.get_change_by_hash(&meta.hash)?.decode();
                let (touched, more) = touched(&self.doc, &meta.hash, &change);
                Some((touched, more, derive::is_derived(self.id(), &change)))
            };
            if let Ok(Some((touched, more, derived))) = guarded(look) {
                past = Past { touched, more, derived, ..past };
            }
        }
        past
    }
}

impl Maker {
    pub(super) fn of(meta: &ChangeMetadata<'_>) -> Self {
        let author = meta.author.as_ref().map(|author| author.as_bytes());
        Self::new(&meta.actor, author, meta.message.as_deref(), meta.timestamp)
    }

    pub(super) fn of_change(change: &automerge::Change) -> Self {
        let author = change.author();
        let author = author.as_ref().map(|author| author.as_bytes());
        Self::new(change.actor_id(), author, change.message(), change.timestamp())
    }

    fn new(actor: &ActorId, author: Option<&[u8]>, message: Option<&str>, time: i64) -> Self {
        let ours = message.and_then(|message| serde_json::from_str::<Ours>(message).ok());
        let ours = ours.filter(|ours| ours.author.is_some() || ours.deleted);
        let (author, message) = match (ours, author) {
            (Some(Ours { author, .. }), _) => (author, None),
            (None, author) => {
                (author.map(|bytes| bytes.iter().map(|b| format!("{b:02x}")).collect()), message)
            }
        };
        let time = Some(time).filter(|time| *time != 0).and_then(|time| time_text(time.checked_mul(1_000)?));
        Self {
            author: author.map(cut),
            message: message.map(|text| cut(text.to_owned())),
            origin: origin(actor),
            time,
        }
    }
}

/// The message of a change that was made here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ours {
    author: Option<String>,
    #[serde(default)]
    deleted: bool,
}

fn cut(mut text: String) -> String {
    if text.len() > HISTORY_TEXT_BYTES {
        let end = (0..=HISTORY_TEXT_BYTES).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
    text
}

/// Whose actor it is, if it is one of ours. Automerge puts a mark and a number in front for changes at an old
/// version; `Document::writer` adds a number at the end where changes are left out, and a deletion adds a hash.
fn origin(actor: &ActorId) -> Option<Origin> {
    const OLD_VERSION: [u8; 4] = [0x13, 0xb2, 0x23, 0x09];
    let bytes = actor.to_bytes();
    let bare = bytes.strip_prefix(&OLD_VERSION).filter(|rest| rest.len() > 16).and_then(|number| {
        // LEB128: the last byte of a number is the first below 128.
        let last = number.iter().position(|byte| *byte < 0x80)?;
        number.get(last + 1..)
    });
    let (own, rest) = bare.unwrap_or(bytes).split_first_chunk::<16>()?;
    matches!(rest.len(), 0 | 4 | 8).then(|| Origin::from_bytes(*own))
}

fn places(metas: &[ChangeMetadata<'_>]) -> Vec<(Place, usize)> {
    let mut known: FxHashMap<ChangeHash, (i64, usize)> = FxHashMap::default();
    let place = |(index, meta): (usize, &ChangeMetadata<'_>)| {
        let (mut time, mut generation) = (meta.timestamp, 0);
        // Automerge gives causes first.
        for (of_parent, above) in meta.deps.iter().filter_map(|dep| known.get(dep)) {
            time = time.max(*of_parent);
            generation = generation.max(above + 1);
        }
        known.insert(meta.hash, (time, generation));
        (Place { time, generation, hash: meta.hash }, index)
    };
    metas.iter().enumerate().map(place).collect()
}

/// See [`Past::touched`].
fn touched(doc: &Automerge, hash: &ChangeHash, change: &ExpandedChange) -> (Vec<String>, bool) {
    let mut made = FxHashSet::default();
    let mut parents: FxHashMap<&ObjectId, Option<String>> = FxHashMap::default();
    let mut pointers: Vec<String> = Vec::new();
    let mut bytes = 0;
    for (counter, op) in (change.start_op.get()..).zip(&change.operations) {
        if matches!(op.action, OpType::Make(_)) {
            made.insert(counter);
        }
        match &op.obj {
            ObjectId::Id(OpId(object, actor)) if *actor == change.actor_id && made.contains(object) => {
                continue;
            }
            _ => {}
        }
        let parent = parents.entry(&op.obj).or_insert_with(|| pointer(doc, hash, &op.obj));
        let Some(parent) = parent else { continue };
        let pointer = match &op.key {
            Key::Map(key) => format!("{parent}{}", step(key)),
            Key::Seq(_) => parent.clone(),
        };
        if pointers.contains(&pointer) {
            continue;
        }
        bytes += pointer.len();
        if pointers.len() == HISTORY_POINTERS || bytes > HISTORY_TEXT_BYTES {
            return (pointers, true);
        }
        pointers.push(pointer);
    }
    (pointers, false)
}

/// Where an object is in the version that a change made.
fn pointer(doc: &Automerge, hash: &ChangeHash, object: &ObjectId) -> Option<String> {
    let ObjectId::Id(OpId(counter, actor)) = object else { return Some(String::new()) };
    let object = ObjId::Id(*counter, actor.clone(), 0);
    let path = doc.parents_at(object, &[*hash]).ok()?.path();
    let steps = path.into_iter().map(|(_, prop)| match prop {
        Prop::Map(key) => step(&key),
        Prop::Seq(index) => format!("/{index}"),
    });
    Some(steps.collect())
}

#[cfg(test)]
mod tests {
    use automerge::ROOT;
    use automerge::transaction::{CommitOptions, Transactable};
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::base::DocId;
    use crate::crdt::{Edit, parse_ops};

    fn new(actor: u8) -> Document {
        Document::load([actor; 16], DocId::new("a").unwrap(), None, &[]).unwrap()
    }

    fn patch(
        document: &mut Document,
        value: serde_json::Value,
        author: &str,
        second: i64,
    ) -> Vec<crate::base::Change> {
        document.edit(&Edit::MergePatch(value), None, Some(author), second * 1_000, None).unwrap().changes
    }

    fn all(document: &Document) -> Vec<Past> {
        document.history(usize::MAX, None).unwrap().changes
    }

    fn touched_by(document: &mut Document, value: serde_json::Value) -> Vec<String> {
        patch(document, value, "x", 1);
        all(document).remove(0).touched
    }

    #[test]
    fn a_history_tells_who_made_what_and_when() {
        let mut document = new(7);
        patch(&mut document, json!({"a": 1}), "Ann", 100);
        patch(&mut document, json!({"a": 2, "b/c": [1, 2]}), "Bob", 200);
        let rows = all(&document);
        let authors: Vec<_> = rows.iter().map(|row| row.maker.author.as_deref()).collect();
        assert_eq!(authors, [Some("Bob"), Some("Ann"), None]);
        assert_eq!(rows[0].touched, ["/a", "/b~1c"]);
        assert_eq!(rows[0].maker.time.as_deref(), Some("1970-01-01T00:03:20Z"));
        assert_eq!(rows[0].maker.origin, Some(Origin::from_bytes([7; 16])));
        assert_eq!(rows[0].operations, 3);
        assert!(!rows[0].more && !rows[0].derived);
        // The list was made as every master makes it.
        let derived = &rows[2];
        assert!(derived.derived && rows[0].parents.contains(&derived.hash));
        assert_eq!(
            (derived.touched.as_slice(), derived.maker.time.as_deref()),
            (&["/b~1c".to_owned()][..], None)
        );
    }

    #[test]
    fn what_was_put_is_named_and_not_what_is_in_it() {
        let mut document = new(1);
        let list = json!({"l": [{"deep": {"er": 1}}, 2], "t": {"$text": "abc"}});
        assert_eq!(touched_by(&mut document, list), ["/l", "/t"]);
        let ops = json!([
            {"op": "put", "path": "/l/0/deep", "value": {"x": {"y": 1}}},
            {"op": "text.splice", "path": "/t", "pos": 1, "delete": 1, "insert": "xyz"},
            {"op": "list.delete", "path": "/l", "index": 1, "count": 1},
        ]);
        let ops = Edit::Ops(parse_ops(&ops).unwrap());
        document.edit(&ops, None, None, 0, None).unwrap();
        let mut touched = all(&document).iter().find(|row| row.operations > 3).unwrap().touched.clone();
        touched.sort();
        assert_eq!(touched, ["/l", "/l/0/deep/er", "/l/0/deep/x/y", "/t"]);
    }

    #[test]
    fn pointers_are_few_and_it_is_told_that_there_are_more() {
        let members =
            |n: usize| -> serde_json::Map<_, _> { (0..n).map(|i| (format!("k{i}"), json!(i))).collect() };
        for (n, more) in [(HISTORY_POINTERS, false), (HISTORY_POINTERS + 1, true)] {
            let mut document = new(1);
            patch(&mut document, members(n).into(), "x", 1);
            let row = all(&document).remove(0);
            assert_eq!((row.touched.len(), row.more), (HISTORY_POINTERS, more));
        }
        let mut document = new(1);
        patch(&mut document, json!({"x".repeat(HISTORY_TEXT_BYTES): 1}), "x", 1);
        assert_eq!((all(&document)[0].touched.len(), all(&document)[0].more), (0, true));
    }

    #[test]
    fn changes_from_elsewhere_keep_their_words() {
        let mut document = new(1);
        let mut doc = Automerge::new().with_actor(ActorId::from([9; 5]));
        let long = "é".repeat(HISTORY_TEXT_BYTES);
        for (n, message) in (0..).zip(["hello", r#"{"author": "x", "more": 1}"#, &long]) {
            let mut tx = doc.transaction();
            tx.put(ROOT, "k", n).unwrap();
            tx.commit_with(CommitOptions { message: Some(message.to_owned()), time: Some(i64::MAX) });
        }
        document.admit(&doc.save().into()).unwrap();
        let messages: Vec<_> = all(&document)
            .into_iter()
            .map(|row| {
                assert_eq!((row.maker.author, row.maker.origin, row.maker.time), (None, None, None));
                row.maker.message.unwrap()
            })
            .collect();
        assert_eq!(messages[1..], [r#"{"author": "x", "more": 1}"#, "hello"]);
        assert_eq!(messages[0].len(), HISTORY_TEXT_BYTES + "…".len());
    }

    #[test]
    fn an_actor_at_an_old_version_is_still_its_origins() {
        let mut document = new(7);
        patch(&mut document, json!({"a": 1}), "x", 1);
        let old = document.applied_heads();
        patch(&mut document, json!({"a": 2}), "x", 2);
        let late = document.edit(&Edit::MergePatch(json!({"a": 3})), Some(&old), None, 3_000, None).unwrap();
        let row = all(&document).remove(0);
        assert_eq!(late.version.as_slice(), [row.hash]);
        assert_eq!(row.maker.origin, Some(Origin::from_bytes([7; 16])));
        let meta = document.doc.get_change_meta_by_hash(&ChangeHash(row.hash.0)).unwrap();
        assert!(meta.actor.to_bytes().len() > 16, "the prefix that this is about");
        let spent = ActorId::from([[7; 16].as_slice(), &[0, 0, 0, 2]].concat());
        assert_eq!(origin(&spent), Some(Origin::from_bytes([7; 16])));
        assert_eq!(origin(&ActorId::from([7; 17])), None);
    }

    #[test]
    fn a_deletion_is_told_as_such() {
        let mut document = new(7);
        patch(&mut document, json!({"a": 1}), "Ann", 1);
        document.edit(&Edit::Delete, None, Some("Bob"), 2_000, None).unwrap();
        let rows = all(&document);
        assert_eq!([rows[0].deleted, rows[1].deleted], [true, false]);
        assert_eq!((rows[0].maker.author.as_deref(), rows[0].operations), (Some("Bob"), 0));
        assert_eq!(rows[0].maker.origin, Some(Origin::from_bytes([7; 16])));
        assert_eq!((rows[0].touched.len(), rows[0].more, &rows[0].maker.message), (0, false, &None));
    }

    #[test]
    fn pages_lead_to_each_other() {
        let mut document = new(1);
        for n in 0..7 {
            patch(&mut document, json!({"n": n}), "x", n);
        }
        let whole: Vec<_> = all(&document).iter().map(|row| row.hash).collect();
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let page = document.history(3, before.as_ref()).unwrap();
            found.extend(page.changes.iter().map(|row| row.hash));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(found, whole);
        assert_eq!(document.history(7, None).unwrap().next, None);
        assert!(document.history(3, Some(&Hash([0; 32]))).is_err());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Clocks may say what they like.
        #[test]
        fn every_node_tells_the_same_order_with_effects_first(
            steps in prop::collection::vec((0..3_usize, 0..5_i64, any::<bool>()), 1..30),
        ) {
            let mut nodes = [new(1), new(2), new(3)];
            let mut made = Vec::new();
            for (n, (node, time, meet)) in steps.into_iter().enumerate() {
                if meet {
                    nodes[node].merge(&made);
                }
                made.extend(patch(&mut nodes[node], json!({"n": n, "m": {"o": n}}), "x", time));
            }
            let part: Vec<_> = all(&nodes[0]).iter().map(|row| row.hash).collect();
            nodes[0].merge(&made);
            made.reverse();
            nodes[1].merge(&made);
            let order: Vec<_> = all(&nodes[0]).iter().map(|row| row.hash).collect();
            let other: Vec<_> = all(&nodes[1]).iter().map(|row| row.hash).collect();
            prop_assert_eq!(&order, &other);
            let place = |hash: &Hash| order.iter().position(|other| other == hash).unwrap();
            for row in all(&nodes[0]) {
                prop_assert!(row.parents.iter().all(|parent| place(parent) > place(&row.hash)));
            }
            // What came later has not moved what was there.
            prop_assert!(part.iter().is_sorted_by_key(place));
        }
    }
}
