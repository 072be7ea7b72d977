//! What only a folder can show: locks, formats, kills, damage.

use std::fs::{self, File};

use tempfile::TempDir;

use super::*;
use crate::base::{Hash, Heads};
use crate::store::{LogItem, TailItem};

fn doc(id: &str) -> DocId {
    DocId::new(id).unwrap()
}

/// Entry, tail, record and vector of one change, as the committer writes them.
fn commit(lsn: u64) -> Commit {
    let hash = Hash([lsn as u8; 32]);
    let change = Change { hash, deps: Heads::new(), bytes: vec![lsn as u8; 1_000].into() };
    let record = Record { changes: lsn, last_lsn: Lsn(lsn), ..Record::default() };
    Commit {
        log: vec![LogItem { lsn: Lsn(lsn), bytes: vec![lsn as u8; 1_100].into() }],
        tail: vec![TailItem { doc: doc("a"), lsn: Lsn(lsn), changes: vec![change] }],
        records: vec![(doc("a"), record)],
        vector: Some((VersionVector::new(), [lsn as u8; 16])),
        ..Commit::default()
    }
}

/// All of each commit up to some LSN is there, and nothing of those above; returns that LSN.
fn whole_up_to(store: &RocksStore) -> u64 {
    let last = store.recover().unwrap().last_lsn.0;
    let log: Vec<_> = store.log(Lsn(0), usize::MAX).unwrap().into_iter().map(|(lsn, _)| lsn.0).collect();
    let tail: Vec<_> = store.tail(&doc("a"), Lsn(0)).unwrap().into_iter().map(|(lsn, _)| lsn.0).collect();
    assert_eq!(log, (1..=last).collect::<Vec<_>>());
    assert_eq!(tail, log);
    assert_eq!(store.record(&doc("a")).unwrap().map_or(0, |record| record.last_lsn.0), last);
    assert_eq!(store.recover().unwrap().digest, [last as u8; 16]);
    last
}

/// What a kill leaves: the files as they are while the store is open.
fn copy(from: &Path) -> TempDir {
    let to = TempDir::new().unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

/// The write-ahead log that is written now.
fn newest_wal(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "log")).max().unwrap()
}

#[test]
fn a_missing_folder_is_made_with_its_parents() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("a/b/c");
    let store = RocksStore::open(&path).unwrap();
    store.commit(&commit(1)).unwrap();
    drop(store);
    assert_eq!(whole_up_to(&RocksStore::open(&path).unwrap()), 1);
}

#[test]
fn a_path_that_is_a_file_is_told() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "").unwrap();
    assert!(
        matches!(RocksStore::open(&path), Err(StoreError::Failed { subject, .. }) if subject.ends_with("file"))
    );
}

#[test]
fn a_folder_is_open_once_at_a_time() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    let path = folder.path().display().to_string();
    assert_eq!(RocksStore::open(folder.path()).err(), Some(StoreError::Locked { path }));
    store.commit(&commit(1)).unwrap();
    drop(store);
    assert_eq!(whole_up_to(&RocksStore::open(folder.path()).unwrap()), 1);
}

#[test]
fn a_kill_loses_no_commit() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    for lsn in 1..=50 {
        store.commit(&commit(lsn)).unwrap();
    }
    let killed = copy(folder.path());
    store.commit(&commit(51)).unwrap();
    let again = RocksStore::open(killed.path()).unwrap();
    assert_eq!(whole_up_to(&again), 50);
    again.commit(&commit(51)).unwrap();
    drop(again);
    assert_eq!(whole_up_to(&RocksStore::open(killed.path()).unwrap()), 51);
}

#[test]
fn a_kill_after_a_flush_loses_no_commit() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    (1..=20).for_each(|lsn| store.commit(&commit(lsn)).unwrap());
    // One family's data is in a table, the others' only in the write-ahead log.
    store.db.flush_cf(store.family(TAIL).unwrap()).unwrap();
    (21..=30).for_each(|lsn| store.commit(&commit(lsn)).unwrap());
    let killed = copy(folder.path());
    assert_eq!(whole_up_to(&RocksStore::open(killed.path()).unwrap()), 30);
}

#[test]
fn a_log_cut_anywhere_leaves_whole_commits() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    (1..=10).for_each(|lsn| store.commit(&commit(lsn)).unwrap());
    let whole = fs::metadata(newest_wal(folder.path())).unwrap().len();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut found = Vec::new();
    for _ in 0..8 {
        let killed = copy(folder.path());
        let wal = File::options().write(true).open(newest_wal(killed.path())).unwrap();
        wal.set_len(rng.u64(whole / 2..whole)).unwrap();
        let again = RocksStore::open(killed.path()).unwrap();
        let last = whole_up_to(&again);
        found.push(last);
        again.commit(&commit(last + 1)).unwrap();
        assert_eq!(whole_up_to(&again), last + 1);
    }
    found.sort_unstable();
    found.dedup();
    assert!(found.len() > 1 && found.iter().all(|last| *last < 10), "the cuts fell at {found:?}");
}

#[test]
fn a_folder_of_a_later_version_is_refused_and_not_touched() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    store.commit(&commit(1)).unwrap();
    let mut later = Vec::new();
    encoding::format(&mut later, FORMAT + 1);
    store.db.put_cf_opt(store.family(META).unwrap(), FORMAT_KEY, &later, &store.synced).unwrap();
    drop(store);
    // What this version knows nothing of must not stop it from telling.
    let mut db = DB::open_cf_descriptors(&database_options(), folder.path(), descriptors()).unwrap();
    db.create_cf("of a later version", &rocksdb::Options::default()).unwrap();
    drop(db);
    let files = || {
        let files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap());
        let mut files: Vec<_> = files
            .map(|file| {
                (
                    file.file_name(),
                    fs::read(file.path()).unwrap(),
                    file.metadata().unwrap().modified().unwrap(),
                )
            })
            .collect();
        files.sort();
        files
    };
    let before = files();
    let refused = RocksStore::open(folder.path()).err();
    assert_eq!(refused, Some(StoreError::Newer { found: FORMAT + 1, known: FORMAT }));
    assert!(files() == before, "the folder was touched");
}

#[test]
fn a_log_without_a_format_is_damage() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    store.commit(&commit(1)).unwrap();
    store.db.delete_cf(store.family(META).unwrap(), FORMAT_KEY).unwrap();
    drop(store);
    assert!(matches!(RocksStore::open(folder.path()), Err(StoreError::Damaged { .. })));
}

#[test]
fn values_that_do_not_decode_are_told_by_name() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    store.commit(&commit(1)).unwrap();
    let mut tail_key = Vec::new();
    keys::tail(&mut tail_key, &doc("a"), Lsn(1));
    let spoil = |family, key: &[u8]| store.db.put_cf(store.family(family).unwrap(), key, b"\xff").unwrap();
    spoil(DOCUMENT, b"a");
    spoil(TAIL, &tail_key);
    spoil(MARK, &keys::position(Lsn(9)));
    spoil(META, VECTOR_KEY.as_bytes());
    let subject = |error: Option<StoreError>| match error {
        Some(StoreError::Damaged { subject, .. }) => subject,
        other => format!("{other:?}"),
    };
    assert_eq!(subject(store.record(&doc("a")).err()), "document \"a\"");
    assert_eq!(subject(store.list("", None, 10).err()), "document \"a\"");
    assert_eq!(subject(store.tail(&doc("a"), Lsn(0)).err()), "tail \"a\" at 1");
    assert_eq!(subject(store.seek(&|_| true).err()), "mark 9");
    assert_eq!(subject(store.recover().err()), "meta vector");
    // The rest is served.
    assert_eq!(store.record(&doc("b")).unwrap(), None);
    assert_eq!(store.log(Lsn(0), 0).unwrap().len(), 1);
}

#[test]
fn a_flipped_bit_on_disk_is_damage_and_never_other_data() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    (1..=20).for_each(|lsn| store.commit(&commit(lsn)).unwrap());
    store.db.flush_cf(store.family(LOG).unwrap()).unwrap();
    drop(store);
    let files = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().path());
    let table = files.filter(|path| path.extension().is_some_and(|e| e == "sst"));
    let table = table.max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    let mut bytes = fs::read(&table).unwrap();
    bytes[40] ^= 1;
    fs::write(&table, bytes).unwrap();
    // Found at the start or at the first read, whichever touches the block.
    let found = RocksStore::open(folder.path()).and_then(|store| store.log(Lsn(0), usize::MAX));
    assert!(matches!(found, Err(StoreError::Damaged { .. })), "{found:?}");
}

#[test]
fn a_full_disk_is_told_from_a_broken_one() {
    // As RocksDB words it.
    assert!(tells_full(
        "IO error: No space left on device: While appending to file: 000004.log: No space left on device"
    ));
    assert!(!tells_full("IO error: While fdatasync: 000004.log: Input/output error"));
}

#[test]
fn commits_larger_than_the_write_buffers_are_taken() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    let bytes: Bytes = vec![7; 48 << 20].into();
    let log = vec![LogItem { lsn: Lsn(1), bytes: bytes.clone() }];
    store.commit(&Commit { log, ..Commit::default() }).unwrap();
    store
        .commit(&Commit { log: vec![LogItem { lsn: Lsn(2), bytes: Bytes::new() }], ..Commit::default() })
        .unwrap();
    drop(store);
    let store = RocksStore::open(folder.path()).unwrap();
    assert_eq!(store.log(Lsn(1), 0).unwrap(), [(Lsn(1), bytes)]);
}

/// Bytes of the tables that are in use.
fn table_bytes(store: &RocksStore) -> u64 {
    store.figures().unwrap().families.iter().map(|family| family.sst_bytes).sum()
}

/// Waits, however long it takes, until compaction in the background has made `enough` true.
fn wait_for(enough: impl Fn() -> bool) {
    while !enough() {
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn the_disk_of_a_trimmed_log_comes_back() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut lsn = 0;
    let mut write = |entries: usize| {
        for _ in 0..entries {
            lsn += 1;
            let bytes = (0..1 << 20).map(|_| rng.u8(..)).collect();
            let log = vec![LogItem { lsn: Lsn(lsn), bytes }];
            store.commit(&Commit { log, ..Commit::default() }).unwrap();
        }
        lsn
    };
    // Several files' worth.
    let last = write(100);
    wait_for(|| table_bytes(&store) >= 64 << 20);
    assert!(store.log_bytes(Lsn(last)).unwrap() >= 90 << 20);
    store.commit(&Commit { trim: Some(Lsn(last)), ..Commit::default() }).unwrap();
    assert!(store.log_bytes(Lsn(last)).unwrap() <= 1 << 20);
    assert_eq!(store.log(Lsn(0), usize::MAX).unwrap().len(), 1);
    // What is in files that leave by compaction alone leaves as soon as new entries push.
    let last = write(64);
    wait_for(|| table_bytes(&store) <= 80 << 20);
    assert_eq!(store.log(Lsn(0), usize::MAX).unwrap().len() as u64, last - 99);
}

#[test]
fn the_disk_of_dropped_documents_comes_back() {
    const DOCUMENTS: u64 = 100_000;
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    let id = |n: u64| doc(&format!("documents/{n:08}"));
    let mut rng = fastrand::Rng::with_seed(1);
    let numbers: Vec<u64> = (0..DOCUMENTS).collect();
    for some in numbers.chunks(1_000) {
        let mut commit = Commit::default();
        for n in some {
            let bytes: Bytes = (0..500).map(|_| rng.u8(..)).collect();
            let changes = vec![Change { hash: Hash([1; 32]), deps: Heads::new(), bytes }];
            commit.tail.push(TailItem { doc: id(*n), lsn: Lsn(*n), changes });
            commit.records.push((id(*n), Record::default()));
        }
        store.commit(&commit).unwrap();
    }
    wait_for(|| table_bytes(&store) >= 32 << 20);
    for some in numbers.chunks(1_000) {
        let drops = some.iter().map(|n| id(*n)).collect();
        store.commit(&Commit { drops, ..Commit::default() }).unwrap();
    }
    store.db.flush_cf(store.family(TAIL).unwrap()).unwrap();
    wait_for(|| table_bytes(&store) <= 4 << 20);
    assert!(store.list("", None, 1).unwrap().is_empty());
}

#[test]
fn a_tidied_folder_takes_little_more_than_what_is_left() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    let bytes =
        || fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().metadata().map_or(0, |m| m.len()));
    for lsn in 1..=10_000 {
        store.commit(&commit(lsn)).unwrap();
    }
    let folds = vec![crate::store::Fold {
        doc: doc("a"),
        snapshot: vec![1; 10_000].into(),
        folded: (1..=10_000).map(Lsn).collect(),
    }];
    store.commit(&Commit { folds, trim: Some(Lsn(10_000)), ..Commit::default() }).unwrap();
    assert!(bytes().sum::<u64>() > 20 << 20);
    store.tidy().unwrap();
    wait_for(|| bytes().sum::<u64>() < 1 << 20);
    assert_eq!(store.recover().unwrap().last_lsn, Lsn(10_000));
    assert_eq!(store.log(Lsn(0), usize::MAX).unwrap().len(), 1);
    assert_eq!(store.whole(&doc("a")).unwrap().unwrap().tail, []);
    let kept = copy(folder.path());
    assert_eq!(RocksStore::open(kept.path()).unwrap().recover().unwrap().last_lsn, Lsn(10_000));
}
