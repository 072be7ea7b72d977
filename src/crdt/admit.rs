//! Changes from outside, judged before they become part of a document.
//!
//! Whatever a change says, it must not make documents differ between nodes, nor spoil later writes. So it is
//! taken only if its sequence number is its actor's next, its actor's previous change is among its ancestors,
//! its first operation is above those of its ancestors and not absurdly high, it refers to nothing but its
//! ancestors, its operations make sense where they stand (`wellformed`), and Automerge takes it.

use std::collections::{HashMap, HashSet};
use std::rc::Rc;

use automerge::legacy::{ElementId, Key, ObjectId};
use automerge::{ActorId, Change, ChangeHash, ReadDoc};
use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::change::{guarded, opaque, read};
use super::chunk::{self, Kind};
use super::clash::{self, Outcome};
use super::document::{Document, Edited, load};
use super::wellformed::Operations;
use crate::base::limits::{MAX_ANCESTRY_STEPS, MAX_OP_JUMP, MAX_RAW_CHANGES};
use crate::base::{Hash, Heads, canonical_heads, heads_of};

/// Why changes from outside were not taken. Nothing of them is in the document then.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AdmitError {
    #[error("{} dependencies are missing", hashes.len())]
    Missing { hashes: Vec<Hash> },
    #[error("{}{reason}", hash.map(|h| format!("change {h}: ")).unwrap_or_default())]
    Refused { hash: Option<Hash>, reason: String },
}

impl Document {
    /// Takes concatenated change chunks, or a saved document. What is here already is passed over.
    ///
    /// # Errors
    /// As told in [`AdmitError`]. Afterwards look at [`Document::is_broken`].
    pub fn admit(&mut self, raw: &Bytes) -> Result<Edited, AdmitError> {
        let refused = |hash: Option<ChangeHash>| {
            move |reason: String| AdmitError::Refused { hash: hash.map(|hash| Hash(hash.0)), reason }
        };
        let changes = parse(raw).map_err(refused(None))?;
        let version = canonical_heads(heads_of(changes.iter().map(|change| {
            (Hash(change.hash().0), change.deps().iter().map(|dep| Hash(dep.0)).collect::<Heads>())
        })));
        let here = |hash: &ChangeHash| self.has(&Hash(hash.0)) || self.left_out.contains_key(&Hash(hash.0));
        let new: Vec<Change> = changes.into_iter().filter(|change| !here(&change.hash())).collect();
        let new = in_causal_order(new, |dep| self.has(&Hash(dep.0)))?;
        // Automerge's decoder panics over kinds of operations that it does not know.
        let judged = guarded(|| Judge::new(self).judge(&new)).map_err(refused(None))?;
        judged.map_err(|(hash, reason)| refused(Some(hash))(reason))?;
        match clash::apply(&mut self.doc, new.clone(), &mut self.trail) {
            Outcome::Applied => {}
            Outcome::Clash => return Err(refused(None)("its sequence number is taken".into())),
            Outcome::Broken(reason) => {
                self.broken = true;
                return Err(refused(None)(format!("Automerge does not take it: {reason}")));
            }
        }
        // Some faults show only when a document is read or saved, or its changes are given out again.
        let probe = || {
            let kept = new.iter().all(|change| {
                let again = self.doc.get_change_by_hash(&change.hash());
                again.is_some_and(|again| again.raw_bytes() == change.raw_bytes())
            });
            kept && self.json(None, false).is_ok() && !self.doc.save().is_empty()
        };
        let fault = match guarded(probe) {
            Ok(true) => None,
            Ok(false) => Some("Automerge does not keep it as it is".to_owned()),
            Err(panic) => Some(format!("the document could not be read with it: {panic}")),
        };
        if let Some(reason) = fault {
            self.broken = true;
            return Err(refused(None)(reason));
        }
        Ok(Edited { changes: new.iter().map(opaque).collect(), version })
    }
}

fn parse(raw: &[u8]) -> Result<Vec<Change>, String> {
    let mut changes = Vec::new();
    for chunk in chunk::split(raw)? {
        match chunk.kind {
            Kind::Document => changes.extend(load(chunk.bytes, &ActorId::from([0; 16]))?.get_changes(&[])),
            Kind::Change => {
                let change = read(chunk.bytes)?;
                if change.hash().0[..4] != chunk.checksum {
                    return Err(format!("change {}: its checksum does not match", change.hash()));
                }
                changes.push(change);
            }
        }
        if changes.len() > MAX_RAW_CHANGES {
            return Err(format!("more than {MAX_RAW_CHANGES} changes"));
        }
    }
    if changes.is_empty() { Err("no changes in it".into()) } else { Ok(changes) }
}

/// Causes first, each once.
fn in_causal_order(
    changes: Vec<Change>,
    here: impl Fn(&ChangeHash) -> bool,
) -> Result<Vec<Change>, AdmitError> {
    let mut waiting: HashMap<ChangeHash, Vec<usize>> = HashMap::new();
    let mut lacks: Vec<usize> = Vec::with_capacity(changes.len());
    let mut seen = HashSet::new();
    for (index, change) in changes.iter().enumerate() {
        let missing: HashSet<_> = change.deps().iter().filter(|dep| !here(dep)).copied().collect();
        let again = !seen.insert(change.hash());
        lacks.push(if again { usize::MAX } else { missing.len() });
        for dep in missing.into_iter().filter(|_| !again) {
            waiting.entry(dep).or_default().push(index);
        }
    }
    let mut ready: Vec<usize> = (0..changes.len()).rev().filter(|index| lacks[*index] == 0).collect();
    let mut ordered = Vec::with_capacity(changes.len());
    let mut changes: Vec<Option<Change>> = changes.into_iter().map(Some).collect();
    while let Some(index) = ready.pop() {
        let Some(change) = changes.get_mut(index).and_then(Option::take) else { continue };
        for dependant in waiting.remove(&change.hash()).into_iter().flatten() {
            lacks[dependant] -= 1;
            if lacks[dependant] == 0 {
                ready.push(dependant);
            }
        }
        ordered.push(change);
    }
    // Of what is still waited for, that which is not itself waiting is missing.
    let unplaced: HashSet<ChangeHash> = changes.iter().flatten().map(Change::hash).collect();
    let missing = waiting.into_keys().filter(|dep| !unplaced.contains(dep));
    let missing = canonical_heads(missing.map(|dep| Hash(dep.0)));
    if missing.is_empty() { Ok(ordered) } else { Err(AdmitError::Missing { hashes: missing.into_vec() }) }
}

/// What lies behind a change: actor → its last sequence number and highest operation among the ancestors.
type Clock = FxHashMap<usize, (u64, u64)>;

/// What is known of the changes judged so far, on top of a document.
struct Judge<'a> {
    document: &'a Document,
    actors: HashMap<ActorId, usize>,
    /// Of the whole document.
    heads: Vec<ChangeHash>,
    operations: Operations<'a>,
    whole: Rc<Clock>,
    /// Of each judged change, with how many that depend on it are still to come.
    clocks: HashMap<ChangeHash, (Rc<Clock>, usize)>,
    /// Actor → its last sequence number, of the document's changes and of those judged.
    last: Clock,
    highest_op: u64,
    steps: usize,
}

impl<'a> Judge<'a> {
    fn new(document: &'a Document) -> Self {
        let heads = document.doc.get_heads();
        let mut judge = Self {
            document,
            operations: Operations::new(&document.doc),
            actors: HashMap::new(),
            heads,
            whole: Rc::default(),
            clocks: HashMap::new(),
            last: Clock::default(),
            highest_op: 0,
            steps: 0,
        };
        let mut whole = Clock::default();
        for meta in document.doc.get_changes_meta(&[]) {
            let actor = judge.actor(&meta.actor);
            advance(&mut whole, actor, meta.seq, meta.max_op);
            judge.highest_op = judge.highest_op.max(meta.max_op);
        }
        judge.last.clone_from(&whole);
        judge.whole = Rc::new(whole);
        judge
    }

    fn judge(&mut self, changes: &[Change]) -> Result<(), (ChangeHash, String)> {
        let mut dependants: HashMap<ChangeHash, usize> = HashMap::new();
        for dep in changes.iter().flat_map(Change::deps) {
            *dependants.entry(*dep).or_default() += 1;
        }
        for change in changes {
            let hash = change.hash();
            let clock = self.admissible(change).map_err(|reason| (hash, reason))?;
            let coming = dependants.get(&hash).copied().unwrap_or(0);
            self.clocks.insert(hash, (clock, coming));
        }
        Ok(())
    }

    /// What lies behind the change, and the change itself.
    fn admissible(&mut self, change: &Change) -> Result<Rc<Clock>, String> {
        if change.actor_id() == self.document.actor() {
            return Err("its actor is this node: load a document with an actor of your own".into());
        }
        let actor = self.actor(change.actor_id());
        let last = self.last.get(&actor).map_or(0, |(seq, _)| *seq);
        if change.seq() != last + 1 {
            return Err(format!("its sequence number is {}, its actor's next is {}", change.seq(), last + 1));
        }
        let mut clock = self.behind(change.deps())?;
        if clock.get(&actor).map_or(0, |(seq, _)| *seq) != last {
            return Err("its actor's previous change is not among its ancestors".into());
        }
        let above = clock.values().map(|(_, max_op)| *max_op).max().unwrap_or(0);
        let first = change.start_op().get();
        if first <= above {
            return Err(format!("its first operation is {first}, its ancestors reach {above}"));
        }
        let most = self.highest_op.saturating_add(MAX_OP_JUMP);
        if first > most {
            return Err(format!("its first operation is {first}, more than {most} is not taken"));
        }
        self.refers_back(change, actor, &clock)?;
        self.operations.judge(change)?;
        advance(self.own(&mut clock)?, actor, change.seq(), change.max_op());
        advance(&mut self.last, actor, change.seq(), change.max_op());
        self.highest_op = self.highest_op.max(change.max_op());
        Ok(clock)
    }

    /// An operation of another actor that is not among the ancestors may be here on one node and not yet on
    /// another: what a change does would depend on the order of arrival.
    fn refers_back(&self, change: &Change, actor: usize, clock: &Clock) -> Result<(), String> {
        for (own, op) in (change.start_op().get()..).zip(change.decode().operations) {
            let object = match op.obj {
                ObjectId::Id(id) => Some(id),
                ObjectId::Root => None,
            };
            let element = match op.key {
                Key::Seq(ElementId::Id(id)) => Some(id),
                _ => None,
            };
            for id in object.iter().chain(&element).chain(op.pred.iter()) {
                let known = self.actors.get(id.actor()).copied();
                let highest = match known.and_then(|known| clock.get(&known)) {
                    _ if known == Some(actor) => own - 1,
                    Some((_, max_op)) => *max_op,
                    None => 0,
                };
                if !(1..=highest).contains(&id.counter()) {
                    let (counter, actor) = (id.counter(), id.actor());
                    return Err(format!("it refers to operation {counter} of {actor}, not an ancestor"));
                }
            }
        }
        Ok(())
    }

    /// What lies behind a change with these dependencies.
    fn behind(&mut self, deps: &[ChangeHash]) -> Result<Rc<Clock>, String> {
        let (judged, stored): (Vec<ChangeHash>, Vec<ChangeHash>) =
            deps.iter().partition(|dep| self.clocks.contains_key(*dep));
        let mut behind = self.behind_stored(stored)?;
        for dep in judged {
            let Some((clock, coming)) = self.clocks.get_mut(&dep) else { continue };
            *coming = coming.saturating_sub(1);
            // The last dependant takes the clock over, so that a long line of changes copies nothing.
            let clock = if *coming == 0 { std::mem::take(clock) } else { clock.clone() };
            if behind.is_empty() {
                behind = clock;
                continue;
            }
            self.count(clock.len())?;
            let behind = self.own(&mut behind)?;
            clock.iter().for_each(|(actor, (seq, max_op))| advance(behind, *actor, *seq, *max_op));
        }
        Ok(behind)
    }

    fn behind_stored(&mut self, mut deps: Vec<ChangeHash>) -> Result<Rc<Clock>, String> {
        deps.sort_unstable();
        if deps.is_empty() {
            return Ok(Rc::default());
        }
        if deps == self.heads {
            return Ok(self.whole.clone());
        }
        let doc = &self.document.doc;
        let all = doc.get_changes_meta(&[]);
        let beyond: HashSet<ChangeHash> = doc.get_changes_meta(&deps).iter().map(|meta| meta.hash).collect();
        self.count(all.len())?;
        let mut clock = Clock::default();
        for meta in all.iter().filter(|meta| !beyond.contains(&meta.hash)) {
            advance(&mut clock, self.actor(&meta.actor), meta.seq, meta.max_op);
        }
        Ok(Rc::new(clock))
    }

    /// The clock to change, copied where others have it too.
    fn own<'c>(&mut self, clock: &'c mut Rc<Clock>) -> Result<&'c mut Clock, String> {
        if Rc::strong_count(clock) > 1 {
            self.count(clock.len())?;
        }
        Ok(Rc::make_mut(clock))
    }

    fn count(&mut self, steps: usize) -> Result<(), String> {
        self.steps += steps;
        if self.steps > MAX_ANCESTRY_STEPS {
            return Err("its ancestry is too wide to be judged; send fewer changes at once".into());
        }
        Ok(())
    }

    fn actor(&mut self, actor: &ActorId) -> usize {
        if let Some(index) = self.actors.get(actor) {
            return *index;
        }
        self.actors.insert(actor.clone(), self.actors.len());
        self.actors.len() - 1
    }
}

fn advance(clock: &mut Clock, actor: usize, seq: u64, max_op: u64) {
    let entry = clock.entry(actor).or_default();
    *entry = (entry.0.max(seq), entry.1.max(max_op));
}
