//! The model on one page: embedding, blocks, output head.

use super::{
    Model, Sequence, State, Workspace, experts, mixer,
    observe::{Observer, Site},
};
use crate::kernels::Inputs;

impl Model {
    /// Tokens that pass the blocks together: enough that products read a weight once for many, few
    /// enough that the buffers stay in the caches.
    pub const ROWS: usize = 32;

    /// A fresh state.
    pub fn new_state(&self) -> State {
        State::new(&self.config)
    }

    /// The memory of the forward pass, one for each thread.
    pub fn new_workspace(&self) -> Workspace {
        Workspace::new(&self.config, Self::ROWS)
    }

    /// Reads one token and returns the logits of the next, `[vocab_size]`. Allocates nothing.
    ///
    /// # Panics
    /// If `token` is not below `vocab_size`.
    pub fn step<'w>(&self, token: u32, state: &mut State, work: &'w mut Workspace) -> &'w [f32] {
        self.forward_batch(&mut [Sequence::new(&[token], state)], work, |_, _| ());
        &work.logits[..self.config.vocab_size]
    }

    /// Reads `tokens` and returns the logits that follow the last one,
    /// `[vocab_size]`; nothing for an empty input. Allocates nothing.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn prefill<'w>(
        &self,
        tokens: &[u32],
        state: &mut State,
        work: &'w mut Workspace,
    ) -> Option<&'w [f32]> {
        self.forward_batch(&mut [Sequence::new(tokens, state)], work, |_, _| ());
        (!tokens.is_empty()).then(|| &work.logits[..self.config.vocab_size])
    }

    /// Reads many sequences at once, so that each weight is read once for all of them, and calls
    /// `then(index, logits)` with the logits `[vocab_size]` after the last token of each; not for
    /// sequences without tokens. The results do not depend on what is read together. Allocates
    /// nothing.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn forward_batch(
        &self,
        sequences: &mut [Sequence<'_>],
        work: &mut Workspace,
        mut then: impl FnMut(usize, &[f32]),
    ) {
        while work.plan(sequences) > 0 {
            self.round(sequences, work, &mut ());
            work.last.clear();
            for span in &work.spans {
                if sequences[span.sequence].remaining() == 0 {
                    work.last.push((span.start + span.len - 1) as u32);
                }
            }
            self.head_of_last(work);
            let ended = work.spans.iter().map(|span| span.sequence);
            let ended = ended.filter(|&index| sequences[index].remaining() == 0);
            for (index, logits) in ended.zip(work.logits.chunks(self.embedding.stride())) {
                then(index, &logits[..self.config.vocab_size]);
            }
        }
    }

    /// Embedding and all blocks over the rows of the plan; leaves the residual stream in `work.x`.
    pub(super) fn blocks(
        &self,
        sequences: &mut [Sequence<'_>],
        work: &mut Workspace,
        observer: &mut impl Observer,
    ) {
        let (k, eps, stride) = (self.kernel, self.config.norm_eps, self.stride());
        let rows = self.embed(sequences, work);
        let width = rows * stride;
        for (index, layer) in self.layers.iter().enumerate() {
            // x += mixer(norm(x))
            k.rms_norm(
                &work.x[..width],
                &layer.mixer_norm,
                eps,
                stride,
                &mut work.u[..width],
            );
            mixer::forward(self, index, rows, sequences, work, observer);
            // x += experts(norm(x))
            k.rms_norm(
                &work.x[..width],
                &layer.moe_norm,
                eps,
                stride,
                &mut work.u[..width],
            );
            experts::forward(self, index, rows, work, observer);
        }
    }

    /// `x = E[token]` for the rows of the plan; returns their number.
    fn embed(&self, sequences: &[Sequence<'_>], work: &mut Workspace) -> usize {
        let stride = self.stride();
        let mut rows = 0;
        for span in &work.spans {
            for offset in 0..span.len {
                let token = sequences[span.sequence].input(offset) as usize;
                let vocab_size = self.config.vocab_size;
                assert!(
                    token < vocab_size,
                    "token {token} of a vocabulary of {vocab_size}"
                );
                let row = &mut work.x[(span.start + offset) * stride..][..self.config.d_model];
                self.embedding.read_row(token, row);
            }
            rows += span.len;
        }
        rows
    }

    /// Logits of the rows in `work.last`, in that order.
    fn head_of_last(&self, work: &mut Workspace) {
        let stride = self.stride();
        // Moved to the front in order, so a row is read before another takes its place.
        for (to, &from) in work.last.iter().enumerate() {
            let from = from as usize * stride;
            work.x.copy_within(from..from + stride, to * stride);
        }
        self.head(work.last.len(), work, &mut ());
    }

    /// Output head for the first `rows` rows of `work.x`: logits `[rows, stride]`.
    pub(super) fn head(&self, rows: usize, work: &mut Workspace, observer: &mut impl Observer) {
        let (k, stride) = (self.kernel, self.stride());
        let (x, u) = (&work.x[..rows * stride], &mut work.u[..rows * stride]);
        k.rms_norm(x, &self.final_norm, self.config.norm_eps, stride, u);
        observer.see(Site::Head, u, stride, None);
        k.quantize(&self.embedding, u, stride, &mut work.quantized);
        let inputs = Inputs {
            floats: u,
            stride,
            integers: &work.quantized,
            chosen: None,
        };
        let logits = &mut work.logits[..rows * self.embedding.stride()];
        k.multiply(&self.embedding, inputs, logits);
    }

    /// Values from one row of the residual stream to the next.
    pub(super) const fn stride(&self) -> usize {
        self.config.d_model.next_multiple_of(crate::kernels::WIDTH)
    }
}
