//! The signals that end a command: SIGTERM, Ctrl-C, and a terminal that goes away.

use std::io;
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals within so many milliseconds of the first are the same wish: `timeout`, and wrappers that pass
/// signals on, send one to the process and one to its group.
const SAME_MS: u64 = 300;

/// As shells show it: ended by SIGINT.
const INTERRUPTED: i32 = 130;

pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on the signals no longer end the process by themselves.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Waits for the first signal. A further one ends the process at once: whoever stops a node twice does
    /// not want to wait, and nothing that was answered hangs on an orderly end.
    pub async fn stop(mut self) {
        self.next().await;
        tokio::spawn(async move {
            let first = Instant::now();
            while first.elapsed() < Duration::from_millis(SAME_MS) {
                self.next().await;
            }
            std::process::exit(INTERRUPTED);
        });
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
