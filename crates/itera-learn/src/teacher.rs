//! A trained model whose predictions are learnt from beside the text: distillation (Hinton et al.
//! 2015, at temperature 1).

use burn::tensor::{Device, Tensor};
use itera_core::checkpoint::Checkpoint;

use crate::model::{Carry, ConvertError, LanguageModel, Tokens};

/// The teacher, and how far it has read what each replica reads.
#[derive(Clone)]
pub(crate) struct Teacher {
    pub(crate) model: LanguageModel,
    pub(crate) carries: Vec<Carry>,
}

impl Teacher {
    /// For `replicas` that each read `batch` sequences. On a `device` without autodiff, since nothing
    /// flows back to it.
    pub(crate) fn new(
        checkpoint: &Checkpoint,
        device: &Device,
        replicas: usize,
        batch: usize,
    ) -> Result<Self, ConvertError> {
        let model = LanguageModel::from_checkpoint(checkpoint, device)?;
        let carries = vec![model.new_carry(batch); replicas];
        Ok(Self { model, carries })
    }

    /// Logits of what follows each token, `[rows, vocab_size]`; the carry moves on.
    pub(crate) fn logits(&self, tokens: &Tokens, carry: &mut Carry) -> Tensor<2> {
        self.model.forward(tokens, carry).logits
    }
}
