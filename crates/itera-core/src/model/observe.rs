//! Observing the inputs of the projections as they pass, for calibration.

use alloc::vec::Vec;

use super::{Model, Sequence};
use crate::kernels::{LogSumExp, Rows};

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

/// Sees the inputs of every projection.
pub(crate) trait Observer {
    /// `x`: rows of inputs; `chosen`: those that count, all if `None`.
    fn see(&mut self, site: Site, x: Rows<'_>, chosen: Option<&[u32]>);

    /// A prediction: the input `u [d_model]` of the output head, the logits `[vocab_size]`, and the
    /// logarithm of the sum of their exponentials.
    fn see_prediction(&mut self, u: &[f32], logits: &[f32], log_sum_exp: f64) {
        let _ = (u, logits, log_sum_exp);
    }
}

/// Observes nothing; compiles to nothing.
impl Observer for () {
    #[inline(always)]
    fn see(&mut self, _: Site, _: Rows<'_>, _: Option<&[u32]>) {}
}

impl Model {
    /// Reads documents, each from a fresh state after `end_of_text` as in scoring. `observer` sees the
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
                for (u, logits) in work.u.iter().zip(work.logits.iter()).take(rows) {
                    let total = self.kernel.run(LogSumExp(logits));
                    observer.see_prediction(u, logits, total);
                }
            }
        }
    }
}
