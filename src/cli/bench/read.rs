//! `bench read`: documents read over and over from many connections, beside a bare handler.
//!
//! First at a master, in turns with a bare handler that answers as many bytes: the ratio tells what a read costs
//! beyond HTTP. The same again with `If-None-Match`, beside a bare handler without a body.
//!
//! Then at a replica, alone and while its master takes writes to other documents. On one machine such writes
//! take cores from the reads whatever the replica does, so what they cost (processor time of master, replica and
//! load, measured without any reads) is taken off what is expected: `expected = alone × (1 − cost / cores)`.

use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use super::documents::{Patches, prepare};
use super::load::{Connection, Requests, Tally, Template, closed_loop, no_connection, on_threads, request};
use super::nodes::{Process, cpu_of, until};
use super::{Common, Figure, median};
use crate::base::Role;
use crate::cli::output::Failure;
use crate::cli::scratch::Scratch;

const DOCUMENTS: u64 = 1_000;

/// Turns of each load. Odd, so that the median is one of them.
const ROUNDS: u64 = 5;

/// Connections that write on a schedule.
const WRITERS: u64 = 16;

/// Connections read each document in turn, and begin at different ones.
const APART: u64 = 389;

const PAUSE: Duration = Duration::from_millis(20);

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Seconds of each load
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Connections, each with one request under way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    connections: u64,
    /// Writes a second at the master
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
}

/// `GET`s of all documents in turn.
enum Gets {
    Plain {
        template: Template,
        next: u64,
    },
    /// Ready-made, as each has a tag of its own.
    Tagged {
        requests: std::sync::Arc<[Vec<u8>]>,
        next: u64,
    },
}

impl Requests for Gets {
    fn next(&mut self) -> Option<&[u8]> {
        match self {
            Gets::Plain { template, next } => {
                *next = (*next + 1) % DOCUMENTS;
                Some(template.fill(&[*next]))
            }
            Gets::Tagged { requests, next } => {
                *next = (*next + 1) % DOCUMENTS;
                requests.get(*next as usize).map(Vec::as_slice)
            }
        }
    }
}

pub async fn run(options: &Options) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("bench", options.common.dir.as_deref())?;
    let master = Process::node(&scratch, "read", Role::Master, &[]).await?;
    prepare(master.at, DOCUMENTS).await?;
    let bytes = read_once(&master).await?;
    eprintln!("{DOCUMENTS} documents of 20 fields, {bytes} bytes each");
    let mut figures = beside_bare(options, &master, bytes).await?;
    figures.extend(with_writes(options, &scratch, &master).await?);
    Ok(figures)
}

/// Reads at a master, whole and conditional, in turns with bare handlers.
async fn beside_bare(options: &Options, node: &Process, bytes: usize) -> Result<Vec<Figure>, Failure> {
    let bare = Process::start(vec!["bench".into(), "bare-handler".into(), bytes.to_string()]).await?;
    let empty = Process::start(vec!["bench".into(), "bare-handler".into()]).await?;
    let tagged = tagged(node).await?;
    let turn = Duration::from_secs(options.seconds) / ROUNDS as u32;
    let mut rates: [Vec<f64>; 4] = Default::default();
    let (mut latencies, mut cpus): (Vec<f64>, Vec<f64>) = Default::default();
    // The first turn of each is a warm-up.
    for round in 0..=ROUNDS {
        let before = node.cpu();
        let whole = gets(node, options.connections, turn).await?;
        let used = before.zip(node.cpu()).map(|(before, after)| after.saturating_sub(before));
        let bare = gets(&bare, options.connections, turn).await?;
        let conditional =
            (0..options.connections).map(|n| Gets::Tagged { requests: tagged.clone(), next: n * APART });
        let unchanged = closed_loop(node.at, conditional.collect(), Some(turn)).await?;
        let empty = gets(&empty, options.connections, turn).await?;
        let turns = [&whole, &bare, &unchanged, &empty].map(Tally::per_second);
        let [whole_rate, bare_rate, unchanged_rate, empty_rate] = turns;
        eprintln!(
            "round {round} of {ROUNDS}: {whole_rate:.0} reads/s, {bare_rate:.0} bare; {unchanged_rate:.0} unchanged/s, \
             {empty_rate:.0} bare"
        );
        if round > 0 {
            rates.iter_mut().zip(turns).for_each(|(rates, rate)| rates.push(rate));
            latencies.push(whole.latency_ms(0.99));
            cpus.extend(used.map(|used| used.as_secs_f64() * 1e6 / whole.requests.max(1) as f64));
        }
    }
    let [whole, bare, unchanged, empty] = rates;
    let ratio = |of: &[f64], to: &[f64]| median(of.iter().zip(to).map(|(of, to)| of / to));
    let (ratio_whole, ratio_unchanged) = (ratio(&whole, &bare), ratio(&unchanged, &empty));
    let mut figures = vec![
        Figure::plain("reads", median(whole), "/s"),
        Figure::plain("bare requests, as many bytes", median(bare), "/s"),
        Figure::plain("ratio", ratio_whole, "").at_least(0.6),
        Figure::plain("read latency, p99", median(latencies), "ms"),
        Figure::plain("reads with If-None-Match", median(unchanged), "/s"),
        Figure::plain("bare requests, no bytes", median(empty), "/s"),
        Figure::plain("ratio with If-None-Match", ratio_unchanged, "").at_least(0.6),
    ];
    if !cpus.is_empty() {
        figures.push(Figure::plain("node's CPU per read", median(cpus), "µs"));
    }
    Ok(figures)
}

/// Reads at a replica, without and with writes at its master.
async fn with_writes(options: &Options, scratch: &Scratch, master: &Process) -> Result<Vec<Figure>, Failure> {
    let replica = Process::node(scratch, "replica", Role::Replica, &[master.url()]).await?;
    let equal = async || Ok(replica.standing().await?.equals(&master.standing().await?).then_some(()));
    until("an equal replica", PAUSE, equal).await?;
    read_once(&replica).await?;
    let turn = Duration::from_secs(options.seconds) / ROUNDS as u32;
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    let used = || Some(master.cpu()? + replica.cpu()? + cpu_of(std::process::id())?);
    let (mut alone, mut beside, mut shares, mut costs) = (vec![], vec![], vec![], vec![]);
    for round in 0..=ROUNDS {
        let without = gets(&replica, options.connections, turn).await?.per_second();
        let (before, start) = (used(), Instant::now());
        write(options, master, 2 * round, turn).await?;
        let cost = before.zip(used()).map_or(0.0, |(before, after)| {
            after.saturating_sub(before).as_secs_f64() / start.elapsed().as_secs_f64()
        });
        let reads = gets(&replica, options.connections, turn);
        let (reads, ()) = tokio::try_join!(reads, write(options, master, 2 * round + 1, turn))?;
        let with = reads.per_second();
        eprintln!(
            "round {round} of {ROUNDS}: {without:.0} reads/s at a replica, {with:.0} beside writes that cost {cost:.2} \
             cores"
        );
        if round > 0 {
            alone.push(without);
            beside.push(with);
            costs.push(cost);
            shares.push(with / (without * (1.0 - cost / cores)).max(1.0));
        }
    }
    Ok(vec![
        Figure::plain("reads at a replica", median(alone), "/s"),
        Figure::plain("reads at a replica, beside writes", median(beside), "/s"),
        Figure::plain("what the writes cost", median(costs), "cores"),
        Figure::plain("share of what is left", median(shares), "").at_least(0.8),
    ])
}

async fn gets(server: &Process, connections: u64, turn: Duration) -> Result<Tally, Failure> {
    let bytes = request("GET", "/v1/docs/bench/DDDDD", server.at, "application/json", "");
    let template = Template::new(bytes, &["DDDDD"]);
    let gets = (0..connections).map(|n| Gets::Plain { template: template.clone(), next: n * APART });
    closed_loop(server.at, gets.collect(), Some(turn)).await
}

/// Reads every document once, so that all are loaded, and gives the bytes of one.
async fn read_once(server: &Process) -> Result<usize, Failure> {
    let mut connection = Connection::open(server.at).await.map_err(no_connection)?;
    for n in 0..DOCUMENTS {
        connection.succeed(&get(server, n, "")).await?;
    }
    Ok(connection.body().len())
}

/// Requests with each document's tag.
async fn tagged(server: &Process) -> Result<std::sync::Arc<[Vec<u8>]>, Failure> {
    let mut connection = Connection::open(server.at).await.map_err(no_connection)?;
    let mut requests = Vec::new();
    for n in 0..DOCUMENTS {
        connection.succeed(&get(server, n, "")).await?;
        let tag = connection.header("etag").ok_or_else(|| Failure::refused("a document without a tag"))?;
        requests.push(get(server, n, &format!("If-None-Match: {tag}\r\n")));
    }
    Ok(requests.into())
}

fn get(server: &Process, document: u64, headers: &str) -> Vec<u8> {
    let at = server.at;
    format!("GET /v1/docs/bench/{document:05} HTTP/1.1\r\nHost: {at}\r\n{headers}\r\n").into_bytes()
}

/// Writes on a schedule, to documents that nobody reads.
async fn write(options: &Options, master: &Process, round: u64, turn: Duration) -> Result<(), Failure> {
    let (at, every) = (master.at, Duration::from_secs(WRITERS).div_f64(options.rate as f64));
    let start = Instant::now();
    let writers = (0..WRITERS).map(|n| (n, Patches::beside(at, DOCUMENTS, 1 + round * WRITERS + n)));
    let work = move |(n, mut patches): (u64, Patches)| async move {
        let mut connection = Connection::open(at).await.map_err(no_connection)?;
        let mut due = start + every.div_f64(WRITERS as f64) * n as u32;
        while due.duration_since(start) < turn {
            sleep_until(due.into()).await;
            let Some(request) = patches.next() else { break };
            connection.succeed(request).await?;
            due += every;
        }
        Ok(())
    };
    on_threads(writers.collect(), work).await.map(|_| ())
}
