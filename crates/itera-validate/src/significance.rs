//! Whether a difference of two models could be chance.

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

/// Random assignments of signs; the smallest p that can be found is about a hundredth of a percent.
const DRAWS: u64 = 9999;

/// Two-sided p of the sign-flip permutation test: how often documents whose differences had
/// random signs would sum to as much as these. No shape of the distribution is assumed.
pub(crate) fn sign_flip_p(differences: &[f64]) -> f64 {
    let found = differences.iter().sum::<f64>().abs();
    // Sums in another order differ in the last bits.
    let least = found * (1.0 - 1e-9);
    let mut rng = ChaCha8Rng::seed_from_u64(0);
    let mut as_large = 0;
    for _ in 0..DRAWS {
        let mut sum = 0.0;
        for differences in differences.chunks(64) {
            let signs = rng.next_u64();
            for (i, difference) in differences.iter().enumerate() {
                let is_negative = signs >> i & 1 == 1;
                sum += if is_negative {
                    -difference
                } else {
                    *difference
                };
            }
        }
        as_large += u64::from(sum.abs() >= least);
    }
    (as_large + 1) as f64 / (DRAWS + 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p_is_the_share_of_signs_that_give_as_much() {
        // All ten of one sign: 2 of 1,024 assignments.
        let p = sign_flip_p(&[1.0; 10]);
        assert!((p - 2.0 / 1024.0).abs() < 0.001, "{p}");
        // Half and half.
        let alternating: Vec<f64> = (0..10).map(|i| f64::from(i % 2) - 0.5).collect();
        assert!((sign_flip_p(&alternating) - 1.0).abs() < 1e-9);
        assert!((sign_flip_p(&[0.0; 10]) - 1.0).abs() < 1e-9);
        // Six of seven agree: |sum| of 5 or 7 in 16 of 128.
        let p = sign_flip_p(&[1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 1.0]);
        assert!((p - 0.125).abs() < 0.01, "{p}");
    }
}
