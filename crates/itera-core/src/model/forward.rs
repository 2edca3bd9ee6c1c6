//! The model on one page: embedding, blocks, output head.

use super::{
    Model, Sequence, State, Workspace, experts, mixer,
    observe::{Observer, Site},
};
use crate::kernels::RmsNorm;

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
        self.forward_batch(&mut [Sequence::new(&[token], state)], work, &mut |_, _| ());
        work.logits.row(0)
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
        self.forward_batch(&mut [Sequence::new(tokens, state)], work, &mut |_, _| ());
        (!tokens.is_empty()).then(|| work.logits.row(0))
    }

    /// Reads many sequences at once, so that each weight is read once for all of them, and calls
    /// `then(index, logits)` with the logits `[vocab_size]` after the last token of each; not for
    /// sequences without tokens. The results do not depend on what is read together. Allocates
    /// nothing. (`then` is `dyn`, so that the model is compiled in this crate only, as fast as it asks for.)
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn forward_batch(
        &self,
        sequences: &mut [Sequence<'_>],
        work: &mut Workspace,
        then: &mut dyn FnMut(usize, &[f32]),
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
            for (index, logits) in ended.zip(work.logits.iter()) {
                then(index, logits);
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
        let rows = self.embed(sequences, work);
        for (index, layer) in self.layers.iter().enumerate() {
            // x += mixer(norm(x))
            self.norm(&layer.mixer_norm, rows, work);
            mixer::forward(self, index, rows, sequences, work, observer);
            // x += experts(norm(x))
            self.norm(&layer.moe_norm, rows, work);
            experts::forward(self, index, rows, work, observer);
        }
    }

    /// `u = norm(x)` for the first `rows` rows.
    fn norm(&self, gain: &[f32], rows: usize, work: &mut Workspace) {
        self.kernel.run(RmsNorm {
            x: work.x.rows(0, rows),
            gain,
            eps: self.config.norm_eps,
            out: work.u.rows_mut(0, rows),
        });
    }

    /// `x = E[token]` for the rows of the plan; returns their number.
    fn embed(&self, sequences: &[Sequence<'_>], work: &mut Workspace) -> usize {
        let (vocab_size, mut rows) = (self.config.vocab_size, 0);
        for span in &work.spans {
            for offset in 0..span.len {
                let token = sequences[span.sequence].input(offset) as usize;
                assert!(
                    token < vocab_size,
                    "token {token} of a vocabulary of {vocab_size}"
                );
                let row = work.x.row_mut(span.start + offset);
                self.embedding.read_row(token, row);
            }
            rows += span.len;
        }
        rows
    }

    /// Logits of the rows in `work.last`, in that order.
    fn head_of_last(&self, work: &mut Workspace) {
        // Moved to the front in order, so a row is read before another takes its place.
        for (to, &from) in work.last.iter().enumerate() {
            work.x.copy_row(from as usize, to);
        }
        self.head(work.last.len(), work, &mut ());
    }

    /// `logits = E norm(x)`, the output head, for the first `rows` rows.
    pub(super) fn head(&self, rows: usize, work: &mut Workspace, observer: &mut impl Observer) {
        self.norm(&self.final_norm, rows, work);
        let (u, logits) = (work.u.rows(0, rows), work.logits.rows_mut(0, rows));
        observer.see(Site::Head, u, None);
        self.kernel
            .project(&self.embedding, u, &mut work.quantized, logits);
    }
}
