//! What a document, or an object in it, shows: read in one pass into flat vectors, so that no depth of
//! nesting overflows a stack.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::sync::Arc;

use automerge::iter::{DocItem, ListRangeItem, MapRangeItem};
use automerge::{ChangeHash, ObjId, ObjType, ReadDoc, ScalarValue, ScalarValueRef, ValueRef};
use rustc_hash::FxHashMap;

use super::typed::{Node, list_mark, map_mark, text_mark};

/// Objects, each after the one that it is in; the first is the one that was asked for.
pub(super) struct Tree<'a> {
    pub objects: Vec<Object<'a>>,
    /// Members and elements with more than one value.
    pub conflicts: usize,
    marks: OnceCell<Vec<u64>>,
}

pub(super) struct Object<'a> {
    pub id: ObjId,
    pub kind: ObjType,
    pub body: Body<'a>,
}

pub(super) enum Body<'a> {
    /// In ascending byte order of the keys.
    Map(Vec<(Cow<'a, str>, Item<'a>)>),
    List(Vec<Item<'a>>),
    Text(String),
}

pub(super) enum Item<'a> {
    Scalar(ScalarValueRef<'a>),
    /// The object at this index.
    Object(usize),
}

impl Body<'_> {
    fn empty(kind: ObjType) -> Self {
        match kind {
            ObjType::Map | ObjType::Table => Body::Map(Vec::new()),
            ObjType::List => Body::List(Vec::new()),
            ObjType::Text => Body::Text(String::new()),
        }
    }
}

impl<'a> Tree<'a> {
    /// Reads the object `root` of this kind, now or `at` a version.
    pub fn read<T: ReadDoc>(doc: &'a T, root: &ObjId, kind: ObjType, at: Option<&[ChangeHash]>) -> Self {
        let mut tree = Tree { objects: Vec::new(), conflicts: 0, marks: OnceCell::new() };
        tree.open(root.clone(), kind);
        if tree.in_one_pass(doc, 0, at) {
            return tree;
        }
        tree.by_itself(doc, 0, at);
        // Beside texts there are often large lists without any. Deeper down this is not tried: each try may go
        // over all that is below in vain.
        let mut open: Vec<usize> =
            (1..tree.objects.len()).filter(|inner| !tree.in_one_pass(doc, *inner, at)).collect();
        while let Some(object) = open.pop() {
            let before = tree.objects.len();
            tree.by_itself(doc, object, at);
            open.extend(before..tree.objects.len());
        }
        tree
    }

    fn open(&mut self, id: ObjId, kind: ObjType) -> usize {
        self.objects.push(Object { id, kind, body: Body::empty(kind) });
        self.objects.len() - 1
    }

    fn item(&mut self, value: ValueRef<'a>, conflict: bool, id: impl FnOnce() -> ObjId) -> Item<'a> {
        self.conflicts += usize::from(conflict);
        match value {
            ValueRef::Scalar(scalar) => Item::Scalar(scalar),
            ValueRef::Object(kind) => Item::Object(self.open(id(), kind)),
        }
    }

    fn member(&mut self, object: usize, member: MapRangeItem<'a>) {
        let item = self.item(member.value.clone(), member.conflict, || member.id());
        if let Body::Map(members) = &mut self.objects[object].body {
            members.push((member.key, item));
        }
    }

    fn element(&mut self, object: usize, element: ListRangeItem<'a>) {
        let item = self.item(element.value.clone(), element.conflict, || element.id());
        if let Body::List(elements) = &mut self.objects[object].body {
            elements.push(item);
        }
    }

    /// Reads an object and all that is in it. False where that cannot be; then nothing was read.
    fn in_one_pass<T: ReadDoc>(&mut self, doc: &'a T, object: usize, at: Option<&[ChangeHash]>) -> bool {
        let (length, conflicts) = (self.objects.len(), self.conflicts);
        if self.pass(doc, object, at).is_some() {
            return true;
        }
        self.objects.truncate(length);
        self.conflicts = conflicts;
        self.objects[object].body = Body::empty(self.objects[object].kind);
        false
    }

    /// By the one iterator over everything, which is the fastest by far. It gives blocks in texts as whole
    /// values, built by recursion without limit; so None where there is any text.
    fn pass<T: ReadDoc>(&mut self, doc: &'a T, root: usize, at: Option<&[ChangeHash]>) -> Option<()> {
        let Object { id, kind, .. } = &self.objects[root];
        if *kind == ObjType::Text {
            return None;
        }
        let mut indices = FxHashMap::from_iter([(within(id), root)]);
        let (mut object, mut index) = (None, root);
        for found in doc.iter_at(id.clone(), at) {
            if !object.as_ref().is_some_and(|object| Arc::ptr_eq(object, &found.obj)) {
                index = *indices.get(&within(&found.obj))?;
                object = Some(found.obj);
            }
            let before = self.objects.len();
            match found.item {
                DocItem::Map(member) => self.member(index, member),
                DocItem::List(element) => self.element(index, element),
                DocItem::Text(_) => return None,
            }
            if let Some(opened) = self.objects.get(before) {
                if opened.kind == ObjType::Text {
                    return None;
                }
                indices.insert(within(&opened.id), before);
            }
        }
        Some(())
    }

    /// Reads an object, and opens those that are in it.
    fn by_itself<T: ReadDoc>(&mut self, doc: &'a T, index: usize, at: Option<&[ChangeHash]>) {
        let id = self.objects[index].id.clone();
        match &mut self.objects[index].body {
            Body::Map(_) => match at {
                None => doc.map_range(&id, ..).for_each(|member| self.member(index, member)),
                Some(at) => doc.map_range_at(&id, .., at).for_each(|member| self.member(index, member)),
            },
            Body::List(_) => match at {
                None => doc.list_range(&id, ..).for_each(|element| self.element(index, element)),
                Some(at) => doc.list_range_at(&id, .., at).for_each(|element| self.element(index, element)),
            },
            // It can only fail for an object that is not there or is no text.
            Body::Text(text) => {
                *text = at.map_or_else(|| doc.text(&id), |at| doc.text_at(&id, at)).unwrap_or_default();
            }
        }
    }

    /// Lets go of the document.
    pub fn into_owned(self) -> Tree<'static> {
        let item = |item| match item {
            Item::Scalar(scalar) => Item::Scalar(ScalarValue::from(scalar).into()),
            Item::Object(index) => Item::Object(index),
        };
        let body = |body| match body {
            Body::Map(members) => Body::Map(
                members.into_iter().map(|(key, value)| (Cow::Owned(key.into_owned()), item(value))).collect(),
            ),
            Body::List(elements) => Body::List(elements.into_iter().map(item).collect()),
            Body::Text(text) => Body::Text(text),
        };
        Tree {
            objects: self
                .objects
                .into_iter()
                .map(|object| Object { id: object.id, kind: object.kind, body: body(object.body) })
                .collect(),
            conflicts: self.conflicts,
            marks: OnceCell::new(),
        }
    }

    /// The first object as a value, with its types.
    pub fn value(&self) -> Node<'static> {
        let mut done: Vec<Node<'static>> = vec![Node::Null; self.objects.len()];
        // What is in an object comes after it.
        for (index, object) in self.objects.iter().enumerate().rev() {
            let mut value = |item: &Item| match item {
                Item::Scalar(scalar) => Node::shown(scalar, true).into_owned(),
                Item::Object(inner) => std::mem::replace(&mut done[*inner], Node::Null),
            };
            done[index] = match &object.body {
                Body::Map(members) => {
                    let member = |(key, item): &(Cow<str>, Item)| (Cow::Owned(key.to_string()), value(item));
                    Node::Map(members.iter().map(member).collect())
                }
                Body::List(elements) => Node::List(elements.iter().map(value).collect()),
                Body::Text(text) => Node::Text(Cow::Owned(text.clone())),
            };
        }
        done.swap_remove(0)
    }

    /// The item's [`Node::mark`].
    pub fn mark(&self, item: &Item) -> u64 {
        self.mark_with(item, self.marks.get_or_init(|| self.all_marks()))
    }

    fn mark_with(&self, item: &Item, marks: &[u64]) -> u64 {
        match item {
            Item::Scalar(scalar) => Node::shown(scalar, false).mark(),
            Item::Object(index) => marks[*index],
        }
    }

    fn all_marks(&self) -> Vec<u64> {
        let mut marks = vec![0; self.objects.len()];
        // What is in an object comes after it.
        for (index, object) in self.objects.iter().enumerate().rev() {
            marks[index] = match &object.body {
                Body::Map(members) => {
                    map_mark(members.iter().map(|(key, item)| (key.as_ref(), self.mark_with(item, &marks))))
                }
                Body::List(elements) => list_mark(elements.iter().map(|item| self.mark_with(item, &marks))),
                Body::Text(text) => text_mark(text),
            };
        }
        marks
    }
}

/// An object's name among those of one document in memory: shorter than the one that holds everywhere.
fn within(id: &ObjId) -> (u64, usize) {
    match id {
        ObjId::Root => (0, 0),
        ObjId::Id(counter, _, actor) => (*counter, *actor),
    }
}
