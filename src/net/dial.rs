//! Links that this node opens, and opens again when they end.

use std::time::{Duration, Instant};

use axum::http::{HeaderValue, header};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::client_async_with_config;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{self, Error};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{PATH, PROTOCOL, limits, pump};
use crate::base::limits::{RECONNECT_FIRST_MS, RECONNECT_MOST_MS};
use crate::node::Node;
use crate::replication::DUPLICATE;

/// For a TCP connection, and again for the handshake on it, in milliseconds.
const CONNECT_MS: u64 = 5_000;

/// A link that lived this long, in milliseconds, was a good one: the next try comes soon.
const GOOD_MS: u128 = 2_000;

/// Another node's base URL, as configured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PeerUrl {
    /// As people wrote it.
    text: String,
    /// Host and port.
    authority: String,
}

#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PeerUrlError {
    #[error("{0:?}: https and wss are not spoken; let a proxy in front of the nodes do TLS")]
    Tls(String),
    #[error("{0:?} is not the base URL of a node, as http://host:4380")]
    Malformed(String),
}

/// Whom to link with.
#[derive(Clone, Debug)]
pub struct Dialler {
    /// In order of preference; one of them is linked with at a time.
    pub urls: Vec<PeerUrl>,
    /// Sent as a bearer token.
    pub token: Option<String>,
}

impl std::str::FromStr for PeerUrl {
    type Err = PeerUrlError;

    fn from_str(text: &str) -> Result<Self, PeerUrlError> {
        let malformed = || PeerUrlError::Malformed(text.to_owned());
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        match scheme {
            "http" | "ws" => {}
            "https" | "wss" => return Err(PeerUrlError::Tls(text.to_owned())),
            _ => return Err(malformed()),
        }
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let uri: axum::http::uri::Authority = authority.parse().map_err(|_| malformed())?;
        if uri.host().is_empty() || authority.contains('@') {
            return Err(malformed());
        }
        let port = uri.port_u16().unwrap_or(80);
        Ok(Self { text: text.to_owned(), authority: format!("{}:{port}", uri.host()) })
    }
}

impl std::fmt::Display for PeerUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl PeerUrl {
    /// Host and port.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl Dialler {
    /// Dials, pumps, and dials again, until `stop` is cancelled.
    pub async fn run(self, node: Node, stop: CancellationToken) {
        let mut tries = 0;
        let mut said = None;
        while !stop.is_cancelled() {
            for url in &self.urls {
                let start = Instant::now();
                let end = tokio::select! {
                    end = self.link(url, &node, &stop) => end,
                    () = stop.cancelled() => return,
                };
                if start.elapsed().as_millis() >= GOOD_MS {
                    (tries, said) = (0, None);
                    debug!(%url, reason = %end, "the link ended; trying again");
                } else if end.ends_with(DUPLICATE) {
                    // The other end dials this node too, and its link is in use: there is no hurry.
                    (tries, said) = (u32::MAX, None);
                    debug!(%url, "linked already");
                    break;
                } else if said.as_ref() != Some(&end) {
                    warn!(%url, reason = %end, "no link; trying again");
                    said = Some(end);
                } else {
                    debug!(%url, reason = %end, "no link");
                }
                if stop.is_cancelled() {
                    return;
                }
            }
            let pause = backoff(tries, fastrand::f64());
            tries = tries.saturating_add(1);
            tokio::select! {
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Why it ended, or did not come about.
    async fn link(&self, url: &PeerUrl, node: &Node, stop: &CancellationToken) -> String {
        let connect = TcpStream::connect(&url.authority);
        let socket = match timeout(Duration::from_millis(CONNECT_MS), connect).await {
            Ok(Ok(socket)) => socket,
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("no connection within {CONNECT_MS} ms"),
        };
        // Acknowledgements are small and must not wait for each other.
        if let Err(error) = socket.set_nodelay(true) {
            return error.to_string();
        }
        let request = match self.request(url) {
            Ok(request) => request,
            Err(error) => return error.to_string(),
        };
        let handshake = client_async_with_config(request, socket, Some(limits()));
        let socket = match timeout(Duration::from_millis(CONNECT_MS), handshake).await {
            Ok(Ok((socket, _))) => socket,
            Ok(Err(Error::Http(answer))) => {
                let body = answer.body().as_deref().unwrap_or_default();
                return format!("{}: {}", answer.status(), String::from_utf8_lossy(body).trim());
            }
            Ok(Err(error)) => return error.to_string(),
            Err(_) => return format!("no handshake within {CONNECT_MS} ms"),
        };
        match node.link(true).await {
            Ok(link) => pump::run(socket, &link, stop).await.0,
            Err(error) => error.to_string(),
        }
    }

    fn request(&self, url: &PeerUrl) -> Result<tungstenite::handshake::client::Request, Error> {
        let mut request = format!("ws://{}{PATH}", url.authority).into_client_request()?;
        let headers = request.headers_mut();
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(PROTOCOL));
        if let Some(token) = &self.token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|error| Error::HttpFormat(error.into()))?;
            headers.insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }
}

/// How long to wait before the next try: anything up to a bound that doubles ("full jitter"), so that many
/// nodes that lost the same peer do not come back in step. `chance` is in 0..1.
pub fn backoff(tries: u32, chance: f64) -> Duration {
    let most = RECONNECT_FIRST_MS.saturating_mul(1 << tries.min(16)).min(RECONNECT_MOST_MS);
    Duration::from_millis(most).mul_f64(chance.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pause_between_tries_doubles_up_to_a_bound_and_is_jittered() {
        assert_eq!(backoff(0, 1.0), Duration::from_millis(RECONNECT_FIRST_MS));
        assert_eq!(backoff(1, 1.0), Duration::from_millis(2 * RECONNECT_FIRST_MS));
        assert_eq!(backoff(60, 1.0), Duration::from_millis(RECONNECT_MOST_MS));
        assert_eq!(backoff(60, 0.0), Duration::ZERO);
    }

    #[test]
    fn base_urls_are_read_and_others_refused_with_what_is_wrong() {
        let authority = |text: &str| text.parse::<PeerUrl>().map(|url| url.authority);
        assert_eq!(authority("http://a.example:4380"), Ok("a.example:4380".into()));
        assert_eq!(authority("ws://[::1]:1/"), Ok("[::1]:1".into()));
        assert_eq!(authority("http://a"), Ok("a:80".into()));
        assert!(matches!(authority("https://a"), Err(PeerUrlError::Tls(_))));
        for text in ["", "a:1", "ftp://a", "http://", "http://a/b", "http://u@a"] {
            assert!(matches!(authority(text), Err(PeerUrlError::Malformed(_))), "{text}");
        }
    }
}
