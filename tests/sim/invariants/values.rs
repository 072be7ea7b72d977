//! Equal sets of changes mean equal values, in whatever order and with whatever edits between they were merged.

use std::collections::BTreeMap;

use bytes::Bytes;
use syncline::base::{Change, DocId, Hash, Heads, Lsn};
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
    pub fn read(&mut self, doc: &DocId, document: &Document) -> Checked {
        let fails = |what: String| Failure::new("values", format!("{doc:?}: {what}"));
        let rendered = document.json(None, true).map_err(|e| fails(e.to_string()))?;
        let heads = document.applied_heads();
        let known = self.shown.entry((doc.clone(), heads.clone())).or_insert_with(|| rendered.body.clone());
        if *known == rendered.body {
            return Ok(());
        }
        let (a, b) = (String::from_utf8_lossy(known), String::from_utf8_lossy(&rendered.body));
        Err(fails(format!("at {heads:?} it shows {a}, and {b}")))
    }

    /// All nodes have the same changes: read from the disk they show the same, and so do documents in memory.
    pub fn finish(&mut self, nodes: &mut [Node]) -> Checked {
        let fails = |e: &dyn std::fmt::Display| Failure::new("values", e.to_string());
        let mut shown: BTreeMap<DocId, Bytes> = BTreeMap::new();
        let mut loaded: BTreeMap<(DocId, Vec<Hash>), Bytes> = BTreeMap::new();
        for (n, node) in nodes.iter_mut().enumerate() {
            for (doc, _) in node.store.list("", None, usize::MAX).map_err(|e| fails(&e))? {
                let tail = node.store.tail(&doc, Lsn(0)).map_err(|e| fails(&e))?;
                let tail: Vec<Change> = tail.into_iter().map(|(_, change)| change).collect();
                // What another node has in the same order need not be loaded again.
                let order = (doc.clone(), tail.iter().map(|change| change.hash).collect());
                let body = match loaded.get(&order) {
                    Some(body) => body.clone(),
                    None => {
                        let document = Document::load([7; 16], doc.clone(), None, &tail);
                        let document = document.map_err(|e| fails(&format!("node {n}, {doc:?}: {e}")))?;
                        self.read(&doc, &document)?;
                        document.json(None, true).map_err(|e| fails(&e))?.body
                    }
                };
                loaded.insert(order, body.clone());
                let known = shown.entry(doc.clone()).or_insert_with(|| body.clone());
                if *known != body {
                    let (a, b) = (String::from_utf8_lossy(known), String::from_utf8_lossy(&body));
                    return Err(fails(&format!("node {n} shows {b} of {doc:?}, another node {a}")));
                }
            }
            let Some(process) = &mut node.process else { continue };
            for doc in process.docs.loaded.keys().cloned().collect::<Vec<_>>() {
                let Some(loaded) = process.document(&doc, true)? else { continue };
                let document = &loaded.document;
                self.read(&doc, document)?;
                let body = document.json(None, true).map_err(|e| fails(&e))?.body;
                // A document that was only looked at, and never written, is nowhere on disk.
                if !document.is_empty() && shown.get(&doc) != Some(&body) {
                    return Err(fails(&format!(
                        "node {n} has another value of {doc:?} in memory than on disk"
                    )));
                }
            }
        }
        Ok(())
    }
}
