//! A small HTTP client: one connection, one request at a time, and requests as malformed as a test wants.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

pub const MERGE_PATCH: &str = "application/merge-patch+json";
pub const OPS: &str = "application/vnd.syncline.ops+json";

/// A node answers within this time even on a busy machine.
const ANSWER: Duration = Duration::from_secs(30);

pub struct Client {
    at: SocketAddr,
    host: String,
    socket: Option<BufReader<TcpStream>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Client {
    pub fn new(at: SocketAddr) -> Self {
        Self::named(at, &at.to_string())
    }

    /// Says in `Host` that it means another.
    pub fn named(at: SocketAddr, host: &str) -> Self {
        Self { at, host: host.to_owned(), socket: None }
    }

    /// # Errors
    /// When the node cannot be reached, or the connection breaks: then it may have done what was asked.
    pub fn send(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> io::Result<Answer> {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        let answer = self.exchange(&request);
        if answer.is_err() {
            self.socket = None;
        }
        answer
    }

    fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => {
                let socket = TcpStream::connect(self.at)?;
                socket.set_nodelay(true)?;
                socket.set_read_timeout(Some(ANSWER))?;
                BufReader::new(socket)
            }
        };
        // A node may refuse a body before it has taken it whole, and then the answer counts.
        let sent = socket.get_mut().write_all(request);
        let answer = read_answer(&mut socket).map_err(|error| sent.err().unwrap_or(error))?;
        if answer.header("connection").is_none_or(|value| !value.eq_ignore_ascii_case("close")) {
            self.socket = Some(socket);
        }
        Ok(answer)
    }

    pub fn ask(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Answer {
        let answer = self.send(method, path, headers, body.as_ref());
        answer.unwrap_or_else(|e| panic!("{method} {path}: {e}"))
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.ask("GET", path, &[], "")
    }

    pub fn put(&mut self, path: &str, document: &Value) -> Answer {
        self.ask("PUT", path, &[("Content-Type", "application/json")], document.to_string())
    }

    pub fn patch(&mut self, path: &str, patch: &Value) -> Answer {
        self.ask("PATCH", path, &[("Content-Type", MERGE_PATCH)], patch.to_string())
    }
}

impl Answer {
    /// Panics, with what was answered instead, unless the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| &**value)
    }

    #[track_caller]
    pub fn version(&self) -> String {
        self.header("Version").expect("an answer with a version").to_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// The short name in a problem's `type`; empty for an answer that is no problem.
    pub fn problem(&self) -> String {
        if self.header("Content-Type") != Some("application/problem+json") {
            return String::new();
        }
        let kind = self.json()["type"].as_str().unwrap_or_default().to_owned();
        kind.rsplit(':').next().unwrap_or_default().to_owned()
    }
}

fn read_answer(socket: &mut BufReader<TcpStream>) -> io::Result<Answer> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let status = line(socket)?;
    let status = status.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| invalid("no status"))?;
    let mut headers = Vec::new();
    loop {
        let line = line(socket)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid("a header without a colon"))?;
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, headers, body: Vec::new() };
    let length = answer.header("Content-Length").and_then(|length| length.parse().ok());
    let without_body = matches!(status, 101 | 204 | 304);
    answer.body = vec![0; length.or(without_body.then_some(0)).ok_or_else(|| invalid("no length"))?];
    socket.read_exact(&mut answer.body)?;
    Ok(answer)
}

fn line(socket: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    if socket.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end().to_owned())
}
