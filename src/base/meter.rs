//! What is counted while a node works: counters and histograms that any thread may add to, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of durations, in nanoseconds: from a write in memory to a disk that hangs.
pub const DURATIONS: &[u64] = &[
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    10_000_000_000,
];

/// Upper bounds of numbers of things done at once.
pub const SIZES: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024, 2_048, 4_096];

/// A number that is added to, or one that is set.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// How often which values came, by fixed bounds.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// Of each bound the values up to it and above the one before; last those above all.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Counted {
    /// Bound → values up to it.
    pub upto: Vec<(u64, u64)>,
    pub count: u64,
    pub sum: u64,
}

impl Counter {
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Only of what was added.
    pub fn subtract(&self, by: u64) {
        self.0.fetch_sub(by, Ordering::Relaxed);
    }

    pub fn set(&self, to: u64) {
        self.0.store(to, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Histogram {
    /// `bounds` ascend.
    pub fn new(bounds: &'static [u64]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, counts, sum: AtomicU64::new(0) }
    }

    pub fn add(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(at) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// In nanoseconds, as the bounds of [`DURATIONS`].
    pub fn add_time(&self, time: Duration) {
        self.add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub fn read(&self) -> Counted {
        let mut count = 0;
        let mut running = self.counts.iter().map(|of| {
            count += of.load(Ordering::Relaxed);
            count
        });
        let upto = self.bounds.iter().copied().zip(running.by_ref()).collect();
        let count = running.last().unwrap_or_default();
        Counted { upto, count, sum: self.sum.load(Ordering::Relaxed) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_counts_for_the_first_bound_that_is_not_below_it_and_for_all_above() {
        let histogram = Histogram::new(&[1, 10]);
        for value in [0, 1, 2, 10, 11] {
            histogram.add(value);
        }
        let read = histogram.read();
        assert_eq!(read, Counted { upto: vec![(1, 2), (10, 4)], count: 5, sum: 24 });
        assert_eq!(Histogram::new(&[1]).read(), Counted { upto: vec![(1, 0)], count: 0, sum: 0 });
    }

    #[test]
    fn bounds_ascend() {
        assert!(DURATIONS.is_sorted_by(|a, b| a < b) && SIZES.is_sorted_by(|a, b| a < b));
    }
}
