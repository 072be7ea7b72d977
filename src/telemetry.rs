//! Logs, to standard error.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

/// A filter that is none, or logs that are set up already.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("--log takes a level, as info, or levels by module, as info,syncline::net=debug: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    #[error("logs cannot be set up: {0}")]
    Start(Box<dyn std::error::Error + Send + Sync>),
}

/// Is this a filter that [`start`] takes?
///
/// # Errors
/// Where it is not.
pub fn check(filter: &str) -> Result<(), TelemetryError> {
    EnvFilter::try_new(filter)?;
    Ok(())
}

/// Begins to log what `filter` lets through: a line for people, or with `json` an object a line.
/// Once per process.
///
/// # Errors
/// See [`TelemetryError`].
pub fn start(filter: &str, json: bool) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(filter)?;
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = if json {
        logs.json().flatten_event(true).try_init()
    } else {
        logs.with_ansi(io::stderr().is_terminal()).try_init()
    };
    started.map_err(TelemetryError::Start)
}
