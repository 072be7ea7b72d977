//! The trace of a run: a hash over all that happens, and readable lines where they are asked for.

use std::hash::Hasher;

use rustc_hash::FxHasher;

#[derive(Default)]
pub struct Trace {
    hasher: FxHasher,
    events: u64,
    /// Print each event.
    told: bool,
}

impl Trace {
    pub fn new(told: bool) -> Self {
        Self { told, ..Self::default() }
    }

    /// Something has happened. `words` is called only where the trace is told.
    pub fn note(&mut self, now: u64, what: &'static str, facts: &[u64], words: impl FnOnce() -> String) {
        self.events += 1;
        self.hasher.write_u64(now);
        self.hasher.write(what.as_bytes());
        facts.iter().for_each(|fact| self.hasher.write_u64(*fact));
        if self.told {
            println!("{now:>7} ms  {what:<9} {}", words());
        }
    }

    /// The hash of all events, and how many there were.
    pub fn digest(&self) -> (u64, u64) {
        (self.hasher.finish(), self.events)
    }
}
