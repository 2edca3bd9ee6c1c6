//! A longer vocabulary for a model that is trained already.

use alloc::borrow::ToOwned as _;

use super::{Checkpoint, Tensor};
use crate::tokenizer::Tokenizer;

const EMBEDDING: &str = "embedding.weight"; // [vocab_size, d_model], also the output head

impl Checkpoint {
    /// The model with a BPE `tokenizer` that knows more merges than its own, of which those come first. The row of a new
    /// token is the mean of those of the pair that it merges, so that little is lost before the model is trained on. With a
    /// tokenizer that knows no more, the model stays as it is. None if the tokenizer is not of that kind, or the model
    /// would grow and has integers, whose scales are made for the rows they have.
    #[must_use]
    pub fn with_vocabulary(&self, tokenizer: &Tokenizer) -> Option<Self> {
        let (Tokenizer::Bpe(from), Tokenizer::Bpe(to)) = (&self.tokenizer, tokenizer) else {
            return None;
        };
        let more = to.merges().strip_prefix(from.merges())?;
        if more.is_empty() {
            return Some(self.clone());
        }
        let is_integer = |tensor: &Tensor| tensor.precision().max_integer().is_some();
        if self.tensors.values().any(is_integer) {
            return None;
        }
        let d_model = self.config.d_model;
        let mut rows = self.tensors.get(EMBEDDING)?.to_f32();
        for &(first, second) in more {
            for at in 0..d_model {
                let of = |token: u32| rows[token as usize * d_model + at];
                rows.push(f32::midpoint(of(first), of(second)));
            }
        }
        let mut grown = self.clone();
        grown.config.vocab_size = to.vocab_size();
        grown.tokenizer = tokenizer.clone();
        let embedding = Tensor::f32([to.vocab_size(), d_model], rows);
        grown.tensors.insert(EMBEDDING.to_owned(), embedding);
        Some(grown)
    }
}
