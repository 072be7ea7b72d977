//! Clients: they write to masters, as people and programs would, and now and then hand in changes made elsewhere.

use automerge::transaction::Transactable;
use automerge::{ActorId, AutoCommit, ROOT};
use bytes::Bytes;
use fastrand::Rng;
use serde_json::{Value, json};
use syncline::base::{DocId, Heads, Role};
use syncline::crdt::{Edit, EditError, Edited, Op};

use crate::invariants::{Checked, Failure};
use crate::node::Written;
use crate::plan::{Plan, WRITES};
use crate::world::{Happening, World};

/// One write in so many hands in changes of a foreign actor.
const FOREIGN_ONE_IN: usize = 12;

/// One write in so many has its document read too.
const READ_ONE_IN: usize = 8;

/// Of so many writes of a document one goes to any master, the others to one that it mostly goes to.
const ROAMING_ONE_IN: usize = 2;

/// One write in so many deletes the document, where there are deletions at all.
const DELETE_ONE_IN: usize = 9;

/// One write in so many is made at an earlier version.
const PARENTS_ONE_IN: usize = 8;

/// When no master is there to write to, a client comes again after so many milliseconds.
const AGAIN_MS: u64 = 200;

pub struct Clients {
    docs: Vec<DocId>,
    /// Writes that are still to come.
    pub left: usize,
    /// Writes that changed something and were handed to a committer.
    pub made: usize,
    foreign: Vec<Foreign>,
    /// Versions that somebody has seen.
    versions: Vec<(DocId, Heads)>,
    large: Option<(usize, usize)>,
    /// Some of the writes delete their document.
    deletes: bool,
}

/// Changes that an actor outside the cluster has made.
struct Foreign {
    doc: DocId,
    first: Bytes,
    second: Bytes,
    /// Another change with the first's actor and sequence number.
    twin: Bytes,
}

impl Clients {
    pub fn new(plan: &Plan, deletes: bool) -> Self {
        let doc = |n: usize| DocId::new(&format!("doc/{n}"));
        let docs = (0..plan.documents).filter_map(|n| doc(n).ok()).collect();
        let (foreign, versions) = (Vec::new(), Vec::new());
        Self { docs, left: plan.writes.len(), made: 0, foreign, versions, large: plan.large, deletes }
    }

    /// Nobody writes to that document any more.
    pub fn leave(&mut self, doc: &DocId) {
        self.docs.retain(|other| other != doc);
        self.foreign.retain(|foreign| foreign.doc != *doc);
    }
}

impl World {
    pub fn write_something(&mut self) -> Checked {
        let up: Vec<usize> = (0..self.nodes.len())
            .filter(|n| self.nodes[*n].role == Role::Master && self.nodes[*n].process.is_some())
            .collect();
        let Some(node) = self.rng.choice(&up).copied() else {
            self.agenda.push(self.now + AGAIN_MS, Happening::Write);
            return Ok(());
        };
        if self.rng.usize(..FOREIGN_ONE_IN) == 0 {
            self.hand_in(node, &up)?;
        } else {
            self.edit(&up)?;
        }
        self.clients.left -= 1;
        if self.clients.left == 0 && self.clients.made < WRITES {
            self.clients.left = WRITES - self.clients.made;
            for n in 0..self.clients.left as u64 {
                self.agenda.push(self.now + 1 + 10 * n, Happening::Write);
            }
        }
        Ok(())
    }

    fn edit(&mut self, up: &[usize]) -> Checked {
        let number = self.rng.usize(..self.clients.docs.len());
        let roams = self.rng.usize(..ROAMING_ONE_IN) == 0;
        let node = up[if roams { self.rng.usize(..up.len()) } else { number % up.len() }];
        let doc = self.clients.docs[number].clone();
        let (fresh, evict) = (self.rng.u8(..3) == 0, self.rng.u8(..32) == 0);
        let unix = self.unix().0 as i64;
        let World { rng, clients, nodes, .. } = self;
        let Some(process) = &mut nodes[node].process else { return Ok(()) };
        if evict {
            process.evict(&doc);
        }
        let Some(loaded) = process.document(&doc, fresh)? else { return Ok(()) };
        let document = &mut loaded.document;
        let of_doc: Vec<&Heads> =
            clients.versions.iter().filter(|(of, _)| *of == doc).map(|(_, version)| version).collect();
        let at = rng.choice(of_doc).filter(|_| rng.usize(..PARENTS_ONE_IN) == 0);
        let at = at.filter(|at| at.iter().all(|hash| document.has(hash))).cloned();
        let (mut edit, instead) = some_edit(rng, clients.large);
        if clients.deletes && clients.made % DELETE_ONE_IN == 0 && !document.is_empty() {
            edit = Edit::Delete;
        }
        let mut edited = document.edit(&edit, at.as_deref(), Some("client"), unix, None);
        if matches!(edited, Err(EditError::Refused { .. })) && document.is_broken() {
            // Something of the refused edit is in memory; the next to use the document loads it anew.
            return Ok(());
        }
        if matches!(edited, Err(EditError::Refused { .. })) {
            edited = document.edit(&instead, at.as_deref(), None, unix, None);
        }
        let left_out = document.left_out().count();
        self.trace.note(self.now, "edit", &[left_out as u64], || {
            let left_out: Vec<_> = document.left_out().collect();
            format!("node {node}: {doc:?} by {edit:?} at {at:?}, left out: {left_out:?}")
        });
        let Edited { changes, version } =
            edited.map_err(|e| Failure::new("edits", format!("{doc}: {edit:?}, then {instead:?}: {e}")))?;
        if rng.usize(..READ_ONE_IN) == 0 {
            self.checks.values.read(&doc, document)?;
        }
        clients.versions.push((doc.clone(), version));
        self.checks.unique.made(&changes);
        self.hand_over(node, doc, changes);
        Ok(())
    }

    /// Changes of a foreign actor: the same at two masters, or two that clash, or one that hangs on an earlier one.
    fn hand_in(&mut self, node: usize, up: &[usize]) -> Checked {
        let other = up[self.rng.usize(..up.len())];
        let pick = self.rng.u8(..4);
        if pick == 0 {
            let Some(foreign) = self.rng.choice(&self.clients.foreign) else { return Ok(()) };
            let (doc, raw) = (foreign.doc.clone(), foreign.second.clone());
            return self.admit(node, doc, &raw);
        }
        let Some(doc) = self.rng.choice(&self.clients.docs).cloned() else { return Ok(()) };
        let foreign = foreign(&mut self.rng, doc.clone())
            .ok_or_else(|| Failure::new("harness", "no foreign change".into()))?;
        self.admit(node, doc.clone(), &foreign.first)?;
        match pick {
            1 => self.admit(other, doc, &foreign.first)?,
            2 => self.admit(other, doc, &foreign.twin)?,
            _ => {}
        }
        self.clients.foreign.push(foreign);
        Ok(())
    }

    fn admit(&mut self, node: usize, doc: DocId, raw: &Bytes) -> Checked {
        let Some(process) = &mut self.nodes[node].process else { return Ok(()) };
        let Some(loaded) = process.document(&doc, true)? else { return Ok(()) };
        let document = &mut loaded.document;
        // What clashes with what is here, or hangs on what is not, is rightly refused.
        let Ok(Edited { changes, .. }) = document.admit(raw) else { return Ok(()) };
        self.hand_over(node, doc, changes);
        Ok(())
    }

    fn hand_over(&mut self, node: usize, doc: DocId, changes: Vec<syncline::base::Change>) {
        if changes.is_empty() {
            return;
        }
        let hash = u64::from_be_bytes(changes[0].hash.0[..8].try_into().unwrap());
        self.trace.note(self.now, "write", &[node as u64, hash], || {
            let hashes: Vec<_> = changes.iter().map(|change| change.hash).collect();
            format!("node {node}: {doc:?} gets {hashes:?}")
        });
        self.clients.made += 1;
        self.submit(node, Written { doc, changes });
    }
}

/// An edit, and what to do where it does not fit the document.
fn some_edit(rng: &mut Rng, large: Option<(usize, usize)>) -> (Edit, Edit) {
    let word: String = (0..rng.usize(1..6)).map(|_| rng.lowercase()).collect();
    let number = rng.i64(..1_000);
    let field = format!("field{}", rng.u8(..5));
    let patch = |value: Value| Edit::MergePatch(value);
    if let Some((one_in, bytes)) = large
        && rng.usize(..one_in) == 0
    {
        let long: String = (0..bytes).map(|_| rng.alphanumeric()).collect();
        return (patch(json!({"long": long})), patch(json!({"long": null})));
    }
    let ops = |ops: Vec<Op>| Edit::Ops(ops);
    let key = format!("key{}", rng.u8(..3));
    match rng.u8(..10) {
        0 | 1 => (patch(json!({field: number})), patch(json!({"other": 1}))),
        2 => (patch(json!({"prefs": {key: word}})), patch(json!({"prefs": {"a": {"b": number}}}))),
        3 => {
            let by = ops(vec![Op::Increment { path: "/views".into(), by: number }]);
            (by, patch(json!({"views": {"$counter": number}})))
        }
        4 | 5 => {
            let (pos, delete) = (rng.usize(..4), rng.usize(..2));
            let splice = Op::TextSplice { path: "/note".into(), pos, delete, insert: word.clone() };
            (ops(vec![splice]), patch(json!({"note": {"$text": word}})))
        }
        6 => {
            let insert =
                Op::ListInsert { path: "/items".into(), index: rng.usize(..3), value: json!(number) };
            (ops(vec![insert]), patch(json!({"items": [number, word]})))
        }
        7 => {
            let delete = Op::ListDelete { path: "/items".into(), index: 0, count: 1 };
            (ops(vec![delete]), patch(json!({"items": [word]})))
        }
        8 => {
            let put = Op::Put { path: format!("/prefs/{key}"), value: json!({"word": word}) };
            let delete = Op::Delete { path: "/field0".into() };
            (ops(vec![put, delete]), patch(json!({"prefs": {"made": number}})))
        }
        _ => {
            let whole = json!({field: word, "items": [1, number], "prefs": {"whole": true}});
            (Edit::Put(whole), patch(json!({"other": number})))
        }
    }
}

fn foreign(rng: &mut Rng, doc: DocId) -> Option<Foreign> {
    let actor: [u8; 16] = std::array::from_fn(|_| rng.u8(..));
    let make = |values: [i64; 2]| {
        let mut document = AutoCommit::new().with_actor(ActorId::from(actor));
        let mut made = values.iter().map(|value| {
            document.put(ROOT, "foreign", *value).ok()?;
            document.commit();
            Some(Bytes::copy_from_slice(document.get_last_local_change()?.raw_bytes()))
        });
        Some((made.next()??, made.next()??))
    };
    let (first, second) = make([rng.i64(..100), 1_000])?;
    let (twin, _) = make([rng.i64(100..200), 1_000])?;
    Some(Foreign { doc, first, second, twin })
}
