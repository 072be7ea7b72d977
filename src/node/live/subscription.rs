//! One reader of a running node: what comes next for it, with documents looked at.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::Notify;

use super::Step;
use super::reader::{Next, Reader, Wish};
use super::view::{Eye, Seen};
use crate::base::DocId;
use crate::node::{Node, NodeError};

/// See the module.
pub struct Subscription {
    node: Node,
    pub(super) reader: Reader,
}

impl Subscription {
    pub(super) fn begin(node: Node, wish: Wish, bell: Arc<Notify>) -> Result<Self, NodeError> {
        let reader = Reader::begin(&node.0.hub, &*node.0.store, Instant::now(), wish, bell)?;
        Ok(Self { node, reader })
    }

    /// What the reader has, when it has taken all steps up to a mark.
    pub fn cursor(&self) -> Option<String> {
        self.reader.cursor().map(|cursor| self.node.write_cursor(&cursor))
    }

    /// From now on so many documents, and no more, come between two marks.
    pub fn set_page(&mut self, most: usize) {
        self.reader.set_page(most);
    }

    /// May there be anything to tell? Where not, there is no need to ask before the bell rings.
    pub fn has_more(&self) -> bool {
        self.reader.has_more()
    }

    /// What to tell the reader next, now that it can take it. Never waits for something to happen. Dropped
    /// before it answers, it loses nothing.
    ///
    /// # Errors
    /// When storage fails.
    pub async fn next(&mut self) -> Result<Step, NodeError> {
        loop {
            match self.reader.next(&*self.node.0.store, Instant::now())? {
                Next::Step(step) => return Ok(step),
                Next::Look(doc) => match self.look(&doc).await {
                    Ok(Some(step)) => return Ok(step),
                    Ok(None) => {}
                    Err(NodeError::Stopping) => return Err(NodeError::Stopping),
                    Err(error) => self.reader.fails(&error, Instant::now()),
                },
            }
        }
    }

    async fn look(&mut self, doc: &DocId) -> Result<Option<Step>, NodeError> {
        let reader = &self.reader;
        let eye = Eye {
            sent: reader.sent(doc),
            patches: reader.takes_patches(doc),
            patient: reader.is_patient(Instant::now()),
        };
        let (seen, is_latest) = self.node.look(doc, &eye).await?;
        let doc = doc.clone();
        let step = match seen {
            Seen::Nothing => return Ok(self.reader.nothing(&*self.node.0.store)?),
            Seen::Later(due) => {
                self.reader.later(due);
                return Ok(None);
            }
            Seen::Deleted(version) => Step::Deleted { doc, version },
            Seen::Whole { version, value } => Step::Snapshot { doc, version, value },
            Seen::Patch { to, patch } => {
                let from = self.reader.sent(&doc).cloned().unwrap_or_default();
                Step::Patch { doc, from, to, patch }
            }
            Seen::Fenced(reason) => Step::Fenced { doc, reason },
        };
        Ok(self.reader.show(step, is_latest))
    }
}
