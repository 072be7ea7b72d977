//! Changes that every master derives alike, so that what is created at once is created once.
//!
//! Two masters that first write `/prefs/theme` at the same time would each make a map `/prefs`, of which one
//! hides the other. So a map, list, text or counter under an absent key is made by a change that follows from
//! the document alone: its actor is a hash of document, parent, key and type, its sequence number 1, it depends
//! on the change that made the parent, and bears no time. Both masters make the same change, bit by bit.

use std::num::NonZeroU64;

use automerge::legacy::{Key, ObjectId, Op, OpId, OpType, SortedVec};
use automerge::{ActorId, Automerge, Change, ChangeHash, ExpandedChange, ObjId, ObjType, ScalarValue};

use super::edit::{Creation, Kind, Parent};
use crate::base::DocId;

/// One creation as a change: what it makes can be named without the document.
pub(super) struct Derived {
    pub change: Change,
    /// What it made.
    object: ObjectId,
}

/// The change for one creation. `earlier` are those for the creations before it in the list; None among them
/// where an ordinary change has to do it. None where the parent is itself made by an ordinary change.
pub(super) fn derive(
    doc: &Automerge,
    id: &DocId,
    creation: &Creation,
    earlier: &[Option<Derived>],
) -> Option<Derived> {
    let (parent, deps, start_op) = match &creation.parent {
        Parent::Existing(ObjId::Root) => (ObjectId::Root, Vec::new(), 1),
        Parent::Existing(object @ ObjId::Id(counter, actor, _)) => {
            let maker = doc.hash_for_opid(object)?;
            let max_op = doc.get_change_meta_by_hash(&maker)?.max_op;
            (ObjectId::Id(OpId(*counter, actor.clone())), vec![maker], max_op + 1)
        }
        Parent::Created(index) => {
            let parent = earlier.get(*index)?.as_ref()?;
            (parent.object.clone(), vec![parent.change.hash()], parent.change.max_op() + 1)
        }
    };
    let actor = actor(id, &parent, &creation.key, creation.kind);
    let action = match creation.kind {
        Kind::Object(kind) => OpType::Make(kind),
        Kind::Counter => OpType::Put(ScalarValue::counter(0)),
    };
    let key = Key::from(creation.key.as_str());
    let op = Op { action, obj: parent, key, pred: SortedVec::new(), insert: false };
    let change = ExpandedChange {
        operations: vec![op],
        actor_id: actor.clone(),
        hash: None,
        seq: 1,
        start_op: NonZeroU64::new(start_op)?,
        time: 0,
        message: None,
        deps,
        extra_bytes: Vec::new(),
        author: None,
    };
    Some(Derived { change: change.into(), object: ObjectId::Id(OpId(start_op, actor)) })
}

/// Was this change made by [`derive`]?
pub(super) fn is_derived(id: &DocId, change: &ExpandedChange) -> bool {
    let [Op { action, obj, key: Key::Map(key), .. }] = change.operations.as_slice() else { return false };
    let kind = match action {
        OpType::Make(kind) => Kind::Object(*kind),
        OpType::Put(ScalarValue::Counter(_)) => Kind::Counter,
        _ => return false,
    };
    change.seq == 1 && change.actor_id == actor(id, obj, key, kind)
}

/// Is `hash` an ancestor of `heads`, or one of them? Both are in the document.
pub(super) fn is_within(doc: &Automerge, hash: &ChangeHash, heads: &[ChangeHash]) -> bool {
    heads.contains(hash) || doc.get_changes_meta(heads).iter().all(|meta| meta.hash != *hash)
}

/// Part of what nodes must agree on for ever: see the test of its value.
fn actor(id: &DocId, parent: &ObjectId, key: &str, kind: Kind) -> ActorId {
    let mut hasher = blake3::Hasher::new();
    let mut part = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_be_bytes()).update(bytes);
    };
    part(b"syncline derived actor 1");
    part(id.as_str().as_bytes());
    match parent {
        ObjectId::Root => part(&[]),
        ObjectId::Id(OpId(counter, actor)) => {
            part(&counter.to_be_bytes());
            part(actor.to_bytes());
        }
    }
    part(key.as_bytes());
    part(match kind {
        Kind::Object(ObjType::Map) => b"map",
        Kind::Object(ObjType::List) => b"list",
        Kind::Object(ObjType::Text) => b"text",
        Kind::Object(ObjType::Table) => b"table",
        Kind::Counter => b"counter",
    });
    let mut bytes = [0; 16];
    hasher.finalize_xof().fill(&mut bytes);
    ActorId::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derived_changes_are_the_same_for_ever() {
        let doc = Automerge::new();
        let id = DocId::new("views/1").unwrap();
        let outer = Creation {
            parent: Parent::Existing(ObjId::Root),
            key: "prefs".into(),
            kind: Kind::Object(ObjType::Map),
        };
        let inner = Creation { parent: Parent::Created(0), key: "n".into(), kind: Kind::Counter };
        let first = derive(&doc, &id, &outer, &[]);
        let made = [first];
        let second = derive(&doc, &id, &inner, &made).unwrap();
        let [Some(first)] = made else { panic!("derived") };
        let hashes = [first.change.hash().to_string(), second.change.hash().to_string()];
        assert_eq!(hashes.map(|hash| hash[..16].to_owned()), ["88dab581ece7756a", "21160e01c380d2b6"]);
    }
}
