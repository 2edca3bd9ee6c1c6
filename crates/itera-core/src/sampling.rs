//! From logits to a token: greedy or seeded sampling, and log-probabilities for scoring.
//!
//! Equal logits and an equal seed give equal tokens on every machine: the generator is `ChaCha8`,
//! and sampling computes the exponential here from additions and multiplications, since that of
//! the standard library may differ in the last bit between platforms. Scoring uses the latter, which
//! is faster.

use std::f64::consts::LOG2_E;

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use thiserror::Error;

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
            candidates: Vec::new(),
        })
    }

    /// The next token for `logits`, one per id. Ties are broken by the lower id; NaN is never
    /// chosen. Allocates nothing after the first call with a vocabulary of this size.
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
        self.weigh(logits, max);
        self.truncate();
        self.draw()
    }

    /// Fills the candidates with all tokens.
    fn weigh(&mut self, logits: &[f32], max: f32) {
        let (max, temperature) = (f64::from(max), f64::from(self.config.temperature));
        self.candidates.clear();
        self.candidates
            .extend(
                (0..)
                    .zip(logits)
                    .filter(|(_, logit)| !logit.is_nan())
                    .map(|(id, &logit)| {
                        let weight = exp_nonpositive((f64::from(logit) - max) / temperature);
                        Candidate { id, logit, weight }
                    }),
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
        if self.config.top_k.is_some() || self.config.top_p.is_some() {
            candidates.sort_unstable_by(order);
        }
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

    /// One of the candidates, with probability proportional to its weight.
    fn draw(&mut self) -> u32 {
        let total: f64 = self
            .candidates
            .iter()
            .map(|candidate| candidate.weight)
            .sum();
        // 53 random bits: uniform in [0, 1).
        let uniform = (self.rng.next_u64() >> 11) as f64 / (1_u64 << 53) as f64;
        let mut rest = uniform * total;
        let mut chosen = 0;
        for candidate in self
            .candidates
            .iter()
            .filter(|candidate| candidate.weight > 0.0)
        {
            chosen = candidate.id;
            rest -= candidate.weight;
            if rest < 0.0 {
                break;
            }
        }
        chosen
    }
}

/// Index of the largest logit; the first of equal ones, the first of all if there are only NaN.
///
/// # Panics
/// If `logits` is empty.
pub fn argmax(logits: &[f32]) -> u32 {
    assert!(!logits.is_empty(), "no logits to choose from");
    let mut best = 0;
    for (id, &logit) in logits.iter().enumerate() {
        if logit > logits[best] || (logits[best].is_nan() && !logit.is_nan()) {
            best = id;
        }
    }
    best as u32
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
        .map(|&logit| (f64::from(logit) - max).exp())
        .sum();
    f64::from(logits[index]) - max - sum.ln()
}

/// `exp(x)` for `x <= 0`, within 4e-16 of the true value relatively; 0 below -708, where results
/// would leave the normal numbers.
///
/// `exp(x) = 2^k exp(r)` with `|r| <= ln 2 / 2`, and Taylor's polynomial for the latter.
fn exp_nonpositive(x: f64) -> f64 {
    // ln 2 in two parts; products of the high one with `k` are exact.
    const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN_2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    if x < -708.0 {
        return 0.0;
    }
    let k = (x * LOG2_E).round_ties_even();
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let polynomial = TAYLOR
        .iter()
        .rev()
        .fold(0.0, |sum, coefficient| sum * r + coefficient);
    polynomial * f64::from_bits(((k as i64 + 1023) as u64) << 52)
}

/// `1 / n!`; the first term left out is below 1e-17 for `|r| <= ln 2 / 2`.
const TAYLOR: [f64; 14] = {
    let mut coefficients = [1.0; 14];
    let mut factorial = 1.0;
    let mut n = 1;
    while n < coefficients.len() {
        factorial *= n as f64;
        coefficients[n] = 1.0 / factorial;
        n += 1;
    }
    coefficients
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exponential_is_that_of_std_to_the_last_bits() {
        for step in 0..70_800 {
            let x = -f64::from(step) / 100.0;
            let (found, expected) = (exp_nonpositive(x), x.exp());
            assert!(
                (found - expected).abs() <= 4e-16 * expected,
                "exp({x}): {found}, {expected}"
            );
        }
        assert_eq!(exp_nonpositive(0.0).to_bits(), 1.0_f64.to_bits());
        assert_eq!(
            exp_nonpositive(f64::NEG_INFINITY).to_bits(),
            0.0_f64.to_bits()
        );
        assert!(exp_nonpositive(f64::NAN).is_nan());
    }
}
