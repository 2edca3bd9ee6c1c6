//! Likelihood of a text under the model.

use super::{Model, State};
use crate::sampling::log_softmax_at;

impl Model {
    /// Negative log-likelihood in nats of each of `tokens`, given `context` and all tokens before
    /// it, and whatever `state` has read already.
    ///
    /// Reads `context, tokens[0], .. tokens[n - 2]`; calling again with the last token as context
    /// goes on exactly where this call ended.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn score(&self, state: &mut State, context: u32, tokens: &[u32]) -> Vec<f64> {
        let (chunk, vocab_size) = (self.config.chunk, self.config.vocab_size);
        let mut nats = Vec::with_capacity(tokens.len());
        let mut inputs = Vec::with_capacity(chunk);
        let mut previous = context;
        for targets in tokens.chunks(chunk) {
            inputs.clear();
            inputs.push(previous);
            inputs.extend_from_slice(&targets[..targets.len() - 1]);
            let logits = self.chunk_logits(&inputs, state);
            let rows = logits.chunks_exact(vocab_size).zip(targets);
            nats.extend(rows.map(|(row, target)| -log_softmax_at(row, *target as usize)));
            previous = targets[targets.len() - 1];
        }
        nats
    }
}
