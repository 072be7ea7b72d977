//! What commands say: results on standard output, one line on standard error where they fail.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use crate::config::ConfigError;
use crate::server::ServerError;

/// Refused by the node, or failed.
pub const REFUSED: u8 = 1;
/// The command line, or a file that it names, is wrong.
pub const USAGE: u8 = 2;
/// No such document or version.
pub const NOT_FOUND: u8 = 3;
/// No node answered.
pub const UNREACHABLE: u8 = 4;

/// Why a command did not do what it was asked, and the exit code.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub code: u8,
    pub message: String,
}

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    pub fn refused(message: impl Into<String>) -> Self {
        Self::new(REFUSED, message)
    }

    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(USAGE, message)
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::usage(error.to_string())
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Settings(error) => error.into(),
            error => Self::refused(error.to_string()),
        }
    }
}

/// Standard output fails where its reader has gone (`syncline doc list | head`): the command is over then,
/// and nobody needs to be told.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::new(0, ""),
            _ => Self::refused(format!("standard output: {error}")),
        }
    }
}

/// Writes to standard output.
pub fn print(bytes: impl AsRef<[u8]>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(bytes.as_ref())?;
    out.flush()
}

pub fn to_terminal() -> bool {
    io::stdout().is_terminal()
}

pub fn exit(done: Result<(), Failure>) -> ExitCode {
    let Err(failure) = done else { return ExitCode::SUCCESS };
    if !failure.message.is_empty() {
        // Where nobody reads, there is nobody to tell.
        let _ = writeln!(io::stderr(), "error: {failure}");
    }
    ExitCode::from(failure.code)
}
