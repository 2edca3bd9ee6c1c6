//! Likelihood of a text through Burn: to cross-check the native forward pass, and of models that it does
//! not run.

use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Tensor;
use itera_core::{checkpoint::Checkpoint, model, sampling::log_softmax_at};

use crate::{
    Backend,
    model::{ConvertError, LanguageModel, Tokens, paper::PaperState},
};

/// Tokens of a document that are read together, where nothing but memory depends on it.
const SEGMENT: usize = 512;

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
        let chunk = self.model.config().chunk;
        score(context, tokens, chunk, |inputs| {
            self.model.chunked(inputs, state).flatten(0, 1)
        })
    }

    /// Logits after each of `tokens`, `[tokens, vocab_size]`.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn logits(&self, state: &mut PaperState, tokens: &[u32]) -> Vec<f32> {
        let tokens = Tokens::sequence(tokens.iter().copied());
        let logits = self.model.chunked(&tokens, state).into_data();
        logits.try_into_vec().expect("logits are f32")
    }
}

impl LanguageModel {
    /// The meaning of [`Scorer::score`] for a document, by the forward pass of training.
    ///
    /// # Panics
    /// If a token is not below `vocab_size`.
    pub fn score(&self, context: u32, tokens: &[u32]) -> Vec<f64> {
        let mut carry = self.new_carry(1);
        score(context, tokens, SEGMENT, |inputs| {
            self.forward(inputs, &mut carry).logits
        })
    }
}

/// Negative log-likelihood in nats of each of `tokens`, `length` of which are read at a time; `logits` gives
/// those after each token of a segment, `[tokens, vocab_size]`.
fn score(
    context: u32,
    tokens: &[u32],
    length: usize,
    mut logits: impl FnMut(&Tokens) -> Tensor<2>,
) -> Vec<f64> {
    let mut nats = Vec::with_capacity(tokens.len());
    let mut previous = context;
    for targets in tokens.chunks(length) {
        nats.extend(likelihood(logits(&before(previous, targets)), targets));
        previous = targets[targets.len() - 1];
    }
    nats
}

/// What is read to predict `targets`.
pub(crate) fn before(context: u32, targets: &[u32]) -> Tokens {
    let inputs = std::iter::once(context).chain(targets.iter().copied());
    Tokens::sequence(inputs.take(targets.len()))
}

/// Negative log-likelihood in nats of each target, from `logits [targets, vocab_size]`.
pub(crate) fn likelihood(logits: Tensor<2>, targets: &[u32]) -> Vec<f64> {
    let [_, vocab_size] = logits.dims();
    let logits: Vec<f32> = logits.into_data().try_into_vec().expect("logits are f32");
    let rows = logits.chunks_exact(vocab_size).zip(targets);
    rows.map(|(row, target)| -log_softmax_at(row, *target as usize))
        .collect()
}

/// Bits per byte of documents of tokens and bytes, summed in their order; `score` gives the nats of each
/// token of a document. None without a byte, or if `stop` is set meanwhile.
pub fn bits_per_byte(
    score: impl Fn(&[u32]) -> Vec<f64>,
    documents: impl IntoIterator<Item = (impl AsRef<[u32]>, usize)>,
    stop: &AtomicBool,
) -> Option<f64> {
    let (mut nats, mut bytes) = (0.0, 0);
    for (tokens, len) in documents {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        nats += score(tokens.as_ref()).iter().sum::<f64>();
        bytes += len;
    }
    (bytes > 0).then(|| model::bits_per_byte(nats, bytes as f64))
}
