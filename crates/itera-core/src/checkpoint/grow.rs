//! A longer vocabulary for a model that is trained already.

use super::{Checkpoint, Tensor};
use crate::tokenizer::Tokenizer;

const EMBEDDING: &str = "embedding.weight"; // [vocab_size, d_model], also the output head

impl Checkpoint {
    /// Takes over a BPE `tokenizer` that knows more merges than its own, of which those come first. The row of a new
    /// token is the mean of those of the pair that it merges, so that little is lost before the model is trained on.
    /// Any other tokenizer changes nothing; nor does a longer one, where the model has integers, whose scales are made for
    /// the rows they have.
    pub fn grow_vocabulary(&mut self, tokenizer: &Tokenizer) {
        let (Tokenizer::Bpe(from), Tokenizer::Bpe(to)) = (&self.tokenizer, tokenizer) else {
            return;
        };
        let more = to.merges().strip_prefix(from.merges()).unwrap_or_default();
        if more.is_empty() || self.has_integers() {
            return;
        }
        let (vocab_size, d_model) = (to.vocab_size(), self.config.d_model);
        let Some(embedding) = self.tensors.get_mut(EMBEDDING) else {
            return;
        };
        let mut rows = embedding.to_f32();
        for &(first, second) in more {
            for at in 0..d_model {
                let of = |token: u32| rows[token as usize * d_model + at];
                rows.push(f32::midpoint(of(first), of(second)));
            }
        }
        *embedding = Tensor::f32([vocab_size, d_model], rows);
        self.config.vocab_size = vocab_size;
        self.tokenizer = tokenizer.clone();
    }
}
