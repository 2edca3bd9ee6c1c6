//! Looking at the inputs of the projections as they pass, for calibration.

use super::{Model, Sequence};

/// A projection, by where its input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Site {
    /// Input projection of the mixer of a layer.
    InProj(usize),
    /// Output projection of the mixer of a layer.
    OutProj(usize),
    /// First matrix of an expert: layer, expert.
    ExpertIn(usize, usize),
    /// Second matrix of an expert: layer, expert.
    ExpertOut(usize, usize),
    /// First matrix of the shared expert of a layer.
    SharedIn(usize),
    /// Second matrix of the shared expert of a layer.
    SharedOut(usize),
    /// The output head.
    Head,
}

/// Is shown the inputs of every projection.
pub(crate) trait Observer {
    /// `x`: rows of inputs, `stride` values apart; `chosen`: those that count, all if `None`.
    fn see(&mut self, site: Site, x: &[f32], stride: usize, chosen: Option<&[u32]>);

    /// A prediction: the input `u [d_model]` of the output head, the logits `[vocab_size]`, and the
    /// logarithm of the sum of their exponentials.
    fn see_prediction(&mut self, u: &[f32], logits: &[f32], log_sum_exp: f64) {
        let _ = (u, logits, log_sum_exp);
    }
}

/// Looks away; costs nothing.
impl Observer for () {
    #[inline(always)]
    fn see(&mut self, _: Site, _: &[f32], _: usize, _: Option<&[u32]>) {}
}

impl Model {
    /// Reads documents, each from a fresh state after `end_of_text` as in scoring, and shows the
    /// inputs of all projections, and with `predict` every prediction.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub(crate) fn observe(
        &self,
        documents: &[Vec<u32>],
        end_of_text: u32,
        predict: bool,
        observer: &mut impl Observer,
    ) {
        let (mut state, mut work) = (self.new_state(), self.new_workspace());
        let (d_model, vocab_size) = (self.config.d_model, self.config.vocab_size);
        for document in documents {
            state.reset();
            let sequences = &mut [Sequence::predicting(document, end_of_text, &mut state)];
            loop {
                let rows = work.plan(sequences);
                if rows == 0 {
                    break;
                }
                self.round(sequences, &mut work, observer);
                if !predict {
                    continue;
                }
                self.head(rows, &mut work, observer);
                let inputs = work.u.chunks(self.stride());
                let logits = work.logits.chunks(self.embedding.stride());
                for (u, logits) in inputs.zip(logits).take(rows) {
                    let logits = &logits[..vocab_size];
                    let total = self.kernel.log_sum_exp(logits);
                    observer.see_prediction(&u[..d_model], logits, total);
                }
            }
        }
    }
}
