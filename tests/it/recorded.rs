//! Recorded typing sessions, read where `SYNCLINE_DATA` points.

use std::io::Read;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Session {
    pub end_content: String,
    pub txns: Vec<Transaction>,
}

#[derive(Deserialize)]
pub struct Transaction {
    #[serde(default)]
    pub parents: Vec<usize>,
    #[serde(default)]
    pub agent: usize,
    /// Position in code points, how many are deleted there, what is inserted.
    pub patches: Vec<(usize, usize, String)>,
}

impl Session {
    /// None, said aloud, where the recordings are not at hand.
    pub fn load(name: &str) -> Option<Self> {
        let Some(folder) = std::env::var_os("SYNCLINE_DATA") else {
            eprintln!(
                "SKIPPED: {name} is not replayed, since SYNCLINE_DATA does not say where the recordings are"
            );
            return None;
        };
        let path = PathBuf::from(folder).join(format!("{name}.json.gz"));
        let file = std::fs::File::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let mut text = String::new();
        flate2::read::GzDecoder::new(file).read_to_string(&mut text).expect("a gzipped text");
        Some(serde_json::from_str(&text).expect("a recorded session"))
    }
}

/// Transactions as one list of typed operations on `/text`.
pub fn operations<'a>(transactions: impl IntoIterator<Item = &'a Transaction>) -> String {
    let splice = |(pos, delete, insert): &(usize, usize, String)| json!({"op": "text.splice", "path": "/text", "pos": pos, "delete": delete, "insert": insert});
    let ops: Vec<Value> = transactions.into_iter().flat_map(|t| t.patches.iter().map(splice)).collect();
    Value::from(ops).to_string()
}
