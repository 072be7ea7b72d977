//! The simulator: the replication core, the engine and the in-memory store, 2 to 7 nodes under faults, on virtual
//! time from a seed. Nothing here sleeps, and no run depends on anything but its seed.
//!
//! `SYNCLINE_SEEDS` says how many seeds to run. `SYNCLINE_SEED=7 cargo test --release --test sim replay --
//! --nocapture` runs one and tells what happens.

mod disk;
mod faults;
mod invariants;
mod net;
mod node;
mod plan;
#[cfg(feature = "planted-bugs")]
mod planted;
mod readers;
mod seeds;
mod trace;
mod words;
mod world;
mod writes;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use invariants::Failure;
use world::Report;

/// Seeds of the ordinary test.
const SEEDS: u64 = 300;

/// A run; a panic is a failure like any other.
fn run(seed: u64, told: bool) -> Result<Report, Failure> {
    catch_unwind(AssertUnwindSafe(|| world::run(seed, told))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        Err(Failure { invariant: "panic", what: said.unwrap_or_default(), seed, at: 0 })
    })
}

fn told(failure: &Failure) -> String {
    let Failure { invariant, what, seed, at } = failure;
    format!(
        "seed {seed}, at {at} ms, `{invariant}`: {what}\n  replay: SYNCLINE_SEED={seed} cargo test --release \
         --locked --test sim replay -- --nocapture"
    )
}

#[test]
fn clusters_converge_under_faults() {
    let seeds = std::env::var("SYNCLINE_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    let next = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let start = Instant::now();
    let work = || {
        let (mut reports, mut failures) = (Vec::new(), Vec::new());
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds || failures.len() >= 3 {
                return (reports, failures);
            }
            let start = Instant::now();
            match run(seed, false) {
                Ok(report) => reports.push((start.elapsed().as_millis(), seed, report)),
                Err(failure) => {
                    eprintln!("{}", told(&failure));
                    failures.push(failure);
                }
            }
        }
    };
    let (mut reports, mut failures) = (Vec::new(), Vec::new());
    std::thread::scope(|scope| {
        let all: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in all {
            let (some, bad) = thread.join().unwrap();
            reports.extend(some);
            failures.extend(bad);
        }
    });
    let each = start.elapsed().as_secs_f64() * 1_000.0 * threads as f64 / seeds as f64;
    reports.sort_by_key(|(took, ..)| std::cmp::Reverse(*took));
    let slow: Vec<String> =
        reports.iter().take(5).map(|(took, seed, _)| format!("{seed}: {took} ms")).collect();
    let reports: Vec<Report> = reports.into_iter().map(|(.., report)| report).collect();
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let slowest = reports.iter().map(|report| report.converged).max().unwrap_or(0);
    println!(
        "{} seeds, {each:.1} ms each on one core: {} writes, {} answered, {} entries, {} faults, {} events; readers took {} \
         steps, went on from {} cursors and began anew {} times; slowest to get equal: {slowest} ms; seeds that took longest: {slow:?}",
        reports.len(),
        sum(|report| report.writes as u64),
        sum(|report| report.answered as u64),
        sum(|report| report.entries as u64),
        sum(|report| report.faults as u64),
        sum(|report| report.events),
        sum(|report| report.read.0),
        sum(|report| report.read.1),
        sum(|report| report.read.2),
    );
    assert!(failures.is_empty(), "{} seeds failed", failures.len());
    for report in &reports {
        assert!(report.writes >= plan::WRITES && report.faults >= plan::FAULTS, "{report:?}");
        assert!(report.kinds >= plan::KINDS, "{report:?}");
    }
}

#[test]
fn what_was_found_once_stays_away() {
    let failures: Vec<String> = seeds::FOUND
        .iter()
        .filter_map(|(seed, found)| Some((found, run(*seed, false).err()?)))
        .map(|(found, failure)| format!("{} (once: {found})", told(&failure)))
        .collect();
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3, 4, 5] {
        let (one, two) = (run(seed, false), run(seed, false));
        assert_eq!(one.unwrap(), two.unwrap(), "seed {seed}");
    }
    assert_ne!(run(1, false).unwrap().trace, run(2, false).unwrap().trace);
}

/// Tells what happens in the run of the seed that `SYNCLINE_SEED` names.
#[test]
fn replay() {
    let Some(seed) = std::env::var("SYNCLINE_SEED").ok().and_then(|seed| seed.parse().ok()) else { return };
    let report = run(seed, true).unwrap_or_else(|failure| panic!("{}", told(&failure)));
    println!("{report:?}");
}
