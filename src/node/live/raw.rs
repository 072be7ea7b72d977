//! Raw changes for a reader, from what is stored: the document is not looked into.

use bytes::Bytes;
use rustc_hash::{FxHashMap, FxHashSet};

use super::reader::Sent;
use crate::base::limits::CHANGES_FRAME_BYTES;
use crate::base::{Change, DocId, Hash, Heads, Lsn};
use crate::crdt::folded_outline;
use crate::store::{Record, Store, StoreError};

/// What one frame holds of a document's changes.
pub(super) struct Piece {
    pub from: Heads,
    pub changes: Vec<Bytes>,
    /// What the reader has then.
    pub sent: Sent,
    /// More is to come.
    pub more: bool,
}

/// The changes after what was sent, as many as a frame takes; all of them anew where what was sent cannot be
/// told from the rest any more.
pub(super) fn next(
    store: &dyn Store,
    doc: &DocId,
    record: &Record,
    sent: Option<&Sent>,
) -> Result<Option<Piece>, StoreError> {
    if sent.is_some_and(|sent| sent.heads == record.heads) {
        return Ok(None);
    }
    // Whoever was told that it is gone has nothing of it.
    let sent = sent.filter(|sent| !sent.heads.is_empty());
    let up_to = |tail: &mut Vec<(Lsn, Change)>| tail.retain(|(lsn, _)| *lsn <= record.last_lsn);
    if let Some(Sent { heads, stored: Some((lsn, count)), .. }) = sent {
        let mut tail = store.tail(doc, *lsn)?;
        up_to(&mut tail);
        if *count + tail.len() as u64 == record.changes {
            let piece = piece(heads.clone(), *count, tail);
            // Where a folded history comes to leave changes out, they are in the tail again, and the number may fit
            // though other changes are missing.
            if piece.more || piece.sent.heads == record.heads {
                return Ok(Some(piece));
            }
        }
    }
    let mut tail = store.tail(doc, Lsn(0))?;
    up_to(&mut tail);
    let is_unfolded = tail.len() as u64 == record.changes;
    let snapshot = if is_unfolded { None } else { store.snapshot(doc)? };
    if let Some(Sent { heads, stored: None, .. }) = sent
        && let Some(known) = ancestors(&tail, heads, snapshot.as_deref())
    {
        tail.retain(|(_, change)| !known.contains(&change.hash));
        // In one piece: what comes first in the log may be among what is known.
        return Ok(Some(whole(heads.clone(), Vec::new(), tail, record)));
    }
    Ok(Some(match is_unfolded {
        true => piece(Heads::new(), 0, tail),
        false => whole(Heads::new(), snapshot.into_iter().collect(), tail, record),
    }))
}

/// The first entries of a tail.
fn piece(from: Heads, count: u64, tail: Vec<(Lsn, Change)>) -> Piece {
    let all = tail.len();
    let (mut hashes, mut deps) = (from.to_vec(), FxHashSet::default());
    let (mut at, mut bytes, mut changes) = (Lsn(0), 0, Vec::new());
    for (lsn, change) in tail {
        // What one entry brought is not torn apart.
        if bytes >= CHANGES_FRAME_BYTES && lsn != at {
            break;
        }
        at = lsn;
        bytes += change.bytes.len();
        hashes.push(change.hash);
        deps.extend(change.deps);
        changes.push(change.bytes);
    }
    // Those of one place in the log are in no order.
    let mut heads: Heads = hashes.into_iter().filter(|hash| !deps.contains(hash)).collect();
    heads.sort_unstable();
    heads.dedup();
    let more = changes.len() < all;
    let count = count + changes.len() as u64;
    Piece { from, changes, sent: Sent { heads, stored: Some((at, count)), ..Sent::default() }, more }
}

fn whole(from: Heads, mut changes: Vec<Bytes>, tail: Vec<(Lsn, Change)>, record: &Record) -> Piece {
    changes.extend(tail.into_iter().map(|(_, change)| change.bytes));
    let stored = Some((record.last_lsn, record.changes));
    Piece {
        from,
        changes,
        sent: Sent { heads: record.heads.clone(), stored, ..Sent::default() },
        more: false,
    }
}

/// A version's changes among those of a tail; None where the version is not here, or has not all of what is folded.
fn ancestors(tail: &[(Lsn, Change)], version: &[Hash], folded: Option<&[u8]>) -> Option<FxHashSet<Hash>> {
    let deps: FxHashMap<Hash, &Heads> = tail.iter().map(|(_, change)| (change.hash, &change.deps)).collect();
    let folded = folded.map_or(Some(Heads::new()), |folded| Some(folded_outline(folded).ok()?.0))?;
    if !version.iter().all(|head| deps.contains_key(head) || folded.contains(head)) {
        return None;
    }
    let (mut known, mut beyond) = (FxHashSet::default(), FxHashSet::default());
    let mut left: Vec<Hash> = version.to_vec();
    while let Some(hash) = left.pop() {
        match deps.get(&hash) {
            Some(deps) if known.insert(hash) => left.extend(deps.iter()),
            Some(_) => {}
            None => drop(beyond.insert(hash)),
        }
    }
    // Nothing folded hangs on the heads of that, so whatever is above one of them hangs on it by a change of the tail.
    folded.iter().all(|head| beyond.contains(head)).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::heads_after;
    use crate::store::{Commit, Fold, MemoryStore, TailItem};

    fn change(n: u8, deps: &[u8], bytes: usize) -> Change {
        let deps = deps.iter().map(|dep| Hash([*dep; 32])).collect();
        Change { hash: Hash([n; 32]), deps, bytes: vec![n; bytes].into() }
    }

    fn heads(of: &[u8]) -> Heads {
        of.iter().map(|n| Hash([*n; 32])).collect()
    }

    /// A document of these changes, one a commit.
    fn store(changes: &[Change]) -> (MemoryStore, DocId, Record) {
        let (store, doc, mut record) = (MemoryStore::new(), DocId::new("d").unwrap(), Record::default());
        for (lsn, change) in (1..).map(Lsn).zip(changes) {
            record.heads = heads_after(&record.heads, &change.hash, &change.deps);
            (record.changes, record.last_lsn) = (record.changes + 1, lsn);
            let tail = vec![TailItem { doc: doc.clone(), lsn, changes: vec![change.clone()] }];
            let records = vec![(doc.clone(), record.clone())];
            store.commit(&Commit { tail, records, ..Commit::default() }).unwrap();
        }
        (store, doc, record)
    }

    fn brought(piece: &Piece) -> Vec<u8> {
        piece.changes.iter().map(|bytes| bytes[0]).collect()
    }

    #[test]
    fn large_documents_come_in_pieces_each_of_which_is_a_version() {
        let half = CHANGES_FRAME_BYTES / 2;
        let changes = [change(1, &[], half), change(2, &[1], half), change(3, &[2], 1), change(4, &[2], 1)];
        let (store, doc, record) = store(&changes);
        let first = next(&store, &doc, &record, None).unwrap().unwrap();
        assert_eq!((brought(&first), first.more), (vec![1, 2], true));
        assert_eq!((&first.from, &first.sent.heads), (&heads(&[]), &heads(&[2])));
        let second = next(&store, &doc, &record, Some(&first.sent)).unwrap().unwrap();
        assert_eq!((brought(&second), second.more), (vec![3, 4], false));
        assert_eq!((&second.from, &second.sent.heads), (&heads(&[2]), &heads(&[3, 4])));
        assert!(next(&store, &doc, &record, Some(&second.sent)).unwrap().is_none());
    }

    #[test]
    fn what_a_folded_history_comes_to_leave_out_is_not_taken_for_what_is_new() {
        let mine = [change(1, &[], 1), change(2, &[1], 1)];
        let (store, doc, mut record) = store(&mine);
        let sent = next(&store, &doc, &record, None).unwrap().unwrap().sent;
        // Two come that win against them, and are folded; the two are in the tail after that, by their hashes.
        let tail =
            vec![TailItem { doc: doc.clone(), lsn: Lsn(4), changes: vec![mine[1].clone(), mine[0].clone()] }];
        let fold = Fold { doc: doc.clone(), snapshot: vec![100].into(), folded: vec![Lsn(1), Lsn(2)] };
        (record.heads, record.changes, record.last_lsn) = (heads(&[2, 4]), 4, Lsn(4));
        let records = vec![(doc.clone(), record.clone())];
        store.commit(&Commit { tail, records, folds: vec![fold], ..Commit::default() }).unwrap();
        let piece = next(&store, &doc, &record, Some(&sent)).unwrap().unwrap();
        assert_eq!(
            (brought(&piece), &piece.from, &piece.sent.heads),
            (vec![100, 2, 1], &heads(&[]), &record.heads)
        );
        assert!(next(&store, &doc, &record, Some(&piece.sent)).unwrap().is_none());
        // Nor does their order count where they are new.
        let first = Sent { heads: heads(&[7]), stored: Some((Lsn(3), 2)), ..Sent::default() };
        record.heads = heads(&[2, 7]);
        let piece = next(&store, &doc, &record, Some(&first)).unwrap().unwrap();
        assert_eq!((brought(&piece), &piece.sent.heads), (vec![2, 1], &record.heads));
    }

    #[test]
    fn of_a_version_come_the_changes_that_it_has_not() {
        let (store, doc, record) = store(&[change(1, &[], 1), change(2, &[1], 1), change(3, &[1], 1)]);
        let known = Sent { heads: heads(&[3]), ..Sent::default() };
        let piece = next(&store, &doc, &record, Some(&known)).unwrap().unwrap();
        assert_eq!((brought(&piece), piece.from, piece.sent.heads), (vec![2], heads(&[3]), heads(&[2, 3])));
        // All, where the version is not here.
        let known = Sent { heads: heads(&[9]), ..Sent::default() };
        let piece = next(&store, &doc, &record, Some(&known)).unwrap().unwrap();
        assert_eq!((brought(&piece), piece.from), (vec![1, 2, 3], heads(&[])));
    }

    #[test]
    fn of_a_version_that_has_not_all_of_what_is_folded_everything_comes() {
        use automerge::transaction::Transactable;
        let write = |document: &mut automerge::AutoCommit, key: &str| {
            document.put(automerge::ROOT, key, 1).unwrap();
            document.commit().map(|hash| Hash(hash.0)).unwrap()
        };
        let mut mine = automerge::AutoCommit::new();
        write(&mut mine, "both");
        let mut theirs = mine.fork();
        let (ours, beside) = (write(&mut mine, "mine"), write(&mut theirs, "theirs"));
        let folded = Bytes::from(theirs.save());
        let all = crate::crdt::changes_beyond(Some(&mine.save()), Vec::new(), &[]).unwrap();
        let (store, doc) = (MemoryStore::new(), DocId::new("d").unwrap());
        let tail = vec![TailItem { doc: doc.clone(), lsn: Lsn(2), changes: vec![all[1].clone()] }];
        let fold = Fold { doc: doc.clone(), snapshot: folded.clone(), folded: Vec::new() };
        let mut heads: Heads = [ours, beside].into_iter().collect();
        heads.sort_unstable();
        let record = Record { heads, changes: 3, folded: 2, last_lsn: Lsn(2), ..Record::default() };
        let records = vec![(doc.clone(), record.clone())];
        store.commit(&Commit { tail, records, folds: vec![fold], ..Commit::default() }).unwrap();
        let told = |version: &[Hash]| {
            let sent = Sent { heads: Heads::from_slice(version), ..Sent::default() };
            let piece = next(&store, &doc, &record, Some(&sent)).unwrap().unwrap();
            assert_eq!(piece.sent.heads, record.heads);
            (piece.from.to_vec(), piece.changes)
        };
        let everything = (Vec::new(), vec![folded, all[1].bytes.clone()]);
        assert_eq!(told(&[beside]), (vec![beside], vec![all[1].bytes.clone()]));
        assert_eq!(told(&[ours]), everything);
        // Whoever was told that it is gone, when it was dropped.
        assert_eq!(told(&[]), everything);
    }

    #[test]
    fn what_was_folded_since_is_sent_anew_and_what_was_folded_before_is_not() {
        let changes = [change(1, &[], 1), change(2, &[1], 1), change(3, &[2], 1)];
        let (store, doc, record) = store(&changes);
        let sent = |lsn, n: u8| Sent { heads: heads(&[n]), stored: Some((Lsn(lsn), lsn)), ..Sent::default() };
        let fold = Fold { doc: doc.clone(), snapshot: vec![100].into(), folded: vec![Lsn(1), Lsn(2)] };
        store.commit(&Commit { folds: vec![fold], ..Commit::default() }).unwrap();
        let later = next(&store, &doc, &record, Some(&sent(2, 2))).unwrap().unwrap();
        assert_eq!((brought(&later), later.from), (vec![3], heads(&[2])));
        let earlier = next(&store, &doc, &record, Some(&sent(1, 1))).unwrap().unwrap();
        assert_eq!((brought(&earlier), earlier.from), (vec![100, 3], heads(&[])));
        assert_eq!(earlier.sent.heads, heads(&[3]));
    }
}
