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

impl<'a> Tree<'a> {
    /// Reads the object `root` of this kind, now or `at` a version.
    pub fn read<T: ReadDoc>(doc: &'a T, root: &ObjId, kind: ObjType, at: Option<&[ChangeHash]>) -> Self {
        Self::in_one_pass(doc, root, kind, at).unwrap_or_else(|| Self::object_by_object(doc, root, kind, at))
    }

    fn new(root: &ObjId, kind: ObjType) -> Self {
        let mut tree = Tree { objects: Vec::new(), conflicts: 0, marks: OnceCell::new() };
        tree.open(root.clone(), kind);
        tree
    }

    fn open(&mut self, id: ObjId, kind: ObjType) -> usize {
        let body = match kind {
            ObjType::Map | ObjType::Table => Body::Map(Vec::new()),
            ObjType::List => Body::List(Vec::new()),
            ObjType::Text => Body::Text(String::new()),
        };
        self.objects.push(Object { id, kind, body });
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

    /// By the one iterator over everything, which is the fastest by far. It gives blocks in texts as whole
    /// values, built by recursion without limit; so None where there is any text.
    fn in_one_pass<T: ReadDoc>(
        doc: &'a T,
        root: &ObjId,
        kind: ObjType,
        at: Option<&[ChangeHash]>,
    ) -> Option<Self> {
        if kind == ObjType::Text {
            return None;
        }
        let mut tree = Tree::new(root, kind);
        let mut indices = FxHashMap::from_iter([(root.clone(), 0)]);
        let (mut object, mut index) = (None, 0);
        for found in doc.iter_at(root, at) {
            if !object.as_ref().is_some_and(|object| Arc::ptr_eq(object, &found.obj)) {
                index = *indices.get(&*found.obj)?;
                object = Some(found.obj);
            }
            let before = tree.objects.len();
            match found.item {
                DocItem::Map(member) => tree.member(index, member),
                DocItem::List(element) => tree.element(index, element),
                DocItem::Text(_) => return None,
            }
            if let Some(opened) = tree.objects.get(before) {
                if opened.kind == ObjType::Text {
                    return None;
                }
                indices.insert(opened.id.clone(), before);
            }
        }
        Some(tree)
    }

    fn object_by_object<T: ReadDoc>(
        doc: &'a T,
        root: &ObjId,
        kind: ObjType,
        at: Option<&[ChangeHash]>,
    ) -> Self {
        let mut tree = Tree::new(root, kind);
        let mut index = 0;
        while let Some(object) = tree.objects.get_mut(index) {
            let id = object.id.clone();
            match &mut object.body {
                Body::Map(_) => match at {
                    None => doc.map_range(&id, ..).for_each(|member| tree.member(index, member)),
                    Some(at) => doc.map_range_at(&id, .., at).for_each(|member| tree.member(index, member)),
                },
                Body::List(_) => match at {
                    None => doc.list_range(&id, ..).for_each(|element| tree.element(index, element)),
                    Some(at) => {
                        doc.list_range_at(&id, .., at).for_each(|element| tree.element(index, element));
                    }
                },
                // It can only fail for an object that is not there or is no text.
                Body::Text(text) => {
                    *text = at.map_or_else(|| doc.text(&id), |at| doc.text_at(&id, at)).unwrap_or_default();
                }
            }
            index += 1;
        }
        tree
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
