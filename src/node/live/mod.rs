//! Live reads: whoever subscribes to documents is told of what changes in them, at the pace that it can take.
//!
//! Nothing is queued for a reader. A [`Subscription`] keeps a place in what has changed and the versions last
//! sent of some documents; asked for its next [`Step`], it looks what there is now. The committer's part is
//! to note what a commit touched ([`Hub`]); what it costs to find out more is paid by who asks, and shared.
//!
//! - `hub`: what was committed lately, and who listens
//! - `walk`: where a reader is in what has changed
//! - `view`: documents as their readers see them, each looked at once for all
//! - `raw`: changes as they are stored
//! - `reader`: what comes next for one reader, decided without a runtime
//! - `subscription`: a reader of a running node

mod hub;
mod raw;
mod reader;
mod subscription;
#[cfg(test)]
mod tests;
mod view;
mod walk;

pub use hub::Hub;
pub use reader::{Next, Reader, Wish};
pub use subscription::Subscription;
pub(in crate::node) use view::View;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::{Node, NodeError};
use crate::base::limits::VERSION_WAIT_MS;
use crate::base::{DocId, Heads, VersionVector};
use crate::wire::{Cursor, CursorError};

/// Between two looks whether what a cursor names has arrived, in milliseconds.
const ARRIVAL_MS: u64 = 20;

/// Which documents.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    Doc(DocId),
    /// Those whose ids begin so; all where it is empty.
    Prefix(String),
}

/// What a step tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// That a document has changed.
    Notify,
    /// Its raw changes.
    Changes,
    /// The whole.
    Value,
    /// The difference.
    Patch,
}

/// What a reader has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Since {
    /// Nothing.
    Beginning,
    /// What was before is of no interest.
    Now,
    Cursor(Cursor),
    /// A version of the one document.
    Version(Heads),
}

/// What a reader is told next.
#[derive(Debug)]
pub enum Step {
    Notify {
        doc: DocId,
        version: Heads,
    },
    Snapshot {
        doc: DocId,
        version: Heads,
        value: Arc<RawValue>,
    },
    /// Typed operations, as a JSON list.
    Patch {
        doc: DocId,
        from: Heads,
        to: Heads,
        patch: Arc<RawValue>,
    },
    Changes {
        doc: DocId,
        from: Heads,
        to: Heads,
        changes: Vec<Bytes>,
    },
    Deleted {
        doc: DocId,
        version: Heads,
    },
    /// This document cannot be shown.
    Fenced {
        doc: DocId,
        reason: String,
    },
    /// All that was told so far is what [`Subscription::cursor`] names now; and, where `up_to_date`, all that
    /// there was a moment ago.
    Mark {
        up_to_date: bool,
    },
    /// What the reader has cannot be gone on from. Nothing more comes.
    Refetch {
        reason: &'static str,
    },
    /// Nothing now. Ask again when the bell rings, or at that time.
    Idle {
        until: Option<Instant>,
    },
}

impl Target {
    pub fn takes(&self, doc: &DocId) -> bool {
        match self {
            Target::Doc(one) => one == doc,
            Target::Prefix(prefix) => doc.as_str().starts_with(prefix.as_str()),
        }
    }
}

impl Node {
    /// Begins to follow documents. `bell` rings when there may be something new.
    ///
    /// # Errors
    /// When storage fails.
    pub fn subscribe(
        &self,
        target: Target,
        mode: Mode,
        since: Since,
        bell: Arc<Notify>,
    ) -> Result<Subscription, NodeError> {
        Subscription::begin(self.clone(), Wish { target, mode, since, page: None }, bell)
    }

    /// The same for who wants at most so many documents between two marks.
    ///
    /// # Errors
    /// When storage fails.
    pub fn subscribe_paged(
        &self,
        target: Target,
        mode: Mode,
        since: Since,
        page: usize,
        bell: Arc<Notify>,
    ) -> Result<Subscription, NodeError> {
        Subscription::begin(self.clone(), Wish { target, mode, since, page: Some(page.max(1)) }, bell)
    }

    /// # Errors
    /// When it is garbage, or of another cluster.
    pub fn read_cursor(&self, text: &str) -> Result<Cursor, CursorError> {
        Cursor::from_text(text, self.0.shared.cluster())
    }

    pub fn write_cursor(&self, cursor: &Cursor) -> String {
        cursor.to_text(self.0.shared.cluster())
    }

    /// Waits until all that is named is on disk here, for a bounded time, and says whether it is.
    pub async fn arrival(&self, vector: &VersionVector) -> bool {
        let deadline = Instant::now() + Duration::from_millis(VERSION_WAIT_MS);
        while !self.0.hub.head().vector.covers(vector) {
            if Instant::now() >= deadline {
                return false;
            }
            sleep(Duration::from_millis(ARRIVAL_MS)).await;
        }
        true
    }
}
