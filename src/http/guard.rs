//! What stands before every route: `Host`, `Origin`, token, and the headers that let configured pages in.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, AUTHORIZATION,
    HOST, ORIGIN, VARY, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::future::RouteFuture;
use futures_util::future::Either;
use tower::Service;

use super::access::{Access, Right};
use super::bad_method;
use super::headers::{bad, one};
use super::health;
use super::live;
use super::openapi;
use super::page;
use super::problem::{BAD_HOST, BAD_ORIGIN, NO_RIGHT, NO_TOKEN, Problem};

/// Where links between nodes are taken.
const PEER: &str = "/v1/peer";

/// All that any path takes.
pub(super) const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, PUT, PATCH, POST, DELETE");
const REQUEST_HEADERS: HeaderValue = HeaderValue::from_static(
    "Accept, Author, Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Parents, \
     Prefer, Session-Token, X-Request-Id",
);
const ANSWER_HEADERS: HeaderValue = HeaderValue::from_static(
    "Accept-Patch, Accept-Post, Allow, Conflicts, Content-Location, Current-Version, ETag, Link, Location, \
     Preference-Applied, Retry-After, Session-Token, Version, WWW-Authenticate, X-Request-Id",
);
/// Seconds for which a browser may remember the answer to a preflight.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// Puts `access` before all routes of `router`, whichever room they are from, and the answer to methods that they
/// do not have behind them. As a layer of the router it would
/// stand before each route by itself, at the cost of several allocations a request.
pub fn guard(router: Router, access: Arc<Access>) -> Guarded {
    Guarded { router: router.method_not_allowed_fallback(bad_method), access }
}

/// All routes, and what stands before them.
#[derive(Clone)]
pub struct Guarded {
    router: Router,
    access: Arc<Access>,
}

type Answer = Result<Response, Infallible>;

impl Service<Request> for Guarded {
    type Response = Response;
    type Error = Infallible;
    /// Refused, passed on, or passed on for a node that pages from elsewhere may use. Only the last is boxed.
    type Future =
        Either<Either<Ready<Answer>, RouteFuture<Infallible>>, Pin<Box<dyn Future<Output = Answer> + Send>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let page = match judge(&self.access, &request) {
            Ok(page) => page,
            Err(problem) => return refuse(problem),
        };
        let answer = if page.is_some() && is_preflight(&request) {
            Either::Left(ready(Ok(preflight())))
        } else {
            match check_token(&self.access, &request) {
                Ok(()) => Either::Right(self.router.call(request)),
                Err(problem) => Either::Left(ready(Ok(problem.into_response()))),
            }
        };
        if !self.access.has_origins() {
            return Either::Left(answer);
        }
        Either::Right(Box::pin(async move {
            let mut response = answer.await?;
            open_to(page, response.headers_mut());
            Ok(response)
        }))
    }
}

fn refuse<A, B, C>(problem: Problem) -> Either<Either<Ready<Answer>, B>, C>
where
    Either<Either<Ready<Answer>, B>, C>: Future<Output = A>,
{
    Either::Left(Either::Left(ready(Ok(problem.into_response()))))
}

/// May whoever sends this talk to the node at all? Gives the configured page's origin, where it is from one.
fn judge(access: &Access, request: &Request) -> Result<Option<HeaderValue>, Problem> {
    let headers = request.headers();
    let host = host(request)?;
    if !access.allows_host(&host) {
        let detail = format!("{:?} is not one of the names this node was told (allowed hosts)", host.name);
        return Err(Problem::new(&BAD_HOST, detail));
    }
    let Some(value) = one(headers, &ORIGIN)? else { return Ok(None) };
    let origin = value.to_str().unwrap_or_default();
    if access.allows_origin(origin) {
        return Ok(Some(value.clone()));
    }
    // A proxy before the node may speak TLS.
    let own = origin.strip_prefix("http://").or(origin.strip_prefix("https://"));
    if own.and_then(Authority::of).is_some_and(|own| own == host) {
        return Ok(None);
    }
    Err(Problem::new(&BAD_ORIGIN, format!("{origin:?} is not one of the allowed origins")))
}

/// The name by which the node was called. One in the request line goes before the header (RFC 9112).
fn host(request: &Request) -> Result<Authority<'_>, Problem> {
    let header = one(request.headers(), &HOST)?;
    let text = match request.uri().authority() {
        Some(authority) => Some(authority.as_str()),
        None => header.and_then(|value| value.to_str().ok()),
    };
    text.and_then(Authority::of).ok_or_else(|| bad(&HOST, "is missing, or is no name with a port"))
}

fn check_token(access: &Access, request: &Request) -> Result<(), Problem> {
    let Some(right) = right(request.method(), request.uri().path()).filter(|_| access.needs_tokens()) else {
        return Ok(());
    };
    let challenge = |text| (WWW_AUTHENTICATE, HeaderValue::from_static(text));
    let Some(value) = one(request.headers(), &AUTHORIZATION)? else {
        // Browsers cannot send it: the first frame may bear the token, which is asked for there.
        if request.uri().path() == live::SUBSCRIBE {
            return Ok(());
        }
        let (name, value) = challenge("Bearer");
        return Err(Problem::new(&NO_TOKEN, "send Authorization: Bearer TOKEN").header(name, value));
    };
    let secret =
        value.as_bytes().split_at_checked(7).filter(|(word, _)| word.eq_ignore_ascii_case(b"bearer "));
    let Some(rights) = secret.and_then(|(_, secret)| access.rights(secret.trim_ascii())) else {
        let (name, value) = challenge("Bearer error=\"invalid_token\"");
        return Err(Problem::new(&NO_TOKEN, "this node knows no such token").header(name, value));
    };
    if rights.contains(right) {
        return Ok(());
    }
    let (name, value) = challenge("Bearer error=\"insufficient_scope\"");
    let detail = format!("the token lacks the right {:?}", right.as_str());
    Err(Problem::new(&NO_RIGHT, detail).with("right", right.as_str()).header(name, value))
}

/// What one has to have a right for.
fn right(method: &Method, path: &str) -> Option<Right> {
    match path {
        health::LIVE | health::READY => None,
        // Every node of this version says the same there.
        openapi::PATH | page::PATH => None,
        PEER => Some(Right::Peer),
        _ if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) => Some(Right::Read),
        _ => Some(Right::Write),
    }
}

/// Does a browser ask whether a page may send something?
fn is_preflight(request: &Request) -> bool {
    request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

fn preflight() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    response
}

/// Lets a configured page read the answer, and tells caches that not every page may.
fn open_to(page: Option<HeaderValue>, headers: &mut HeaderMap) {
    headers.append(VARY, HeaderValue::from_static("Origin"));
    if let Some(origin) = page {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
    }
}

/// A name or address and a port, as in `Host`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Authority<'a> {
    /// Without the brackets of an address or a last dot, and in any case.
    pub name: &'a str,
    port: Option<u16>,
}

impl PartialEq for Authority<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.name.eq_ignore_ascii_case(other.name) && self.port == other.port
    }
}

impl<'a> Authority<'a> {
    /// None where it is malformed.
    pub fn of(text: &'a str) -> Option<Self> {
        let (name, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (name, port) = rest.split_once(']')?;
                (name, if port.is_empty() { None } else { Some(port.strip_prefix(':')?) })
            }
            None => text.split_once(':').map_or((text, None), |(name, port)| (name, Some(port))),
        };
        let name = name.strip_suffix('.').unwrap_or(name);
        let named = !name.is_empty() && !name.contains(['@', '/', '?', '#', ' ', '[', ']']);
        let number = |port: &str| port.parse().ok().filter(|_| !port.starts_with('+'));
        let port = port.map(number);
        (named && port != Some(None)).then_some(Self { name, port: port.flatten() })
    }

    pub fn is_loopback(&self) -> bool {
        self.name.eq_ignore_ascii_case("localhost")
            || self.name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_name_and_a_port() {
        let read = |text| Authority::of(text).map(|found| (found.name, found.port));
        assert_eq!(read("Example.COM:80"), Some(("Example.COM", Some(80))));
        assert_eq!(read("example.com."), Some(("example.com", None)));
        assert_eq!(read("[::1]:4380"), Some(("::1", Some(4380))));
        assert_eq!(Authority::of("A.example.:1"), Authority::of("a.EXAMPLE:1"));
        assert_ne!(Authority::of("a.example:1"), Authority::of("a.example:2"));
        for text in ["", ":80", "a:b", "a:1:2", "::1", "[::1", "[::1]x", "u@a", "a/b", "a:+1", "a:99999"] {
            assert_eq!(read(text), None, "{text}");
        }
    }

    #[test]
    fn loopback_has_many_names() {
        let is = |text| Authority::of(text).expect("an authority").is_loopback();
        for text in
            ["localhost", "LOCALHOST:1", "127.0.0.1:4380", "127.8.9.1", "[::1]", "[0:0:0:0:0:0:0:1]:1"]
        {
            assert!(is(text), "{text}");
        }
        for text in ["localhost.evil.example", "10.0.0.1", "127.0.0.1.example", "[::2]", "0.0.0.0"] {
            assert!(!is(text), "{text}");
        }
    }

    #[test]
    fn every_path_but_health_and_the_description_needs_a_right() {
        let cases = [
            (Method::GET, "/v1/docs/a", Some(Right::Read)),
            (Method::HEAD, "/v1/cluster", Some(Right::Read)),
            (Method::PUT, "/v1/docs/a", Some(Right::Write)),
            (Method::POST, "/v1/docs/a/changes", Some(Right::Write)),
            (Method::DELETE, "/anything", Some(Right::Write)),
            (Method::GET, "/", Some(Right::Read)),
            (Method::GET, "/metrics", Some(Right::Read)),
            (Method::GET, "/v1/peer", Some(Right::Peer)),
            (Method::GET, "/livez", None),
            (Method::GET, "/readyz", None),
            (Method::GET, "/openapi.json", None),
            (Method::GET, "/openapi.json/", Some(Right::Read)),
            (Method::GET, "/docs", None),
        ];
        for (method, path, wanted) in cases {
            assert_eq!(right(&method, path), wanted, "{method} {path}");
        }
    }
}
