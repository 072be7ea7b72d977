//! Deleted documents whose time is up: found by walking all records now and then, and handed to the committer.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use super::clock::Clock;
use super::committer::Input;
use crate::base::{DocId, Heads};
use crate::store::{Store, StoreError};

/// Between two walks at least and at most.
const LEAST: Duration = Duration::from_secs(1);
const MOST: Duration = Duration::from_secs(3_600);

/// Records read at a time.
const PAGE: usize = 1_024;

/// Walks all records about ten times while a deleted document is kept, until the node stops.
pub(super) async fn run(
    store: Weak<dyn Store>,
    clock: Clock,
    keep: Duration,
    inputs: mpsc::WeakSender<Input>,
) {
    let pause = (keep / 10).clamp(LEAST, MOST);
    loop {
        tokio::time::sleep(pause).await;
        let mut after: Option<DocId> = None;
        loop {
            let page = {
                // Held no longer than for a page: the node's end must not wait for it.
                let Some(store): Option<Arc<dyn Store>> = store.upgrade() else { return };
                let after = after.clone();
                let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
                tokio::task::spawn_blocking(move || look(&*store, after.as_ref(), clock.unix().0, keep)).await
            };
            let (due, next) = match page {
                Ok(Ok(page)) => page,
                Ok(Err(error)) => {
                    warn!(%error, "deleted documents cannot be looked for");
                    break;
                }
                Err(_) => return,
            };
            let Some(inputs) = inputs.upgrade() else { return };
            if !due.is_empty() && inputs.send(Input::Drop(due)).await.is_err() {
                return;
            }
            let Some(next) = next else { break };
            after = Some(next);
        }
    }
}

type Due = Vec<(DocId, Heads)>;

/// Of one page of records those that were deleted long enough ago, and where the next page begins.
fn look(
    store: &dyn Store,
    after: Option<&DocId>,
    now: u64,
    keep: u64,
) -> Result<(Due, Option<DocId>), StoreError> {
    let page = store.list("", after.map(DocId::as_str), PAGE)?;
    let next = page.last().map(|(doc, _)| doc.clone());
    let due = page.into_iter().filter(|(_, record)| {
        let is_deleted = record.is_absent() && !record.heads.is_empty();
        is_deleted && now.saturating_sub(record.modified.0) >= keep
    });
    Ok((due.map(|(doc, record)| (doc, record.heads)).collect(), next))
}
