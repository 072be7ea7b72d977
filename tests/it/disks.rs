//! Disks that fill up, and processes that die just as something is to reach the disk.
//!
//! The first needs the right to mount, the second strace and the right to trace: where they are missing, the tests
//! say so and are left out.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::cluster::{Cluster, Master, eventually};

/// Bytes of the small disk, and of the file that keeps a part of it until there has to be room again.
const DISK: u64 = 96 << 20;
const BALLAST: usize = 32 << 20;

/// The fsyncs, counted by thread from a start, at which the node dies.
const AT_FSYNC: [u32; 10] = [1, 2, 3, 4, 5, 8, 13, 21, 34, 55];

/// A file system in a file.
struct Small(PathBuf);

impl Small {
    /// None where it may not be mounted.
    fn mount(image: &Path, at: &Path) -> Option<Self> {
        let run = |program: &str, args: &[&Path]| {
            let done = Command::new(program).args(args).output();
            done.is_ok_and(|done| done.status.success())
        };
        std::fs::File::create(image).expect("a file").set_len(DISK).expect("its length");
        std::fs::create_dir_all(at).expect("a folder");
        let mounted = run("mkfs.ext4", &[Path::new("-q"), image])
            && run("mount", &[Path::new("-o"), Path::new("loop"), image, at]);
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

fn text(rng: &mut fastrand::Rng, letters: usize) -> String {
    (0..letters).map(|_| rng.alphanumeric()).collect()
}

#[test]
fn a_full_disk_refuses_writes_goes_on_reading_and_has_lost_nothing() {
    let mut cluster = Cluster::prepare(&[("a", Master)], &[]);
    let (image, folder) = (cluster.path().join("image"), cluster.data("a").to_owned());
    let Some(_small) = Small::mount(&image, &folder) else {
        eprintln!("left out: a small file system cannot be mounted here");
        return;
    };
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![1; BALLAST]).expect("room for it");
    cluster.launch("a");
    let (mut rng, mut client) = (fastrand::Rng::with_seed(1), cluster.client("a"));
    let mut acknowledged: BTreeMap<String, Value> = BTreeMap::new();
    let refused = loop {
        let path = format!("/v1/docs/notes/{}", acknowledged.len());
        let body = json!({"text": text(&mut rng, 200_000)});
        let answer = client.put(&path, &body);
        if answer.status != 201 {
            break answer;
        }
        acknowledged.insert(path, body);
        assert!(acknowledged.len() as u64 * 200_000 < 2 * DISK, "it never fills");
    };
    assert_eq!(refused.status, 507, "{refused:?}");
    assert_eq!(client.put("/v1/docs/another", &json!({"text": text(&mut rng, 100_000)})).status, 507);
    client.get("/readyz").expect(503);
    for (path, body) in &acknowledged {
        assert_eq!(client.get(path).expect(200).json(), *body, "{path}");
    }
    std::fs::remove_file(&ballast).expect("the file");
    cluster.terminate("a");
    cluster.launch("a");
    let mut client = cluster.client("a");
    for (path, body) in &acknowledged {
        assert_eq!(client.get(path).expect(200).json(), *body, "{path}");
    }
    client.put("/v1/docs/another", &json!({})).expect(201);
}

#[test]
fn a_process_that_dies_at_an_fsync_has_lost_nothing() {
    let tried = Command::new("strace").args(["-D", "-o", "/dev/null", "true"]).output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("left out: strace is missing, or may not trace here");
        return;
    }
    let mut cluster = Cluster::prepare(&[("a", Master)], &[]);
    let mut rng = fastrand::Rng::with_seed(1);
    let mut acknowledged: BTreeMap<String, Value> = BTreeMap::new();
    let mut deaths = 0;
    for at in AT_FSYNC {
        let inject = format!("inject=fsync,fdatasync,sync_file_range:signal=KILL:when={at}");
        let traced = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &inject];
        cluster.under("a", &traced);
        if cluster.try_launch("a") {
            let mut client = cluster.client("a");
            for n in 0..400 {
                let key = format!("at{at}-{n}");
                let value = json!(text(&mut rng, 2_000));
                let patch = json!({ &*key: value }).to_string();
                let headers = [("Content-Type", crate::client::MERGE_PATCH)];
                match client.send("PATCH", &format!("/v1/docs/{}", n % 4), &headers, patch.as_bytes()) {
                    Ok(answer) if answer.status < 300 => drop(acknowledged.insert(key, value)),
                    _ => break,
                }
            }
            deaths += u32::from(eventually("its death", || cluster.has_died("a")));
        } else {
            deaths += 1;
        }
        cluster.under("a", &[]);
        cluster.launch("a");
        let mut client = cluster.client("a");
        let mut found = serde_json::Map::new();
        for n in 0..4 {
            let document = client.get(&format!("/v1/docs/{n}"));
            if document.status == 200 {
                found.extend(document.json().as_object().expect("an object").clone());
            }
        }
        let lost: Vec<_> =
            acknowledged.iter().filter(|(key, value)| found.get(*key) != Some(*value)).collect();
        assert!(lost.is_empty(), "after a death at fsync {at}: {:?} are lost", lost.len());
        cluster.kill("a");
    }
    assert_eq!(deaths, AT_FSYNC.len() as u32);
    assert!(acknowledged.len() > 50, "{} writes were acknowledged", acknowledged.len());
}
