//! What documents show: loaded from a node's disk, once for each set of changes.

use std::collections::BTreeMap;

use crate::invariants::Failure;
use serde_json::Value;
use serde_json::value::RawValue;
use syncline::base::{Change, DocId, Heads};
use syncline::crdt::Document;
use syncline::node::{Reader as Live, Step};
use syncline::store::{MemoryStore, Store};

#[derive(Default)]
pub struct Shown {
    /// By the heads of all changes: what is shown is a function of their set.
    all: BTreeMap<(DocId, Heads), Seen>,
    /// The one of each document that was loaded last.
    loaded: BTreeMap<DocId, (Heads, Document)>,
}

#[derive(Clone)]
pub struct Seen {
    pub version: Heads,
    /// None where it is deleted.
    pub value: Option<Value>,
}

impl Shown {
    /// What a document shows that is stored with these heads.
    pub fn of(&mut self, store: &MemoryStore, doc: &DocId, heads: &Heads) -> Result<Seen, Failure> {
        let key = (doc.clone(), heads.clone());
        if let Some(seen) = self.all.get(&key) {
            return Ok(seen.clone());
        }
        let document = load(store, doc)?;
        let value = (!document.is_deleted()).then(|| value(doc, &document)).transpose()?;
        let seen = Seen { version: document.applied_heads(), value };
        self.all.insert(key, seen.clone());
        self.loaded.insert(doc.clone(), (heads.clone(), document));
        Ok(seen)
    }

    /// What a reader has to be told of a document, as the node would show it.
    pub fn look(&mut self, store: &MemoryStore, doc: &DocId, live: &Live) -> Result<Option<Step>, Failure> {
        let record = store.record(doc).map_err(|e| fails(doc, &e))?.unwrap_or_default();
        if record.heads.is_empty() {
            return Ok(None);
        }
        let Seen { version, value } = self.of(store, doc, &record.heads)?;
        let sent = live.sent(doc);
        if sent == Some(&version) {
            return Ok(None);
        }
        let Some(value) = value else { return Ok(Some(Step::Deleted { doc: doc.clone(), version })) };
        if let Some(from) = sent.filter(|_| live.takes_patches(doc)) {
            if self.loaded.get(doc).is_none_or(|(heads, _)| *heads != record.heads) {
                self.loaded.insert(doc.clone(), (record.heads.clone(), load(store, doc)?));
            }
            let document = self.loaded.get(doc).map(|(_, document)| document);
            let patch = document
                .filter(|document| document.is_before(from, &version))
                .and_then(|document| document.patch(from, &version));
            if let Some(patch) = patch {
                let (from, patch) = (from.clone(), patch.into());
                return Ok(Some(Step::Patch { doc: doc.clone(), from, to: version, patch }));
            }
        }
        let value = RawValue::from_string(value.to_string()).map_err(|e| fails(doc, &e))?.into();
        Ok(Some(Step::Snapshot { doc: doc.clone(), version, value }))
    }
}

fn load(store: &MemoryStore, doc: &DocId) -> Result<Document, Failure> {
    let whole = store.whole(doc).map_err(|e| fails(doc, &e))?.unwrap_or_default();
    let tail: Vec<Change> = whole.tail.into_iter().map(|(_, change)| change).collect();
    Document::load([7; 16], doc.clone(), whole.snapshot.as_deref(), &tail).map_err(|e| fails(doc, &e))
}

fn value(doc: &DocId, document: &Document) -> Result<Value, Failure> {
    let rendered = document.json(None, false).map_err(|e| fails(doc, &e))?;
    serde_json::from_slice(&rendered.body).map_err(|e| fails(doc, &e))
}

fn fails(doc: &DocId, e: &dyn std::fmt::Display) -> Failure {
    Failure::new("readers", format!("{doc:?}: {e}"))
}
