//! From logits to a token: greedy or seeded sampling, and log-probabilities for scoring.
//!
//! Equal logits and an equal seed give equal tokens on every machine: the generator is `ChaCha8`,
//! sums have a fixed order, and exponentials and logarithms come from additions and
//! multiplications, since the standard library's may differ in the last bit between platforms.

use alloc::vec::Vec;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use thiserror::Error;

use crate::kernels::{
    Kernel, SoftmaxWeights,
    double::{exp, ln},
};

/// Running maxima and sums side by side, which the compiler vectorises.
const ABREAST: usize = 16;

/// Weights that a draw passes over at once.
const BLOCK: usize = 64;

/// How tokens are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplingConfig {
    /// Logits are divided by this; 0 always takes the most probable token.
    pub temperature: f32,
    /// Draw from this many of the most probable tokens only; none for all of them.
    pub top_k: Option<usize>,
    /// Then draw from the fewest most probable tokens whose probabilities, at this temperature and
    /// among the top k, sum to at least this; none for all of them.
    pub top_p: Option<f32>,
    /// Chooses the sequence of draws.
    pub seed: u64,
}

impl Default for SamplingConfig {
    /// The model's own distribution, seed 0.
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_k: None,
            top_p: None,
            seed: 0,
        }
    }
}

/// Why a sampling config makes no sense.
#[derive(Clone, Copy, Debug, Error, PartialEq)]
pub enum SamplingError {
    /// Not a temperature.
    #[error("temperature is {0}, expected a finite number of at least 0 (0 is greedy)")]
    Temperature(f32),
    /// No token could be drawn.
    #[error("top-k is 0, expected at least 1; leave it out to draw from all tokens")]
    TopK,
    /// Not a probability, or one that leaves no token.
    #[error("top-p is {0}, expected a number above 0 and at most 1")]
    TopP(f32),
}

/// Draws tokens; holds the random generator and the buffers.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplingConfig,
    rng: ChaCha8Rng,
    kernel: Kernel,
    /// Probabilities times an unknown constant, of all tokens or of the candidates.
    weights: Vec<f64>,
    /// Used with top-k or top-p only.
    candidates: Vec<Candidate>,
}

/// A token that may be drawn.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    id: u32,
    logit: f32,
    /// Probability times an unknown constant.
    weight: f64,
}

impl Sampler {
    /// A sampler at the start of the sequence that `config.seed` chooses.
    ///
    /// # Errors
    /// The first field of `config` that is out of its range.
    pub fn new(config: SamplingConfig) -> Result<Self, SamplingError> {
        if !(config.temperature >= 0.0 && config.temperature.is_finite()) {
            return Err(SamplingError::Temperature(config.temperature));
        }
        if config.top_k == Some(0) {
            return Err(SamplingError::TopK);
        }
        if let Some(top_p) = config.top_p.filter(|&p| !(p > 0.0 && p <= 1.0)) {
            return Err(SamplingError::TopP(top_p));
        }
        // Written out, since `seed_from_u64` promises less about future versions.
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&config.seed.to_le_bytes());
        Ok(Self {
            config,
            rng: ChaCha8Rng::from_seed(seed),
            kernel: Kernel::best(),
            weights: Vec::new(),
            candidates: Vec::new(),
        })
    }

    /// The next token for `logits`, one per id. Ties are broken by the lower id; NaN is never
    /// chosen. Allocates nothing after the first draw from a vocabulary of this size.
    ///
    /// # Panics
    /// If `logits` is empty.
    pub fn sample(&mut self, logits: &[f32]) -> u32 {
        let greedy = argmax(logits);
        let max = logits[greedy as usize];
        // With an infinite or NaN maximum there is no distribution to draw from.
        if self.config.temperature == 0.0 || !max.is_finite() {
            return greedy;
        }
        self.weights.resize(logits.len(), 0.0);
        self.kernel.run(SoftmaxWeights {
            logits,
            max: max.into(),
            inverse_temperature: f64::from(self.config.temperature).recip(),
            weights: &mut self.weights,
        });
        // 53 random bits: uniform in [0, 1).
        let uniform = (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        if self.config.top_k.is_none() && self.config.top_p.is_none() {
            return draw(&self.weights, uniform) as u32;
        }
        self.gather(logits);
        self.truncate();
        self.weights.clear();
        self.weights
            .extend(self.candidates.iter().map(|candidate| candidate.weight));
        self.candidates[draw(&self.weights, uniform)].id
    }

    /// Fills the candidates with all tokens.
    fn gather(&mut self, logits: &[f32]) {
        let tokens = (0..).zip(logits).zip(&self.weights);
        self.candidates.clear();
        self.candidates.reserve(logits.len());
        self.candidates.extend(
            tokens
                .filter(|((_, logit), _)| !logit.is_nan())
                .map(|((id, &logit), &weight)| Candidate { id, logit, weight }),
        );
    }

    /// Drops the candidates that top-k and then top-p exclude.
    fn truncate(&mut self) {
        // Most probable first; adding zero makes -0.0 equal to 0.0.
        let order = |a: &Candidate, b: &Candidate| {
            (b.logit + 0.0)
                .total_cmp(&(a.logit + 0.0))
                .then(a.id.cmp(&b.id))
        };
        let candidates = &mut self.candidates;
        if let Some(top_k) = self.config.top_k.filter(|&k| k < candidates.len()) {
            candidates.select_nth_unstable_by(top_k, order);
            candidates.truncate(top_k);
        }
        // The order also fixes the order of the sums, which `select_nth` leaves open.
        candidates.sort_unstable_by(order);
        if let Some(top_p) = self.config.top_p {
            let total: f64 = candidates.iter().map(|candidate| candidate.weight).sum();
            let mut below = f64::from(top_p) * total;
            let last = candidates.iter().position(|candidate| {
                below -= candidate.weight;
                below <= 0.0
            });
            candidates.truncate(last.map_or(candidates.len(), |last| last + 1));
        }
    }
}

/// The index that `uniform`, in [0, 1), falls on if each has a share in proportion to its weight. An index
/// without weight is never drawn, unless none has any.
fn draw(weights: &[f64], uniform: f64) -> usize {
    let total: f64 = weights.chunks(BLOCK).map(sum).sum();
    let mut rest = uniform * total;
    for (block, weights) in weights.chunks(BLOCK).enumerate() {
        let within = sum(weights);
        if within <= rest {
            rest -= within;
            continue;
        }
        let mut chosen = None;
        for (at, weight) in weights.iter().enumerate().filter(|(_, w)| **w > 0.0) {
            chosen = Some(block * BLOCK + at);
            rest -= weight;
            if rest < 0.0 {
                break;
            }
        }
        return chosen.unwrap_or_default();
    }
    // Rounding has left something at the end.
    weights.iter().rposition(|w| *w > 0.0).unwrap_or_default()
}

/// The sum of weights in an order of its own.
fn sum(weights: &[f64]) -> f64 {
    let (rows, rest) = weights.as_chunks::<ABREAST>();
    let mut sums = [0.0; ABREAST];
    for row in rows {
        for (sum, weight) in sums.iter_mut().zip(row) {
            *sum += weight;
        }
    }
    sums.iter().chain(rest).sum()
}

/// Index of the largest logit; the first of equal ones, the first of all if there are only NaN.
///
/// # Panics
/// If `logits` is empty.
pub fn argmax(logits: &[f32]) -> u32 {
    assert!(!logits.is_empty(), "no logits to choose from");
    // A comparison with NaN is false, so that none becomes the largest.
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let (rows, rest) = logits.as_chunks::<ABREAST>();
    let mut largest = [f32::NEG_INFINITY; ABREAST];
    for row in rows {
        for (largest, logit) in largest.iter_mut().zip(row) {
            *largest = larger(*largest, *logit);
        }
    }
    let max = largest
        .iter()
        .chain(rest)
        .fold(f32::NEG_INFINITY, |a, b| larger(a, *b));
    let first = logits.iter().position(|logit| *logit >= max);
    first.unwrap_or_default() as u32
}

/// Natural logarithm of the probability that `softmax(logits)` gives to `index`, summed in f64 in
/// the order of the ids. NaN if a logit is NaN or the largest is infinite.
///
/// # Panics
/// If `index` is out of range.
pub fn log_softmax_at(logits: &[f32], index: usize) -> f64 {
    let max = f64::from(logits.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    let sum: f64 = logits
        .iter()
        .map(|&logit| f64::from(logit) - max)
        // Too small to count; NaN goes on.
        .map(|x| if x < -708.0 { 0.0 } else { exp(x) })
        .sum();
    f64::from(logits[index]) - max - ln(sum)
}
