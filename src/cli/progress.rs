//! How far a long command is, on standard error: a line that is written over on a terminal, else a line a second.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_ON_TERMINAL: Duration = Duration::from_millis(200);

pub struct Progress {
    start: Instant,
    /// None where nobody looks.
    next: Option<Instant>,
    terminal: bool,
}

impl Progress {
    /// Tells it where somebody has asked for it. On a terminal nobody has to, unless results go there, too.
    pub fn new(asked: bool, results_elsewhere: bool) -> Self {
        let (start, terminal) = (Instant::now(), io::stderr().is_terminal());
        Self { start, next: (asked || (terminal && results_elsewhere)).then_some(start), terminal }
    }

    /// Cheap; most calls say nothing.
    pub fn tell(&mut self, documents: u64, bytes: u64) {
        if let Some(next) = self.next
            && Instant::now() >= next
        {
            self.next = Some(Instant::now() + if self.terminal { PAUSE_ON_TERMINAL } else { PAUSE });
            self.write(documents, bytes, if self.terminal { "" } else { "\n" });
        }
    }

    /// The last word.
    pub fn end(&self, documents: u64, bytes: u64) {
        if self.next.is_some() {
            self.write(documents, bytes, "\n");
        }
    }

    fn write(&self, documents: u64, bytes: u64, end: &str) {
        let begin = if self.terminal { "\r\x1b[K" } else { "" };
        let text = text(documents, bytes, self.start.elapsed());
        // Where nobody reads, there is nobody to tell.
        let _ = write!(io::stderr(), "{begin}{text}{end}");
    }
}

fn text(documents: u64, bytes: u64, elapsed: Duration) -> String {
    let rate = documents as f64 / elapsed.as_secs_f64().max(0.001);
    format!("{documents} documents, {:.1} MB, {rate:.0}/s", bytes as f64 / 1e6)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_documents_bytes_and_rate() {
        assert_eq!(text(3_000, 1_250_000, Duration::from_secs(2)), "3000 documents, 1.2 MB, 1500/s");
        assert_eq!(text(0, 0, Duration::ZERO), "0 documents, 0.0 MB, 0/s");
    }
}
