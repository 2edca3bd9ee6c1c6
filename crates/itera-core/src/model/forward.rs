//! The model on one page: embedding, blocks, output head.

use super::{
    Model, State, experts,
    mixer::{self, Form},
    ops,
};

impl Model {
    /// A fresh state with all the memory that the forward pass needs.
    pub fn new_state(&self) -> State {
        State::new(&self.config)
    }

    /// Reads one token and returns the logits of the next, `[vocab_size]`.
    ///
    /// # Panics
    /// If `token` is not below `vocab_size`.
    pub fn step<'s>(&self, token: u32, state: &'s mut State) -> &'s [f32] {
        self.blocks(&[token], state, Form::Step);
        self.head(1, state)
    }

    /// Reads `tokens` in the chunked form and returns the logits that follow the last one,
    /// `[vocab_size]`; nothing for an empty input.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn prefill<'s>(&self, tokens: &[u32], state: &'s mut State) -> Option<&'s [f32]> {
        let chunk = self.config.chunk;
        for tokens in tokens.chunks(chunk) {
            self.blocks(tokens, state, Form::Chunked);
        }
        let last = (tokens.len().checked_sub(1)?) % chunk;
        // Only the last token's logits are wanted: move its residual to the front.
        let d_model = self.config.d_model;
        state
            .scratch
            .x
            .copy_within(last * d_model..(last + 1) * d_model, 0);
        Some(self.head(1, state))
    }

    /// Reads at most `chunk` tokens and returns the logits after each, `[n, vocab_size]`.
    pub(super) fn chunk_logits<'s>(&self, tokens: &[u32], state: &'s mut State) -> &'s [f32] {
        self.blocks(tokens, state, Form::Chunked);
        self.head(tokens.len(), state)
    }

    /// Embedding and all blocks; leaves the residual stream of each token in `scratch.x`.
    fn blocks(&self, tokens: &[u32], state: &mut State, form: Form) {
        let (n, d_model, eps) = (tokens.len(), self.config.d_model, self.config.norm_eps);
        let State { layers, scratch } = state;
        for (token, x) in tokens.iter().zip(scratch.x.chunks_exact_mut(d_model)) {
            x.copy_from_slice(self.embedding.row(*token as usize));
        }
        let width = n * d_model;
        for (layer, memory) in self.layers.iter().zip(layers) {
            // x += mixer(norm(x))
            ops::rms_norm(
                &scratch.x[..width],
                &layer.mixer_norm,
                eps,
                &mut scratch.u[..width],
            );
            mixer::forward(&self.config, layer, n, memory, scratch, form);
            ops::axpy(1.0, &scratch.out[..width], &mut scratch.x[..width]);
            // x += experts(norm(x))
            ops::rms_norm(
                &scratch.x[..width],
                &layer.moe_norm,
                eps,
                &mut scratch.u[..width],
            );
            experts::forward(&self.config, layer, n, scratch);
            ops::axpy(1.0, &scratch.out[..width], &mut scratch.x[..width]);
        }
    }

    /// Output head for the first `n` tokens of `scratch.x`: `[n, vocab_size]`.
    fn head<'s>(&self, n: usize, state: &'s mut State) -> &'s [f32] {
        let width = n * self.config.d_model;
        let scratch = &mut state.scratch;
        let (x, u) = (&scratch.x[..width], &mut scratch.u[..width]);
        ops::rms_norm(x, &self.final_norm, self.config.norm_eps, u);
        let logits = &mut scratch.logits[..n * self.config.vocab_size];
        self.embedding.apply(u, logits);
        logits
    }
}
