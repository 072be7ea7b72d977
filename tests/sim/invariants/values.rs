//! Equal sets of changes mean equal values, in whatever order and with whatever edits between they were merged.

use std::collections::BTreeMap;

use bytes::Bytes;
use syncline::base::{Change, DocId, Hash, Heads};
use syncline::crdt::Document;
use syncline::store::Store;

use super::{Checked, Failure};
use crate::node::Node;

#[derive(Default)]
pub struct Values {
    /// What was shown of each version: heads name a set of changes.
    shown: BTreeMap<(DocId, Heads), Bytes>,
}

impl Values {
    /// Looks at what a document shows now, and gives it.
    pub fn read(&mut self, doc: &DocId, document: &Document) -> Result<Bytes, Failure> {
        let fails = |what: String| Failure::new("values", format!("{doc:?}: {what}"));
        let rendered = document.json(None, true).map_err(|e| fails(e.to_string()))?;
        let heads = document.applied_heads();
        let known = self.shown.entry((doc.clone(), heads.clone())).or_insert_with(|| rendered.body.clone());
        if *known == rendered.body {
            return Ok(rendered.body);
        }
        let (a, b) = (String::from_utf8_lossy(known), String::from_utf8_lossy(&rendered.body));
        Err(fails(format!("at {heads:?} it shows {a}, and {b}")))
    }

    /// All nodes have the same changes, so all show the same: what they have in memory, with what came since they
    /// last looked, and what they load from the disk.
    pub fn finish(&mut self, nodes: &mut [Node]) -> Checked {
        let fails = |e: &dyn std::fmt::Display| Failure::new("values", e.to_string());
        let mut shown: BTreeMap<DocId, Bytes> = BTreeMap::new();
        let mut known: BTreeMap<(DocId, Option<Bytes>, Vec<Hash>), Bytes> = BTreeMap::new();
        for (n, node) in nodes.iter_mut().enumerate() {
            for (doc, _) in node.store.list("", None, usize::MAX).map_err(|e| fails(&e))? {
                let process = node.process.as_mut().filter(|process| process.docs.loaded.contains_key(&doc));
                let body = match process.map(|process| process.document(&doc, true)).transpose()?.flatten() {
                    Some(loaded) => self.read(&doc, &loaded.document)?,
                    None => {
                        let whole = node.store.whole(&doc).map_err(|e| fails(&e))?.unwrap_or_default();
                        let tail: Vec<Change> = whole.tail.into_iter().map(|(_, change)| change).collect();
                        // What another node has in the same order need not be loaded again.
                        let order = tail.iter().map(|change| change.hash).collect();
                        let order = (doc.clone(), whole.snapshot, order);
                        match known.get(&order) {
                            Some(body) => body.clone(),
                            None => {
                                let document =
                                    Document::load([7; 16], doc.clone(), order.1.as_deref(), &tail);
                                let body = self.read(&doc, &document.map_err(|e| fails(&e))?)?;
                                known.insert(order, body.clone());
                                body
                            }
                        }
                    }
                };
                let first = shown.entry(doc.clone()).or_insert_with(|| body.clone());
                if *first != body {
                    let (a, b) = (String::from_utf8_lossy(first), String::from_utf8_lossy(&body));
                    return Err(fails(&format!("node {n} shows {b} of {doc:?}, another node {a}")));
                }
            }
        }
        Ok(())
    }
}
