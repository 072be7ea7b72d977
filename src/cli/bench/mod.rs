//! Benchmarks with nodes of their own, as child processes of this program: progress on standard error, figures
//! on standard output.

mod bare;
mod bulk;
mod converge;
mod documents;
mod fanout;
mod ingest;
mod load;
mod nodes;
mod observer;
mod read;
mod reconnect;
mod store;
mod wire;
mod write;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::cli::output::{Failure, print};
use crate::cli::signals::Signals;
use crate::cli::table::{Align, table};

#[derive(Args)]
pub struct Bench {
    #[command(subcommand)]
    which: Which,
}

#[derive(Subcommand)]
enum Which {
    /// Fsynced writes a second, beside a bare handler that only reads its body
    Write(write::Options),
    /// Time from the answer on one of three masters until the write is on disk on all
    Converge(converge::Options),
    /// Changes a second that a replica takes, and what they cost it
    Ingest(ingest::Options),
    /// Reads a second of documents that do not change, beside a bare handler, and at a replica beside writes
    Read(read::Options),
    /// New documents a second through one bulk request a connection
    Bulk(bulk::Options),
    /// Two masters whose link was cut: bytes and time until they are equal, by log and by digest; and a new node
    Reconnect(reconnect::Options),
    /// What a million documents take: memory, time of a start, CPU of a write; and histories on disk
    Store(store::Options),
    /// Subscribers of documents that change: how soon and how many they are told, and what they cost
    Fanout(fanout::Options),
    /// What `write` and `read` compare with
    #[command(hide = true)]
    BareHandler {
        /// Of each answer's body
        #[arg(default_value_t = 0)]
        bytes: usize,
    },
}

/// What all benchmarks take.
#[derive(Args)]
struct Common {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Where the nodes' data folders are made, and removed again [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What a benchmark found.
#[derive(Serialize)]
struct Report {
    bench: &'static str,
    version: &'static str,
    figures: Vec<Figure>,
}

#[derive(Serialize)]
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    aim: Option<f64>,
    met: Option<bool>,
    #[serde(skip)]
    bound: &'static str,
}

impl Figure {
    fn plain(name: &'static str, value: f64, unit: &'static str) -> Self {
        Self { name, value, unit, aim: None, met: None, bound: "" }
    }

    fn at_least(self, aim: f64) -> Self {
        Self { aim: Some(aim), met: Some(self.value >= aim), bound: "at least", ..self }
    }

    fn at_most(self, aim: f64) -> Self {
        Self { aim: Some(aim), met: Some(self.value <= aim), bound: "at most", ..self }
    }
}

impl Bench {
    /// Runs to the end, or until it is asked to stop: the nodes end in any case.
    pub async fn run(self) -> Result<(), Failure> {
        let signals = Signals::listen().map_err(|error| Failure::refused(format!("signals: {error}")))?;
        tokio::select! {
            done = self.which.run() => done,
            () = signals.stop() => Err(Failure::refused("interrupted")),
        }
    }
}

impl Which {
    async fn run(self) -> Result<(), Failure> {
        match self {
            Which::Write(options) => report("write", options.common.json, write::run(&options).await?),
            Which::Converge(options) => {
                report("converge", options.common.json, converge::run(&options).await?)
            }
            Which::Ingest(options) => report("ingest", options.common.json, ingest::run(&options).await?),
            Which::Read(options) => report("read", options.common.json, read::run(&options).await?),
            Which::Bulk(options) => report("bulk", options.common.json, bulk::run(&options).await?),
            Which::Reconnect(options) => {
                report("reconnect", options.common.json, reconnect::run(&options).await?)
            }
            Which::Store(options) => report("store", options.common.json, store::run(&options).await?),
            Which::Fanout(options) => report("fanout", options.common.json, fanout::run(&options).await?),
            Which::BareHandler { bytes } => bare::run(bytes).await,
        }
    }
}

fn report(bench: &'static str, json: bool, figures: Vec<Figure>) -> Result<(), Failure> {
    let report = Report { bench, version: env!("CARGO_PKG_VERSION"), figures };
    let text = match json {
        true => serde_json::to_string(&report).map_err(|e| Failure::refused(e.to_string()))? + "\n",
        false => text(&report),
    };
    Ok(print(text)?)
}

fn text(report: &Report) -> String {
    let row = |figure: &Figure| {
        let aim = figure.aim.map_or(String::new(), |aim| format!("{} {}", figure.bound, number(aim)));
        let met = figure.met.map_or("", |met| if met { "met" } else { "NOT MET" });
        [figure.name.to_owned(), number(figure.value), figure.unit.to_owned(), aim, met.to_owned()]
    };
    let heads = [
        (report.bench, Align::Left),
        ("", Align::Right),
        ("", Align::Left),
        ("aim", Align::Left),
        ("", Align::Left),
    ];
    table(heads, &report.figures.iter().map(row).collect::<Vec<_>>())
}

/// With as many digits as say something.
fn number(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0..100.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The middle one; of an even number the upper of the two.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_for_each_figure_whether_its_aim_is_met() {
        let figures = vec![
            Figure::plain("ratio", 0.25, "").at_least(0.2),
            Figure::plain("p99", 30.0, "ms").at_most(25.0),
            Figure::plain("writes", 12_345.6, "/s"),
        ];
        let report = Report { bench: "write", version: "0", figures };
        let json: serde_json::Value = serde_json::to_value(&report).unwrap();
        let met: Vec<_> = json["figures"].as_array().unwrap().iter().map(|f| f["met"].clone()).collect();
        assert_eq!(met, [true.into(), false.into(), serde_json::Value::Null]);
        assert_eq!(json["figures"][1]["aim"], 25.0);
        let text = text(&report);
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("at most 25.0 NOT MET"), "{text}");
        assert!(text.contains("12346  /s"), "{text}");
    }

    #[test]
    fn the_median_does_not_follow_one_bad_round() {
        assert_eq!(median([5.0, 1_000.0, 4.0]), 5.0);
        assert_eq!(median([]), 0.0);
    }
}
