//! Writing a value over what is there, by the smallest set of operations.

use automerge::transaction::Transactable;
use automerge::{ObjId, ObjType, Prop, ROOT, ScalarValue, ScalarValueRef, Value, hydrate};
use rustc_hash::{FxHashMap, FxHashSet};

use super::difference::{Element, gaps, pairs};
use super::edit::{Context, Creation, EditError, Kind, Parent};
use super::tree::{Body, Item, Tree};
use super::typed::{Node, bytes_shown_as, time_shown_as};

/// Members that tell one object from its like in a list.
const NAMES: [&str; 3] = ["id", "_id", "key"];

/// An open transaction, and what has happened in it.
pub(super) struct Editor<'e, T> {
    pub tx: &'e mut T,
    pub cx: &'e mut Context,
    /// The second pass: what is still not there cannot be derived, and is made like anything else.
    pub second: bool,
    /// No later operation reads what is created now. Then it is told, and not made: it would only be rolled
    /// back, operation by operation.
    pub only_told: bool,
    /// The counter of the transaction's first operation, once an object has told it: those of all objects
    /// that were there before are lower.
    first: Option<u64>,
    /// Where the objects are in `cx.created`.
    created: FxHashMap<ObjId, usize>,
    /// Members deleted in this transaction: they were not absent before.
    deleted: FxHashSet<(ObjId, String)>,
    /// In the second pass: created members that no operation has written yet. Whatever replaces their map
    /// before that knows nothing of them, as in the first pass.
    awaited: FxHashSet<(ObjId, String)>,
}

/// A member of a map or an element of a list.
#[derive(Clone, Copy)]
pub(super) enum Slot<'s> {
    Member(&'s ObjId, &'s str),
    Element(&'s ObjId, usize),
}

impl<'s> Slot<'s> {
    fn parts(self) -> (&'s ObjId, Prop) {
        match self {
            Slot::Member(map, key) => (map, key.into()),
            Slot::Element(list, index) => (list, index.into()),
        }
    }
}

type Members<'a> = [(std::borrow::Cow<'a, str>, Node<'a>)];

impl<'e, T: Transactable> Editor<'e, T> {
    pub fn new(tx: &'e mut T, cx: &'e mut Context) -> Self {
        Editor {
            tx,
            second: !cx.created.is_empty(),
            cx,
            only_told: true,
            first: None,
            created: FxHashMap::default(),
            deleted: FxHashSet::default(),
            awaited: FxHashSet::default(),
        }
    }

    /// To be called where several operations follow each other.
    pub fn await_created(&mut self) -> Result<(), EditError> {
        if !self.second {
            return Ok(());
        }
        let mut objects: Vec<Option<ObjId>> = Vec::with_capacity(self.cx.created.len());
        for Creation { parent, key, .. } in &self.cx.created {
            let parent = match parent {
                Parent::Existing(id) => Some(id.clone()),
                Parent::Created(index) => objects.get(*index).cloned().flatten(),
            };
            let there = match &parent {
                Some(parent) => self.tx.get(parent, key.as_str())?,
                None => None,
            };
            objects.push(there.map(|(_, id)| id));
            self.awaited.extend(parent.map(|parent| (parent, key.clone())));
        }
        Ok(())
    }

    /// From now on that member is like any other.
    pub fn reach(&mut self, map: &ObjId, key: &str) {
        if !self.awaited.is_empty() {
            self.awaited.remove(&(map.clone(), key.to_owned()));
        }
    }

    fn is_awaited(&self, map: &ObjId, key: &str) -> bool {
        !self.awaited.is_empty() && self.awaited.contains(&(map.clone(), key.to_owned()))
    }

    /// Makes the whole document this.
    pub fn put_root(&mut self, members: &Members) -> Result<(), EditError> {
        let tree = Tree::read(self.tx, &ROOT, ObjType::Map, None).into_owned();
        self.update_map(&tree, 0, members)
    }

    /// RFC 7396, on a map that is there.
    pub fn merge(&mut self, map: &ObjId, members: &Members) -> Result<(), EditError> {
        for (key, node) in members {
            let there = self.tx.get(map, key.as_ref())?;
            match (node, there) {
                (Node::Null, None) => {}
                (Node::Null, Some(_)) => self.delete_member(map, key)?,
                (Node::Map(inner), Some((Value::Object(ObjType::Map), id))) => self.merge(&id, inner)?,
                (Node::Map(inner), _) => self.put_member(map, key, &without_nulls(inner))?,
                (node, _) => self.put_member(map, key, node)?,
            }
        }
        Ok(())
    }

    pub fn put_member(&mut self, map: &ObjId, key: &str, node: &Node) -> Result<(), EditError> {
        match self.tx.get(map, key)? {
            None => self.create(map, key, node),
            Some((value, id)) => {
                let value = value.into_owned();
                self.reach(map, key);
                self.put_over(Slot::Member(map, key), value, &id, node)
            }
        }
    }

    pub fn put_element(&mut self, list: &ObjId, index: usize, node: &Node) -> Result<(), EditError> {
        match self.tx.get(list, index)? {
            None => Err(EditError::Failed { reason: format!("no element {index}") }),
            Some((value, id)) => {
                let value = value.into_owned();
                self.put_over(Slot::Element(list, index), value, &id, node)
            }
        }
    }

    /// Over a field that the writer has named. Where it has several values, that is settled.
    fn put_over(&mut self, slot: Slot, value: Value, id: &ObjId, node: &Node) -> Result<(), EditError> {
        match value {
            Value::Scalar(scalar) => self.put_over_scalar(slot, &scalar.into_owned().into(), node),
            Value::Object(kind) if fits(kind, node) => {
                let mut tree = Tree::read(self.tx, id, kind, None).into_owned();
                if self.is_conflicted(slot)? {
                    tree = self.renewed(slot, kind, &tree)?;
                }
                self.update(&tree, 0, node)
            }
            Value::Object(_) => self.replace(slot, node),
        }
    }

    /// A new object with what the tree has, in place of all values of the field: Automerge cannot delete those
    /// beside the one that is shown.
    fn renewed(&mut self, slot: Slot, kind: ObjType, tree: &Tree) -> Result<Tree<'static>, EditError> {
        self.replace(slot, &tree.value())?;
        let (parent, prop) = slot.parts();
        match self.tx.get(parent, prop)? {
            Some((Value::Object(now), id)) if now == kind => {
                Ok(Tree::read(self.tx, &id, kind, None).into_owned())
            }
            _ => Err(EditError::Failed { reason: "an object made anew is not there".to_owned() }),
        }
    }

    fn is_conflicted(&self, slot: Slot) -> Result<bool, EditError> {
        let (parent, prop) = slot.parts();
        Ok(self.tx.get_all(parent, prop)?.len() > 1)
    }

    /// Over a field of an object that is written as a whole. There a conflict of objects stays: to settle it would
    /// hide from others' sight what they write into the object meanwhile, and the writer may not even know of it.
    fn put_over_item(&mut self, slot: Slot, tree: &Tree, item: &Item, node: &Node) -> Result<(), EditError> {
        match item {
            // Nearly all of most documents: not to be looked up.
            Item::Scalar(scalar) if tree.conflicts == 0 && reads_as(scalar, node) => Ok(()),
            Item::Scalar(scalar) => self.put_over_scalar(slot, scalar, node),
            Item::Object(index) if fits(tree.objects[*index].kind, node) => self.update(tree, *index, node),
            Item::Object(_) => self.replace(slot, node),
        }
    }

    /// What reads as it is written is left alone, plainly or typed: so a plain read that is written back
    /// keeps the types. Only other values of the field give way to it.
    fn put_over_scalar(&mut self, slot: Slot, there: &ScalarValueRef, node: &Node) -> Result<(), EditError> {
        if reads_as(there, node) {
            if self.is_conflicted(slot)? {
                let (parent, prop) = slot.parts();
                self.tx.put(parent, prop, ScalarValue::from(there.clone()))?;
            }
            return Ok(());
        }
        let kept = match (there, node) {
            (ScalarValueRef::Counter(now), Node::Int(n) | Node::Counter(n)) => {
                return self.count_to(slot, *now, *n);
            }
            (ScalarValueRef::Timestamp(_), Node::Str(text)) => time_shown_as(text).map(Node::Timestamp),
            (ScalarValueRef::Bytes(_), Node::Str(text)) => {
                bytes_shown_as(text).map(|bytes| Node::Bytes(bytes.into()))
            }
            _ => None,
        };
        self.replace(slot, kept.as_ref().unwrap_or(node))
    }

    /// By an increment, unless the counter is in conflict: a new one settles that.
    fn count_to(&mut self, slot: Slot, now: i64, n: i64) -> Result<(), EditError> {
        let (parent, prop) = slot.parts();
        match n.checked_sub(now) {
            Some(by) if !self.is_conflicted(slot)? => Ok(self.tx.increment(parent, prop, by)?),
            _ => Ok(self.tx.put(parent, prop, ScalarValue::counter(n))?),
        }
    }

    /// An object in the tree, with a value of its kind.
    fn update(&mut self, tree: &Tree, index: usize, node: &Node) -> Result<(), EditError> {
        match (&tree.objects[index].body, node) {
            (Body::Map(_), Node::Map(members)) => self.update_map(tree, index, members),
            (Body::List(_), Node::List(elements)) => self.update_list(tree, index, elements),
            (Body::Text(old), Node::Str(new) | Node::Text(new)) => {
                self.update_text(&tree.objects[index].id, old, new)
            }
            _ => Err(EditError::Failed { reason: "a value of another kind".to_owned() }),
        }
    }

    fn update_map(&mut self, tree: &Tree, index: usize, members: &Members) -> Result<(), EditError> {
        let object = &tree.objects[index];
        let Body::Map(there) = &object.body else { return Ok(()) };
        let mut there = there.iter().peekable();
        for (key, node) in members {
            while let Some((old, _)) = there.next_if(|(old, _)| old < key) {
                self.drop_member(&object.id, old)?;
            }
            match there.next_if(|(old, _)| old == key) {
                Some((_, item)) => {
                    self.reach(&object.id, key);
                    self.put_over_item(Slot::Member(&object.id, key), tree, item, node)?;
                }
                None => self.create(&object.id, key, node)?,
            }
        }
        for (old, _) in there {
            self.drop_member(&object.id, old)?;
        }
        Ok(())
    }

    /// Of a map that is to be without it.
    fn drop_member(&mut self, map: &ObjId, key: &str) -> Result<(), EditError> {
        if self.is_awaited(map, key) { Ok(()) } else { self.delete_member(map, key) }
    }

    fn update_list(&mut self, tree: &Tree, index: usize, nodes: &[Node]) -> Result<(), EditError> {
        let object = &tree.objects[index];
        let Body::List(there) = &object.body else { return Ok(()) };
        let old: Vec<_> = there
            .iter()
            .map(|item| Element { mark: tree.mark(item), name: name_of_item(tree, item) })
            .collect();
        let new: Vec<_> =
            nodes.iter().map(|node| Element { mark: node.mark(), name: name_of_node(node) }).collect();
        let (mut old_next, mut new_next) = (0, 0);
        let found = pairs(&old, &new, self.cx.deadline);
        for (old_at, new_at) in
            found.into_iter().map(Some).chain([None]).map(|pair| pair.unwrap_or((old.len(), new.len())))
        {
            // What has been done so far is as long as the new list up to here.
            self.splice(&object.id, new_next, old_at - old_next, &nodes[new_next..new_at])?;
            if let (Some(item), Some(node)) = (there.get(old_at), nodes.get(new_at)) {
                self.put_over_item(Slot::Element(&object.id, new_at), tree, item, node)?;
            }
            (old_next, new_next) = (old_at + 1, new_at + 1);
        }
        Ok(())
    }

    /// The text `old` becomes `new` by its difference.
    pub fn update_text(&mut self, text: &ObjId, old: &str, new: &str) -> Result<(), EditError> {
        if old == new {
            return Ok(());
        }
        let (old, letters): (Vec<_>, Vec<_>) = (old.chars().collect(), new.chars().collect());
        // From the end, so that what is before keeps its position.
        for gap in gaps(&old, &letters, self.cx.deadline).into_iter().rev() {
            let insert: String = letters[gap.new].iter().collect();
            self.tx.splice_text(text, gap.old.start, signed(gap.old.len())?, &insert)?;
        }
        // Other clients may have inserted several letters as one element, and half of one cannot be deleted.
        if self.tx.text(text)? != new {
            let length = self.tx.length(text);
            self.tx.splice_text(text, 0, signed(length)?, new)?;
        }
        Ok(())
    }

    pub fn splice(
        &mut self,
        list: &ObjId,
        at: usize,
        delete: usize,
        nodes: &[Node],
    ) -> Result<(), EditError> {
        if delete == 0 && nodes.is_empty() {
            return Ok(());
        }
        let values: Vec<_> = nodes.iter().map(|node| self.hydrate(node)).collect();
        let object = values.iter().position(hydrate::Value::is_object);
        let before = self.tx.pending_ops();
        self.tx.splice(list, at, signed(delete)?, values)?;
        if let (None, Some(offset)) = (self.first, object)
            && let Some((_, id)) = self.tx.get(list, at + offset)?
        {
            self.note_first(&id, before + offset);
        }
        Ok(())
    }

    pub fn delete_member(&mut self, map: &ObjId, key: &str) -> Result<(), EditError> {
        self.tx.delete(map, key)?;
        self.deleted.insert((map.clone(), key.to_owned()));
        Ok(())
    }

    /// Over whatever is there.
    fn replace(&mut self, slot: Slot, node: &Node) -> Result<(), EditError> {
        let (parent, prop) = slot.parts();
        match self.hydrate(node) {
            hydrate::Value::Scalar(scalar) => self.tx.put(parent, prop, scalar)?,
            object => {
                let before = self.tx.pending_ops();
                let id = self.tx.batch_create_object(parent, prop, &object, false)?;
                self.note_first(&id, before);
            }
        }
        Ok(())
    }

    /// Under an absent key.
    pub fn create(&mut self, map: &ObjId, key: &str, node: &Node) -> Result<(), EditError> {
        let (Some(kind), Some(parent)) = (self.kind(node), self.derivable(map, key)) else {
            return self.replace(Slot::Member(map, key), node);
        };
        if self.only_told {
            self.tell(parent, key, kind, node);
            return Ok(());
        }
        let index = self.cx.created.len();
        self.cx.created.push(Creation { parent, key: key.to_owned(), kind });
        let Kind::Object(kind) = kind else {
            self.tx.put(map, key, ScalarValue::counter(0))?;
            return match node {
                Node::Counter(n) if *n != 0 => Ok(self.tx.increment(map, key, *n)?),
                _ => Ok(()),
            };
        };
        let before = self.tx.pending_ops();
        let id = self.tx.put_object(map, key, kind)?;
        self.note_first(&id, before);
        self.created.insert(id.clone(), index);
        match node {
            Node::Map(members) => members.iter().try_for_each(|(key, node)| self.create(&id, key, node)),
            Node::List(nodes) => self.splice(&id, 0, 0, nodes),
            Node::Text(text) | Node::Str(text) => Ok(self.tx.splice_text(&id, 0, 0, text)?),
            _ => Ok(()),
        }
    }

    /// Tells of a creation and of what it holds.
    fn tell(&mut self, parent: Parent, key: &str, kind: Kind, node: &Node) {
        let index = self.cx.created.len();
        self.cx.created.push(Creation { parent, key: key.to_owned(), kind });
        if let Node::Map(members) = node {
            for (key, node) in members {
                if let Some(kind) = self.kind(node) {
                    self.tell(Parent::Created(index), key, kind, node);
                }
            }
        }
    }

    /// What every master would have to create alike for this value.
    fn kind(&self, node: &Node) -> Option<Kind> {
        match node {
            Node::Map(_) => Some(Kind::Object(ObjType::Map)),
            Node::List(_) => Some(Kind::Object(ObjType::List)),
            Node::Text(_) => Some(Kind::Object(ObjType::Text)),
            Node::Str(_) if self.cx.strings_are_text => Some(Kind::Object(ObjType::Text)),
            Node::Counter(_) => Some(Kind::Counter),
            _ => None,
        }
    }

    /// Would every master create this absent member alike? Then the map, as a parent.
    fn derivable(&self, map: &ObjId, key: &str) -> Option<Parent> {
        if self.second || self.deleted.contains(&(map.clone(), key.to_owned())) {
            return None;
        }
        match (self.created.get(map), map) {
            (Some(index), _) => Some(Parent::Created(*index)),
            (None, ObjId::Id(counter, ..)) if self.first.is_some_and(|first| *counter >= first) => None,
            (None, _) => Some(Parent::Existing(map.clone())),
        }
    }

    /// `id` was made when the transaction had `before` operations.
    fn note_first(&mut self, id: &ObjId, before: usize) {
        if let ObjId::Id(counter, ..) = id {
            self.first.get_or_insert(counter.saturating_sub(before as u64));
        }
    }

    fn hydrate(&self, node: &Node) -> hydrate::Value {
        node.hydrate(self.tx.text_encoding(), self.cx.strings_are_text)
    }
}

/// Plainly, or with its type.
fn reads_as(there: &ScalarValueRef, node: &Node) -> bool {
    *node == Node::shown(there, false) || *node == Node::shown(there, true)
}

/// Can an object of this kind become the value without being replaced?
fn fits(kind: ObjType, node: &Node) -> bool {
    matches!(
        (kind, node),
        (ObjType::Map, Node::Map(_))
            | (ObjType::List, Node::List(_))
            | (ObjType::Text, Node::Text(_) | Node::Str(_))
    )
}

/// What a merge patch makes of its object where there is none.
fn without_nulls<'a>(members: &Members<'a>) -> Node<'a> {
    let kept = members.iter().filter(|(_, node)| !matches!(node, Node::Null));
    Node::Map(
        kept.map(|(key, node)| match node {
            Node::Map(inner) => (key.clone(), without_nulls(inner)),
            node => (key.clone(), node.clone()),
        })
        .collect(),
    )
}

fn name_of_node(node: &Node) -> Option<u64> {
    let Node::Map(members) = node else { return None };
    NAMES.iter().find_map(|name| {
        let at = members.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        Some(members[at].1.mark())
    })
}

fn name_of_item(tree: &Tree, item: &Item) -> Option<u64> {
    let Item::Object(index) = item else { return None };
    let Body::Map(members) = &tree.objects[*index].body else { return None };
    NAMES.iter().find_map(|name| {
        let at = members.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        Some(tree.mark(&members[at].1))
    })
}

/// A length as Automerge takes it for a number of deletions.
pub(super) fn signed(length: usize) -> Result<isize, EditError> {
    isize::try_from(length).map_err(|_| EditError::Failed { reason: format!("a length of {length}") })
}
