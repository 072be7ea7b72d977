//! Reading what another node lacks, for a repair by digest. Nothing is merged for it, unless a part of a folded
//! history is asked for.

use crate::base::limits::{FRAME_TARGET_BYTES, MAX_SLICE_DOCUMENTS, SLICE_RECORDS};
use crate::base::{Change, DocId, Hash, Heads, LinkId, leaf_of};
use crate::crdt::{causes_first, changes_beyond};
use crate::replication::{Event, Gather};
use crate::store::{Store, StoreError, Whole};
use crate::wire::{Offer, Part, Push, Repair, Snapshot};

/// Bytes of documents that one task reads at most, beyond its last document.
const TASK_BYTES: usize = 4 * FRAME_TARGET_BYTES;

/// Reads what a link's repair needs.
///
/// # Errors
/// When the store cannot be read.
pub fn gather(store: &dyn Store, link: LinkId, gather: &Gather) -> Result<Event, StoreError> {
    let mut parcels = Parcels::default();
    let rest = match gather {
        Gather::Slice { compare, take, after } => {
            let mut after = after.clone();
            let (mut offers, mut looked) = (Vec::new(), 0);
            let next = 'walk: loop {
                let page = store.list("", after.as_ref().map(DocId::as_str), MAX_SLICE_DOCUMENTS)?;
                if page.is_empty() {
                    break None;
                }
                for (doc, record) in page {
                    looked += 1;
                    let leaf = leaf_of(&doc);
                    if take.contains(leaf) {
                        parcels.document(store, &doc, &[])?;
                    } else if compare.contains(leaf) && !record.heads.is_empty() {
                        offers.push(Offer { doc: doc.clone(), heads: record.heads });
                    }
                    let full = offers.len() >= MAX_SLICE_DOCUMENTS || parcels.bytes >= TASK_BYTES;
                    if full || looked >= SLICE_RECORDS {
                        break 'walk Some(doc);
                    }
                    after = Some(doc);
                }
            };
            parcels.close();
            parcels.done.push(Repair::Slice { offers, next });
            None
        }
        Gather::Documents(documents) => {
            let mut left = documents.iter();
            for (doc, have) in left.by_ref() {
                parcels.document(store, doc, have)?;
                if parcels.bytes >= TASK_BYTES {
                    break;
                }
            }
            let left: Vec<_> = left.cloned().collect();
            (!left.is_empty()).then_some(Gather::Documents(left))
        }
    };
    parcels.close();
    Ok(Event::Gathered { link, repairs: parcels.done, rest })
}

/// Pushes, as frames take them.
#[derive(Default)]
struct Parcels {
    done: Vec<Repair>,
    open: Vec<Push>,
    open_bytes: usize,
    bytes: usize,
}

impl Parcels {
    /// What somebody lacks of a document who has what `have` names; at least a word that it is all, or that it cannot
    /// be read: one document that is damaged keeps nobody from getting the others.
    fn document(&mut self, store: &dyn Store, doc: &DocId, have: &[Hash]) -> Result<(), StoreError> {
        match self.read(store, doc, have) {
            Err(error @ StoreError::Damaged { .. }) => {
                let heads = store.record(doc)?.unwrap_or_default().heads;
                tracing::error!(%error, "a document cannot be given to another node");
                self.push(Push { doc: doc.clone(), part: Part::Unreadable(heads), last: true });
                Ok(())
            }
            read => read,
        }
    }

    /// Nothing is pushed where it fails.
    fn read(&mut self, store: &dyn Store, doc: &DocId, have: &[Hash]) -> Result<(), StoreError> {
        let Some(Whole { record, snapshot, tail }) = store.whole(doc)? else {
            self.push(Push { doc: doc.clone(), part: Part::Changes(Vec::new()), last: true });
            return Ok(());
        };
        let tail: Vec<Change> = tail.into_iter().map(|(_, change)| change).collect();
        let changes = match snapshot {
            Some(snapshot) if have.is_empty() => {
                let (heads, changes) =
                    crate::crdt::folded_outline(&snapshot).map_err(|fault| damaged(doc, &fault))?;
                let deletions: Heads =
                    record.deletions.iter().filter(|head| heads.contains(head)).copied().collect();
                let mut offset = 0;
                while offset < snapshot.len() {
                    let end = snapshot.len().min(offset + FRAME_TARGET_BYTES);
                    let piece = Snapshot {
                        heads: heads.clone(),
                        deletions: deletions.clone(),
                        changes,
                        offset: offset as u64,
                        total: snapshot.len() as u64,
                        bytes: snapshot.slice(offset..end),
                    };
                    let last = end == snapshot.len() && tail.is_empty();
                    self.push(Push { doc: doc.clone(), part: Part::Snapshot(piece), last });
                    offset = end;
                }
                if tail.is_empty() {
                    return Ok(());
                }
                causes_first(tail)
            }
            snapshot => {
                changes_beyond(snapshot.as_deref(), tail, have).map_err(|fault| damaged(doc, &fault))?
            }
        };
        let (mut part, mut bytes) = (Vec::new(), 0);
        for change in changes {
            if bytes >= FRAME_TARGET_BYTES {
                let changes = Part::Changes(std::mem::take(&mut part));
                self.push(Push { doc: doc.clone(), part: changes, last: false });
                bytes = 0;
            }
            bytes += change.bytes.len();
            part.push(change);
        }
        self.push(Push { doc: doc.clone(), part: Part::Changes(part), last: true });
        Ok(())
    }

    fn push(&mut self, push: Push) {
        let size = push.size_hint();
        self.open_bytes += size;
        self.bytes += size;
        self.open.push(push);
        if self.open_bytes >= FRAME_TARGET_BYTES {
            self.close();
        }
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            self.done.push(Repair::Pushes(std::mem::take(&mut self.open)));
            self.open_bytes = 0;
        }
    }
}

fn damaged(doc: &DocId, fault: &crate::crdt::LoadError) -> StoreError {
    StoreError::Damaged {
        operation: "read",
        subject: format!("the snapshot of {doc}"),
        reason: fault.to_string(),
    }
}
