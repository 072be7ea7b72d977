//! What was committed lately, and who listens. The committer adds a commit here and goes on; readers come for it
//! when they can take more.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use rustc_hash::FxHashMap;
use tokio::sync::Notify;

use super::Target;
use crate::base::limits::RECENT_TOUCHES;
use crate::base::{DocId, Lsn, VersionVector};

/// So many origins of a vector take about as much room as a document that was touched.
const ORIGINS: usize = 4;

/// Times in which documents lacked something that are told apart.
const PARTIALS: usize = 64;

/// See the module.
pub struct Hub {
    recent: Mutex<Recent>,
    ears: Mutex<Ears>,
}

/// What is on disk: up to where, and all of it.
#[derive(Clone)]
pub(super) struct Head {
    pub lsn: Lsn,
    pub vector: Arc<VersionVector>,
    /// How often what the vector names, or had named before, has come as documents, and not by the log.
    pub merges: u64,
}

struct Recent {
    head: Head,
    /// Oldest first; all that there is after `base`.
    commits: VecDeque<Arc<Touches>>,
    base: Lsn,
    /// What `commits` weigh together.
    weight: usize,
    listeners: usize,
    /// In ascending order; the last one may not have ended.
    partial: VecDeque<Partial>,
}

/// A time in which documents lacked changes that the vector named, as they were fetched.
struct Partial {
    /// What was on disk before, and whole.
    whole: Arc<VersionVector>,
    /// What was missing has come with the commit at that place.
    until: Option<Lsn>,
}

/// The documents that one commit touched.
pub struct Touches {
    pub(super) docs: Vec<DocId>,
    pub(super) after: Head,
    /// Documents have now what they lacked.
    fills: bool,
}

#[derive(Default)]
struct Ears {
    /// Of one document each.
    docs: FxHashMap<DocId, Vec<Arc<Ear>>>,
    wide: Vec<Arc<Ear>>,
}

/// One subscription's: notes that something has come, and rings once until that was noticed.
struct Ear {
    heard: AtomicBool,
    bell: Arc<Notify>,
    target: Target,
}

/// An ear at the hub while this is kept.
pub(super) struct Listening {
    hub: Arc<Hub>,
    ear: Arc<Ear>,
}

impl Hub {
    /// `whole`: the documents have all that the vector names.
    pub fn new(lsn: Lsn, vector: VersionVector, whole: bool) -> Self {
        let head = Head { lsn, vector: Arc::new(vector), merges: 0 };
        let mut recent = Recent {
            head,
            commits: VecDeque::new(),
            base: lsn,
            weight: 0,
            listeners: 0,
            partial: VecDeque::new(),
        };
        // What it was before is not known any more: then a cursor names nothing.
        let unknown = Partial { whole: Arc::default(), until: None };
        recent.partial.extend((!whole).then_some(unknown));
        Self { recent: Mutex::new(recent), ears: Mutex::default() }
    }

    /// Told by the committer when a commit is on disk and the documents in memory know of it. What it gives is
    /// for [`Hub::ring`], elsewhere: nothing is done here for each reader. `merges`: it ends a repair, whose documents
    /// the vector names from now on. `whole`: the documents have all that it names.
    pub fn committed(
        &self,
        lsn: Lsn,
        vector: &VersionVector,
        merges: bool,
        whole: bool,
        docs: impl Iterator<Item = DocId>,
    ) -> Option<Arc<Touches>> {
        let vector = Arc::new(vector.clone());
        let mut recent = lock(&self.recent);
        let fills = recent.note(lsn, whole);
        let merges = recent.head.merges + u64::from(merges) + u64::from(fills);
        let after = Head { lsn, vector, merges };
        recent.head = after.clone();
        if recent.listeners == 0 {
            recent.commits.clear();
            (recent.weight, recent.base) = (0, lsn);
            return None;
        }
        let touches = Arc::new(Touches { docs: docs.collect(), after, fills });
        recent.weight += touches.weight();
        recent.commits.push_back(touches.clone());
        while recent.weight > RECENT_TOUCHES && recent.commits.len() > 1 {
            let Some(gone) = recent.commits.pop_front() else { break };
            recent.weight -= gone.weight();
            recent.base = gone.after.lsn;
        }
        Some(touches)
    }

    /// Wakes those whom a commit concerns.
    pub fn ring(&self, touches: &Touches) {
        let ears = lock(&self.ears);
        if touches.fills {
            // Cursors may name more.
            ears.docs.values().flatten().chain(&ears.wide).for_each(|ear| ear.hear());
            return;
        }
        for doc in &touches.docs {
            ears.docs.get(doc).into_iter().flatten().for_each(|ear| ear.hear());
        }
        for ear in &ears.wide {
            if !ear.heard.load(Ordering::Relaxed) && touches.docs.iter().any(|doc| ear.target.takes(doc)) {
                ear.hear();
            }
        }
    }

    pub(super) fn listen(self: &Arc<Self>, target: Target, bell: Arc<Notify>) -> Listening {
        // What is there already has to be looked at, too.
        let ear = Arc::new(Ear { heard: AtomicBool::new(true), bell, target });
        let mut ears = lock(&self.ears);
        match &ear.target {
            Target::Doc(doc) => ears.docs.entry(doc.clone()).or_default().push(ear.clone()),
            Target::Prefix(_) => ears.wide.push(ear.clone()),
        }
        drop(ears);
        lock(&self.recent).listeners += 1;
        ear.bell.notify_one();
        Listening { hub: self.clone(), ear }
    }

    pub fn listeners(&self) -> usize {
        lock(&self.recent).listeners
    }

    /// What a cursor may name for a reader who was told of all up to a place: not what documents lacked then, since
    /// it is told of that later.
    pub(super) fn whole(&self, lsn: Lsn, vector: &VersionVector) -> VersionVector {
        let recent = lock(&self.recent);
        recent.partial_at(lsn).map_or_else(|| vector.clone(), |partial| vector.meet(&partial.whole))
    }

    /// Did documents have all that was named, up to a place?
    pub(super) fn is_whole(&self, lsn: Lsn) -> bool {
        lock(&self.recent).partial_at(lsn).is_none()
    }

    pub(super) fn head(&self) -> Head {
        lock(&self.recent).head.clone()
    }

    /// The place of a commit after which exactly this was on disk.
    pub(super) fn place_of(&self, vector: &VersionVector) -> Option<Head> {
        let recent = lock(&self.recent);
        if *recent.head.vector == *vector {
            return Some(recent.head.clone());
        }
        recent
            .commits
            .iter()
            .rev()
            .map(|commit| &commit.after)
            .find(|after| *after.vector == *vector)
            .cloned()
    }

    /// The documents that were touched after a place, of commits as a whole until there are `most` of them, and
    /// the place after these. None where what is kept does not reach back so far.
    pub(super) fn after(&self, lsn: Lsn, most: usize, target: &Target) -> Option<(Vec<DocId>, Head, bool)> {
        let recent = lock(&self.recent);
        if lsn < recent.base {
            return None;
        }
        let start = recent.commits.partition_point(|commit| commit.after.lsn <= lsn);
        let (mut docs, mut at): (Vec<DocId>, _) = (Vec::new(), recent.head.clone());
        for commit in recent.commits.iter().skip(start) {
            for doc in commit.docs.iter().filter(|doc| target.takes(doc)) {
                // Whoever follows one document is not to keep a list of it.
                if docs.last() != Some(doc) {
                    docs.push(doc.clone());
                }
            }
            if docs.len() >= most {
                at = commit.after.clone();
                break;
            }
        }
        let reached = at.lsn == recent.head.lsn;
        Some((docs, at, reached))
    }
}

impl Recent {
    fn partial_at(&self, lsn: Lsn) -> Option<&Partial> {
        self.partial.iter().find(|partial| partial.until.is_none_or(|until| until > lsn))
    }

    /// A commit is on disk, after which documents have all that is named, or not. Says whether they had not before.
    fn note(&mut self, lsn: Lsn, whole: bool) -> bool {
        match self.partial.back_mut().filter(|last| last.until.is_none()) {
            Some(last) if whole => {
                last.until = Some(lsn);
                true
            }
            Some(_) => false,
            None if whole => false,
            None => {
                let whole = self.head.vector.clone();
                self.partial.push_back(Partial { whole, until: None });
                // Of two one can be made, that reaches from the beginning of the first to the end of the second.
                if self.partial.len() > PARTIALS
                    && let Some(first) = self.partial.pop_front()
                    && let Some(second) = self.partial.front_mut()
                {
                    second.whole = first.whole;
                }
                false
            }
        }
    }
}

impl Touches {
    /// In documents: so much room a commit takes by itself, and a vector of many origins.
    fn weight(&self) -> usize {
        self.docs.len() + 1 + self.after.vector.len() / ORIGINS
    }
}

impl Ear {
    fn hear(&self) {
        if !self.heard.swap(true, Ordering::AcqRel) {
            self.bell.notify_one();
        }
    }
}

impl Listening {
    /// Has anything come since this was last asked? To be asked before one looks.
    pub fn heard(&self) -> bool {
        self.ear.heard.swap(false, Ordering::AcqRel)
    }

    /// The same, without its being asked.
    pub fn hears(&self) -> bool {
        self.ear.heard.load(Ordering::Acquire)
    }

    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        lock(&self.hub.recent).listeners -= 1;
        let mut ears = lock(&self.hub.ears);
        let others = |ear: &Arc<Ear>| !Arc::ptr_eq(ear, &self.ear);
        match &self.ear.target {
            Target::Doc(doc) => {
                if let Some(list) = ears.docs.get_mut(doc) {
                    list.retain(others);
                    if list.is_empty() {
                        ears.docs.remove(doc);
                    }
                }
            }
            Target::Prefix(_) => ears.wide.retain(others),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{NodeId, Origin};

    fn vector(counter: u64) -> VersionVector {
        [(Origin { node: NodeId([1; 8]), incarnation: 1, random: 0 }, counter)].into_iter().collect()
    }

    fn doc(id: &str) -> DocId {
        DocId::new(id).unwrap()
    }

    fn commit(hub: &Hub, n: u64, id: &str) {
        if let Some(touches) = hub.committed(Lsn(n), &vector(n), false, true, [doc(id)].into_iter()) {
            hub.ring(&touches);
        }
    }

    #[test]
    fn without_a_listener_nothing_is_kept_and_a_later_one_begins_at_the_head() {
        let hub = Arc::new(Hub::new(Lsn(0), VersionVector::new(), true));
        commit(&hub, 1, "a");
        let all = Target::Prefix(String::new());
        let ear = hub.listen(all.clone(), Arc::default());
        assert!(hub.after(Lsn(0), 9, &all).is_none());
        assert!(hub.after(Lsn(1), 9, &all).unwrap().0.is_empty());
        commit(&hub, 2, "b");
        let (docs, at, reached) = hub.after(Lsn(1), 9, &all).unwrap();
        assert_eq!((docs, at.lsn, reached), (vec![doc("b")], Lsn(2), true));
        assert_eq!(hub.place_of(&vector(2)).map(|at| at.lsn), Some(Lsn(2)));
        drop(ear);
        assert_eq!(hub.listeners(), 0);
    }

    #[test]
    fn what_documents_lacked_for_a_time_is_named_for_nobody_who_was_told_before_it_came() {
        let hub = Hub::new(Lsn(0), vector(1), true);
        let named = |lsn, counter| hub.whole(Lsn(lsn), &vector(counter));
        let commit = |n, whole| drop(hub.committed(Lsn(n), &vector(n + 1), false, whole, [].into_iter()));
        commit(1, true);
        assert_eq!(named(1, 2), vector(2));
        commit(2, false);
        commit(3, false);
        assert_eq!([named(1, 2), named(2, 3), named(3, 4)], [2, 2, 2].map(vector));
        commit(4, true);
        assert_eq!([named(3, 4), named(4, 5)], [2, 5].map(vector));
        commit(5, false);
        assert_eq!([named(3, 4), named(4, 5), named(5, 6)], [2, 5, 5].map(vector));
        // Of many such times the first are as one.
        let last = 2 * PARTIALS as u64 + 6;
        (6..=last).for_each(|n| commit(n, n % 2 == 0));
        commit(last + 1, false);
        assert_eq!([named(4, 5), named(last + 2, last + 3)], [2, last + 1].map(vector));
        // Of the time before a start nothing is known.
        assert_eq!(Hub::new(Lsn(7), vector(9), false).whole(Lsn(7), &vector(9)), VersionVector::new());
    }

    #[test]
    fn one_hears_only_what_concerns_one_and_only_once() {
        let hub = Arc::new(Hub::new(Lsn(0), VersionVector::new(), true));
        let one = hub.listen(Target::Doc(doc("a/1")), Arc::default());
        let some = hub.listen(Target::Prefix("a/".into()), Arc::default());
        assert!(one.heard() && some.heard());
        commit(&hub, 1, "b");
        assert!(!one.heard() && !some.heard());
        commit(&hub, 2, "a/2");
        assert!(!one.heard() && some.heard() && !some.heard());
        commit(&hub, 3, "a/1");
        assert!(one.heard() && some.heard());
    }

    #[test]
    fn a_reader_takes_no_more_than_it_asked_for_and_whole_commits() {
        let hub = Arc::new(Hub::new(Lsn(0), VersionVector::new(), true));
        let all = Target::Prefix(String::new());
        let _ear = hub.listen(all.clone(), Arc::default());
        (1..=5).for_each(|n| commit(&hub, n, &n.to_string()));
        let (docs, at, reached) = hub.after(Lsn(1), 2, &all).unwrap();
        assert_eq!((docs.len(), at.lsn, *at.vector == vector(3), reached), (2, Lsn(3), true, false));
        let kept = u64::try_from(RECENT_TOUCHES).unwrap();
        (6..=kept).for_each(|n| commit(&hub, n, "a"));
        assert!(hub.after(Lsn(1), 2, &all).is_none());
        assert!(
            hub.after(Lsn(kept - 3), 9, &all)
                .is_some_and(|(docs, at, _)| docs.len() == 1 && at.lsn == Lsn(kept))
        );
    }
}
