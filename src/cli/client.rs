//! Requests to a node, over pooled HTTP connections.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::http::request::Builder;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::Deserialize;
use tokio::time::timeout;

use super::output::{Failure, NOT_FOUND, REFUSED, UNREACHABLE};
use crate::base::limits::{CLIENT_ANSWER_MS, CLIENT_CONNECT_MS, MAX_ANSWER_BYTES};
use crate::config::first_token;
use crate::net::PeerUrl;

/// Which node to ask.
#[derive(Args)]
pub struct Target {
    /// Base URL of the node to ask
    #[arg(
        long,
        global = true,
        env = "SYNCLINE_NODE",
        value_name = "URL",
        default_value = "http://127.0.0.1:4380",
        hide_env_values = true
    )]
    node: PeerUrl,

    /// File whose first token is shown to the node
    #[arg(long, global = true, env = "SYNCLINE_TOKEN_FILE", value_name = "FILE", hide_env_values = true)]
    token_file: Option<PathBuf>,
}

/// Requests to one node. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    pool: Pool<HttpConnector, Body>,
    node: PeerUrl,
    token: Option<HeaderValue>,
}

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// `application/problem+json`, as far as people are told of it.
#[derive(Deserialize)]
pub struct Problem {
    title: String,
    detail: Option<String>,
    /// Where in what was sent.
    #[serde(default)]
    pointer: String,
    /// Where to write instead.
    #[serde(default)]
    masters: Vec<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        // Where there is no more to say, some say it twice.
        if let Some(detail) = self.detail.as_ref().filter(|detail| !detail.eq_ignore_ascii_case(&self.title))
        {
            write!(f, ": {detail}")?;
        }
        if !self.pointer.is_empty() {
            write!(f, " (at {})", self.pointer)?;
        }
        if self.masters.is_empty() { Ok(()) } else { write!(f, " ({})", self.masters.join(", ")) }
    }
}

impl Target {
    /// # Errors
    /// When the token file cannot be read or has none.
    pub fn client(self) -> Result<Client, Failure> {
        let token = self.token_file.as_deref().map(first_token).transpose()?;
        Ok(Client::new(self.node, token.as_deref().map(authorization).transpose()?))
    }
}

impl Client {
    /// `token` is a whole `Authorization` header.
    pub fn new(node: PeerUrl, token: Option<HeaderValue>) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(Duration::from_millis(CLIENT_CONNECT_MS)));
        // A request is one write; it must not wait for the acknowledgement of the one before.
        connector.set_nodelay(true);
        Self { pool: Pool::builder(TokioExecutor::new()).build(connector), node, token }
    }

    /// Host and port.
    pub fn authority(&self) -> &str {
        self.node.authority()
    }

    /// The `Authorization` header.
    pub fn token(&self) -> Option<&HeaderValue> {
        self.token.as_ref()
    }

    /// A request of `target`, a path with its query; [`Client::send`] takes it.
    pub fn request(&self, method: Method, target: &str) -> Builder {
        let request =
            Request::builder().method(method).uri(format!("http://{}{target}", self.node.authority()));
        match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, token),
            None => request,
        }
    }

    /// The answer, whatever its status.
    ///
    /// # Errors
    /// With the code [`UNREACHABLE`] where none came.
    pub async fn send(&self, request: Builder, body: impl Into<Bytes>) -> Result<Answer, Failure> {
        let body: Bytes = body.into();
        let request = request.body(Body::from(body)).map_err(|e| Failure::usage(e.to_string()))?;
        let answer = async {
            let response = self.pool.request(request).await.map_err(|e| self.no_answer(&e))?;
            self.read(response).await
        };
        match timeout(Duration::from_millis(CLIENT_ANSWER_MS), answer).await {
            Ok(answer) => answer,
            Err(_) => Err(Failure::new(
                UNREACHABLE,
                format!("no answer from {} within {} s", self.node, CLIENT_ANSWER_MS / 1_000),
            )),
        }
    }

    /// Sends a body of any length, and gives the answer as soon as it begins: the two go on together.
    ///
    /// # Errors
    /// With the code [`UNREACHABLE`] where none came, and as [`Answer::done`].
    pub async fn open(&self, request: Builder, body: Body) -> Result<Response<Incoming>, Failure> {
        let request = request.body(body).map_err(|e| Failure::usage(e.to_string()))?;
        let response = self.pool.request(request).await.map_err(|e| self.no_answer(&e))?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(self.read(response).await?.failure()),
        }
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Answer, Failure> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await.map_err(|e| self.no_answer(&*e))?;
        Ok(Answer { status: head.status, headers: head.headers, body: body.to_bytes() })
    }

    /// That no answer came, or no whole one.
    pub fn no_answer(&self, error: &(dyn Error + 'static)) -> Failure {
        Failure::new(UNREACHABLE, format!("no answer from {}: {}", self.node, reason(error)))
    }

    /// The answer to a `GET`.
    ///
    /// # Errors
    /// As [`Client::send`] and [`Answer::done`].
    pub async fn get(&self, target: &str) -> Result<Answer, Failure> {
        self.send(self.request(Method::GET, target), Bytes::new()).await?.done()
    }
}

impl Answer {
    /// # Errors
    /// What the node says, where it did not do what it was asked.
    pub fn done(self) -> Result<Self, Failure> {
        if self.status.is_success() { Ok(self) } else { Err(self.failure()) }
    }

    fn failure(&self) -> Failure {
        let code = match self.status {
            StatusCode::NOT_FOUND | StatusCode::GONE => NOT_FOUND,
            _ => REFUSED,
        };
        let message = match serde_json::from_slice::<Problem>(&self.body) {
            Ok(problem) => problem.to_string(),
            Err(_) => {
                let text = String::from_utf8_lossy(&self.body);
                format!("{} {}", self.status, text.lines().next().unwrap_or_default())
            }
        };
        Failure::new(code, message.trim_end())
    }

    /// A header's text; empty where it is absent or not ASCII.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// When it is none, as where something other than a node answers.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body)
            .map_err(|e| Failure::refused(format!("the answer is not that of a Syncline node: {e}")))
    }
}

/// The target of the page after this one, where the answer has a link to it (RFC 8288).
pub fn next_page(answer: &Answer) -> Option<String> {
    answer.headers.get_all(header::LINK).iter().find_map(|link| next_link(link.to_str().ok()?))
}

/// The path of `<…>; rel="next"`, whether or not it names the host.
fn next_link(link: &str) -> Option<String> {
    link.split(',').find_map(|one| {
        let (target, parameters) = one.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|p| matches!(p.trim(), "rel=\"next\"" | "rel=next"));
        let path = match target.split_once("://") {
            Some((_, rest)) => rest.find('/').and_then(|at| rest.get(at..))?,
            None => target,
        };
        is_next.then(|| path.to_owned())
    })
}

/// The innermost cause: what wraps it says only where it happened.
fn reason(mut error: &dyn Error) -> String {
    while let Some(cause) = error.source() {
        error = cause;
    }
    error.to_string()
}

/// A token as the header that shows it.
fn authorization(token: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|_| Failure::usage("the token has characters that no header takes"))?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer {
            status: StatusCode::from_u16(status).unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::from(body.to_owned()),
        }
    }

    #[test]
    fn the_next_page_is_found_among_links() {
        let next = |link| next_link(link);
        assert_eq!(next("</v1/docs?after=a>; rel=\"next\""), Some("/v1/docs?after=a".into()));
        assert_eq!(next("<http://h:1/v1/docs?x>; rel=next"), Some("/v1/docs?x".into()));
        assert_eq!(next("</a>; rel=\"prev\", </b>; rel=\"next\""), Some("/b".into()));
        assert_eq!(next("</a>; rel=\"prev\""), None);
    }

    #[test]
    fn what_a_node_refuses_is_told_in_its_words_with_a_code() {
        let told = |status, body| answer(status, body).done().unwrap_err();
        assert_eq!(
            told(404, r#"{"title": "Not found", "detail": "no such document", "type": "x"}"#),
            Failure::new(NOT_FOUND, "Not found: no such document")
        );
        assert_eq!(
            told(403, r#"{"title": "Gone", "detail": "gone", "masters": ["http://a:1", "http://b:1"]}"#),
            Failure::new(REFUSED, "Gone (http://a:1, http://b:1)")
        );
        assert_eq!(told(412, r#"{"title": "Changed"}"#), Failure::new(REFUSED, "Changed"));
        assert_eq!(told(502, "oh\nno"), Failure::new(REFUSED, "502 Bad Gateway oh"));
        assert!(answer(201, "").done().is_ok());
    }
}
