//! Request bodies, within their limits of size and time.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::HeaderValue;
use axum::http::header::CONNECTION;
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Frame, Incoming, SizeHint};
use serde_json::Value;
use tokio::time::{Sleep, sleep};

use super::problem::{MALFORMED, Problem, TOO_LARGE, TOO_SLOW};
use crate::base::limits::MAX_BODY_BYTES;
use crate::crdt::parse_json;

/// From this size on, in bytes, a body is parsed or compressed aside: the other requests of the thread go on elsewhere.
pub(super) const HEAVY_BYTES: usize = 64 << 10;

/// # Errors
/// `TOO_LARGE`, by `Content-Length` before anything is read; `TOO_SLOW`; `MALFORMED` where it breaks off.
pub(super) async fn bytes(body: Body) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > MAX_BODY_BYTES as u64 {
        return Err(too_large());
    }
    match Limited::new(body, MAX_BODY_BYTES).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if is::<LengthLimitError>(&*error) => Err(too_large()),
        Err(error) => Err(broken(&*error)),
    }
}

/// What it means that a body ended with an error.
pub(super) fn broken(error: &(dyn Error + 'static)) -> Problem {
    if is::<TimedOut>(error) {
        return Problem::new(&TOO_SLOW, "the body must arrive in time");
    }
    Problem::new(&MALFORMED, format!("the body broke off: {error}"))
}

/// # Errors
/// As [`bytes`], and as [`parse_json`].
pub(super) async fn json(body: Body) -> Result<Value, Problem> {
    let text = bytes(body).await?;
    Ok(lightly(text.len(), || parse_json(&text))?)
}

/// Works on so many bytes of a body: here, or aside where they are many.
pub(super) fn lightly<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes < HEAVY_BYTES { work() } else { tokio::task::block_in_place(work) }
}

fn too_large() -> Problem {
    Problem::new(&TOO_LARGE, format!("a body has at most {MAX_BODY_BYTES} bytes"))
        .with("limit", MAX_BODY_BYTES)
        // The rest of the body is not read, so nothing can follow it.
        .header(CONNECTION, HeaderValue::from_static("close"))
}

/// Is that error one of `E`, or made by one?
fn is<E: Error + 'static>(error: &(dyn Error + 'static)) -> bool {
    error.is::<E>() || error.source().is_some_and(is::<E>)
}

/// A body that must arrive within some time after its reader began to wait for it.
pub(super) struct Timed {
    inner: Incoming,
    within: Duration,
    /// Whatever comes starts the time anew: such a body may be as long as it likes, and must not stall.
    endless: bool,
    deadline: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct TimedOut;

impl Timed {
    pub fn new(inner: Incoming, within: Duration, endless: bool) -> Self {
        Self { inner, within, endless, deadline: None }
    }
}

impl HttpBody for Timed {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.inner).poll_frame(cx) {
            if this.endless {
                this.deadline = None;
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let deadline = this.deadline.get_or_insert_with(|| Box::pin(sleep(this.within)));
        deadline.as_mut().poll(cx).map(|()| Some(Err(TimedOut.into())))
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the body took too long")
    }
}

impl Error for TimedOut {}
