//! The bare handler that `bench write` and `bench read` compare with: it reads the body, and answers.

use std::future::ready;

use axum::Router;
use axum::body::Bytes;
use tokio::net::TcpListener;

use crate::cli::output::{Failure, print};

/// Serves until it is killed. Answers have so many bytes.
pub async fn run(bytes: usize) -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::refused(format!("the bare handler: {e}"));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    print(format!("http://{}\n", listener.local_addr().map_err(failed)?))?;
    let body = Bytes::from(vec![b'x'; bytes]);
    let router = Router::new().fallback(move |_: Bytes| ready(body.clone()));
    axum::serve(listener, router).await.map_err(failed)
}
