//! The figures that follow from a likelihood and the sizes of the text.

use anyhow::ensure;
use itera_core::model::bits_per_byte;

/// Sizes of the text that was scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) bytes: u64,
    pub(crate) chars: u64,
    pub(crate) words: u64,
    pub(crate) tokens: u64,
}

/// Likelihood per unit of text, as every tool names it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Metrics {
    pub(crate) bits_per_byte: f64,
    pub(crate) byte_perplexity: f64,
    pub(crate) char_perplexity: f64,
    /// None without words, or where it is beyond 64-bit floats: a text may be one long word.
    pub(crate) word_perplexity: Option<f64>,
    pub(crate) token_perplexity: f64,
}

impl Metrics {
    /// The metrics of a text with this negative log-likelihood in total. Asserts that
    /// 2^`bits_per_byte` is the byte perplexity, the identity that a slip by ln 2 would break.
    pub(crate) fn new(nll_nats: f64, sizes: Sizes) -> anyhow::Result<Self> {
        let perplexity = |count: u64| (nll_nats / count as f64).exp();
        let word_perplexity = perplexity(sizes.words);
        let metrics = Self {
            bits_per_byte: bits_per_byte(nll_nats, sizes.bytes as f64),
            byte_perplexity: perplexity(sizes.bytes),
            char_perplexity: perplexity(sizes.chars),
            word_perplexity: word_perplexity.is_finite().then_some(word_perplexity),
            token_perplexity: perplexity(sizes.tokens),
        };
        for perplexity in [
            metrics.byte_perplexity,
            metrics.char_perplexity,
            metrics.token_perplexity,
        ] {
            ensure!(
                perplexity.is_finite(),
                "a perplexity is {perplexity} at a negative log-likelihood of {nll_nats} nats for \
                 {} bytes; the weights are finite but no language model",
                sizes.bytes
            );
        }
        let difference = metrics.bits_per_byte.exp2() - metrics.byte_perplexity;
        ensure!(
            difference.abs() <= 1e-9 * metrics.byte_perplexity,
            "2^bits_per_byte differs from byte_perplexity by {difference}, a fault of this program"
        );
        Ok(metrics)
    }
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_2;

    use super::*;

    const SIZES: Sizes = Sizes {
        bytes: 100,
        chars: 80,
        words: 20,
        tokens: 50,
    };

    #[test]
    fn figures_agree_with_hand_calculation() {
        // One bit a byte.
        let metrics = Metrics::new(100.0 * LN_2, SIZES).unwrap();
        let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-12, "{a} {b}");
        close(metrics.bits_per_byte, 1.0);
        close(metrics.byte_perplexity, 2.0);
        close(metrics.char_perplexity, 2.0_f64.powf(1.25));
        close(metrics.word_perplexity.unwrap(), 32.0);
        close(metrics.token_perplexity, 4.0);
    }

    #[test]
    fn two_to_the_bits_per_byte_is_the_byte_perplexity() {
        for nll_nats in [0.0, 1e-9, 0.3, 77.7, 1234.5, 6000.0] {
            let metrics = Metrics::new(nll_nats, Sizes { words: 0, ..SIZES }).unwrap();
            let ratio = metrics.bits_per_byte.exp2() / metrics.byte_perplexity;
            assert!((ratio - 1.0).abs() < 1e-9, "{nll_nats} {ratio}");
        }
    }

    #[test]
    fn what_floats_cannot_hold_is_none_or_refused() {
        let one_word = Sizes { words: 1, ..SIZES };
        assert_eq!(Metrics::new(800.0, one_word).unwrap().word_perplexity, None);
        assert_eq!(
            Metrics::new(800.0, Sizes { words: 0, ..SIZES })
                .unwrap()
                .word_perplexity,
            None
        );
        assert!(Metrics::new(1e6, SIZES).is_err());
        assert!(Metrics::new(f64::NAN, SIZES).is_err());
    }
}
