//! The bare handler that `bench write` compares with: it reads the body, and answers.

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use tokio::net::TcpListener;

use crate::cli::output::{Failure, print};

/// Serves until it is killed.
pub async fn run() -> Result<(), Failure> {
    let failed = |e: std::io::Error| Failure::refused(format!("the bare handler: {e}"));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    print(format!("http://{}\n", listener.local_addr().map_err(failed)?))?;
    let router = Router::new().fallback(async |_: Bytes| StatusCode::OK);
    axum::serve(listener, router).await.map_err(failed)
}
