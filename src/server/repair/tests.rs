//! Folders that were written as nodes write them, whole and damaged.

use std::collections::BTreeMap;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::base::{Bounds, Change, DocId, NodeId, Role};
use crate::crdt::{Document, Edit};
use crate::node::{Dice, Engine, EngineConfig, Folding, Report};
use crate::store::{Commit, Store, Whole};

const DOCUMENTS: usize = 400;

fn open(store: Arc<RocksStore>) -> Engine {
    let config = EngineConfig {
        cluster: "c".into(),
        name: "n".into(),
        role: Role::Master,
        url: None,
        bounds: Bounds::default(),
    };
    let dice = Dice { node: NodeId([1; 8]), random: 1 };
    Engine::open(Millis(0), Millis(1), config, dice, store).unwrap()
}

fn load(store: &RocksStore, doc: &DocId, actor: [u8; 16]) -> Document {
    let Whole { snapshot, tail, .. } = store.whole(doc).unwrap().unwrap_or_default();
    let tail: Vec<Change> = tail.into_iter().map(|(_, change)| change).collect();
    Document::load(actor, doc.clone(), snapshot.as_deref(), &tail).unwrap()
}

/// Documents with histories, of which some are folded and some deleted, in tables on disk.
fn written(folder: &Path) {
    let store = Arc::new(RocksStore::open(folder).unwrap());
    let mut engine = open(store.clone());
    let actor = engine.core().identity().origin.to_bytes();
    let mut rng = fastrand::Rng::with_seed(1);
    for round in 0..4 {
        for n in 0..DOCUMENTS {
            let doc = DocId::new(&format!("documents/{n:04}")).unwrap();
            let mut document = load(&store, &doc, actor);
            let text: String = (0..2_000).map(|_| rng.alphanumeric()).collect();
            let edit = match (round, n % 10) {
                (3, 0) => Edit::Delete,
                _ => Edit::MergePatch(serde_json::json!({format!("field{round}"): text})),
            };
            let changes = document.edit(&edit, None, None, 1, None).unwrap().changes;
            engine.submit(Millis(1), doc, changes, &mut Vec::new()).unwrap();
            if engine.is_full() {
                engine.commit(Millis(1), Millis(1), &mut Vec::new()).unwrap();
            }
        }
        engine.commit(Millis(1), Millis(1), &mut Vec::new()).unwrap();
        for n in (0..DOCUMENTS).filter(|n| round == 2 && n % 3 == 0) {
            let doc = DocId::new(&format!("documents/{n:04}")).unwrap();
            let stored = store.whole(&doc).unwrap().unwrap();
            let folding = Folding::of(&doc, &load(&store, &doc, actor), stored).unwrap().unwrap();
            assert!(engine.fold(Millis(1), folding, &mut Vec::new()).unwrap());
        }
    }
    let known = vec![(NodeId([9; 8]), bytes::Bytes::from_static(b"another node"))];
    store.commit(&Commit { known, ..Commit::default() }).unwrap();
    store.tidy().unwrap();
}

fn looked_through(folder: &Path) -> Report {
    verify(&RocksStore::open_to_read(folder).unwrap(), &mut |_| {}).unwrap()
}

fn shown(folder: &Path) -> BTreeMap<String, String> {
    let store = RocksStore::open_to_read(folder).unwrap();
    let ids = store.list("", None, usize::MAX).unwrap();
    let json =
        |doc: &DocId| String::from_utf8(load(&store, doc, [9; 16]).json(None, true).unwrap().body.into());
    ids.into_iter().map(|(doc, _)| (doc.as_str().to_owned(), json(&doc).unwrap())).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

fn tables(folder: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "sst")).collect()
}

/// Spoils the table from one part of it on.
fn spoil(table: &Path, at: f64) {
    let mut bytes = fs::read(table).unwrap();
    let from = (bytes.len() as f64 * at) as usize;
    bytes.iter_mut().skip(from).take(32).for_each(|byte| *byte ^= 0x55);
    fs::write(table, bytes).unwrap();
}

#[test]
fn a_sound_folder_is_found_so_and_left_alone() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    written(&data);
    let report = looked_through(&data);
    assert_eq!(report.faults, [""; 0]);
    assert_eq!((report.documents, report.entries), (DOCUMENTS as u64, 4 * DOCUMENTS as u64));
    repair(&data).unwrap();
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert!(!RocksStore::open(&data).unwrap().recover().unwrap().untrusted);
}

#[test]
fn a_damaged_block_is_found_and_all_else_is_salvaged() {
    let folder = TempDir::new().unwrap();
    let original = folder.path().join("original");
    written(&original);
    let before = shown(&original);
    let mut salvaged = 0;
    for (n, table) in tables(&original).iter().enumerate() {
        let data = folder.path().join(format!("data-{n}"));
        copy(&original, &data);
        spoil(&data.join(table.file_name().unwrap()), 0.4);
        let report = looked_through(&data);
        assert!(!report.is_sound(), "{table:?}: {report:?}");
        repair(&data).unwrap();
        let kept = folder.path().join(format!("data-{n}.damaged-1"));
        assert!(!looked_through(&kept).is_sound(), "it is kept as it was");
        let report = looked_through(&data);
        assert_eq!(report.faults, [""; 0]);
        // What is there is as it was, or as it was at some time before.
        let after = shown(&data);
        let same = after.iter().filter(|(doc, json)| before.get(*doc) == Some(*json)).count();
        assert!(same >= DOCUMENTS / 2, "{table:?}: {same} of {}", before.len());
        salvaged += same;
        let store = Arc::new(RocksStore::open(&data).unwrap());
        let found = store.recover().unwrap();
        assert!(found.untrusted && found.vector.is_empty());
        assert!(found.last_lsn.0 >= report.documents);
        let whose = found.node == Some(NodeId([1; 8]));
        assert!(whose || found.node.is_none());
        assert_eq!(found.known.len(), usize::from(whose), "it forgets nobody but for what it cannot read");
        // It goes on from there, as a later incarnation.
        let engine = open(store);
        let origin = engine.core().identity().origin;
        assert!(origin.incarnation == if whose { 2 } else { 1 });
    }
    assert!(salvaged > 0);
}

#[test]
fn a_folder_of_which_nothing_opens_is_put_aside() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    written(&data);
    fs::write(data.join("CURRENT"), "MANIFEST-999999\n").unwrap();
    repair(&data).unwrap();
    assert!(!data.exists() && folder.path().join("data.damaged-1").exists());
    // A second time its name is taken.
    written(&data);
    fs::write(data.join("CURRENT"), "MANIFEST-999999\n").unwrap();
    repair(&data).unwrap();
    assert!(folder.path().join("data.damaged-2").exists());
}

#[test]
fn a_repair_that_was_cut_off_at_its_last_step_is_finished() {
    let folder = TempDir::new().unwrap();
    let data = folder.path().join("data");
    written(&folder.path().join("data.salvaging"));
    repair(&data).unwrap();
    assert_eq!(looked_through(&data).documents, DOCUMENTS as u64);
    // One that was cut off before is made anew.
    copy(&data, &folder.path().join("data.salvaging"));
    let table = tables(&data).into_iter().max_by_key(|path| fs::metadata(path).unwrap().len()).unwrap();
    spoil(&table, 0.4);
    repair(&data).unwrap();
    assert!(looked_through(&data).is_sound() && !folder.path().join("data.salvaging").exists());
}

#[test]
fn a_folder_that_is_in_use_is_not_looked_through() {
    let folder = TempDir::new().unwrap();
    let store = RocksStore::open(folder.path()).unwrap();
    let path = folder.path().display().to_string();
    assert_eq!(RocksStore::open_to_read(folder.path()).err(), Some(StoreError::Locked { path }));
    drop(store);
    assert!(looked_through(folder.path()).is_sound());
    assert!(RocksStore::open_to_read(&folder.path().join("nothing")).is_err());
}
