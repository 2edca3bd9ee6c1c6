//! Predictions as integers, for an entropy coder.

use super::{
    Op,
    lanes::{Lanes, WIDTH},
    math::{abreast, exp, get, largest},
};

/// The frequency of the most likely token.
const LARGEST: f32 = (1 << 22) as f32;

/// Floats from here to twice as much are the whole numbers, and so are their bits but for what is added to all.
const WHOLE: f32 = (1 << 23) as f32;

/// `frequencies = exp(logits - max(logits))` in parts of 2^22, at least 1, so that any token can be coded.
///
/// Equal logits give equal frequencies on every kernel with a fused `fma`: no function of the system is called. A NaN
/// has the frequency 1.
///
/// # Shapes
/// - `logits`, `frequencies`: `[n]`
pub(crate) struct Frequencies<'a> {
    pub(crate) logits: &'a [f32],
    pub(crate) frequencies: &'a mut [u32],
}

impl Op for Frequencies<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, l: L) {
        let shift = l.splat(largest(self.logits));
        let (logits, frequencies) = (self.logits, self.frequencies);
        abreast!(frequencies.len(), WIDTH, |at| block::<L>(
            l,
            &logits[at..],
            shift,
            &mut frequencies[at..]
        ));
    }
}

/// The first `N` vectors of frequencies, or as many as there are.
#[inline(always)]
fn block<L: Lanes, const N: usize>(l: L, logits: &[f32], shift: L::F, frequencies: &mut [u32]) {
    let mut shifted = [shift; N];
    for i in 0..N {
        shifted[i] = l.sub(get(l, logits, i * WIDTH), shift);
    }
    let mut whole = [0.0; WIDTH];
    for (weights, to) in exp(l, shifted)
        .into_iter()
        .zip(frequencies.chunks_mut(WIDTH))
    {
        l.store(l.fma(weights, l.splat(LARGEST), l.splat(WHOLE)), &mut whole);
        let mut numbers = [1; WIDTH];
        for i in 0..WIDTH {
            // A NaN is not above.
            let is_above = whole[i] > WHOLE;
            numbers[i] = if is_above {
                whole[i].to_bits() - WHOLE.to_bits()
            } else {
                1
            };
        }
        match to.first_chunk_mut() {
            Some(to) => *to = numbers,
            None => to.copy_from_slice(&numbers[..to.len()]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Kernel;

    fn frequencies(kernel: Kernel, logits: &[f32]) -> Vec<u32> {
        let mut frequencies = vec![0; logits.len()];
        kernel.run(Frequencies {
            logits,
            frequencies: &mut frequencies,
        });
        frequencies
    }

    /// From likely to hopeless, and what no model should give.
    fn logits() -> Vec<f32> {
        let logits = (0..1_003).map(|id| (id * 7919 % 1009) as f32 / -27.0 + 11.0);
        logits.chain([f32::NAN, f32::NEG_INFINITY, -1e30]).collect()
    }

    #[test]
    fn frequencies_are_the_probabilities() {
        let logits = logits();
        let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        for kernel in Kernel::available() {
            let found = frequencies(kernel, &logits);
            assert_eq!(found.iter().max(), Some(&(1 << 22)), "{kernel}");
            for (logit, found) in logits.iter().zip(found) {
                let expected = f64::from(logit - largest).exp() * f64::from(LARGEST);
                let expected = if expected > 1.0 { expected } else { 1.0 };
                let error = (f64::from(found) - expected).abs();
                assert!(
                    error <= 1.0 + 1e-6 * expected,
                    "{kernel}: {logit}: {found}, {expected}"
                );
            }
        }
    }

    #[test]
    fn kernels_that_fuse_give_the_same_frequencies() {
        let logits = logits();
        let fused = Kernel::available().into_iter();
        let mut fused = fused.filter(|kernel| *kernel != Kernel::scalar());
        let Some(first) = fused.next() else { return };
        let expected = frequencies(first, &logits);
        for kernel in fused {
            assert_eq!(frequencies(kernel, &logits), expected, "{kernel}");
        }
    }

    #[test]
    fn logits_that_are_not_finite_leave_every_token_possible() {
        for kernel in Kernel::available() {
            for broken in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let found = frequencies(kernel, &[broken; 19]);
                assert!(
                    found.iter().all(|&frequency| frequency > 0),
                    "{kernel} {broken}"
                );
            }
        }
    }
}
