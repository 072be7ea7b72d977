//! A data folder looked through while no node runs on it: can every block be read, and does what is there agree?

use rustc_hash::FxHashSet;

use crate::base::{Change, Digest, DocId, Hash, Lsn, Shift, VersionVector, canonical_heads};
use crate::crdt::{changes_beyond, folded_hashes, is_deletion, verify as verify_change};
use crate::store::{Found, Recovered, RocksStore, Store, StoreError, Whole};
use crate::wire::Entry;

/// Faults of which each is told; the others are only counted.
const TOLD: usize = 100;

/// Bytes of the log read at a time.
const LOG_BYTES: usize = 4 << 20;

/// Records read at a time.
const PAGE: usize = 1_000;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Values read from disk, and their bytes with their keys.
    pub values: u64,
    pub bytes: u64,
    pub documents: u64,
    pub changes: u64,
    /// Entries of the log.
    pub entries: u64,
    /// What is wrong, and how much more there is of it.
    pub faults: Vec<String>,
    pub further_faults: u64,
}

impl Report {
    pub fn is_sound(&self) -> bool {
        self.faults.is_empty()
    }

    fn fault(&mut self, what: impl Into<String>) {
        if self.faults.len() < TOLD {
            self.faults.push(what.into());
        } else {
            self.further_faults += 1;
        }
    }
}

/// Looks through the store, and says now and then how far it is.
///
/// # Errors
/// When it cannot be looked through at all. What is damaged is in the report.
pub fn verify(store: &RocksStore, told: &mut dyn FnMut(&Report)) -> Result<Report, StoreError> {
    let mut report = Report::default();
    let mut docs = FxHashSet::default();
    store.read_all(&mut |found| match found {
        Found::Item { doc, bytes } => {
            docs.extend(doc);
            report.values += 1;
            report.bytes += bytes as u64;
            told(&report);
        }
        Found::Damage(error) => report.fault(error.to_string()),
    })?;
    if !report.is_sound() {
        // The rest would only be told of again, in other words.
        return Ok(report);
    }
    let found = store.recover()?;
    documents(store, &found, docs, &mut report, told)?;
    log(store, &found, &mut report, told)?;
    Ok(report)
}

fn documents(
    store: &RocksStore,
    found: &Recovered,
    mut docs: FxHashSet<DocId>,
    report: &mut Report,
    told: &mut dyn FnMut(&Report),
) -> Result<(), StoreError> {
    let mut digest = Digest::new();
    let mut after: Option<DocId> = None;
    loop {
        let page = store.list("", after.as_ref().map(DocId::as_str), PAGE)?;
        for (doc, record) in &page {
            digest.apply(Shift::new(doc, &[], &record.heads));
            docs.remove(doc);
            report.documents += 1;
            report.changes += record.changes;
            if let Err(fault) = document(store.whole(doc)?.unwrap_or_default()) {
                report.fault(format!("document {doc:?}: {fault}"));
            }
            told(report);
        }
        match page.into_iter().next_back() {
            Some((doc, _)) => after = Some(doc),
            None => break,
        }
    }
    if digest.total() != found.digest && !found.untrusted {
        report.fault("the documents are not those that the digest is of");
    }
    for doc in docs {
        report.fault(format!("document {doc:?}: there are changes of it, and no record"));
    }
    Ok(())
}

/// Do the parts of a document agree?
fn document(stored: Whole) -> Result<(), String> {
    let Whole { record, snapshot, tail } = stored;
    if record.fenced.is_some() {
        // That it lacks a change is known, and told where it is asked for.
        return Ok(());
    }
    let mut tail_bytes = 0;
    for (lsn, change) in &tail {
        verify_change(change).map_err(|fault| format!("at LSN {}: {fault}", lsn.0))?;
        tail_bytes += change.bytes.len() as u64;
    }
    let tail: Vec<Change> = tail.into_iter().map(|(_, change)| change).collect();
    let in_tail = tail.len() as u64;
    let all = changes_beyond(snapshot.as_deref(), tail, &[]).map_err(|fault| fault.to_string())?;
    let of = |what: &str, found: u64, recorded: u64| match found == recorded {
        true => Ok(()),
        false => Err(format!("{found} {what}, and {recorded} by its record")),
    };
    of("changes", all.len() as u64, record.changes)?;
    of("folded changes", all.len() as u64 - in_tail, record.folded)?;
    of("bytes of waiting changes", tail_bytes, record.tail_bytes)?;
    let (heads, deletions) = heads(&all);
    if heads != canonical_heads(record.heads.iter().copied()) {
        return Err(format!("its changes have the heads {heads:?}, and {:?} by its record", record.heads));
    }
    if deletions != canonical_heads(record.deletions.iter().copied()) {
        return Err("other heads of it are deletions than by its record".into());
    }
    let held: FxHashSet<Hash> = all.iter().map(|change| change.hash).collect();
    match all.iter().flat_map(|change| &change.deps).find(|dep| !held.contains(*dep)) {
        Some(dep) => Err(format!("change {dep} is missing, on which another hangs")),
        None => Ok(()),
    }
}

/// The heads of a set of changes, and those of them that are deletions.
pub(super) fn heads(changes: &[Change]) -> (crate::base::Heads, crate::base::Heads) {
    let named: FxHashSet<Hash> = changes.iter().flat_map(|change| change.deps.iter().copied()).collect();
    let heads = || changes.iter().filter(|change| !named.contains(&change.hash));
    let deletions = heads().filter(|change| is_deletion(change)).map(|change| change.hash);
    (canonical_heads(heads().map(|change| change.hash)), canonical_heads(deletions))
}

/// Every entry reads, and every origin's counters follow one another; up to the vector, but for what was never in
/// this log.
fn log(
    store: &RocksStore,
    found: &Recovered,
    report: &mut Report,
    told: &mut dyn FnMut(&Report),
) -> Result<(), StoreError> {
    let mut has: VersionVector = found.floor.clone();
    let mut next = Lsn(0);
    loop {
        let entries = store.log(next, LOG_BYTES)?;
        for (lsn, bytes) in &entries {
            report.entries += 1;
            match Entry::from_bytes(bytes) {
                Err(fault) => report.fault(format!("log at {}: {fault}", lsn.0)),
                Ok(entry) if entry.counter <= has.get(&entry.origin) => {}
                Ok(entry) => {
                    let follows = has.get(&entry.origin) + 1;
                    // A closed incarnation may have left the vector, and the floor with it.
                    let is_open = found.vector.get(&entry.origin) > 0;
                    if entry.counter != follows && is_open && !found.untrusted {
                        let (origin, counter) = (entry.origin, entry.counter);
                        report.fault(format!(
                            "log at {}: entry {counter} of {origin}, where {follows} was to come",
                            lsn.0
                        ));
                    }
                    has.raise(entry.origin, entry.counter);
                }
            }
        }
        told(report);
        match entries.last() {
            Some((lsn, _)) => next = lsn.next(),
            None => break,
        }
    }
    for (origin, counter) in found.vector.iter() {
        if has.get(&origin) < counter && !found.untrusted {
            report.fault(format!("the log ends at {} of {origin}, and not at {counter}", has.get(&origin)));
        }
    }
    Ok(())
}

/// The hashes of a snapshot, where it can be read.
pub(super) fn readable(snapshot: Option<bytes::Bytes>) -> Option<(bytes::Bytes, Vec<Hash>)> {
    let snapshot = snapshot?;
    let hashes = folded_hashes(&snapshot).ok()?;
    Some((snapshot, hashes))
}
