//! `bench store`: what very many documents take of a node, and what long histories take of its disk.
//!
//! A node is given a million documents, and another one a thousand. Both take one-field writes to a thousand of
//! theirs, in turns: a write costs no more because there are many documents beside. (Writes to all of the million are
//! told, too: each has to load a document that is not in memory.) Then the large node is killed and started again.
//!
//! The histories are of another node, which keeps no log: a thousand documents, each changed a thousand times. It is
//! idle then, and folds them. Its folder is weighed when it no longer shrinks, and after a start, since what is written
//! ahead becomes tables only then; beside Automerge's own saves of the same documents, as the node gives them.
//!
//! A further node, which keeps no log either, has a tenth of the documents to begin with. It is weighed like that, then
//! gets as many more as the large one has, which are deleted and dropped again, and is weighed once more.

use std::path::Path;
use std::time::{Duration, Instant};

use super::bulk::{self, DOCUMENT, Lines, fill};
use super::documents::{Patches, change, prepare};
use super::load::{Connection, closed_loop, no_connection, request};
use super::nodes::{Process, until};
use super::{Common, Figure, median};
use crate::base::Role;
use crate::cli::output::Failure;
use crate::cli::scratch::Scratch;

/// Documents of the small node, and those that are written of the large one.
const SMALL: u64 = 1_000;

/// Connections over which documents are made, and changed.
const FILLING: u64 = 2;
const CHANGING: u64 = 64;

/// Turns of each node, after a warm-up.
const ROUNDS: u64 = 3;
const TURN: Duration = Duration::from_secs(4);

const PAUSE: Duration = Duration::from_millis(5);

/// Settings of a node that keeps no more of its log than it must.
const NO_LOG: &[&str] = &["--log-keep", "0"];

/// So many of the documents that were deleted are asked for.
const SAMPLES: u64 = 1_000;

/// A folder is as small as it will be when it has not changed for so many looks, one a second.
const STILL: u32 = 8;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Documents of the large node
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=50_000_000))]
    documents: u64,
    /// Documents with long histories
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=10_000))]
    histories: u64,
    /// Changes of each of these
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    changes: u64,
}

pub async fn run(options: &Options) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("bench", options.common.dir.as_deref())?;
    let mut figures = many(&scratch, options).await?;
    figures.extend(long(&scratch, options).await?);
    figures.extend(dropped(&scratch, options).await?);
    Ok(figures)
}

/// Many documents.
async fn many(scratch: &Scratch, options: &Options) -> Result<Vec<Figure>, Failure> {
    let small = Process::node(scratch, "small", Role::Master, &[]).await?;
    fill(small.at, 0, SMALL, FILLING).await?;
    let large = Process::node(scratch, "large", Role::Master, &[]).await?;
    eprintln!("{} documents of {DOCUMENT} bytes", options.documents);
    let (start, cpu) = (Instant::now(), large.cpu());
    fill(large.at, 0, options.documents, FILLING).await?;
    let rate = options.documents as f64 / start.elapsed().as_secs_f64();
    let each = cpu.zip(large.cpu()).map(|(before, after)| micros(after - before, options.documents));
    let filled = large.resident();
    let apart = options.documents / SMALL;
    let (mut few, mut some) = (Vec::new(), Vec::new());
    for round in 0..=ROUNDS {
        let alone = write(&small, SMALL, 1).await?;
        let beside = write(&large, SMALL, apart).await?;
        eprintln!(
            "round {round} of {ROUNDS}: {alone:.0} µs of CPU a write, among many documents {beside:.0} µs"
        );
        if round > 0 {
            few.push(alone);
            some.push(beside);
        }
    }
    let all = write(&large, options.documents, 1).await?;
    let written = large.resident();
    drop((small, large));
    let start = Instant::now();
    let large = Process::node(scratch, "large", Role::Master, &[]).await?;
    until("a node that is ready", PAUSE, async || Ok(large.is_ready().await?.then_some(()))).await?;
    let ready = start.elapsed().as_secs_f64();
    let cpu = large.cpu();

    let mut figures = vec![Figure::plain("new documents", rate, "/s")];
    figures.extend(each.map(|each| Figure::plain("node's CPU per new document", each, "µs")));
    let mb = |bytes: u64| bytes as f64 / 1e6;
    if let Some((filled, (written, most))) = filled.zip(written) {
        figures.extend([
            Figure::plain("resident when they are stored", mb(filled.0), "MB").at_most(600.0),
            Figure::plain("resident after writes to all of them", mb(written), "MB").at_most(600.0),
            Figure::plain("resident, the most", mb(most), "MB"),
        ]);
    }
    figures.push(Figure::plain("from a start after a kill until it is ready", ready, "s").at_most(5.0));
    figures.extend(cpu.map(|cpu| Figure::plain("CPU of that", cpu.as_secs_f64(), "s")));
    figures.extend(large.resident().map(|(now, _)| Figure::plain("resident after the start", mb(now), "MB")));
    let (few, ratio) =
        (median(few.iter().copied()), median(some.iter().zip(&few).map(|(some, few)| some / few)));
    figures.extend([
        Figure::plain("node's CPU per write, of 1,000 documents", few, "µs"),
        Figure::plain("node's CPU per write, of 1,000 among all", median(some), "µs"),
        Figure::plain("ratio", ratio, "").at_most(1.3),
        Figure::plain("node's CPU per write, of all", all, "µs"),
    ]);
    Ok(figures)
}

/// One-field writes for a while; the node's CPU for each in microseconds, 0 where that is not told.
async fn write(node: &Process, documents: u64, apart: u64) -> Result<f64, Failure> {
    let before = node.cpu();
    let patches = (0..CHANGING).map(|n| Patches::of_some(node.at, documents, apart, n)).collect();
    let tally = closed_loop(node.at, patches, Some(TURN)).await?;
    let used = before.zip(node.cpu()).map(|(before, after)| after.saturating_sub(before));
    Ok(used.map_or(0.0, |used| micros(used, tally.requests)))
}

/// Long histories.
async fn long(scratch: &Scratch, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (documents, name) = (options.histories, "histories");
    let node = Process::node_with(scratch, name, Role::Master, &[], NO_LOG).await?;
    eprintln!("{documents} documents of 20 fields, {} changes of each", options.changes);
    prepare(node.at, documents).await?;
    change(node.at, documents, CHANGING, documents * options.changes).await?;
    let saved = saved(&node, documents).await?;
    let (node, size) = weigh(scratch, name, node, NO_LOG).await?;
    let folded = node.metric("syncline_fold_changes_total").await?;
    eprintln!("{size} bytes on disk, {folded} changes folded since the start");
    let mb = |bytes: u64| bytes as f64 / 1e6;
    Ok(vec![
        Figure::plain("Automerge's saves of long histories", mb(saved), "MB"),
        Figure::plain("on disk", mb(size), "MB"),
        Figure::plain("on disk, in saves", size as f64 / saved.max(1) as f64, "").at_most(3.0),
    ])
}

/// Bytes of Automerge's saves of all documents.
async fn saved(node: &Process, documents: u64) -> Result<u64, Failure> {
    let mut connection = Connection::open(node.at).await.map_err(no_connection)?;
    let mut bytes = 0;
    for n in 0..documents {
        let ask = format!(
            "GET /v1/docs/bench/{n:05} HTTP/1.1\r\nHost: {}\r\nAccept: application/vnd.automerge\r\n\r\n",
            node.at
        );
        connection.succeed(ask.as_bytes()).await?;
        bytes += connection.body().len() as u64;
    }
    Ok(bytes)
}

/// Documents that come and go.
async fn dropped(scratch: &Scratch, options: &Options) -> Result<Vec<Figure>, Failure> {
    let (few, many, name) = (options.documents / 10, options.documents, "dropped");
    let settings = [NO_LOG, &["--keep-deleted", "1s"]].concat();
    let node = Process::node_with(scratch, name, Role::Master, &[], &settings).await?;
    eprintln!("{few} documents; {many} more, which are deleted and dropped");
    fill(node.at, 0, few, FILLING).await?;
    let (node, before) = weigh(scratch, name, node, &settings).await?;
    fill(node.at, few, many, FILLING).await?;
    bulk::write(node.at, Lines::Delete, few, many, FILLING).await?;
    let start = Instant::now();
    for next in (few..few + many).step_by(usize::try_from(many / SAMPLES).unwrap_or(1).max(1)) {
        // A document that is deleted answers 410, one that is dropped 404.
        let ask = request("GET", &format!("/v1/docs/bulk/{next:010}"), node.at, "text/plain", "");
        until("documents that are dropped", PAUSE, async || {
            let mut connection = Connection::open(node.at).await.map_err(no_connection)?;
            let answer = connection.exchange(&ask).await.map_err(no_connection)?;
            Ok((answer == 404).then_some(()))
        })
        .await?;
    }
    let took = start.elapsed().as_secs_f64();
    let (_node, after) = weigh(scratch, name, node, &settings).await?;
    let mb = |bytes: u64| bytes as f64 / 1e6;
    Ok(vec![
        Figure::plain("from the last deletion until all are dropped", took, "s"),
        Figure::plain("on disk before them", mb(before), "MB"),
        Figure::plain("on disk after them", mb(after), "MB"),
        Figure::plain("on disk after, in before", after as f64 / before.max(1) as f64, "").at_most(1.1),
    ])
}

/// What a node's folder weighs when it no longer shrinks, after a start; and the node, started again.
async fn weigh(
    scratch: &Scratch,
    name: &str,
    node: Process,
    settings: &[&str],
) -> Result<(Process, u64), Failure> {
    let folder = scratch.path().join(name);
    settle(&folder).await?;
    drop(node);
    let node = Process::node_with(scratch, name, Role::Master, &[], settings).await?;
    let size = settle(&folder).await?;
    Ok((node, size))
}

/// Waits until a folder no longer changes, and gives its size.
async fn settle(folder: &Path) -> Result<u64, Failure> {
    let (mut last, mut still) = (0, 0);
    until("a folder that stays as it is", Duration::from_secs(1), || {
        let size = size(folder);
        still = if size == last { still + 1 } else { 0 };
        last = size;
        std::future::ready(Ok((still >= STILL).then_some(size)))
    })
    .await
}

/// Bytes of the files in a folder. One that has just gone takes none.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(found) if found.is_dir() => size(&entry.path()),
        Ok(found) => found.len(),
        Err(_) => 0,
    });
    sizes.sum()
}

fn micros(time: Duration, count: u64) -> f64 {
    time.as_secs_f64() * 1e6 / count.max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_weighs_what_its_files_do_in_folders_too() {
        let scratch = Scratch::new("test", None).unwrap();
        std::fs::create_dir(scratch.path().join("inner")).unwrap();
        std::fs::write(scratch.path().join("one"), [0; 10]).unwrap();
        std::fs::write(scratch.path().join("inner/two"), [0; 32]).unwrap();
        assert_eq!(size(scratch.path()), 42);
        assert_eq!(size(&scratch.path().join("none")), 0);
    }
}
