//! What holds of all that readers are told.

use syncline::base::{DocId, Hash, Origin, VersionVector};
use syncline::node::{Mode, Target};
use syncline::store::{MemoryStore, Record, Store};
use syncline::wire::Cursor;

use super::has::Has;
use super::shown::{Seen, Shown};
use super::{Reader, Subscribed};
use crate::invariants::history::{History, OnDisk, Stored};
use crate::invariants::{Checked, Failure};

/// A step goes on from what the reader has: it never goes back, and is never to where it is already. `since` is the
/// cursor that it came with, where this is the first that it is told of the document.
///
/// What it had beyond its cursor may be told again, and may be missing at another node: a cursor is a vector, and a
/// document may be ahead of that when it is told of, while a repair brings it or as more has come since. Told again may
/// be, too, of what there is an entry that the cursor does not name: its changes may have been there, or be left out.
pub fn goes_on(
    history: &History,
    node: usize,
    (doc, is_one): (&DocId, bool),
    was: &Has,
    now: &Has,
    since: Option<&VersionVector>,
) -> Checked {
    let fails = |what: String| Err(Failure::new("readers", format!("node {node}, {doc:?}: {what}")));
    let is_beyond = |hash: &Hash| since.is_some_and(|since| history.is_beyond(hash, since));
    let disk = &history.nodes[node];
    // Of one document that the log does not reach back to the reader is told as it is.
    let is_told_anew = || {
        let goes_on = |since| history.goes_on(doc, since, &disk.vector);
        since.is_some_and(|since| is_one || goes_on(since))
    };
    let is_again = was.version == now.version && was.deleted == now.deleted;
    if is_again && !was.changes.iter().any(is_beyond) && !is_told_anew() {
        return fails(format!("told again of {:?}, having come with {since:?}", now.version));
    }
    // It may be left out by now, for one with its sequence number.
    let is_here = |hash: &Hash| disk.docs.get(doc).is_some_and(|stored| stored.changes.contains(hash));
    let may_go = |hash: &Hash| history.is_astray(hash) || is_here(hash) || is_beyond(hash);
    match was.changes.difference(&now.changes).find(|hash| !may_go(hash)) {
        Some(hash) => fails(format!("from {:?} back to {:?}, without {hash:?}", was.version, now.version)),
        None => Ok(()),
    }
}

/// A mark, as it is checked.
struct Mark<'a> {
    history: &'a History,
    disk: &'a OnDisk,
    vector: &'a VersionVector,
    /// Nothing has come since: the reader has just what the node has.
    is_exact: bool,
    /// What comes as documents is in no log: who reads that is told of it when the vector comes to name it.
    reads_log: bool,
}

impl Mark<'_> {
    /// What is wrong with what a reader of values or patches has of a document that shows that?
    fn of_shown(&self, doc: &DocId, has: &Has, stored: &Stored, seen: &Seen) -> Option<String> {
        let same = match &seen.value {
            None => has.deleted,
            Some(value) => !has.deleted && has.version == seen.version && has.value == *value,
        };
        let is_unnamed =
            |hash| !self.history.is_covered(hash, &self.disk.vector) || self.history.is_astray(hash);
        // What was lost with its last holder the cursor may name, and nobody can say that it is no more.
        let is_beyond =
            |hash| self.history.is_beyond(hash, self.vector) || self.history.lost_changes.contains(hash);
        let is_passed_over = || *has == Has::nothing() && self.is_passed_over(doc, stored);
        let may_differ = || {
            self.reads_log
                && (is_passed_over()
                    || stored.changes.iter().any(is_unnamed)
                    || has.changes.iter().any(is_beyond))
        };
        let Seen { version, value } = seen;
        (!same && !may_differ())
            .then(|| format!("it has {:?} {}, and not {version:?} {value:?}", has.version, has.value))
    }

    /// And with the version, or the changes, that one has who is not told more?
    fn of_version(
        &self,
        doc: &DocId,
        has: &Has,
        stored: &Stored,
        record: &Record,
        mode: Mode,
    ) -> Option<String> {
        let Self { history, vector, is_exact, reads_log, .. } = *self;
        let is_dropped_since = record.is_absent() && has.deleted && has.version.is_empty();
        if is_dropped_since || has.version == record.heads && has.deleted == record.is_absent() {
            let differs = mode == Mode::Changes && !has.deleted && has.changes != stored.changes;
            return differs.then(|| "it has other changes".into());
        }
        // Some are made alike again and again: of a document that was dropped it is another one's by then.
        let is_named = |hash: &&Hash| history.is_covered(hash, vector) && !history.is_beyond(hash, vector);
        let lacks = |hash: &&Hash| {
            let must_have = is_named(hash) && !history.is_gone(hash);
            !has.changes.contains(hash) && (must_have || is_exact && !reads_log)
        };
        // It was deleted.
        // What these hang on is behind them, named or not.
        let is_deleted = || {
            let named = stored.changes.iter().filter(is_named).copied().collect();
            history.is_deleted(history.ancestors(&named).iter())
        };
        let may_lack = (has.deleted || *has == Has::nothing()) && is_deleted()
            || *has == Has::nothing() && self.is_passed_over(doc, stored);
        if let Some(hash) = stored.changes.iter().find(lacks).filter(|_| !may_lack) {
            return Some(format!("it has {:?}, and lacks {hash:?} of {:?}", has.version, record.heads));
        }
        let is_more = |hash: &&Hash| {
            let is_elsewhere = reads_log && !history.is_covered(hash, &self.disk.vector);
            // Of what came to several nodes by itself one may have lost what it told of.
            let is_excused = history.is_astray(hash) || history.is_made_twice(hash) || is_elsewhere;
            !stored.changes.contains(hash) && !is_excused
        };
        let more = has.changes.iter().find(is_more).filter(|_| is_exact);
        more.map(|hash| format!("it has {hash:?}, which is not in {:?}", record.heads))
    }

    /// Of what was deleted when its turn came nobody is told who has never heard of it; and where a cursor names less
    /// than what was told, another node may not have the deletion yet. Nor may one that has not dropped it with the
    /// others: what it shows of it no vector tells, until it is repaired.
    fn is_passed_over(&self, doc: &DocId, stored: &Stored) -> bool {
        let is_left_over = || stored.heads.iter().any(|head| self.history.is_gone(head));
        self.history.is_deleted_beyond(doc, self.vector) || is_left_over()
    }

    /// And with one that is not here?
    fn of_nothing(&self, has: &Has) -> Option<String> {
        // What a repair has brought to another node may be told of there before this one knows of it.
        let is_elsewhere = has.changes.iter().all(|hash| !self.history.is_covered(hash, &self.disk.vector));
        (self.is_exact && !has.deleted && !is_elsewhere).then(|| "it is not there any more".into())
    }
}

impl Reader {
    /// At a mark the reader has all that its cursor names; and where it is up to date, and nothing has come since, just
    /// what the node shows.
    pub fn check_mark(
        &self,
        history: &History,
        store: &MemoryStore,
        shown: &mut Shown,
        cursor: &Cursor,
        up_to_date: bool,
    ) -> Checked {
        let Some(Subscribed { node, live, since, .. }) = &self.at else { return Ok(()) };
        if cursor.listed.is_some() {
            return Ok(());
        }
        if up_to_date {
            self.check_causes(history, cursor)?;
        }
        let prefix = match &self.target {
            Target::Doc(doc) => doc.as_str(),
            Target::Prefix(prefix) => prefix,
        };
        let rows = store.list(prefix, None, usize::MAX);
        let mut rows = rows.map_err(|e| Failure::new("readers", e.to_string()))?;
        rows.retain(|(doc, _)| self.target.takes(doc));
        let disk = &history.nodes[*node];
        let is_exact = up_to_date && !live.has_more();
        let reads_log = since.is_some() || self.page.is_some();
        let mark = Mark { history, disk, vector: &cursor.vector, is_exact, reads_log };
        let fails = |doc: &DocId, what: String| {
            let what = format!("{:?}, node {node}, {doc:?}: {what}, at {cursor:?}", self.mode);
            Err(Failure::new("readers", what))
        };
        let nothing = Has::nothing();
        for (doc, record) in &rows {
            let has = self.has.get(doc).unwrap_or(&nothing);
            let Some(stored) = disk.docs.get(doc) else { continue };
            let wrong = match self.mode {
                Mode::Notify | Mode::Changes => mark.of_version(doc, has, stored, record, self.mode),
                Mode::Value | Mode::Patch if !is_exact => None,
                Mode::Value | Mode::Patch => {
                    let seen = shown.of(store, doc, &record.heads)?;
                    // By its heads it is deleted, and not by what is shown, where a deletion has lost a contest.
                    let is_doubtful = record.is_absent() && seen.value.is_some();
                    mark.of_shown(doc, has, stored, &seen).filter(|_| !is_doubtful)
                }
            };
            if let Some(what) = wrong {
                return fails(doc, what);
            }
        }
        let gone = self.has.iter().filter(|(doc, _)| rows.iter().all(|(there, _)| there != *doc));
        match gone.filter_map(|(doc, has)| Some((doc, mark.of_nothing(has)?))).next() {
            Some((doc, what)) => fails(doc, what),
            None => Ok(()),
        }
    }

    /// Whoever has the effect of an entry has what its origin had when it made it.
    fn check_causes(&self, history: &History, cursor: &Cursor) -> Checked {
        let nothing = VersionVector::new();
        let before = self.saved.as_ref().map_or(&nothing, |(cursor, _)| &cursor.vector);
        for key in history.between(before, &cursor.vector) {
            let Some(made) = history.made.get(&key) else { continue };
            let lacks = made.held.above(&cursor.vector);
            // What nobody has any more is named by nobody, but where its origin is closed.
            let is_lost = |(origin, counter): (Origin, u64)| {
                (cursor.vector.get(&origin) + 1..=counter).all(|n| history.lost.contains(&(origin, n)))
            };
            if !lacks.iter().all(is_lost) {
                let what = format!(
                    "{:?}:{} is told of before what it hangs on, {lacks:?}, at {cursor:?}",
                    key.0, key.1
                );
                return Err(Failure::new("readers", what));
            }
        }
        Ok(())
    }
}
