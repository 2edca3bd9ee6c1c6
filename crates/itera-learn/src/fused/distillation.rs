//! The loss of distillation: cross-entropies against the text and against stored predictions, in one pass.

use std::sync::Arc;

use pulp::Simd;

use super::{
    cross_entropy::{exponentials, ln, scaled},
    lanes::{Kernel, Vectors, dispatch},
};
use crate::{
    host::{HostBackend, Operator},
    predictions::{Likely, Predictions},
};

/// `mean_i(-(1 - w) ln p_i[target_i] - w sum_k q_ik ln p_ik)` with `p` the model's probabilities and `q` the shares of the
/// tokens that the predictions keep.
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
        let [nll, taught] = dispatch(Sums {
            operator: self,
            logits,
            grad: &mut grad,
        });
        let weight = f64::from(self.weight);
        let loss = ((1.0 - weight) * nll + weight * taught) / rows;
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

/// Sums over the rows: cross-entropy against the targets, and against the predictions.
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
        let [mut nll, mut taught] = [0.0; 2];
        let rows = self.logits.chunks_exact(vocab_size);
        let rows = rows.zip(self.grad.chunks_exact_mut(vocab_size));
        let asked = targets.iter().zip(predictions.rows());
        for ((logits, grad), (&target, likely)) in rows.zip(asked) {
            let (_, sum) = exponentials(v, logits, grad);
            nll -= ln(grad[target as usize] / sum);
            for likely in likely {
                taught += term(grad[usize::from(likely.token)] / sum, *likely);
            }
            for value in &mut *grad {
                *value *= share / sum;
            }
            grad[target as usize] -= (1.0 - weight) * share;
            for likely in likely {
                grad[usize::from(likely.token)] -= weight * share * likely.probability();
            }
        }
        [nll, taught]
    }
}

/// The part of a kept token of probability `p` in a cross-entropy, finite also where `p` is too small for a float.
fn term(p: f32, likely: Likely) -> f64 {
    let p = if p < f32::MIN_POSITIVE {
        f32::MIN_POSITIVE
    } else {
        p
    };
    -f64::from(likely.probability()) * ln(p)
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
            keep(&mut probabilities, 0.4, row);
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
            let part = |likely: &Likely| {
                -f64::from(likely.probability()) * p[usize::from(likely.token)].ln()
            };
            let taught: f64 = likely.iter().map(part).sum();
            let w = f64::from(operator.weight);
            w * taught - (1.0 - w) * p[target as usize].ln()
        });
        loss.sum::<f64>() / ROWS as f64
    }

    #[test]
    fn the_loss_is_its_definition_and_its_gradient_the_finite_difference() {
        // A vocabulary of which some tokens are drawn, and one that is kept as a whole.
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
    fn where_all_tokens_are_kept_it_is_the_whole_cross_entropy() {
        let vocab_size = 13;
        let (model, teacher) = (logits(1, vocab_size), logits(2, vocab_size));
        let (loss, _, _) = operator(vocab_size, 1.0).forward::<Flex>([&model]);
        let wide = |row: &[f32]| softmax(&row.iter().map(|z| f64::from(*z)).collect::<Vec<_>>());
        let rows = model.chunks(vocab_size).zip(teacher.chunks(vocab_size));
        let rows = rows.map(|(model, teacher)| {
            let pairs = wide(model).into_iter().zip(wide(teacher));
            pairs.map(|(p, q)| -q * p.ln()).sum::<f64>()
        });
        let expected = rows.sum::<f64>() / ROWS as f64;
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
    fn a_token_without_probability_has_a_finite_loss() {
        let operator = operator(37, 1.0);
        let mut values = logits(1, 37);
        for (row, likely) in values.chunks_mut(37).zip(operator.predictions.rows()) {
            row[usize::from(likely[0].token)] = -900.0;
        }
        let (loss, _, found) = operator.forward::<Flex>([&values]);
        assert!(loss[0].is_finite() && loss[0] > 10.0);
        assert!(found.grad.iter().all(|value| value.is_finite()));
    }
}
