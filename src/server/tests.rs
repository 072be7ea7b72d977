//! Whole nodes in this process, with real sockets and folders.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use super::*;

fn settings(folder: &Path, name: &str) -> Settings {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    Settings { name: Some(name.into()), listen, data_dir: folder.join(name), ..Settings::default() }
}

async fn start(settings: Settings) -> Server {
    Server::start(settings).await.unwrap()
}

async fn get(server: &Server, path: &str) -> Option<(u16, Value)> {
    let client: Client<_, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let answer = client.get(format!("http://{}{path}", server.local_addr()).parse().unwrap()).await.ok()?;
    let status = answer.status().as_u16();
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    Some((status, serde_json::from_slice(&body).unwrap()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_serves_from_its_start_to_its_stop_and_then_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut ids = Vec::new();
    for _ in 0..2 {
        let server = start(settings(folder.path(), "a")).await;
        assert_ne!(server.local_addr().port(), 0);
        assert_eq!(server.url(), format!("http://{}", server.local_addr()));
        let (status, view) = get(&server, "/v1/cluster").await.unwrap();
        assert_eq!(
            (status, &view["state"], &view["nodes"][0]["name"]),
            (200, &"converged".into(), &"a".into())
        );
        ids.push(view["node"].clone());
        let addr = server.local_addr();
        // It is closed when `stop` returns: else the second start would find it locked.
        server.stop().await;
        assert!(tokio::net::TcpStream::connect(addr).await.is_err());
    }
    assert_eq!(ids[0], ids[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_name_each_other_link_and_let_go_at_a_stop() {
    let folder = tempfile::tempdir().unwrap();
    let a = start(settings(folder.path(), "a")).await;
    let peers = vec![a.url().parse().unwrap()];
    let b = start(Settings { peers, ..settings(folder.path(), "b") }).await;
    let upstreams = vec![b.url().parse().unwrap()];
    let r = start(Settings { role: Role::Replica, upstreams, ..settings(folder.path(), "r") }).await;
    // `a` learns of `r` through `b`; that the state is good says that both were heard of.
    loop {
        let (_, view) = get(&a, "/v1/cluster").await.unwrap();
        if view["nodes"].as_array().unwrap().len() == 3 && view["state"] == "converged" {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
    // A node looks ten times a second whether it is ready.
    while get(&r, "/readyz").await.unwrap().0 != 200 {
        sleep(Duration::from_millis(10)).await;
    }
    b.stop().await;
    while !a.node().cluster().await.unwrap().nodes[0].links.is_empty() {
        sleep(Duration::from_millis(10)).await;
    }
    a.stop().await;
    r.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_that_cannot_be_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let running = start(settings(folder.path(), "a")).await;

    let listen = running.local_addr();
    let error = Server::start(Settings { listen, ..settings(folder.path(), "b") }).await.err().unwrap();
    assert!(matches!(error, ServerError::InUse { addr } if addr == listen), "{error}");
    assert!(!folder.path().join("b").exists());

    let error = Server::start(settings(folder.path(), "a")).await.err().unwrap();
    assert!(matches!(error, ServerError::Store(StoreError::Locked { .. })), "{error}");

    running.stop().await;
    let other = Settings { cluster: "other".into(), ..settings(folder.path(), "a") };
    let error = Server::start(other).await.err().unwrap().to_string();
    assert!(error.contains("other") && error.contains("syncline"), "{error}");

    let token_file = Some(folder.path().join("none"));
    let error = Server::start(Settings { token_file, ..settings(folder.path(), "c") }).await.err().unwrap();
    assert!(matches!(error, ServerError::Settings(ConfigError::Tokens { .. })), "{error}");
}
