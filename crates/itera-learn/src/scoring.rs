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
        let device = self.model.device();
        let mut nats = Vec::with_capacity(tokens.len());
        let mut previous = context;
        for targets in tokens.chunks(config.chunk) {
            let inputs = std::iter::once(previous).chain(targets.iter().copied());
            let inputs: Vec<i32> = inputs.take(targets.len()).map(|id| id as i32).collect();
            let shape = [1, inputs.len()];
            let inputs = Tensor::<2, Int>::from_data(TensorData::new(inputs, shape), &device);
            let logits = self.model.chunked(&inputs, state).into_data();
            let logits: Vec<f32> = logits.try_into_vec().expect("logits are f32");
            let rows = logits.chunks_exact(config.vocab_size).zip(targets);
            nats.extend(rows.map(|(row, target)| -log_softmax_at(row, *target as usize)));
            previous = targets[targets.len() - 1];
        }
        nats
    }
}
