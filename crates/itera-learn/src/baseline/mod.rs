//! A trained transformer to compare the architecture with, at the same parameters and budget.
//!
//! A decoder as Llama's (Touvron et al. 2023) in the proportions of `stories260K` (Karpathy's
//! llama2.c). It is there for one row of the ablation table, so it has no checkpoint, no native
//! engine and no export. It is trained by the same loop, [`crate::trainer`].
//!
//! Only the segment differs. Our model carries its state from one segment to the next; a
//! transformer sees nothing before its segment, and a document that is cut there loses its
//! beginning. A run that is compared with one of ours at length 256 and batch 16 therefore takes
//! length 512 and batch 8: as many tokens per step and in all, with gradients that reach twice as
//! far. A story of TinyStories has some 350 tokens with 512 entries, so about two of three are still
//! cut, and the tokens after the cut are learnt with less context than the model is later scored
//! with; at length 256 all but short ones would be.

mod config;
mod score;
mod transformer;

pub use config::TransformerConfig;
pub use transformer::Transformer;

use std::sync::Arc;

use itera_data::TokenSet;

use crate::{
    Backend,
    trainer::{TrainConfig, TrainError, Trainer},
};

/// A run of the baseline at its start; settings of a router have no effect here.
///
/// # Errors
/// When a setting is out of its range, or the documents do not fill one segment.
///
/// # Panics
/// If the config asks for integers, a teacher, or sequences beyond the context
/// ([`TransformerConfig::trains_with`]), or sizes do not divide.
pub fn trainer(
    model: &TransformerConfig,
    config: TrainConfig,
    documents: impl Into<Arc<TokenSet>>,
    end_of_text: u32,
    backend: Backend,
) -> Result<Trainer<Transformer>, TrainError> {
    assert!(model.trains_with(&config), "what the baseline cannot do");
    let model = Transformer::new(model, config.seed, &backend.device().autodiff());
    Trainer::of(model, config, documents, end_of_text)
}
