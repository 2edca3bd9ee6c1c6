//! The exponentials of sampling, in f64 and the same to the last bit with every kernel.

use std::f64::consts::LOG2_E;

use super::{Op, lanes::Lanes};

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

/// `exp(x)` for `x <= 0`, within 4e-16 of the true value relatively; 0 below -708, where results
/// would leave the normal numbers, and for NaN.
///
/// `exp(x) = 2^k exp(r)` with `|r| <= ln 2 / 2`, and Taylor's polynomial for the latter.
#[inline(always)]
fn exp_nonpositive(x: f64) -> f64 {
    // ln 2 in two parts; products of the high one with `k` are exact.
    const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
    const LN_2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
    // 1.5 * 2^52: adding it rounds to an integer, ties to even, which then stands in the low bits.
    const ROUND: f64 = 6_755_399_441_055_744.0;
    const EXPONENT_BIAS: u64 = 1023;
    let shifted = x * LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * LN_2_HIGH) - k * LN_2_LOW;
    let mut polynomial = 0.0;
    for n in (0..TAYLOR.len()).rev() {
        polynomial = polynomial * r + TAYLOR[n];
    }
    let power = f64::from_bits(shifted.to_bits().wrapping_add(EXPONENT_BIAS) << 52);
    if x >= -708.0 { polynomial * power } else { 0.0 }
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
    use crate::kernels::Kernel;

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
        assert_eq!(exp_nonpositive(f64::NAN).to_bits(), 0.0_f64.to_bits());
    }

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
