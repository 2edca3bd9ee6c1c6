//! Likelihood of documents under the baseline, by the protocol `document`: each is read after an
//! end-of-text token, and all its bytes count.

use std::ops::Range;

use super::Transformer;
use crate::{
    model::Tokens,
    scoring::{before, likelihood},
};

impl Transformer {
    /// Negative log-likelihood in nats of each token of a document, given `context` (end-of-text)
    /// and the tokens before it.
    ///
    /// A document longer than the context is read in windows that move on by half of it, and the
    /// last one ends with the document. So every token after the first window has at least half a
    /// context before it.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn score(&self, context: u32, tokens: &[u32]) -> Vec<f64> {
        let inputs = before(context, tokens).inputs;
        let mut nats = Vec::with_capacity(tokens.len());
        for window in windows(tokens.len(), self.config().context) {
            let read = Tokens::sequence(inputs[window.clone()].iter().copied());
            let logits = self.forward(&read).detach(); // [window, vocab_size]
            let scored = nats.len(); // by windows before
            let rows = logits.narrow(0, scored - window.start, window.end - scored);
            nats.extend(likelihood(rows, &tokens[scored..window.end]));
        }
        nats
    }
}

/// Windows of at most `context` tokens that end half a context apart, the last at `len`.
fn windows(len: usize, context: usize) -> impl Iterator<Item = Range<usize>> {
    let stride = context.div_ceil(2);
    let moves = len.saturating_sub(context).div_ceil(stride);
    let ends = (0..=moves).map(move |index| (context + index * stride).min(len));
    ends.filter(|end| *end > 0)
        .map(move |end| end.saturating_sub(context)..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_every_length_with_half_a_context_before() {
        for context in [1, 2, 7, 8] {
            for len in 0..40 {
                let mut scored = 0;
                for window in windows(len, context) {
                    assert!(window.len() <= context && window.end > scored);
                    assert!(window.start <= scored);
                    // Inputs before the first token that is scored, its own input included.
                    let before = scored - window.start + 1;
                    assert!(scored == 0 || before > context / 2, "{len}, {context}");
                    scored = window.end;
                }
                assert_eq!(scored, len, "context {context}");
            }
        }
    }
}
