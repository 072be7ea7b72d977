//! The contract of a store as tests: each claim is run against every implementation.

use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use tempfile::TempDir;

use super::{
    Commit, Fold, Incarnation, LogItem, MemoryStore, MetaKey, Record, Recovered, RocksStore, Store, TailItem,
    Whole,
};
use crate::base::{Change, DocId, Hash, Heads, Lsn, Millis, NodeId, Origin, VersionVector};

/// A store that can be closed and opened again.
trait Subject: Sync {
    fn fresh() -> Self;
    fn reopen(self) -> Self;
    fn store(&self) -> &dyn Store;
}

struct Memory(MemoryStore);

/// The store before its folder, so that it is dropped first.
struct Rocks(RocksStore, TempDir);

impl Subject for Memory {
    fn fresh() -> Self {
        Self(MemoryStore::new())
    }

    fn reopen(self) -> Self {
        Self(self.0.restart())
    }

    fn store(&self) -> &dyn Store {
        &self.0
    }
}

impl Subject for Rocks {
    fn fresh() -> Self {
        let folder = TempDir::new().unwrap();
        Self(RocksStore::open(folder.path()).unwrap(), folder)
    }

    fn reopen(self) -> Self {
        let Self(store, folder) = self;
        drop(store);
        Self(RocksStore::open(folder.path()).unwrap(), folder)
    }

    fn store(&self) -> &dyn Store {
        &self.0
    }
}

macro_rules! claims {
    ($($claim:ident)*) => {
        mod memory {
            $(#[test] fn $claim() { super::$claim::<super::Memory>(); })*
        }
        mod rocks {
            $(#[test] fn $claim() { super::$claim::<super::Rocks>(); })*
        }
    };
}

claims! {
    an_unused_store_recovers_to_nothing
    a_commit_gives_back_what_it_was_handed
    an_empty_commit_changes_nothing
    what_a_commit_leaves_out_stays_as_it_was
    a_later_item_replaces_an_earlier_one
    opening_again_finds_the_same
    lists_are_in_order_of_id_bytes
    lists_show_a_prefix_and_nothing_beside_it
    lists_go_on_above_the_id_named
    tails_of_documents_with_like_ids_are_apart
    a_tail_is_read_above_an_lsn
    an_entrys_changes_keep_their_order
    a_fold_takes_the_changes_it_names_and_leaves_the_others
    the_log_is_read_in_order_from_any_lsn
    the_log_gives_at_least_one_entry_and_then_up_to_the_limit
    lsns_that_no_commit_used_are_skipped
    seeking_finds_the_newest_mark_that_fits
    seeking_without_a_fitting_mark_starts_at_the_first_entry
    trimming_takes_entries_and_marks_below_and_nothing_else
    a_trimmed_log_goes_on_after_a_restart
    a_dropped_document_is_gone_whole_and_its_neighbours_stay
    a_document_may_be_dropped_and_come_back_in_one_commit
    rows_of_known_nodes_are_replaced_and_removed
    holes_are_kept_until_nothing_is_missing
    floor_and_distrust_are_kept_until_they_are_replaced
    a_whole_document_is_of_one_moment
    marks_are_told_in_order
    the_bytes_of_the_log_grow_with_it_and_shrink_when_it_is_trimmed
    readers_see_whole_commits_while_others_are_written
}

/// Ids that are easily confused: prefixes of one another, of several bytes a character, and at the ends
/// of what sorts.
const TRICKY: [&str; 14] = [
    " ",
    "a",
    "a ",
    "a!",
    "a/",
    "a/b",
    "a/b/c",
    "aa",
    "ab",
    "a\u{7ff}",
    "a\u{10ffff}",
    "a\u{10ffff}\u{10ffff}",
    "b",
    "\u{10ffff}",
];

fn doc(id: &str) -> DocId {
    DocId::new(id).unwrap()
}

fn hash(n: u64) -> Hash {
    Hash(*blake3::hash(&n.to_le_bytes()).as_bytes())
}

fn change(n: u64) -> Change {
    let deps: Heads = (1..=n % 3).map(|i| hash(n.wrapping_sub(i))).collect();
    Change { hash: hash(n), deps, bytes: Bytes::from(vec![n as u8; (n % 100) as usize]) }
}

fn record(n: u64) -> Record {
    Record {
        heads: (0..n % 4).map(hash).collect(),
        deletions: (0..n % 2).map(hash).collect(),
        changes: n,
        bytes: n * 1_000,
        folded: n / 2,
        tail_bytes: n * 500,
        last_lsn: Lsn(n),
        created: Millis(n + 1),
        modified: Millis(n + 2),
        fenced: n.is_multiple_of(3).then(|| format!("reason {n}")),
    }
}

fn vector(counter: u64) -> VersionVector {
    let origin = |n: u8| Origin { node: NodeId([n; 8]), incarnation: u32::from(n), random: 7 };
    [(origin(1), counter), (origin(2), 3)].into_iter().collect()
}

fn entry(lsn: u64, bytes: usize) -> LogItem {
    LogItem { lsn: Lsn(lsn), bytes: vec![lsn as u8; bytes].into() }
}

fn tail_item(id: &str, lsn: u64, changes: &[u64]) -> TailItem {
    TailItem { doc: doc(id), lsn: Lsn(lsn), changes: changes.iter().copied().map(change).collect() }
}

fn records(ids: &[&str]) -> Commit {
    Commit { records: ids.iter().map(|id| (doc(id), record(1))).collect(), ..Commit::default() }
}

fn log(items: impl IntoIterator<Item = LogItem>) -> Commit {
    Commit { log: items.into_iter().collect(), ..Commit::default() }
}

fn tail(items: impl IntoIterator<Item = TailItem>) -> Commit {
    Commit { tail: items.into_iter().collect(), ..Commit::default() }
}

/// A commit of everything that there is.
fn everything() -> Commit {
    Commit {
        trim: Some(Lsn(1)),
        drops: vec![doc("d")],
        log: vec![entry(1, 10), entry(2, 0)],
        tail: vec![tail_item("a", 1, &[1, 2]), tail_item("b", 2, &[3])],
        records: vec![(doc("a"), record(1)), (doc("b"), record(6))],
        folds: vec![Fold { doc: doc("c"), snapshot: Bytes::from_static(b"saved"), folded: vec![] }],
        vector: Some((vector(2), [8; 16])),
        marks: vec![(Lsn(2), vector(2))],
        floor: Some(vector(1)),
        known: vec![
            (NodeId([7; 8]), Bytes::from_static(b"seven")),
            (NodeId([6; 8]), Bytes::from_static(b"six")),
        ],
        holes: vec![(doc("b"), hashes(&[1, 2])), (doc("a"), hashes(&[3]))],
        meta: vec![
            MetaKey::Untrusted(true),
            MetaKey::Ahead(vector(3)),
            MetaKey::Node(NodeId([4; 8])),
            MetaKey::Cluster("cluster ü".into()),
            MetaKey::Incarnation(Incarnation { number: 5, random: u32::MAX }),
        ],
    }
}

/// All that a store tells, as one value to compare.
fn all(store: &dyn Store, ids: &[&str]) -> String {
    let docs = ids.iter().map(|id| {
        let doc = doc(id);
        (
            store.record(&doc).unwrap(),
            store.tail(&doc, Lsn(0)).unwrap(),
            store.tail(&doc, Lsn(20)).unwrap(),
            store.snapshot(&doc).unwrap(),
            store.whole(&doc).unwrap(),
        )
    });
    let docs: Vec<_> = docs.collect();
    let recovered = store.recover().unwrap();
    let listed = store.list("", None, usize::MAX).unwrap();
    let log = store.log(Lsn(0), usize::MAX).unwrap();
    let seek = [0, 10, 20, u64::MAX].map(|n| store.seek(&|mark| vector(n).covers(mark)).unwrap());
    let marks = store.marks().unwrap();
    format!("{recovered:?} {docs:?} {listed:?} {log:?} {seek:?} {marks:?}")
}

fn listed(store: &dyn Store, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let rows = store.list(prefix, after, limit).unwrap();
    rows.into_iter().map(|(doc, _)| doc.as_str().to_owned()).collect()
}

fn lsns(items: &[(Lsn, Bytes)]) -> Vec<u64> {
    items.iter().map(|(lsn, _)| lsn.0).collect()
}

fn an_unused_store_recovers_to_nothing<S: Subject>() {
    let mut subject = S::fresh();
    for _ in 0..2 {
        let store = subject.store();
        assert_eq!(store.recover().unwrap(), Recovered::default());
        assert_eq!(store.record(&doc("a")).unwrap(), None);
        assert_eq!(store.snapshot(&doc("a")).unwrap(), None);
        assert_eq!(store.whole(&doc("a")).unwrap(), None);
        assert_eq!(store.log_bytes(Lsn(u64::MAX)).unwrap(), 0);
        assert!(store.marks().unwrap().is_empty());
        assert!(store.tail(&doc("a"), Lsn(0)).unwrap().is_empty());
        assert!(store.list("", None, 10).unwrap().is_empty());
        assert!(store.log(Lsn(0), 10).unwrap().is_empty());
        assert_eq!(store.seek(&|_| true).unwrap(), Lsn(1));
        subject = subject.reopen();
    }
}

fn a_commit_gives_back_what_it_was_handed<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    let commit = everything();
    store.commit(&commit).unwrap();
    assert_eq!(
        store.recover().unwrap(),
        Recovered {
            node: Some(NodeId([4; 8])),
            cluster: Some("cluster ü".into()),
            incarnation: Some(Incarnation { number: 5, random: u32::MAX }),
            vector: vector(2),
            digest: [8; 16],
            floor: vector(1),
            known: vec![
                (NodeId([6; 8]), Bytes::from_static(b"six")),
                (NodeId([7; 8]), Bytes::from_static(b"seven"))
            ],
            holes: vec![(doc("a"), hashes(&[3])), (doc("b"), hashes(&[1, 2]))],
            untrusted: true,
            ahead: vector(3),
            first_lsn: Lsn(1),
            last_lsn: Lsn(2),
        }
    );
    assert_eq!(store.record(&doc("a")).unwrap(), Some(record(1)));
    assert_eq!(store.list("", None, 10).unwrap(), commit.records);
    assert_eq!(store.tail(&doc("a"), Lsn(0)).unwrap(), [(Lsn(1), change(1)), (Lsn(1), change(2))]);
    assert_eq!(store.tail(&doc("b"), Lsn(0)).unwrap(), [(Lsn(2), change(3))]);
    assert_eq!(store.snapshot(&doc("c")).unwrap(), Some(Bytes::from_static(b"saved")));
    let entries: Vec<_> = commit.log.iter().map(|item| (item.lsn, item.bytes.clone())).collect();
    assert_eq!(store.log(Lsn(1), usize::MAX).unwrap(), entries);
    assert_eq!(store.seek(&|mark| *mark == vector(2)).unwrap(), Lsn(3));
}

fn an_empty_commit_changes_nothing<S: Subject>() {
    let subject = S::fresh();
    let before = all(subject.store(), &TRICKY);
    subject.store().commit(&Commit::default()).unwrap();
    assert_eq!(all(subject.store(), &TRICKY), before);
}

fn what_a_commit_leaves_out_stays_as_it_was<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    store.commit(&everything()).unwrap();
    let before = all(store, &["a", "b", "c"]);
    store.commit(&records(&["z"])).unwrap();
    assert_eq!(store.record(&doc("z")).unwrap(), Some(record(1)));
    assert_ne!(all(store, &["a", "b", "c"]), before, "the list has one more");
    let meta = vec![MetaKey::Incarnation(Incarnation { number: 6, random: 0 })];
    store.commit(&Commit { meta, ..Commit::default() }).unwrap();
    let now = store.recover().unwrap();
    assert_eq!(
        (now.node, now.vector, now.digest, now.last_lsn),
        (Some(NodeId([4; 8])), vector(2), [8; 16], Lsn(2))
    );
    assert_eq!(now.incarnation.map(|i| i.number), Some(6));
    assert_eq!(store.tail(&doc("a"), Lsn(0)).unwrap().len(), 2);
}

fn a_later_item_replaces_an_earlier_one<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    let twice = Commit {
        records: vec![(doc("a"), record(1)), (doc("a"), record(2))],
        tail: vec![tail_item("a", 1, &[1, 2]), tail_item("a", 1, &[3])],
        ..Commit::default()
    };
    store.commit(&twice).unwrap();
    assert_eq!(store.record(&doc("a")).unwrap(), Some(record(2)));
    assert_eq!(store.tail(&doc("a"), Lsn(0)).unwrap(), [(Lsn(1), change(3))]);
    store.commit(&records(&["a"])).unwrap();
    assert_eq!(store.record(&doc("a")).unwrap(), Some(record(1)));
    assert_eq!(store.list("", None, 10).unwrap().len(), 1);
}

fn opening_again_finds_the_same<S: Subject>() {
    let mut subject = S::fresh();
    subject.store().commit(&everything()).unwrap();
    for round in 0..3_u64 {
        let store = subject.store();
        store.commit(&log([entry(10 + round, 100)])).unwrap();
        store.commit(&tail([tail_item("a", 10 + round, &[round + 50])])).unwrap();
        store.commit(&records(&["a", "d"])).unwrap();
        let before = all(store, &["a", "b", "c", "d"]);
        subject = subject.reopen();
        assert_eq!(all(subject.store(), &["a", "b", "c", "d"]), before);
    }
}

fn lists_are_in_order_of_id_bytes<S: Subject>() {
    let subject = S::fresh();
    let mut shuffled = TRICKY;
    fastrand::Rng::with_seed(1).shuffle(&mut shuffled);
    for ids in shuffled.chunks(4) {
        subject.store().commit(&records(ids)).unwrap();
    }
    let mut sorted = TRICKY;
    sorted.sort_by(|a, b| a.as_bytes().cmp(b.as_bytes()));
    assert_eq!(listed(subject.store(), "", None, usize::MAX), sorted);
}

fn lists_show_a_prefix_and_nothing_beside_it<S: Subject>() {
    let subject = S::fresh();
    subject.store().commit(&records(&TRICKY)).unwrap();
    for prefix in TRICKY.iter().copied().chain(["", "c", "a/b/c/d", "\0", "a\0"]) {
        let mut expected: Vec<_> = TRICKY.into_iter().filter(|id| id.starts_with(prefix)).collect();
        expected.sort_unstable();
        assert_eq!(listed(subject.store(), prefix, None, usize::MAX), expected, "under {prefix:?}");
    }
}

fn lists_go_on_above_the_id_named<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    store.commit(&records(&TRICKY)).unwrap();
    for prefix in ["", "a", "a/", "b", "\u{10ffff}"] {
        for after in TRICKY.into_iter().chain(["", "Z", "a/a", "zz"]) {
            let above = TRICKY.into_iter().filter(|id| id.starts_with(prefix) && *id > after);
            let mut expected: Vec<_> = above.collect();
            expected.sort_unstable();
            assert_eq!(listed(store, prefix, Some(after), usize::MAX), expected, "{prefix:?} {after:?}");
        }
        let whole = listed(store, prefix, None, usize::MAX);
        let mut paged: Vec<String> = Vec::new();
        loop {
            let page = listed(store, prefix, paged.last().map(String::as_str), 3);
            assert!(page.len() <= 3);
            if page.is_empty() {
                break;
            }
            paged.extend(page);
        }
        assert_eq!(paged, whole, "by pages under {prefix:?}");
    }
    assert!(listed(store, "", None, 0).is_empty());
}

fn tails_of_documents_with_like_ids_are_apart<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    for lsn in [1, 255, 256, 1 << 32, u64::MAX] {
        store.commit(&tail((1..).zip(TRICKY).map(|(n, id)| tail_item(id, lsn, &[n])))).unwrap();
    }
    for (n, id) in (1..).zip(TRICKY) {
        let found = store.tail(&doc(id), Lsn(0)).unwrap();
        let expected = [1, 255, 256, 1 << 32, u64::MAX].map(|lsn| (Lsn(lsn), change(n)));
        assert_eq!(found, expected, "tail of {id:?}");
    }
}

fn a_tail_is_read_above_an_lsn<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    let at = [2, 3, 300, u64::MAX];
    store.commit(&tail(at.map(|lsn| tail_item("a", lsn, &[1])))).unwrap();
    for after in [0, 1, 2, 3, 299, 300, u64::MAX - 1, u64::MAX] {
        let found: Vec<_> = store.tail(&doc("a"), Lsn(after)).unwrap().iter().map(|(lsn, _)| lsn.0).collect();
        assert_eq!(found, at.into_iter().filter(|lsn| *lsn > after).collect::<Vec<_>>(), "after {after}");
    }
}

fn an_entrys_changes_keep_their_order<S: Subject>() {
    let subject = S::fresh();
    let order = [9, 1, 100, 5, 3, 299];
    subject.store().commit(&tail([tail_item("a", 7, &order)])).unwrap();
    assert_eq!(subject.store().tail(&doc("a"), Lsn(6)).unwrap(), order.map(|n| (Lsn(7), change(n))));
}

fn a_fold_takes_the_changes_it_names_and_leaves_the_others<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    store.commit(&tail((1..=5).map(|lsn| tail_item("a", lsn, &[lsn])))).unwrap();
    store.commit(&tail([tail_item("ab", 2, &[2])])).unwrap();
    let fold = |snapshot: &'static [u8], folded: &[u64]| Fold {
        doc: doc("a"),
        snapshot: Bytes::from_static(snapshot),
        folded: folded.iter().copied().map(Lsn).collect(),
    };
    store.commit(&Commit { folds: vec![fold(b"one", &[1, 2, 4])], ..Commit::default() }).unwrap();
    assert_eq!(store.tail(&doc("a"), Lsn(0)).unwrap(), [3, 5].map(|n| (Lsn(n), change(n))));
    assert_eq!(store.tail(&doc("ab"), Lsn(0)).unwrap().len(), 1);
    assert_eq!(store.snapshot(&doc("a")).unwrap().as_deref(), Some(&b"one"[..]));
    // What comes in the same commit comes on top, and folding what is gone already is no fault.
    let on_top = Commit {
        folds: vec![fold(b"two", &[1, 3, 5])],
        tail: vec![tail_item("a", 6, &[6])],
        ..Commit::default()
    };
    store.commit(&on_top).unwrap();
    assert_eq!(store.tail(&doc("a"), Lsn(0)).unwrap(), [(Lsn(6), change(6))]);
    let subject = subject.reopen();
    assert_eq!(subject.store().snapshot(&doc("a")).unwrap().as_deref(), Some(&b"two"[..]));
    assert_eq!(subject.store().tail(&doc("a"), Lsn(0)).unwrap(), [(Lsn(6), change(6))]);
}

fn the_log_is_read_in_order_from_any_lsn<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    for batch in [1..=3, 4..=300, 301..=302] {
        store.commit(&log(batch.map(|lsn| entry(lsn, 10)))).unwrap();
    }
    for from in [0, 1, 2, 255, 256, 257, 302, 303, u64::MAX] {
        let found = store.log(Lsn(from), usize::MAX).unwrap();
        assert_eq!(lsns(&found), (from.max(1)..=302).collect::<Vec<_>>(), "from {from}");
        assert!(found.iter().all(|(lsn, bytes)| *bytes == entry(lsn.0, 10).bytes));
    }
    assert_eq!(store.recover().unwrap().last_lsn, Lsn(302));
}

fn the_log_gives_at_least_one_entry_and_then_up_to_the_limit<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    store.commit(&log([entry(1, 100), entry(2, 50), entry(3, 0), entry(4, 50), entry(5, 100)])).unwrap();
    let cases: [(usize, &[u64]); 7] = [
        (0, &[1]),
        (99, &[1]),
        (149, &[1]),
        (150, &[1, 2, 3]),
        (199, &[1, 2, 3]),
        (200, &[1, 2, 3, 4]),
        (300, &[1, 2, 3, 4, 5]),
    ];
    for (most, expected) in cases {
        assert_eq!(lsns(&store.log(Lsn(1), most).unwrap()), expected, "at most {most} bytes");
    }
    assert_eq!(lsns(&store.log(Lsn(5), 1).unwrap()), [5]);
}

fn lsns_that_no_commit_used_are_skipped<S: Subject>() {
    let subject = S::fresh();
    subject.store().commit(&log([entry(3, 1), entry(7, 1)])).unwrap();
    for (from, expected) in [(1, &[3, 7][..]), (3, &[3, 7]), (4, &[7]), (8, &[])] {
        assert_eq!(lsns(&subject.store().log(Lsn(from), usize::MAX).unwrap()), expected, "from {from}");
    }
    assert_eq!(subject.store().seek(&|_| false).unwrap(), Lsn(3));
}

fn seeking_finds_the_newest_mark_that_fits<S: Subject>() {
    let subject = S::fresh();
    for lsn in 1..=1_000 {
        let marks = if lsn % 100 == 0 { vec![(Lsn(lsn), vector(lsn))] } else { vec![] };
        let commit = Commit { marks, ..log([entry(lsn, 1)]) };
        // The last fsync covers those before it; this claim is about marks.
        subject.store().commit(&commit).unwrap();
    }
    let subject = subject.reopen();
    for (has, expected) in
        [(99, 1), (100, 101), (101, 101), (555, 501), (999, 901), (1_000, 1_001), (u64::MAX, 1_001)]
    {
        let found = subject.store().seek(&|mark| vector(has).covers(mark)).unwrap();
        assert_eq!(found, Lsn(expected), "for one who has {has}");
    }
}

fn seeking_without_a_fitting_mark_starts_at_the_first_entry<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    store.commit(&log([entry(5, 1), entry(6, 1)])).unwrap();
    assert_eq!(store.seek(&|_| true).unwrap(), Lsn(5), "there is no mark");
    // A mark below the log's beginning, as trimming leaves it.
    let marks = vec![(Lsn(2), vector(2)), (Lsn(6), vector(6))];
    store.commit(&Commit { marks, ..Commit::default() }).unwrap();
    assert_eq!(store.seek(&|_| false).unwrap(), Lsn(5), "none fits");
    assert_eq!(store.seek(&|mark| vector(2).covers(mark)).unwrap(), Lsn(5));
    assert_eq!(store.seek(&|_| true).unwrap(), Lsn(7));
}

fn trim(below: u64) -> Commit {
    Commit { trim: Some(Lsn(below)), ..Commit::default() }
}

fn trimming_takes_entries_and_marks_below_and_nothing_else<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    for lsn in 1..=20 {
        let marks = if lsn % 5 == 0 { vec![(Lsn(lsn), vector(lsn))] } else { vec![] };
        store.commit(&Commit { marks, ..log([entry(lsn, 10)]) }).unwrap();
    }
    store
        .commit(&Commit { records: vec![(doc("a"), record(1))], ..tail([tail_item("a", 3, &[3])]) })
        .unwrap();
    store.commit(&trim(10)).unwrap();
    for (from, expected) in [(0, 10..=20), (9, 10..=20), (10, 10..=20), (11, 11..=20)] {
        let found = lsns(&store.log(Lsn(from), usize::MAX).unwrap());
        assert_eq!(found, expected.collect::<Vec<_>>(), "from {from}");
    }
    let marks: Vec<_> = store.marks().unwrap().iter().map(|(lsn, _)| lsn.0).collect();
    assert_eq!(marks, [10, 15, 20]);
    assert_eq!(store.seek(&|_| false).unwrap(), Lsn(10));
    assert_eq!(store.seek(&|mark| vector(12).covers(mark)).unwrap(), Lsn(11));
    let found = store.recover().unwrap();
    assert_eq!((found.first_lsn, found.last_lsn), (Lsn(10), Lsn(20)));
    assert_eq!(store.tail(&doc("a"), Lsn(0)).unwrap(), [(Lsn(3), change(3))], "tails are not the log");
    // What the same commit writes below stays, and trimming less than before does nothing.
    let marks = vec![(Lsn(18), vector(18))];
    store.commit(&Commit { trim: Some(Lsn(20)), marks, ..log([entry(19, 1), entry(21, 1)]) }).unwrap();
    store.commit(&trim(3)).unwrap();
    assert_eq!(lsns(&store.log(Lsn(0), usize::MAX).unwrap()), [19, 20, 21]);
    assert_eq!(store.marks().unwrap(), [(Lsn(18), vector(18)), (Lsn(20), vector(20))]);
}

fn a_trimmed_log_goes_on_after_a_restart<S: Subject>() {
    let mut subject = S::fresh();
    for round in 0..4 {
        let first = 1 + round * 10;
        subject.store().commit(&log((first..first + 10).map(|lsn| entry(lsn, 10)))).unwrap();
        subject.store().commit(&trim(first + 9)).unwrap();
        subject = subject.reopen();
        let found = subject.store().recover().unwrap();
        assert_eq!((found.first_lsn, found.last_lsn), (Lsn(first + 9), Lsn(first + 9)));
        assert_eq!(lsns(&subject.store().log(Lsn(0), usize::MAX).unwrap()), [first + 9]);
    }
}

/// A record, a snapshot, and a tail of so many items.
fn document(id: &str, items: u64) -> Commit {
    Commit {
        records: vec![(doc(id), record(1))],
        folds: vec![Fold { doc: doc(id), snapshot: Bytes::from_static(b"saved"), folded: vec![] }],
        tail: (1..=items).map(|lsn| tail_item(id, lsn, &[lsn])).collect(),
        ..Commit::default()
    }
}

fn a_dropped_document_is_gone_whole_and_its_neighbours_stay<S: Subject>() {
    // Few items are deleted one by one, many as a range.
    for items in [0, 1, 5, 1_000] {
        let subject = S::fresh();
        let store = subject.store();
        TRICKY.iter().for_each(|id| store.commit(&document(id, 3)).unwrap());
        for gone in ["a", "a\u{10ffff}", "never there"] {
            store.commit(&document("a", items)).unwrap();
            let others: Vec<_> = TRICKY.into_iter().filter(|id| *id != gone).collect();
            let before: Vec<_> = others.iter().map(|id| store.whole(&doc(id)).unwrap()).collect();
            store.commit(&Commit { drops: vec![doc(gone)], ..Commit::default() }).unwrap();
            assert_eq!(store.whole(&doc(gone)).unwrap(), None);
            assert_eq!(store.record(&doc(gone)).unwrap(), None);
            assert_eq!(store.snapshot(&doc(gone)).unwrap(), None);
            assert_eq!(store.tail(&doc(gone), Lsn(0)).unwrap(), []);
            assert!(!listed(store, "", None, usize::MAX).contains(&gone.to_owned()));
            let after: Vec<_> = others.iter().map(|id| store.whole(&doc(id)).unwrap()).collect();
            assert_eq!(after, before, "{gone:?} with {items} items");
        }
    }
}

fn a_document_may_be_dropped_and_come_back_in_one_commit<S: Subject>() {
    for items in [2, 1_000] {
        let subject = S::fresh();
        let store = subject.store();
        store.commit(&document("a", items)).unwrap();
        let back = Commit {
            drops: vec![doc("a")],
            records: vec![(doc("a"), record(2))],
            tail: vec![tail_item("a", 2, &[77])],
            ..Commit::default()
        };
        store.commit(&back).unwrap();
        let subject = subject.reopen();
        let whole = Whole { record: record(2), snapshot: None, tail: vec![(Lsn(2), change(77))] };
        assert_eq!(subject.store().whole(&doc("a")).unwrap(), Some(whole));
    }
}

fn rows_of_known_nodes_are_replaced_and_removed<S: Subject>() {
    let row = |n: u8, bytes: &'static [u8]| (NodeId([n; 8]), Bytes::from_static(bytes));
    let subject = S::fresh();
    let known = vec![row(255, b"last"), row(1, b"one"), row(2, b"two")];
    subject.store().commit(&Commit { known, ..Commit::default() }).unwrap();
    let known = vec![row(2, b""), row(1, b"other"), row(9, b"")];
    subject.store().commit(&Commit { known, ..Commit::default() }).unwrap();
    let expected = [row(1, b"other"), row(255, b"last")];
    assert_eq!(subject.store().recover().unwrap().known, expected);
    assert_eq!(subject.reopen().store().recover().unwrap().known, expected);
}

fn holes_are_kept_until_nothing_is_missing<S: Subject>() {
    let subject = S::fresh();
    let holes = vec![(doc("ü/1"), hashes(&[1, 2])), (doc("a"), hashes(&[3])), (doc("b"), hashes(&[4]))];
    subject.store().commit(&Commit { holes, ..Commit::default() }).unwrap();
    let holes = vec![(doc("a"), hashes(&[])), (doc("b"), hashes(&[5])), (doc("never"), hashes(&[]))];
    subject.store().commit(&Commit { holes, ..Commit::default() }).unwrap();
    let expected = [(doc("b"), hashes(&[5])), (doc("ü/1"), hashes(&[1, 2]))];
    assert_eq!(subject.store().recover().unwrap().holes, expected);
    assert_eq!(subject.reopen().store().recover().unwrap().holes, expected);
}

fn hashes(of: &[u8]) -> Heads {
    of.iter().map(|n| Hash([*n; 32])).collect()
}

fn floor_and_distrust_are_kept_until_they_are_replaced<S: Subject>() {
    let mut subject = S::fresh();
    for (floor, untrusted) in [(1, true), (2, false), (3, true)] {
        let ahead = if untrusted { vector(floor + 1) } else { VersionVector::new() };
        let meta = vec![MetaKey::Untrusted(untrusted), MetaKey::Ahead(ahead.clone())];
        subject.store().commit(&Commit { floor: Some(vector(floor)), meta, ..Commit::default() }).unwrap();
        subject.store().commit(&records(&["a"])).unwrap();
        subject = subject.reopen();
        let found = subject.store().recover().unwrap();
        assert_eq!((found.floor, found.untrusted, found.ahead), (vector(floor), untrusted, ahead));
    }
}

fn a_whole_document_is_of_one_moment<S: Subject>() {
    const COMMITS: u64 = 300;
    let subject = S::fresh();
    let store = subject.store();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut looks = 0_u64;
            while !done.load(Ordering::Acquire) || looks == 0 {
                if let Some(Whole { record, snapshot, tail }) = store.whole(&doc("a")).unwrap() {
                    // As written below: what is not in the tail is in the snapshot, a byte each.
                    let folded = snapshot.map_or(0, |bytes| bytes.len() as u64);
                    assert_eq!(tail.len() as u64 + folded, record.last_lsn.0);
                    assert!(tail.first().is_none_or(|(lsn, _)| lsn.0 == folded + 1));
                }
                looks += 1;
            }
        });
        let mut folded = 0;
        for n in 1..=COMMITS {
            let mut commit =
                Commit { records: vec![(doc("a"), record(n))], ..tail([tail_item("a", n, &[n])]) };
            if n % 50 == 0 {
                commit.drops.push(doc("a"));
                commit.tail = (1..=n).map(|lsn| tail_item("a", lsn, &[lsn])).collect();
                folded = 0;
            } else if n % 10 == 0 {
                let snapshot = vec![0; n as usize - 1].into();
                let leaving = (folded + 1..n).map(Lsn).collect();
                commit.folds.push(Fold { doc: doc("a"), snapshot, folded: leaving });
                folded = n - 1;
            }
            store.commit(&commit).unwrap();
        }
        done.store(true, Ordering::Release);
        reader.join().unwrap();
    });
    assert!(store.whole(&doc("a")).unwrap().is_some());
}

fn marks_are_told_in_order<S: Subject>() {
    let subject = S::fresh();
    for lsn in [256, 1, 255, 70_000] {
        let marks = vec![(Lsn(lsn), vector(lsn))];
        subject.store().commit(&Commit { marks, ..Commit::default() }).unwrap();
    }
    let expected = [1, 255, 256, 70_000].map(|lsn| (Lsn(lsn), vector(lsn)));
    assert_eq!(subject.store().marks().unwrap(), expected);
}

fn the_bytes_of_the_log_grow_with_it_and_shrink_when_it_is_trimmed<S: Subject>() {
    let subject = S::fresh();
    let store = subject.store();
    // Incompressible, so that it takes about as much on disk.
    let mut rng = fastrand::Rng::with_seed(1);
    let mut entry = |lsn| LogItem { lsn: Lsn(lsn), bytes: (0..10_000).map(|_| rng.u8(..)).collect() };
    for lsn in 1..=200 {
        store.commit(&log([entry(lsn)])).unwrap();
    }
    let near = |below: u64, expected: u64| {
        let bytes = store.log_bytes(Lsn(below)).unwrap();
        assert!(bytes.abs_diff(expected) <= 200_000, "{bytes} below {below}, not about {expected}");
    };
    near(0, 0);
    near(101, 1_000_000);
    near(201, 2_000_000);
    near(u64::MAX, 2_000_000);
    store.commit(&trim(101)).unwrap();
    near(101, 0);
    near(151, 500_000);
    near(u64::MAX, 1_000_000);
}

fn readers_see_whole_commits_while_others_are_written<S: Subject>() {
    const COMMITS: u64 = 200;
    let subject = S::fresh();
    let store = subject.store();
    let done = AtomicBool::new(false);
    let looks = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut looks, mut last) = (0_u64, 0);
            while !done.load(Ordering::Acquire) || looks == 0 {
                let Some(record) = store.record(&doc("a")).unwrap() else { continue };
                // A commit that shows its record shows all else of it too, and stays.
                let lsn = record.last_lsn;
                assert!(lsn.0 >= last, "went back from {last} to {}", lsn.0);
                last = lsn.0;
                assert_eq!(lsns(&store.log(lsn, 0).unwrap()), [lsn.0]);
                let tail = store.tail(&doc("a"), Lsn(lsn.0 - 1)).unwrap();
                assert_eq!(tail.first(), Some(&(lsn, change(lsn.0))));
                assert!(store.record(&doc("b")).unwrap().is_some_and(|r| r.last_lsn >= lsn));
                looks += 1;
            }
            looks
        });
        for n in 1..=COMMITS {
            let commit = Commit {
                log: vec![entry(n, 10)],
                tail: vec![tail_item("a", n, &[n])],
                records: vec![(doc("b"), record(n)), (doc("a"), record(n))],
                ..Commit::default()
            };
            store.commit(&commit).unwrap();
        }
        done.store(true, Ordering::Release);
        reader.join().unwrap()
    });
    assert!(looks > 0);
    assert_eq!(store.record(&doc("a")).unwrap(), Some(record(COMMITS)));
}

/// The model earns its name: whatever is written, both tell the same, across restarts too.
#[test]
fn the_model_and_rocksdb_tell_the_same_of_random_histories() {
    for seed in 0..8 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (mut memory, mut rocks) = (Memory::fresh(), Rocks::fresh());
        let mut lsn = 0;
        for step in 0..60 {
            let commit = random_commit(&mut rng, &mut lsn);
            memory.store().commit(&commit).unwrap();
            rocks.store().commit(&commit).unwrap();
            if rng.u8(..10) == 0 {
                (memory, rocks) = (memory.reopen(), rocks.reopen());
            }
            if rng.u8(..5) == 0 {
                let (from, most) = (Lsn(rng.u64(..=lsn + 1)), rng.usize(..500));
                let (prefix, after) = (*rng.choice(&TRICKY).unwrap(), rng.choice(TRICKY));
                let limit = rng.usize(..5);
                let look = |store: &dyn Store| {
                    let log = store.log(from, most).unwrap();
                    let list = store.list(prefix, after, limit).unwrap();
                    format!("{log:?} {list:?} {}", all(store, &TRICKY))
                };
                assert_eq!(look(memory.store()), look(rocks.store()), "seed {seed}, step {step}");
            }
        }
        assert_eq!(all(memory.store(), &TRICKY), all(rocks.store(), &TRICKY), "seed {seed}");
    }
}

fn random_commit(rng: &mut fastrand::Rng, lsn: &mut u64) -> Commit {
    let mut commit = Commit::default();
    for _ in 0..rng.usize(..6) {
        *lsn += rng.u64(1..3);
        let id = *rng.choice(&TRICKY).unwrap();
        let changes: Vec<_> = (0..rng.usize(1..4)).map(|_| rng.u64(..1_000)).collect();
        commit.log.push(entry(*lsn, rng.usize(..200)));
        commit.tail.push(tail_item(id, *lsn, &changes));
        commit.records.push((doc(id), record(rng.u64(..1_000))));
    }
    if rng.u8(..4) == 0 {
        let folded = (0..rng.usize(..10)).map(|_| Lsn(rng.u64(..=*lsn))).collect();
        let snapshot = vec![rng.u8(..); rng.usize(..50)].into();
        commit.folds.push(Fold { doc: doc(rng.choice(TRICKY).unwrap()), snapshot, folded });
    }
    if rng.u8(..8) == 0 {
        commit.drops.push(doc(rng.choice(TRICKY).unwrap()));
    }
    if rng.u8(..10) == 0 {
        commit.trim = Some(Lsn(rng.u64(..=*lsn)));
    }
    if rng.u8(..8) == 0 {
        commit.floor = Some(vector(*lsn));
        let row = vec![rng.u8(..); rng.usize(..3)];
        commit.known.push((NodeId([rng.u8(..4); 8]), row.into()));
        commit.meta.push(MetaKey::Untrusted(rng.bool()));
        commit.meta.push(MetaKey::Ahead(if rng.bool() { vector(*lsn + 1) } else { VersionVector::new() }));
        commit.holes.push((doc(rng.choice(TRICKY).unwrap()), hashes(&vec![rng.u8(..); rng.usize(..3)])));
    }
    if rng.bool() {
        commit.vector = Some((vector(*lsn), [rng.u8(..); 16]));
    }
    if rng.u8(..4) == 0 {
        commit.marks.push((Lsn(*lsn), vector(*lsn)));
    }
    if rng.u8(..8) == 0 {
        commit.meta.push(MetaKey::Incarnation(Incarnation { number: rng.u32(..), random: rng.u32(..) }));
        commit.meta.push(MetaKey::Cluster(format!("cluster {}", rng.u8(..))));
    }
    commit
}
