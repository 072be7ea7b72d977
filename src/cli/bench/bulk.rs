//! `bench bulk`: new documents through `/v1/bulk`, each fsynced before it is answered.
//!
//! The lines are made while they are sent, and answers are read meanwhile, as any client of the call must do.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::load::{Template, no_connection};
use super::nodes::Process;
use super::{Common, Figure, median};
use crate::base::Role;
use crate::cli::output::Failure;
use crate::cli::scratch::Scratch;

/// Bytes of each document's JSON.
pub const DOCUMENT: usize = 300;

/// Bytes that are handed to the socket at once.
const PIECE: usize = 64 << 10;

/// Something comes within this time, or the run has failed.
const ANSWER: Duration = Duration::from_secs(60);

#[derive(clap::Args)]
pub struct Options {
    #[command(flatten)]
    pub common: Common,
    /// New documents in each round
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    documents: u64,
    /// Bulk requests at once, each with its share of the documents
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=64))]
    connections: u64,
    /// Rounds, each of other documents
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=99))]
    rounds: u64,
}

pub async fn run(options: &Options) -> Result<Vec<Figure>, Failure> {
    let scratch = Scratch::new("bench", options.common.dir.as_deref())?;
    let node = Process::node(&scratch, "bulk", Role::Master, &[]).await?;
    eprintln!(
        "{} new documents of {DOCUMENT} bytes over {} connections",
        options.documents, options.connections
    );
    let (mut rates, mut costs) = (Vec::new(), Vec::new());
    let mut next = 0;
    // The first round is a warm-up.
    for round in 0..=options.rounds {
        let (start, cpu) = (Instant::now(), node.cpu());
        fill(node.at, next, options.documents, options.connections).await?;
        next += options.documents;
        let rate = options.documents as f64 / start.elapsed().as_secs_f64();
        eprintln!("round {round} of {}: {rate:.0} documents/s", options.rounds);
        if round > 0 {
            rates.push(rate);
            let used = cpu.zip(node.cpu()).map(|(before, after)| after.saturating_sub(before));
            costs.extend(used.map(|used| used.as_secs_f64() * 1e6 / options.documents as f64));
        }
    }
    let mut figures = vec![Figure::plain("new documents", median(rates), "/s").at_least(25_000.0)];
    if !costs.is_empty() {
        figures.push(Figure::plain("node's CPU per document", median(costs), "µs"));
    }
    Ok(figures)
}

/// What bulk lines do.
#[derive(Clone, Copy)]
pub enum Lines {
    /// They create documents, which were not there before.
    Create,
    Delete,
}

/// Creates that many documents; the first has the number `first`.
///
/// # Errors
/// When the node does not take one.
pub async fn fill(at: SocketAddr, first: u64, count: u64, connections: u64) -> Result<(), Failure> {
    write(at, Lines::Create, first, count, connections).await
}

/// A bulk request over each connection, for that many documents together.
///
/// # Errors
/// When the node does not take a line.
pub async fn write(
    at: SocketAddr,
    lines: Lines,
    first: u64,
    count: u64,
    connections: u64,
) -> Result<(), Failure> {
    let mut loads = tokio::task::JoinSet::new();
    let mut next = first;
    for n in 0..connections {
        let share = count / connections + u64::from(n < count % connections);
        loads.spawn(load(at, lines, next, share));
        next += share;
    }
    while let Some(done) = loads.join_next().await {
        done.map_err(|e| Failure::refused(format!("the load generator failed: {e}")))??;
    }
    Ok(())
}

/// One bulk request.
async fn load(at: SocketAddr, lines: Lines, first: u64, count: u64) -> Result<(), Failure> {
    let mut line = lines.template();
    let length = line.fill(&[]).len() as u64 * count;
    let mut socket = TcpStream::connect(at).await.map_err(no_connection)?;
    let head = format!(
        "POST /v1/bulk HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\nContent-Type: application/x-ndjson\r\n\
         Content-Length: {length}\r\n\r\n"
    );
    let (mut answers, mut requests) = socket.split();
    let send = async {
        requests.write_all(head.as_bytes()).await?;
        let mut piece = Vec::with_capacity(PIECE + 1_024);
        for n in first..first + count {
            piece.extend_from_slice(line.fill(&[n, n]));
            if piece.len() >= PIECE {
                requests.write_all(&piece).await?;
                piece.clear();
            }
        }
        requests.write_all(&piece).await
    };
    let read = async {
        let mut counter = Counter::new(lines.answer());
        let mut buffer = Vec::with_capacity(PIECE);
        loop {
            buffer.clear();
            let read = tokio::time::timeout(ANSWER, answers.read_buf(&mut buffer)).await;
            if read.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?? == 0 {
                return Ok::<u64, std::io::Error>(counter.found);
            }
            counter.look(&buffer);
        }
    };
    let (_, done) = tokio::try_join!(send, read).map_err(no_connection)?;
    if done != count {
        return Err(Failure::refused(format!("{done} of {count} lines were done")));
    }
    Ok(())
}

impl Lines {
    /// A line whose id takes a number, and so does the first field that it writes.
    fn template(self) -> Template {
        match self {
            Lines::Delete => {
                Template::new(b"{\"id\":\"bulk/IIIIIIIIII\",\"delete\":true}\n".to_vec(), &["IIIIIIIIII"])
            }
            Lines::Create => {
                let mut document = String::from(r#"{"n":"NNNNNNNNNN""#);
                for field in 0..6 {
                    document.push_str(&format!(r#","field{field}":"some words of a document {field}""#));
                }
                let rest = DOCUMENT.saturating_sub(document.len() + r#","rest":""}"#.len());
                document.push_str(&format!(r#","rest":"{}"}}"#, "x".repeat(rest)));
                let line = format!("{{\"id\":\"bulk/IIIIIIIIII\",\"put\":{document}}}\n");
                Template::new(line.into_bytes(), &["IIIIIIIIII", "NNNNNNNNNN"])
            }
        }
    }

    /// What the answer to a line says that was done.
    fn answer(self) -> &'static [u8] {
        match self {
            Lines::Create => b"\"status\":201",
            Lines::Delete => b"\"status\":204",
        }
    }
}

/// Counts a text in the answers, wherever the pieces in which they come are cut.
struct Counter {
    text: &'static [u8],
    matched: usize,
    found: u64,
}

impl Counter {
    fn new(text: &'static [u8]) -> Self {
        Self { text, matched: 0, found: 0 }
    }

    fn look(&mut self, bytes: &[u8]) {
        for byte in bytes {
            // The first letter stands nowhere else in the text but once more, before the colon.
            self.matched = match *byte {
                byte if byte == self.text[self.matched] => self.matched + 1,
                b'"' => 1,
                _ => 0,
            };
            if self.matched == self.text.len() {
                self.found += 1;
                self.matched = 0;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_as_many_bytes_as_it_says() {
        let mut line = Lines::Create.template();
        let text = String::from_utf8(line.fill(&[7, 7]).to_vec()).unwrap();
        assert!(text.starts_with("{\"id\":\"bulk/0000000007\",\"put\":{\"n\":\"0000000007\""), "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["put"].to_string().len(), DOCUMENT);
    }

    #[test]
    fn answers_are_counted_across_pieces() {
        let text = b"{\"line\":1,\"id\":\"a\",\"status\":201,\"version\":[]}\n{\"line\":2,\"status\":422}\n";
        for cut in 0..text.len() {
            let mut counter = Counter::new(Lines::Create.answer());
            counter.look(&text[..cut]);
            counter.look(&text[cut..]);
            assert_eq!(counter.found, 1, "{cut}");
        }
    }
}
