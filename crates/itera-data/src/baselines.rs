//! What a guess costs that has learned nothing, in the same unit as every result: bits per byte.

/// Bits per byte of a model that gives each of `vocab_size` tokens the same probability, on a text
/// of `n_bytes` bytes that is `n_tokens` tokens long. A trained model above this is worse than
/// chance.
pub fn uniform_bits_per_byte(n_tokens: u64, vocab_size: usize, n_bytes: u64) -> f64 {
    n_tokens as f64 * (vocab_size as f64).log2() / n_bytes as f64
}

/// Bits per byte of a model that knows how frequent each token is and nothing else, on a text of
/// `n_bytes` bytes with these `frequencies`.
///
/// The frequencies are those of the tokens of this very text, so the figure is the entropy of the text's own
/// unigram distribution: the lowest that any unigram model can reach on it, not the figure of one
/// fitted on training text.
pub fn unigram_bits_per_byte(frequencies: &[u64], n_bytes: u64) -> f64 {
    let total = frequencies.iter().sum::<u64>() as f64;
    let bits: f64 = frequencies
        .iter()
        .filter(|&&count| count > 0)
        .map(|&count| count as f64 * (total / count as f64).log2())
        .sum();
    bits / n_bytes as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_agree_with_hand_calculation() {
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(uniform_bits_per_byte(10, 256, 10), 8.0);
        close(uniform_bits_per_byte(10, 256, 20), 4.0);
        // Three quarters and one quarter: 0.8113 bits a token.
        let entropy = 0.75 * (4.0_f64 / 3.0).log2() + 0.25 * 2.0;
        close(unigram_bits_per_byte(&[0, 3, 1], 4), entropy);
        close(unigram_bits_per_byte(&[0, 3, 0, 1], 8), entropy / 2.0);
        close(unigram_bits_per_byte(&[2], 2), 0.0);
    }

    #[test]
    fn equal_frequencies_cost_as_much_as_uniform() {
        let difference =
            unigram_bits_per_byte(&[1; 512], 1000) - uniform_bits_per_byte(512, 512, 1000);
        assert!(difference.abs() < 1e-12);
    }
}
