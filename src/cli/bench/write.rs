//! `bench write`: one-field merge patches from many connections, every one fsynced before it is answered.
//!
//! In the same run, in turns, the same requests go to a bare handler that only reads their bodies. So the ratio
//! of the two tells what a write costs beyond HTTP, on whatever machine this is.

use std::time::Duration;

use super::documents::{Patches, prepare};
use super::load::{Tally, closed_loop};
use super::nodes::Process;
use super::{Common, Figure, median};
use crate::base::Role;
use crate::cli::output::Failure;
use crate::cli::scratch::Scratch;

const DOCUMENTS: u64 = 1_000;

/// Turns of each server. Odd, so that the median is one of them.
const ROUNDS: u64 = 5;

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Seconds of load on each of the two servers
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Connections, each with one request under way
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u64).range(1..=4_096))]
    connections: u64,
}

/// One turn of one server.
struct Round {
    tally: Tally,
    /// The server's processor time for one request, in microseconds.
    cpu: Option<f64>,
}

pub async fn run(options: &Options) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("bench", options.common.dir.as_deref())?;
    let node = Process::node(&scratch, "write", Role::Master, &[]).await?;
    let bare = Process::start(vec!["bench".into(), "bare-handler".into()]).await?;
    eprintln!("{DOCUMENTS} documents of 20 fields");
    prepare(node.at, DOCUMENTS).await?;
    let turn = Duration::from_secs(options.seconds) / ROUNDS as u32;
    let (mut writes, mut reads) = (Vec::new(), Vec::new());
    // The first turn of each is a warm-up.
    for round in 0..=ROUNDS {
        let write = load(&node, options.connections, round, turn).await?;
        let read = load(&bare, options.connections, round, turn).await?;
        let (write_rate, read_rate) = (write.tally.per_second(), read.tally.per_second());
        eprintln!("round {round} of {ROUNDS}: {write_rate:.0} writes/s, {read_rate:.0} bare requests/s");
        if round > 0 {
            writes.push(write);
            reads.push(read);
        }
    }
    let of = |rounds: &[Round], figure: &dyn Fn(&Round) -> f64| median(rounds.iter().map(figure));
    let rate = |round: &Round| round.tally.per_second();
    let ratios = writes.iter().zip(&reads).map(|(write, read)| rate(write) / rate(read));
    let mut figures = vec![
        Figure::plain("writes", of(&writes, &rate), "/s"),
        Figure::plain("bare requests", of(&reads, &rate), "/s"),
        Figure::plain("ratio", median(ratios), "").at_least(0.20),
        Figure::plain("write latency, p50", of(&writes, &|round| round.tally.latency_ms(0.50)), "ms"),
        Figure::plain("write latency, p99", of(&writes, &|round| round.tally.latency_ms(0.99)), "ms"),
        Figure::plain("bare latency, p99", of(&reads, &|round| round.tally.latency_ms(0.99)), "ms"),
    ];
    let cpu =
        |rounds: &[Round]| rounds.iter().map(|round| round.cpu).collect::<Option<Vec<f64>>>().map(median);
    figures.extend(cpu(&writes).map(|cpu| Figure::plain("node's CPU per write", cpu, "µs")));
    figures.extend(cpu(&reads).map(|cpu| Figure::plain("bare handler's CPU per request", cpu, "µs")));
    Ok(figures)
}

async fn load(server: &Process, connections: u64, round: u64, turn: Duration) -> Result<Round, Failure> {
    // Every round has writers of its own: a repeated value would change nothing.
    let writers =
        (0..connections).map(|n| Patches::new(server.at, DOCUMENTS, 1 + round * connections + n, u64::MAX));
    let before = server.cpu();
    let tally = closed_loop(server.at, writers.collect(), Some(turn)).await?;
    let cpu = before.zip(server.cpu()).map(|(before, after)| {
        after.saturating_sub(before).as_secs_f64() * 1e6 / tally.requests.max(1) as f64
    });
    Ok(Round { tally, cpu })
}
