//! Durations by size class: quantiles within 3 %, without a lock and without end.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Size classes for each doubling.
const STEPS: usize = 16;

/// Doublings of a microsecond, up to 67 seconds; longer durations count as that.
const DOUBLINGS: usize = 26;

/// Counts of durations.
#[derive(Debug)]
pub(crate) struct Histogram {
    classes: Vec<AtomicU64>, // [DOUBLINGS * STEPS]
    count: AtomicU64,
    sum_us: AtomicU64,
}

/// What a histogram says, in seconds; none of anything as long as it is empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Quantiles {
    pub(crate) mean: f64,
    pub(crate) p50: f64,
    pub(crate) p95: f64,
    pub(crate) p99: f64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self {
            classes: (0..DOUBLINGS * STEPS).map(|_| AtomicU64::new(0)).collect(),
            count: AtomicU64::new(0),
            sum_us: AtomicU64::new(0),
        }
    }

    pub(crate) fn add(&self, duration: Duration) {
        let us = (duration.as_secs_f64() * 1e6).max(1.0);
        let class = ((us.log2() * STEPS as f64) as usize).min(self.classes.len() - 1);
        self.classes[class].fetch_add(1, Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us as u64, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Sum of all durations in seconds.
    pub(crate) fn sum_s(&self) -> f64 {
        self.sum_us.load(Ordering::Relaxed) as f64 * 1e-6
    }

    pub(crate) fn quantiles(&self) -> Option<Quantiles> {
        let count = self.count();
        (count > 0).then(|| Quantiles {
            mean: self.sum_s() / count as f64,
            p50: self.quantile(0.50),
            p95: self.quantile(0.95),
            p99: self.quantile(0.99),
        })
    }

    /// How many durations were at most so many seconds, by size class.
    pub(crate) fn at_most(&self, seconds: f64) -> u64 {
        let classes = self.classes.iter().enumerate();
        classes
            .filter(|(class, _)| upper_s(*class) <= seconds)
            .map(|(_, count)| count.load(Ordering::Relaxed))
            .sum()
    }

    /// The middle of the class that the quantile is in.
    fn quantile(&self, share: f64) -> f64 {
        let counts: Vec<u64> = self
            .classes
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        let rank = (share * counts.iter().sum::<u64>() as f64).ceil().max(1.0) as u64;
        let mut below = 0;
        let found = counts.iter().position(|count| {
            below += count;
            below >= rank
        });
        upper_s(found.unwrap_or(0)) * (-0.5 / STEPS as f64).exp2()
    }
}

/// Upper end of a size class in seconds.
fn upper_s(class: usize) -> f64 {
    ((class + 1) as f64 / STEPS as f64).exp2() * 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_three_percent() {
        let histogram = Histogram::new();
        assert_eq!(histogram.quantiles(), None);
        for ms in 1..=1000 {
            histogram.add(Duration::from_millis(ms));
        }
        let found = histogram.quantiles().unwrap();
        for (found, expected) in [
            (found.mean, 0.5005),
            (found.p50, 0.5),
            (found.p95, 0.95),
            (found.p99, 0.99),
        ] {
            assert!((found / expected - 1.0).abs() < 0.03, "{found}, {expected}");
        }
        assert_eq!(histogram.at_most(10.0), 1000);
        let half = histogram.at_most(0.5);
        assert!((470..=500).contains(&half), "{half}");
    }

    #[test]
    fn the_shortest_and_the_longest_are_counted() {
        let histogram = Histogram::new();
        histogram.add(Duration::ZERO);
        histogram.add(Duration::from_secs(1 << 20));
        assert_eq!(histogram.count(), 2);
        assert!(histogram.quantiles().unwrap().p99 > 60.0);
    }
}
