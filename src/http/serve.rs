//! Connections: taken within their number, cut when a request does not come or its answer is not taken, ended in order at a stop.

use std::convert::Infallible;
use std::io;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::Service;
use tracing::{Level, debug, enabled, warn};

use super::answer::answer;
use super::body::Timed;
use super::requests::{Kind, Requests};
use super::stall::Moving;
use super::{bulk, request_id};
use crate::base::limits::{BODY_MS, HEADER_MS, MAX_CONNECTIONS, MAX_HEAD_BYTES, STALL_MS};

/// After an accept that failed for want of files or memory, in milliseconds.
const ACCEPT_PAUSE_MS: u64 = 100;

/// How long a client may take, and how many there may be. Smaller only in tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    pub head: Duration,
    pub body: Duration,
    pub stall: Duration,
    pub connections: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            head: Duration::from_millis(HEADER_MS),
            body: Duration::from_millis(BODY_MS),
            stall: Duration::from_millis(STALL_MS),
            connections: MAX_CONNECTIONS,
        }
    }
}

/// `HEAD,BODY,STALL,CONNECTIONS`: milliseconds, but for the last.
impl FromStr for Bounds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not HEAD_MS,BODY_MS,STALL_MS,CONNECTIONS");
        let numbers =
            text.split(',').map(str::parse).collect::<Result<Vec<u64>, _>>().map_err(|_| wrong())?;
        let [head, body, stall, connections] = *numbers else { return Err(wrong()) };
        let connections = usize::try_from(connections).map_err(|_| wrong())?;
        let [head, body, stall] = [head, body, stall].map(Duration::from_millis);
        Ok(Self { head, body, stall, connections })
    }
}

/// Answers whoever connects, until `stop` is cancelled; then takes nothing new, and returns when the requests
/// under way are answered. `routes` are always ready. How long that may take is the caller's to say. Upgraded connections are not waited
/// for: whoever took them ends them.
///
/// # Errors
/// When the listener itself is broken.
pub async fn serve<S>(
    listener: TcpListener,
    routes: S,
    stop: CancellationToken,
    requests: Arc<Requests>,
    bounds: Bounds,
) -> io::Result<()>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let places = Arc::new(Semaphore::new(bounds.connections));
    let connections = TaskTracker::new();
    let accept = async {
        // The semaphore is never closed.
        while let Ok(place) = places.clone().acquire_owned().await {
            let socket = accept(&listener).await?;
            let (routes, stop, requests) = (routes.clone(), stop.clone(), requests.clone());
            connections.spawn(async move {
                let _place = place;
                connection(socket, routes, stop, &requests, bounds).await;
            });
        }
        Ok(())
    };
    let ended = stop.run_until_cancelled(accept).await.unwrap_or(Ok(()));
    drop(listener);
    connections.close();
    connections.wait().await;
    ended
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    loop {
        let error = match listener.accept().await {
            Ok((socket, _)) => return Ok(socket),
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::InvalidInput | io::ErrorKind::NotConnected => return Err(error),
            // The other end has gone again.
            io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset => {}
            _ => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}

async fn connection<S>(
    socket: TcpStream,
    routes: S,
    stop: CancellationToken,
    requests: &Requests,
    bounds: Bounds,
) where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    let _open = requests.open();
    if let Err(error) = socket.set_nodelay(true) {
        return debug!(%error, "a connection ended before it began");
    }
    let service = service_fn(|request: Request<Incoming>| {
        let routes = routes.clone();
        async move {
            let endless = request.uri().path() == bulk::PATH;
            let request = request.map(|body| Body::new(Timed::new(body, bounds.body, endless)));
            let kind = Kind::of(request.method(), request.uri().path());
            let under_way = requests.begin();
            let start = Instant::now();
            let answered = if enabled!(Level::DEBUG) {
                logged(routes, request, kind, start).await
            } else {
                answer(routes, request).await
            };
            let status = answered.as_ref().map_or(0, |response| response.status().as_u16());
            under_way.done(kind, status, start.elapsed());
            answered
        }
    });
    // Without a timer hyper has no deadline for heads.
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(bounds.head)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(Moving::new(socket, bounds.stall)), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        requests.cut();
        debug!(%error, "a connection was cut");
    }
}

/// One line a request. Queries stay out of it, and so do headers: they may hold secrets.
async fn logged<S>(routes: S, request: Request, kind: Kind, start: Instant) -> Result<Response, Infallible>
where
    S: Service<Request, Response = Response, Error = Infallible>,
{
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let response = answer(routes, request).await?;
    let id = response.headers().get(request_id::HEADER).and_then(|id| id.to_str().ok());
    let (status, ms) = (response.status().as_u16(), start.elapsed().as_secs_f64() * 1_000.0);
    debug!(id, %method, route = kind.route(), path, status, ms, "request");
    Ok(response)
}
