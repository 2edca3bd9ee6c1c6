//! Likelihood of a text through Burn, to cross-check the native forward pass.

use burn::tensor::{Int, Tensor, TensorData};
use itera_core::{checkpoint::Checkpoint, sampling::log_softmax_at};

use crate::{
    Backend,
    model::{ConvertError, LanguageModel, paper::PaperState},
};

/// A model that scores through Burn, in the chunked form of [`crate::model::paper`].
pub struct Scorer {
    model: LanguageModel,
}

impl Scorer {
    /// Loads the parameters of a checkpoint.
    ///
    /// # Errors
    /// When the checkpoint breaks its own format.
    pub fn new(checkpoint: &Checkpoint, backend: Backend) -> Result<Self, ConvertError> {
        let model = LanguageModel::from_checkpoint(checkpoint, &backend.device())?;
        Ok(Self { model })
    }

    /// A state that has read nothing.
    pub fn new_state(&self) -> PaperState {
        self.model.new_paper_state(1)
    }

    /// Negative log-likelihood in nats of each of `tokens`, given `context` and everything before;
    /// the meaning of `itera_core::model::Model::score`.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn score(&self, state: &mut PaperState, context: u32, tokens: &[u32]) -> Vec<f64> {
        let config = self.model.config();
        let mut nats = Vec::with_capacity(tokens.len());
        let mut previous = context;
        for targets in tokens.chunks(config.chunk) {
            let inputs = std::iter::once(previous).chain(targets.iter().copied());
            let inputs: Vec<u32> = inputs.take(targets.len()).collect();
            let logits = self.logits(state, &inputs);
            let rows = logits.chunks_exact(config.vocab_size).zip(targets);
            nats.extend(rows.map(|(row, target)| -log_softmax_at(row, *target as usize)));
            previous = targets[targets.len() - 1];
        }
        nats
    }

    /// Logits after each of `tokens`, `[tokens, vocab_size]`.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn logits(&self, state: &mut PaperState, tokens: &[u32]) -> Vec<f32> {
        let ids: Vec<i32> = tokens.iter().map(|id| *id as i32).collect();
        let ids = TensorData::new(ids, [1, tokens.len()]);
        let ids = Tensor::<2, Int>::from_data(ids, &self.model.device());
        let logits = self.model.chunked(&ids, state).into_data();
        logits.try_into_vec().expect("logits are f32")
    }
}
