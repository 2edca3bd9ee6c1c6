//! Adaptive mixing: beside the model, n-grams of what was read so far predict the next token.
//!
//! A text repeats its names and phrases, which a model whose weights stay learns from its state alone. The counts of the
//! document so far know them. With contexts `c_0` (none), `c_1` (the last token) up to `c_4`, of which the first `L + 1` were
//! seen before, and `n` for counts:
//!
//! ```text
//! q_-1(t) = p(t), the model's
//! q_k(t)  = (max(n(c_k t) - d, 0) + d |{t': n(c_k t') > 0}| q_k-1(t)) / n(c_k)
//! mixed   = (1 - w_L) p(t) + w_L q_L(t)
//! w_L    += h (w_L q_L(t) / mixed - w_L), once t is known
//! ```
//!
//! `q` is interpolated absolute discounting (Ney, Essen and Kneser 1994) as in PPM (Cleary and Witten 1984), which ends with the
//! model in place of equal shares; the weights learn by expectation maximisation, a step for each token. Whatever the
//! counts, the probabilities of all tokens sum to one, since neither `w_L` nor a count depends on the token that comes.

use std::{collections::HashMap, mem};

use anyhow::ensure;
use itera_record::MixProtocol;

use crate::{
    args::ScoreArgs,
    engine::{Engine, Session},
};

/// Tokens of the longest context. This and the next three were chosen on the valid split of WikiText-2.
const ORDER: usize = 4;

/// What each count is less for a token that was not seen.
const DISCOUNT: f64 = 0.6;

/// Weight of the n-grams at the beginning.
const FIRST_WEIGHT: f64 = 0.15;

/// Share that a token has in a weight, once many were read.
const RATE: f64 = 0.005;

/// Tokens before these count for the first share of a token in a weight.
const PRIOR_TOKENS: f64 = 20.0;

/// Bounds of a weight, so that it always learns.
const LEAST_WEIGHT: f64 = 0.001;

/// Tokens after which all begins anew, as in `PPMd` where its memory is full: about 300 MB.
const MOST_TOKENS: usize = 1 << 20;

/// A probability below `exp(-MOST_NATS)` is taken to be that.
const MOST_NATS: f64 = 600.0;

/// The protocol by the arguments; `None` for the model alone.
pub(crate) fn protocol(args: &ScoreArgs) -> anyhow::Result<Option<MixProtocol>> {
    if !args.mix {
        return Ok(None);
    }
    ensure!(
        args.reference.is_none(),
        "`--reference` compares predictions of the model alone; leave it out with `--mix`"
    );
    ensure!(
        !args.asks_for_windows(),
        "`--mix` reads a text once, in order; use `--protocol document` or `--protocol stream`"
    );
    Ok(Some(MixProtocol {
        method: "adaptive_mix".to_owned(),
        order: ORDER as u64,
        discount: DISCOUNT,
        first_weight: FIRST_WEIGHT,
        rate: RATE,
        most_tokens: MOST_TOKENS as u64,
    }))
}

/// An engine whose sessions mix n-grams in.
pub(crate) struct Mixed(pub(crate) Box<dyn Engine + Send>);

impl Engine for Mixed {
    fn name(&self) -> &'static str {
        self.0.name()
    }

    fn kernel(&self) -> Option<itera_core::kernels::Kernel> {
        self.0.kernel()
    }

    fn session(&self) -> anyhow::Result<Box<dyn Session + '_>> {
        Ok(Box::new(MixedSession {
            model: self.0.session()?,
            mix: Mix::default(),
            model_nats: 0.0,
        }))
    }
}

struct MixedSession<'a> {
    model: Box<dyn Session + 'a>,
    mix: Mix,
    /// What the model alone makes of the tokens.
    model_nats: f64,
}

impl Session for MixedSession<'_> {
    fn reset(&mut self) {
        self.model.reset();
        self.mix = Mix::default();
    }

    fn score(&mut self, context: u32, tokens: &[u32]) -> Vec<f64> {
        let mut nats = self.model.score(context, tokens);
        for (nats, token) in nats.iter_mut().zip(tokens) {
            self.model_nats += *nats;
            *nats = self.mix.read(*token, *nats);
        }
        nats
    }

    fn read(&mut self, context: u32, tokens: &[u32]) {
        self.model.read(context, tokens);
        for token in tokens {
            self.mix.learn(*token as u16);
        }
    }

    /// Where the weights move too, those that stay are compared with.
    fn take_static_nats(&mut self) -> Option<f64> {
        let of_model = mem::take(&mut self.model_nats);
        self.model.take_static_nats().or(Some(of_model))
    }
}

/// The counts of what was read, and the weights of the mixture.
#[derive(Default)]
struct Mix {
    /// The last tokens, 16 bits each, the last one lowest.
    history: u64,
    /// How many were read, as far as it matters.
    tokens: usize,
    orders: [Counts; ORDER + 1],
    /// By the number of contexts that were seen before.
    weights: [Weight; ORDER + 2],
}

/// Contexts of one length.
#[derive(Default)]
struct Counts {
    /// How often each context was read, and with how many tokens after it.
    contexts: HashMap<u64, (u32, u32)>,
    /// How often each token was read after its context.
    tokens: HashMap<(u64, u16), u32>,
}

/// The weight of the n-grams where as many contexts were seen before.
struct Weight {
    value: f64,
    updates: f64,
}

impl Default for Weight {
    fn default() -> Self {
        Self {
            value: FIRST_WEIGHT,
            updates: 0.0,
        }
    }
}

impl Mix {
    /// The last `order` tokens.
    fn context(&self, order: usize) -> u64 {
        self.history & (!0_u64).checked_shr(64 - 16 * order as u32).unwrap_or(0)
    }

    /// How likely the n-grams hold `token` as a multiple of the probability that the model gives it, and how many contexts
    /// were seen before.
    fn ratio(&self, token: u16, model: f64) -> (f64, usize) {
        let mut ratio = 1.0;
        for (order, counts) in self.orders.iter().enumerate() {
            let context = self.context(order);
            let known = counts.contexts.get(&context);
            let Some(&(total, distinct)) = known.filter(|_| order <= self.tokens) else {
                return (ratio, order);
            };
            let count = counts.tokens.get(&(context, token)).copied().unwrap_or(0);
            let seen = (f64::from(count) - DISCOUNT).max(0.0) / model;
            ratio = (seen + DISCOUNT * f64::from(distinct) * ratio) / f64::from(total);
        }
        (ratio, ORDER + 1)
    }

    /// The nats of `token`, whose nats by the model are given; then learns from it.
    fn read(&mut self, token: u32, nats: f64) -> f64 {
        let token = token as u16;
        let (ratio, seen) = self.ratio(token, (-nats.min(MOST_NATS)).exp());
        let weight = &mut self.weights[seen];
        let of_model = 1.0 - weight.value + weight.value * ratio;
        weight.updates += 1.0;
        let share = (1.0 / (weight.updates + PRIOR_TOKENS)).max(RATE);
        let value = weight.value + share * (weight.value * ratio / of_model - weight.value);
        weight.value = value.clamp(LEAST_WEIGHT, 1.0 - LEAST_WEIGHT);
        self.learn(token);
        nats - of_model.ln()
    }

    fn learn(&mut self, token: u16) {
        if self.tokens == MOST_TOKENS {
            *self = Self::default();
        }
        for order in 0..=ORDER.min(self.tokens) {
            let context = self.context(order);
            let counts = &mut self.orders[order];
            let count = counts.tokens.entry((context, token)).or_default();
            let (total, distinct) = counts.contexts.entry(context).or_default();
            *distinct += u32::from(*count == 0);
            *total += 1;
            *count += 1;
        }
        self.history = self.history << 16 | u64::from(token);
        self.tokens += 1;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VOCABULARY: u16 = 7;

    /// A distribution over the vocabulary that depends on what was read.
    fn model(tokens: &[u16]) -> Vec<f64> {
        let last = tokens.last().copied().unwrap_or(0);
        let weights: Vec<f64> = (0..VOCABULARY)
            .map(|token| f64::from((token * 31 + last * 17) % 23 + 1))
            .collect();
        let sum: f64 = weights.iter().sum();
        weights.iter().map(|weight| weight / sum).collect()
    }

    proptest! {
        #[test]
        fn probabilities_sum_to_one(tokens in prop::collection::vec(0..VOCABULARY, 0..200)) {
            let mut mix = Mix::default();
            for (at, token) in tokens.iter().enumerate() {
                let model = model(&tokens[..at]);
                let of = |token: u16| {
                    let p = model[usize::from(token)];
                    let (ratio, seen) = mix.ratio(token, p);
                    let weight = mix.weights[seen].value;
                    p * (1.0 - weight + weight * ratio)
                };
                let sum: f64 = (0..VOCABULARY).map(of).sum();
                prop_assert!((sum - 1.0).abs() < 1e-12, "{sum}");
                let expected = of(*token);
                let nats = mix.read((*token).into(), -model[usize::from(*token)].ln());
                prop_assert!((nats + expected.ln()).abs() < 1e-9);
            }
        }
    }

    #[test]
    fn counts_are_discounted_down_to_the_model() {
        let mut mix = Mix::default();
        // "a b a b a": after "a" came "b" twice.
        for token in [1, 2, 1, 2, 1] {
            mix.read(token, 2.0);
        }
        let p = 0.1;
        let (ratio, seen) = mix.ratio(2, p);
        let q = |count: f64, distinct: f64, total: f64, below: f64| {
            (count - DISCOUNT + DISCOUNT * distinct * below) / total
        };
        let q0 = q(2.0, 2.0, 5.0, p);
        let q1 = q(2.0, 1.0, 2.0, q0);
        let q2 = q(1.0, 1.0, 1.0, q1);
        let q3 = q(1.0, 1.0, 1.0, q2);
        assert_eq!(seen, 4);
        assert!((ratio * p - q3).abs() < 1e-12, "{} {q3}", ratio * p);
    }

    #[test]
    fn what_repeats_becomes_likely_and_the_impossible_stays_finite() {
        let mut mix = Mix::default();
        let mut total = 0.0;
        for at in 0..400 {
            total += mix.read(at % 5, 3.0);
        }
        assert!(total < 0.2 * 400.0 * 3.0, "{total}");
        for _ in 0..5 {
            let nats = mix.read(6, 1e4);
            assert!(nats.is_finite() && nats > 0.0, "{nats}");
        }
    }

    #[test]
    fn memory_has_a_bound() {
        let mut mix = Mix {
            tokens: MOST_TOKENS,
            ..Mix::default()
        };
        mix.read(1, 1.0);
        assert_eq!(mix.tokens, 1);
    }
}
