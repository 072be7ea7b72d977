//! `bench converge`: how long after its answer on one master a write is on the disks of all.
//!
//! Three masters are linked with each other, and each gets 500 writes a second on its own schedule, whether
//! or not the ones before are answered (documents are shared, so most changes are concurrent with others).
//!
//! The truth about disks is told by the nodes' own acknowledgements: a master sends one over each of its links
//! after the fsync that brought something. So the benchmark links itself to every master, as one replica more,
//! and notes when each acknowledgement comes. From each it also takes the entries that entered there, which
//! say under which counter of its origin a change was committed; the `Version` that answers a write is the
//! hash of its change. The time of a write is from its answer to the last acknowledgement, on one clock; what
//! an acknowledgement needs to come here counts too, and so does the work of serving this link.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::documents::{Patches, prepare};
use super::load::{Connection, Requests, micros, no_connection, on_threads, percentile};
use super::nodes::{Process, until};
use super::observer::{Observed, Observer};
use super::{Common, Figure};
use crate::base::{Hash, Role};
use crate::cli::output::Failure;
use crate::cli::scratch::Scratch;

const MASTERS: [&str; 3] = ["a", "b", "c"];

const DOCUMENTS: u64 = 1_000;

/// Connections to each master. Together they have time enough for slow answers before one delays the schedule.
const CONNECTIONS: u64 = 64;

const PAUSE: Duration = Duration::from_millis(10);

const LAST_WORDS: Duration = Duration::from_millis(200);

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// Seconds of load
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Writes a second on each of the three masters
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
}

/// One write: where, which change, when it was answered, and how long after the schedule.
struct Answered {
    master: usize,
    hash: Hash,
    at: Instant,
    late: Duration,
}

/// One connection's part of the schedule.
struct Writer {
    master: usize,
    at: SocketAddr,
    patches: Patches,
    first: Instant,
    every: Duration,
}

pub async fn run(options: &Options) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("bench", options.common.dir.as_deref())?;
    let mut masters: Vec<Process> = Vec::new();
    for name in MASTERS {
        let peers: Vec<String> = masters.iter().map(Process::url).collect();
        masters.push(Process::node(&scratch, name, Role::Master, &peers).await?);
    }
    eprintln!("{DOCUMENTS} documents of 20 fields on {} masters", masters.len());
    let linked = async |master: &Process| Ok(master.standing().await?.linked == MASTERS.len() - 1);
    until("links between all", PAUSE, async || all(&masters, linked).await).await?;
    prepare(masters[0].at, DOCUMENTS).await?;
    until("equal documents", PAUSE, async || equal(&masters).await).await?;

    let stop = CancellationToken::new();
    let mut observers = Vec::new();
    for master in &masters {
        let observer = Observer::link(master.at).await?;
        observers.push(tokio::spawn(observer.listen(stop.clone())));
    }
    eprintln!("{} writes/s on each for {} s", options.rate, options.seconds);
    let cpu = |masters: &[Process]| masters.iter().map(Process::cpu).sum::<Option<Duration>>();
    let before = cpu(&masters);
    let start = Instant::now();
    let answered: Vec<Answered> =
        on_threads(writers(&masters, options, start), write).await?.into_iter().flatten().collect();
    let ended = answered.iter().map(|write| write.at).max().unwrap_or(start);
    let used = before.zip(cpu(&masters)).map(|(before, after)| after.saturating_sub(before));
    until("equal documents", PAUSE / 2, async || equal(&masters).await).await?;
    let healed = ended.elapsed();
    // All that is equal has been acknowledged; the words of it need a moment to arrive. Were one late, the
    // run would fail below.
    tokio::time::sleep(LAST_WORDS).await;
    stop.cancel();
    let mut observed = Vec::new();
    for observer in observers {
        observed.push(observer.await.map_err(|e| Failure::refused(e.to_string()))??);
    }
    let times = times(&answered, &observed)?;
    let late = answered.iter().map(|write| write.late).max().unwrap_or_default();
    let ms = |share| percentile(&times, share) / 1_000.0;
    let writes = answered.len() as f64;
    let mut figures = vec![
        Figure::plain("writes on all masters", writes / ended.duration_since(start).as_secs_f64(), "/s"),
        Figure::plain("most behind schedule", late.as_secs_f64() * 1e3, "ms"),
        Figure::plain("from the answer to all disks, p50", ms(0.50), "ms"),
        Figure::plain("from the answer to all disks, p99", ms(0.99), "ms").at_most(25.0),
        Figure::plain("from the answer to all disks, most", ms(1.0), "ms"),
        Figure::plain("equal after the last write", healed.as_secs_f64() * 1e3, "ms").at_most(1_000.0),
    ];
    let each = |used: Duration| used.as_secs_f64() * 1e6 / writes;
    figures.extend(used.map(|used| Figure::plain("CPU of all masters per write", each(used), "µs")));
    Ok(figures)
}

async fn all(
    masters: &[Process],
    holds: impl AsyncFn(&Process) -> Result<bool, Failure>,
) -> Result<Option<()>, Failure> {
    for master in masters {
        if !holds(master).await? {
            return Ok(None);
        }
    }
    Ok(Some(()))
}

async fn equal(masters: &[Process]) -> Result<Option<()>, Failure> {
    let first = masters[0].standing().await?;
    all(masters, async |master| Ok(master.standing().await?.equals(&first))).await
}

fn writers(masters: &[Process], options: &Options, start: Instant) -> Vec<Writer> {
    let slot = Duration::from_secs(1).div_f64(options.rate as f64);
    let total = options.rate * options.seconds;
    let mut writers = Vec::new();
    for (master, process) in masters.iter().enumerate() {
        for n in 0..CONNECTIONS.min(total) {
            let count = total / CONNECTIONS + u64::from(n < total % CONNECTIONS);
            let number = 1 + master as u64 * CONNECTIONS + n;
            writers.push(Writer {
                master,
                at: process.at,
                patches: Patches::new(process.at, DOCUMENTS, number, count),
                first: start + slot * n as u32,
                every: slot * CONNECTIONS as u32,
            });
        }
    }
    writers
}

async fn write(mut writer: Writer) -> Result<Vec<Answered>, Failure> {
    let mut connection = Connection::open(writer.at).await.map_err(no_connection)?;
    let mut answered = Vec::new();
    let mut due = writer.first;
    while let Some(request) = writer.patches.next() {
        sleep_until(due.into()).await;
        let late = due.elapsed();
        connection.succeed(request).await?;
        let at = Instant::now();
        let version = connection.header("version").map(|version| version.trim_matches('"'));
        let hash = version.and_then(|version| version.parse().ok());
        let hash = hash.ok_or_else(|| Failure::refused("a write was answered without its version"))?;
        answered.push(Answered { master: writer.master, hash, at, late });
        due += writer.every;
    }
    Ok(answered)
}

/// Of each write, from its answer until all masters had it on disk, in microseconds, ascending; 0 where the
/// word of that came before the answer.
fn times(answered: &[Answered], observed: &[Observed]) -> Result<Vec<u32>, Failure> {
    let mut times = Vec::with_capacity(answered.len());
    for write in answered {
        let lost = || Failure::refused(format!("the write {} was not acknowledged by all", write.hash));
        let (origin, counter) = observed[write.master].committed.get(&write.hash).ok_or_else(lost)?;
        let mut last = write.at;
        for master in observed {
            let said = master.acknowledged.get(origin).ok_or_else(lost)?;
            let at = said.partition_point(|(held, _)| held < counter);
            last = last.max(said.get(at).ok_or_else(lost)?.1);
        }
        times.push(micros(last - write.at));
    }
    times.sort_unstable();
    Ok(times)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Origin;

    #[test]
    fn the_time_of_a_write_is_that_of_the_slowest_master() {
        let start = Instant::now();
        let ms = |n| start + Duration::from_millis(n);
        let origin = Origin::default();
        let said = |list: Vec<(u64, Instant)>| Observed {
            acknowledged: [(origin, list)].into(),
            committed: [(Hash([1; 32]), (origin, 5))].into(),
        };
        let write = || Answered { master: 0, hash: Hash([1; 32]), at: ms(10), late: Duration::ZERO };
        let observed =
            [said(vec![(5, ms(9))]), said(vec![(4, ms(11)), (6, ms(17))]), said(vec![(5, ms(12))])];
        assert_eq!(times(&[write()], &observed).unwrap(), [7_000]);
        // One that has not acknowledged it makes the run worthless.
        let observed = [said(vec![(5, ms(9))]), said(vec![(4, ms(11))])];
        assert!(times(&[write()], &observed).is_err());
    }
}
