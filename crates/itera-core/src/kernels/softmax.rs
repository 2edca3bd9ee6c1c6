//! The exponentials of sampling, in f64 and the same to the last bit with every kernel.

use super::{Op, double::exp_nonpositive, lanes::Lanes};

/// `weights = exp((logits - max) * inverse_temperature)`, which are the probabilities but for a
/// common factor; 0 for a NaN logit, which sampling never chooses.
///
/// The loop has neither branches nor calls, so that the compiler vectorises it with the
/// instructions of the kernel; it never fuses a multiplication with an addition by itself, so that
/// the results do not depend on these.
///
/// # Shapes
/// - `logits`, `weights`: `[n]`
pub(crate) struct SoftmaxWeights<'a> {
    pub(crate) logits: &'a [f32],
    pub(crate) max: f64,
    pub(crate) inverse_temperature: f64,
    pub(crate) weights: &'a mut [f64],
}

impl Op for SoftmaxWeights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, _: L) {
        for (weight, logit) in self.weights.iter_mut().zip(self.logits) {
            *weight = exp_nonpositive((f64::from(*logit) - self.max) * self.inverse_temperature);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Kernel;

    #[test]
    fn every_kernel_gives_the_same_bits() {
        let logits: Vec<f32> = (0..1_003)
            .map(|id| (id * 7919 % 1009) as f32 / 17.0 - 40.0)
            .chain([f32::NAN, f32::NEG_INFINITY, -1e30])
            .collect();
        let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let bits = |kernel: Kernel| {
            let mut weights = vec![0.0; logits.len()];
            kernel.run(SoftmaxWeights {
                logits: &logits,
                max: max.into(),
                inverse_temperature: 1.25,
                weights: &mut weights,
            });
            weights.into_iter().map(f64::to_bits).collect::<Vec<_>>()
        };
        let expected = bits(Kernel::scalar());
        for kernel in Kernel::available() {
            assert_eq!(bits(kernel), expected, "{kernel}");
        }
        assert_eq!(expected[1_003..], [0, 0, 0]);
    }
}
