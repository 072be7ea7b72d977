//! Do a change's operations make sense where they stand?
//!
//! Automerge takes operations on what is no object, or in place of what stands elsewhere, and then shows
//! something else for each order in which changes come. No honest writer makes such; what comes from outside is
//! looked through before it becomes part of a document.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use automerge::legacy::{ElementId, Key, ObjectId, Op, OpId, OpType};
use automerge::{ActorId, Automerge, Change, ObjId, ObjType, ReadDoc, ScalarValue};

/// Looks operations up by id, in a document and in the changes that are to come on top of it.
pub(super) struct Operations<'a> {
    doc: &'a Automerge,
    /// Actor → first operation of a change → the change's operations.
    known: HashMap<ActorId, BTreeMap<u64, Rc<[Told]>>>,
}

/// What has to be known of an operation that others refer to.
struct Told {
    object: ObjectId,
    place: Place,
    makes: Makes,
}

/// Where in its object an operation stands.
#[derive(PartialEq, Eq)]
enum Place {
    Key(String),
    /// The element that it is about: its own where it inserts one.
    Element(ElementId),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Makes {
    Keyed,
    Sequence,
    Counter,
    Other,
}

impl<'a> Operations<'a> {
    pub fn new(doc: &'a Automerge) -> Self {
        Self { doc, known: HashMap::new() }
    }

    /// Judges a change of which all that it refers to is known to come before it, and remembers it.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge(&mut self, change: &Change) -> Result<(), String> {
        let actor = change.actor_id();
        let start = change.start_op().get();
        let operations = change.decode().operations;
        let told: Vec<Told> =
            (start..).zip(&operations).map(|(own, op)| tell(op, OpId(own, actor.clone()))).collect();
        // First, since its operations may refer to earlier ones of the same change.
        self.known.entry(actor.clone()).or_default().insert(start, told.into());
        (start..).zip(&operations).try_for_each(|(own, op)| {
            self.makes_sense(op).map_err(|reason| format!("operation {own}: {reason}"))
        })
    }

    fn makes_sense(&mut self, op: &Op) -> Result<(), &'static str> {
        let object = match &op.obj {
            ObjectId::Root => Makes::Keyed,
            ObjectId::Id(id) => self.find(id, |told| told.makes).ok_or("its object does not exist")?,
        };
        match (object, &op.key) {
            (Makes::Keyed, Key::Map(_)) if !op.insert => {}
            (Makes::Sequence, Key::Seq(ElementId::Head)) if op.insert => {}
            (Makes::Sequence, Key::Seq(ElementId::Id(element))) => {
                let itself = Place::Element(ElementId::Id(element.clone()));
                let found = self.find(element, |told| told.object == op.obj && told.place == itself);
                if found != Some(true) {
                    return Err("it stands at an element that its object does not have");
                }
            }
            _ => return Err("it does not fit the type of its object"),
        }
        if op.insert && !op.pred.is_empty() {
            return Err("it inserts, and takes the place of something");
        }
        let place = place(op, None);
        for pred in op.pred.iter() {
            let fits = |told: &Told| {
                let counts = !matches!(op.action, OpType::Increment(_)) || told.makes == Makes::Counter;
                told.object == op.obj && told.place == place && counts
            };
            if self.find(pred, fits) != Some(true) {
                return Err("it takes the place of something that stands elsewhere");
            }
        }
        match op.action {
            OpType::Delete | OpType::Increment(_) if op.pred.is_empty() => {
                Err("it deletes or increments nothing")
            }
            _ => Ok(()),
        }
    }

    fn find<T>(&mut self, id: &OpId, look: impl FnOnce(&Told) -> T) -> Option<T> {
        let in_batch = self.known.get(id.actor()).and_then(|starts| told(starts, id.counter()));
        if let Some((told, index)) = in_batch {
            return told.get(index).map(look);
        }
        let hash = self.doc.hash_for_opid(&ObjId::Id(id.counter(), id.actor().clone(), 0))?;
        let change = self.doc.get_change_by_hash(&hash)?;
        let start = change.start_op().get();
        let all = change.decode().operations;
        let all: Rc<[Told]> =
            (start..).zip(&all).map(|(own, op)| tell(op, OpId(own, id.actor().clone()))).collect();
        let index = usize::try_from(id.counter().checked_sub(start)?).ok()?;
        self.known.entry(id.actor().clone()).or_default().insert(start, all.clone());
        all.get(index).map(look)
    }
}

/// The operations of the change that has that counter, and which of them it is.
fn told(starts: &BTreeMap<u64, Rc<[Told]>>, counter: u64) -> Option<(&Rc<[Told]>, usize)> {
    let (start, all) = starts.range(..=counter).next_back()?;
    let index = usize::try_from(counter - start).ok()?;
    (index < all.len()).then_some((all, index))
}

fn tell(op: &Op, id: OpId) -> Told {
    let makes = match &op.action {
        OpType::Make(ObjType::Map | ObjType::Table) => Makes::Keyed,
        OpType::Make(ObjType::List | ObjType::Text) => Makes::Sequence,
        OpType::Put(ScalarValue::Counter(_)) => Makes::Counter,
        _ => Makes::Other,
    };
    Told { object: op.obj.clone(), place: place(op, Some(id)), makes }
}

/// `id` is the operation's own, which names the element that it inserts.
fn place(op: &Op, id: Option<OpId>) -> Place {
    match (&op.key, id) {
        (Key::Map(key), _) => Place::Key(key.to_string()),
        (Key::Seq(_), Some(id)) if op.insert => Place::Element(ElementId::Id(id)),
        (Key::Seq(element), _) => Place::Element(element.clone()),
    }
}
