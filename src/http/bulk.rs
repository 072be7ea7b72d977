//! `POST /v1/bulk`: many writes in one request, a line each, and an answer a line as they reach the disk.
//!
//! Writes are made one after the other, and the next without waiting for the disk: so they share commits, and
//! those of one document keep their order. Nothing is read ahead of the limits of what waits for its answer, and
//! answers wait for the client to take them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::future::{self, FutureExt};
use futures_util::stream::{self, StreamExt};
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use super::body;
use super::documents::{media_type, object, unsupported};
use super::headers::{self, ACCEPT_POST, PARENTS};
use super::problem::{Problem, TOO_LARGE, refused};
use super::query::Query;
use crate::base::limits::{BULK_BYTES, BULK_LINES, MAX_AUTHOR_BYTES, MAX_BODY_BYTES};
use crate::base::{DocId, Heads, Millis};
use crate::crdt::{Edit, JsonError, parse_json_around, parse_ops};
use crate::node::{Begun, Condition, Node, NodeError, Write};

pub(super) const PATH: &str = "/v1/bulk";

pub(super) const NDJSON: &str = "application/x-ndjson";

/// Answers are handed on once they are so many bytes, or nothing more is to be done at the moment.
const ANSWER_BYTES: usize = 16 << 10;

pub(super) async fn answer(State(node): State<Node>, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    Query::of(&parts.uri)?.end()?;
    let per_line = [PARENTS, IF_MATCH, IF_NONE_MATCH];
    if let Some(name) = per_line.iter().find(|name| parts.headers.contains_key(*name)) {
        return Err(headers::bad(name, "does not apply to many documents"));
    }
    match media_type(&parts.headers)? {
        Some(found) if found.eq_ignore_ascii_case(NDJSON) => {}
        found => {
            return Err(unsupported(
                found.unwrap_or("a body without a type"),
                ACCEPT_POST,
                HeaderValue::from_static(NDJSON),
            ));
        }
    }
    let author = headers::author(&parts.headers)?;
    if !node.role().takes_writes() {
        return Err(NodeError::ReadOnly { masters: node.masters() }.into());
    }
    let mut bulk = Bulk { node, author, lines: Lines::of(body), waiting: VecDeque::new(), bytes: 0 };
    // Only a body that somebody reads before the answer begins is asked for with "100 Continue".
    let first = bulk.answers().await;
    let rest = stream::unfold(bulk, async |mut bulk| Some((bulk.answers().await?, bulk)));
    let answers = stream::iter(first).chain(rest).map(Ok::<_, Infallible>);
    let mut response = Response::new(Body::from_stream(answers));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

pub(super) async fn bad_method(method: Method) -> Problem {
    super::bad_method(method).await.header(ACCEPT_POST, HeaderValue::from_static(NDJSON))
}

struct Bulk {
    node: Node,
    /// Of lines that name none.
    author: Option<String>,
    lines: Lines,
    /// In the order of the lines.
    waiting: VecDeque<Waiting>,
    /// Of the lines that wait.
    bytes: usize,
}

/// A line that is not answered yet.
struct Waiting {
    number: u64,
    /// Where the line could be read so far.
    doc: Option<DocId>,
    begun: Result<Begun, Problem>,
    deletes: bool,
    bytes: usize,
}

enum Next {
    Settled(Result<(), NodeError>),
    Line(Option<Line>),
}

impl Bulk {
    /// The next answers: all that can be had without waiting, and at least one. None at the end.
    async fn answers(&mut self) -> Option<Bytes> {
        let mut answers = String::new();
        while answers.len() < ANSWER_BYTES {
            let Self { node, lines, waiting, .. } = self;
            let room = waiting.is_empty() || (waiting.len() < BULK_LINES && self.bytes < BULK_BYTES);
            let is_first = !waiting.is_empty();
            let reads = room && !lines.over;
            if !is_first && !reads {
                break;
            }
            let next = async {
                tokio::select! {
                    biased;
                    settled = settled(node, waiting.front_mut()), if is_first => Next::Settled(settled),
                    line = lines.next(), if reads => Next::Line(line),
                }
            };
            let next = if answers.is_empty() { Some(next.await) } else { next.now_or_never() };
            match next {
                None => break,
                Some(Next::Line(None)) => {}
                Some(Next::Line(Some(line))) => self.begin(line).await,
                Some(Next::Settled(settled)) => {
                    let Some(Waiting { number, doc, begun, deletes, bytes }) = self.waiting.pop_front()
                    else {
                        break;
                    };
                    self.bytes -= bytes;
                    let written = begun.and_then(|begun| {
                        settled?;
                        Ok(begun.written)
                    });
                    let done = written.map(|written| {
                        let status = match written.created {
                            _ if deletes => StatusCode::NO_CONTENT,
                            true => StatusCode::CREATED,
                            false => StatusCode::OK,
                        };
                        (status, written.version)
                    });
                    // A stream of new documents would push all others out of memory.
                    if let (Ok((StatusCode::CREATED | StatusCode::NO_CONTENT, _)), Some(doc)) = (&done, &doc)
                    {
                        self.node.let_go(doc);
                    }
                    push_answer(&mut answers, number, doc.as_ref(), done);
                }
            }
        }
        (!answers.is_empty()).then(|| answers.into())
    }

    async fn begin(&mut self, line: Line) {
        let bytes = line.text.as_ref().map_or(0, BytesMut::len);
        let read = line.text.and_then(|text| read(&text));
        let (doc, begun, deletes) = match read {
            Err(problem) => (None, Err(problem), false),
            Ok((doc, members)) => {
                let deletes = members.contains_key("delete");
                let begun = self.write(&doc, members).await;
                (Some(doc), begun, deletes)
            }
        };
        self.bytes += bytes;
        self.waiting.push_back(Waiting { number: line.number, doc, begun, deletes, bytes });
    }

    async fn write(&mut self, doc: &DocId, mut members: Map<String, Value>) -> Result<Begun, Problem> {
        let author = match members.remove("author") {
            None => self.author.clone(),
            Some(Value::String(author)) if author.len() <= MAX_AUTHOR_BYTES => {
                Some(author).filter(|author| !author.is_empty())
            }
            Some(_) => return Err(refused("/author", format!("a text of at most {MAX_AUTHOR_BYTES} bytes"))),
        };
        let parents = members.remove("parents").map(version).transpose()?;
        let mut rest = members.into_iter();
        let (Some((kind, value)), None) = (rest.next(), rest.next()) else {
            return Err(refused("", "a line has one of put, patch, ops and delete"));
        };
        // Where what is refused has a pointer into the value, and where into the document.
        let (edit, within) = match kind.as_str() {
            "put" => (Edit::Put(object(value).map_err(|problem| problem.under("/put"))?), "/put"),
            "patch" => {
                (Edit::MergePatch(object(value).map_err(|problem| problem.under("/patch"))?), "/patch")
            }
            "ops" => (Edit::Ops(parse_ops(&value).map_err(|error| Problem::from(error).under("/ops"))?), ""),
            "delete" if value == Value::Bool(true) => (Edit::Delete, ""),
            "delete" => return Err(refused("/delete", "is true, in a line that deletes")),
            _ => return Err(refused("", format!("{kind:?} is none of put, patch, ops and delete"))),
        };
        // A version that is not here is not waited for: the lines behind would have to wait, too.
        let (condition, wait) = (Condition::default(), Millis(0));
        let must_exist = matches!(edit, Edit::Delete);
        let write = Write { edit, parents, condition, author, must_exist, wait };
        self.node.begin(doc, write).await.map_err(|error| Problem::from(error).under(within))
    }
}

/// Ready when the line's outcome is known. Safe to drop before.
async fn settled(node: &Node, waiting: Option<&mut Waiting>) -> Result<(), NodeError> {
    match waiting.map(|waiting| &mut waiting.begun) {
        Some(Ok(begun)) => node.settled(begun).await,
        Some(Err(_)) => Ok(()),
        None => future::pending().await,
    }
}

/// What a line is about, and what else it says.
fn read(text: &[u8]) -> Result<(DocId, Map<String, Value>), Problem> {
    let value: Result<Value, JsonError> = body::lightly(text.len(), || parse_json_around(text, 1));
    let Value::Object(mut members) = value? else {
        return Err(refused("", "a line is a JSON object"));
    };
    match members.remove("id") {
        Some(Value::String(id)) => Ok((DocId::new(&id)?, members)),
        _ => Err(refused("/id", "a line names the document by its id")),
    }
}

/// A version, as the answers write it.
fn version(list: Value) -> Result<Heads, Problem> {
    let list = list.as_array().map(|list| list.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
    let list = list.flatten().ok_or_else(|| refused("/parents", "a version is a list of texts"))?;
    headers::parse_version(&list.join(",")).map_err(|why| refused("/parents", why))
}

fn push_answer(
    out: &mut String,
    number: u64,
    doc: Option<&DocId>,
    done: Result<(StatusCode, Heads), Problem>,
) {
    // Writing to a String does not fail.
    let _ = write!(out, "{{\"line\":{number}");
    if let Some(doc) = doc {
        let _ = write!(out, ",\"id\":{}", Value::from(doc.as_str()));
    }
    match done {
        Ok((status, version)) => {
            let _ = write!(out, ",\"status\":{},\"version\":[", status.as_u16());
            headers::push_version(out, &version, ",");
            out.push_str("]}\n");
        }
        Err(problem) => {
            let _ = write!(out, ",\"status\":{},\"problem\":", problem.status().as_u16());
            let _ = writeln!(out, "{}}}", problem.body());
        }
    }
}

/// The lines of a body that have anything in them.
struct Lines {
    body: Body,
    buffer: BytesMut,
    /// So much of the buffer has no end of a line.
    searched: usize,
    /// What came of the present line was too much, and is gone.
    too_long: bool,
    number: u64,
    ended: bool,
    over: bool,
}

struct Line {
    /// Counted from 1, with the empty ones.
    number: u64,
    text: Result<BytesMut, Problem>,
}

impl Lines {
    fn of(body: Body) -> Self {
        let buffer = BytesMut::new();
        Self { body, buffer, searched: 0, too_long: false, number: 0, ended: false, over: false }
    }

    /// None at the end of the body. Safe to drop before it is ready: nothing is lost.
    async fn next(&mut self) -> Option<Line> {
        while !self.over {
            let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
            if let Some(end) = end {
                let text = self.buffer.split_to(self.searched + end + 1);
                if let Some(line) = self.line(text) {
                    return Some(line);
                }
                continue;
            }
            if self.ended {
                self.over = true;
                let text = self.buffer.split();
                return self.line(text);
            }
            if self.buffer.len() > MAX_BODY_BYTES {
                self.too_long = true;
                self.buffer.clear();
            }
            self.searched = self.buffer.len();
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                Some(Err(error)) => {
                    self.over = true;
                    return Some(Line { number: self.number + 1, text: Err(body::broken(&error)) });
                }
                None => self.ended = true,
            }
        }
        None
    }

    fn line(&mut self, text: BytesMut) -> Option<Line> {
        self.number += 1;
        self.searched = 0;
        let too_long = std::mem::take(&mut self.too_long) || text.len() > MAX_BODY_BYTES + 1;
        let text = if too_long {
            let detail = format!("a line has at most {MAX_BODY_BYTES} bytes");
            Err(Problem::new(&TOO_LARGE, detail).with("limit", MAX_BODY_BYTES))
        } else if text.iter().all(u8::is_ascii_whitespace) {
            return None;
        } else {
            Ok(text)
        };
        Some(Line { number: self.number, text })
    }
}
