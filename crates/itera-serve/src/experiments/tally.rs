//! What this server has counted of an arm, for `/metrics`.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::metrics::{Histogram, Wanted};

/// Counts of an arm.
#[derive(Debug)]
pub(crate) struct Tally {
    /// Durations of answers.
    pub(crate) latency: Histogram,
    failures: AtomicU64,
    /// Verdicts that are not negative, and that are.
    verdicts: [AtomicU64; 2],
    scored: Mutex<[Scored; Wanted::ALL.len()]>,
}

/// Texts that people want, scored by the arm.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Scored {
    pub(crate) bytes: f64,
    pub(crate) nats: f64,
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            latency: Histogram::new(),
            failures: AtomicU64::new(0),
            verdicts: Default::default(),
            scored: Mutex::default(),
        }
    }
}

impl Tally {
    pub(crate) fn count_answer(&self, total: Duration) {
        self.latency.add(total);
    }

    /// An answer failed inside the server, or was given up before its end.
    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    pub(crate) fn count_verdict(&self, is_negative: bool) {
        self.verdicts[usize::from(is_negative)].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn verdicts(&self, is_negative: bool) -> u64 {
        self.verdicts[usize::from(is_negative)].load(Ordering::Relaxed)
    }

    pub(crate) fn count_scored(&self, kind: Wanted, bytes: usize, nats: f64) {
        let mut scored = self.scored.lock().unwrap_or_else(PoisonError::into_inner);
        let scored = &mut scored[kind as usize];
        scored.bytes += bytes as f64;
        scored.nats += nats;
    }

    pub(crate) fn scored(&self, kind: Wanted) -> Scored {
        self.scored.lock().unwrap_or_else(PoisonError::into_inner)[kind as usize]
    }
}
