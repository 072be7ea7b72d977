//! `bench ingest`: what a replica takes that finds a master with a lot of changes, and what each costs it.
//!
//! The changes are written before the replica is there, each by a request of its own: so each is one entry of
//! the log, as in a stream of writes. Once they are of many small documents, once keystrokes into one long text:
//! a node that merged what it relays would need many times more for the second. Then replicas with empty
//! folders follow that master, one after the other, so that the same changes are received several times.
//! A round begins when the replica says that it is linked, and ends when its vector and digest are the
//! master's. What it had by the time of the first answer is not counted.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::documents::{change, prepare};
use super::load::{Connection, Requests, Template, closed_loop, no_connection, request};
use super::nodes::{Process, until};
use super::{Common, Figure, median};
use crate::base::Role;
use crate::cli::output::Failure;
use crate::cli::scratch::Scratch;

const DOCUMENTS: u64 = 10_000;

/// Characters of the long text, before the keystrokes.
const TEXT: usize = 100_000;

/// Connections that prepare changes.
const PREPARING: u64 = 64;

/// How often the replica is asked how far it is. Each question waits for its committer, as a write would.
const PAUSE: Duration = Duration::from_millis(10);

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Changes of small documents
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    changes: u64,
    /// Keystrokes into the long text
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=100_000_000))]
    keystrokes: u64,
    /// Replicas that receive them, one after the other
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=100))]
    rounds: u64,
}

/// Single characters, typed in runs at changing places of the text.
struct Keystrokes {
    template: Template,
    next: u64,
    left: u64,
}

/// What one replica did.
struct Round {
    per_second: f64,
    /// Processor time for one change, in microseconds.
    cpu: Option<f64>,
}

pub async fn run(options: &Options) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("bench", options.common.dir.as_deref())?;
    let (small, size) = {
        let master = Process::node(&scratch, "many", Role::Master, &[]).await?;
        prepare(master.at, DOCUMENTS).await?;
        eprintln!("{} changes of {DOCUMENTS} documents of 20 fields", options.changes);
        let before = first_document(master.at).await?;
        change(master.at, DOCUMENTS, PREPARING, options.changes).await?;
        let after = first_document(master.at).await?;
        let size = (after.1 - before.1) / (after.0 - before.0).max(1.0);
        (receive(&scratch, &master, "of many documents", options.rounds).await?, size)
    };
    let text = {
        let master = Process::node(&scratch, "text", Role::Master, &[]).await?;
        eprintln!("{} keystrokes into a text of {TEXT} characters", options.keystrokes);
        type_into_text(master.at, options.keystrokes).await?;
        receive(&scratch, &master, "of one text", options.rounds).await?
    };
    let rate = |rounds: &[Round]| median(rounds.iter().map(|round| round.per_second));
    let cpu =
        |rounds: &[Round]| rounds.iter().map(|round| round.cpu).collect::<Option<Vec<f64>>>().map(median);
    let mut figures = vec![
        Figure::plain("size of a change", size, "B"),
        Figure::plain("changes", rate(&small), "/s").at_least(60_000.0),
        Figure::plain("keystrokes", rate(&text), "/s"),
    ];
    if let Some((small, text)) = cpu(&small).zip(cpu(&text)) {
        figures.extend([
            Figure::plain("replica's CPU per change", small, "µs"),
            Figure::plain("replica's CPU per keystroke", text, "µs"),
            Figure::plain("CPU ratio", text / small, "").at_most(1.5),
        ]);
    }
    Ok(figures)
}

async fn receive(
    scratch: &Scratch,
    master: &Process,
    what: &str,
    rounds: u64,
) -> Result<Vec<Round>, Failure> {
    let goal = master.standing().await?;
    let mut done = Vec::new();
    for round in 1..=rounds {
        // Its folder stays until the end: removing it would burden the next round's disk.
        let name = format!("replica {round} {what}");
        let replica = Process::node(scratch, &name, Role::Replica, &[master.url()]).await?;
        let linked = until("the link", PAUSE / 10, async || {
            let standing = replica.standing().await?;
            Ok((standing.linked > 0).then_some(standing))
        });
        let first = linked.await?;
        let (start, cpu) = (Instant::now(), replica.cpu());
        let equal = async || Ok(replica.standing().await?.equals(&goal).then_some(()));
        until("all changes", PAUSE, equal).await?;
        let taken = (goal.entries() - first.entries()) as f64;
        let round_done = Round {
            per_second: taken / start.elapsed().as_secs_f64(),
            cpu: cpu.zip(replica.cpu()).map(|(before, after)| (after - before).as_secs_f64() * 1e6 / taken),
        };
        eprintln!("round {round} of {rounds}: {:.0} changes/s {what}", round_done.per_second);
        done.push(round_done);
    }
    Ok(done)
}

/// Changes and bytes of the first document, as its record counts them.
async fn first_document(at: SocketAddr) -> Result<(f64, f64), Failure> {
    let mut connection = Connection::open(at).await.map_err(no_connection)?;
    connection.succeed(&request("GET", "/v1/docs?limit=1", at, "application/json", "")).await?;
    let list: serde_json::Value = serde_json::from_slice(connection.body()).unwrap_or_default();
    let number = |member: &str| list["documents"][0][member].as_f64();
    number("changes").zip(number("bytes")).ok_or_else(|| Failure::refused("a list without its documents"))
}

async fn type_into_text(at: SocketAddr, keystrokes: u64) -> Result<(), Failure> {
    let text = "The quick brown fox jumps over the lazy dog. ".repeat(TEXT / 45 + 1);
    let body = serde_json::json!({"text": {"$text": text.get(..TEXT)}}).to_string();
    let put = request("PUT", "/v1/docs/text", at, "application/json", &body);
    Connection::open(at).await.map_err(no_connection)?.succeed(&put).await?;
    let share = |n| keystrokes / PREPARING + u64::from(n < keystrokes % PREPARING);
    let typists = (0..PREPARING).map(|n| Keystrokes::new(at, n, share(n))).collect();
    closed_loop(at, typists, None).await?;
    Ok(())
}

impl Keystrokes {
    fn new(at: SocketAddr, typist: u64, count: u64) -> Self {
        let body = r#"[{"op":"text.splice","path":"/text","pos":PPPPP,"delete":0,"insert":"x"}]"#;
        let bytes = request("PATCH", "/v1/docs/text", at, "application/vnd.syncline.ops+json", body);
        Self { template: Template::new(bytes, &["PPPPP"]), next: typist * 1_000, left: count }
    }
}

impl Requests for Keystrokes {
    fn next(&mut self) -> Option<&[u8]> {
        self.left = self.left.checked_sub(1)?;
        self.next += 1;
        // A new place every 50 keystrokes; JSON numbers have no leading zeros.
        let place = self.next / 50 * 7_919 + self.next % 50;
        Some(self.template.fill(&[10_000 + place % 90_000]))
    }
}
