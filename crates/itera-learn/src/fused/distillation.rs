//! The loss of distillation: cross-entropy and a divergence from stored predictions, in one pass.

use std::sync::Arc;

use pulp::Simd;

use super::{
    cross_entropy::{exponentials, ln, scaled},
    lanes::{self, Kernel, Vectors, dispatch},
};
use crate::{
    host::{HostBackend, Operator},
    predictions::{Likely, Predictions, rest},
};

/// `mean_i((1 - w) cross-entropy_i + w D_i)`, with `D` the Kullback-Leibler divergence of the model's
/// probabilities `p` from the predictions `q`, over the tokens that the predictions keep and the rest as
/// one: `D = sum_k q_k ln(q_k / p_k) + q_rest ln(q_rest / p_rest)`.
///
/// # Shapes
/// Input: `logits [rows, vocab_size]`. Output: `[1]`, in nats.
#[derive(Clone, Debug)]
pub(crate) struct Distilled {
    /// `[rows]`.
    pub targets: Arc<[u32]>,
    /// One for each row.
    pub predictions: Arc<Predictions>,
    /// `w`, above 0 and at most 1.
    pub weight: f32,
}

/// What the forward pass finds beside the loss.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// Gradient of the loss.
    grad: Arc<Vec<f32>>,
    /// Mean cross-entropy in nats.
    pub cross_entropy: f32,
}

impl Operator<1> for Distilled {
    type Saved = Found;

    fn forward<B: HostBackend>(
        &self,
        [logits]: [&[f32]; 1],
    ) -> (Vec<f32>, Vec<usize>, Self::Saved) {
        let rows = self.targets.len() as f64;
        let mut grad = vec![0.0; logits.len()];
        let [nll, divergence] = dispatch(Sums {
            operator: self,
            logits,
            grad: &mut grad,
        });
        let weight = f64::from(self.weight);
        let loss = ((1.0 - weight) * nll + weight * divergence) / rows;
        let found = Found {
            grad: Arc::new(grad),
            cross_entropy: (nll / rows) as f32,
        };
        (vec![loss as f32], vec![1], found)
    }

    fn backward<B: HostBackend>(
        &self,
        _: [&[f32]; 1],
        saved: Self::Saved,
        grad: &[f32],
    ) -> [Vec<f32>; 1] {
        [scaled(saved.grad, grad[0])]
    }
}

/// Sums over the rows: negative log-likelihood of the targets, and divergence.
struct Sums<'a> {
    operator: &'a Distilled,
    logits: &'a [f32],   // [rows, vocab_size]
    grad: &'a mut [f32], // [rows, vocab_size]; becomes the gradient of the loss
}

impl Kernel for Sums<'_> {
    type Output = [f64; 2];

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) -> [f64; 2] {
        let Distilled {
            targets,
            predictions,
            weight,
        } = self.operator;
        let vocab_size = self.logits.len() / targets.len();
        let share = 1.0 / targets.len() as f32;
        let weights = Weights {
            target: (1.0 - weight) * share,
            teacher: weight * share,
        };
        let mut kept = vec![0.0; predictions.kept()];
        let [mut nll, mut divergence] = [0.0; 2];
        let rows = self.logits.chunks_exact(vocab_size);
        let rows = rows.zip(self.grad.chunks_exact_mut(vocab_size));
        let asked = targets.iter().zip(predictions.rows());
        for ((logits, grad), (&target, likely)) in rows.zip(asked) {
            let (_, sum) = exponentials(v, logits, grad);
            nll -= ln(grad[target as usize] / sum);
            divergence += diverge(grad, sum, likely, weights, &mut kept);
            grad[target as usize] -= weights.target;
        }
        [nll, divergence]
    }
}

/// What the terms of a row weigh in the loss; they sum to the share of the row.
#[derive(Clone, Copy)]
struct Weights {
    target: f32,
    teacher: f32,
}

/// The divergence of a row from `likely`. `row` holds the exponentials of its logits, whose sum is `sum`,
/// and becomes the gradient but for the target: with `w` and `v` the weights of teacher and target, it is
/// `(v + w) p - w q` for a token that is kept, and `(v + w) p - w q_rest p / p_rest` for another.
/// `kept` is scratch.
#[inline(always)]
fn diverge(
    row: &mut [f32],
    sum: f32,
    likely: &[Likely],
    Weights { target, teacher }: Weights,
    kept: &mut [f32],
) -> f64 {
    for (kept, likely) in kept.iter_mut().zip(likely) {
        *kept = std::mem::take(&mut row[usize::from(likely.token)]);
    }
    // Summed, since little is left of 1 minus the others. It is 0 where all tokens are kept.
    let others = lanes::total(row);
    let q_rest = rest(likely);
    let share = (target + teacher) / sum;
    let scale = share - teacher * q_rest / others.max(f32::MIN_POSITIVE);
    for value in row.iter_mut() {
        *value *= scale;
    }
    let term = |q: f32, exponential: f32| f64::from(q) * (ln(q) - ln(exponential / sum));
    let mut divergence = term(q_rest, others);
    for (&kept, likely) in kept.iter().zip(likely) {
        let q = likely.probability();
        divergence += term(q, kept);
        row[usize::from(likely.token)] = kept * share - teacher * q;
    }
    divergence
}

/// Adds `weight softmax(logits)` to `sum`.
///
/// # Shapes
/// `logits`, `scratch`, `sum`: `[vocab_size]`.
pub(crate) fn add_softmax(logits: &[f32], weight: f32, scratch: &mut [f32], sum: &mut [f32]) {
    dispatch(AddSoftmax {
        logits,
        weight,
        scratch,
        sum,
    });
}

struct AddSoftmax<'a> {
    logits: &'a [f32],
    weight: f32,
    scratch: &'a mut [f32],
    sum: &'a mut [f32],
}

impl Kernel for AddSoftmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) {
        let (_, total) = exponentials(v, self.logits, self.scratch);
        let scale = self.weight / total;
        for (sum, value) in self.sum.iter_mut().zip(&*self.scratch) {
            *sum += scale * value;
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;
    use crate::predictions::keep;

    const ROWS: usize = 3;

    /// Logits of another kind for each seed, `[ROWS, vocab_size]`.
    fn logits(seed: usize, vocab_size: usize) -> Vec<f32> {
        let value = |i: usize| (((i * 7919 + seed * 104_729) % 1000) as f32 / 125.0) - 4.0;
        (0..ROWS * vocab_size).map(value).collect()
    }

    fn operator(vocab_size: usize, weight: f32) -> Distilled {
        let mut predictions = Predictions::new(ROWS, vocab_size);
        let (kept, logits) = (predictions.kept(), logits(2, vocab_size));
        let rows = predictions.entries_mut().chunks_exact_mut(kept);
        for (row, logits) in rows.zip(logits.chunks_exact(vocab_size)) {
            let mut probabilities = vec![0.0; vocab_size];
            add_softmax(logits, 1.0, &mut vec![0.0; vocab_size], &mut probabilities);
            keep(&probabilities, row);
        }
        Distilled {
            targets: [3, 0, 7].into(),
            predictions: predictions.into(),
            weight,
        }
    }

    fn softmax(row: &[f64]) -> Vec<f64> {
        let sum: f64 = row.iter().map(|z| z.exp()).sum();
        row.iter().map(|z| z.exp() / sum).collect()
    }

    /// The definition, in 64 bits and without care for speed.
    fn by_definition(operator: &Distilled, logits: &[f64]) -> f64 {
        let rows = logits.chunks(logits.len() / ROWS);
        let asked = operator.targets.iter().zip(operator.predictions.rows());
        let loss = rows.zip(asked).map(|(row, (&target, likely))| {
            let p = softmax(row);
            let mut parts = vec![(f64::from(rest(likely)), 1.0)];
            for likely in likely {
                let p = p[usize::from(likely.token)];
                parts.push((f64::from(likely.probability()), p));
                parts[0].1 -= p;
            }
            let parts = parts.into_iter().filter(|&(q, _)| q > 0.0);
            let divergence: f64 = parts.map(|(q, p)| q * (q / p).ln()).sum();
            let w = f64::from(operator.weight);
            w * divergence - (1.0 - w) * p[target as usize].ln()
        });
        loss.sum::<f64>() / ROWS as f64
    }

    #[test]
    fn the_loss_is_its_definition_and_its_gradient_the_finite_difference() {
        // A vocabulary with a rest, and one that is kept as a whole.
        for (vocab_size, weight) in [(37, 1.0), (37, 0.3), (11, 0.7)] {
            let operator = operator(vocab_size, weight);
            let values = logits(1, vocab_size);
            let (found, _, saved) = operator.forward::<Flex>([&values]);
            let wide: Vec<f64> = values.iter().map(|z| f64::from(*z)).collect();
            assert!((f64::from(found[0]) - by_definition(&operator, &wide)).abs() < 1e-5);
            let grad = Arc::clone(&saved.grad);
            let [scaled] = operator.backward::<Flex>([&values], saved, &[2.0]);
            for i in 0..values.len() {
                let at = |delta: f64| {
                    let mut moved = wide.clone();
                    moved[i] += delta;
                    by_definition(&operator, &moved)
                };
                let slope = (at(1e-4) - at(-1e-4)) / 2e-4;
                assert!((f64::from(grad[i]) - slope).abs() < 1e-5, "logit {i}");
                assert_eq!(scaled[i].to_bits(), (2.0 * grad[i]).to_bits());
            }
        }
    }

    #[test]
    fn where_all_tokens_are_kept_it_is_the_whole_divergence() {
        let vocab_size = 13;
        let (model, teacher) = (logits(1, vocab_size), logits(2, vocab_size));
        let (loss, _, _) = operator(vocab_size, 1.0).forward::<Flex>([&model]);
        let wide = |row: &[f32]| softmax(&row.iter().map(|z| f64::from(*z)).collect::<Vec<_>>());
        let rows = model.chunks(vocab_size).zip(teacher.chunks(vocab_size));
        let divergences = rows.map(|(model, teacher)| {
            let pairs = wide(model).into_iter().zip(wide(teacher));
            pairs.map(|(p, q)| q * (q / p).ln()).sum::<f64>()
        });
        let expected = divergences.sum::<f64>() / ROWS as f64;
        assert!((f64::from(loss[0]) - expected).abs() < 1e-3);
    }

    #[test]
    fn a_nan_logit_makes_the_loss_and_its_gradient_nan() {
        let mut values = logits(1, 37);
        values[40] = f32::NAN;
        let (loss, _, found) = operator(37, 0.5).forward::<Flex>([&values]);
        assert!(loss[0].is_nan() && found.cross_entropy.is_nan());
        assert!(found.grad[37..74].iter().all(|value| value.is_nan()));
        assert!(found.grad[..37].iter().all(|value| value.is_finite()));
    }

    #[test]
    fn a_rest_without_probability_has_a_finite_loss() {
        let operator = operator(37, 1.0);
        let mut values = logits(1, 37);
        for (row, likely) in values.chunks_mut(37).zip(operator.predictions.rows()) {
            row.fill(-900.0);
            for likely in likely {
                row[usize::from(likely.token)] = 1.0;
            }
        }
        let (loss, _, found) = operator.forward::<Flex>([&values]);
        assert!(loss[0].is_finite() && loss[0] > 0.0);
        assert!(found.grad.iter().all(|value| value.is_finite()));
    }
}
