//! Readers of a node in memory: what they are told adds up to what there is.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::*;
use crate::base::limits::{LIVE_BATCH, SENT_DOCUMENTS};
use crate::base::{Millis, Role};
use crate::crdt::{Document, Edit, fold, parse_ops};
use crate::node::{Condition, NodeConfig, Read, Write};
use crate::store::MemoryStore;

/// Nothing here takes so long, on any machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(disk: &MemoryStore, cluster: &str) -> Node {
    let config = NodeConfig {
        name: "one".into(),
        role: Role::Master,
        cluster: cluster.into(),
        url: None,
        has_peers: false,
        workers: 2,
        bounds: crate::base::Bounds::default(),
        keep_deleted: std::time::Duration::from_secs(3_600),
    };
    Node::start(config, Arc::new(disk.clone())).unwrap()
}

fn node() -> Node {
    start(&MemoryStore::new(), "test")
}

fn doc(id: &str) -> DocId {
    DocId::new(id).unwrap()
}

async fn write(node: &Node, id: &str, edit: Edit) {
    let condition = Condition::default();
    let write = Write { edit, parents: None, condition, author: None, must_exist: false, wait: Millis(0) };
    node.write(&doc(id), write).await.unwrap();
}

async fn put(node: &Node, id: &str, value: Value) {
    write(node, id, Edit::Put(value)).await;
}

async fn read(node: &Node, id: &DocId) -> Option<(Heads, Value)> {
    let reading = node.read(id, Read::default()).await.ok()?;
    Some((reading.version, serde_json::from_slice(&reading.body).unwrap()))
}

/// A reader, and all that it has made of what it was told.
struct Reader {
    subscription: Subscription,
    bell: Arc<Notify>,
    mode: Mode,
    has: BTreeMap<DocId, (Heads, Value)>,
    /// Raw changes, by document.
    raw: BTreeMap<DocId, Document>,
    steps: Vec<&'static str>,
}

fn reader(node: &Node, target: &str, mode: Mode, since: Since) -> Reader {
    let target = match target.strip_prefix('=') {
        Some(id) => Target::Doc(doc(id)),
        None => Target::Prefix(target.to_owned()),
    };
    let bell = Arc::new(Notify::new());
    let subscription = node.subscribe(target, mode, since, bell.clone()).unwrap();
    Reader { subscription, bell, mode, has: BTreeMap::new(), raw: BTreeMap::new(), steps: Vec::new() }
}

impl Reader {
    async fn step(&mut self) -> Step {
        loop {
            match self.subscription.next().await.unwrap() {
                Step::Idle { until: Some(due) } => {
                    let _ = tokio::time::timeout_at(due.into(), self.bell.notified()).await;
                }
                Step::Idle { until: None } => self.bell.notified().await,
                step => return step,
            }
        }
    }

    fn take(&mut self, step: Step) {
        let known = |reader: &Self, doc: &DocId| reader.has.get(doc).map(|(heads, _)| heads.clone());
        let (name, doc, version, value) = match step {
            Step::Notify { doc, version } => ("notify", doc, version, Value::Null),
            Step::Snapshot { doc, version, value } => {
                ("snapshot", doc, version, serde_json::from_str(value.get()).unwrap())
            }
            Step::Patch { doc, from, to, patch } => {
                assert_eq!(
                    known(self, &doc).as_ref(),
                    Some(&from),
                    "a patch goes on from what was sent last"
                );
                let mut value = self.has[&doc].1.clone();
                fold(&mut value, &serde_json::from_str(patch.get()).unwrap()).unwrap();
                ("patch", doc, to, value)
            }
            Step::Changes { doc, from, to, changes } => {
                if from.is_empty() {
                    self.raw.remove(&doc);
                } else if let Some(known) = known(self, &doc) {
                    assert_eq!(known, from);
                }
                let raw = self
                    .raw
                    .entry(doc.clone())
                    .or_insert_with(|| Document::load([9; 16], doc.clone(), None, &[]).unwrap());
                raw.admit(&changes.concat().into()).unwrap();
                assert_eq!(raw.applied_heads(), to);
                let value = serde_json::from_slice(&raw.json(None, false).unwrap().body).unwrap();
                ("changes", doc, to, value)
            }
            Step::Deleted { doc, .. } => {
                self.has.remove(&doc);
                return self.steps.push("deleted");
            }
            step => panic!("{step:?}"),
        };
        assert_ne!(known(self, &doc).as_ref(), Some(&version), "{name} of what was sent already");
        self.steps.push(name);
        self.has.insert(doc, (version, value));
    }

    /// Takes steps until all is told.
    async fn up_to_date(&mut self) {
        let take = async {
            loop {
                match self.step().await {
                    Step::Mark { up_to_date: true } => return,
                    Step::Mark { .. } => {}
                    step => self.take(step),
                }
            }
        };
        timeout(PATIENCE, take).await.expect("a mark");
    }

    /// Takes steps until it has what the node shows.
    async fn agrees(&mut self, node: &Node, ids: &[&str]) {
        let mut shown = BTreeMap::new();
        for id in ids.iter().map(|id| doc(id)) {
            if let Some((version, value)) = read(node, &id).await {
                let value = if self.mode == Mode::Notify { Value::Null } else { value };
                shown.insert(id, (version, value));
            }
        }
        let take = async {
            while self.has != shown {
                match self.step().await {
                    Step::Mark { .. } => {}
                    step => self.take(step),
                }
            }
        };
        if timeout(PATIENCE, take).await.is_err() {
            assert_eq!(self.has, shown);
        }
    }

    fn cursor(&self) -> Since {
        let node = &self.subscription;
        Since::Cursor(node.read_own_cursor())
    }
}

impl Subscription {
    fn read_own_cursor(&self) -> Cursor {
        let text = self.cursor().unwrap();
        Cursor::from_text(&text, "test").unwrap()
    }

    fn kept(&self) -> usize {
        self.reader.sent.len()
    }

    fn is_of_one(&self) -> bool {
        matches!(self.reader.target, Target::Doc(_))
    }
}

const MODES: [Mode; 4] = [Mode::Notify, Mode::Changes, Mode::Value, Mode::Patch];

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_is_told_what_there_is_and_then_what_changes() {
    for mode in MODES {
        let node = node();
        put(&node, "a/1", json!({"t": {"$text": "Mlk"}})).await;
        put(&node, "b", json!({})).await;
        let mut one = reader(&node, "=a/1", mode, Since::Beginning);
        let mut some = reader(&node, "a/", mode, Since::Beginning);
        let mut all = reader(&node, "", mode, Since::Beginning);
        let mut new = reader(&node, "", mode, Since::Now);
        one.up_to_date().await;
        some.up_to_date().await;
        all.up_to_date().await;
        new.up_to_date().await;
        assert_eq!((one.has.len(), some.has.len(), all.has.len(), new.has.len()), (1, 1, 2, 0));
        let splice = json!([{"op": "text.splice", "path": "/t", "pos": 1, "insert": "i"}]);
        write(&node, "a/1", Edit::Ops(parse_ops(&splice).unwrap())).await;
        put(&node, "a/2", json!({"new": true})).await;
        one.agrees(&node, &["a/1"]).await;
        some.agrees(&node, &["a/1", "a/2"]).await;
        all.agrees(&node, &["a/1", "a/2", "b"]).await;
        new.agrees(&node, &["a/1", "a/2"]).await;
        let told = if mode == Mode::Value { "snapshot" } else { one.steps[1] };
        assert_eq!(one.steps, [one.steps[0], told]);
        assert_eq!(one.steps[1] == "patch", mode == Mode::Patch);
        write(&node, "a/1", Edit::Delete).await;
        some.agrees(&node, &["a/2"]).await;
        assert_eq!(some.steps.last(), Some(&"deleted"));
        put(&node, "a/1", json!({"back": 1})).await;
        some.agrees(&node, &["a/1", "a/2"]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_from_a_cursor_and_is_told_nothing_twice() {
    for mode in MODES {
        let disk = MemoryStore::new();
        let node = start(&disk, "test");
        for n in 0..20 {
            put(&node, &format!("d{n}"), json!({"n": n})).await;
        }
        let mut first = reader(&node, "", mode, Since::Beginning);
        first.up_to_date().await;
        let cursor = first.cursor();
        put(&node, "d3", json!({"n": "new"})).await;
        write(&node, "d4", Edit::Delete).await;
        let mut second = reader(&node, "", mode, cursor.clone());
        second.up_to_date().await;
        let is_there = if mode == Mode::Changes { 2 } else { 1 };
        assert_eq!(
            second.steps.iter().filter(|step| **step != "deleted").count(),
            is_there,
            "{mode:?}: {:?}",
            (&second.steps, &second.has)
        );
        assert_eq!(second.steps.iter().filter(|step| **step == "deleted").count(), 1);
        let mut third = reader(&node, "", mode, second.cursor());
        third.up_to_date().await;
        assert_eq!(third.steps, [""; 0]);
        // After a start nothing is kept in memory: the log is read.
        node.stop().await;
        let again = start(&disk, "test");
        let mut fourth = reader(&again, "", mode, cursor);
        fourth.up_to_date().await;
        assert_eq!(fourth.steps, second.steps);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_of_one_document_goes_on_from_a_version() {
    let node = node();
    put(&node, "a", json!({"n": 1})).await;
    let (version, value) = read(&node, &doc("a")).await.unwrap();
    put(&node, "a", json!({"n": 2})).await;
    for mode in MODES {
        let mut later = reader(&node, "=a", mode, Since::Version(version.clone()));
        if mode == Mode::Patch {
            later.has.insert(doc("a"), (version.clone(), value.clone()));
        }
        if mode == Mode::Changes {
            let (raw, _) = node.changes(&doc("a"), None).await.unwrap();
            let mut known = Document::load([9; 16], doc("a"), None, &[]).unwrap();
            known.admit(&raw).unwrap();
            later.raw.insert(doc("a"), known);
        }
        later.agrees(&node, &["a"]).await;
        assert_eq!(later.steps.len(), 1);
        let now = read(&node, &doc("a")).await.unwrap().0;
        let mut latest = reader(&node, "=a", mode, Since::Version(now));
        latest.up_to_date().await;
        assert_eq!(latest.steps, [""; 0], "{mode:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cursor_of_what_is_not_here_is_waited_for_and_then_refused() {
    let (one, other) = (node(), node());
    put(&other, "a", json!({})).await;
    let mut ahead = reader(&other, "", Mode::Notify, Since::Beginning);
    ahead.up_to_date().await;
    let mut reader = reader(&one, "", Mode::Notify, ahead.cursor());
    let step = timeout(PATIENCE, reader.step()).await.unwrap();
    assert!(matches!(step, Step::Refetch { .. }), "{step:?}");
    assert!(matches!(reader.subscription.next().await, Ok(Step::Idle { until: None })));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_documents_are_told_in_pages_each_of_which_can_be_gone_on_from() {
    let node = node();
    let ids: Vec<String> = (0..2 * LIVE_BATCH + 7).map(|n| format!("d{n:05}")).collect();
    for id in &ids {
        put(&node, id, json!({"id": id})).await;
    }
    let mut told = BTreeMap::new();
    let mut since = Since::Beginning;
    // Each reader goes away at its first mark.
    let pages = async {
        loop {
            let mut reader = reader(&node, "d", Mode::Value, since.clone());
            loop {
                match reader.step().await {
                    Step::Mark { up_to_date: true } => {
                        told.extend(reader.has);
                        return;
                    }
                    Step::Mark { .. } => break,
                    step => reader.take(step),
                }
            }
            since = reader.cursor();
            assert!(reader.has.keys().all(|id| !told.contains_key(id)), "a document that was told already");
            told.extend(reader.has);
        }
    };
    timeout(PATIENCE, pages).await.unwrap();
    assert_eq!(told.len(), ids.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_subscription_keeps_does_not_grow_with_documents() {
    let node = node();
    let mut reader = reader(&node, "", Mode::Notify, Since::Beginning);
    reader.up_to_date().await;
    for n in 0..SENT_DOCUMENTS + 50 {
        put(&node, &format!("d{n}"), json!({})).await;
    }
    while reader.has.len() < SENT_DOCUMENTS + 50 {
        reader.up_to_date().await;
    }
    assert_eq!(reader.subscription.kept(), SENT_DOCUMENTS);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_look_at_a_document_is_shared_by_all_its_readers() {
    let node = node();
    put(&node, "a", json!({"n": 0})).await;
    let mut readers: Vec<Reader> =
        (0..20).map(|_| reader(&node, "=a", Mode::Patch, Since::Beginning)).collect();
    let mut values = Vec::new();
    for reader in &mut readers {
        match reader.step().await {
            Step::Snapshot { value, .. } => values.push(value),
            step => panic!("{step:?}"),
        }
    }
    assert!(values.iter().all(|value| Arc::ptr_eq(value, &values[0])));
}

#[tokio::test(flavor = "multi_thread")]
async fn keystrokes_in_a_text_that_takes_long_to_compare_are_patches_for_all_who_follow_it() {
    let node = node();
    put(&node, "a", json!({"t": {"$text": "x".repeat(1_000_000)}})).await;
    let mut readers: Vec<Reader> =
        (0..3).map(|_| reader(&node, "=a", Mode::Patch, Since::Beginning)).collect();
    for reader in &mut readers {
        reader.up_to_date().await;
    }
    for n in 0..5 {
        let splice = json!([{"op": "text.splice", "path": "/t", "pos": 7 * n, "insert": "ab"}]);
        write(&node, "a", Edit::Ops(parse_ops(&splice).unwrap())).await;
        for reader in &mut readers {
            reader.agrees(&node, &["a"]).await;
        }
    }
    for reader in &readers {
        assert_eq!(reader.steps[0], "snapshot");
        assert!(reader.steps[1..].iter().all(|step| *step == "patch"), "{:?}", reader.steps);
    }
}

fn edits() -> impl Strategy<Value = Vec<(usize, u8, u8)>> {
    prop::collection::vec((0..3_usize, any::<u8>(), any::<u8>()), 1..60)
}

fn edit(what: u8, n: u8) -> Edit {
    let ops = |ops: Value| Edit::Ops(parse_ops(&ops).unwrap());
    match what % 6 {
        0 => Edit::Delete,
        1 => Edit::Put(json!({"n": n, "list": [n, {"id": n}], "t": {"$text": "abc"}})),
        2 => Edit::MergePatch(json!({"t": {"$text": format!("{n} letters")}, "m": {"x": n}})),
        3 => Edit::MergePatch(json!({"list": [n % 3, {"id": n % 5, "v": [n]}, "x"]})),
        4 => ops(json!([{"op": "increment", "path": "/count", "by": n}])),
        _ => Edit::MergePatch(json!({"n": null, "m": null})),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn at_every_mark_what_was_told_is_what_there_is(
        edits in edits(),
        pauses in prop::collection::vec(any::<bool>(), 60),
        mode in prop::sample::select(MODES.to_vec()),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let node = node();
            let ids = ["p/a", "p/b", "q"];
            let mut readers =
                ["=p/a", "p/", ""].map(|target| reader(&node, target, mode, Since::Beginning));
            for ((of, what, n), pause) in edits.into_iter().zip(pauses) {
                write(&node, ids[of], edit(what, n)).await;
                if pause {
                    for (reader, takes) in readers.iter_mut().zip([&ids[..1], &ids[..2], &ids[..]]) {
                        reader.agrees(&node, takes).await;
                    }
                }
            }
            for (reader, takes) in readers.iter_mut().zip([&ids[..1], &ids[..2], &ids[..]]) {
                reader.agrees(&node, takes).await;
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_of_documents_that_never_rest_are_always_right_at_marks() {
    let node = node();
    let writers: Vec<_> = (0..2_u8)
        .map(|of| {
            let node = node.clone();
            tokio::spawn(async move {
                for n in 0..150 {
                    let splice = json!([{"op": "text.splice", "path": "/t", "pos": n / 2, "insert": "ab"}]);
                    let edit = if n == 0 {
                        Edit::Put(json!({"t": {"$text": ""}}))
                    } else {
                        Edit::Ops(parse_ops(&splice).unwrap())
                    };
                    write(&node, &format!("d{of}"), edit).await;
                }
            })
        })
        .collect();
    let readers: Vec<_> = MODES
        .into_iter()
        .flat_map(|mode| ["", "=d1"].map(|target| (mode, target)))
        .map(|(mode, target)| {
            let node = node.clone();
            tokio::spawn(async move {
                let mut reader = reader(&node, target, mode, Since::Beginning);
                while reader.has.values().map(|(_, value)| value["t"].as_str().map_or(0, str::len)).max()
                    < Some(298)
                    && mode != Mode::Notify
                {
                    let step = timeout(PATIENCE, reader.step()).await.unwrap();
                    if !matches!(step, Step::Mark { .. }) {
                        reader.take(step);
                    }
                }
                reader
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    for reader in readers {
        let mut reader = reader.await.unwrap();
        let ids = if reader.subscription.is_of_one() { &["d1"][..] } else { &["d0", "d1"] };
        reader.agrees(&node, ids).await;
    }
}

#[test]
fn a_target_takes_what_begins_so() {
    let takes = |target: Target, id: &str| target.takes(&doc(id));
    assert!(takes(Target::Prefix("a/".into()), "a/b") && !takes(Target::Prefix("a/".into()), "a"));
    assert!(takes(Target::Prefix(String::new()), "x"));
    assert!(takes(Target::Doc(doc("a")), "a") && !takes(Target::Doc(doc("a")), "a/b"));
}
