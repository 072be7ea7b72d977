//! `GET /v1/changes`: what changes on this node, in an answer that ends, or in one that does not.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{sleep, timeout_at};
use tokio_util::sync::CancellationToken;

use super::Live;
use super::frames::{Told, read_since};
use crate::base::limits::{
    DRAIN_MS, FEED_PAGE, FEED_PAGE_MOST, KEEP_ALIVE_MS, LIST_VALUE_BYTES, LIVE_BATCH, LONGPOLL_MS,
};
use crate::http::bulk::NDJSON;
use crate::http::headers::{bad as bad_header, one};
use crate::http::problem::{FAILED, Problem, REFETCH};
use crate::http::query::{self, Query};
use crate::http::state;
use crate::node::{Mode, NodeError, Since, Step, Subscription, Target};

pub(in crate::http) const SSE: &str = "text/event-stream";

/// Where a client's `EventSource` left off. It goes before `since`, which stays in the address.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Proxies of nginx's kind hold answers back otherwise.
const UNBUFFERED: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));

/// What is told at once, in bytes, beyond the last frame.
const PIECE_BYTES: usize = 16 << 10;

/// Documents with their values between two looks at how much that is.
const VALUES: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Normal,
    Longpoll,
    Sse,
    Ndjson,
}

/// An answer that ends.
#[derive(Serialize)]
struct Page {
    changes: Vec<Box<RawValue>>,
    /// `since` of the next page.
    cursor: String,
    /// There is no more now.
    up_to_date: bool,
}

pub(super) async fn answer(live: Live, uri: &Uri, headers: &HeaderMap) -> Result<Response, Problem> {
    let mut query = Query::of(uri)?;
    let kind = match query.take("feed").as_deref() {
        None | Some("normal") => Kind::Normal,
        Some("longpoll") => Kind::Longpoll,
        Some("sse") => Kind::Sse,
        Some("ndjson") => Kind::Ndjson,
        Some(_) => return Err(query::bad("feed", "is normal, longpoll, sse or ndjson")),
    };
    let mode = match query.take("include").as_deref() {
        None | Some("version") => Mode::Notify,
        Some("value") => Mode::Value,
        Some(_) => return Err(query::bad("include", "is version or value")),
    };
    let since = query.take("since");
    let since = read_since(since.as_deref().unwrap_or("0"), &live.node);
    let mut since = since.map_err(|why| query::bad("since", &why))?;
    let target = Target::Prefix(query.take("prefix").unwrap_or_default());
    let ends = matches!(kind, Kind::Normal | Kind::Longpoll);
    let limit = if ends { query.take_limit(FEED_PAGE, FEED_PAGE_MOST)? } else { 0 };
    query.end()?;
    if let Some(last) = one(headers, &LAST_EVENT_ID)?.filter(|_| kind == Kind::Sse) {
        let text = last.to_str().unwrap_or_default();
        since = read_since(text, &live.node).map_err(|why| bad_header(&LAST_EVENT_ID, &why))?;
    }
    let place = live.place()?;
    if ends {
        return page(&live, target, mode, since, limit, kind == Kind::Longpoll).await;
    }
    let bell = Arc::new(Notify::new());
    let subscription = live.node.subscribe(target, mode, since, bell.clone())?;
    live.requests.subscribers.add(1);
    let stream = Stream { live, subscription, bell, kind, over: false, _place: place };
    let mut response = Response::new(Body::from_stream(stream::unfold(stream, Stream::next)));
    let headers = response.headers_mut();
    let media_type = if kind == Kind::Sse { SSE } else { NDJSON };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(UNBUFFERED.0, UNBUFFERED.1);
    Ok(response)
}

/// At most `limit` changes; where there are none and one is `patient`, as soon as there are.
async fn page(
    live: &Live,
    target: Target,
    mode: Mode,
    since: Since,
    limit: usize,
    patient: bool,
) -> Result<Response, Problem> {
    let bell = Arc::new(Notify::new());
    let at_once = if mode == Mode::Value { VALUES } else { LIVE_BATCH };
    let deadline = Instant::now() + Duration::from_millis(if patient { LONGPOLL_MS } else { 0 });
    let mut subscription =
        live.node.subscribe_paged(target, mode, since, at_once.min(limit), bell.clone())?;
    let (mut changes, mut bytes) = (Vec::new(), 0);
    let up_to_date = loop {
        let step = subscription.next().await?;
        match &step {
            Step::Idle { until: None } if changes.is_empty() => {
                let stopped = live.stop.cancelled();
                let rung = tokio::select! {
                    rung = timeout_at(deadline.into(), bell.notified()) => rung.is_ok(),
                    () = stopped => false,
                };
                if !rung {
                    break true;
                }
            }
            Step::Idle { until: None } => break true,
            Step::Idle { until: Some(due) } => {
                let _ = timeout_at((*due).into(), bell.notified()).await;
            }
            Step::Mark { up_to_date: true } if !changes.is_empty() || !patient => break true,
            Step::Mark { .. } if bytes >= LIST_VALUE_BYTES || changes.len() >= limit => break false,
            Step::Mark { .. } => subscription.set_page(at_once.min(limit - changes.len())),
            Step::Refetch { reason } => return Err(Problem::new(&REFETCH, *reason)),
            step => {
                if let Some(told) = Told::step(None, step, || None) {
                    let text = told.text();
                    bytes += text.len();
                    let row = RawValue::from_string(text);
                    changes.push(row.map_err(|error| Problem::new(&FAILED, error.to_string()))?);
                }
            }
        }
    };
    let cursor = subscription.cursor().unwrap_or_default();
    state(StatusCode::OK, &Page { changes, cursor, up_to_date })
}

/// An answer that does not end by itself.
struct Stream {
    live: Live,
    subscription: Subscription,
    bell: Arc<Notify>,
    kind: Kind,
    over: bool,
    _place: OwnedSemaphorePermit,
}

impl Stream {
    /// What is told next, as much as there is at the moment. Asked for when the client can take it.
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        if self.over {
            return None;
        }
        let stop = self.live.stop.clone();
        let piece = tokio::select! {
            piece = self.piece() => piece,
            () = drained(&stop) => return None,
        };
        Some((Ok(piece?), self))
    }

    /// None where the node fails.
    async fn piece(&mut self) -> Option<Bytes> {
        let alive = Instant::now() + Duration::from_millis(KEEP_ALIVE_MS);
        let mut out = String::new();
        while out.len() < PIECE_BYTES {
            let step = match self.subscription.next().await {
                Ok(step) => step,
                Err(NodeError::Stopping) => return None,
                Err(error) => {
                    tracing::error!(%error, "a feed fails");
                    return None;
                }
            };
            if let Step::Idle { until } = step {
                if !out.is_empty() {
                    break;
                }
                let due = until.map_or(alive, |due| due.min(alive));
                if timeout_at(due.into(), self.bell.notified()).await.is_err() && due == alive {
                    self.write(&mut out, &Told::Alive {}, None);
                }
                continue;
            }
            self.over |= matches!(step, Step::Refetch { .. });
            let cursor = match step {
                Step::Mark { .. } => self.subscription.cursor(),
                _ => None,
            };
            self.live.requests.live_frames.add(1);
            if let Some(told) = Told::step(None, &step, || cursor.clone()) {
                self.write(&mut out, &told, cursor.as_deref());
            }
            if self.over {
                break;
            }
        }
        Some(out.into())
    }

    fn write(&self, out: &mut String, told: &Told<'_>, cursor: Option<&str>) {
        if self.kind == Kind::Ndjson {
            out.push_str(&told.text());
            out.push('\n');
            return;
        }
        if let Told::Alive {} = told {
            return out.push_str(": alive\n\n");
        }
        if let Some(cursor) = cursor {
            out.extend(["id: ", cursor, "\n"]);
        }
        out.extend(["event: ", told.name(), "\ndata: ", &told.text(), "\n\n"]);
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.live.requests.subscribers.subtract(1);
    }
}

/// Some time after the node has begun to stop: not all are sent away at once.
async fn drained(stop: &CancellationToken) {
    stop.cancelled().await;
    sleep(Duration::from_millis(fastrand::u64(..DRAIN_MS))).await;
}
