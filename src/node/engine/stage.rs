//! What goes into the commit under way: entries, parts of documents, drops.

use rustc_hash::{FxHashMap, FxHashSet};

use super::{Engine, Touched};
use crate::base::{Change, DocId, Hash, Heads, Lsn, Shift};
use crate::crdt::folded_outline;
use crate::node::absorb::{Absorbed, Staged};
use crate::node::fold::{Due, TailLength};
use crate::replication::{Piece, Received};
use crate::store::{Fold, LogItem, Record, StoreError, TailItem};
use crate::wire::Offer;

/// The commit under way.
#[derive(Default)]
pub(super) struct Pending {
    pub log: Vec<LogItem>,
    pub tail: Vec<TailItem>,
    pub records: FxHashMap<DocId, Record>,
    pub folds: Vec<Fold>,
    pub drops: FxHashSet<DocId>,
    pub touched: Vec<Touched>,
    pub bytes: usize,
    /// Vector and floor are to be written, whatever else is.
    pub cover: bool,
    /// Parts of documents are in it, or the vector that names them is.
    pub ahead: bool,
    /// The vector that a repair has brought up is in it.
    pub merges: bool,
    /// The log below is to go.
    pub trim: Option<Lsn>,
    /// A mark is to be made at the end.
    pub mark: bool,
}

impl Pending {
    pub fn staged(&self, doc: &DocId) -> Staged<'_> {
        let fold = self.folds.iter().rev().find(|fold| fold.doc == *doc);
        Staged {
            tail: &self.tail,
            snapshot: fold.map(|fold| &fold.snapshot),
            dropped: self.drops.contains(doc),
        }
    }
}

impl Engine {
    /// A document's record with all that is staged.
    pub(super) fn record(&mut self, doc: &DocId) -> Result<Record, StoreError> {
        match self.pending.records.get(doc) {
            Some(record) => Ok(record.clone()),
            None if self.pending.drops.contains(doc) => Ok(Record::default()),
            None => self.records.get(&*self.store, doc),
        }
    }

    /// Puts an entry into the commit under way. Gives the heads of its document where changes of it hang on what is not
    /// here; these are left out then.
    pub(super) fn stage(&mut self, received: Received, local: bool) -> Result<Option<Heads>, StoreError> {
        let Received { entry, damaged } = received;
        let lsn = self.lsn.next();
        let doc = entry.doc.clone();
        let mut record = self.record(&doc)?;
        let before = record.heads.clone();
        let length = TailLength::of(&record);
        let mut absorbed = Absorbed { new: Vec::new(), left_out: Vec::new() };
        match damaged {
            // What it claims to be is not believed: neither heads nor tail learn of it.
            Some(reason) => record.fenced = Some(reason),
            None => match self.absorb(&doc, &mut record, &entry.changes, lsn)? {
                Ok(taken) => absorbed = taken,
                Err(reason) => record.fenced = Some(reason),
            },
        }
        self.lsn = lsn;
        let bytes = bytes::Bytes::from(entry.to_bytes());
        self.pending.bytes += bytes.len();
        self.pending.log.push(LogItem { lsn, bytes });
        let lacks = (!absorbed.left_out.is_empty()).then(|| record.heads.clone());
        let gone = entry.drops.as_deref().unwrap_or_default();
        self.holes.note(&doc, &absorbed.left_out, &absorbed.new, gone);
        if let Some(heads) = &entry.drops {
            // Where the heads differ somebody has written to it meanwhile, and it stays.
            if *heads == before && record.is_absent() && !before.is_empty() {
                self.drop_now(doc, &before, lsn);
            }
        } else if !absorbed.new.is_empty() {
            self.core.shift(Shift::new(&doc, &before, &record.heads));
            self.pending.tail.push(TailItem { doc: doc.clone(), lsn, changes: absorbed.new });
            self.touch(doc, record, lsn, local, length);
        } else if record.fenced.is_some() {
            self.touch(doc, record, lsn, local, length);
        } else {
            // What it brings came before it, by a repair: whoever reads on from a cursor has not been told of that.
            let due = Due::Not;
            self.pending.touched.push(Touched { doc, lsn, local, fenced: false, void: false, due });
        }
        Ok(lacks)
    }

    /// Adds what is new to a record. Where what is stored of the document cannot be read, gives why, and the record is
    /// as before: one document that is damaged keeps nothing else from being taken.
    fn absorb(
        &mut self,
        doc: &DocId,
        record: &mut Record,
        changes: &[Change],
        lsn: Lsn,
    ) -> Result<Result<Absorbed, String>, StoreError> {
        let staged = self.pending.staged(doc);
        match self.records.absorb(&*self.store, doc, record, changes, lsn, &staged) {
            Ok(absorbed) => Ok(Ok(absorbed)),
            Err(error @ StoreError::Damaged { .. }) => {
                // Changes that were not taken in the end may be among those that were looked up.
                self.records.forget(doc);
                *record = self.record(doc)?;
                Ok(Err(error.to_string()))
            }
            Err(error) => Err(error),
        }
    }

    /// Is any of these heads of a document not here? Nothing can be said of one that cannot be read.
    fn lacks(&mut self, doc: &DocId, record: &Record, heads: &[Hash]) -> Result<bool, StoreError> {
        let staged = self.pending.staged(doc);
        match self.records.lacks(&*self.store, doc, record, heads, &staged) {
            Err(error @ StoreError::Damaged { .. }) => {
                self.fence(doc, record.clone(), error.to_string());
                Ok(false)
            }
            lacks => lacks,
        }
    }

    /// A document is damaged: nobody is shown it, and nothing is written to it, until a repair.
    fn fence(&mut self, doc: &DocId, mut record: Record, reason: String) {
        let length = TailLength::of(&record);
        self.lsn = self.lsn.next();
        record.fenced = Some(reason);
        self.touch(doc.clone(), record, self.lsn, false, length);
    }

    fn touch(&mut self, doc: DocId, record: Record, lsn: Lsn, local: bool, before: TailLength) {
        let (fenced, due) = (record.fenced.is_some(), TailLength::of(&record).due(before));
        self.pending.touched.push(Touched { doc: doc.clone(), lsn, local, fenced, void: false, due });
        self.pending.records.insert(doc, record);
    }

    fn drop_now(&mut self, doc: DocId, heads: &[Hash], lsn: Lsn) {
        let pending = &mut self.pending;
        pending.tail.retain(|item| item.doc != doc);
        pending.folds.retain(|fold| fold.doc != doc);
        pending.records.remove(&doc);
        pending.touched.push(Touched::void(&doc, lsn));
        self.records.forget(&doc);
        self.core.shift(Shift::new(&doc, heads, &[]));
        pending.drops.insert(doc);
        self.has_dropped = true;
    }

    /// Puts a part of a document into the commit under way. Gives the heads that are here where it cannot be put there.
    pub(super) fn take_piece(
        &mut self,
        doc: &DocId,
        piece: Piece,
        damaged: Option<String>,
    ) -> Result<Option<Heads>, StoreError> {
        let mut record = self.record(doc)?;
        let before = record.heads.clone();
        let length = TailLength::of(&record);
        self.pending.ahead = true;
        let mut counted = 0;
        let damaged = damaged.or_else(|| match &piece {
            Piece::Snapshot { heads, bytes, .. } => match folded_outline(bytes) {
                Ok((found, changes)) if found == *heads => {
                    counted = changes;
                    None
                }
                Ok(_) => Some("a folded history with other heads than it claims".into()),
                Err(fault) => Some(fault.to_string()),
            },
            Piece::Changes(_) | Piece::Unreadable(_) => None,
        });
        if let Some(reason) = damaged {
            self.fence(doc, record, reason);
            return Ok(None);
        }
        match piece {
            Piece::Snapshot { .. } if record.changes > 0 => return Ok(Some(record.heads)),
            Piece::Snapshot { heads, mut deletions, bytes } => {
                let lsn = self.lsn.next();
                self.lsn = lsn;
                self.pending.bytes += bytes.len();
                record.bytes = bytes.len() as u64;
                deletions.retain(|head| heads.contains(head));
                (record.heads, record.deletions) = (heads, deletions);
                (record.changes, record.folded) = (counted, counted);
                record.last_lsn = lsn;
                self.records.forget(doc);
                self.holes.note_folded(doc, &bytes);
                self.pending.folds.push(Fold { doc: doc.clone(), snapshot: bytes, folded: Vec::new() });
                self.core.shift(Shift::new(doc, &before, &record.heads));
                self.pending
                    .touched
                    .push(Touched { fenced: record.fenced.is_some(), ..Touched::void(doc, lsn) });
                self.pending.records.insert(doc.clone(), record);
            }
            Piece::Changes(changes) => {
                let lsn = self.lsn.next();
                let absorbed = match self.absorb(doc, &mut record, &changes, lsn)? {
                    Ok(absorbed) => absorbed,
                    Err(reason) => {
                        self.fence(doc, record, reason);
                        return Ok(None);
                    }
                };
                let lacks = (!absorbed.left_out.is_empty()).then(|| record.heads.clone());
                self.holes.note(doc, &[], &absorbed.new, &[]);
                if absorbed.new.is_empty() {
                    return Ok(lacks);
                }
                self.lsn = lsn;
                let size = size_of(&absorbed.new);
                self.pending.bytes += usize::try_from(size).unwrap_or(usize::MAX);
                self.core.shift(Shift::new(doc, &before, &record.heads));
                self.pending.tail.push(TailItem { doc: doc.clone(), lsn, changes: absorbed.new });
                self.touch(doc.clone(), record, lsn, false, length);
                return Ok(lacks);
            }
            Piece::Unreadable(heads) => {
                let mut missing = Vec::new();
                for head in heads {
                    if self.lacks(doc, &record, &[head])? {
                        missing.push(head);
                    }
                }
                self.holes.note_unreadable(doc, &missing);
            }
        }
        Ok(None)
    }

    /// Of these documents those of which something is missing here, and what is here of them.
    pub(super) fn wanted(&mut self, offers: Vec<Offer>) -> Result<Vec<(DocId, Heads)>, StoreError> {
        let mut wanted = Vec::new();
        for Offer { doc, heads } in offers {
            let record = self.record(&doc)?;
            if self.lacks(&doc, &record, &heads)? {
                wanted.push((doc, record.heads));
            }
        }
        Ok(wanted)
    }
}

fn size_of(changes: &[Change]) -> u64 {
    changes.iter().map(|change| change.bytes.len() as u64).sum()
}
