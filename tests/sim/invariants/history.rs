//! What every node has on disk, and what each entry's origin had when it made it: known to the harness alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use syncline::base::{Change, DocId, Hash, Heads, Lsn, NodeId, Origin, VersionVector};
use syncline::crdt::{changes_beyond, heads_after, is_deletion};
use syncline::store::Store;
use syncline::wire::Entry;

use super::{Checked, Failure};
use crate::node::Node;

pub type Key = (Origin, u64);

#[derive(Default)]
pub struct History {
    pub nodes: Vec<OnDisk>,
    pub made: BTreeMap<Key, Made>,
    /// Changes that some node rightly has not, although its vector names them: they were dropped with their document,
    /// hang on what was, or on what came by a repair only. Later all nodes have them, or none.
    pub astray: BTreeSet<Hash>,
    /// Changes that may have been dropped with their document: all that its deletion hangs on.
    pub dropped: BTreeSet<Hash>,
    pub dropped_docs: BTreeSet<DocId>,
    /// Nodes whose disks were replaced.
    pub replaced: BTreeSet<NodeId>,
    /// Changes that were on a disk which took another's place.
    pub brought_back: BTreeSet<Hash>,
    /// Nodes that had a change on disk, and have it no more.
    had: BTreeSet<(NodeId, Hash)>,
    /// What each change hangs on.
    deps: BTreeMap<Hash, Heads>,
    deletions: BTreeSet<Hash>,
    /// The entries that brought each change into the cluster.
    entered: BTreeMap<Hash, Vec<Key>>,
    made_twice: BTreeSet<Hash>,
    /// Changes that have come with the commit that is being looked at.
    pub fresh: BTreeSet<Hash>,
    /// Entries and changes that nobody had any more at some moment.
    pub lost: BTreeSet<Key>,
    pub lost_changes: BTreeSet<Hash>,
}

/// What one node has on disk, as far as it was looked at.
#[derive(Clone, Default)]
pub struct OnDisk {
    pub last: Lsn,
    pub vector: VersionVector,
    /// The log, without what was trimmed.
    pub lines: VecDeque<(Lsn, Key)>,
    pub docs: BTreeMap<DocId, Stored>,
}

/// All that is stored of a document.
#[derive(Clone, Default)]
pub struct Stored {
    pub changes: BTreeSet<Hash>,
    pub heads: Heads,
    /// Looked at up to here.
    pub last: Lsn,
}

pub struct Made {
    /// What its origin had before it.
    pub held: Rc<VersionVector>,
    pub doc: DocId,
    pub changes: Vec<(Hash, Heads)>,
}

impl History {
    pub fn new(nodes: usize) -> Self {
        Self { nodes: vec![OnDisk::default(); nodes], ..Self::default() }
    }

    pub fn entries(&self) -> usize {
        self.made.len()
    }

    /// An entry that its origin has just got on its disk, having had `held`.
    pub fn make(&mut self, entry: &Entry, held: VersionVector) {
        let changes: Vec<(Hash, Heads)> =
            entry.changes.iter().map(|change| (change.hash, change.deps.clone())).collect();
        for (hash, deps) in &changes {
            self.entered.entry(*hash).or_default().push((entry.origin, entry.counter));
            if self.deps.insert(*hash, deps.clone()).is_some() {
                self.made_twice.insert(*hash);
            }
        }
        let deletions = entry.changes.iter().filter(|change| is_deletion(change));
        self.deletions.extend(deletions.map(|change| change.hash));
        if entry.drops.is_some() {
            self.dropped_docs.insert(entry.doc.clone());
        }
        let mut open: Vec<Hash> = entry.drops.iter().flatten().copied().collect();
        while let Some(hash) = open.pop() {
            if self.dropped.insert(hash) {
                open.extend(self.deps.get(&hash).into_iter().flatten());
            }
        }
        let made = Made { held: Rc::new(held), doc: entry.doc.clone(), changes };
        self.made.insert((entry.origin, entry.counter), made);
    }

    /// Of what was made the entries that `after` names and `before` does not.
    pub fn between(&self, before: &VersionVector, after: &VersionVector) -> Vec<Key> {
        let risen = after.iter().filter(|(origin, counter)| *counter > before.get(origin));
        let counted = risen.flat_map(|(origin, counter)| {
            self.made.range((origin, before.get(&origin) + 1)..=(origin, counter))
        });
        let closed = after.closed().flat_map(|(node, number)| {
            let origin = |incarnation, random| Origin { node, incarnation, random };
            self.made.range((origin(0, 0), 0)..=(origin(number, u32::MAX), u64::MAX))
        });
        let all = counted.chain(closed).map(|(key, _)| *key);
        all.filter(|(origin, counter)| *counter > before.get(origin)).collect()
    }

    /// A node has another disk: what it had and nobody else has is lost.
    pub fn replace(&mut self, node: usize, id: NodeId, store: &dyn Store) -> Checked {
        // A backup may have been made of a commit of which nobody had heard.
        for (_, line) in store.log(Lsn(0), usize::MAX).map_err(|e| Failure::new("log", e.to_string()))? {
            let entry = Entry::from_bytes(&line).map_err(|e| Failure::new("log", e.to_string()))?;
            if !self.made.contains_key(&(entry.origin, entry.counter)) {
                self.make(&entry, entry.held.clone());
            }
        }
        let was = std::mem::replace(&mut self.nodes[node], OnDisk::read(store)?);
        let mut changes: BTreeSet<Hash> =
            was.docs.values().flat_map(|stored| stored.changes.iter().copied()).collect();
        self.replaced.insert(id);
        let docs = self.nodes[node].docs.values();
        self.brought_back.extend(docs.flat_map(|stored| &stored.changes));
        self.had.extend(changes.iter().map(|hash| (id, *hash)));
        let mut entries = self.between(&VersionVector::new(), &was.vector);
        for other in &self.nodes {
            for stored in other.docs.values() {
                changes.retain(|hash| !stored.changes.contains(hash));
            }
            entries.retain(|(origin, counter)| other.vector.get(origin) < *counter);
        }
        self.lost_changes.extend(changes);
        self.lost.extend(entries);
        Ok(())
    }

    /// A commit of a node has touched a document; `anew` where more than its tail has changed.
    pub fn read(&mut self, node: usize, id: NodeId, store: &dyn Store, doc: &DocId, anew: bool) -> Checked {
        let docs = &mut self.nodes[node].docs;
        let before = docs.get(doc).cloned().unwrap_or_default();
        if !anew {
            docs.entry(doc.clone()).or_default().read_on(store, doc)?;
        } else if let Some(was) = docs.insert(doc.clone(), Stored::read(store, doc)?) {
            let left = was.changes.difference(&docs[doc].changes).copied();
            self.had.extend(left.map(|hash| (id, hash)));
        }
        self.fresh.extend(docs[doc].changes.difference(&before.changes));
        if store.record(doc).map_err(|e| Failure::new("log", e.to_string()))?.is_none() {
            docs.remove(doc);
        }
        Ok(())
    }

    /// All changes that a version is made of.
    pub fn ancestors(&self, version: &Heads) -> BTreeSet<Hash> {
        let (mut all, mut open) = (BTreeSet::new(), version.to_vec());
        while let Some(hash) = open.pop() {
            if all.insert(hash) {
                open.extend(self.deps.get(&hash).into_iter().flatten());
            }
        }
        all
    }

    /// Does the vector name a change?
    pub fn is_covered(&self, hash: &Hash, vector: &VersionVector) -> bool {
        let mut entered = self.entered.get(hash).into_iter().flatten();
        entered.any(|(origin, counter)| *counter <= vector.get(origin))
    }

    /// Is a change in an entry that the vector does not name?
    pub fn is_beyond(&self, hash: &Hash, vector: &VersionVector) -> bool {
        let mut entered = self.entered.get(hash).into_iter().flatten();
        entered.any(|(origin, counter)| *counter > vector.get(origin))
    }

    /// How many documents have entries that `after` names and `before` does not?
    pub fn documents_between(&self, before: &VersionVector, after: &VersionVector) -> usize {
        let entries = self.between(before, after);
        entries
            .iter()
            .filter_map(|key| self.made.get(key))
            .map(|made| &made.doc)
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Is there an entry of a document that `after` names and `before` does not?
    pub fn goes_on(&self, doc: &DocId, before: &VersionVector, after: &VersionVector) -> bool {
        self.between(before, after).iter().any(|key| self.made.get(key).is_some_and(|made| made.doc == *doc))
    }

    /// Was it dropped with its document, or had nobody it any more?
    pub fn is_gone(&self, hash: &Hash) -> bool {
        self.dropped.contains(hash) || self.lost_changes.contains(hash)
    }

    /// Is a change rightly missing somewhere whose vector names it? Of closed incarnations even lost ones are named.
    pub fn is_astray(&self, hash: &Hash) -> bool {
        self.is_gone(hash) || self.astray.contains(hash)
    }

    /// Was the document deleted by what the vector does not name?
    pub fn is_deleted_beyond(&self, doc: &DocId, vector: &VersionVector) -> bool {
        let deletes =
            |(hash, _): &(Hash, Heads)| self.deletions.contains(hash) && !self.is_covered(hash, vector);
        self.made.values().any(|made| made.doc == *doc && made.changes.iter().any(deletes))
    }

    /// Do these changes make a version that is deleted, or nothing?
    pub fn is_deleted<'a>(&self, changes: impl Iterator<Item = &'a Hash>) -> bool {
        let all: BTreeSet<&Hash> = changes.collect();
        let inner: BTreeSet<&Hash> = all.iter().filter_map(|hash| self.deps.get(hash)).flatten().collect();
        all.difference(&inner).all(|head| self.deletions.contains(head))
    }

    /// Is it a change that entered the cluster more than once?
    pub fn is_made_twice(&self, hash: &Hash) -> bool {
        self.made_twice.contains(hash)
    }

    /// Has a node ever had that change on its disk? Of those that bear its id now it is looked for.
    pub fn has_had(&self, id: NodeId, nodes: &[Node], doc: &DocId, hash: &Hash) -> bool {
        let there = |disk: &OnDisk| disk.docs.get(doc).is_some_and(|stored| stored.changes.contains(hash));
        let now = self.nodes.iter().zip(nodes).any(|(disk, node)| node.id == id && there(disk));
        now || self.had.contains(&(id, *hash))
    }
}

impl OnDisk {
    /// All of a disk.
    pub fn read(store: &dyn Store) -> Result<Self, Failure> {
        let fails = |e: &dyn std::fmt::Display| Failure::new("log", e.to_string());
        let found = store.recover().map_err(|e| fails(&e))?;
        let mut lines = VecDeque::new();
        for (lsn, line) in store.log(Lsn(0), usize::MAX).map_err(|e| fails(&e))? {
            lines.push_back((lsn, Entry::peek(&line).ok_or_else(|| fails(&"a line that is no entry"))?));
        }
        let mut docs = BTreeMap::new();
        for (doc, _) in store.list("", None, usize::MAX).map_err(|e| fails(&e))? {
            docs.insert(doc.clone(), Stored::read(store, &doc)?);
        }
        Ok(Self { last: found.last_lsn, vector: found.vector, lines, docs })
    }
}

impl Stored {
    /// A document, read whole.
    pub fn read(store: &dyn Store, doc: &DocId) -> Result<Self, Failure> {
        let fails = |e: &dyn std::fmt::Display| Failure::new("documents", format!("{doc:?}: {e}"));
        let mut stored = Self::default();
        if let Some(whole) = store.whole(doc).map_err(|e| fails(&e))? {
            stored.last = whole.tail.last().map_or(whole.record.last_lsn, |(lsn, _)| *lsn);
            let tail = whole.tail.into_iter().map(|(_, change)| change).collect();
            for change in changes_beyond(whole.snapshot.as_deref(), tail, &[]).map_err(|e| fails(&e))? {
                stored.add(doc, &change)?;
            }
        }
        Ok(stored)
    }

    /// What its tail has got since.
    pub fn read_on(&mut self, store: &dyn Store, doc: &DocId) -> Checked {
        let fails = |e: &dyn std::fmt::Display| Failure::new("documents", format!("{doc:?}: {e}"));
        for (lsn, change) in store.tail(doc, self.last).map_err(|e| fails(&e))? {
            self.last = lsn;
            self.add(doc, &change)?;
        }
        Ok(())
    }

    /// Whatever brought it, a log or a repair: within a document causes come first.
    fn add(&mut self, doc: &DocId, change: &Change) -> Checked {
        if let Some(dep) = change.deps.iter().find(|dep| !self.changes.contains(*dep)) {
            let what = format!("{doc:?}: {:?} hangs on {dep:?}, which is not stored", change.hash);
            return Err(Failure::new("causes", what));
        }
        self.changes.insert(change.hash);
        self.heads = heads_after(&self.heads, &change.hash, &change.deps);
        Ok(())
    }
}
