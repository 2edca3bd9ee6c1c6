//! Likelihood of texts under the model.

use super::{Model, Sequence, State, Workspace};
use crate::kernels::LogSumExp;

impl Model {
    /// Negative log-likelihood in nats of each of `tokens`, given `context` and all tokens before
    /// it, and whatever `state` has read already.
    ///
    /// Reads `context, tokens[0], .. tokens[n - 2]`; calling again with the last token as context
    /// goes on exactly where this call ended.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn score(
        &self,
        state: &mut State,
        work: &mut Workspace,
        context: u32,
        tokens: &[u32],
    ) -> Vec<f64> {
        let mut nats = Vec::with_capacity(tokens.len());
        let sequences = &mut [Sequence::predicting(tokens, context, state)];
        self.score_batch(sequences, work, |_, next| nats.push(next));
        nats
    }

    /// The same for many sequences at once. Calls `then(index, nats)` for every token, in order
    /// for each sequence, but with the sequences in turns. The results do not depend on what is
    /// scored together.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn score_batch(
        &self,
        sequences: &mut [Sequence<'_>],
        work: &mut Workspace,
        mut then: impl FnMut(usize, f64),
    ) {
        self.predict_batch(sequences, work, |index, target, logits| {
            let total = self.kernel.run(LogSumExp(logits));
            let likelihood = f64::from(logits[target as usize]) - total;
            then(index, -likelihood);
        });
    }

    /// Calls `then(index, target, logits)` for every token of sequences made by
    /// [`Sequence::predicting`], with the logits `[vocab_size]` that predict it.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn predict_batch(
        &self,
        sequences: &mut [Sequence<'_>],
        work: &mut Workspace,
        mut then: impl FnMut(usize, u32, &[f32]),
    ) {
        loop {
            let rows = work.plan(sequences);
            if rows == 0 {
                return;
            }
            self.round(sequences, work, &mut ());
            self.head(rows, work, &mut ());
            let mut logits = work.logits.iter();
            for span in &work.spans {
                let targets = sequences[span.sequence].read(span.len);
                for (&target, logits) in targets.iter().zip(&mut logits) {
                    then(span.sequence, target, logits);
                }
            }
        }
    }
}
