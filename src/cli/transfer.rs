//! `doc export` and `doc import`: documents as NDJSON, out of one cluster and into another.
//!
//! A line is what `/v1/bulk` takes: `{"id": …, "put": …}`, with texts and counters marked as such. Neither command
//! holds more than a page of ids and the documents under way.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Method, StatusCode, header};
use bytes::{Bytes, BytesMut};
use clap::Args;
use futures_util::stream::{self, Stream, TryStreamExt};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use super::client::{Client, Problem, next_page};
use super::output::{Failure, print, to_terminal};
use super::progress::Progress;
use crate::base::DocId;
use crate::base::limits::CLIENT_ANSWER_MS;
use crate::http::{document_path, percent_encode};

/// Ids on one page of the list.
const PAGE: usize = 1_000;

/// Documents that are asked for at once.
const AT_ONCE: usize = 32;

/// Bytes that are read from a file at once.
const PIECE_BYTES: usize = 64 << 10;

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Export {
    /// Only ids that begin so
    #[arg(default_value = "")]
    prefix: String,
    /// Write to this file instead of standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Tell on standard error how far it is, even where that is no terminal
    #[arg(long)]
    progress: bool,
}

#[derive(Args)]
#[command(after_help = super::EXIT_CODES)]
pub struct Import {
    /// File with the lines; - or nothing: standard input
    file: Option<PathBuf>,
    /// Who made the changes of lines that name nobody [default: the node's name]
    #[arg(long, env = "SYNCLINE_AUTHOR", value_name = "NAME", hide_env_values = true)]
    author: Option<String>,
    /// Tell on standard error how far it is, even where that is no terminal
    #[arg(long)]
    progress: bool,
}

#[derive(Deserialize)]
struct Page {
    documents: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    id: String,
}

/// The node's answer to a line.
#[derive(Deserialize)]
struct Outcome {
    line: u64,
    id: Option<String>,
    status: u16,
    problem: Option<Problem>,
}

/// What came of an import so far.
#[derive(Default)]
struct Tally {
    created: u64,
    written: u64,
    failed: u64,
}

/// What was read of the file and handed to the connection.
#[derive(Default)]
struct Sent {
    bytes: AtomicU64,
    lines: AtomicU64,
}

impl Export {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let failed = |error: io::Error| match &self.output {
            Some(file) => Failure::refused(format!("cannot write {}: {error}", file.display())),
            None => error.into(),
        };
        let file: Box<dyn Write> = match &self.output {
            Some(file) => Box::new(File::create(file).map_err(failed)?),
            None => Box::new(io::stdout()),
        };
        let mut out = BufWriter::with_capacity(PIECE_BYTES, file);
        let mut progress = Progress::new(self.progress, self.output.is_some() || !to_terminal());
        let (mut documents, mut bytes) = (0, 0);
        let mut lines = std::pin::pin!(lines(client, &self.prefix));
        while let Some(line) = lines.try_next().await? {
            out.write_all(&line).map_err(failed)?;
            documents += 1;
            bytes += line.len() as u64;
            progress.tell(documents, bytes);
        }
        out.flush().map_err(failed)?;
        progress.end(documents, bytes);
        Ok(())
    }
}

/// A line for each document, in the order of the list.
fn lines(client: &Client, prefix: &str) -> impl Stream<Item = Result<Vec<u8>, Failure>> {
    let first = format!("/v1/docs?prefix={}&limit={PAGE}", percent_encode(prefix));
    let pages = stream::try_unfold(Some(first), move |target| async move {
        let Some(target) = target else { return Ok::<_, Failure>(None) };
        let answer = client.get(&target).await?;
        let page: Page = answer.json()?;
        Ok(Some((page.documents, next_page(&answer))))
    });
    let rows = pages.map_ok(|rows| stream::iter(rows.into_iter().map(Ok::<_, Failure>))).try_flatten();
    let lines = rows.map_ok(move |row| line(client, row.id)).try_buffered(AT_ONCE);
    lines.try_filter_map(async |line| Ok(line))
}

/// None where the document is gone since it was listed.
async fn line(client: &Client, id: String) -> Result<Option<Vec<u8>>, Failure> {
    let doc = DocId::new(&id).map_err(|error| Failure::refused(format!("a list with a bad id: {error}")))?;
    let target = format!("{}?typed=true", document_path(&doc));
    let answer = client.send(client.request(Method::GET, &target), "").await?;
    if matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::GONE) {
        return Ok(None);
    }
    let answer = answer.done()?;
    let mut line = format!("{{\"id\":{},\"put\":", Value::from(id)).into_bytes();
    line.extend_from_slice(&answer.body);
    line.extend_from_slice(b"}\n");
    Ok(Some(line))
}

impl Import {
    pub async fn run(self, client: &Client) -> Result<(), Failure> {
        let file = open(self.file.as_deref())?;
        let sent = Arc::new(Sent::default());
        let mut request =
            client.request(Method::POST, "/v1/bulk").header(header::CONTENT_TYPE, "application/x-ndjson");
        if let Some(author) = self.author {
            request = request.header("author", author);
        }
        let mut answers =
            client.open(request, Body::from_stream(pieces(file, sent.clone()))).await?.into_body();
        let mut progress = Progress::new(self.progress, true);
        let (mut tally, mut rest) = (Tally::default(), BytesMut::new());
        loop {
            let before = sent.bytes.load(Ordering::Relaxed);
            let frame = match timeout(Duration::from_millis(CLIENT_ANSWER_MS), answers.frame()).await {
                Ok(Some(frame)) => frame.map_err(|error| client.no_answer(&error))?,
                Ok(None) => break,
                // The node waits for us as long as we wait for more to send.
                Err(_) if !sent.is_stuck(before, tally.lines()) => continue,
                Err(late) => return Err(client.no_answer(&late)),
            };
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| &data[..]));
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                tally.count(&rest.split_to(end + 1))?;
            }
            progress.tell(tally.lines(), sent.bytes.load(Ordering::Relaxed));
        }
        progress.end(tally.lines(), sent.bytes.load(Ordering::Relaxed));
        print(format!(
            "{} created, {} there before, {} failed\n",
            tally.created, tally.written, tally.failed
        ))?;
        match tally.failed {
            0 => Ok(()),
            failed => Err(Failure::refused(format!("{failed} of {} lines failed", tally.lines()))),
        }
    }
}

impl Sent {
    /// Has nothing more been taken since `before`, though lines wait for their answers?
    fn is_stuck(&self, before: u64, answered: u64) -> bool {
        self.bytes.load(Ordering::Relaxed) == before && self.lines.load(Ordering::Relaxed) > answered
    }
}

impl Tally {
    fn lines(&self) -> u64 {
        self.created + self.written + self.failed
    }

    fn count(&mut self, answer: &[u8]) -> Result<(), Failure> {
        let outcome: Outcome = serde_json::from_slice(answer)
            .map_err(|e| Failure::refused(format!("the answer is not that of a Syncline node: {e}")))?;
        match outcome.status {
            201 => self.created += 1,
            200..300 => self.written += 1,
            status => {
                self.failed += 1;
                let id = outcome.id.map_or(String::new(), |id| format!(" ({id})"));
                let why = outcome.problem.map_or(status.to_string(), |problem| problem.to_string());
                eprintln!("line {}{id}: {why}", outcome.line);
            }
        }
        Ok(())
    }
}

/// The file, or standard input.
fn open(file: Option<&Path>) -> Result<tokio::fs::File, Failure> {
    use std::os::fd::AsFd;
    let name = file.filter(|file| *file != Path::new("-"));
    let opened = match name {
        Some(file) => File::open(file),
        None => io::stdin().as_fd().try_clone_to_owned().map(File::from),
    };
    let name = name.map_or("standard input".into(), |file| file.display().to_string());
    let opened = opened.map_err(|error| Failure::usage(format!("cannot read {name}: {error}")))?;
    Ok(tokio::fs::File::from_std(opened))
}

/// Read as they are taken.
fn pieces(file: tokio::fs::File, sent: Arc<Sent>) -> impl Stream<Item = io::Result<Bytes>> {
    stream::try_unfold((file, sent), async |(mut file, sent)| {
        let mut piece = BytesMut::with_capacity(PIECE_BYTES);
        if file.read_buf(&mut piece).await? == 0 {
            return Ok(None);
        }
        let lines = piece.iter().filter(|byte| **byte == b'\n').count();
        sent.bytes.fetch_add(piece.len() as u64, Ordering::Relaxed);
        sent.lines.fetch_add(lines as u64, Ordering::Relaxed);
        Ok(Some((piece.freeze(), (file, sent))))
    })
}
