//! Connections over real sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::routing::{get, put};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::base::limits::MAX_HEAD_BYTES;
use crate::http::{Bounds, Requests, body, serve};

struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    ended: JoinHandle<std::io::Result<()>>,
}

/// Soon enough for a test, and late enough for whoever does not dawdle on a busy machine.
const SOON: Duration = Duration::from_secs(1);

async fn start(router: Router, bounds: Bounds) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stop = CancellationToken::new();
    let ended = tokio::spawn(serve(listener, router, stop.clone(), Arc::new(Requests::new()), bounds));
    Server { address, stop, ended }
}

/// Gives bodies back.
fn echo() -> Router {
    Router::new().route("/", put(|request: Request| async { body::bytes(request.into_body()).await }))
}

impl Server {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("a connection")
    }

    async fn put(&self, body: &str) -> String {
        let mut socket = self.connect().await;
        send(&mut socket, &format!("{}connection: close\r\n\r\n{body}", head(body.len()))).await;
        rest(&mut socket).await
    }
}

/// The head of a request, without the empty line at its end.
fn head(length: usize) -> String {
    format!("PUT / HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n")
}

async fn send(socket: &mut TcpStream, text: &str) {
    socket.write_all(text.as_bytes()).await.expect("sent");
}

/// All that comes until the other end closes.
async fn rest(socket: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // A reset is an end, too.
    let _ = socket.read_to_end(&mut all).await;
    String::from_utf8(all).expect("text")
}

/// One answer with a body of `length` bytes, on a connection that stays open.
async fn answer(socket: &mut TcpStream, length: usize) -> String {
    let mut all = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&all).into_owned();
        if text.split_once("\r\n\r\n").is_some_and(|(_, body)| body.len() >= length) {
            return text;
        }
        assert_ne!(socket.read_buf(&mut all).await.expect("read"), 0, "closed after {text:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_finish_its_head_is_cut_while_others_are_served() {
    let server = start(echo(), Bounds { head: SOON, ..Bounds::default() }).await;
    let (mut silent, mut slow) = (server.connect().await, server.connect().await);
    send(&mut slow, &head(2)).await;
    assert!(server.put("hello").await.ends_with("hello"));
    assert_eq!((rest(&mut silent).await, rest(&mut slow).await), (String::new(), String::new()));
    assert!(server.put("hello").await.ends_with("hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_finish_its_body_is_cut_while_others_are_served() {
    let server = start(echo(), Bounds { body: SOON, ..Bounds::default() }).await;
    let mut slow = server.connect().await;
    send(&mut slow, &format!("{}\r\nhel", head(5))).await;
    assert!(server.put("hello").await.ends_with("hello"));
    let answer = rest(&mut slow).await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("urn:syncline:problem:too-slow"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_does_not_take_its_answer_loses_its_place() {
    const BYTES: usize = 32 << 20;
    let router = echo().route("/large", get(|| async { vec![b'x'; BYTES] }));
    let bounds = Bounds { connections: 1, stall: SOON, ..Bounds::default() };
    let server = start(router.clone(), bounds).await;
    let request = "GET /large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut stalled = server.connect().await;
    send(&mut stalled, request).await;
    assert!(server.put("hello").await.ends_with("hello"));
    assert!(rest(&mut stalled).await.len() < BYTES);
    // Whoever takes it gets all of it, however long it is.
    let mut reader = start(router, Bounds::default()).await.connect().await;
    send(&mut reader, request).await;
    assert!(rest(&mut reader).await.len() > BYTES);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_in_pieces_is_put_together_and_the_connection_kept() {
    let server = start(echo(), Bounds::default()).await;
    let mut socket = server.connect().await;
    for _ in 0..2 {
        send(&mut socket, &format!("{}\r\nhel", head(5))).await;
        send(&mut socket, "lo").await;
        let answer = answer(&mut socket, 5).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"), "{answer}");
    }
    server.stop.cancel();
    assert_eq!(rest(&mut socket).await, "");
    server.ended.await.expect("no panic").expect("an orderly end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_head_that_is_too_large_is_not_looked_at() {
    let server = start(echo(), Bounds::default()).await;
    let ask = async |filling: usize| {
        let mut socket = server.connect().await;
        let filling = "x".repeat(filling);
        let head = format!("{}connection: close\r\nfilling: {filling}\r\n\r\nhello", head(5));
        // May be cut while it is being sent.
        let _ = socket.write_all(head.as_bytes()).await;
        rest(&mut socket).await
    };
    assert!(!ask(2 * MAX_HEAD_BYTES).await.contains("hello"));
    assert!(ask(MAX_HEAD_BYTES / 2).await.ends_with("hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_past_their_number_wait_for_a_place() {
    let server = start(echo(), Bounds { connections: 1, ..Bounds::default() }).await;
    let mut first = server.connect().await;
    send(&mut first, &format!("{}\r\nhello", head(5))).await;
    answer(&mut first, 5).await;
    let mut second = server.connect().await;
    send(&mut second, &format!("{}\r\nhello", head(5))).await;
    // While the first is there, the second's request is not looked at.
    send(&mut first, &format!("{}\r\nhello", head(5))).await;
    answer(&mut first, 5).await;
    assert_eq!(second.try_read(&mut [0; 1]).map_err(|e| e.kind()), Err(std::io::ErrorKind::WouldBlock));
    drop(first);
    assert!(answer(&mut second, 5).await.ends_with("hello"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_requests_under_way_finish_and_takes_no_new_ones() {
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (begun.clone(), finish.clone());
    let work = move || async move {
        tell.notify_one();
        wait.notified().await;
        "done"
    };
    let server = start(Router::new().route("/", get(work)), Bounds::default()).await;
    let (mut busy, mut idle) = (server.connect().await, server.connect().await);
    send(&mut busy, "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    begun.notified().await;
    server.stop.cancel();
    assert_eq!(rest(&mut idle).await, "");
    assert!(!server.ended.is_finished());
    finish.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("done"), "{answer}");
    server.ended.await.expect("no panic").expect("an orderly end");
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgraded_connection_is_handed_over() {
    async fn upgrade(mut request: Request) -> (StatusCode, [(&'static str, &'static str); 2]) {
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            let mut socket = TokioIo::new(upgrade.await.expect("upgraded"));
            socket.write_all(b"hi").await.expect("sent");
        });
        (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "test")])
    }
    let server = start(Router::new().route("/", get(upgrade)), Bounds::default()).await;
    let mut socket = server.connect().await;
    let request = "GET / HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: test\r\n\r\n";
    send(&mut socket, request).await;
    let answer = rest(&mut socket).await;
    assert!(answer.starts_with("HTTP/1.1 101 ") && answer.ends_with("hi"), "{answer}");
}
