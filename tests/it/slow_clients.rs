//! Clients that dawdle, and clients with very many connections: cut at their deadlines, while others are served.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{Cluster, Master};

/// Deadlines of the node, in milliseconds: real ones would be waited for too long.
const HEAD_MS: u64 = 1_500;
const BODY_MS: u64 = 1_500;

fn node(connections: usize) -> Cluster {
    let mut cluster = Cluster::prepare(&[("a", Master)], &[]);
    cluster.arguments("a", &["--http-bounds", &format!("{HEAD_MS},{BODY_MS},60000,{connections}")]);
    cluster.launch("a");
    cluster
}

/// Sends `start`, then a byte now and then, until the node ends it. Gives how long that took, and the answer.
fn dribble(at: SocketAddr, start: &'static str) -> JoinHandle<(Duration, String)> {
    std::thread::spawn(move || {
        let mut socket = TcpStream::connect(at).expect("a connection");
        let begun = Instant::now();
        socket.write_all(start.as_bytes()).expect("sent");
        socket.set_read_timeout(Some(Duration::from_millis(50))).expect("set");
        let (mut heard, mut buffer) = (Vec::new(), [0; 1_024]);
        loop {
            // Fails once the node has closed.
            let sent = socket.write_all(b"x");
            match socket.read(&mut buffer) {
                Ok(0) => break,
                Ok(n) => heard.extend_from_slice(&buffer[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) && sent.is_ok() => {
                }
                Err(_) => break,
            }
        }
        (begun.elapsed(), String::from_utf8_lossy(&heard).into_owned())
    })
}

#[test]
fn slow_heads_and_slow_bodies_are_cut_at_their_deadlines_while_others_are_served() {
    let cluster = node(1_000);
    let at = cluster.at("a");
    let heads: Vec<_> =
        (0..8).map(|_| dribble(at, "GET /v1/docs HTTP/1.1\r\nhost: localhost\r\nslow: ")).collect();
    let body = "PUT /v1/docs/slow HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
                content-length: 100000\r\n\r\n{\"a\": \"";
    let bodies: Vec<_> = (0..8).map(|_| dribble(at, body)).collect();
    let mut client = cluster.client("a");
    let mut served = 0;
    while served == 0 || heads.iter().chain(&bodies).any(|slow| !slow.is_finished()) {
        client.put("/v1/docs/quick", &json!({ "n": served }));
        client.get("/v1/docs/quick").expect(200);
        served += 1;
    }
    for slow in heads {
        let (after, heard) = slow.join().expect("no panic");
        assert!(after >= Duration::from_millis(HEAD_MS), "{after:?}");
        assert!(!heard.contains("200 OK"), "{heard}");
    }
    for slow in bodies {
        let (after, heard) = slow.join().expect("no panic");
        assert!(after >= Duration::from_millis(BODY_MS), "{after:?}");
        // The answer may be lost, as the client goes on sending.
        assert!(heard.is_empty() || heard.starts_with("HTTP/1.1 408"), "{heard}");
    }
    client.get("/v1/docs/slow").expect(404);
}

#[test]
fn a_client_that_takes_every_connection_loses_them_at_the_deadline_and_those_that_wait_are_served() {
    const PLACES: usize = 64;
    let cluster = node(PLACES);
    let at = cluster.at("a");
    // Twice as many as there are places; none of them ever asks for anything.
    let greedy: Vec<_> = (0..2 * PLACES).map(|_| TcpStream::connect(at).expect("a connection")).collect();
    let mut client = cluster.client("a");
    client.get("/v1/docs").expect(200);
    for mut socket in greedy {
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("set");
        let ended = socket.read(&mut [0; 1]);
        assert!(matches!(ended, Ok(0) | Err(_)), "{ended:?}");
        assert!(!ended.is_err_and(|e| e.kind() == ErrorKind::WouldBlock), "it was not cut");
    }
    client.get("/v1/docs").expect(200);
}
