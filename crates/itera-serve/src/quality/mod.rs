//! How well the model does in use, by texts that are scored as they come: what the served weights gain on what people
//! want (`sequence`), and whether prompts are still what they were (`drift`).

pub(crate) mod drift;
pub(crate) mod sequence;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use self::{
    drift::{Drift, Seen},
    sequence::Sequence,
};
use crate::metrics::Wanted;

/// Versions whose differences are remembered, the latest.
const VERSIONS: usize = 8;

/// Prompts are looked at no more often, so that it costs little under load.
const PAUSE: Duration = Duration::from_millis(100);

/// What was measured since the start, but for the reference of drift, which the database keeps.
#[derive(Debug, Default)]
pub(crate) struct Quality {
    differences: Mutex<VecDeque<Difference>>,
    drift: Mutex<Drift>,
    looked: Mutex<Option<Instant>>,
}

/// What a version changes on texts that people want: bits per byte by its weights less those by the weights of the
/// start, of each text.
#[derive(Clone, Debug)]
pub(crate) struct Difference {
    pub(crate) version: Arc<str>,
    of: [Sequence; Wanted::ALL.len()],
}

impl Difference {
    pub(crate) const fn of(&self, kind: Wanted) -> Sequence {
        self.of[kind as usize]
    }
}

impl Quality {
    /// A text that people want was scored while a version was served.
    pub(crate) fn note(&self, version: &Arc<str>, kind: Wanted, difference: f64) {
        let mut all = lock(&self.differences);
        let at = all.iter().position(|known| known.version == *version);
        let at = at.unwrap_or_else(|| {
            if all.len() == VERSIONS {
                all.pop_front();
            }
            all.push_back(Difference {
                version: Arc::clone(version),
                of: Default::default(),
            });
            all.len() - 1
        });
        all[at].of[kind as usize].add(difference);
    }

    /// The versions that texts were scored by, the latest last.
    pub(crate) fn differences(&self) -> Vec<Difference> {
        lock(&self.differences).iter().cloned().collect()
    }

    /// Whether it is time to look at a prompt again; if so, this counts as looked.
    pub(crate) fn looks(&self) -> bool {
        let mut looked = lock(&self.looked);
        let is_time = looked.is_none_or(|at| at.elapsed() >= PAUSE);
        if is_time {
            *looked = Some(Instant::now());
        }
        is_time
    }

    /// A prompt of so many bits per byte has come.
    pub(crate) fn prompt(&self, bits_per_byte: f64) -> Seen {
        lock(&self.drift).add(bits_per_byte)
    }

    /// Compares with a reference of an earlier time.
    pub(crate) fn resume(&self, reference: Vec<f64>) {
        *lock(&self.drift) = Drift::resume(reference);
    }

    pub(crate) fn drift(&self) -> Drift {
        lock(&self.drift).clone()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use rand_chacha::{
        ChaCha8Rng,
        rand_core::{Rng as _, SeedableRng as _},
    };

    use super::*;

    /// Random numbers of a seed.
    pub(super) struct Draw(ChaCha8Rng);

    impl Draw {
        pub(super) fn new(seed: u64) -> Self {
            Self(ChaCha8Rng::seed_from_u64(seed))
        }

        /// Above 0 and below 1.
        pub(super) fn uniform(&mut self) -> f64 {
            (f64::from(self.0.next_u32()) + 0.5) / 2_f64.powi(32)
        }

        /// Of mean 0 and variance 1 (Box and Muller).
        pub(super) fn normal(&mut self) -> f64 {
            let radius = (-2.0 * self.uniform().ln()).sqrt();
            radius * (std::f64::consts::TAU * self.uniform()).cos()
        }
    }

    #[test]
    fn differences_are_kept_by_version_and_kind() {
        let quality = Quality::default();
        let version = |number: usize| -> Arc<str> { number.to_string().into() };
        for number in 0..=VERSIONS {
            for _ in 0..40 {
                let step = number as f64;
                quality.note(&version(number), Wanted::Corrected, -step);
            }
        }
        let all = quality.differences();
        assert_eq!(all.len(), VERSIONS);
        assert_eq!(&*all[0].version, "1", "the first has made room");
        let last = all[VERSIONS - 1].of(Wanted::Corrected);
        assert_eq!(last.count(), 40);
        assert!((last.interval().unwrap().mean + VERSIONS as f64).abs() < 1e-12);
        assert_eq!(all[0].of(Wanted::Accepted).count(), 0);
    }

    #[test]
    fn prompts_are_not_all_looked_at() {
        let quality = Quality::default();
        assert!(quality.looks());
        assert!(!quality.looks());
    }
}
