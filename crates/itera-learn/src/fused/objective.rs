//! The loss of an adaptation: terms for each row of logits, weighed and summed.

use std::sync::Arc;

use pulp::Simd;

use super::{
    cross_entropy::{exponentials, ln, scaled},
    lanes::{Kernel, Vectors, dispatch},
};
use crate::host::{HostBackend, Operator};

/// Lower bound of `1 - p`, so that a certain token gives a finite loss.
const LEAST_COMPLEMENT: f32 = 1e-5;

/// The terms of one row; a weight of 0 leaves a term out.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Term {
    /// The token that the row predicts.
    pub target: u32,
    /// Weight of `-ln p`, with `p` the probability of the target.
    pub likelihood: f32,
    /// Weight of `-ln(1 - p)`.
    pub unlikelihood: f32,
    /// Weight of `KL(q || p)`, with `q` the reference's probabilities of all tokens.
    pub divergence: f32,
}

/// Sum over the rows of their terms.
///
/// # Shapes
/// Input: `logits [rows, vocab_size]`. Output: `[1]`, in nats.
#[derive(Clone, Debug)]
pub(crate) struct Objective {
    /// `[rows]`.
    pub terms: Arc<[Term]>,
    /// Logits of the reference, `[rows, vocab_size]`; empty if no row has a divergence.
    pub reference: Arc<[f32]>,
}

impl Operator<1> for Objective {
    /// The gradient.
    type Saved = Arc<Vec<f32>>;

    fn forward<B: HostBackend>(
        &self,
        [logits]: [&[f32]; 1],
    ) -> (Vec<f32>, Vec<usize>, Self::Saved) {
        let mut grad = vec![0.0; logits.len()];
        let total = dispatch(Sum {
            objective: self,
            logits,
            grad: &mut grad,
        });
        (vec![total as f32], vec![1], Arc::new(grad))
    }

    fn backward<B: HostBackend>(
        &self,
        _: [&[f32]; 1],
        saved: Self::Saved,
        grad: &[f32],
    ) -> [Vec<f32>; 1] {
        [scaled(saved, grad[0])]
    }
}

/// The sum.
struct Sum<'a> {
    objective: &'a Objective,
    logits: &'a [f32],   // [rows, vocab_size]
    grad: &'a mut [f32], // [rows, vocab_size]; becomes the gradient of the sum
}

impl Kernel for Sum<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) -> f64 {
        let Objective { terms, reference } = self.objective;
        let vocab_size = self.logits.len() / terms.len();
        let mut q = vec![0.0; vocab_size];
        let mut total = 0.0;
        let rows = self.logits.chunks_exact(vocab_size);
        let rows = rows.zip(self.grad.chunks_exact_mut(vocab_size));
        for (index, ((logits, grad), term)) in rows.zip(&terms[..]).enumerate() {
            if term.likelihood == 0.0 && term.unlikelihood == 0.0 && term.divergence == 0.0 {
                continue;
            }
            total += target_terms(v, logits, term, grad);
            if term.divergence != 0.0 {
                let reference = &reference[index * vocab_size..][..vocab_size];
                let pair = Divergence {
                    logits,
                    reference,
                    weight: term.divergence,
                };
                total += pair.add(v, grad, &mut q);
            }
        }
        total
    }
}

/// The terms of the target. With `p` the softmax and `t` the target,
/// `d(-ln p_t)/dz = p - 1_t` and `d(-ln(1 - p_t))/dz = p_t / (1 - p_t) (1_t - p)`.
#[inline(always)]
fn target_terms<S: Simd>(v: Vectors<S>, logits: &[f32], term: &Term, grad: &mut [f32]) -> f64 {
    let target = term.target as usize;
    let (_, sum) = exponentials(v, logits, grad);
    let p = grad[target] / sum;
    let complement = 1.0 - p;
    let complement = if complement < LEAST_COMPLEMENT {
        LEAST_COMPLEMENT
    } else {
        complement
    };
    let pull = term.likelihood - term.unlikelihood * p / complement;
    let scale = pull / sum;
    for value in grad.iter_mut() {
        *value *= scale;
    }
    grad[target] -= pull;
    let likelihood = f64::from(term.likelihood) * ln(p);
    let unlikelihood = f64::from(term.unlikelihood) * f64::from(complement).ln();
    -likelihood - unlikelihood
}

/// `weight KL(q || p)` of two rows of logits, `[vocab_size]`.
struct Divergence<'a> {
    /// Of `p`.
    logits: &'a [f32],
    /// Of `q`.
    reference: &'a [f32],
    weight: f32,
}

impl Divergence<'_> {
    /// The divergence; adds `weight (p - q)` to `grad`. `q` is scratch.
    #[inline(always)]
    fn add<S: Simd>(&self, v: Vectors<S>, grad: &mut [f32], q: &mut [f32]) -> f64 {
        let (q_max, q_sum) = exponentials(v, self.reference, q);
        for (grad, q) in grad.iter_mut().zip(&*q) {
            *grad -= self.weight * q / q_sum;
        }
        // The sum of q (r - z); then the logarithms of the two normalisers.
        let mut cross = 0.0_f64;
        for ((q, r), z) in q.iter().zip(self.reference).zip(self.logits) {
            cross += f64::from(q / q_sum * (r - z));
        }
        let (p_max, p_sum) = exponentials(v, self.logits, q);
        for (grad, p) in grad.iter_mut().zip(&*q) {
            *grad += self.weight * p / p_sum;
        }
        let log_normaliser = |max: f32, sum: f32| f64::from(max) + f64::from(sum).ln();
        let kl = cross - log_normaliser(q_max, q_sum) + log_normaliser(p_max, p_sum);
        f64::from(self.weight) * kl
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;

    const VOCABULARY: usize = 19;

    fn logits(seed: usize) -> Vec<f32> {
        let value = |i: usize| (((i * 7919 + seed * 104_729) % 1000) as f32 / 250.0) - 2.0;
        (0..3 * VOCABULARY).map(value).collect()
    }

    fn objective(term: Term) -> Objective {
        let other = Term { target: 3, ..term };
        Objective {
            terms: [term, Term::default(), other].into(),
            reference: logits(2).into(),
        }
    }

    /// The definition, in 64 bits and without care for speed.
    fn by_definition(objective: &Objective, logits: &[f64]) -> f64 {
        let softmax = |row: &[f64]| -> Vec<f64> {
            let sum: f64 = row.iter().map(|z| z.exp()).sum();
            row.iter().map(|z| z.exp() / sum).collect()
        };
        let reference: Vec<f64> = objective.reference.iter().map(|r| f64::from(*r)).collect();
        let rows = logits
            .chunks(VOCABULARY)
            .zip(reference.chunks(VOCABULARY))
            .zip(&objective.terms[..]);
        rows.map(|((row, reference), term)| {
            let (p, q) = (softmax(row), softmax(reference));
            let kl: f64 = p.iter().zip(&q).map(|(p, q)| q * (q / p).ln()).sum();
            let target = p[term.target as usize];
            f64::from(term.divergence) * kl
                - f64::from(term.likelihood) * target.ln()
                - f64::from(term.unlikelihood) * (1.0 - target).ln()
        })
        .sum()
    }

    #[test]
    fn every_term_is_its_definition_and_its_gradient_the_finite_difference() {
        for (likelihood, unlikelihood, divergence) in [
            (1.0, 0.0, 0.0),
            (0.0, 1.0, 0.0),
            (0.0, 0.0, 1.0),
            (0.3, 0.5, 0.7),
        ] {
            let objective = objective(Term {
                target: 11,
                likelihood,
                unlikelihood,
                divergence,
            });
            let values = logits(1);
            let (found, _, grad) = objective.forward::<Flex>([&values]);
            let wide: Vec<f64> = values.iter().map(|z| f64::from(*z)).collect();
            let expected = by_definition(&objective, &wide);
            assert!((f64::from(found[0]) - expected).abs() < 1e-5 * expected.abs().max(1.0));
            let [scaled] = objective.backward::<Flex>([&values], grad.clone(), &[2.0]);
            for i in 0..values.len() {
                let at = |delta: f64| {
                    let mut moved = wide.clone();
                    moved[i] += delta;
                    by_definition(&objective, &moved)
                };
                let slope = (at(1e-4) - at(-1e-4)) / 2e-4;
                assert!((f64::from(grad[i]) - slope).abs() < 1e-5, "logit {i}");
                assert_eq!(scaled[i].to_bits(), (2.0 * grad[i]).to_bits());
            }
        }
    }

    #[test]
    fn a_nan_logit_makes_the_loss_nan() {
        for (likelihood, unlikelihood, divergence) in
            [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
        {
            let term = Term {
                target: 11,
                likelihood,
                unlikelihood,
                divergence,
            };
            let mut values = logits(1);
            values[4] = f32::NAN;
            let (found, _, _) = objective(term).forward::<Flex>([&values]);
            assert!(found[0].is_nan(), "{term:?}");
        }
    }

    #[test]
    fn a_certain_token_has_a_finite_loss() {
        let mut values = logits(1);
        values[11] = 80.0;
        let objective = objective(Term {
            target: 11,
            unlikelihood: 1.0,
            ..Term::default()
        });
        let (found, _, grad) = objective.forward::<Flex>([&values]);
        assert!(found[0].is_finite() && found[0] > 5.0);
        assert!(grad.iter().all(|value| value.is_finite()));
    }
}
