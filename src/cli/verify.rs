//! `verify`: a data folder looked through while no node runs on it.

use std::path::PathBuf;

use clap::Args;

use super::output::{Failure, print};
use super::progress::Progress;
use crate::node::{Report, verify};
use crate::store::RocksStore;

const AFTER_HELP: &str = "\
Reads every block of the folder and compares what belongs together: documents with their changes, the log with the
version vector, all documents with their digest. Nothing is written. Stop the node first.

What to do with a damaged folder: `syncline serve --repair`, which keeps what can be read and gets the rest from the
other nodes.

Exit codes: 0 the folder is sound; 1 it is damaged, or cannot be read.";

#[derive(Args)]
#[command(after_help = AFTER_HELP)]
pub struct Verify {
    /// Folder of a node's data
    #[arg(
        long,
        env = "SYNCLINE_DATA_DIR",
        value_name = "DIR",
        default_value = "./syncline-data",
        hide_env_values = true
    )]
    data_dir: PathBuf,

    /// JSON: values, bytes, documents, changes, entries, faults, further_faults
    #[arg(long)]
    json: bool,

    /// Tell how far it is on standard error, also where that is no terminal
    #[arg(long)]
    progress: bool,
}

impl Verify {
    pub async fn run(self) -> Result<(), Failure> {
        let mut progress = Progress::new(self.progress, true);
        let look = move || {
            let store = RocksStore::open_to_read(&self.data_dir)?;
            let report = verify(&store, &mut |report| progress.tell(report.documents, report.bytes))?;
            progress.end(report.documents, report.bytes);
            Ok::<_, crate::store::StoreError>(report)
        };
        let looked = tokio::task::spawn_blocking(look).await;
        let looked = looked.map_err(|error| Failure::refused(error.to_string()))?;
        let report = looked.map_err(|error| Failure::refused(error.to_string()))?;
        if self.json {
            let text = serde_json::to_string(&report).map_err(|error| Failure::refused(error.to_string()))?;
            print(format!("{text}\n"))?;
        } else {
            print(text(&report))?;
        }
        if report.is_sound() {
            return Ok(());
        }
        Err(Failure::refused("the folder is damaged: `syncline serve --repair` keeps what can be read"))
    }
}

fn text(report: &Report) -> String {
    let Report { values, bytes, documents, changes, entries, faults, further_faults } = report;
    let mut text = format!("{values} values read, {:.1} MB\n", *bytes as f64 / 1e6);
    if *documents > 0 || *entries > 0 {
        text += &format!("{documents} documents of {changes} changes, {entries} log entries\n");
    }
    for fault in faults {
        text += &format!("damaged: {fault}\n");
    }
    if *further_faults > 0 {
        text += &format!("and {further_faults} more\n");
    }
    text + if report.is_sound() { "sound\n" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_what_was_read_and_what_is_wrong() {
        let mut report =
            Report { values: 9, bytes: 1_500_000, documents: 2, changes: 3, ..Report::default() };
        assert_eq!(text(&report), "9 values read, 1.5 MB\n2 documents of 3 changes, 0 log entries\nsound\n");
        report.faults.push("this".into());
        report.further_faults = 7;
        assert!(text(&report).ends_with("damaged: this\nand 7 more\n"));
    }
}
