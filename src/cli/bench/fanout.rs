//! `bench fanout`: subscribers of documents that change, of one node.
//!
//! What reaches a subscriber when is told by the versions in its frames: a write's answer names the version that
//! it made. Subscribers run on the load generator's threads, on the same cores as the node.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::documents::{Patches, prepare};
use super::load::{Connection, Requests, Template, micros, no_connection, on_threads, percentile, request};
use super::nodes::{Process, until};
use super::{Common, Figure};
use crate::base::{Hash, Role};
use crate::cli::output::Failure;
use crate::cli::scratch::Scratch;
use crate::cli::subscriber::Subscriber;

const PAUSE: Duration = Duration::from_millis(20);

/// What is under way when a load ends has this time to arrive.
const LAST_FRAMES: Duration = Duration::from_millis(300);

/// Changes while subscribers do not read.
const UNREAD: u64 = 10_000;

const LETTERS: usize = 100_000;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Seconds of each load
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Subscribers of one document
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=9_000))]
    subscribers: u64,
}

/// One subscriber.
struct Plan {
    at: SocketAddr,
    doc: String,
    mode: &'static str,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Subscribers that are up to date for the first time.
    ready: AtomicUsize,
    /// From then on they read.
    read: CancellationToken,
    stop: CancellationToken,
    /// With this version a subscriber is done.
    last: OnceLock<Hash>,
}

/// What one subscriber got.
#[derive(Default)]
struct Received {
    frames: u64,
    versions: Vec<(Hash, Instant)>,
    done: Option<Instant>,
}

type Crowd = JoinHandle<Result<Vec<Received>, Failure>>;

pub async fn run(options: &Options) -> Result<Vec<Figure>, Failure> {
    let mut figures = one_document(options).await?;
    figures.extend(many_documents(options).await?);
    figures.extend(unread(options).await?);
    let names = [
        "value of a long text, looks",
        "other reads meanwhile, p99",
        "keystrokes meanwhile, p99",
        "the node's cores meanwhile",
    ];
    figures.extend(typing(options, "value", names).await?);
    let names = [
        "patches of a long text, looks",
        "other reads beside patches, p99",
        "keystrokes beside patches, p99",
        "the node's cores beside patches",
    ];
    figures.extend(typing(options, "patch", names).await?);
    Ok(figures)
}

async fn node(options: &Options, documents: u64) -> Result<(Scratch, Process), Failure> {
    let scratch = Scratch::new("bench", options.common.dir.as_deref())?;
    let node = Process::node(&scratch, "fanout", Role::Master, &[]).await?;
    prepare(node.at, documents).await?;
    Ok((scratch, node))
}

async fn one_document(options: &Options) -> Result<Vec<Figure>, Failure> {
    let (_scratch, node) = node(options, 1).await?;
    eprintln!("{} subscribers of one document, notify, 20 writes/s", options.subscribers);
    let (shared, crowd) = crowd(&node, options.subscribers, 1, "notify", true).await?;
    let answered = write(node.at, Patches::new(node.at, 1, 1, 20 * options.seconds), Some(20)).await?;
    let times = latencies(&answered, &end(&shared, crowd).await?);
    eprintln!("the same, with as many writes as there can be");
    let (shared, crowd) = self::crowd(&node, options.subscribers, 1, "notify", true).await?;
    let start = Instant::now();
    let writers = (2..10).map(|n| Patches::new(node.at, 1, n, u64::MAX)).collect();
    super::load::closed_loop(node.at, writers, Some(Duration::from_secs(options.seconds))).await?;
    let elapsed = start.elapsed();
    let frames: u64 = end(&shared, crowd).await?.iter().map(|received| received.frames).sum();
    Ok(vec![
        Figure::plain("notify, to receipt, p50", percentile(&times, 0.50) / 1e3, "ms"),
        Figure::plain("notify, to receipt, p99", percentile(&times, 0.99) / 1e3, "ms").at_most(50.0),
        Figure::plain("notify, delivered", frames as f64 / elapsed.as_secs_f64(), "/s").at_least(40_000.0),
    ])
}

async fn many_documents(options: &Options) -> Result<Vec<Figure>, Failure> {
    const DOCUMENTS: u64 = 100;
    let (_scratch, node) = node(options, DOCUMENTS).await?;
    eprintln!("{DOCUMENTS} subscribers of {DOCUMENTS} documents, patch, 500 writes/s");
    let (shared, crowd) = crowd(&node, DOCUMENTS, DOCUMENTS, "patch", true).await?;
    let before = node.cpu();
    let answered =
        write(node.at, Patches::new(node.at, DOCUMENTS, 1, 500 * options.seconds), Some(500)).await?;
    let used = before.zip(node.cpu()).map(|(before, after)| after.saturating_sub(before));
    let received = end(&shared, crowd).await?;
    let times = latencies(&answered, &received);
    let mut figures = vec![
        Figure::plain("patch, to receipt, p50", percentile(&times, 0.50) / 1e3, "ms"),
        Figure::plain("patch, to receipt, p99", percentile(&times, 0.99) / 1e3, "ms").at_most(25.0),
        Figure::plain("patch, writes seen as such", times.len() as f64 / answered.len() as f64, ""),
    ];
    let each = |used: Duration| used.as_secs_f64() * 1e6 / answered.len() as f64;
    figures.extend(used.map(|used| Figure::plain("node's CPU per write and patch", each(used), "µs")));
    Ok(figures)
}

/// A node with subscribers of one document that do not read while it changes.
struct Unread {
    _scratch: Scratch,
    node: Process,
    shared: Arc<Shared>,
    crowd: Crowd,
    /// Kilobytes that the subscribers have taken when they were up to date, and that the changes have.
    idle: u64,
    grown: u64,
}

impl Unread {
    /// A node that has done nothing yet: elsewhere what was freed would be used again, and be seen as no growth.
    async fn begin(options: &Options, count: u64) -> Result<Self, Failure> {
        let (scratch, node) = node(options, 1).await?;
        let empty = node.memory();
        let (shared, crowd) = crowd(&node, count, 1, "patch", false).await?;
        let before = node.memory();
        let rounds = (2..10).map(|n| Patches::new(node.at, 1, n, UNREAD / 8)).collect();
        super::load::closed_loop(node.at, rounds, None).await?;
        let (idle, grown) = (before.saturating_sub(empty), node.memory().saturating_sub(before));
        Ok(Self { _scratch: scratch, node, shared, crowd, idle, grown })
    }

    /// Has them read until each is at the latest state; how long that took the last of them.
    async fn read(self) -> Result<Duration, Failure> {
        let answered = write(self.node.at, Patches::new(self.node.at, 1, 400, 1), None).await?;
        if let Some((hash, _)) = answered.first() {
            let _ = self.shared.last.set(*hash);
        }
        let start = Instant::now();
        self.shared.read.cancel();
        let received = self.crowd.await.map_err(|e| Failure::refused(e.to_string()))??;
        let last = received.iter().filter_map(|received| received.done).max();
        Ok(last.unwrap_or(start) - start)
    }
}

async fn unread(options: &Options) -> Result<Vec<Figure>, Failure> {
    let count = options.subscribers;
    eprintln!("1 and {count} subscribers that do not read, {UNREAD} changes");
    let mut alone = Vec::new();
    for _ in 0..3 {
        let one = Unread::begin(options, 1).await?;
        alone.push(one.grown);
        one.read().await?;
    }
    alone.sort_unstable();
    let alone = alone[1];
    let many = Unread::begin(options, count).await?;
    let each = |kilobytes: u64| kilobytes as f64 / count as f64;
    let (idle, grown) = (each(many.idle), each(many.grown.saturating_sub(alone)));
    let took = many.read().await?;
    Ok(vec![
        Figure::plain("memory of an idle subscriber", idle, "kB").at_most(15.0),
        Figure::plain("growth by the changes, with one subscriber", alone as f64, "kB"),
        Figure::plain("further growth for each that does not read", grown, "kB").at_most(20.0),
        Figure::plain("all at the latest state after", took.as_secs_f64(), "s").at_most(2.0),
    ])
}

async fn typing(
    options: &Options,
    mode: &'static str,
    [looks, reads, keystrokes, cores]: [&'static str; 4],
) -> Result<Vec<Figure>, Failure> {
    let (_scratch, node) = node(options, 100).await?;
    eprintln!("a subscriber of a text of {LETTERS} letters, {mode}, 500 keystrokes/s");
    let body = json!({"t": {"$text": "x".repeat(LETTERS)}}).to_string();
    let mut connection = Connection::open(node.at).await.map_err(no_connection)?;
    let put = request("PUT", "/v1/docs/bench/00100", node.at, "application/json", &body);
    connection.succeed(&put).await?;
    let shared = Arc::new(Shared::default());
    shared.read.cancel();
    let plan = Plan { at: node.at, doc: "bench/00100".into(), mode, shared: shared.clone() };
    let crowd: Crowd = tokio::spawn(on_threads(vec![plan], receive));
    all_ready(&shared, 1).await?;
    let (start, seconds) = (Instant::now(), Duration::from_secs(options.seconds));
    let reading = Schedule { reads: true, rate: 200, seconds, at: node.at };
    let typing = Schedule { reads: false, rate: 500, seconds, at: node.at };
    let before = node.cpu();
    let times = on_threads(vec![typing, reading], Schedule::run).await?;
    let used = before.zip(node.cpu()).map(|(before, after)| after.saturating_sub(before));
    let (mut read, mut typed) = (Vec::new(), Vec::new());
    for (is_read, mut times) in times {
        times.sort_unstable();
        *(if is_read { &mut read } else { &mut typed }) = times;
    }
    let frames: u64 = end(&shared, crowd).await?.iter().map(|received| received.frames).sum();
    let rate = frames as f64 / start.elapsed().as_secs_f64();
    let mut figures = vec![
        Figure::plain(looks, rate, "/s").at_most(31.0),
        Figure::plain(reads, percentile(&read, 0.99) / 1e3, "ms").at_most(20.0),
        Figure::plain(keystrokes, percentile(&typed, 0.99) / 1e3, "ms"),
    ];
    let share = |used: Duration| used.as_secs_f64() / seconds.as_secs_f64();
    figures.extend(used.map(|used| Figure::plain(cores, share(used), "")));
    Ok(figures)
}

/// Requests at a rate, whether or not the ones before were quick.
struct Schedule {
    reads: bool,
    rate: u32,
    seconds: Duration,
    at: SocketAddr,
}

impl Schedule {
    /// How long each took, in microseconds.
    async fn run(self) -> Result<(bool, Vec<u32>), Failure> {
        let mut connection = Connection::open(self.at).await.map_err(no_connection)?;
        let media = "application/vnd.syncline.ops+json";
        let (mut template, spread) = match self.reads {
            true => {
                let read = request("GET", "/v1/docs/bench/DDDDD", self.at, media, "");
                (Template::new(read, &["DDDDD"]), 100)
            }
            false => {
                // JSON's numbers do not begin with zeros.
                let ops = r#"[{"op":"text.splice","path":"/t","pos":1PPPP,"insert":"a"}]"#;
                let key = request("PATCH", "/v1/docs/bench/00100", self.at, media, ops);
                (Template::new(key, &["PPPP"]), 10_000)
            }
        };
        let mut times = Vec::new();
        let start = Instant::now();
        let mut due = start;
        let mut n = 0;
        while due.duration_since(start) < self.seconds {
            sleep_until(due.into()).await;
            connection.succeed(template.fill(&[n % spread])).await?;
            // From when it was due: one that waits for another is late, too.
            times.push(micros(due.elapsed()));
            due += Duration::from_secs(1) / self.rate;
            n += 1;
        }
        Ok((self.reads, times))
    }
}

/// Subscribers, the nth of the nth document, when all are up to date.
async fn crowd(
    node: &Process,
    count: u64,
    documents: u64,
    mode: &'static str,
    reads: bool,
) -> Result<(Arc<Shared>, Crowd), Failure> {
    let shared = Arc::new(Shared::default());
    if reads {
        shared.read.cancel();
    }
    let plan = |n: u64| {
        let doc = format!("bench/{:05}", n % documents);
        Plan { at: node.at, doc, mode, shared: shared.clone() }
    };
    let crowd = tokio::spawn(on_threads((0..count).map(plan).collect(), receive));
    all_ready(&shared, count).await?;
    Ok((shared, crowd))
}

async fn all_ready(shared: &Shared, count: u64) -> Result<(), Failure> {
    let ready = || shared.ready.load(Ordering::Acquire) as u64 == count;
    until("subscribers", PAUSE, async || Ok(ready().then_some(()))).await
}

async fn end(shared: &Shared, crowd: Crowd) -> Result<Vec<Received>, Failure> {
    tokio::time::sleep(LAST_FRAMES).await;
    shared.stop.cancel();
    crowd.await.map_err(|error| Failure::refused(error.to_string()))?
}

async fn receive(plan: Plan) -> Result<Received, Failure> {
    let shared = plan.shared;
    let mut subscriber = Subscriber::open(&plan.at.to_string(), None).await?;
    let target = json!({"doc": plan.doc});
    subscriber.say(&json!({"type": "subscribe", "id": "1", "target": target, "mode": plan.mode})).await?;
    while !subscriber.hear().await?.contains("\"up-to-date\"") {}
    shared.ready.fetch_add(1, Ordering::AcqRel);
    shared.read.cancelled().await;
    let mut received = Received::default();
    let stopped = shared.stop.cancelled();
    tokio::pin!(stopped);
    loop {
        let text = tokio::select! {
            biased;
            () = &mut stopped => return Ok(received),
            text = subscriber.hear() => text?,
        };
        let Some(version) = version(&text) else { continue };
        let now = Instant::now();
        received.frames += 1;
        received.versions.push((version, now));
        if shared.last.get() == Some(&version) {
            received.done = Some(now);
            return Ok(received);
        }
    }
}

/// The version that a frame brings one to.
fn version(frame: &str) -> Option<Hash> {
    let at = frame.find("\"to\":[\"").map(|at| at + 7);
    let at = at.or_else(|| frame.find("\"version\":[\"").map(|at| at + 12))?;
    frame.get(at..at + 64)?.parse().ok()
}

/// Changes, and when each was answered; so many a second, or one after the other.
async fn write(
    at: SocketAddr,
    mut patches: Patches,
    rate: Option<u32>,
) -> Result<Vec<(Hash, Instant)>, Failure> {
    let mut connection = Connection::open(at).await.map_err(no_connection)?;
    let mut answered = Vec::new();
    let mut due = Instant::now();
    while let Some(request) = patches.next() {
        sleep_until(due.into()).await;
        connection.succeed(request).await?;
        let now = Instant::now();
        let version = connection.header("version").map(|version| version.trim_matches('"'));
        let hash = version.and_then(|version| version.parse().ok());
        answered.push((hash.ok_or_else(|| Failure::refused("an answer without its version"))?, now));
        due += rate.map_or(Duration::ZERO, |rate| Duration::from_secs(1) / rate);
    }
    Ok(answered)
}

/// From each answer to each receipt, in microseconds, ascending. What came before the answer counts as 0.
fn latencies(answered: &[(Hash, Instant)], received: &[Received]) -> Vec<u32> {
    let answered: FxHashMap<Hash, Instant> = answered.iter().copied().collect();
    let versions = received.iter().flat_map(|received| &received.versions);
    let mut times: Vec<u32> = versions
        .filter_map(|(version, at)| Some(micros(at.saturating_duration_since(*answered.get(version)?))))
        .collect();
    times.sort_unstable();
    times
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_tells_its_version() {
        let hash = "ab".repeat(32);
        let wanted = hash.parse().ok();
        assert_eq!(version(&format!("{{\"type\":\"notify\",\"version\":[\"{hash}\"]}}")), wanted);
        assert_eq!(version(&format!("{{\"from\":[\"00\"],\"to\":[\"{hash}\"],\"patch\":[]}}")), wanted);
        assert_eq!(version("{\"type\":\"up-to-date\",\"cursor\":\"x\"}"), None);
    }
}
