//! What a document shows is a function of the set of its changes, in whatever order they came.
//!
//! Automerge gives that for well-formed sets. Of two different changes with one (actor, sequence) it keeps the
//! one that it saw first; here the lower hash is merged, on every node. The other is kept and left out, and so
//! is what depends on it, and what Automerge does not take.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use automerge::{ActorId, Automerge, AutomergeError, Change, ChangeHash};

use super::change::guarded;
use super::trail::Trail;

/// How applying a batch went.
pub(super) enum Outcome {
    Applied,
    /// Two different changes have one (actor, sequence). The document is as it was.
    Clash,
    /// The document is in an unknown state.
    Broken(String),
}

/// Applies changes, which are noted in the document's trail.
pub(super) fn apply(doc: &mut Automerge, changes: Vec<Change>, trail: &mut Option<Trail>) -> Outcome {
    match guarded(|| Trail::apply(trail, doc, changes)) {
        Ok(Ok(())) => Outcome::Applied,
        Ok(Err(AutomergeError::DuplicateSeqNumber(..))) => Outcome::Clash,
        Ok(Err(error)) => Outcome::Broken(error.to_string()),
        Err(panic) => Outcome::Broken(panic),
    }
}

/// A document made of those changes of a set that can be shown, and what is left out.
///
/// # Errors
/// When Automerge refuses so many of them one by one that it is not worth going on.
pub(super) fn build(
    empty: impl Fn() -> Automerge,
    changes: Vec<Change>,
) -> Result<(Automerge, Vec<Change>), String> {
    /// Changes that Automerge is tried without, one after the other.
    const REFUSED: usize = 64;
    let mut refused = HashSet::new();
    let all: BTreeMap<ChangeHash, Change> = changes.into_iter().map(|c| (c.hash(), c)).collect();
    loop {
        let (shown, left_out) = choose(&all, &refused);
        let mut doc = empty();
        if let Outcome::Applied = apply(&mut doc, shown.iter().map(|c| (*c).clone()).collect(), &mut None) {
            return Ok((doc, left_out.into_iter().cloned().collect()));
        }
        // One by one, in an order that the set alone decides, to find the one to blame.
        let mut doc = empty();
        let blame =
            shown.iter().find_map(|change| match apply(&mut doc, vec![(*change).clone()], &mut None) {
                Outcome::Applied => None,
                Outcome::Clash => Some((change.hash(), "a clash".to_owned())),
                Outcome::Broken(reason) => Some((change.hash(), reason)),
            });
        match blame {
            // Only the batch as a whole fails: what was applied one by one is as good.
            None => return Ok((doc, left_out.into_iter().cloned().collect())),
            Some((hash, reason)) if refused.len() >= REFUSED => {
                return Err(format!("Automerge takes change {hash} and many others not: {reason}"));
            }
            Some((hash, _)) => refused.insert(hash),
        };
    }
}

/// Those that are shown, causes first and otherwise in order of hash, and the others.
///
/// One contest after the other, in order of actor and sequence, so that what a loser leads to does not compete.
fn choose<'a>(
    all: &'a BTreeMap<ChangeHash, Change>,
    refused: &HashSet<ChangeHash>,
) -> (Vec<&'a Change>, Vec<&'a Change>) {
    let mut out = refused.clone();
    loop {
        let shown = in_causal_order(all, &out);
        let mut contests: BTreeMap<(&ActorId, u64), Vec<ChangeHash>> = BTreeMap::new();
        for change in &shown {
            contests.entry((change.actor_id(), change.seq())).or_default().push(change.hash());
        }
        match contests.into_values().find(|rivals| rivals.len() > 1) {
            Some(mut rivals) => {
                rivals.sort_unstable();
                out.extend(rivals.into_iter().skip(1));
            }
            None => {
                let done: HashSet<ChangeHash> = shown.iter().map(|change| change.hash()).collect();
                let others = all.iter().filter(|(hash, _)| !done.contains(*hash)).map(|(_, change)| change);
                return (shown, others.collect());
            }
        }
    }
}

/// All but those that are out, or hang on what is out or not there.
fn in_causal_order<'a>(all: &'a BTreeMap<ChangeHash, Change>, out: &HashSet<ChangeHash>) -> Vec<&'a Change> {
    let mut lacks: HashMap<ChangeHash, usize> = HashMap::new();
    let mut dependants: HashMap<ChangeHash, Vec<ChangeHash>> = HashMap::new();
    let mut ready = BTreeSet::new();
    for (hash, change) in all {
        let deps: BTreeSet<_> = change.deps().iter().copied().collect();
        if deps.is_empty() {
            ready.insert(*hash);
        }
        lacks.insert(*hash, deps.len());
        for dep in deps {
            dependants.entry(dep).or_default().push(*hash);
        }
    }
    let mut ordered = Vec::new();
    while let Some(hash) = ready.pop_first() {
        let Some(change) = all.get(&hash).filter(|_| !out.contains(&hash)) else { continue };
        ordered.push(change);
        for dependant in dependants.get(&hash).into_iter().flatten() {
            if let Some(count) = lacks.get_mut(dependant) {
                *count -= 1;
                if *count == 0 {
                    ready.insert(*dependant);
                }
            }
        }
    }
    ordered
}
