//! Likelihood of texts under the model.

use alloc::{vec, vec::Vec};
use core::{f64::consts::LN_2, ops::Range};

use super::{Model, Sequence, State, Workspace};
use crate::kernels::{Frequencies, LogSumExp};

/// Bits per byte of a text of `bytes` bytes with a negative log-likelihood of `nats`.
pub fn bits_per_byte(nats: f64, bytes: f64) -> f64 {
    nats / LN_2 / bytes
}

/// Scores documents, each from a fresh state after end-of-text; has the memory for it, so that each
/// thread needs its own.
#[derive(Debug)]
pub struct Scorer<'m> {
    model: &'m Model,
    end_of_text: u32,
    states: Vec<State>, // [<= GROUP]
    work: Workspace,
}

impl Scorer<'_> {
    /// Documents that pass the model together at most, since each has a state.
    pub const GROUP: usize = 64;

    /// Tokens that pass the model together at most, but for a document that is longer.
    const GROUP_TOKENS: usize = 2048;

    /// Which of the documents with so many tokens each to score together: neighbours, as many as fit.
    pub fn groups(lens: impl IntoIterator<Item = usize>) -> Vec<Range<usize>> {
        let mut groups = Vec::<Range<usize>>::new();
        let mut tokens_in_last = 0;
        for (index, len) in lens.into_iter().enumerate() {
            tokens_in_last += len;
            match groups.last_mut() {
                Some(last) if tokens_in_last <= Self::GROUP_TOKENS && last.len() < Self::GROUP => {
                    last.end += 1;
                }
                _ => {
                    groups.push(index..index + 1);
                    tokens_in_last = len;
                }
            }
        }
        groups
    }

    /// Negative log-likelihood in nats of each document, summed token by token. No result depends on
    /// what is scored together.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn documents(&mut self, documents: &[&[u32]]) -> Vec<f64> {
        let mut nats = vec![0.0; documents.len()];
        self.tokens(documents, |index, next| nats[index] += next);
        nats
    }

    /// Calls `then(document, nats)` for every token: in order within a document, the documents of a
    /// group in turns.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn tokens(&mut self, documents: &[&[u32]], mut then: impl FnMut(usize, f64)) {
        for (group, documents) in documents.chunks(Self::GROUP).enumerate() {
            let states = self.states.len().max(documents.len());
            self.states.resize_with(states, || self.model.new_state());
            let states = self.states.iter_mut();
            let sequences = documents.iter().zip(states).map(|(tokens, state)| {
                state.reset();
                Sequence::predicting(tokens, self.end_of_text, state)
            });
            let mut sequences: Vec<_> = sequences.collect();
            self.model
                .score_batch(&mut sequences, &mut self.work, |index, nats| {
                    then(group * Self::GROUP + index, nats);
                });
        }
    }
}

impl Model {
    /// Memory to score documents with.
    pub fn scorer(&self, end_of_text: u32) -> Scorer<'_> {
        Scorer {
            model: self,
            end_of_text,
            states: Vec::new(),
            work: self.new_workspace(),
        }
    }

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

    /// The same with the rank of each token: 1 for the one that is expected most, a tie being won by the lower id.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn score_ranked(
        &self,
        state: &mut State,
        work: &mut Workspace,
        context: u32,
        tokens: &[u32],
    ) -> Vec<(f64, usize)> {
        let mut ranked = Vec::with_capacity(tokens.len());
        let sequences = &mut [Sequence::predicting(tokens, context, state)];
        self.predict_batch(sequences, work, &mut |_, target, logits| {
            let (own, before) = (logits[target as usize], target as usize);
            let is_ahead =
                |&(id, &logit): &(usize, &f32)| logit > own || (id < before && logit >= own);
            let rank = 1 + logits.iter().enumerate().filter(is_ahead).count();
            ranked.push((self.nats(target, logits), rank));
        });
        ranked
    }

    /// Negative log-likelihood in nats of `target` under `logits`, `[vocab_size]`, as a score has it.
    ///
    /// # Panics
    /// If `target` is not below `vocab_size`.
    pub fn nats(&self, target: u32, logits: &[f32]) -> f64 {
        self.kernel.run(LogSumExp(logits)) - f64::from(logits[target as usize])
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
        self.predict_batch(sequences, work, &mut |index, target, logits| {
            then(index, self.nats(target, logits));
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
        then: &mut dyn FnMut(usize, u32, &[f32]),
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

    /// The predictions behind `logits` as integers for an entropy coder, each at least 1 and at most 2^22: what a token
    /// costs by them is its negative log-likelihood but for some hundredths of a percent. Equal logits give equal
    /// integers, on all kernels with a fused multiply-add.
    ///
    /// # Shapes
    /// - `logits`, `frequencies`: `[vocab_size]`
    ///
    /// # Panics
    /// If there are more frequencies than logits.
    pub fn frequencies(&self, logits: &[f32], frequencies: &mut [u32]) {
        self.kernel.run(Frequencies {
            logits,
            frequencies,
        });
    }
}
