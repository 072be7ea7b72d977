//! Data folders that are damaged: found, told, and mended from the other nodes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::json;

use crate::bulk::text;
use crate::client::Client;
use crate::cluster::{Cluster, Master, eventually};

const DOCUMENTS: usize = 3_000;

fn verify(folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_syncline"));
    command.args(["verify", "--data-dir"]).arg(folder).output().expect("a process")
}

/// Tables, the largest last.
fn tables(folder: &Path) -> Vec<(u64, PathBuf)> {
    let files = std::fs::read_dir(folder).expect("a folder").map(|file| file.expect("a file").path());
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    let mut tables: Vec<_> =
        tables.filter_map(|path| Some((std::fs::metadata(&path).ok()?.len(), path))).collect();
    tables.sort();
    tables
}

fn fill(client: &mut Client, documents: std::ops::Range<usize>) {
    let mut rng = fastrand::Rng::with_seed(documents.start as u64);
    for n in documents {
        let text: String = (0..1_000).map(|_| rng.alphanumeric()).collect();
        client.put(&format!("/v1/docs/notes/{n:05}"), &json!({"text": text})).expect(201);
    }
}

#[test]
fn a_damaged_folder_is_found_told_and_mended_from_a_peer() {
    let mut cluster = Cluster::start(&[("a", Master), ("b", Master)], &[("a", "b")]);
    fill(&mut cluster.client("b"), 0..DOCUMENTS);
    cluster.converge(&["a", "b"]);
    let folder = cluster.data("a").to_owned();
    // An idle node writes what has gathered into tables.
    let size = eventually("a table", || tables(&folder).pop().filter(|(size, _)| *size > 1 << 20)).0;
    assert!(cluster.terminate("a").0.success());
    let sound = verify(&folder);
    assert!(sound.status.success() && text(&sound.stdout).ends_with("sound\n"), "{sound:?}");
    // The log's and the tails'.
    for (_, table) in tables(&folder).into_iter().filter(|(bytes, _)| *bytes >= size / 2) {
        let mut bytes = std::fs::read(&table).expect("a table");
        let middle = bytes.len() / 2;
        bytes[middle..middle + 16].iter_mut().for_each(|byte| *byte ^= 0x55);
        std::fs::write(&table, bytes).expect("a table");
    }
    let damaged = verify(&folder);
    assert_eq!(damaged.status.code(), Some(1), "{damaged:?}");
    assert!(text(&damaged.stdout).contains("damaged: "), "{damaged:?}");
    assert!(text(&damaged.stderr).contains("--repair"), "{damaged:?}");
    a_node_that_comes_upon_damage_says_so(&mut cluster);
    // What others write meanwhile comes too, and what is written on it goes to them.
    fill(&mut cluster.client("b"), DOCUMENTS..DOCUMENTS + 10);
    cluster.arguments("a", &["--repair"]);
    cluster.launch("a");
    fill(&mut cluster.client("a"), DOCUMENTS + 10..DOCUMENTS + 20);
    cluster.converge(&["a", "b"]);
    assert!(cluster.log("a").contains("a new data folder was made of what could be read"));
    assert!(folder.with_file_name("a.damaged-1").is_dir());
    for n in [0, DOCUMENTS / 2, DOCUMENTS + 5, DOCUMENTS + 15] {
        let path = format!("/v1/docs/notes/{n:05}");
        let (here, there) = (cluster.client("a").get(&path), cluster.client("b").get(&path));
        assert_eq!(here.expect(200).json(), there.expect(200).json());
    }
    assert!(cluster.terminate("a").0.success());
    let sound = verify(&folder);
    assert!(sound.status.success(), "{sound:?}");
}

/// Started without `--repair`, until it is stopped.
fn a_node_that_comes_upon_damage_says_so(cluster: &mut Cluster) {
    cluster.launch("a");
    let mut client = cluster.client("a");
    assert!(client.get("/readyz").json()["damage"].is_null());
    let statuses: Vec<u16> =
        (0..DOCUMENTS).map(|n| client.get(&format!("/v1/docs/notes/{n:05}")).status).collect();
    let failed = statuses.iter().filter(|status| **status == 500).count();
    let read = statuses.iter().filter(|status| **status == 200).count();
    assert!(failed > 0 && read > DOCUMENTS / 2 && failed + read == DOCUMENTS, "{failed} failed, {read} read");
    let told = client.get("/readyz").json();
    let damage = told["damage"].as_str().expect("it is told");
    assert!(damage.contains("syncline verify") && damage.contains("serve --repair"), "{told}");
    assert!(!damage.contains("notes/"), "{told} names documents to whoever asks");
    let view = client.get("/v1/cluster").expect(200).json();
    assert!(view["damage"]["found"].as_u64() >= Some(failed as u64), "{view}");
    assert!(view["damage"]["first"].as_str().is_some_and(|first| first.contains("damaged")), "{view}");
    let mut status = Command::new(env!("CARGO_BIN_EXE_syncline"));
    let status =
        status.args(["cluster", "status", "--node", &format!("http://{}", cluster.at("a"))]).output();
    let status = status.expect("a process");
    assert!(text(&status.stdout).contains("damage: come upon "), "{status:?}");
    assert!(cluster.terminate("a").0.success());
}

#[test]
fn a_folder_in_use_is_not_verified() {
    let cluster = Cluster::single();
    let refused = verify(cluster.data("a"));
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("in use by another process"), "{refused:?}");
}
