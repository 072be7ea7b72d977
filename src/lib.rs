//! Syncline keeps JSON documents on several masters at once and makes them converge.
//!
//! The rooms, from the ground up; imports point downward only (see `ARCHITECTURE.md`).

#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub mod base;
pub mod cli;
pub mod config;
pub mod crdt;
pub mod http;
pub mod net;
pub mod node;
pub mod replication;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod wire;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
