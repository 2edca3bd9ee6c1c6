//! Softmax cross-entropy, averaged over all rows.

use std::sync::Arc;

use pulp::Simd;

use super::lanes::{self, Kernel, Vectors, dispatch, load, store};
use crate::host::{HostBackend, Operator};

/// `mean_i(logsumexp(logits_i) - logits_i[target_i])`.
///
/// # Shapes
/// Input: `logits [rows, vocab_size]`. Output: `[1]`, in nats.
#[derive(Clone, Debug)]
pub(crate) struct CrossEntropy {
    /// `[rows]`.
    pub targets: Arc<[u32]>,
}

impl Operator<1> for CrossEntropy {
    /// `(softmax - one_hot) / rows`, the gradient of the mean.
    type Saved = Arc<Vec<f32>>;

    fn forward<B: HostBackend>(
        &self,
        [logits]: [&[f32]; 1],
    ) -> (Vec<f32>, Vec<usize>, Self::Saved) {
        let rows = self.targets.len();
        let mut grad = vec![0.0; logits.len()];
        let total = dispatch(Nll {
            logits,
            targets: &self.targets,
            grad: &mut grad,
        });
        (vec![(total / rows as f64) as f32], vec![1], Arc::new(grad))
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

/// The gradient that a forward pass has found, times that of its loss.
pub(super) fn scaled(gradient: Arc<Vec<f32>>, factor: f32) -> Vec<f32> {
    let mut values = Arc::unwrap_or_clone(gradient);
    if factor.to_bits() != 1.0_f32.to_bits() {
        for value in &mut values {
            *value *= factor;
        }
    }
    values
}

/// Sum over the rows of the negative log-likelihood in nats.
struct Nll<'a> {
    logits: &'a [f32],   // [rows, vocab_size]
    targets: &'a [u32],  // [rows]
    grad: &'a mut [f32], // [rows, vocab_size]; becomes the gradient of the mean
}

impl Kernel for Nll<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, v: Vectors<S>) -> f64 {
        let rows = self.targets.len();
        let vocab_size = self.logits.len() / rows;
        let pairs = self.logits.chunks_exact(vocab_size);
        let pairs = pairs.zip(self.grad.chunks_exact_mut(vocab_size));
        let mut total = 0.0_f64;
        for ((logits, grad), target) in pairs.zip(self.targets) {
            let (_, sum) = exponentials(v, logits, grad);
            total -= ln(grad[*target as usize] / sum);
            let scale = 1.0 / (sum * rows as f32);
            for value in grad.iter_mut() {
                *value *= scale;
            }
            grad[*target as usize] -= 1.0 / rows as f32;
        }
        total
    }
}

/// The logarithm of a probability, finite for 0; NaN stays NaN.
#[inline(always)]
pub(super) fn ln(p: f32) -> f64 {
    let p = if p < f32::MIN_POSITIVE {
        f32::MIN_POSITIVE
    } else {
        p
    };
    f64::from(p).ln()
}

/// `out = exp(logits - max)`; returns the maximum and the sum, NaN if a logit is NaN.
#[inline(always)]
pub(super) fn exponentials<S: Simd>(v: Vectors<S>, logits: &[f32], out: &mut [f32]) -> (f32, f32) {
    let mut max = [f32::NEG_INFINITY; lanes::WIDTH];
    let (blocks, tail) = logits.as_chunks::<{ lanes::WIDTH }>();
    for block in blocks {
        for (max, value) in max.iter_mut().zip(block) {
            *max = if *value > *max { *value } else { *max };
        }
    }
    let max = max
        .iter()
        .chain(tail)
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    for block in 0..logits.len().div_ceil(lanes::WIDTH) {
        let shifted = v.sub(load(logits, block), lanes::splat(max));
        store(v.exp(shifted), block, out);
    }
    (max, lanes::total(out))
}

#[cfg(test)]
mod tests {
    use burn::backend::Flex;

    use super::*;

    #[test]
    fn a_nan_logit_makes_the_loss_and_its_gradient_nan() {
        for broken in [0..1, 0..37, 36..37] {
            let mut logits = vec![0.25; 3 * 37];
            logits[37..74][broken].fill(f32::NAN);
            let operator = CrossEntropy {
                targets: [3, 5, 7].into(),
            };
            let (loss, _, grad) = operator.forward::<Flex>([&logits]);
            assert!(loss[0].is_nan(), "{loss:?}");
            assert!(grad[37..74].iter().all(|x| x.is_nan()), "{grad:?}");
            assert!(grad[..37].iter().all(|x| x.is_finite()), "{grad:?}");
        }
    }
}
