//! What a document has been through and holds: its history, its conflicts, its changes.

use std::collections::HashSet;

use bytes::Bytes;

use super::documents::{Freshness, heavily};
use super::work::absent;
use super::{Node, NodeError};
use crate::base::{DocId, Hash, Heads};
use crate::crdt::{Conflicts, Document, History, VersionNotFound};

impl Node {
    /// At most `limit` changes that come after `before` in order from new to old. Makers' origins are those that
    /// this node knows.
    ///
    /// # Errors
    /// As [`Node::read`].
    pub async fn history(
        &self,
        doc: &DocId,
        limit: usize,
        before: Option<Hash>,
    ) -> Result<History, NodeError> {
        let look = |document: &Document| Ok(document.history(limit, before.as_ref())?);
        let mut history = self.inspect(doc, look).await?;
        // Any 16 bytes may be an actor of somebody else's.
        let view = self.cluster().await?;
        let vector = view.nodes.into_iter().next().map(|this| this.vector).unwrap_or_default();
        let known: HashSet<String> = vector.into_iter().map(|(origin, _)| origin).collect();
        for past in &mut history.changes {
            past.maker.origin = past.maker.origin.filter(|origin| known.contains(&origin.to_string()));
        }
        Ok(history)
    }

    /// What is in conflict now, or at a version.
    ///
    /// # Errors
    /// As [`Node::read`].
    pub async fn conflicts(&self, doc: &DocId, at: Option<Heads>) -> Result<Conflicts, NodeError> {
        let look = |document: &Document| {
            if at.is_none() && document.is_deleted() {
                return Err(absent(document));
            }
            Ok(document.conflicts(at.as_deref())?)
        };
        self.inspect(doc, look).await
    }

    /// The raw changes that are shown and that the version `since` has not, and the version that has them.
    ///
    /// # Errors
    /// As [`Node::read`].
    pub async fn changes(&self, doc: &DocId, since: Option<Heads>) -> Result<(Bytes, Heads), NodeError> {
        let look =
            |document: &Document| Ok((document.changes_since(since.as_deref())?, document.applied_heads()));
        self.inspect(doc, look).await
    }

    /// Looks at a document as it is now, as heavy work: its cost grows with the history. What is seen is on disk.
    async fn inspect<T>(
        &self,
        doc: &DocId,
        look: impl FnOnce(&Document) -> Result<T, NodeError>,
    ) -> Result<T, NodeError> {
        let inner = &self.0;
        let cell = inner.documents.cell(doc);
        let mut hold = cell.hold(&inner.documents).await?;
        let (loaded, epoch) = hold.document(Freshness::Now).await?;
        let document = &loaded.document;
        if document.is_empty() {
            return Err(absent(document));
        }
        let seen = heavily(&inner.documents, || look(document)).await;
        drop(hold);
        self.settle(&cell, epoch).await?;
        seen
    }
}

impl From<VersionNotFound> for NodeError {
    fn from(VersionNotFound: VersionNotFound) -> Self {
        NodeError::VersionNotFound
    }
}
